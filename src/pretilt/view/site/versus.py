"""Two runs side by side, as one shard."""

from __future__ import annotations

from typing import Any

from pretilt.comparison.step import ComparisonResult
from pretilt.text import mask_slurs
from pretilt.view.site.shards import columns


def versus(comparison: ComparisonResult) -> dict[str, Any]:
    """{"report": without its list, "rows": columns of COMPARISON, sure ones first}; ids are those of the first run."""
    report = {name: value for name, value in comparison.report.items() if name != "differing"}
    rows = columns(comparison.table)
    rows["name"] = [mask_slurs(name or f"concept {concept}")
                    for name, concept in zip(rows["name"], rows["concept_id"], strict=True)]  # fmt: skip
    return {"report": report, "rows": rows}
