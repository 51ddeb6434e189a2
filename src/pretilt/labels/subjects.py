"""Subjects of labelling: the things a run lists, with the texts their labels are made from and scored on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csc_array, vstack

from pretilt.errors import UserError
from pretilt.events import Events
from pretilt.labels.exemplars import Candidates, Drawn, draw, halves, mean_over_features
from pretilt.labels.offline import Reading, concept_labels, group_labels, offline_row, prompt_concept_label
from pretilt.labels.table import LabelRow
from pretilt.labels.texts import Subject, Text, peak, prompt_text, response_text
from pretilt.lens.blocks import prompt_texts, shards_of, train_rows
from pretilt.lens.choice import LensChoice, choose_lens
from pretilt.lens.store import iter_shards
from pretilt.lens.tokens import pair_tokens, token_pieces
from pretilt.run import Run
from pretilt.schema import (
    CONCEPTS_FILE,
    FEATURES,
    GROUP_MEMBERS_FILE,
    GROUPS_FILE,
    HYPOTHESES_FILE,
    PAIRS_FILE,
    PROMPT_CONCEPTS_FILE,
    PROMPT_MEMBERS_FILE,
    TOKENS_FILE,
)
from pretilt.settings import settings_of

FIT_SHOWING, FIT_WITHOUT, SCORE_EACH = 12, 6, 10  # texts per thing
_SIDES = ("chosen", "rejected")


@dataclass(frozen=True)
class Shown:
    """What a run lists: (kind, id) of the things, best-ranked first, and the hypotheses made of them."""

    things: tuple[tuple[str, str], ...]
    hypotheses: tuple[tuple[str, str, str], ...]  # hypothesis_id, concept id, "kind:id" of the place or ""
    reads: tuple[str, ...]  # stages whose files tell it

    def ids(self, kind: str) -> list[int]:
        return [int(id_) for k, id_ in self.things if k == kind]


def shown_things(run: Run, top: int) -> Shown:
    """The things behind the first `top` shown hypotheses of every view and direction; patterns and detectors have names
    already."""
    files = [PAIRS_FILE, TOKENS_FILE, CONCEPTS_FILE, GROUPS_FILE, HYPOTHESES_FILE]
    files += [PROMPT_CONCEPTS_FILE] * run.holds(PROMPT_CONCEPTS_FILE)

    stages = run.manifest["stages"]
    reads = {name for name, stage in stages.items() if set(files) & set(stage["files"])} | {FEATURES} & set(stages)
    h = run.table(HYPOTHESES_FILE, ["hypothesis_id", "view", "where", "concept_id", "shown", "rank"])
    have_names = pc.field("view").isin(["pattern", "pattern_group", "detector", "detector_group"])
    listed = h.filter(pc.field("shown") & (pc.field("rank") <= top) & ~have_names).sort_by(
        [("rank", "ascending"), ("hypothesis_id", "ascending")]
    )

    things: dict[tuple[str, str], None] = {}
    hypotheses = []
    for row in listed.to_pylist():
        concept, place = str(row["concept_id"]), _place(row["view"], row["where"])
        things[("concept", concept)] = None
        if place is not None:
            things[place] = None
        hypotheses.append((row["hypothesis_id"], concept, ":".join(place) if place else ""))

    return Shown(tuple(things), tuple(hypotheses), tuple(sorted(reads)))


def _place(view: str, where: int) -> tuple[str, str] | None:
    if view == "global" or where < 0:
        return None
    return ("group" if view == "group" else "prompt_concept", str(where))


def read_subjects(run: Run, shown: Shown, seed: int, events: Events) -> tuple[list[Subject], list[LabelRow]]:
    """The subjects in the order shown, and the offline labels of all of them with their scores."""
    texts = _Texts(run, shown, seed, events)
    rows_by_thing = {**texts.concepts(), **texts.groups(), **texts.prompt_concepts()}
    return [rows_by_thing[thing][0] for thing in shown.things], [rows_by_thing[thing][1] for thing in shown.things]


Made = dict[tuple[str, str], tuple[Subject, LabelRow]]


class _Texts:
    """The run's texts with the random choices that all subjects share."""

    def __init__(self, run: Run, shown: Shown, seed: int, events: Events) -> None:
        self.run, self.shown, self.seed, self.events = run, shown, seed, events
        self.pairs = run.table(PAIRS_FILE)
        self.tokens = run.table(TOKENS_FILE)
        # A run of an earlier version knows near-duplicate components only.
        unit = "family_id" if "family_id" in self.pairs.schema.names else "component_id"
        self.family = self.pairs[unit].to_numpy()
        self.group = run.table(GROUP_MEMBERS_FILE)["group_id"].to_numpy()
        self.writing, self.scoring = halves(self.family, train_rows(run), seed)
        order = np.random.default_rng([seed, 1])
        self.order = {n: order.permutation(n * len(self.family)) for n in (1, 2)}

    @cached_property
    def prompts(self) -> list[str]:
        return prompt_texts(self.pairs)

    def concepts(self) -> Made:
        """Response concepts: texts are responses, with the firing places read again from the lens."""
        ids = self.shown.ids("concept")
        if not ids:
            return {}

        features = dict(enumerate(self.run.table(CONCEPTS_FILE)["feature_ids"].to_pylist()))
        strength = self._strength(features, ids, _SIDES)

        n = len(self.family)
        lengths = np.concatenate([self.pairs[f"n_{side}_tokens"].to_numpy() for side in _SIDES])
        common = {
            "pair": np.tile(np.arange(n), 2), "family": np.tile(self.family, 2), "topic": np.tile(self.group, 2),
            "side": np.repeat([0, 1], n), "n_tokens": lengths, "order": self.order[2],
        }  # fmt: skip

        drawn = {}
        for j, concept in enumerate(ids):
            candidates = Candidates(expression=strength[:, [j]].toarray().ravel(), **common)
            drawn[concept] = (
                draw(candidates, np.tile(self.writing, 2), FIT_SHOWING, FIT_WITHOUT),
                draw(candidates, np.tile(self.scoring, 2), SCORE_EACH, SCORE_EACH),
            )

        lens = _same_lens(self.run, self.tokens, self.events)
        acts = self._acts(lens, drawn, features)
        writing = self.tokens.filter(pa.array(self.writing))
        readings = [
            [Reading(self._pair_id(t), _SIDES[t // n], acts[c, t][1]) for t in drawn[c][0].showing.tolist()]
            for c in ids
        ]
        names = concept_labels(readings, writing, len(lens.tokenizer), _decoder(lens.tokenizer))

        labelled: Made = {}
        for j, concept in enumerate(ids):
            fit, score = (self._response_texts(lens.tokenizer, acts, concept, d) for d in drawn[concept])
            subject = Subject("concept", str(concept), fit, score)
            name, phrases = (names[j].name, names[j].phrases) if readings[j] else ("", [])
            labelled["concept", str(concept)] = subject, offline_row(subject, name, phrases, len(readings[j]))
        return labelled

    def groups(self) -> Made:
        """Groups: texts are prompts, in the group or not."""
        ids = self.shown.ids("group")
        if not ids:
            return {}
        rows = np.flatnonzero(self.writing)
        n_groups = int(self.group.max()) + 1
        names = group_labels([self.prompts[i] for i in rows], self.group[rows], n_groups)
        return {
            ("group", str(g)): self._prompt_subject("group", g, (self.group == g).astype(float), *names[g]) for g in ids
        }

    def prompt_concepts(self) -> Made:
        """Prompt concepts: texts are prompts, by the share of the concept's features that fire in them."""
        ids = self.shown.ids("prompt_concept")
        if not ids:
            return {}

        table = self.run.table(PROMPT_CONCEPTS_FILE)
        features = dict(zip(table["prompt_concept_id"].to_pylist(), table["feature_ids"].to_pylist(), strict=True))
        members = self.run.table(PROMPT_MEMBERS_FILE)
        row = {pair_id: i for i, pair_id in enumerate(self.pairs["pair_id"].to_pylist())}
        share = self._strength(features, ids, ("prompt",), presence=True)

        labelled = {}
        writing = np.flatnonzero(self.writing)
        for j, k in enumerate(ids):
            inside = np.zeros(len(row), dtype=bool)  # as the prompt-conditioned view chose them
            inside[
                [row[p] for p in members.filter(pc.equal(members["prompt_concept_id"], k))["pair_id"].to_pylist()]
            ] = True

            weak = 0.4 * share[:, [j]].toarray().ravel()
            name, terms = prompt_concept_label([self.prompts[i] for i in writing], inside[writing], self.seed)
            expression = np.where(inside, 1.0, weak)
            labelled["prompt_concept", str(k)] = self._prompt_subject("prompt_concept", k, expression, name, terms)

        return labelled

    def _prompt_subject(
        self, kind: str, id_: int, expression: np.ndarray, name: str, terms: list[str]
    ) -> tuple[Subject, LabelRow]:
        """`expression` is 1 for the prompts in it; what is below 1/2 is not, and the less the better without it."""
        n = len(self.family)
        candidates = Candidates(
            expression, np.arange(n), self.family, np.zeros(n), np.zeros(n, dtype=int),
            self.pairs["n_prompt_tokens"].to_numpy(), self.order[1],
        )  # fmt: skip
        fit = draw(candidates, self.writing, FIT_SHOWING, FIT_WITHOUT, least=0.5)
        score = draw(candidates, self.scoring, SCORE_EACH, SCORE_EACH, least=0.5)
        subject = Subject(kind, str(id_), self._prompt_texts(fit), self._prompt_texts(score))
        n_fit = int((expression[self.writing] >= 1).sum())
        return subject, offline_row(subject, name, terms, n_fit)

    def _prompt_texts(self, drawn: Drawn) -> tuple[Text, ...]:
        return tuple(
            prompt_text(self.prompts[i], shows=shows)
            for rows, shows in ((drawn.showing, True), (drawn.without, False))
            for i in rows.tolist()
        )

    def _strength(
        self, features: dict[int, Sequence[int]], ids: list[int], spans: Sequence[str], *, presence: bool = False
    ) -> csc_array:
        """(n_spans · n_pairs, n_ids): mean of the features' `act_max`, or, with `presence`, the share that fires."""
        n_features = self.run.manifest["lens"]["n_features"]
        lists = [np.asarray(features[i], dtype=np.int64) for i in ids]
        indptr = np.r_[0, np.cumsum([x.size for x in lists])]
        membership = csc_array(
            (np.ones(indptr[-1], np.float32), np.concatenate(lists), indptr), shape=(n_features, len(ids))
        )
        parts: dict[str, list[Any]] = {span: [] for span in spans}
        for block in iter_shards(shards_of(self.run), n_features):
            for span in spans:
                values = block[span].fire_count > 0 if presence else block[span].act_max
                parts[span].append(mean_over_features(values, membership))
        return csc_array(vstack([x for span in spans for x in parts[span]], format="csc"))

    def _acts(
        self, lens: LensChoice, drawn: dict[int, tuple[Drawn, Drawn]], features: dict[int, Sequence[int]]
    ) -> dict[tuple[int, int], tuple[Sequence[str], Sequence[float]]]:
        """(concept, text) → pieces and activations of every text that shows a concept."""
        n = len(self.family)
        showing_texts = [(c, t) for c, halves_ in drawn.items() for d in halves_ for t in d.showing.tolist()]
        requests = list(dict.fromkeys((self._pair_id(t), c) for c, t in showing_texts))
        if not requests:
            return {}

        answers = pair_tokens(lens.lens(self.tokens), lens.tokenizer, self.tokens, requests, features, self.events)
        by_request = dict(zip(requests, answers, strict=True))

        out = {}
        for c, t in showing_texts:
            answer = by_request[self._pair_id(t), c]
            chosen = t < n
            out[c, t] = (
                answer.chosen_pieces if chosen else answer.rejected_pieces,
                answer.chosen_acts if chosen else answer.rejected_acts,
            )
        return out

    def _response_texts(self, tokenizer: Any, acts: dict[Any, Any], concept: int, drawn: Drawn) -> tuple[Text, ...]:
        texts, centres = [], []
        for t in drawn.showing.tolist():
            pieces, on = acts[concept, t]
            texts.append(response_text(pieces, on, shows=True))
            centres.append(peak(on) / max(len(on) - 1, 1))

        n = len(self.family)
        for t, centre in zip(drawn.without.tolist(), centres, strict=False):
            ids, content = (
                np.asarray(self.tokens[f"{_SIDES[t // n]}_{what}"][t % n].as_py()) for what in ("ids", "content")
            )
            pieces = token_pieces(tokenizer, ids[content.astype(bool)])
            texts.append(response_text(pieces, [], shows=False, centre=centre))

        return tuple(texts)

    def _pair_id(self, text: int) -> str:
        return str(self.tokens["pair_id"][text % len(self.family)].as_py())


def _decoder(tokenizer: Any) -> Any:
    return lambda ids: tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def _same_lens(run: Run, tokens: pa.Table, events: Events) -> LensChoice:
    """The lens of the run, loaded again and checked to be the one that read the pairs."""
    settings = settings_of(run)
    choice = choose_lens(settings, Events())
    events.say("labels: reading the places where the concepts fire")
    lens, recorded = choice.lens(tokens), run.manifest["lens"]
    if lens.dictionary.hash != recorded["dictionary_hash"] or lens.model.identity != recorded["model_identity"]:
        raise UserError(
            "the model or the dictionary is not the one that read this run",
            file=run.path,
            why="the places where a concept fires would be another lens'",
            fix="Restore the files, or run `pretilt audit` again",
        )
    return choice
