"""The tables of docs/results from finished worlds: every figure over seeds as median [lowest, highest]."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import controls
import numpy as np
import plants
import traits

sys.path.append(str(Path(__file__).parents[1]))

from stored import store

RUNGS = ("mean", "one_step", "converged", "tilt")
VIEWS = {"group": "groups", "prompt_max": "prompts (max)", "prompt_freq": "prompts (freq)"}
SETS = {"communities": "communities (headline)", "features": "communities and features",
        "shift_max": "shifts by strength", "shift_freq": "shifts by frequency", "patterns": "patterns"}  # fmt: skip
PAGES = {"small": "worlds", "smollm2": "language-model", "demo": "language-model", "real": "real-pairs"}
Finished = list[tuple[plants.World, list[Path]]]  # each with the folders of its seeds


def finished(out: Path, known: Mapping[str, plants.World], subject: str) -> Finished:
    """Finished worlds that are reported, in the order of the list, those for development last."""
    order = sorted(known.values(), key=lambda world: (world.development, world.kind != "on-policy"))
    found = []
    for world in order:
        folders = sorted((out / subject).glob(f"{world.name}-[0-9]"))
        if done := [folder for folder in folders if (folder / "result.json").exists()]:
            found.append((world, done))
    return found


@dataclass(frozen=True)
class Table:
    """A table of the documentation: the name it is stored under, its header, its cells, a sentence below it."""

    name: str
    head: list[str]
    rows: list[list[str]]
    closing: str = ""

    def __str__(self) -> str:
        lines = [self.head, ["---"] * len(self.head)]
        lines += [[cell.replace("|", "\\|") for cell in row] for row in self.rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"{table}\n\n{self.closing}" if self.closing else table


def tables_of(out: Path, known: Mapping[str, plants.World], subject: str, read: plants.Traits) -> list[Table]:
    """All tables of the finished worlds of a subject; none where no world is finished."""
    worlds = finished(out, known, subject)
    if not worlds:
        return []
    tables = [make(worlds) for make in (headline, beyond, rungs, in_hindsight, cells, regimes)]
    if all((folder / "truth.json").exists() for _, folders in worlds for folder in folders):
        tables.append(planted(worlds, read))
    control_rows = [row for world, folders in worlds for row in controls.rows(world.name, folders)]
    if control_rows:
        tables.append(Table("controls", list(controls.HEAD), control_rows))
    with_patterns = [table for table in [of_patterns(worlds)] if table.rows]
    return [*tables, *with_patterns, by_set(worlds), seconds(worlds)]


def keep(tables: Iterable[Table], subject: str) -> None:
    """Store for the documentation the tables that the subject's page shows; closing sentences stand in its prose."""
    shown = {"small": {table.name for table in tables} - {"sets"}, "smollm2": {"sets", "patterns"}}.get(subject, set())
    for table in tables:
        if table.name in shown:
            store(PAGES[subject], table.name, table.head, table.rows)


def headline(worlds: Finished) -> Table:
    """Feature-conditioned: the declared forecast on communities."""

    def row(one: dict[str, Any]) -> list[Any]:
        judged = one["judgement"]
        whole = judged["overall"]
        return [whole["n"], whole["rel_x"], whole["rel_y"], whole["r2"], _over(whole, "rel_y"), judged["spearman"],
                judged["sign_accuracy"], one["coverage"]["noise_alone"], one["coverage"]["even_prompts"],
                one["law_error"]]  # fmt: skip

    head = ("world", "kind", "seeds", "concepts", "rel_x", "rel_y", "R²", "R²/rel_y", "ρ", "sign",
            "coverage, noise alone", "coverage", "law error")  # fmt: skip
    return _by_world("headline", worlds, head, lambda report: row(report["sets"]["communities"]))


def beyond(worlds: Finished) -> Table:
    """What length, prevalence and shuffled labels would have said, and what is left without them."""

    def row(one: dict[str, Any]) -> list[Any]:
        judged, by = one["judgement"], {line["name"]: line["r2"] for line in one["table"]}
        top = judged["without_top"]
        return [by.get("length"), by.get("prevalence"), by.get("shuffled"), one["against_shuffled"]["lo"],
                _r2(judged["beyond_nulls"]), _r2(judged["standardised"]), _r2(top), top and top["rel_y"],
                one["labels"]["p"]]  # fmt: skip

    head = ("world", "kind", "seeds", "length", "prevalence", "shuffled", "R² above shuffled, at least",
            "beyond length and prevalence", "standardised", "without top 10", "its rel_y", "p of 99")  # fmt: skip
    return _by_world("beyond", worlds, head, lambda report: row(report["sets"]["communities"]))


def rungs(worlds: Finished) -> Table:
    """R² of every rung, and what the default gains over the mean."""

    def row(report: dict[str, Any]) -> list[Any]:
        told: list[Any] = []
        for name in ("communities", "features"):
            by = {line["name"]: line["r2"] for line in report["sets"][name]["table"]}
            told += [by.get(rung) for rung in RUNGS]
            if name == "communities":
                told.append(by["converged"] - by["mean"])
        return told

    head = ("world", "kind", "seeds", *RUNGS, "converged − mean", *(f"features: {rung}" for rung in RUNGS))
    return _by_world("rungs", worlds, head, row)


def in_hindsight(worlds: Finished) -> Table:
    """What first order and tilt reach with the trained model's own reward, beside the forecast: whose is a miss?"""

    def row(report: dict[str, Any]) -> list[Any]:
        told: list[Any] = [report["importance"].get("kl", {}).get("value")]
        for name in ("communities", "features"):
            laws = report["importance"].get("hindsight", {}).get(name, {})
            said = report["sets"][name]["judgement"]["overall"]
            for one in (said, laws.get("first_order", {}), laws.get("tilt", {})):
                told += [one.get("r2"), one.get("reachable")]
        return told

    names = [name for law in ("forecast", "first order", "tilt") for name in (law, "reachable")]
    head = ("world", "kind", "seeds", "KL, nats", *names, *(f"features: {name}" for name in names))
    return _by_world("hindsight", worlds, head, row)


def cells(worlds: Finished) -> Table:
    """Prompt-conditioned: inside of sets of prompts, and inside − outside."""

    def row(report: dict[str, Any]) -> list[Any]:
        told: list[Any] = []
        for view in VIEWS:
            one = report["cells"].get(view, {})
            for contrast in ("inside", "in_out"):
                whole = (one.get(contrast) or {}).get("overall")
                told += [_r2(whole), whole and whole["rel_y"]]
        return told

    names = [f"{name}: {what}" for name in VIEWS.values() for what in ("inside", "rel_y", "in − out", "rel_y")]
    return _by_world("cells", worlds, ("world", "kind", "seeds", *names), row)


def planted(worlds: Finished, read: plants.Traits) -> Table:
    """Every planted trait: who stands for it, what was forecast, what a reader sees; then all traits by count."""
    rows, right, total, surely, sure = [], 0, 0, 0, 0
    for world, folders in worlds:
        for folder in folders:
            for one in traits.found(folder, read):
                if one.planted:
                    sign = "flagged: cannot be expressed" if one.needs_sft else "yes" if one.right else "no"
                    sign += "" if one.resolved else " (not resolved)"
                    seed = folder.name.rpartition("-")[2]
                    rows.append(
                        [world.name, seed, one.trait, f"{one.weight:+.1f}", f"{one.auroc:.2f}",
                         f"{one.forecast:+.4f}{'' if one.sure else ' ?'}", f"{one.seen:+.3f} ± {one.se:.3f}", sign]
                    )  # fmt: skip
                if one.covered and one.resolved and not world.development:
                    total, right = total + 1, right + one.right
                    sure, surely = sure + one.sure, surely + (one.sure and one.right)
    head = ("world", "seed", "trait", "log-odds", "AUROC of its concept", "forecast (?: interval holds 0)",
            "share of answers, change", "sign right")  # fmt: skip
    closing = (
        f"All traits of all reported worlds that a concept stands for and that visibly moved: sign right in {right} of "
        f"{total}; where the forecast's interval excludes 0, in {surely} of {sure}."
    )
    return Table("planted", list(head), rows, closing)


def of_patterns(worlds: Finished) -> Table:
    """Patterns beside concepts of the dictionary: an outcome in which the dictionary is not its own judge."""
    lines = []
    for folder in (folder for _, folders in worlds for folder in folders):
        sets = json.loads((folder / "run" / "verification.json").read_text())["sets"]
        for key in ("patterns", "communities", "features") if "patterns" in sets else ():
            judged = sets[key]["judgement"]
            whole, errors = judged["overall"], (judged["mean_error"], judged["mean_error_of_zero"])
            mean = next(line["r2"] for line in sets[key]["table"] if line["name"] == "mean")
            lines.append([
                folder.name, SETS[key], str(whole["n"]), *map(_short, (whole["rel_x"], whole["rel_y"], whole["r2"])),
                *map(_short, (mean, judged["spearman"], judged["sign_accuracy"])),
                " of ".join(f"{100 * error:.1f}" for error in errors) if key == "patterns" else "",
            ])  # fmt: skip
    head = ["world", "concepts", "n", "rel_x", "rel_y", "R²", "R² of the mean", "ρ", "sign", "mean error, points"]
    return Table("patterns", head, lines)


def by_set(worlds: Finished) -> Table:
    """Every set of concepts of every world of one seed: R², its ceilings, and what needs no skill."""
    lines = []
    for world, folders in worlds:
        report = json.loads((folders[0] / "run" / "verification.json").read_text())
        for key, title in SETS.items():
            if key not in report["sets"]:
                continue
            figures = report["sets"][key]
            judged, coverage = figures["judgement"], figures["coverage"]
            whole, top = judged["overall"], judged["without_top"]
            r2_of = {line["name"]: line["r2"] for line in figures["table"]}
            reachable = whole["rel_x"] * whole["rel_y"]
            lines.append([
                world.name, title, str(whole["n"]),
                *map(_short, (whole["rel_x"], whole["rel_y"], whole["r2"])),
                _short(whole["r2"] / reachable if reachable else None), _short(r2_of.get("mean")),
                ", ".join(_short(r2_of.get(name)) for name in ("length", "prevalence", "shuffled")),
                _short(_r2(judged["beyond_nulls"])), _short(_r2(judged["standardised"])),
                f"{_short(_r2(top))} of {_short(top and top['rel_y'])}",
                f"{_short(coverage['even_prompts'])}, {_short(coverage['noise_alone'])}", _short(figures["law_error"]),
            ])  # fmt: skip
    head = ["world", "concepts", "n", "rel_x", "rel_y", "R²", "R²/(rel_x rel_y)", "mean",
            "length, prevalence, shuffled", "beyond length and prevalence", "standardised", "without top 10",
            "coverage, noise alone", "law error"]  # fmt: skip
    return Table("sets", head, lines)


def regimes(worlds: Finished) -> Table:
    def row(folder: Path) -> list[Any]:
        one = json.loads((folder / "result.json").read_text())["regime"]
        train = one["train"]
        return [train["mean_margin"], train["mean_weight"], train["accuracy"], train["chosen_drift"],
                train["rms_log_ratio"]]  # fmt: skip

    head = ("world", "kind", "seeds", "mean margin", "mean σ(−margin)", "accuracy", "chosen drift, nats",
            "root mean square log ratio")  # fmt: skip
    return _rows("regimes", worlds, head, row)


def seconds(worlds: Finished) -> Table:
    names = ("audit", "reference rollouts", "forecast", "training", "rollouts", "verification")

    def row(folder: Path) -> list[Any]:
        took = json.loads((folder / "result.json").read_text())["seconds"]
        return [float(round(took[name])) for name in names]

    return _rows("seconds", worlds, ("seconds", "kind", "seeds", *names), row)


# --- a table of worlds ------------------------------------------------------------------------------------------------


def _by_world(name: str, worlds: Finished, head: Iterable[str], row: Callable[[dict[str, Any]], list[Any]]) -> Table:
    return _rows(name, worlds, head, lambda f: row(json.loads((f / "run" / "verification.json").read_text())))


def _rows(name: str, worlds: Finished, head: Iterable[str], row: Callable[[Path], list[Any]]) -> Table:
    lines = []
    for world, folders in worlds:
        values = zip(*(row(folder) for folder in folders), strict=True)
        title = f"{world.name} (chosen on)" if world.development else world.name
        lines.append([title, world.kind.removesuffix("-policy"), str(len(folders)), *map(_over_seeds, values)])
    return Table(name, list(head), lines)


def _over_seeds(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None and np.isfinite(value)]
    if not known:
        return "–"
    low, middle, high = (_number(f(known)) for f in (np.min, np.median, np.max))
    return middle if low == high else f"{middle} [{low}, {high}]"


def _number(value: float) -> str:
    whole = abs(value) >= 10 or (abs(value) >= 2 and value == round(value))  # seconds, concepts
    return (f"{value:.0f}" if whole else f"{value:.2f}").replace("-", "−")


def _short(value: float | None) -> str:
    """Two decimals without the leading 0: .57."""
    if value is None or not np.isfinite(value):
        return "–"
    return f"{value:.2f}".replace("0.", ".", 1).replace("-", "−")


def _r2(figure: dict[str, Any] | None) -> float | None:
    return None if figure is None else figure["r2"]


def _over(figure: dict[str, Any], ceiling: str) -> float | None:
    return figure["r2"] / figure[ceiling] if figure[ceiling] else None
