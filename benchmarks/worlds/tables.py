"""The tables of docs/results.md from finished worlds: every figure over seeds as median [lowest, highest]."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import controls
import numpy as np
import plants
import traits

RUNGS = ("mean", "one_step", "converged", "tilt")
VIEWS = {"group": "groups", "prompt_max": "prompts (max)", "prompt_freq": "prompts (freq)"}
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


def text(out: Path, known: Mapping[str, plants.World], subject: str, read: plants.Traits) -> str:
    """All tables as markdown."""
    worlds = finished(out, known, subject)
    if not worlds:
        return "No world is finished."
    parts = [headline(worlds), beyond(worlds), rungs(worlds), in_hindsight(worlds), cells(worlds), regimes(worlds)]
    if all((folder / "truth.json").exists() for _, folders in worlds for folder in folders):
        parts.append(planted(worlds, read))
    if told := [row for world, folders in worlds for row in controls.rows(world.name, folders)]:
        parts.append(_table(controls.HEAD, told))
    return "\n\n".join([*parts, seconds(worlds)])


def headline(worlds: Finished) -> str:
    """Feature-conditioned: the declared forecast on communities."""

    def row(one: dict[str, Any]) -> list[Any]:
        judged = one["judgement"]
        whole = judged["overall"]
        return [whole["n"], whole["rel_x"], whole["rel_y"], whole["r2"], _over(whole, "rel_y"), judged["spearman"],
                judged["sign_accuracy"], one["coverage"]["noise_alone"], one["coverage"]["even_prompts"],
                one["law_error"]]  # fmt: skip

    head = ("world", "kind", "seeds", "concepts", "rel_x", "rel_y", "R²", "R²/rel_y", "ρ", "sign",
            "coverage, noise alone", "coverage", "law error")  # fmt: skip
    return _by_world(worlds, head, lambda report: row(report["sets"]["communities"]))


def beyond(worlds: Finished) -> str:
    """What length, prevalence and shuffled labels would have said, and what is left without them."""

    def row(one: dict[str, Any]) -> list[Any]:
        judged, by = one["judgement"], {line["name"]: line["r2"] for line in one["table"]}
        top = judged["without_top"]
        return [by.get("length"), by.get("prevalence"), by.get("shuffled"), one["against_shuffled"]["lo"],
                _r2(judged["beyond_nulls"]), _r2(judged["standardised"]), _r2(top), top and top["rel_y"],
                one["labels"]["p"]]  # fmt: skip

    head = ("world", "kind", "seeds", "length", "prevalence", "shuffled", "R² above shuffled, at least",
            "beyond length and prevalence", "standardised", "without top 10", "its rel_y", "p of 99")  # fmt: skip
    return _by_world(worlds, head, lambda report: row(report["sets"]["communities"]))


def rungs(worlds: Finished) -> str:
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
    return _by_world(worlds, head, row)


def in_hindsight(worlds: Finished) -> str:
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
    return _by_world(worlds, head, row)


def cells(worlds: Finished) -> str:
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
    return _by_world(worlds, ("world", "kind", "seeds", *names), row)


def planted(worlds: Finished, read: plants.Traits) -> str:
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
    return f"{_table(head, rows)}\n\n{closing}"


def regimes(worlds: Finished) -> str:
    def row(folder: Path) -> list[Any]:
        one = json.loads((folder / "result.json").read_text())["regime"]
        train = one["train"]
        return [train["mean_margin"], train["mean_weight"], train["accuracy"], train["chosen_drift"],
                train["rms_log_ratio"]]  # fmt: skip

    head = ("world", "kind", "seeds", "mean margin", "mean σ(−margin)", "accuracy", "chosen drift, nats",
            "root mean square log ratio")  # fmt: skip
    return _rows(worlds, head, row)


def seconds(worlds: Finished) -> str:
    names = ("audit", "reference rollouts", "forecast", "training", "rollouts", "verification")

    def row(folder: Path) -> list[Any]:
        took = json.loads((folder / "result.json").read_text())["seconds"]
        return [float(round(took[name])) for name in names]

    return _rows(worlds, ("seconds", "kind", "seeds", *names), row)


# --- a table of worlds ------------------------------------------------------------------------------------------------


def _by_world(worlds: Finished, head: Iterable[str], row: Callable[[dict[str, Any]], list[Any]]) -> str:
    return _rows(worlds, head, lambda f: row(json.loads((f / "run" / "verification.json").read_text())))


def _rows(worlds: Finished, head: Iterable[str], row: Callable[[Path], list[Any]]) -> str:
    told = []
    for world, folders in worlds:
        values = zip(*(row(folder) for folder in folders), strict=True)
        name = f"{world.name} (chosen on)" if world.development else world.name
        told.append([name, world.kind.removesuffix("-policy"), str(len(folders)), *map(_over_seeds, values)])
    return _table(head, told)


def _over_seeds(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None and np.isfinite(value)]
    if not known:
        return "–"
    low, middle, high = (_number(f(known)) for f in (np.min, np.median, np.max))
    return middle if low == high else f"{middle} [{low}, {high}]"


def _number(value: float) -> str:
    whole = abs(value) >= 10 or (abs(value) >= 2 and value == round(value))  # seconds, concepts
    return (f"{value:.0f}" if whole else f"{value:.2f}").replace("-", "−")


def _r2(figure: dict[str, Any] | None) -> float | None:
    return None if figure is None else figure["r2"]


def _over(figure: dict[str, Any], ceiling: str) -> float | None:
    return figure["r2"] / figure[ceiling] if figure[ceiling] else None


def _table(head: Iterable[str], rows: Iterable[list[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
