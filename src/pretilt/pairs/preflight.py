"""Numbers about the pairs before any model reads them: counts, length bias, suspicious labels, and the cost."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pretilt.schema import SPANS

_MODEL_PAIRS_LISTED = 20


def preflight(
    pairs: pa.Table,
    tokens: pa.Table | None,
    dropped: pa.Table,
    *,
    source_format: str,
    n_rows: int,
    trouble: Mapping[str, int],
    max_length: int | None,
    families: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Numbers about the tables PAIRS, TOKENS and DROPPED, as a JSON-able dict.

    `source_format`: the name of the recognised format;
    `n_rows`: rows of the source; `trouble`: pairs per kind of chat-template trouble; `families`: `Families.report()`,
    to which `straddling` is added: families with pairs on both sides of the held-out split. All token counts are after
    truncation. `length_bias` is in content tokens, chosen - rejected (+ = chosen is longer), its standard error by
    near-duplicate component, null where there is one component only. `tokens.read` is what a harvest reads: every
    prompt once, and both responses.
    """
    n_pairs = pairs.num_rows
    n_plain = n_pairs - _total(pairs["is_chat"])
    sizes = np.bincount(pairs["component_id"].to_numpy())

    all_notes = list(notes)
    if n_plain:
        all_notes.append(f"{n_plain} of {n_pairs} pairs are plain strings: TRL trains these without a chat template")

    return {
        "format": source_format,
        "rows": {
            "read": n_rows,
            "kept": len(pc.unique(pairs["row_index"])),
            "dropped": dict(sorted(Counter(dropped["reason"].to_pylist()).items(), key=lambda x: (-x[1], x[0]))),
        },
        "pairs": {
            "kept": n_pairs,
            "train": _total(pc.equal(pairs["split"], "train")),
            "heldout": _total(pc.equal(pairs["split"], "heldout")),
            "plain_strings": n_plain,
            "truncated": _total(pairs["truncated"]),
        },
        "duplicates": _duplicates(pairs),
        "components": {
            "count": int(sizes.size),
            "largest": int(sizes.max(initial=0)),
            "pairs_in_components_of_2_or_more": int(sizes[sizes > 1].sum()),
        },
        "families": {**families, "straddling": _straddling(pairs)},
        "length_bias": _length_bias(pairs),
        "scores": _scores(pairs),
        "models": _models(pairs),
        "chat_template_trouble": dict(sorted(trouble.items())),
        "tokens": _tokens(pairs, tokens),
        "max_length": max_length,
        "notes": all_notes,
    }


def _total(column: Any) -> int:
    return int(pc.sum(column).as_py() or 0)


def _duplicates(pairs: pa.Table) -> dict[str, int]:
    """Copies beyond the first of each content; and pairs that some other pair contradicts (same texts, swapped)."""
    prompts, judged = [], []
    for prompt, chosen, rejected in zip(*(pairs[span].to_pylist() for span in SPANS), strict=True):
        prompts.append(json.dumps(prompt, sort_keys=True))
        judged.append((prompts[-1], json.dumps(chosen, sort_keys=True), json.dumps(rejected, sort_keys=True)))
    judgements = set(judged)
    return {
        "pairs": sum("-" in pair_id for pair_id in pairs["pair_id"].to_pylist()),
        "prompts": len(prompts) - len(set(prompts)),
        "contradicting_pairs": sum((prompt, rejected, chosen) in judgements for prompt, chosen, rejected in judged),
    }


def _straddling(pairs: pa.Table) -> int:
    heldout = pc.equal(pairs["split"], "heldout").to_numpy()
    family_id = pairs["family_id"].to_numpy()
    return int(np.intersect1d(family_id[heldout], family_id[~heldout]).size)


def _length_bias(pairs: pa.Table) -> dict[str, float | None]:
    chosen, rejected = (pairs[f"n_{side}_tokens"].to_numpy().astype(np.int64) for side in ("chosen", "rejected"))
    difference = chosen - rejected
    mean = float(difference.mean())

    by_component = np.bincount(pairs["component_id"].to_numpy(), weights=difference - mean)
    c = by_component.size
    error = float(np.sqrt(c / (c - 1) * np.square(by_component).sum()) / difference.size) if c > 1 else None

    return {
        "mean_chosen": float(chosen.mean()),
        "mean_rejected": float(rejected.mean()),
        "mean_difference": mean,
        "standard_error": error,
        "share_chosen_longer": float((difference > 0).mean()),
        "share_equal": float((difference == 0).mean()),
    }


def _scores(pairs: pa.Table) -> dict[str, int]:
    """`disagree`: the chosen response has the lower score; labels or scores may be the wrong way round."""
    lower = pc.less(pairs["chosen_score"], pairs["rejected_score"])  # null where a score is unknown
    equal = pc.equal(pairs["chosen_score"], pairs["rejected_score"])
    return {"known": len(lower) - lower.null_count, "disagree": _total(lower), "equal": _total(equal)}


def _models(pairs: pa.Table) -> dict[str, Any]:
    """The most frequent (chosen model, rejected model) of `combinations` such; `other` pairs are not listed."""
    both = zip(pairs["chosen_model"].to_pylist(), pairs["rejected_model"].to_pylist(), strict=True)
    counts = Counter(pair for pair in both if any(pair))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))
    listed = [{"chosen": c, "rejected": r, "pairs": n} for (c, r), n in ordered[:_MODEL_PAIRS_LISTED]]
    other = sum(n for _, n in ordered[_MODEL_PAIRS_LISTED:])
    return {"known": counts.total(), "combinations": len(counts), "table": listed, "other": other}


def _tokens(pairs: pa.Table, tokens: pa.Table | None) -> dict[str, int]:
    """Token counts; without tokens those of words, of which none is read through a lens."""
    content = {f"{span}_content": _total(pairs[f"n_{span}_tokens"]) for span in SPANS}
    total = sum(content.values())
    if tokens is None:
        return {**{span: content[f"{span}_content"] for span in SPANS}, **content, "read": 0, "content": total}
    ids = {span: _total(pc.list_value_length(tokens[f"{span}_ids"])) for span in SPANS}
    return {**ids, **content, "read": sum(ids.values()), "content": total}
