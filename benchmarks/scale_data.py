"""A made-up run of any size: what a lens would have seen of preference pairs, without any text to speak of.

Shaped like real span features: how often features fire is heavy-tailed; features come in communities that fire
together; every pair is about a topic, that is a choice of communities; chosen and rejected share most of what fires;
some communities are tilted towards one side, everywhere or on one topic; pairs come in families about one topic. The
folder is one that the pipeline's own stages read. Same numbers, same bytes; an interrupted start is taken up again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pretilt.concepts.bank import build_concepts, feature_lists
from pretilt.reports.manifest import LensCard
from pretilt.run import Run
from pretilt.schema import FEATURES, MEMBERSHIP_FILE, PAIRS, SPAN_FEATURES, SPANS, Concepts

PAIRS_PER_SHARD = 256  # as the harvest makes them
HELD_OUT = 0.01  # pairs beside the training pairs, as a share of those
PER_TOPIC, PER_PAIR = 24, 8  # communities that a topic chooses from; that a pair is about
FLATTEST = 50  # the most frequent features fire about equally often: rank + 50 is what Zipf's law is of
FIRES = {"prompt": 0.4, "chosen": 0.6, "rejected": 0.6}  # share of a community that fires where a pair is about it
LENGTHS = {"prompt": 120, "chosen": 320, "rejected": 300}  # median content tokens
POOL = 1 << 22


@dataclass(frozen=True)
class Size:
    """How big the world is; the rest follows."""

    n_pairs: int = 260_000  # training pairs
    n_features: int = 65_536
    n_communities: int = 814
    n_topics: int = 600
    per_response: int = 1000  # features that fire in a response, about
    per_prompt: int = 600
    seed: int = 0

    @property
    def n_all(self) -> int:
        return self.n_pairs + max(1, round(HELD_OUT * self.n_pairs))


class World:
    """What all pairs have in common."""

    def __init__(self, size: Size) -> None:
        rng = np.random.default_rng([size.seed, 0])
        self.size = size
        by_rank = rng.permutation(size.n_features)
        weight = 1.0 / (np.arange(size.n_features) + FLATTEST)
        self.pool = by_rank[rng.choice(size.n_features, POOL, p=weight / weight.sum())].astype(np.int32)
        # About half of the features are in communities; neighbours in rank, so that a community fires as one.
        inside = by_rank[np.sort(rng.choice(size.n_features, size.n_features // 2, replace=False))]
        sizes = 4 + rng.multinomial(inside.size - 4 * size.n_communities, rng.dirichlet(np.full(size.n_communities, 4)))
        self.communities = np.split(inside, np.cumsum(sizes)[:-1])
        widest = max(map(len, self.communities))
        self.members = np.stack([np.pad(ids, (0, widest - ids.size), constant_values=-1) for ids in self.communities])
        chance = rng.random((size.n_topics, size.n_communities))
        self.topic = np.argsort(chance, axis=1)[:, :PER_TOPIC]  # communities of every topic
        self.tilt = rng.choice([-0.15, 0.0, 0.15], p=[0.1, 0.8, 0.1], size=self.topic.shape)
        self.tilt += rng.choice([-0.05, 0.0, 0.05], p=[0.02, 0.96, 0.02], size=size.n_communities)[self.topic]

    def concepts(self) -> Concepts:
        """The planted communities and no single features."""
        community = np.full(self.size.n_features, -1)
        for number, ids in enumerate(self.communities):
            community[ids] = number
        return build_concepts(community, np.full(community.size, 100), paper=True)

    def spans(self, topic: np.ndarray, rng: np.random.Generator) -> dict[str, tuple[np.ndarray, ...]]:
        """For pairs about these topics, of every span: n_tokens, indptr, feature_id, fire_count, act_max."""
        n = topic.size
        about = np.argsort(rng.random((n, PER_TOPIC)), axis=1)[:, :PER_PAIR]
        members = self.members[self.topic[topic[:, None], about]]  # (n, PER_PAIR, widest)
        tilt = self.tilt[topic[:, None], about]
        of_communities = PER_PAIR * np.mean([len(ids) for ids in self.communities])
        shared = self._background(rng, n, int(0.55 * (self.size.per_response - 0.6 * of_communities)))
        found = {}
        for span, sign in (("prompt", 0), ("chosen", 1), ("rejected", -1)):
            wanted = self.size.per_prompt if span == "prompt" else self.size.per_response
            n_more = int(max(0, 1.12 * (wanted - FIRES[span] * of_communities)))  # some are drawn more than once
            drawn = [] if span == "prompt" else [shared]
            drawn.append(self._background(rng, n, n_more - sum(part.shape[1] for part in drawn)))
            fires = rng.random(members.shape, dtype=np.float32) < (FIRES[span] + sign * tilt)[:, :, None]
            rows, *where = np.nonzero(fires & (members >= 0))
            ids = np.concatenate(
                [rows * self.size.n_features + members[rows, *where]]
                + [(np.arange(n)[:, None] * self.size.n_features + part).ravel() for part in drawn]
            )
            row, feature = np.divmod(np.unique(ids), self.size.n_features)
            n_tokens = np.clip(LENGTHS[span] * np.exp(0.6 * rng.standard_normal(n)), 8, 1000).astype(np.int32)
            count = np.exp(1.0 + 1.2 * rng.standard_normal(row.size, dtype=np.float32)).astype(np.int32)
            act = (0.3 + 0.2 * count**0.5 * rng.standard_exponential(row.size, dtype=np.float32)).astype(np.float32)
            indptr = np.searchsorted(row, np.arange(n + 1)).astype(np.int32)
            found[span] = (n_tokens, indptr, feature.astype(np.int32), np.clip(count, 1, n_tokens[row]), act)
        return found

    def _background(self, rng: np.random.Generator, n: int, width: int) -> np.ndarray:
        return self.pool[rng.integers(0, POOL, (n, max(0, width)))]


def generate(folder: Path, size: Size) -> Run:
    """Write the run folder, or what is missing of it."""
    world, run = World(size), Run(folder)
    family, topic, heldout = _families(size)
    config = asdict(size)
    with run.stage("pairs", version=1, config=config) as stage:
        if not stage.done:
            stage.write("pairs.parquet", _pairs(size, family, topic, heldout))
    ids = run.table("pairs.parquet", ["pair_id"])["pair_id"]
    with run.stage(FEATURES, version=1, config=config, reads=["pairs"]) as stage:
        shards = stage.shards(FEATURES, SPANS)
        for number, start in enumerate(range(0, 0 if stage.done else size.n_all, PAIRS_PER_SHARD)):
            if shards.has(number):
                continue
            rows = slice(start, start + PAIRS_PER_SHARD)
            spans = world.spans(topic[rows], np.random.default_rng([size.seed, 1, number]))
            shards.write(number, {span: _span_table(ids.slice(start, PAIRS_PER_SHARD), spans[span]) for span in SPANS})
        stage.add_shards(shards)
    with run.stage("concepts", version=1, config=config) as stage:
        if not stage.done:
            stage.write(MEMBERSHIP_FILE, _membership(world.concepts()))
    run.record("lens", _lens_card(size.n_features))
    return run


def _lens_card(n_features: int) -> dict[str, Any]:
    """No model reads these pairs: the facts of a lens that nobody looks at."""
    return LensCard(
        model="none", layer=0, dictionary="none", dictionary_hash="", model_identity={}, norm_scaling_factor=None,
        cautions=[], bundled=False, n_features=n_features, d_model=0, explained_variance=None, l0=None,
        n_sample_tokens=0, packed=False,
    ).model_dump()  # fmt: skip


def _families(size: Size) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Family, topic and whether held out, of every pair. Most families are one pair; a few are hundreds."""
    rng = np.random.default_rng([size.seed, 2])
    sizes = np.minimum(rng.zipf(2.2, size.n_all), 300)
    family = rng.permutation(np.repeat(np.arange(sizes.size), sizes)[: size.n_all])
    favour = rng.dirichlet(np.full(size.n_topics, 0.7))
    topic = rng.choice(size.n_topics, sizes.size, p=favour)[family]
    heldout = np.zeros(size.n_all, bool)
    heldout[rng.choice(size.n_all, size.n_all - size.n_pairs, replace=False)] = True
    return family, topic, heldout


def _pairs(size: Size, family: np.ndarray, topic: np.ndarray, heldout: np.ndarray) -> pa.Table:
    """PAIRS with prompts of eight words and no responses: naming sets of prompts is another benchmark's matter."""
    n, rng = size.n_all, np.random.default_rng([size.seed, 3])
    words = [
        [f"topic{t}", *(f"word{w}" for w in some)] for t, some in zip(topic, rng.integers(0, 5000, (n, 7)), strict=True)
    ]
    columns: dict[str, Any] = {
        "pair_id": [f"{i:020x}" for i in rng.permutation(n)],
        "row_index": np.arange(n),
        "prompt": [[{"role": "user", "content": " ".join(some), "extra": None}] for some in words],
        "source": [f"source-{t % 12}" for t in topic],
        "family_id": family,
        "component_id": family,
        "split": np.where(heldout, "heldout", "train").tolist(),
        **{f"n_{span}_tokens": np.full(n, LENGTHS[span]) for span in SPANS},
    }
    length = rng.normal(20, 100, n).astype(int)
    columns["n_chosen_tokens"] = np.maximum(LENGTHS["chosen"] + length, 8)
    arrays = [pa.array(columns[f.name], f.type) if f.name in columns else pa.nulls(n, f.type) for f in PAIRS]
    return pa.table(arrays, schema=PAIRS)


def _span_table(pair_ids: pa.ChunkedArray, parts: tuple[np.ndarray, ...]) -> pa.Table:
    n_tokens, indptr, *values = parts
    lists = [pa.ListArray.from_arrays(pa.array(indptr, pa.int32()), pa.array(v)) for v in values]
    return pa.table([pair_ids, pa.array(n_tokens), *lists], schema=SPAN_FEATURES)


def _membership(concepts: Concepts) -> pa.Table:
    lists, n = feature_lists(concepts), len(concepts)
    return pa.table(
        {
            "concept_id": pa.array(np.arange(n), pa.int32()),
            "kind": ["community"] * n,
            "feature_ids": pa.array(lists, pa.list_(pa.int32())),
            "name": [f"community {i}" for i in range(n)],
            "name_kind": ["none"] * n,
            "name_score": pa.nulls(n, pa.float64()),
            "contexts": pa.array([[]] * n, pa.list_(pa.string())),
            "phrases": pa.array([[]] * n, pa.list_(pa.string())),
        }
    )
