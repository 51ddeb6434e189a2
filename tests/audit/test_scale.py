"""What makes the paper's size affordable changes no number: the steps after the harvest against dense matrices.

On a made-up run at 1/100 of the paper's pairs and features (benchmarks/scale_data.py), with held-out pairs and more
groups than an eight-bit number counts.
"""

from __future__ import annotations

import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from scale_data import Size, World, generate

from pretilt.audit.effects import statistics_stage
from pretilt.concepts import cofiring_graph, parallel
from pretilt.concepts.cofiring import find_communities
from pretilt.concepts.cofiring_graph import NormalisedMI
from pretilt.concepts.names import ConceptName
from pretilt.concepts.parallel import in_order
from pretilt.concepts.prompt_scores import STATISTICS
from pretilt.concepts.shifts import MIN_MEAN_ABS, MIN_SD, find_shifts
from pretilt.concepts.step import fired_sample, membership, shift_tables
from pretilt.lens.blocks import Features, shards_of, train_rows
from pretilt.lens.store import read_span
from pretilt.run import Run
from pretilt.schema import FEATURES, SHIFT_SIGMA_FILE, SHIFTS_FILE, SPANS
from pretilt.settings import AuditSettings

SMALL = Size(n_pairs=2600, n_features=656, n_communities=40, n_topics=12, per_response=100, per_prompt=60)
SETTINGS = AuditSettings(groups=70, seed=3)


def work(run: Run) -> None:
    """The numeric part of every step between the harvest and the evidence."""
    features, train = Features(run, SETTINGS), train_rows(run)
    found = find_shifts(partial(features.blocks, train), features.n_features, seed=SETTINGS.seed)
    lists, sigma = shift_tables(found, lambda clusters: [ConceptName(f"{len(c)}", []) for c in clusters])
    with run.stage("shifts", version=1, config={}, reads=["pairs", FEATURES]) as stage:
        stage.write(SHIFTS_FILE, lists)
        stage.write(SHIFT_SIGMA_FILE, sigma)
    statistics_stage(run, SETTINGS, version=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = generate(tmp_path_factory.mktemp("scale") / "run", SMALL)
    work(made)
    return made


@pytest.fixture(scope="module")
def dense(run: Run) -> dict[str, Any]:
    """All pairs as dense matrices: fire counts, activations, numbers of tokens by span; families; which are train."""
    spans = {span: read_span(shards_of(run), span, SMALL.n_features) for span in SPANS}
    pairs = run.table("pairs.parquet", ["pair_id", "family_id", "split"])
    return {
        "count": {s: x.fire_count.toarray().astype(np.int64) for s, x in spans.items()},
        "act": {s: x.act_max.toarray().astype(float) for s, x in spans.items()},
        "n": {s: x.n_tokens.astype(np.int64)[:, None] for s, x in spans.items()},
        "id": np.array(pairs["pair_id"].to_pylist()),
        "family": pairs["family_id"].to_numpy(),
        "train": np.array(pairs["split"].to_pylist()) == "train",
    }


def values(dense: dict[str, Any], span: str, statistic: str) -> np.ndarray:
    return dense["act"][span] if statistic == "max" else dense["count"][span] / dense["n"][span]


def cells(run: Run, view: str) -> dict[str, np.ndarray]:
    """Columns of the view's rows, shaped (sets, concepts)."""
    table = run.table("hypotheses.parquet")
    table = table.filter([name == view for name in table["view"].to_pylist()])
    shape = (len(set(table["where"].to_pylist())), len(set(table["concept_id"].to_pylist())))
    return {name: np.array(table[name].to_pylist()).reshape(shape) for name in table.column_names}


def contrast(u: np.ndarray, inside: np.ndarray, pool: np.ndarray) -> dict[str, np.ndarray]:
    """Mean inside, delta, Welch z and pooled d of every column; masks over the rows."""
    a, b = u[inside], u[pool & ~inside]
    var_a, var_b = a.var(axis=0, ddof=1), b.var(axis=0, ddof=1)
    delta = a.mean(axis=0) - b.mean(axis=0)
    pooled = ((len(a) - 1) * var_a + (len(b) - 1) * var_b) / (len(a) + len(b) - 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {"mean_in": a.mean(axis=0), "delta": delta, "z": delta / np.sqrt(var_a / len(a) + var_b / len(b)),
                "cohens_d": delta / np.sqrt(pooled)}  # fmt: skip


def disparity(run: Run, dense: dict[str, Any]) -> np.ndarray:
    """u of the training pairs: count > n_tokens / 100, chosen less rejected, mean over the concept's features."""
    member = membership(run)[1].membership.toarray()
    passes = [dense["count"][side] * 100 > dense["n"][side] for side in ("chosen", "rejected")]
    return ((passes[0].astype(int) - passes[1]) @ member / member.sum(axis=0))[dense["train"]]


def test_the_feature_conditioned_view_equals_the_dense_one(run: Run, dense: dict[str, Any]) -> None:
    u = disparity(run, dense)
    group = run.table("group_members.parquet")["group_id"].to_numpy()[dense["train"]]
    found = cells(run, "group")
    assert len(found["where"]) == 70 and found["where"][:, 0].tolist() == list(range(1, 71))
    for k, where in enumerate(found["where"][:, 0]):
        assert (found["n_in"][k] == (group == where).sum()).all()
        assert (found["family_n"][k] == len(set(dense["family"][dense["train"]][group == where]))).all()
        for name, expected in contrast(u, group == where, group > 0).items():
            np.testing.assert_allclose(found[name][k].astype(float), expected, rtol=1e-9, atol=1e-12, err_msg=name)
    everywhere = cells(run, "global")
    np.testing.assert_allclose(everywhere["delta"][0], u.mean(axis=0), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(everywhere["cohens_d"][0], u.mean(axis=0) / u.std(axis=0, ddof=1), rtol=1e-9)


def test_every_pair_is_in_the_group_of_its_nearest_centroid_held_out_or_not(run: Run, dense: dict[str, Any]) -> None:
    member = membership(run)[1].membership.toarray()
    s = sum(values(dense, side, "freq") for side in ("chosen", "rejected")) @ member
    norm = np.linalg.norm(s, axis=1)
    centroids = np.array(run.table("centroids.parquet")["centroid"].to_pylist()[1:])
    cosine = s / norm[:, None] @ centroids.T
    group = run.table("group_members.parquet")["group_id"].to_numpy()
    silent = norm < np.percentile(norm[dense["train"]], 5)
    assert (group[~silent] > 0).all() and (group[silent] == 0).all() and silent.any()
    assert not dense["train"].all()
    mine = cosine[np.arange(group.size), group - 1]
    assert (mine[~silent] >= cosine.max(axis=1)[~silent] - 1e-6).all()


@pytest.mark.parametrize("statistic", STATISTICS)
def test_the_prompt_conditioned_view_equals_the_dense_one(run: Run, dense: dict[str, Any], statistic: str) -> None:
    train = dense["train"]
    p = values(dense, "prompt", statistic)
    d = values(dense, "chosen", statistic) - values(dense, "rejected", statistic)
    sigma = d[train].std(axis=0)
    of = run.table("concepts.parquet")
    shifts = [f for f, kind in zip(of["feature_ids"].to_pylist(), of["kind"].to_pylist(), strict=True)
              if kind == f"shift_{statistic}"]  # fmt: skip
    active = ((dense["count"]["chosen"] + dense["count"]["rejected"])[train] > 0).sum(axis=0)
    kept = (active >= 52) & (sigma >= MIN_SD) & (np.abs(d[train]).mean(axis=0) >= MIN_MEAN_ABS)
    assert sorted(np.concatenate(shifts).tolist()) == np.flatnonzero(kept).tolist() and kept.sum() > 400
    u = np.stack([(d[train][:, f] / sigma[f]).mean(axis=1) for f in shifts], axis=1)
    prompts = [row for row in run.table("prompt_concepts.parquet").to_pylist() if row["statistic"] == statistic]
    members = run.table("prompt_members.parquet").to_pandas()
    found = cells(run, f"prompt_{statistic}")
    assert [row["prompt_concept_id"] for row in prompts] == found["where"][:, 0].tolist()
    for k, prompt in enumerate(prompts):
        c = (p[:, prompt["feature_ids"]] > 0).mean(axis=1).astype(np.float32)
        rows = np.flatnonzero(train)
        first = rows[np.lexsort((dense["id"][rows], -c[rows]))][:40]
        first = first[c[first] > 0]
        also = np.flatnonzero(~train & (c >= c[first].min()))
        mine = members[members.prompt_concept_id == prompt["prompt_concept_id"]]
        assert mine.pair_id.tolist() == dense["id"][np.concatenate([first, also])].tolist()
        inside = np.isin(np.flatnonzero(train), first)
        for name, expected in contrast(u, inside, np.ones(inside.size, bool)).items():
            np.testing.assert_allclose(found[name][k], expected, rtol=1e-4, atol=1e-5, err_msg=name)  # u is float32


def test_the_number_of_threads_changes_no_byte(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "_n_cores", lambda: 5)
    again = generate(tmp_path / "run", SMALL)
    work(again)
    for stage in ("shifts", "audit"):
        assert again.manifest["stages"][stage]["files"] == run.manifest["stages"][stage]["files"]


def test_the_generator_makes_what_it_says_and_is_taken_up_again(
    run: Run, dense: dict[str, Any], tmp_path: Path
) -> None:
    per_span = {span: (dense["count"][span] > 0).sum() / len(dense["id"]) for span in SPANS}
    assert per_span["prompt"] == pytest.approx(SMALL.per_prompt, rel=0.2)
    assert per_span["chosen"] == pytest.approx(SMALL.per_response, rel=0.2)
    prevalence = np.sort((dense["count"]["chosen"] > 0).mean(axis=0))[::-1]
    assert prevalence[0] > 0.4 and prevalence[0] > 3 * np.median(prevalence)
    fires = [dense["count"][side] > 0 for side in ("chosen", "rejected")]
    shared = (fires[0] & fires[1]).sum() / (fires[0] | fires[1]).sum()
    assert 0.3 < shared < 0.8
    again = generate(tmp_path / "run", SMALL)
    whole = again.manifest["stages"][FEATURES]["files"]
    (tmp_path / "run" / "features" / "chosen-00003.parquet").unlink()
    assert generate(tmp_path / "run", SMALL).manifest["stages"][FEATURES]["files"] == whole
    assert whole == run.manifest["stages"][FEATURES]["files"]
    assert pq.read_table(tmp_path / "run" / "features" / "chosen-00003.parquet").num_rows == 256


def test_planted_communities_are_found_among_the_sampled_responses(run: Run) -> None:
    fired, active = fired_sample(Features(run, SETTINGS), train_rows(run), seed=0)
    assert fired.shape == (5200, SMALL.n_features) and set(np.unique(fired.data)) == {True}
    assert (active <= 2600).all() and active.max() > 1000
    found = find_communities(fired, resolution=6.0).community
    planted = [ids for ids in World(SMALL).communities if ids.size >= 8]
    whole = sum(np.bincount(found[ids] + 1)[1:].max(initial=0) >= 0.8 * ids.size for ids in planted)
    assert whole >= 0.8 * len(planted)


def test_the_bound_that_spares_logarithms_is_never_below_the_value() -> None:
    n = 24
    mi = NormalisedMI(n)
    for n_g in range(n + 1):
        for n_h in range(n + 1):
            both = np.arange(max(0, n_g + n_h - n), min(n_g, n_h) + 1)
            value, bound = mi(both, n_g, np.full(both.size, n_h)), mi.bound(both, n_g, np.full(both.size, n_h))
            assert (bound >= value - 1e-12).all()
            independent = both * n == n_g * n_h
            assert (bound[independent] == 0).all()


def test_few_exact_values_and_many_give_the_same_neighbours(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fired = cofiring_graph.fired_samples(fired_sample(Features(run, SETTINGS), train_rows(run), seed=0)[0])
    quick = cofiring_graph.nearest_pairs(fired, neighbours=3), cofiring_graph.top_pairs(fired)
    monkeypatch.setattr(NormalisedMI, "bound", lambda self, n_both, n_g, n_h: np.full(n_both.size, np.inf))
    slow = cofiring_graph.nearest_pairs(fired, neighbours=3), cofiring_graph.top_pairs(fired)
    for one, other in zip(quick, slow, strict=True):
        assert one.weight.size > 500
        for name in ("source", "target", "weight", "together"):
            assert np.array_equal(getattr(one, name), getattr(other, name)), name


def test_results_come_in_order_and_few_wait() -> None:
    started: list[int] = []
    lock = threading.Lock()

    def square(i: int) -> int:
        with lock:
            started.append(i)
        time.sleep(0.002 * (5 - i % 5))  # later ones are done sooner
        return i * i

    results = in_order(square, range(40), n_threads=3)
    for i in range(40):
        assert next(results) == i * i
        assert len(started) <= i + 1 + 4
    assert list(results) == [] and sorted(started) == list(range(40))


def test_an_error_is_raised_in_its_turn() -> None:
    results = in_order(lambda i: 1 // (2 - i), range(5), n_threads=2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
