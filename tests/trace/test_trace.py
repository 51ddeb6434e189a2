"""Tracing on a real tiny run: contributions against a dense reference, tokens, lessons of a pair, ids, exports."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from altered import record_anew
from trace_reference import Dense, first

import pretilt
from pretilt.api import trace
from pretilt.audit.evidence import make_tracer
from pretilt.errors import UserError
from pretilt.events import Events
from pretilt.schema import LISTS, OVER_ALL_PAIRS, VIEWS
from pretilt.settings import AuditSettings
from pretilt.trace.parts import quotes_of, tokens_of
from pretilt.trace.types import EffectTrace, PairTrace
from pretilt.view.summary import summary_of

OF_AN_AUDIT = [view for view in VIEWS if not view.startswith("detector")]  # a run has detectors when it is given some


def effect(path: Path | pretilt.AuditResult, what: str, **options: Any) -> EffectTrace:
    told = trace(getattr(path, "path", path), what, **options)
    assert isinstance(told, EffectTrace)
    return told


def lessons(path: Path | pretilt.AuditResult, what: str, **options: Any) -> PairTrace:
    told = trace(getattr(path, "path", path), what, **options)
    assert isinstance(told, PairTrace)
    return told


def test_contributions_sum_to_delta_in_every_view(finished: pretilt.AuditResult) -> None:
    settings = AuditSettings.load(**finished.run.manifest["settings"])
    tracer = make_tracer(finished.run, settings, range(len(finished.concepts)))
    seen = set()
    for row in finished.hypotheses.to_pylist():
        shares = tracer.contributions(row["view"], row["where"], row["concept_id"])
        assert abs(shares.sum() - row["delta"]) < 1e-9
        seen.add(row["view"])
    assert seen == set(OF_AN_AUDIT)


@pytest.mark.parametrize(
    ("direction", "view"),
    [(d, v) for v in OF_AN_AUDIT for d in ("amplify", "suppress") if (d, v) != ("suppress", "pattern")],  # it has none
)
def test_a_trace_against_the_dense_reference(
    finished: pretilt.AuditResult, dense: Dense, view: str, direction: str
) -> None:
    row = first(finished, view, direction)
    told = effect(finished, row["hypothesis_id"], number=300, tokens=False)
    shares = dense.shares(view, row["where"], row["concept_id"])
    sign = 1 if direction == "amplify" else -1
    assert told.delta == row["delta"] and told.direction == direction and told.row == row
    assert told.total == pytest.approx(row["delta"], abs=1e-9)
    assert sum(shares.values()) == pytest.approx(
        row["delta"], abs=1e-6
    )  # the sigma and the scores are single precision
    listed = {one.pair.pair_id: one for one in told.responsible + told.against}
    assert len(listed) == len(told.responsible) + len(told.against) == told.n_with + told.n_against
    for pair_id, share in shares.items():
        if abs(share) > 1e-9:
            assert listed[pair_id].contribution == pytest.approx(share, abs=1e-6)
            assert listed[pair_id].share == pytest.approx(share / row["delta"], rel=1e-4, abs=1e-6)
    assert told.n_with + told.n_against + told.n_neither == len(shares)
    assert sum(one.contribution for one in listed.values()) == pytest.approx(row["delta"], abs=1e-9)
    for some, way in ((told.responsible, sign), (told.against, -sign)):
        assert all(way * one.contribution > 0 for one in some)
        for place in (True, False):  # those inside first, then those outside, each by size
            sizes = [abs(one.contribution) for one in some if one.inside is place]
            assert sizes == sorted(sizes, reverse=True)
        assert [one.inside for one in some] == sorted((one.inside for one in some), reverse=True)
    if view == "global":
        assert all(one.inside for one in listed.values())


def test_the_planted_word_is_what_fires(finished: pretilt.AuditResult) -> None:
    """Every third chosen response ends in `Thank you!`: the strongest effect rests on those pairs, and on that word."""
    told = effect(finished, first(finished, "global")["hypothesis_id"], number=8)
    assert np.mean(["Thank you" in one.pair.chosen for one in told.responsible]) >= 0.75
    for one in told.responsible:
        assert one.chosen_fired and one.rejected_fired is not None
        for text, spans in ((one.pair.chosen, one.chosen_fired), (one.pair.rejected, one.rejected_fired)):
            assert all(0 <= start <= stop <= len(text) and act > 0 for start, stop, act in spans)
        if "Thank you" in one.pair.chosen:
            at = one.pair.chosen.index("Thank you")
            assert any(stop > at for _, stop, _ in one.chosen_fired)


def test_tokens_are_the_same_from_evidence_and_through_the_lens(finished: pretilt.AuditResult, copied: Path) -> None:
    what = first(finished, "group")["hypothesis_id"]
    whole = effect(finished, what, number=8)
    evidence = finished.evidence.filter(pc.field("hypothesis_id") == what)
    n = len(evidence)
    assert n >= 3
    assert [one.pair.pair_id for one in whole.responsible[:n]] == evidence["pair_id"].to_pylist()
    for one, pieces, acts in zip(
        whole.responsible, evidence["chosen_pieces"].to_pylist(), evidence["chosen_acts"].to_pylist(), strict=False
    ):
        assert one.pair.chosen == "".join(pieces)
        assert [act for _, _, act in one.chosen_fired or ()] == [act for act in acts if act > 0]
    (copied / "evidence.parquet").unlink()
    record_anew(copied)
    again = effect(copied, what, number=8)
    for a, b in zip(whole.responsible + whole.against, again.responsible + again.against, strict=True):
        assert a.pair == b.pair
        for one, other in ((a.chosen_fired, b.chosen_fired), (a.rejected_fired, b.rejected_fired)):
            assert one is not None and other is not None
            np.testing.assert_allclose(np.array(one), np.array(other), rtol=1e-4)


def test_the_lens_stays_closed_where_it_is_not_needed(finished: pretilt.AuditResult, no_lens: None) -> None:
    row = first(finished, "global")
    told = effect(finished, row["hypothesis_id"], tokens=False)
    assert told.responsible[0].chosen_fired is None
    lessons(finished, told.responsible[0].pair.pair_id, tokens=False)
    effect(finished, row["hypothesis_id"], number=0)  # nothing is listed, nothing is read
    with pytest.raises(AssertionError, match="lens was loaded"):
        effect(finished, row["hypothesis_id"], number=300)


def test_evidence_of_an_earlier_ranking_is_not_believed(finished: pretilt.AuditResult, no_lens: None) -> None:
    settings = AuditSettings.load(**finished.run.manifest["settings"])
    row = finished.evidence.to_pylist()[0]
    key = (row["pair_id"], int(row["hypothesis_id"].split(":")[-1]))
    assert tokens_of(finished.run, settings, {key: row["u"]}, Events())[key].chosen_pieces == row["chosen_pieces"]
    with pytest.raises(AssertionError, match="lens was loaded"):
        tokens_of(finished.run, settings, {key: row["u"] + 0.25}, Events())


def test_another_lens_is_refused(finished: pretilt.AuditResult, copied: Path) -> None:
    record_anew(copied, measurement_id="0" * 64)
    with pytest.raises(UserError, match="not the one that read this run"):
        effect(copied, first(finished, "global")["hypothesis_id"], number=300)


def test_features_that_no_longer_give_the_effect_are_refused(finished: pretilt.AuditResult, copied: Path) -> None:
    table = pq.read_table(copied / "hypotheses.parquet")
    stale = table.set_column(table.schema.get_field_index("delta"), "delta", pc.add(table["delta"], 0.001))
    pq.write_table(stale, copied / "hypotheses.parquet")
    record_anew(copied)
    with pytest.raises(UserError, match="no longer give the effect"):
        effect(copied, first(finished, "global")["hypothesis_id"], tokens=False)


def test_a_concept_is_its_effect_over_all_pairs(finished: pretilt.AuditResult, dense: Dense) -> None:
    plain = first(finished, "global")
    told = effect(finished, f"concept:{plain['concept_id']}", tokens=False)
    assert told.id == plain["hypothesis_id"] and told.row == plain
    for concept in finished.concepts.to_pylist():
        if concept["kind"].startswith("shift_"):
            told = effect(finished, f"concept:{concept['concept_id']}", tokens=False)
            mean = float(np.mean(dense.of_train(concept["concept_id"])))
            assert told.row is None and told.id == f"concept:{concept['concept_id']}"
            assert told.delta == told.total == pytest.approx(mean, abs=1e-6)


def test_what_a_pair_teaches(finished: pretilt.AuditResult, dense: Dense) -> None:
    pair_id = effect(finished, first(finished, "group")["hypothesis_id"], tokens=False).responsible[0].pair.pair_id
    told = lessons(finished, f"pair:{pair_id}", number=100)
    places = {(view, dense.group[pair_id]) for view in ("group", "pattern_group")}
    for member in dense.members:
        if member["pair_id"] == pair_id:
            q = next(
                t["statistic"] for t in told.prompt_concepts if t["prompt_concept_id"] == member["prompt_concept_id"]
            )
            places.add((f"prompt_{q}", member["prompt_concept_id"]))
    assert len(places) == 2 + len(told.prompt_concepts)
    expected: dict[str, tuple[float, int]] = {}
    rows_of = {row["hypothesis_id"]: row for row in finished.hypotheses.to_pylist()}
    for row in rows_of.values():
        if row["shown"] and (row["view"] in OVER_ALL_PAIRS or (row["view"], row["where"]) in places):
            shares = dense.shares(row["view"], row["where"], row["concept_id"])
            sign = np.sign(row["delta"])
            if sign * shares[pair_id] > 1e-9:
                larger = sum(sign * share > sign * shares[pair_id] + 1e-7 for share in shares.values())
                expected[row["hypothesis_id"]] = (shares[pair_id], 1 + larger)
    found = {one.hypothesis_id: one for one in told.everywhere + told.in_places}
    assert found.keys() == expected.keys() and found
    for hypothesis_id, (share, rank) in expected.items():
        one, row = found[hypothesis_id], rows_of[hypothesis_id]
        assert one.contribution == pytest.approx(share, abs=1e-6) and one.pair_rank == rank
        assert one.share == pytest.approx(one.contribution / row["delta"]) and one.share > 0
        assert (one.direction, one.rank, one.lfsr) == (row["direction"], row["rank"], row["lfsr"])
    assert {one.hypothesis_id.split(":")[0] for one in told.everywhere} <= set(OVER_ALL_PAIRS)
    assert {one.hypothesis_id.split(":")[0] for one in told.in_places}.isdisjoint(OVER_ALL_PAIRS)
    for some in (told.everywhere, told.in_places):
        sure = [one.lfsr is not None and one.lfsr < 0.05 for one in some]
        assert sure == sorted(sure, reverse=True)
        shares_of_sure = [one.share for one, is_sure in zip(some, sure, strict=True) if is_sure]
        assert shares_of_sure == sorted(shares_of_sure, reverse=True)
        ranks = [one.rank for one, is_sure in zip(some, sure, strict=True) if not is_sure]
        assert ranks == sorted(ranks)
    assert any(one.fires_on for one in found.values())
    assert all(word in told.pair.chosen + told.pair.rejected for one in found.values() for word in one.fires_on)
    assert trace(finished.path, pair_id, number=2, tokens=False).to_dict()["everywhere"] == [
        {**dataclasses.asdict(one), "fires_on": []} for one in told.everywhere[:2]
    ]


def test_what_is_unusual_about_a_pair(finished: pretilt.AuditResult, dense: Dense) -> None:
    row = dense.train.index(True)
    pair_id = dense.pair_ids[0]
    told = lessons(finished, pair_id, number=100, tokens=False)
    tails = {}
    for concept_id in range(len(dense.concepts)):
        own = abs(dense.u(concept_id, row))
        if own > 0:
            tails[concept_id] = np.mean([abs(u) >= own - 1e-7 for u in dense.of_train(concept_id)[1:]])
    assert {one.concept_id for one in told.unusual} == {c for c, tail in tails.items() if tail <= 0.05}
    assert all(one.tail == pytest.approx(tails[one.concept_id]) for one in told.unusual)
    assert [one.tail for one in told.unusual] == sorted(one.tail for one in told.unusual)


def test_family_and_heldout_pairs(finished: pretilt.AuditResult) -> None:
    table = finished.pairs.select(["pair_id", "family_id", "split"]).to_pylist()
    sizes: dict[int, int] = {}
    for row in table:
        sizes[row["family_id"]] = sizes.get(row["family_id"], 0) + 1
    assert max(sizes.values()) >= 5
    shared = next(row for row in table if sizes[row["family_id"]] >= 5)
    assert lessons(finished, shared["pair_id"], tokens=False).pair.family_size == sizes[shared["family_id"]]
    apart = next(row for row in table if row["split"] == "heldout")
    told = lessons(finished, apart["pair_id"])
    assert (told.everywhere, told.in_places, told.pair.split) == ([], [], "heldout")
    assert told.group_id >= 0


def test_swapped_labels_show_swapped_texts(finished: pretilt.AuditResult) -> None:
    settings = AuditSettings.load(**finished.run.manifest["settings"])
    pair_ids = finished.pairs["pair_id"].to_pylist()
    plain = quotes_of(finished.run, settings, pair_ids)
    turned = quotes_of(finished.run, settings.model_copy(update={"baseline": "shuffled-labels"}), pair_ids)
    swapped = {p for p in pair_ids if (turned[p].chosen, turned[p].rejected) == (plain[p].rejected, plain[p].chosen)}
    assert 60 < len(swapped) < 180
    assert all(turned[p] == plain[p] for p in pair_ids if p not in swapped)


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("group:99:1", ["99 is no group", "Did you mean group:"]),
        ("group:0:1", ["silent", "Did you mean"]),
        ("gruop:1:2", ["is no id", "group:1:2"]),
        ("global:3:4", ["is no id", "global:4"]),
        ("group:*:4", ["is no id", "global:4"]),
        ("global:9999", ["there is no concept 9999", "they are 0 to"]),
        ("concept:9999", ["there is no concept 9999"]),
        ("prompt_max:0:0", ["community", "shift_max", "Did you mean prompt_max:0:"]),
        ("prompt_freq:0:9", ["0 is no prompt concept of view prompt_freq"]),  # 0 is of the other statistic
        ("pair:0", ["there is no pair '0'", "pair:<pair_id>"]),
        ("", ["is no id", "concept:7"]),
        ("group:１:٢", ["is no id"]),  # digits, but not ours
        ("9" * 5000, ["is no id"]),
        ("pair:\x1b[31m\n" + "x" * 5000, ["there is no pair"]),
    ],
)
def test_a_wrong_id_is_one_line_with_near_matches(
    finished: pretilt.AuditResult, no_lens: None, what: str, says: list[str]
) -> None:
    with pytest.raises(UserError) as caught:
        trace(finished.path, what)
    assert all(words in str(caught.value) for words in says), caught.value
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)


def test_near_pairs_and_shift_concepts(finished: pretilt.AuditResult) -> None:
    pair_id = finished.pairs["pair_id"][5].as_py()
    for wrong in (f"pair:{pair_id[:8]}", pair_id[:10] + "0" * 10 if pair_id[10:] != "0" * 10 else pair_id + "-9"):
        with pytest.raises(UserError, match=f"Did you mean pair:{pair_id}"):
            trace(finished.path, wrong)
    shift = finished.concepts["kind"].to_pylist().index("shift_max")
    with pytest.raises(UserError, match=f"Did you mean concept:{shift}"):
        trace(finished.path, f"global:{shift}")
    name = finished.concepts["name"][0].as_py()
    assert trace(finished.path, name.upper(), number=1, tokens=False).id == "global:0"


def test_the_number_of_a_printed_row_and_the_row_of_the_source(finished: pretilt.AuditResult, no_lens: None) -> None:
    """Row 3 of the lists as the audit prints them, and again from a file, is the same effect."""
    printed = summary_of(finished.run)
    ids = [effect.hypothesis_id for name in LISTS[:4] for effect in getattr(printed, name)]
    for typed in ("3", "#3"):
        assert trace(finished.path, typed, number=1, tokens=False).id == ids[2]
    last = len(ids) + 1  # the first row of the next list
    assert trace(finished.path, str(last), number=1, tokens=False).id == printed.amplified_in_groups[0].hypothesis_id
    with pytest.raises(UserError, match=r"the audit printed no number 0.*1 to"):
        trace(finished.path, "0")
    assert trace(finished.path, "global:*:7", number=1, tokens=False).id == "global:7"  # as it was written before
    row = finished.pairs["row_index"][5].as_py()
    assert trace(finished.path, f"row:{row}", tokens=False).pair.pair_id == finished.pairs["pair_id"][5].as_py()
    with pytest.raises(UserError, match="no pair comes from row 999999: it was dropped or never read"):
        trace(finished.path, "row:999999")


def test_no_run_and_half_a_run(copied: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a run folder"):
        trace(tmp_path, "global:1")
    (copied / "hypotheses.parquet").unlink()
    with pytest.raises(UserError, match=r"hypotheses\.parquet"):
        trace(copied, "global:1", tokens=False)
