"""A forecast on the terminal: what will move, whether it is rewarded, whether the model can say it, and the seal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pretilt.artifacts import finite
from pretilt.forecast.step import ForecastResult
from pretilt.labels.described import named_table
from pretilt.text import counted, mask_slurs, one_line
from pretilt.view.certainty import signed
from pretilt.view.clear_names import by_name
from pretilt.view.effects import effect_id
from pretilt.view.terminal.kit import Page, percent

LISTED = 8  # rows of either direction
RUNGS = {
    "mean": "the mean of chosen - rejected",
    "one_step": "one step of training",
    "converged": "training to the optimum",
    "tilt": "the optimum, tilted exactly on sampled answers",
}
_KINDS = {
    "pattern": "in the text",
    "detector": "by a detector",
    "community": "",
    "shift_max": "by strength",
    "shift_freq": "by frequency",
}


@dataclass(frozen=True)
class ForecastTold:
    """`report` is forecast.json, `table` has the schema FORECAST, `concepts` CONCEPTS."""

    report: Mapping[str, Any]
    table: pa.Table
    concepts: pa.Table
    source: str


def forecast_told(result: ForecastResult) -> ForecastTold:
    """What is printed of a sealed forecast."""
    run = result.run
    return ForecastTold(result.report, result.table, named_table(run, "concepts"), run.manifest["source"])


@dataclass(frozen=True)
class Foreseen:
    """One concept over all pairs. `shift`, `lo`, `hi` are in units of the root mean square shift of its kind."""

    concept_id: int
    name: str
    kind: str
    shift: float
    lo: float
    hi: float
    rewarded: str  # "+" | "-" | "?"
    expressed: str

    @property
    def sign_known(self) -> bool:
        return self.lo > 0 or self.hi < 0


def foreseen(forecast: ForecastTold) -> list[Foreseen]:
    """Communities and response-shift concepts, those of known sign first, then by the size of their shift."""
    of_all = forecast.table.filter(pc.equal(forecast.table["view"], "global"))
    concept_rows = forecast.concepts.select(["concept_id", "kind", "name"]).to_pylist()
    named = {row["concept_id"]: (row["kind"], row["name"]) for row in concept_rows}
    rows = [(*named[row["concept_id"]], row) for row in of_all.to_pylist()]
    shifts = []
    for kind in _KINDS:
        of_kind = [(name, row) for its_kind, name, row in rows if its_kind == kind]
        size = float(np.sqrt(np.mean([row["shift"] ** 2 for _, row in of_kind]))) if of_kind else 0.0
        for name, row in of_kind:
            shift, lo, hi = (row[column] / (size or 1.0) for column in ("shift", "shift_lo", "shift_hi"))
            words = (_rewarded(row), _expressed(row))
            shifts.append(Foreseen(row["concept_id"], name or "", kind, shift, lo, hi, *words))
    return sorted(shifts, key=lambda row: (not row.sign_known, -abs(row.shift)))


def _rewarded(row: Mapping[str, Any]) -> str:
    lo, hi = finite(row["rewarded_lo"]), finite(row["rewarded_hi"])
    return "+" if lo is not None and lo > 0 else "-" if hi is not None and hi < 0 else "?"


def _expressed(row: Mapping[str, Any]) -> str:
    share = finite(row["prevalence"])
    if share is None:
        return "?"
    if row["needs_sft"]:
        return "needs SFT"
    return "never seen" if row["unclear"] else percent(share)


def print_forecast(forecast: ForecastTold, console: Console) -> None:
    """One screen."""
    page, report, rows = Page(console), forecast.report, foreseen(forecast)
    page.heading(f"pretilt · forecast for {one_line(forecast.source)}", "what training on these pairs will do")
    page.print()
    page.facts(_made_from(report))
    for title, sign, note in (("amplified", 1, "said more after training"), ("suppressed", -1, "said less")):
        page.heading(f"Most {title}", note)
        of_sign = [row for row in rows if row.shift * sign > 0]
        of_known_sign = [row for row in of_sign if row.sign_known]
        if of_known_sign:
            _table(page, of_known_sign)
        else:
            page.print(f"nothing: of {len(of_sign):,} concepts none is known to move this way")
    if advice := _more_answers(report, rows):
        page.print()
        page.print(advice)
    page.print()
    page.facts(_reading(report, rows) + _nulls(report) + _seal(report))
    page.print()


def _more_answers(report: Mapping[str, Any], rows: Sequence[Foreseen]) -> str:
    """Where no sign is known: how many answers it would take, if they are what is short; "" where some sign is known.

    Half the width of an interval shrinks with the root of the number of answers, so that the clearest concept needs
    (half its width / its shift)² times as many. The noise of the pairs stays: it is the least that it takes.
    """
    if not rows or any(row.sign_known for row in rows):
        return ""
    if report["rollouts"] is None:
        return f"0 of {len(rows):,} signs are known from these pairs: it takes more pairs, or answers of the model."
    n = report["rollouts_read"]
    widths = [(row.hi - row.lo) / 2 / abs(row.shift) for row in rows if row.shift]
    more = int(np.ceil(n * (min(widths) ** 2 - 1))) if widths else n
    return f"0 of {len(rows):,} signs are known from {n:,} answers: sample at least {max(more, 1):,} more."


def _table(page: Page, rows: Sequence[Foreseen]) -> None:
    """Of rows that move one way those with clear names first, one of each name."""
    clear, n_vague = by_name(rows, lambda row: {"kind": row.kind, "name": row.name})
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False, expand=True)
    table.add_column("")
    table.add_column("concept", ratio=1, no_wrap=True, overflow=page.overflow)
    for name in ("will move", "95 % interval", "rewarded", "expressed"):
        table.add_column(name, justify="right", no_wrap=True)
    mark = page.text("▲" if rows[0].shift > 0 else "▼")
    for row, n_alike in clear[:LISTED]:
        concept = page.text(one_line(mask_slurs(row.name)))
        if _KINDS[row.kind]:
            concept = Text.assemble(concept, page.text(f" · {_KINDS[row.kind]}", "dim"))
        note = effect_id(row.concept_id, row.kind) + (f" · and {n_alike:,} more like it" if n_alike else "")
        concept = Text.assemble(concept, page.text(f"\n{note}", "dim"))
        limits = f"[{signed(row.lo, 2)}, {signed(row.hi, 2)}]"
        cells = [page.text(cell) for cell in (signed(row.shift, 2), limits, row.rewarded, row.expressed)]
        table.add_row(mark, concept, *cells)
    if n_vague:
        table.add_row(mark, page.text(f"{n_vague:,} more without a clear name: in the viewer", "dim"))
    page.print(table)


def _made_from(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    role = report["rollouts"]
    rows = [
        ("Pairs", f"{counted(report['pairs'], 'training pair')} of {counted(report['families'], 'family', 'families')}")
    ]
    if role is None:
        rows += [
            ("Rollouts", "none: what moves along with what is taken from the pairs, which is right only if the"),
            ("", "model itself wrote them; what it can express is not known (`pretilt rollouts`)"),
        ]
    else:
        answers = (
            f"{report['rollouts_read']:,} answers to {report['prompts']:,} prompts by the untrained model ('{role}')"
        )
        rows.append(("Rollouts", answers))
        if report["rollouts_by_own_model"] is False:
            rows.append(
                ("", "NOT the model that the pairs were read through: the forecast is for the one that answered")
            )
        if not report["rollouts_disjoint"]:
            rows.append(("", "the verification's own: chance in them touches forecast and outcome alike; a role"))
            rows.append(("", "'reference' keeps the two apart (`pretilt rollouts RUN --role reference`)"))
    rows.append(("Forecast", f"{report['rung']}: {RUNGS[report['rung']]}; a response's score: {report['form']}"))
    families = report["families_of_concepts"].items()
    aucs = [f"{f['auc_heldout']:.2f} from {_FAMILIES[name]}" for name, f in families if f["auc_heldout"] is not None]
    rows.append(("Reward", f"held-out AUC {', '.join(aucs)} (0.5: the labels cannot be told)"))
    return rows


_FAMILIES = {
    "features": "communities and features",
    "shift_max": "shifts by strength",
    "patterns": "patterns of the text",
    "detectors": "detectors",
    "shift_freq": "shifts by frequency",
}


def _reading(report: Mapping[str, Any], rows: Sequence[Foreseen]) -> list[tuple[str, str]]:
    n_known = sum(row.sign_known for row in rows)
    return [
        ("Signs", f"{n_known:,} of {len(rows):,} are known; single features are in forecast.parquet"),
        ("will move", "in units of the typical shift of its kind: signs and ratios mean something, sizes"),
        ("", "do not before one trained model has calibrated them"),
        ("rewarded", "by the labels, all other concepts and the length held fixed; ?: not known"),
        ("expressed", "share of the untrained model's answers that show it; needs SFT: surely under 1 %"),
    ]


def _nulls(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    first = next(iter(report["families_of_concepts"].values()))
    words = {"length": "length alone", "prevalence": "prevalence alone", "shuffled": "shuffled labels"}
    nulls = [f"{text} {signed(first['null_agreement'].get(name), 2)}" for name, text in words.items()
             if name in first["null_agreement"]]  # fmt: skip
    ladder = [f"{rung} {signed(r, 2)}" for rung, r in first["ladder_agreement"].items() if rung != "mean"]
    return [
        ("Nulls", f"correlation of the forecast with {', '.join(nulls)}"),
        ("Ladder", f"correlation of the mean with {', '.join(ladder)}"),
    ]


def _seal(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    when = "before training" if report["sealed_before_training"] else "written AFTER a training in this run had begun"
    return [("Sealed", f"{report['sha256'][:12]} at {report['written']}, {when}")]
