"""Pairs to token ids: exactly the ids that TRL's `DPOTrainer` trains on, and which of them are content.

What the trainer does with a pair (TRL 1.16, `DPOTrainer._prepare_dataset` and `DataCollatorForPreference`), done here
without TRL: chat pairs are rendered by the tokenizer's chat template and tokenised without special tokens; plain
strings are tokenised with them, an EOS appended to each response that does not end in one. Prompt, prompt + chosen and
prompt + rejected are tokenised each on its own; the prompt's ids are their longest common prefix, the responses' ids
what follows it. Pairs whose prompt alone fills `max_length` are dropped; longer responses are cut at `max_length`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from pretilt.errors import UserError
from pretilt.pairs.content import NOT_LOCATED, Locator, Region
from pretilt.pairs.pair import Drop, Message, Pair
from pretilt.pairs.rendering import Request, TemplateRefused, TemplateRenderer, plain_token
from pretilt.run import content_hash

TRUNCATED_AWAY = "truncated away"
NO_CONTENT = "no content token"  # an empty response, or one that the template does not print
TEMPLATE_REFUSED = "chat template refused"  # the trainer would stop with the template's error
NOT_A_PREFIX = "prompt alone is not a prefix"  # of prompt + response: the end of the prompt is left out of training
SAME_IDS = "both responses have the same ids"  # they differ only in what the template strips or truncation cuts

_MAX_LOCATORS = 1024
_PROBE = "The 3 quick-brown foxes' naïve café:\n\n\tx = [12345, 6.7]  # 你好, Привет 🙂 <|im_end|></s>"


@dataclass(frozen=True, slots=True)
class PairTokens:
    """Ids (int32) and content masks (bool, same length) of the three spans, as the trainer reads them after truncation.

    Template and special tokens have mask False. `trouble` names what the chat template did to this pair, see
    `pairs/content.py` and the constants here; mostly empty.
    """

    prompt_ids: np.ndarray
    chosen_ids: np.ndarray
    rejected_ids: np.ndarray
    prompt_content: np.ndarray
    chosen_content: np.ndarray
    rejected_content: np.ndarray
    truncated: bool  # a response was cut at max_length
    trouble: tuple[str, ...] = ()

    def n_content(self, span: str) -> int:
        """Content tokens of a span."""
        return int(getattr(self, f"{span}_content").sum())


@dataclass(frozen=True, slots=True)
class _Rendered:
    """What goes to the tokenizer; `chosen` and `rejected` include the prompt."""

    prompt: str
    chosen: str
    rejected: str
    chosen_regions: list[Region]
    rejected_regions: list[Region]
    n_prompt_messages: int
    trouble: frozenset[str]


def tokenise(
    pairs: Iterable[Pair], tokenizer: Any, *, max_length: int | None = 1024, batch_pairs: int = 256
) -> Iterator[PairTokens | Drop]:
    """One PairTokens or Drop per pair, in order; a generator that holds `batch_pairs` pairs at a time.

    `tokenizer`: a fast Hugging Face tokenizer (its character offsets tell content from template). `max_length` None
    means no truncation. Drop reasons: TRUNCATED_AWAY (no content token of a response is left), NO_CONTENT and
    TEMPLATE_REFUSED. UserError: no fast tokenizer, chat pairs without a chat template, plain strings without an EOS.
    """
    if max_length is not None and max_length < 2:
        raise UserError(f"max_length is {max_length}", why="a prompt and a response need 2 tokens at least")
    if not getattr(tokenizer, "is_fast", False):
        raise UserError(
            f"the tokenizer {type(tokenizer).__name__} gives no character offsets",
            why="content could not be told from template tokens",
            fix="Give a model whose folder has a tokenizer.json (a fast tokenizer)",
        )

    renderer = _Renderer(tokenizer)
    special = _special_ids(tokenizer)
    stream = iter(pairs)
    while batch := list(itertools.islice(stream, batch_pairs)):
        rendered = renderer.render_all(batch)
        encoded: dict[int, _Encoded] = {}
        for is_chat in (True, False):
            rows = [i for i, r in enumerate(rendered) if isinstance(r, _Rendered) and batch[i].is_chat == is_chat]
            encoded.update(zip(rows, _encode([rendered[i] for i in rows], tokenizer, not is_chat), strict=True))
        for i, (pair, rendered_pair) in enumerate(zip(batch, rendered, strict=True)):
            if isinstance(rendered_pair, Drop):
                yield rendered_pair
            else:
                yield _assemble(pair, rendered_pair, encoded[i], special, max_length)


def _conversations(pair: Pair) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """The prompt, prompt + chosen and prompt + rejected, as a chat template takes them."""
    prompt = [m.as_dict() for m in pair.prompt]
    return prompt, prompt + [m.as_dict() for m in pair.chosen], prompt + [m.as_dict() for m in pair.rejected]


def _arguments(pair: Pair) -> dict[str, Any]:
    tools = json.loads(pair.tools) if pair.tools else None
    return {"tools": tools, **(json.loads(pair.template_kwargs) if pair.template_kwargs else {})}


def _text(rendered: str | TemplateRefused) -> str:
    if isinstance(rendered, TemplateRefused):
        raise rendered
    return rendered


class _Renderer:
    """Pairs to strings, and where content stands in them."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._template = TemplateRenderer(tokenizer)
        self._locators: dict[tuple[str | None, str | None], Locator] = {}
        self._checked = False

    def render_all(self, pairs: Sequence[Pair]) -> list[_Rendered | Drop]:
        requests: list[Request] = []
        for pair in pairs:
            if pair.is_chat:
                self._check_template(pair)
                arguments = _arguments(pair)
                prompt, chosen, rejected = _conversations(pair)
                requests += [(prompt, True, arguments), (chosen, False, arguments), (rejected, False, arguments)]
        texts = iter(self._template.render_all(requests))
        return [
            self._chat(pair, list(itertools.islice(texts, 3))) if pair.is_chat else self._plain(pair) for pair in pairs
        ]

    def _chat(self, pair: Pair, texts: Sequence[str | TemplateRefused]) -> _Rendered | Drop:
        prompt, chosen, rejected = _conversations(pair)
        if len(self._locators) >= _MAX_LOCATORS:  # every row may bring tools of its own
            self._locators.clear()
        apply = partial(self._template.render, arguments=_arguments(pair))
        locator = self._locators.setdefault((pair.tools, pair.template_kwargs), Locator(apply, (TemplateRefused,)))

        try:
            of_prompt, of_chosen, of_rejected = map(_text, texts)
            chosen_regions, chosen_trouble = locator.locate(chosen, of_chosen)
            rejected_regions, rejected_trouble = locator.locate(rejected, of_rejected)
        except TemplateRefused as error:
            return Drop(pair.row_index, TEMPLATE_REFUSED, str(error))

        trouble = chosen_trouble | rejected_trouble
        whole = of_prompt, of_chosen, of_rejected
        return _Rendered(*whole, chosen_regions, rejected_regions, len(prompt), trouble)

    def _plain(self, pair: Pair) -> _Rendered:
        eos = self._tokenizer.eos_token
        if eos is None:
            raise UserError(
                "the tokenizer has no EOS token",
                why="the trainer ends every plain-string response with one",
                fix="Set tokenizer.eos_token, or give the pairs as messages",
                row=pair.row_index,
            )
        prompt = "".join(m.content for m in pair.prompt)

        def with_response(messages: Sequence[Message]) -> tuple[str, list[Region]]:
            response = "".join(m.content for m in messages)
            n_content = len(prompt) + len(response.removesuffix(eos))
            text = prompt + (response if response.endswith(eos) else response + eos)
            return text, [Region(0, 0, len(prompt)), Region(1, len(prompt), n_content)]

        chosen, chosen_regions = with_response(pair.chosen)
        rejected, rejected_regions = with_response(pair.rejected)
        return _Rendered(prompt, chosen, rejected, chosen_regions, rejected_regions, 1, frozenset())

    def _check_template(self, pair: Pair) -> None:
        if self._checked:
            return
        try:
            self._tokenizer.get_chat_template(tools=json.loads(pair.tools) if pair.tools else None)
        except ValueError as error:
            raise UserError(
                "the model has no chat template, and these pairs are conversations",
                why=str(error).split(". ")[0],
                fix="Give the chat model you will train, or put its chat_template.jinja into the model's folder",
                row=pair.row_index,
            ) from error
        self._checked = True


@dataclass(frozen=True, slots=True)
class _Encoded:
    prompt: np.ndarray  # ids of the prompt alone, (n,) int32
    chosen: np.ndarray  # ids of prompt + chosen
    rejected: np.ndarray
    chosen_offsets: np.ndarray  # (n, 2) int32, characters of the text
    rejected_offsets: np.ndarray


def _encode(rendered: Sequence[Any], tokenizer: Any, add_special_tokens: bool) -> list[_Encoded]:
    if not rendered:
        return []
    options = {"add_special_tokens": add_special_tokens, "return_attention_mask": False, "verbose": False}
    full = [r.chosen for r in rendered] + [r.rejected for r in rendered]
    prompts = tokenizer([r.prompt for r in rendered], **options)["input_ids"]
    both = tokenizer(full, return_offsets_mapping=True, **options)

    ids = [np.asarray(x, dtype=np.int32) for x in both["input_ids"]]
    flat = (itertools.chain.from_iterable(x) for x in both["offset_mapping"])  # fromiter: twice as fast as from tuples
    offsets = [np.fromiter(x, np.int32, 2 * len(i)).reshape(-1, 2) for x, i in zip(flat, ids, strict=True)]

    n = len(rendered)
    return [
        _Encoded(np.asarray(prompts[i], dtype=np.int32), ids[i], ids[n + i], offsets[i], offsets[n + i])
        for i in range(n)
    ]


def _assemble(
    pair: Pair, text: _Rendered, encoded: _Encoded, special: np.ndarray, max_length: int | None
) -> PairTokens | Drop:
    n_prompt = min(_common_prefix(encoded.prompt, encoded.chosen), _common_prefix(encoded.prompt, encoded.rejected))
    if max_length is not None and n_prompt >= max_length:
        why = f"the prompt alone has {n_prompt} tokens, max_length is {max_length}"
        return Drop(pair.row_index, TRUNCATED_AWAY, why)

    def content(ids: np.ndarray, offsets: np.ndarray, regions: list[Region], of_prompt: bool) -> np.ndarray:
        span_regions = [r for r in regions if (r.message < text.n_prompt_messages) == of_prompt]
        if not span_regions and not of_prompt and NOT_LOCATED in text.trouble:
            return ~special[ids] & (np.arange(len(ids)) >= n_prompt)  # counts the turn's header as content, too
        return _content_mask(ids, offsets, span_regions, special)

    prompt = content(encoded.chosen, encoded.chosen_offsets, text.chosen_regions, True)[:n_prompt]
    responses: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    truncated = False
    for side, ids, offsets, regions in (
        ("chosen", encoded.chosen, encoded.chosen_offsets, text.chosen_regions),
        ("rejected", encoded.rejected, encoded.rejected_offsets, text.rejected_regions),
    ):
        mask = content(ids, offsets, regions, False)
        cut = slice(n_prompt, max_length)
        if not mask[cut].any():
            if mask[n_prompt:].any():
                why = f"no content of {side} is left in the first {max_length} tokens"
                return Drop(pair.row_index, TRUNCATED_AWAY, why)
            return Drop(pair.row_index, NO_CONTENT, f"{side} has only template or special tokens")
        responses[side] = ids[cut], mask[cut]
        truncated = truncated or (max_length is not None and len(ids) > max_length)
    trouble = set(text.trouble)
    if n_prompt < len(encoded.prompt):
        trouble.add(NOT_A_PREFIX)
    (chosen_ids, chosen_mask), (rejected_ids, rejected_mask) = responses["chosen"], responses["rejected"]
    if np.array_equal(chosen_ids, rejected_ids):
        trouble.add(SAME_IDS)
    spans = encoded.prompt[:n_prompt], chosen_ids, rejected_ids
    return PairTokens(*spans, prompt, chosen_mask, rejected_mask, truncated, tuple(sorted(trouble)))


def _common_prefix(a: np.ndarray, b: np.ndarray) -> int:
    n = min(len(a), len(b))
    different = np.flatnonzero(a[:n] != b[:n])
    return int(different[0]) if different.size else n


def _content_mask(ids: np.ndarray, offsets: np.ndarray, regions: list[Region], special: np.ndarray) -> np.ndarray:
    """(n,) bool: the token overlaps a character of a region, and is no special token.

    Many tokenizers trim spaces from a token's offsets (" the" is reported as "the", "  " as nothing): a token is taken
    to begin where the one before it ended.
    """
    if not len(ids) or not regions:
        return np.zeros(len(ids), dtype=bool)
    ends = offsets[:, 1]
    reached = np.concatenate([[0], np.maximum.accumulate(ends)[:-1]])
    starts = np.minimum(offsets[:, 0], reached)
    by_start = np.array(sorted((r.start, r.end) for r in regions))
    reach = np.maximum.accumulate(by_start[:, 1])  # of the regions that begin before a token ends, how far they go
    n_before = np.searchsorted(by_start[:, 0], ends, side="left")
    overlaps = (n_before > 0) & (reach[n_before - 1] > starts)
    return overlaps & ~special[ids]


def _special_ids(tokenizer: Any) -> np.ndarray:
    """(vocabulary,) bool: ids that never count as content (BOS, EOS, role marks, …).

    The unknown token is not one of them where the tokenizer puts it in place of content.
    """
    ids = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special} | set(tokenizer.all_special_ids)
    model = tokenizer.backend_tokenizer.model
    if getattr(model, "unk_token", None) is not None or getattr(model, "unk_id", None) is not None:
        ids -= {tokenizer.unk_token_id} - {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    table = np.zeros(max([len(tokenizer), *(i + 1 for i in ids)]), dtype=bool)
    table[sorted(ids)] = True
    return table


def template_hash(tokenizer: Any) -> str:
    """SHA-256 of what turns messages into text: the chat template(s) and the special tokens they print."""
    tokens = {name: plain_token(token) for name, token in tokenizer.special_tokens_map.items() if name != "pad_token"}
    return content_hash({"chat_template": tokenizer.chat_template, "special_tokens": tokens})


def tokenizer_hash(tokenizer: Any) -> str:
    """SHA-256 of what turns text into ids: the vocabulary, the special ids, and the ids of a probe text.

    The probe catches another splitting or normalisation over the same vocabulary. Not the bytes of tokenizer.json:
    they change with the version of the library that wrote it.
    """
    vocabulary = hashlib.sha256()
    for token, number in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
        vocabulary.update(f"{number}\t{token}\n".encode("utf-8", "surrogatepass"))
    probe = [tokenizer(_PROBE, add_special_tokens=special)["input_ids"] for special in (False, True)]
    special_ids = np.flatnonzero(_special_ids(tokenizer)).tolist()
    return content_hash({"vocabulary": vocabulary.hexdigest(), "special": special_ids, "probe": probe})


def reading_hash(tokenizer: Any) -> str:
    """Names how text becomes tokens: the chat template and the tokenizer."""

    return content_hash([template_hash(tokenizer), tokenizer_hash(tokenizer)])
