"""The numbers a person is told, once: the terminal, the viewer and `--json` all read this summary.

Reads artifact tables and the manifest only. The manifest is asked for `source`, `lens` (`model`, `layer`, `dictionary`,
`n_features`, `explained_variance`, `l0`, `bundled`), `settings`, `statistics` (`n_tested`, `n_shown` by view),
`measurement_id`, `versions` and `stages`; whatever it lacks is left out, not guessed. So are the families, from the
pre-flight, and the doctor's checks.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pretilt.artifacts import finite, jsonable
from pretilt.run import Run
from pretilt.schema import (
    ALIKE_FILE,
    CONCENTRATION_FILE,
    DOCTOR_FILE,
    FEATURES,
    LISTS,
    PREFLIGHT_FILE,
    SILENT_GROUP,
    SOURCES_FILE,
    SPANS,
    STATISTICS_FILE,
)
from pretilt.stats.sure import sure_rows
from pretilt.text import is_harmful
from pretilt.view.effects import PLACES, Effect, Labels, folded_effects, n_shown, shortlist
from pretilt.view.plain_words import opening
from pretilt.view.tables import ReportTables, n_train

__all__ = ["LISTS", "Effect", "Example", "ReportTables", "Summary", "identity", "summarise"]


AUDIT_STAGES = ("pairs", FEATURES, "patterns", "doctor", "concepts", "shifts", "audit", "sources", "evidence")


@dataclass(frozen=True)
class Example:
    """One responsible pair; `harmful` says that the word screen fired and the text should be asked for."""

    hypothesis_id: str
    concept: str
    direction: str
    pair_id: str
    row_index: int | None
    u: float
    unit: str
    prompt: str
    chosen: str
    rejected: str
    chosen_at: int  # character at which the concept fires most, 0 if it does not
    rejected_at: int
    harmful: bool
    is_sure: bool  # of the hypothesis it is an example of


@dataclass(frozen=True)
class Summary:
    """What was read, how far to trust it, and the first of every list: what is sure, or up to three that are not.

    `families` is the pre-flight's report on them, `doctor` counts its verdicts and names what is red or amber; both
    are {} where there is none. `to_dict()` is JSON without NaN.
    """

    title: str
    opening: list[str]
    read: dict[str, Any]
    lens: dict[str, Any]
    trust: dict[str, Any]
    families: dict[str, Any]
    sources: list[dict[str, Any]]
    doctor: dict[str, Any]
    amplified_patterns: list[Effect]
    suppressed_patterns: list[Effect]
    amplified: list[Effect]
    suppressed: list[Effect]
    amplified_in_groups: list[Effect]
    suppressed_in_groups: list[Effect]
    amplified_by_prompt: list[Effect]
    suppressed_by_prompt: list[Effect]
    example: Example | None

    def to_dict(self) -> dict[str, Any]:
        result: dict[str, Any] = jsonable(dataclasses.asdict(self))
        return result


def identity(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Model, layer and dictionary of the run, flat; keys that the manifest lacks are absent."""
    lens = manifest.get("lens") or {}
    settings = manifest.get("settings") or {}
    model, dictionary = lens.get("model", settings.get("model")), lens.get("dictionary", settings.get("dictionary"))
    model = model if isinstance(model, Mapping) else {"name": model}
    dictionary = dictionary if isinstance(dictionary, Mapping) else {"name": dictionary}
    fields = {
        "model": model.get("name"),
        "model_revision": model.get("revision"),
        "layer": lens.get("layer", settings.get("layer")),
        "dictionary": dictionary.get("name"),
        "n_features": lens.get("n_features", dictionary.get("n_features")),
        "explained_variance": finite(lens.get("explained_variance")),
        "l0": finite(lens.get("l0")),
        "measurement_id": manifest.get("measurement_id", lens.get("measurement_id")),
    }
    return {k: v for k, v in fields.items() if v is not None}


def _count(column: pa.ChunkedArray) -> dict[str, int]:
    return {c["values"]: c["counts"] for c in pc.value_counts(column).to_pylist()}


def _read(tables: ReportTables) -> dict[str, Any]:
    pairs, rows = tables.pairs, tables.preflight.get("rows") or {}
    dropped = _count(tables.dropped["reason"])
    difference = _difference(pairs)
    return {
        "format": tables.preflight.get("format"),
        "rows_in": rows.get("read", len(pc.unique(pairs["row_index"])) + tables.dropped.num_rows),
        "pairs": pairs.num_rows,
        "dropped": dict(sorted(dropped.items(), key=lambda kv: (-kv[1], kv[0]))),
        "train": n_train(pairs),
        "heldout": pairs.num_rows - n_train(pairs),
        "components": len(pc.unique(pairs["component_id"])),
        "tokens": {span: int(pc.sum(pairs[f"n_{span}_tokens"]).as_py() or 0) for span in SPANS},
        "unit": "words" if tables.is_text_alone else "tokens",
        "mean_length_difference": float(difference.mean()) if difference.size else None,
        "share_chosen_longer": float((difference > 0).mean()) if difference.size else None,
    }


def _difference(pairs: pa.Table) -> np.ndarray:
    """Content tokens of chosen minus rejected, (n_pairs,) int."""
    chosen, rejected = (pairs[f"n_{span}_tokens"].to_numpy().astype(np.int64) for span in ("chosen", "rejected"))
    return np.asarray(chosen - rejected)


def _trust(tables: ReportTables) -> dict[str, Any]:
    settings = tables.manifest.get("settings") or {}
    threshold = Fraction(str(settings.get("freq_threshold", 0.01)))  # 0.01 is 1/100, not its nearest double
    train = tables.pairs.filter(pc.equal(tables.pairs["split"], "train"))
    lengths = np.concatenate([train[f"n_{side}_tokens"].to_numpy() for side in ("chosen", "rejected")]).astype(np.int64)
    # The table of a large run holds the best-ranked rows only; then the statistics step counted all of them.
    counted = tables.manifest.get("statistics") or {}
    h = tables.hypotheses
    tested = counted.get("n_tested") or _count(h["view"])
    shown = counted.get("n_shown") or _count(h.filter(h["shown"])["view"])
    sure = _count(h.filter(pc.and_(h["shown"], pa.array(sure_rows(h))))["view"])
    return {
        "disparity": settings.get("disparity", "paper"),
        "freq_threshold": float(threshold),
        # count > threshold · n holds after one firing where threshold · n < 1
        "share_one_firing_passes": float((lengths * threshold.numerator < threshold.denominator).mean())
        if lengths.size
        else None,
        "bundled_lens": bool((tables.manifest.get("lens") or {}).get("bundled", False)),
        "baseline": settings.get("baseline", "none"),
        "paper": tables.paper_order,
        "n_silent": _silent(tables),
        "tested": tested,
        "shown": shown,
        "n_tested": sum(tested.values()),
        "n_shown": sum(shown.values()),
        "in_lists": {place: {way: n_shown(tables, place, way) for way in ("amplify", "suppress")} for place in PLACES},
        "sure": sure,
        "n_sure": sum(sure.values()),
    }


def _silent(tables: ReportTables) -> int:
    """Training pairs that no concept sets apart; groups are compared without them."""
    sizes = tables.groups.filter(pc.equal(tables.groups["group_id"], SILENT_GROUP))["size"]
    return int(pc.sum(sizes).as_py() or 0)


def _families(tables: ReportTables) -> dict[str, Any]:
    return {k: v for k, v in (tables.preflight.get("families") or {}).items() if k not in ("by_relation", "notes")}


def _doctor(checks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if not checks:
        return {}
    named = {verdict: [c["name"] for c in checks if c["verdict"] == verdict] for verdict in ("red", "amber")}
    return {"counts": dict(Counter(c["verdict"] for c in checks)), **named}


def _example(tables: ReportTables, effects: Sequence[Effect]) -> Example | None:
    """The first responsible pair of the first effects, the sure ones before others; harmful if there is no other."""
    fallback: Example | None = None
    for effect in sorted(effects, key=lambda effect: not effect.is_sure):
        evidence = tables.evidence.filter(pc.equal(tables.evidence["hypothesis_id"], effect.hypothesis_id))
        for e in evidence.sort_by([("rank", "ascending")]).slice(0, 8).to_pylist():
            chosen, chosen_at = _peak(e["chosen_pieces"], e["chosen_acts"])
            rejected, rejected_at = _peak(e["rejected_pieces"], e["rejected_acts"])
            at = pc.index(tables.pairs["pair_id"], e["pair_id"]).as_py()  # -1 if it is not there
            example = Example(
                hypothesis_id=effect.hypothesis_id,
                concept=effect.concept,
                direction=effect.direction,
                pair_id=e["pair_id"],
                row_index=tables.pairs["row_index"][at].as_py() if at >= 0 else None,
                u=e["u"],
                unit=effect.unit,
                prompt=e["prompt_text"] or "",
                chosen=chosen,
                rejected=rejected,
                chosen_at=chosen_at,
                rejected_at=rejected_at,
                harmful=is_harmful(e["prompt_text"] or "", chosen, rejected),
                is_sure=effect.is_sure,
            )
            if not example.harmful:
                return example
            fallback = fallback or example
    return fallback


def _peak(pieces: Sequence[str], acts: Sequence[float]) -> tuple[str, int]:
    """The text, and the character at which the strongest activation begins (0 if nothing fires)."""
    best = int(np.argmax(acts)) if len(acts) and max(acts) > 0 else 0
    return "".join(pieces), sum(len(p) for p in pieces[:best])


def summarise(
    tables: ReportTables, *, title: str = "", n_patterns: int = 8, n_global: int = 5, n_local: int = 4
) -> Summary:
    """The first effects of a finished run: per direction `n_patterns` patterns and `n_global` concepts over all pairs,
    and `n_local` each in groups and by what the prompt is about, at most two of the same place, so that one striking
    group does not hide the others."""
    labels = Labels(tables)
    rows_of_list = {
        (place, direction): shortlist(tables, place, direction, limit)
        for place, limit in zip(PLACES, (n_patterns, n_global, n_local, n_local), strict=True)
        for direction in ("amplify", "suppress")
    }
    lists = {key: [labels.effect(row) for row in rows] for key, rows in rows_of_list.items()}
    folded = {key: folded_effects(tables, *key, rows) for key, rows in rows_of_list.items()}
    trust, views = _trust(tables), (tables.manifest.get("statistics") or {}).get("views", {})
    for i, name in enumerate(("folded", "folded_sure")):
        trust[name] = {place: {way: folded[place, way][i] for way in ("amplify", "suppress")} for place in PLACES}
    return Summary(
        title=title or str(tables.manifest.get("source") or "preference data"),
        opening=opening(
            lists["patterns", "amplify"],
            lists["patterns", "suppress"],
            trust["sure"],
            {view: facts.get("smallest_visible") for view, facts in views.items()},
            n_train(tables.pairs),
            _families(tables).get("kish_n_eff"),
        ),
        read=_read(tables),
        lens=identity(tables.manifest),
        trust=trust,
        families=_families(tables),
        sources=tables.sources.to_pylist() if tables.sources is not None else [],
        doctor=_doctor(tables.doctor),
        amplified_patterns=lists["patterns", "amplify"],
        suppressed_patterns=lists["patterns", "suppress"],
        amplified=lists["everywhere", "amplify"],
        suppressed=lists["everywhere", "suppress"],
        amplified_in_groups=lists["groups", "amplify"],
        suppressed_in_groups=lists["groups", "suppress"],
        amplified_by_prompt=lists["prompts", "amplify"],
        suppressed_by_prompt=lists["prompts", "suppress"],
        example=_example(tables, [effect for effects in lists.values() for effect in effects]),
    )


def summary_of(run: Run) -> Summary:
    """The summary of a finished audit, as the terminal prints it."""
    return summarise(report_tables(run), title=run.manifest["source"])


def report_tables(run: Run, *, as_audited: bool = False) -> ReportTables:
    """The artifacts that a person is shown. `as_audited`: without the names that people gave, for what a stage writes.

    The tables hold the audit's names in both cases: what is listed first must not depend on what it is called.
    """
    from pretilt.concepts.curation import given_names
    from pretilt.labels.described import KEYS, named_table

    names = ("pairs", "hypotheses", "evidence", "dropped")
    # Timings stay out of it, so that the same inputs give the same bytes.
    facts = {name: value for name, value in run.manifest.items() if name != "stages"}
    return ReportTables(
        **{name: run.table(f"{name}.parquet") for name in names},
        **{name: named_table(run, name, as_audited=True) for name in KEYS},
        preflight=run.json(PREFLIGHT_FILE),
        manifest={**facts, "statistics": run.json(STATISTICS_FILE)},
        concentration=run.table(CONCENTRATION_FILE) if run.holds(CONCENTRATION_FILE) else None,
        alike=run.table(ALIKE_FILE) if run.holds(ALIKE_FILE) else None,
        sources=run.table(SOURCES_FILE) if run.holds(SOURCES_FILE) else None,
        doctor=run.json(DOCTOR_FILE)["checks"] if run.holds(DOCTOR_FILE) else (),
        files=sorted(_of_the_audit(run)),
        given_names={} if as_audited else given_names(run),
    )


def _of_the_audit(run: Run) -> set[str]:
    """Names of the audit's own artifacts; those of later steps would change the summary with what is in the folder."""
    return {name for stage in AUDIT_STAGES for name in run.manifest["stages"].get(stage, {"files": ()})["files"]}
