"""From hypotheses back to pairs and tokens: who is responsible, and what a pair teaches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csc_array, csr_array, vstack

from pretilt.concepts.pattern_step import pattern_counts, pattern_tokens
from pretilt.concepts.prompt_scores import STATISTICS, concept_columns, response_scores
from pretilt.concepts.step import membership
from pretilt.detectors import stored
from pretilt.events import Events
from pretilt.lens.blocks import Features, PairBlock, train_rows, transcripts
from pretilt.lens.choice import LensChoice
from pretilt.lens.tokens import PairTokens, pair_tokens, token_pieces
from pretilt.pairs.shuffle import label_swap
from pretilt.run import Run
from pretilt.schema import (
    ALIKE,
    ALIKE_FILE,
    CONCENTRATION,
    CONCENTRATION_FILE,
    CONCEPTS_FILE,
    EVIDENCE_FILE,
    FEATURES,
    GROUP_MEMBERS_FILE,
    HYPOTHESES_FILE,
    LISTED,
    PAIRS_FILE,
    PROMPT_MEMBERS_FILE,
    SHIFT_SIGMA_FILE,
    TOKENS_FILE,
    Concepts,
)
from pretilt.settings import AuditSettings
from pretilt.stats.alike import alike
from pretilt.stats.concentration import concentration
from pretilt.stats.disparity import disparity_block, exact_threshold, signed_disparity
from pretilt.stats.evidence import Places, Tracer, build_evidence
from pretilt.stats.sure import sure_rows

EVIDENCE_RANKS = 25  # hypotheses per view and direction whose pairs are kept with their tokens, sure or not
EVIDENCE_PAIRS = 8  # pairs of each of them
SURE_RANKS = LISTED  # sure ones, at most
SURE_PAIRS_KEPT = 3  # pairs of each of those that rank below EVIDENCE_RANKS


def scores_of(
    run: Run, settings: AuditSettings, concept_ids: Sequence[int], keep: np.ndarray
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """(u, v) of some concepts for the pairs to keep, float64 each; read from the features, nothing of it is stored.

    For a response-shift concept v is u.
    """
    names = ["concept_id", "kind", "feature_ids", "pattern", "detector"]
    table = run.table(CONCEPTS_FILE, names).take(pa.array(sorted(concept_ids), pa.int64()))
    of_text, by_detector = pc.is_valid(table["pattern"]), pc.is_valid(table["detector"])
    scores = _pattern_scores(run, settings, table.filter(of_text), keep)
    scores |= _detector_scores(run, table.filter(by_detector), keep)
    table = table.filter(pc.invert(pc.or_(of_text, by_detector)))
    if len(table):
        scores |= feature_scores(run, settings, table, Features(run, settings).blocks(keep, prompts=False))
    return scores


def feature_scores(
    run: Run, settings: AuditSettings, table: pa.Table, blocks: Iterable[PairBlock]
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """(u, v) of concepts of features on the pairs of `blocks`, whether or not the run holds these; see `scores_of`.

    `table`: their rows of CONCEPTS (`concept_id`, `kind`, `feature_ids`).
    """
    n_features: int = run.manifest["lens"]["n_features"]
    ids, kinds = table["concept_id"].to_numpy(), np.asarray(table["kind"].to_pylist(), dtype=object)
    lists = [np.asarray(x, np.int64) for x in table["feature_ids"].to_pylist()]
    shifts = {q: np.flatnonzero(kinds == f"shift_{q}") for q in STATISTICS}
    plain = np.setdiff1d(np.arange(ids.size), np.concatenate(list(shifts.values())))
    rows = np.concatenate([*(lists[i] for i in plain), np.zeros(0, np.int64)])
    columns = np.repeat(np.arange(plain.size), [lists[i].size for i in plain])
    member = csc_array((np.ones(rows.size, np.int32), (rows, columns)), shape=(n_features, plain.size))
    concepts = Concepts(member, kinds[plain] == "community")
    sigma = {q: run.table(SHIFT_SIGMA_FILE)[q].to_numpy() for q in STATISTICS if shifts[q].size}
    scorers = {q: concept_columns([lists[i] for i in shifts[q]], n_features, q, sigma[q]) for q in sigma}
    threshold = exact_threshold(settings.freq_threshold)

    u_parts, v_parts, shift_parts = [], [], {q: [] for q in scorers}  # type: ignore[var-annotated]
    for block in blocks:
        if plain.size:
            forms = tuple(dict.fromkeys((settings.disparity, "freq")))
            disparities = disparity_block(block.chosen, block.rejected, concepts, forms=forms, freq_threshold=threshold)
            u_parts.append(signed_disparity(disparities.numerators[settings.disparity], concepts.size))
            v_parts.append(disparities.numerators["freq"])
        for q, scorer in scorers.items():
            shift_parts[q].append(response_scores(block, scorer))

    scores = {}
    if plain.size:
        u, v = (csc_array(vstack(parts, format="csc")) for parts in (u_parts, v_parts))
        for j, i in enumerate(plain.tolist()):
            scores[int(ids[i])] = (_column(u, j), _column(v, j))
    for q, parts in shift_parts.items():
        dense = np.concatenate(parts).astype(np.float64)
        for j, i in enumerate(shifts[q].tolist()):
            scores[int(ids[i])] = (dense[:, j], dense[:, j])
    return scores


def _pattern_scores(
    run: Run, settings: AuditSettings, table: pa.Table, keep: np.ndarray
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """u and, as v, the difference in occurrences per 100 words."""
    if not len(table):
        return {}
    counts = pattern_counts(run, settings).take(keep)
    u, v = counts.u.astype(np.float64), counts.rate_difference
    column = {name: i for i, name in enumerate(counts.names)}
    rows = zip(table["concept_id"].to_pylist(), table["pattern"].to_pylist(), strict=True)
    return {concept: (u[:, column[name]], v[:, column[name]]) for concept, name in rows}


def _detector_scores(run: Run, table: pa.Table, keep: np.ndarray) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """u and, as v, the difference of the largest token scores."""
    names = table["detector"].to_pylist()
    chosen, rejected = (side[keep].astype(np.float64) for side in stored.presence(run, names))
    scores = {}
    for i, (concept, name) in enumerate(zip(table["concept_id"].to_pylist(), names, strict=True)):
        of_chosen, of_rejected = (side[keep].astype(np.float64) for side in stored.response_scores(run, name))
        scores[concept] = (chosen[:, i] - rejected[:, i], of_chosen - of_rejected)
    return scores


def _column(x: csc_array, j: int) -> np.ndarray:
    dense: np.ndarray = x[:, [j]].toarray().ravel().astype(np.float64)
    return dense


def make_tracer(run: Run, settings: AuditSettings, concept_ids: Sequence[int]) -> Tracer:
    """Contributions of the training pairs to the effects on some concepts."""
    train = train_rows(run)
    members = run.table(GROUP_MEMBERS_FILE).filter(pa.array(train))
    pair_ids = members["pair_id"].to_pylist()
    row = {pair_id: i for i, pair_id in enumerate(pair_ids)}
    selected = run.table(PROMPT_MEMBERS_FILE)
    prompt_rows: dict[int, list[int]] = {}
    for k, pair_id in zip(selected["prompt_concept_id"].to_pylist(), selected["pair_id"].to_pylist(), strict=True):
        if pair_id in row:  # the others are held out
            prompt_rows.setdefault(k, []).append(row[pair_id])
    places = Places(members["group_id"].to_numpy(), {k: np.array(rows) for k, rows in prompt_rows.items()})
    return Tracer(pair_ids, places, scores_of(run, settings, concept_ids, train))


def token_reader(run: Run, settings: AuditSettings, lens: LensChoice | None, events: Events) -> Any:
    """A callable that reads the tokens of (pair_id, concept_id) requests once more, through the lens."""
    swap = label_swap(run, settings)
    pair_ids = run.table(PAIRS_FILE, ["pair_id"])["pair_id"].to_pylist() if swap is not None else []
    turned = {pair_id for pair_id, turn in zip(pair_ids, swap if swap is not None else [], strict=True) if turn}
    features, pattern, detector = (_column_by_id(run, name) for name in ("feature_ids", "pattern", "detector"))

    def read_tokens(requests: Sequence[tuple[str, int]]) -> list[PairTokens]:
        assert lens is not None, "without a lens there are no concepts of features"
        tokens = run.table(TOKENS_FILE)
        return turn(requests, pair_tokens(lens.lens(tokens), lens.tokenizer, tokens, requests, features, events))

    def turn(requests: Sequence[tuple[str, int]], read: Sequence[PairTokens]) -> list[PairTokens]:
        return [
            PairTokens(t.rejected_pieces, t.rejected_acts, t.chosen_pieces, t.chosen_acts) if pair_id in turned else t
            for (pair_id, _), t in zip(requests, read, strict=True)
        ]

    def read(requests: Sequence[tuple[str, int]]) -> list[PairTokens]:
        of_text = [(pair_id, concept) for pair_id, concept in requests if pattern[concept] is not None]
        scored = [(pair_id, concept) for pair_id, concept in requests if detector[concept] is not None]
        of_features = [request for request in requests if request not in {*of_text, *scored}]
        named = [(pair_id, pattern[concept]) for pair_id, concept in of_text]
        answers = dict(zip(of_text, pattern_tokens(run, named, turned) if named else [], strict=True))
        if scored:
            assert lens is not None, "without a lens there are no detectors"
            by_name = [(pair_id, detector[concept]) for pair_id, concept in scored]
            answers |= zip(scored, turn(scored, detector_tokens(run, lens.tokenizer, by_name)), strict=True)
        answers |= zip(of_features, read_tokens(of_features) if of_features else [], strict=True)
        return [answers[request] for request in requests]

    return read


def detector_tokens(run: Run, tokenizer: Any, requests: Sequence[tuple[str, str]]) -> list[PairTokens]:
    """For every (pair_id, detector): both responses' tokens as text and by how much each passes the detector's
    threshold of tokens, 0 below it. Labels are those of the source."""
    from pretilt.lens.packing import Rows

    tokens = run.table(TOKENS_FILE)
    position = {pair_id: i for i, pair_id in enumerate(tokens["pair_id"].to_pylist())}
    pair_ids = list(dict.fromkeys(pair_id for pair_id, _ in requests))
    rows = Rows.from_table(tokens.take(pa.array([position[p] for p in pair_ids])))
    pieces = {
        pair_id: [token_pieces(tokenizer, rows.ids[i][s][rows.content[i][s]]) for s in (1, 2)]
        for i, pair_id in enumerate(pair_ids)
    }
    read: dict[tuple[str, str], PairTokens] = {}
    for name in dict.fromkeys(name for _, name in requests):
        of_name = [pair_id for pair_id, requested in requests if requested == name]
        threshold = np.float32(stored.thresholds(run, name)[1])
        least = np.nextafter(threshold, np.float32(-np.inf))  # a token at the threshold counts
        for pair_id, sides in zip(of_name, stored.token_scores(run, name, of_name), strict=True):
            chosen, rejected = (np.maximum(scores - least, 0.0).tolist() for scores in sides)
            read[pair_id, name] = PairTokens(pieces[pair_id][0], chosen, pieces[pair_id][1], rejected)
    return [read[request] for request in requests]


def _column_by_id(run: Run, name: str) -> dict[int, Any]:
    table = run.table(CONCEPTS_FILE, ["concept_id", name])
    return dict(zip(table["concept_id"].to_pylist(), table[name].to_pylist(), strict=True))


def evidence_stage(run: Run, settings: AuditSettings, lens: LensChoice | None, version: int, events: Events) -> None:
    """The responsible pairs of the first hypotheses of each list, and of all sure ones among `LISTED`, read once
    more for the tokens that fired."""
    config = {
        "ranks": [EVIDENCE_RANKS, SURE_RANKS],
        "pairs": [EVIDENCE_PAIRS, SURE_PAIRS_KEPT],
        "baseline": settings.baseline,
    }
    reads = ["pairs", *([] if lens is None else [FEATURES, "concepts", "shifts"]), "patterns", "audit"]
    with run.stage("evidence", version=version, config=config, reads=reads) as stage:
        if stage.done:
            return
        train = train_rows(run)
        names = ["pair_id", "prompt", "is_chat", "family_id"]
        pairs = run.table(PAIRS_FILE, names).filter(pa.array(train))
        hypotheses = run.table(HYPOTHESES_FILE)
        first = hypotheses.filter(pc.field("shown") & (pc.field("rank") <= EVIDENCE_RANKS))
        more = pc.field("shown") & (pc.field("rank") > EVIDENCE_RANKS) & (pc.field("rank") <= SURE_RANKS)
        also = hypotheses.filter(more)
        listed = pa.concat_tables([first, also.filter(pa.array(sure_rows(also)))])
        tracer = make_tracer(run, settings, np.unique(listed["concept_id"].to_numpy()).tolist())
        texts = dict(zip(pairs["pair_id"].to_pylist(), transcripts(pairs), strict=True))
        read = token_reader(run, settings, lens, events)
        most = np.where(listed["rank"].to_numpy() <= EVIDENCE_RANKS, EVIDENCE_PAIRS, SURE_PAIRS_KEPT)
        table = build_evidence(listed, tracer, texts, read, max_pairs=most.tolist())
        stage.write(EVIDENCE_FILE, table)
        stage.write(CONCENTRATION_FILE, _concentration(listed, tracer, pairs["family_id"].to_numpy()))
        stage.write(ALIKE_FILE, _alike(listed, tracer))


def _alike(listed: pa.Table, tracer: Tracer) -> pa.Table:
    """ALIKE of the concepts of features behind the listed hypotheses: every pattern is a trait of its own."""
    of_features = listed.filter(~pc.field("view").isin(["pattern", "pattern_group"]))
    ids = np.unique(of_features["concept_id"].to_numpy())
    first, second, correlation = alike([tracer.u(concept) for concept in ids.tolist()])
    return pa.table({"concept_id": ids[first], "other_id": ids[second], "correlation": correlation}).cast(ALIKE)


def _concentration(listed: pa.Table, tracer: Tracer, family: np.ndarray) -> pa.Table:
    rows = []
    for hypothesis in listed.select(["hypothesis_id", "view", "where", "concept_id"]).to_pylist():
        carried = concentration(
            tracer.contributions(hypothesis["view"], hypothesis["where"], hypothesis["concept_id"]), family
        )
        shares = {f"pairs_{round(100 * share)}": value for share, value in carried.pairs.items()}
        shares |= {f"families_{round(100 * share)}": value for share, value in carried.families.items()}
        rows.append({"hypothesis_id": hypothesis["hypothesis_id"], **shares})
    return pa.Table.from_pylist(rows, schema=CONCENTRATION)


@dataclass(frozen=True)
class TrainDisparities:
    """Of the training pairs and the communities and single features, CSR (n_pairs, n_concepts): `u` as tested, `v`,
    and `presence`, blind to the label."""

    u: csr_array
    v: csr_array
    presence: csr_array


def train_disparities(run: Run, settings: AuditSettings) -> TrainDisparities:
    """Computed from the features; nothing of this size is stored."""
    _, concepts = membership(run)
    features, train = Features(run, settings), train_rows(run)
    forms = tuple(dict.fromkeys((settings.disparity, "freq")))
    u, v, presence = [], [], []
    for block in features.blocks(train, prompts=False):
        disparities = disparity_block(
            block.chosen, block.rejected, concepts, forms=forms,
            freq_threshold=exact_threshold(settings.freq_threshold),
        )  # fmt: skip
        u.append(signed_disparity(disparities.numerators[settings.disparity], concepts.size))
        v.append(disparities.numerators["freq"])
        both = (block.chosen.fire_count > 0).astype(float) + (block.rejected.fire_count > 0).astype(float)
        presence.append(csr_array(both) @ csr_array(concepts.membership, dtype=float))
    return TrainDisparities(*(csr_array(vstack(parts, format="csr")) for parts in (u, v, presence)))
