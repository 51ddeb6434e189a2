"""Labels with their held-out scores, as a table for a terminal."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from pretilt.concepts.readable import readable

LISTED = 20  # rows


def labels_text(labels: pa.Table, width: int, run: str = "") -> str:
    """How many labels there are, and of the first ones a line: score on held-out families, labeller, what, label.

    `labels` has the schema LABELS of the labels floor; text is cut at `width`, control characters are dropped. Labels
    of hypotheses, put together from the others, are counted alone.
    """
    counts = Counter((row["labeller"], row["status"]) for row in labels.to_pylist())
    counted = [f"{n:,} {status} by {readable(labeller)}" for (labeller, status), n in counts.items()]
    head = f"{labels.num_rows:,} labels ({', '.join(counted)}), all in labels.parquet{f' of {run}' if run else ''}"
    labels = labels.filter(pc.not_equal(labels["kind"], "hypothesis")).slice(0, LISTED)
    lines = [head, "", f"{'held-out':>8}  {'labeller':14} {'what':16} label"]
    for row in labels.to_pylist():
        score = row["detection_balanced_accuracy"]
        score_text = f"{score:8.2f}" if score is not None else f"{'-':>8}"
        text = row["label"] if row["label"] is not None else f"({row['status']}: {row['error'] or 'no label'})"
        line = f"{score_text}  {row['labeller'][:14]:14} {row['kind'] + ':' + str(row['id']):16} {readable(text)}"
        lines.append(line if len(line) <= width else line[: width - 1] + "…")
    lines.append("held-out: balanced accuracy on families that the label was not written from; 0.5 is chance")
    return "\n".join(lines)
