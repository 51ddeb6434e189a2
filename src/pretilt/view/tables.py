"""What the view reads: the artifacts of a finished run, and numbers as JSON can hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pretilt.schema import PROMPT_CONCEPTS


@dataclass(frozen=True)
class ReportTables:
    """The artifacts that are shown, with the schemas of `pretilt.schema`; manifest and preflight are JSON objects.

    `concentration` (schema CONCENTRATION), `alike` and `doctor` (the checks of doctor.json) may be missing: then the
    viewer leaves them out, or says so.
    """

    pairs: pa.Table
    concepts: pa.Table
    groups: pa.Table
    hypotheses: pa.Table
    evidence: pa.Table
    dropped: pa.Table
    preflight: Mapping[str, Any] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)
    prompt_concepts: pa.Table = field(default_factory=PROMPT_CONCEPTS.empty_table)
    concentration: pa.Table | None = None
    sources: pa.Table | None = None  # schema SOURCES
    alike: pa.Table | None = None  # schema ALIKE
    doctor: Sequence[Mapping[str, Any]] = ()
    files: Sequence[str] = ()  # names of the run's artifacts
    given_names: Mapping[int, str] = field(default_factory=dict)  # concept to what a person called it

    @property
    def is_text_alone(self) -> bool:
        """No lens read the pairs: there are patterns alone, and lengths are words."""
        return bool((self.manifest.get("settings") or {}).get("no_lens", False))

    @property
    def paper_order(self) -> bool:
        """The lists are ordered as in the paper; otherwise what is sure comes first."""
        return bool((self.manifest.get("settings") or {}).get("paper", False))


def n_train(pairs: pa.Table) -> int:
    """Pairs that were not held out: those that every statistic is about."""
    return int(pc.sum(pc.equal(pairs["split"], "train")).as_py() or 0)


def rounded(value: float | None, digits: int = 5) -> float:
    """`digits` significant digits: all that a page can show, and half the bytes. None becomes NaN."""
    return float("nan") if value is None else float(f"{value:.{digits}g}")
