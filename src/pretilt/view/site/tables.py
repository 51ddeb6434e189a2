"""Overview, concepts, places and hypotheses of a run, as shards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pretilt.artifacts import finite
from pretilt.run import Run
from pretilt.schema import GROUP_MEMBERS_FILE, OVER_ALL_PAIRS, PAIRS_FILE, PROMPT_MEMBERS_FILE, VIEWS
from pretilt.stats.sure import sure_rows
from pretilt.text import mask_slurs
from pretilt.view.certainty import POINTS, Verdict, verdict
from pretilt.view.clear_names import is_vague
from pretilt.view.concept_map import ConceptMap
from pretilt.view.effects import NAME_COLUMNS, in_words, merged, shown_rows, unit_of
from pretilt.view.pair_map import pair_map
from pretilt.view.site.facts import build_facts
from pretilt.view.site.notable import notable
from pretilt.view.site.shards import by_id, coded, columns, short, steps
from pretilt.view.summary import Summary
from pretilt.view.tables import ReportTables

ROWS = 2000  # hypotheses of a shard
MOST_ROWS = 100_000  # of a view: a page with a million of them would take gigabytes
LEVELS = ("sure", "probably", "unsure", "unknown")
HYPOTHESIS_COLUMNS = (
    "where", "concept_id", "n_in", "n_out", "mean_in", "mean_out", "delta", "z", "cohens_d", "delta_min", "family_n",
    "n_eff", "ci_lo", "ci_hi", "posterior_delta", "posterior_lo", "posterior_hi", "lfsr", "q_value", "p_flip",
    "rank_stability", "delta_heldout", "delta_residual", "shown", "rank",
)  # fmt: skip
CONCEPT_COLUMNS = (
    "concept_id", "kind", "pattern", "detector", "size", "name_kind", "name_score", "n_pairs_active", "prevalence",
    "share_chosen", "share_rejected", "per_100_words", "length_correlation",
)  # fmt: skip


def overview(tables: ReportTables, summary: Summary) -> dict[str, Any]:
    """What one screen shows of the whole run: summary, facts of the dataset, the doctor, three things to look at."""
    return {
        **build_facts(tables, summary),
        "notable": notable(summary),
        "lists": _lists(summary),
        "alike": alike(tables),
    }


def _lists(summary: Summary) -> dict[str, list[str]]:
    """The lists of the summary as hypothesis ids."""
    from pretilt.schema import LISTS

    return {name: [effect.hypothesis_id for effect in getattr(summary, name)] for name in LISTS}


def alike(tables: ReportTables) -> dict[str, list[str]]:
    """Effect over all pairs to those whose concepts say the same, which it stands for; {} in the paper's order."""
    if tables.paper_order:
        return {}
    names = tables.concepts.select([*NAME_COLUMNS]).to_pylist()
    concept_of = {concept["concept_id"]: concept for concept in names}
    stands_for: dict[str, list[str]] = {}
    for view in OVER_ALL_PAIRS:
        for direction in ("amplify", "suppress"):
            rows = shown_rows(tables, [view], direction, tables.hypotheses.num_rows)
            leaders = merged(rows, concept_of, tables.alike)
            stands_for |= {row["hypothesis_id"]: row["alike"] for row in leaders if row["alike"]}
    return stands_for


def concepts(tables: ReportTables) -> dict[str, Any]:
    """Columns by concept, in the order of concept_id; `unit` "sd" or ""."""
    table = tables.concepts.sort_by("concept_id")
    rows = table.select(["name", "concept_id", "kind", "phrases", "contexts"]).to_pylist()
    return {
        **columns(table.select([name for name in CONCEPT_COLUMNS if name in table.column_names])),
        "name": [mask_slurs(row["name"] or f"concept {row['concept_id']}") for row in rows],
        "vague": [is_vague(row) for row in rows],
        "unit": [unit_of(row["kind"]) for row in rows],
        "phrases": [[mask_slurs(phrase) for phrase in (row["phrases"] or [])[:8]] for row in rows],
        "contexts": [[mask_slurs(context) for context in row["contexts"] or []] for row in rows],
    }


def places(tables: ReportTables) -> dict[str, Any]:
    """Groups and prompt concepts: names and sizes."""
    groups = tables.groups.sort_by("group_id").to_pylist()
    prompts = tables.prompt_concepts.sort_by("prompt_concept_id").to_pylist()
    return {
        "groups": [
            {
                "group_id": group["group_id"],
                "name": mask_slurs(group["name"] or f"group {group['group_id']}"),
                "size": group["size"],
                "concept_ids": list(group["concept_ids"] or [])[:8],
            }
            for group in groups
        ],
        "prompt_concepts": [
            {
                "prompt_concept_id": prompt["prompt_concept_id"],
                "statistic": prompt["statistic"],
                "name": mask_slurs(prompt["name"] or f"prompt concept {prompt['prompt_concept_id']}"),
                "size": prompt["n_selected"],
                "phrases": [mask_slurs(phrase) for phrase in (prompt["phrases"] or [])[:6]],
            }
            for prompt in prompts
        ],
    }


def pair_facts(run: Run) -> dict[str, Any]:
    """Columns by pair, in the order of pairs.parquet: what pairs are filtered by."""
    names = ["row_index", "source", "chosen_model", "rejected_model", "family_id", "split", "n_prompt_tokens"]
    table = run.table(PAIRS_FILE, [*names, "n_chosen_tokens", "n_rejected_tokens"])
    members = run.table(GROUP_MEMBERS_FILE)["group_id"].to_pylist()
    return {
        "row_index": table["row_index"].to_pylist(),
        "family_id": table["family_id"].to_pylist(),
        "group_id": members,
        "train": [split == "train" for split in table["split"].to_pylist()],
        "length": (table["n_chosen_tokens"].to_numpy() - table["n_rejected_tokens"].to_numpy()).tolist(),
        **{name: coded(table[name].to_pylist()) for name in ("source", "chosen_model", "rejected_model")},
    }


def points(run: Run) -> dict[str, Any]:
    """Places of the training pairs on the map, 0 to 9999, in the order of pairs.parquet, and the groups' discs."""
    drawn = pair_map(run)
    at = np.round(9999 * drawn.points).astype(int)
    discs = np.round(9999 * np.column_stack([drawn.centre, drawn.radius])).astype(int)
    return {"x": at[:, 0].tolist(), "y": at[:, 1].tolist(), "discs": discs.tolist(), "by_likeness": drawn.by_likeness}


def spots(drawn: ConceptMap) -> dict[str, Any]:
    """A map of concepts or of places: its points, 0 to 9999, y downwards as a page counts."""
    at = np.round(9999 * drawn.points).astype(int).reshape(-1, 2)
    return {
        "x": at[:, 0].tolist(),
        "y": (9999 - at[:, 1]).tolist(),
        "n_pairs": drawn.n_pairs,
        "n_alone": drawn.n_alone,
        "by_likeness": drawn.by_likeness,
    }


def prompt_members(run: Run) -> dict[int, list[int]]:
    """Prompt concept to the training pairs that it selects, as differences of their places in pairs.parquet."""
    pairs = run.table(PAIRS_FILE, ["pair_id", "split"])
    at = {pair: i for i, pair in enumerate(pairs["pair_id"].to_pylist())}
    train = np.asarray([split == "train" for split in pairs["split"].to_pylist()])
    selected: dict[int, list[int]] = {}
    table = run.table(PROMPT_MEMBERS_FILE, ["prompt_concept_id", "pair_id"])
    for number, pair in zip(table["prompt_concept_id"].to_pylist(), table["pair_id"].to_pylist(), strict=True):
        if train[at[pair]]:
            selected.setdefault(number, []).append(at[pair])
    return {number: steps(sorted(rows)) for number, rows in selected.items()}


class Hypotheses:
    """The rows of hypotheses.parquet by view, in shards of `ROWS`: sure ones first, then shown ones, then by |z|.

    `left_out` counts by view what passes `most_rows`.
    """

    def __init__(self, tables: ReportTables, most_rows: int = MOST_ROWS) -> None:
        table = tables.hypotheses
        self.kinds = {number: concept["kind"] for number, concept in by_id(_kinds(tables), "concept_id").items()}
        self.views: dict[str, pa.Table] = {}
        self.left_out: dict[str, int] = {}
        for view in VIEWS:
            of_view = table.filter(pc.equal(table["view"], view))
            if len(of_view):
                self.views[view] = _ordered(of_view).slice(0, most_rows)
                self.left_out[view] = len(of_view) - len(self.views[view])

    def n_shards(self, view: str) -> int:
        """How many shards the view takes."""
        return -(-len(self.views[view]) // ROWS)

    def numbers(self, view: str, shard: int) -> dict[str, Any]:
        """Columns of the shard's rows."""
        part = self.views[view].slice(shard * ROWS, ROWS)
        known_columns = [name for name in HYPOTHESIS_COLUMNS if name in part.column_names]
        judged = [self._judged(row) for row in part.to_pylist()]
        return {
            **columns(part.select(known_columns)),
            "hypothesis_id": part["hypothesis_id"].to_pylist(),
            "sure": sure_rows(part).tolist(),
            "level": [LEVELS.index(one_verdict.level) for one_verdict in judged],
        }

    def _judged(self, row: dict[str, Any]) -> Verdict:
        """Effects stand in points on the page, but for those in standard deviations."""
        return verdict(row, unit_of(self.kinds.get(row["concept_id"])) or POINTS)

    def words(self, view: str, shard: int) -> dict[str, Any]:
        """What the same rows say, in sentences."""
        rows = self.views[view].slice(shard * ROWS, ROWS).to_pylist()
        judged = [self._judged(row) for row in rows]
        return {
            "sentence": [in_words(row) for row in rows],
            "how_sure": [one_verdict.sentence for one_verdict in judged],
            "cautions": [list(one_verdict.cautions) for one_verdict in judged],
        }


def _kinds(tables: ReportTables) -> pa.Table:
    return tables.concepts.select(["concept_id", "kind"])


def _ordered(table: pa.Table) -> pa.Table:
    """Sure rows first, then shown ones, then by the size of the effect in its own standard errors."""
    sure = sure_rows(table)
    z = np.abs(table["delta"].to_numpy() / np.maximum(table["se_moderated"].to_numpy(), 1e-300))
    order = np.lexsort((-np.nan_to_num(z, nan=0.0, posinf=0.0), ~table["shown"].to_numpy(), ~sure))
    return table.take(pa.array(order))


def concentration(tables: ReportTables) -> dict[str, Any]:
    """Hypothesis to the shares of its effect that the first 1, 5 and 10 % of pairs and of families carry."""
    if tables.concentration is None:
        return {}
    return {row["hypothesis_id"]: _carried(row) for row in tables.concentration.to_pylist()}


def _carried(row: Mapping[str, Any]) -> dict[str, list[float | None]]:
    return {unit: [short(finite(row[f"{unit}_{part}"]), 3) for part in (1, 5, 10)] for unit in ("pairs", "families")}
