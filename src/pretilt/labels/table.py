"""labels.parquet: one row per labelled thing and labeller."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import pyarrow as pa

from pretilt.labels.judge import auroc, balanced_accuracy
from pretilt.labels.prompts import PROMPT_VERSION

OFFLINE = "offline"
PASSES = 0.75  # detection score (balanced accuracy) on held-out families from which a description is shown as a name
TOO_FEW = "too few texts with and without it"  # what no second try can mend

LABELS = pa.schema(
    [
        ("kind", pa.string()),  # "concept" | "group" | "prompt_concept" | "hypothesis"
        ("id", pa.string()),  # concept_id, group_id, prompt_concept_id or hypothesis_id, as text
        ("label", pa.string()),  # plain text, to be escaped like dataset text; null without a valid answer
        ("labeller", pa.string()),  # "offline" or the model's name
        ("status", pa.string()),  # "ok" | "unscored" (no score) | "invalid" (no valid answer) | "error" | "skipped"
        ("error", pa.string()),  # why it is not "ok", or null
        ("detection_balanced_accuracy", pa.float64()),  # on texts the label was not made from; 0.5 is chance
        ("detection_auroc", pa.float64()),
        ("n_scored", pa.int32()),  # texts behind the two scores, about half of them showing it
        ("n_fit", pa.int32()),  # texts the label was made from
        ("prompt_version", pa.int32()),  # null for offline labels
    ]
)


@dataclass(frozen=True)
class LabelRow:
    """One row of LABELS; NaN scores are stored as null."""

    kind: str
    id: str
    label: str | None
    labeller: str
    status: str
    error: str | None = None
    detection_balanced_accuracy: float = math.nan
    detection_auroc: float = math.nan
    n_scored: int = 0
    n_fit: int = 0

    def to_dict(self) -> dict[str, object]:
        """A row of LABELS as JSON can hold it."""
        row = asdict(self)
        for name in ("detection_balanced_accuracy", "detection_auroc"):
            row[name] = None if math.isnan(row[name]) else row[name]
        row["prompt_version"] = None if self.labeller == OFFLINE else PROMPT_VERSION
        return row


def scored_row(
    kind: str,
    id_: str,
    label: str,
    labeller: str,
    n_fit: int,
    shows: Sequence[bool],
    predicted: Sequence[bool],
    scores: Sequence[float],
    problem: str = "",
) -> LabelRow:
    """The row of a label that was judged on some texts: `predicted` and `scores` are the judge's, `shows` the truth.

    "unscored" if there are not both kinds of texts; `problem` says why the judge did not answer for all.
    """
    accuracy = balanced_accuracy(shows, predicted)
    if math.isnan(accuracy):
        return LabelRow(kind, id_, label, labeller, "unscored", problem or TOO_FEW, n_fit=n_fit)
    return LabelRow(
        kind, id_, label, labeller, "ok", problem or None, accuracy, auroc(shows, scores), len(shows), n_fit
    )


def labels_table(rows: Sequence[LabelRow]) -> pa.Table:
    """The LABELS table, by kind, id and labeller in the order given."""
    return pa.Table.from_pylist([row.to_dict() for row in rows], schema=LABELS)


def descriptions(labels: pa.Table) -> dict[str, str]:
    """`kind:id` to the best description by a language model whose held-out score passes. `labels`: schema LABELS."""
    best: dict[str, tuple[float, str]] = {}
    for row in labels.to_pylist():
        score, key = row["detection_balanced_accuracy"], f"{row['kind']}:{row['id']}"
        if row["labeller"] == OFFLINE or row["status"] != "ok" or not row["label"] or score is None or score < PASSES:
            continue
        if key not in best or score > best[key][0]:
            best[key] = (score, row["label"])
    return {key: label for key, (_, label) in best.items()}


def hypothesis_rows(places: Sequence[tuple[str, str, str]], rows: Sequence[LabelRow]) -> list[LabelRow]:
    """Labels of hypotheses, put together from those of the concept and of the place, per labeller.

    `places` are (hypothesis_id, concept id, "kind:id" of the place or "" for everywhere). They carry no score of their
    own: those of the parts are in the table. Without a label for a part there is none for the hypothesis.
    """
    row_of = {(row.labeller, f"{row.kind}:{row.id}"): row for row in rows}
    out = []

    for labeller in dict.fromkeys(row.labeller for row in rows):
        for hypothesis_id, concept, place in places:
            parts = [row_of.get((labeller, name)) for name in (f"concept:{concept}", place) if name]
            missing = [p.error or p.status for p in parts if p is not None and p.label is None]
            if None in parts or missing:
                status, why = ("error", missing[0]) if missing else ("skipped", "a part of it has no label")
                out.append(LabelRow("hypothesis", hypothesis_id, None, labeller, status, why))
                continue
            label = ", where: ".join(p.label for p in parts if p is not None and p.label is not None)
            out.append(LabelRow("hypothesis", hypothesis_id, label, labeller, "ok"))

    return out
