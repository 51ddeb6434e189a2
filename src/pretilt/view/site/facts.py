"""Facts of a run as a whole: what was read, how far to trust it, its files and versions; of no hypothesis or pair."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pretilt.schema import (
    ALIKE_FILE,
    CENTROIDS_FILE,
    COMMUNITIES_FILE,
    CONCENTRATION_FILE,
    CONCEPTS_FILE,
    DOCTOR_FILE,
    DROPPED_FILE,
    EVIDENCE_FILE,
    GROUP_MEMBERS_FILE,
    GROUPS_FILE,
    HYPOTHESES_FILE,
    MANIFEST,
    MEMBERSHIP_FILE,
    PAIRS_FILE,
    PATTERN_COUNTS_FILE,
    PATTERNS_FILE,
    PREFLIGHT_FILE,
    PROMPT_CONCEPTS_FILE,
    PROMPT_MEMBERS_FILE,
    SHIFT_SIGMA_FILE,
    SHIFTS_FILE,
    SHIFTS_REPORT,
    SOURCES_FILE,
    STATISTICS_FILE,
    SUMMARY_FILE,
    TOKENS_FILE,
)
from pretilt.view.summary import Summary
from pretilt.view.tables import ReportTables

DROPPED_ROWS = 200
FILES = {
    MANIFEST: "settings, versions, measurement id, hashes and timings of every stage",
    PAIRS_FILE: "the pairs that were read, in one schema",
    DROPPED_FILE: "rows that were not read, with row number and reason",
    TOKENS_FILE: "the exact token ids, and which of them are content",
    "features/": "per shard and span, the features that fire: counts and maxima",
    PATTERNS_FILE: "the patterns of the text that were counted, with their expressions",
    PATTERN_COUNTS_FILE: "how often each pattern stands in each response",
    SOURCES_FILE: "what each source, and each model that wrote responses, would teach by itself",
    CONCEPTS_FILE: "concepts: names, features, prevalence, global effects",
    GROUPS_FILE: "groups of pairs: names, sizes",
    GROUP_MEMBERS_FILE: "which pair is in which group",
    PROMPT_CONCEPTS_FILE: "what prompts are about: names, features, number of pairs",
    PROMPT_MEMBERS_FILE: "which pairs' prompts are most about which of these",
    HYPOTHESES_FILE: "every hypothesis that was tested, shown or not, with its statistics",
    EVIDENCE_FILE: "the responsible pairs of the shown hypotheses, with tokens and activations",
    CONCENTRATION_FILE: "how few pairs and families carry each of them",
    ALIKE_FILE: "which of their concepts say the same of the pairs",
    SUMMARY_FILE: "what the terminal prints, as `--json` gives it",
    STATISTICS_FILE: "how many hypotheses were tested, shown and sure, by view",
    COMMUNITIES_FILE: "how many features fire together, and how they were found",
    MEMBERSHIP_FILE: "which feature is in which community",
    SHIFTS_REPORT: "how the response-shift concepts and prompt concepts were found",
    SHIFTS_FILE: "response-shift concepts and prompt concepts: features and names",
    SHIFT_SIGMA_FILE: "by how much each feature differs between the two responses: the unit sd",
    CENTROIDS_FILE: "the groups' centroids, by which held-out pairs are assigned",
    DOCTOR_FILE: "the doctor's checks of the lens and of what was read",
    PREFLIGHT_FILE: "counts of the pairs, their families, lengths and labels, before any model read them",
}


def build_facts(tables: ReportTables, summary: Summary) -> dict[str, Any]:
    """What every page says of the run as a whole: not of any hypothesis, concept or pair."""
    facts = summary.to_dict()
    stages = tables.manifest.get("stages") or {}
    return {
        "title": summary.title,
        "opening": list(summary.opening),
        "read": facts["read"],
        "lens": facts["lens"],
        "trust": facts["trust"],
        "preflight": dict(tables.preflight),
        "dropped": {"n": tables.dropped.num_rows, "rows": tables.dropped.slice(0, DROPPED_ROWS).to_pylist()},
        "lengths": length_histogram(tables.pairs),
        "families": facts["families"],
        "sources": facts["sources"],
        "doctor": [dict(check) for check in tables.doctor],
        "files": _files(stages, tables.files),
        "versions": tables.manifest.get("versions") or {},
        "settings": tables.manifest.get("settings") or {},
        "seconds": {name: stage.get("seconds") for name, stage in stages.items() if stage.get("seconds") is not None},
    }


def length_histogram(pairs: pa.Table) -> dict[str, list[float]]:
    """Content tokens of chosen minus rejected, in equal bins around 0 that hold 98 %; the rest in the end bins."""
    difference = pairs["n_chosen_tokens"].to_numpy().astype(float) - pairs["n_rejected_tokens"].to_numpy()
    if not difference.size:
        return {"edges": [], "counts": []}
    reach = max(8.0, float(np.quantile(np.abs(difference), 0.98)))
    step = max(1, int(np.ceil(2 * reach / 31)))
    edges = (np.arange(33) - 16.5) * step + (0.5 if step % 2 == 0 else 0)
    counts, _ = np.histogram(np.clip(difference, edges[0], edges[-1]), edges)
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def _files(stages: Mapping[str, Any], files: Sequence[str]) -> list[list[str]]:
    """[relative name, what it holds] of the run's artifacts; a folder of shards is one. Odd names are left out."""
    names = {*files, *(name for stage in stages.values() for name in stage.get("files") or {})}
    top = {
        name if "/" not in name else name.split("/")[0] + "/"
        for name in names
        if re.fullmatch(r"\w[\w./-]*", name) and ".." not in name
    }
    order = list(FILES)
    return [
        [n, FILES.get(n, "")] for n in sorted(top | {MANIFEST}, key=lambda n: (order.index(n) if n in order else 99, n))
    ]
