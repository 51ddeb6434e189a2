"""A trait in plain words: the run's own model answers prompts of the run under two opposite instructions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from pretilt.concepts.pattern_step import question
from pretilt.concepts.patterns import Pattern, count
from pretilt.errors import UserError
from pretilt.events import Events
from pretilt.lens.blocks import train_rows
from pretilt.lens.choice import LensChoice
from pretilt.models.sample import LocalSampler
from pretilt.models.sampler import Drawn
from pretilt.pairs.instruction import instructed
from pretilt.pairs.pair import Message, Pair
from pretilt.pairs.tables import pairs_from_table
from pretilt.run import Run
from pretilt.schema import PAIRS_FILE, TOKENS_FILE
from pretilt.settings import AuditSettings, DetectorSettings

WITH_IT = "Write your answer so that the following is true of it, clearly and from the first sentence on: {trait}."
WITHOUT = "Write your answer so that the following is not true of it in any way: {trait}."
BATCH_SIZE = 16
PLACEHOLDERS = ("An answer.", "Another one.")  # a pair needs two responses to be rendered


def trait_rows(run: Run, settings: AuditSettings, options: DetectorSettings) -> np.ndarray:
    """Training pairs whose prompts are answered, positions in pairs.parquet ascending; of a family at most one."""
    family = run.table(PAIRS_FILE, ["family_id"])["family_id"].to_numpy()
    rows = np.random.default_rng(options.seed).permutation(np.flatnonzero(train_rows(run)))
    _, first = np.unique(family[rows], return_index=True)
    return np.sort(rows[np.sort(first)][: options.n_prompts])


def sampled_contrast(
    run: Run,
    choice: LensChoice,
    settings: AuditSettings,
    options: DetectorSettings,
    trait: str,
    rows: np.ndarray,
    pattern: Pattern | None,
    events: Events,
) -> list[dict[str, Any]]:
    """Rows {prompt, positive, negative} as `open_contrast` reads them: answers under either instruction, shown without
    it.

    Left out are prompts with an empty answer or twice the same and, where a pattern of that name exists, those whose
    answers the pattern does not tell apart. Raises UserError where nothing is left.
    """
    pairs = pairs_from_table(run.table(PAIRS_FILE).take(pa.array(rows)))
    sides = [_instructed(pairs, text.format(trait=trait), choice.tokenizer) for text in (WITH_IT, WITHOUT)]
    prompts = [ids for side in sides for ids in side]
    events.say(f"detector: {len(prompts)} answers of the run's model under two opposite instructions")
    answers = _sampled(run, choice, settings, options, prompts)

    examples = []
    for i, pair in enumerate(pairs):
        positive, negative = answers[i], answers[len(pairs) + i]
        if not positive.strip() or not negative.strip() or positive == negative:
            continue
        if pattern is not None:
            prompt_text = question([{"role": m.role, "content": m.content} for m in pair.prompt])
            holds = count([pattern], [positive, negative], [prompt_text, prompt_text])[:, 0] > 0
            if not holds[0] or holds[1]:
                continue
        examples.append(_row(pair, positive, negative))
    if not examples:
        raise UserError(
            "the model's answers do not show the trait",
            why=f"of {len(pairs)} prompts none has an answer with it and one without",
            fix="Give examples of your own with --from, or a model that follows instructions",
        )
    return examples


def _row(pair: Pair, positive: str, negative: str) -> dict[str, Any]:
    if not pair.is_chat:
        return {"prompt": "".join(m.content for m in pair.prompt), "positive": positive, "negative": negative}
    turns = [{"role": m.role, "content": m.content} for m in pair.prompt]
    return {
        "prompt": turns,
        **{
            side: [{"role": "assistant", "content": text}]
            for side, text in (("positive", positive), ("negative", negative))
        },
    }


def _instructed(pairs: Sequence[Pair], instruction: str, tokenizer: Any) -> list[np.ndarray]:
    """Ids of the prompts with the instruction before them."""
    answers = [tuple(Message("assistant" if pair.is_chat else "", text) for text in PLACEHOLDERS) for pair in pairs]
    answered = [
        replace(pair, chosen=(first,), rejected=(second,)) for pair, (first, second) in zip(pairs, answers, strict=True)
    ]
    return [tokens.prompt_ids for _, tokens in instructed(answered, instruction, tokenizer)]


def _sampled(
    run: Run, choice: LensChoice, settings: AuditSettings, options: DetectorSettings, prompts: Sequence[np.ndarray]
) -> list[str]:
    from pretilt.models.language import load_language_model, stop_ids

    tokens = run.table(TOKENS_FILE, ["chosen_ids", "chosen_content"])
    stop = stop_ids(choice.model_name, choice.revision, choice.tokenizer, tokens)
    model = load_language_model(
        choice.model_name, revision=choice.revision, device=settings.device, dtype=settings.dtype
    )
    sampler = LocalSampler(model, stop_ids=stop, max_new_tokens=options.max_new_tokens, batch_size=BATCH_SIZE)
    drawn = sampler(prompts, [f"{options.seed}:trait:{i}" for i in range(len(prompts))])
    return [_decoded(choice.tokenizer, answer, set(stop)) for answer in drawn]


def _decoded(tokenizer: Any, answer: Drawn, stop: set[int]) -> str:
    ids = [int(i) for i in answer.ids if int(i) not in stop]
    text: str = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text.rstrip("\ufffd")
