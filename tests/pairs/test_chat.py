"""Token ids equal to the trainer's own, and masks checked by reading the content back."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from tiny_tokenizers import CHATML, LLAMA2, THINKING, ZEPHYR, byte_level, sentencepiece_like
from trainer_tokens import prepared_by_trainer

from pretilt.errors import UserError
from pretilt.pairs import chat, content
from pretilt.pairs.chat import PairTokens, template_hash, tokenise, tokenizer_hash
from pretilt.pairs.pair import Drop, Message, Pair, assign_pair_ids

EMPTY_THOUGHT = "<think>\n\n</think>\n\n"
TOOLS = json.dumps([{"type": "function", "function": {"name": "add", "parameters": {"a": {"type": "integer"}}}}])


def said(role: str, text: str, **extra: object) -> Message:
    return Message(role, text, json.dumps(extra) if extra else None)


def pair(prompt: list[Message], chosen: str, rejected: str, **more: object) -> Pair:
    return Pair(0, tuple(prompt), (said("assistant", chosen),), (said("assistant", rejected),), **more)  # type: ignore[arg-type]


def conversations(n: int = 24) -> list[Pair]:
    """Multi-turn and single-turn pairs of many lengths, with and without a system message."""
    rng = random.Random(0)
    words = [
        "the",
        "capital",
        "of",
        "France",
        "is",
        "Paris,",
        "",
        "sure\n",
        "你好",
        "Grüße",
        "🙂",
        "**bold**",
        "42",
        "user",
    ]

    def text(low: int, high: int) -> str:
        return " ".join(rng.choice(words) for _ in range(rng.randint(low, high))).strip() or "a"

    pairs = []
    for i in range(n):
        prompt = [said("system", text(1, 8))] if i % 3 == 0 else []
        for _ in range(i % 3):
            prompt += [said("user", text(1, 12)), said("assistant", text(1, 12))]
        pairs.append(pair([*prompt, said("user", text(1, 25))], text(1, 30), text(1, 30)))
    pairs.append(pair([said("user", "user")], "a", "assistant"))  # texts that also occur in the template
    pairs.append(pair([said("user", " padded \n")], "\n\n strip me? ", "  "))
    pairs.append(pair([said("user", "inject <|im_end|> <s> </s>")], "ok </s> <|im_start|>", "no"))
    pairs.append(pair([said("user", "spaces at the end  ")], "yes  ", "no "))
    thought = "<think>\nonly here\n</think>\n\nno"  # a thinking template parts from the prompt in rejected alone
    pairs.append(pair([said("user", "think")], "yes", thought))
    pairs.append(pair([said("user", "same start")], "the same", "the same again"))
    return assign_pair_ids([Pair(**{**_fields(p), "row_index": i}) for i, p in enumerate(pairs)])


def plain_strings(eos: str) -> list[Pair]:
    texts = [
        ("The capital of France is", " Paris.", " not sure."),
        ("The capi", "tal", "tol"),  # tokens merge across the boundary
        ("The capi", " is", "tal"),  # … with the rejected response alone
        ("The capi", "tal", " is"),
        ("", "hello there", "goodbye"),
        ("ends itself:", " yes" + eos, " no"),
        ("long " * 30, "way too long", "no"),
        ("Q: 你好?\n\nA:", " 🙂🙂", " Grüße" * 20),
    ]
    plain = [
        tuple((said(role, t),) for role, t in zip(("user", "assistant", "assistant"), row, strict=True))
        for row in texts
    ]
    return assign_pair_ids([Pair(i, *spans, is_chat=False) for i, spans in enumerate(plain)])


def _fields(p: Pair) -> dict[str, object]:
    return {name: getattr(p, name) for name in Pair.__dataclass_fields__}


def trainer_columns(
    pairs: list[Pair], tokenizer: object, max_length: int | None, folder: object
) -> dict[str, dict[str, list[int]]]:
    """pair_id -> the ids that DPOTrainer itself prepared and that its collator feeds to the model."""

    def span(messages: tuple[Message, ...], is_chat: bool) -> object:
        return [m.as_dict() for m in messages] if is_chat else messages[0].content

    rows = []
    for p in pairs:
        row = {"pair_id": p.pair_id, **{s: span(getattr(p, s), p.is_chat) for s in ("prompt", "chosen", "rejected")}}
        if any(q.tools for q in pairs):
            row["tools"] = p.tools
        if any(q.template_kwargs for q in pairs):
            row["chat_template_kwargs"] = json.loads(p.template_kwargs or "{}")
        rows.append(row)
    return prepared_by_trainer(rows, tokenizer, max_length, folder)


CHAT_TOKENIZERS = {
    "chatml, no BOS, right": lambda: byte_level(CHATML, padding_side="right"),
    "chatml, no BOS, left": lambda: byte_level(CHATML, padding_side="left"),
    "llama-2, BOS, left": lambda: sentencepiece_like(LLAMA2, padding_side="left"),
    "zephyr, BOS, right": lambda: byte_level(ZEPHYR, bos=True, padding_side="right"),
    "zephyr on sentencepiece, BOS, left": lambda: sentencepiece_like(ZEPHYR, padding_side="left"),
    "thinking, BOS, left": lambda: byte_level(THINKING, bos=True, padding_side="left"),
}


@pytest.mark.parametrize("kind", CHAT_TOKENIZERS)
@pytest.mark.parametrize("max_length", [60, None])
def test_ids_are_the_trainers(kind: str, max_length: int | None, tmp_path: object) -> None:
    tokenizer = CHAT_TOKENIZERS[kind]()
    pairs = conversations()
    if kind.startswith("thinking"):
        quiet = [Pair(**{**_fields(p), "template_kwargs": '{"quiet":true}'}) for p in pairs[::2]]  # type: ignore[arg-type]
        pairs = assign_pair_ids(pairs[1::2] + quiet)
    assert _agree(pairs, tokenizer, max_length, tmp_path)


@pytest.mark.parametrize(
    "make", [lambda: byte_level(None), lambda: sentencepiece_like(None), lambda: byte_level(None, bos=True)]
)
def test_plain_strings_are_the_trainers(make: object, tmp_path: object) -> None:
    tokenizer = make()  # type: ignore[operator]
    assert _agree(plain_strings(tokenizer.eos_token), tokenizer, 30, tmp_path)


def test_tools_and_calls_are_the_trainers(tmp_path: object) -> None:
    call = [{"function": {"name": "add", "arguments": {"a": "one"}}}]
    asked = [said("user", "add one")]
    with_call = Pair(
        0, tuple(asked), (said("assistant", "", tool_calls=call),), (said("assistant", "no"),), tools=TOOLS
    )
    pairs = assign_pair_ids([with_call, pair(asked, "two", "three", tools=TOOLS), pair(asked, "four", "five")])
    tokens = _agree(pairs, byte_level(CHATML), 200, tmp_path)
    assert read_back(byte_level(CHATML), tokens[0])[1] == "addaone"  # a call's name and arguments are what it says


def _agree(pairs: list[Pair], tokenizer: object, max_length: int | None, folder: object) -> list[PairTokens]:
    """Ours are the trainer's, id by id; what we drop beyond the trainer has no content token left to read."""
    ours = dict(zip([p.pair_id for p in pairs], tokenise(pairs, tokenizer, max_length=max_length), strict=True))
    trainers = trainer_columns(pairs, tokenizer, max_length, folder)
    kept = {i: t for i, t in ours.items() if isinstance(t, PairTokens)}
    assert len(kept) >= 3
    for pair_id, tokens in kept.items():
        for span in ("prompt", "chosen", "rejected"):
            assert getattr(tokens, f"{span}_ids").tolist() == trainers[pair_id][span], (pair_id, span)
    for example in pairs:
        drop = ours[example.pair_id]
        if isinstance(drop, Drop) and "prompt alone" in drop.detail:
            assert example.pair_id not in trainers
        elif isinstance(drop, Drop):
            blank = not example.rejected[0].content.strip()
            fed = [trainers[example.pair_id][side] for side in ("chosen", "rejected")]
            header_only = any(EMPTY_THOUGHT.startswith(tokenizer.decode(ids)) for ids in fed)  # type: ignore[attr-defined]
            assert blank or header_only, drop
    return list(kept.values())


def read_back(tokenizer: object, tokens: PairTokens) -> tuple[str, str, str]:
    """The text of the content tokens of each span."""
    spans = ((getattr(tokens, f"{s}_ids"), getattr(tokens, f"{s}_content")) for s in ("prompt", "chosen", "rejected"))
    return tuple(tokenizer.decode(ids[mask]) for ids, mask in spans)  # type: ignore[attr-defined, return-value]


def one(tokenizer: object, example: Pair, max_length: int | None = None) -> PairTokens:
    [tokens] = tokenise([example], tokenizer, max_length=max_length)
    assert isinstance(tokens, PairTokens), tokens
    return tokens


@pytest.mark.parametrize("template", [CHATML, ZEPHYR, THINKING])
@pytest.mark.parametrize("bos", [False, True])
def test_content_is_exactly_what_was_said(template: str, bos: bool) -> None:
    """Byte-level tokens put back together: nothing of the template, nothing missing, short and repeated texts too."""
    tokenizer = byte_level(template, bos=bos)
    for example in conversations():
        if example.prompt[-1].content.startswith(("inject", "think")) or not example.rejected[0].content.strip():
            continue
        tokens = one(tokenizer, example)
        prompt, chosen, rejected = read_back(tokenizer, tokens)
        assert prompt == "".join(m.content for m in example.prompt)
        # a template's "\n" and a content's leading "\n\n" are one token, which then counts as content
        assert chosen.removeprefix("\n") == example.chosen[0].content.removeprefix("\n")
        assert rejected == example.rejected[0].content
        assert tokens.trouble == ((chat.NOT_A_PREFIX,) if example.chosen[0].content.startswith("\n") else ())


def test_content_that_the_template_strips_and_moves() -> None:
    """Llama 2 puts the system message inside the first user turn, and strips every text."""
    tokenizer = sentencepiece_like(LLAMA2)
    tokens = one(tokenizer, pair([said("system", " short"), said("user", "  What is it? ")], " Paris \n", "[INST]"))
    assert [t.strip() for t in read_back(tokenizer, tokens)] == ["shortWhat is it?", "Paris", "[INST]"]
    assert tokens.trouble == ()
    assert not tokens.prompt_content[tokens.prompt_ids == tokenizer.bos_token_id].any()


def test_a_special_token_inside_a_text_is_not_content() -> None:
    tokenizer = byte_level(CHATML)
    tokens = one(tokenizer, pair([said("user", "inject")], "ok <|im_end|> then", "no"))
    assert read_back(tokenizer, tokens)[1] == "ok  then"


def test_unknown_characters_are_content() -> None:
    tokenizer = sentencepiece_like(ZEPHYR)
    tokenizer.backend_tokenizer.model.byte_fallback = False
    tokens = one(tokenizer, pair([said("user", "hi")], "☃☃", "no"))
    assert tokens.chosen_ids[tokens.chosen_content].tolist().count(tokenizer.unk_token_id) == 1


def test_reasoning_is_content_where_it_is_printed() -> None:
    tokenizer = byte_level(THINKING)
    example = pair([said("user", "why?")], "<think>\nbecause of a\n</think>\n\nIt is so.", "No.")
    tokens = one(tokenizer, example)
    assert read_back(tokenizer, tokens) == ("why?", "because of aIt is so.", "No.")
    earlier = [said("user", "why?"), said("assistant", "<think>hidden</think>\n\nshown"), said("user", "and?")]
    tokens = one(tokenizer, pair(earlier, "Yes.", "No."))
    assert read_back(tokenizer, tokens)[0] == "why?shownand?"
    assert tokens.trouble == (content.DROPPED,)


def test_prompt_that_is_no_prefix_is_counted() -> None:
    """The quiet generation prompt ends in an empty thought block; an answer with a thought diverges from it there."""
    tokenizer = byte_level(THINKING)
    example = pair([said("user", "why?")], "<think>because</think>It is so.", "No.", template_kwargs='{"quiet":true}')
    assert one(tokenizer, example).trouble == (chat.NOT_A_PREFIX,)


def test_a_template_that_rewrites_content_keeps_the_region() -> None:
    tokenizer = byte_level(
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
        "{{ m['content'] | replace('a', 'bb') }}<|im_end|>{% endfor %}"
    )
    tokens = one(tokenizer, pair([said("user", "a cat")], "banana", "no"))
    assert read_back(tokenizer, tokens) == ("bb cbbt", "bbbnbbnbb", "no")
    assert tokens.trouble == (content.REWRITTEN,)


@pytest.mark.parametrize(
    ("printed", "found", "trouble"),
    [
        ("{{ t | length }}:\n{{ t }}", ("a cat", "user", "no"), content.SEARCHED),
        ("{{ t | length }}:\n{{ t | upper }}", ("", "4:\nUSER", "2:\nNO"), content.NOT_LOCATED),
        (
            "{% if t | length < 4 and t[0] == '\ue000' %}{{ raise_exception('odd') }}{% endif %}{{ t }}",
            None,
            content.SEARCHED,
        ),
    ],
)
def test_content_in_a_template_that_varies_with_it(printed: str, found: tuple[str, ...] | None, trouble: str) -> None:
    """The template's pieces differ for placeholders: texts are searched for, or given up (all of the answer counts)."""
    body = "{% set t = m['content'] %}<|im_start|>" + printed + "<|im_end|>"
    tokenizer = byte_level("{% for m in messages %}" + body + "{% endfor %}")
    example = pair([said("user", "a cat")], "user", "no")
    tokens = one(tokenizer, example)
    assert read_back(tokenizer, tokens) == (found or ("a cat", "user", "no"))
    assert tokens.trouble == (trouble,)


def test_a_template_that_prints_no_answer() -> None:
    tokenizer = byte_level(
        "{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] }}{% endif %}{% endfor %}<|im_end|>"
    )
    [drop] = tokenise([pair([said("user", "hi")], "yes", "no")], tokenizer)
    assert isinstance(drop, Drop)
    assert drop.reason == chat.NO_CONTENT


def test_truncation_by_hand() -> None:
    """6 prompt tokens, then 4 of chosen and 2 of rejected (each with its EOS): what is left at every max_length."""
    tokenizer = byte_level(None)
    example = Pair(7, (said("user", "012345"),), (said("a", "789"),), (said("a", "8"),), is_chat=False)
    sizes = {}
    for limit in range(5, 12):
        [tokens] = tokenise([example], tokenizer, max_length=limit)
        if isinstance(tokens, Drop):
            sizes[limit] = tokens.reason
        else:
            sizes[limit] = (len(tokens.prompt_ids), len(tokens.chosen_ids), len(tokens.rejected_ids), tokens.truncated)
    assert sizes == {
        5: chat.TRUNCATED_AWAY,
        6: chat.TRUNCATED_AWAY,
        7: (6, 1, 1, True),
        8: (6, 2, 2, True),
        9: (6, 3, 2, True),
        10: (6, 4, 2, False),
        11: (6, 4, 2, False),
    }


def test_an_answer_whose_content_is_cut_off_is_dropped() -> None:
    """With a role header inside the completion the trainer keeps a row that has only header tokens left; we do not."""
    tokenizer = byte_level(
        "{% for m in messages %}<|im_start|>{{ m['role'] }} {{ m['content'] }}<|im_end|>{% endfor %}"
    )
    example = pair([said("user", "hi")], "yes indeed", "no")
    whole = one(tokenizer, example)
    header = int(np.argmax(whole.chosen_content))
    assert header > 1
    [drop] = tokenise([example], tokenizer, max_length=len(whole.prompt_ids) + header)
    assert isinstance(drop, Drop)
    assert (drop.reason, drop.row_index) == (chat.TRUNCATED_AWAY, 0)


def test_same_ids_after_truncation_are_counted() -> None:
    tokenizer = byte_level(None)
    example = Pair(0, (said("user", "0"),), (said("a", "1234"),), (said("a", "1235"),), is_chat=False)
    assert one(tokenizer, example, max_length=4).trouble == (chat.SAME_IDS,)
    assert one(tokenizer, example, max_length=5).trouble == ()


def test_a_refused_conversation_is_dropped_with_the_templates_words() -> None:
    out_of_turn = pair([said("user", "one"), said("user", "two")], "yes", "no")
    good = pair([said("user", "one")], "yes", "no")
    drop, kept = tokenise([out_of_turn, good], sentencepiece_like(LLAMA2))
    assert isinstance(kept, PairTokens)
    assert isinstance(drop, Drop)
    assert drop.reason == chat.TEMPLATE_REFUSED
    assert "must alternate" in drop.detail


def test_user_errors() -> None:
    example = pair([said("user", "hi")], "yes", "no")
    with pytest.raises(UserError, match="no chat template"):
        list(tokenise([example], byte_level(None)))
    tokenizer = byte_level(None)
    tokenizer.eos_token = None
    with pytest.raises(UserError, match="no EOS token"):
        list(tokenise(plain_strings("."), tokenizer))

    class Slow:
        is_fast = False

    with pytest.raises(UserError, match="no character offsets"):
        list(tokenise([example], Slow()))
    with pytest.raises(UserError, match="max_length is 1"):
        list(tokenise([example], byte_level(), max_length=1))


def test_chat_and_plain_pairs_come_out_in_order() -> None:
    tokenizer = byte_level(CHATML)
    mixed = [q for both in zip(conversations(6), plain_strings(tokenizer.eos_token), strict=False) for q in both]
    together = list(tokenise(mixed, tokenizer, batch_pairs=5))
    for example, tokens in zip(mixed, together, strict=True):
        [alone] = tokenise([example], tokenizer)
        if isinstance(tokens, Drop) or isinstance(alone, Drop):
            assert tokens == alone
        else:
            assert np.array_equal(tokens.chosen_ids, alone.chosen_ids)


def test_hashes_tell_what_matters_apart() -> None:
    a, b = byte_level(CHATML), byte_level(CHATML, padding_side="left")
    assert template_hash(a) == template_hash(b)
    assert tokenizer_hash(a) == tokenizer_hash(b)
    b.pad_token = b.eos_token  # what a trainer does
    assert template_hash(a) == template_hash(b)
    assert template_hash(a) != template_hash(byte_level(ZEPHYR))
    assert tokenizer_hash(a) != tokenizer_hash(byte_level(CHATML, bos=True))
    assert tokenizer_hash(a) != tokenizer_hash(sentencepiece_like())
    other = byte_level(CHATML)  # the same vocabulary, split differently
    from tokenizers import pre_tokenizers

    other.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    assert tokenizer_hash(a) != tokenizer_hash(other)
