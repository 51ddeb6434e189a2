"""What every report has in common."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Number = float | None  # null where it is not defined
Counts = dict[str, int]
Direction = Literal["amplify", "suppress"]


class Report(BaseModel):
    """Base of the reports: nothing in them is unknown, nothing is changed after it was written."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Check(Report):
    """One check of the doctor."""

    name: str
    verdict: Literal["green", "amber", "red", "not run"]
    figure: float | int | str | None
    threshold: str
    meaning: str
    what_to_do: str
