"""What a trace is made of: texts of pairs, the tokens that fired in them, names of concepts and of sets of pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pretilt.audit.evidence import token_reader
from pretilt.errors import UserError
from pretilt.events import Events
from pretilt.labels.described import named_table
from pretilt.lens.blocks import transcripts
from pretilt.lens.tokens import PairTokens
from pretilt.pairs.shuffle import label_swap
from pretilt.pairs.transcript import transcript
from pretilt.run import Run
from pretilt.schema import DETECTOR, EVIDENCE_FILE, IN_GROUPS, OVER_ALL_PAIRS, PAIRS_FILE, PATTERN, TOKENS_FILE
from pretilt.settings import AuditSettings
from pretilt.text import is_harmful, mask_slurs
from pretilt.trace.types import Quote

SAME_U = 1e-9


def tokens_of(
    run: Run, settings: AuditSettings, u_of_key: Mapping[tuple[str, int], float], events: Events
) -> dict[tuple[str, int], PairTokens]:
    """Tokens of (pair_id, concept_id): those of the evidence, and the others through the lens.

    `u_of_key` gives the u of each. Evidence of another u is of an earlier ranking, in which the number meant another
    concept: it is not believed.
    """
    tokens: dict[tuple[str, int], PairTokens] = {}
    if run.holds(EVIDENCE_FILE):
        table = run.table(EVIDENCE_FILE)
        of_pair = pc.is_in(table["pair_id"], pa.array(sorted({p for p, _ in u_of_key}), pa.string()))
        for row in table.filter(of_pair).to_pylist():
            key = (row["pair_id"], int(row["hypothesis_id"].rsplit(":", 1)[1]))
            if key in u_of_key and abs(row["u"] - u_of_key[key]) < SAME_U:
                sides = (row[f"{side}_{part}"] for side in ("chosen", "rejected") for part in ("pieces", "acts"))
                tokens[key] = PairTokens(*sides)
    missing = [key for key in u_of_key if key not in tokens]
    concepts = concepts_of(run, {concept for _, concept in missing})
    of_text = [key for key in missing if concepts[key[1]]["kind"] == PATTERN]
    scored = [key for key in missing if concepts[key[1]]["kind"] == DETECTOR]
    of_features = [key for key in missing if key not in {*of_text, *scored}]
    if scored:
        from pretilt.lens.choice import choose_lens

        tokens |= zip(scored, token_reader(run, settings, choose_lens(settings, events), events)(scored), strict=True)
    if of_text:
        tokens |= zip(of_text, token_reader(run, settings, None, events)(of_text), strict=True)
    if of_features:
        tokens |= zip(of_features, _read_tokens(run, settings, of_features, events), strict=True)
    return tokens


def _read_tokens(
    run: Run, settings: AuditSettings, requests: Sequence[tuple[str, int]], events: Events
) -> list[PairTokens]:
    from pretilt.lens.choice import choose_lens
    from pretilt.pairs.chat import reading_hash

    choice = choose_lens(settings, events)
    lens = choice.lens(run.table(TOKENS_FILE))
    now = lens.measurement_id(reading_hash(choice.tokenizer), settings.max_length)
    # A random dictionary is calibrated anew, to the last digits of the machine.
    if settings.baseline != "random-dictionary" and now != run.manifest["measurement_id"]:
        raise UserError(
            "the lens is not the one that read this run",
            why="the model, the dictionary or the chat template has changed since",
            fix="Give --no-tokens, or put the old lens back",
        )
    tokens: list[PairTokens] = token_reader(run, settings, choice, events)(requests)
    return tokens


def quotes_of(run: Run, settings: AuditSettings, pair_ids: Iterable[str]) -> dict[str, Quote]:
    """Texts of some pairs; a pair whose label the baseline swapped is shown swapped."""
    names = ["pair_id", "row_index", "split", "family_id", "is_chat", "prompt", "chosen", "rejected"]
    pairs = run.table(PAIRS_FILE, names)
    is_quoted = pc.is_in(pairs["pair_id"], pa.array(sorted(set(pair_ids)), pa.string()))
    at = np.flatnonzero(is_quoted.to_numpy())
    families, sizes = np.unique(pairs["family_id"].to_numpy(), return_counts=True)
    size = dict(zip(families.tolist(), sizes.tolist(), strict=True))
    some = pairs.take(pa.array(at))
    swap = label_swap(run, settings)
    turned = np.zeros(at.size, bool) if swap is None else swap[at]
    quotes = {}
    for row, prompt, turn in zip(some.to_pylist(), transcripts(some), turned, strict=True):
        texts = [_response(row[side], row["is_chat"]) for side in ("chosen", "rejected")]
        chosen, rejected = texts[::-1] if turn else texts
        quotes[row["pair_id"]] = Quote(
            row["pair_id"], row["row_index"], row["split"], row["family_id"], size[row["family_id"]],
            prompt, chosen, rejected, is_harmful(prompt, chosen, rejected),
        )  # fmt: skip
    return quotes


def _response(messages: Sequence[Mapping[str, Any]], is_chat: bool) -> str:
    """One turn of the assistant stands alone; several turns say whose they are."""
    return transcript(messages, is_chat=is_chat and [m["role"] for m in messages] != ["assistant"])


def concepts_of(run: Run, concept_ids: Iterable[int]) -> dict[int, dict[str, Any]]:
    ids = sorted(set(concept_ids))
    table = named_table(run, "concepts", ["concept_id", "kind", "name", "phrases"]).take(pa.array(ids, pa.int64()))
    return dict(zip(ids, table.to_pylist(), strict=True))


def name_of(row: dict[str, Any] | None, kind: str, number: int) -> str:
    return mask_slurs((row or {}).get("name") or f"{kind} {number}")


def place_of(run: Run, view: str, where: int) -> str:
    """Name of the set of pairs, "" for all pairs."""
    if view in OVER_ALL_PAIRS:
        return ""
    kind = "group" if view in IN_GROUPS else "prompt_concept"
    table = named_table(run, f"{kind}s", [f"{kind}_id", "name"])
    rows = table.filter(pc.equal(table[f"{kind}_id"], where)).to_pylist()
    return name_of(rows[0] if rows else None, kind.replace("_", " "), where)
