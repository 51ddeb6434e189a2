"""A concept is found by its name, as it is printed or a part of it that no other name has."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pytest

import pretilt
from pretilt.errors import UserError
from pretilt.trace.ids import resolve


class NamedRun:
    """A run of three concepts, all communities, of which two share a word."""

    path = Path("runs/named")
    manifest: ClassVar[dict[str, Any]] = {"stages": {}}
    names = ('"Hill", "so", "too"', '"AI", "a", "model"', '"AI", "helper"')

    def table(self, file: str, columns: list[str]) -> pa.Table:
        tables = {
            "concepts.parquet": pa.table({"concept_id": [0, 1, 2], "name": self.names, "kind": ["community"] * 3}),
            "hypotheses.parquet": pa.table({"hypothesis_id": ["global:0"], "rank": pa.array([1], pa.int32())}),
        }
        return tables[file].select(columns)


@pytest.mark.parametrize("typed", ['"Hill", "so", "too"', "hill", '"hill", "s…', '"Hill", "so", "too" · up the hill'])
def test_a_part_that_one_name_alone_has_is_enough(typed: str) -> None:
    assert resolve(NamedRun(), typed).id == "global:0"  # type: ignore[arg-type, union-attr]


def test_a_part_of_two_names_is_answered_with_both_and_their_ids() -> None:
    with pytest.raises(UserError) as raised:
        resolve(NamedRun(), "ai")  # type: ignore[arg-type]
    assert "no name of one concept alone" in str(raised.value)
    assert 'concept:1 ("AI", "a", "model") or concept:2 ("AI", "helper")' in str(raised.value)


def test_the_printed_names_of_a_run_can_be_typed_back(shared_run: pretilt.AuditResult) -> None:
    names = shared_run.concepts["name"].to_pylist()
    name = next(name for name in names if name and names.count(name) == 1)
    assert pretilt.trace(shared_run, name, tokens=False).concept_id == names.index(name)
