"""A run as named shards: the one generator behind the server and the folder.

`index` is made last in a folder: a page that finds it finds all the others. It lists every shard, the errors met, and
where the pairs of a concept are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

from pretilt.audit.result import AuditResult
from pretilt.comparison.step import compare_runs
from pretilt.concepts.curation import curation
from pretilt.events import Events
from pretilt.run import Run
from pretilt.schema import HYPOTHESES_FILE, PATTERNS_FILE, TRAIN_REPORT, TRAINED_FOLDER
from pretilt.version import __version__
from pretilt.view.concept_map import concept_map, prompt_map
from pretilt.view.next_step import towards_verdict
from pretilt.view.site import outcomes, tables
from pretilt.view.site.scores import Scores
from pretilt.view.site.shards import script
from pretilt.view.site.texts import PAIRS, Fired, Texts
from pretilt.view.site.verified import doses, verifications
from pretilt.view.site.versus import versus
from pretilt.view.summary import report_tables, summarise

SCHEMA_VERSION = 1
INDEX = "index"


class Bundle:
    """Shards of a finished audit. Raises UserError for a run that has not finished."""

    def __init__(self, run: Run | AuditResult, against: Run | None = None, *, events: Events | None = None) -> None:
        """`against`: a run that this one is held against."""
        self.run = run.run if isinstance(run, AuditResult) else run
        self.against, self._events = against, events
        self.run.file(HYPOTHESES_FILE)
        self.tables = report_tables(self.run)
        self.summary = summarise(self.tables, title=self.run.manifest["source"])
        self.errors: list[str] = []
        self._hypotheses = tables.Hypotheses(self.tables)
        self._texts = Texts(self.run)
        self._fired = Fired(self.run, self.tables, self._texts)
        self._scores = Scores(self.run)

    def names(self) -> list[str]:
        """Every shard but the index, in the order in which a page needs them."""
        views = self._hypotheses.views
        by_row = [f"{kind}-{view}-{i:03d}" for view in views for kind in ("rows", "words") for i in self._numbers(view)]
        return [
            *self._whole,
            *by_row,
            *(f"u-{i:04d}" for i in range(self._scores.n_shards)),
            *(f"fired-{i:04d}" for i in self._fired.concepts),
            *(f"pairs-{i:04d}" for i in range(self._texts.n_shards)),
            *(f"answers-{i:03d}" for i in range(self._answers.n_shards if self._answers else 0)),
        ]

    def shard(self, name: str) -> bytes:
        """The bytes of a shard. Raises KeyError for a name that there is none of."""
        return script(name, self.index() if name == INDEX else self._value(name))

    def shards(self) -> Iterator[tuple[str, bytes]]:
        """All of them with their names, the index last."""
        for name in self.names():
            yield name, self.shard(name)
        yield INDEX, self.shard(INDEX)

    def index(self) -> dict[str, Any]:
        """What a page reads first."""
        return {
            "schema_version": SCHEMA_VERSION,
            "pretilt": __version__,
            "title": self.summary.title,
            "views": {
                view: {
                    "rows": len(table),
                    "left_out": self._hypotheses.left_out[view],
                    "shards": self._hypotheses.n_shards(view),
                    "of_shard": tables.ROWS,
                }
                for view, table in self._hypotheses.views.items()
            },
            "n_pairs": self.tables.pairs.num_rows,
            "n_train": int(self._scores.rows.size),
            "pairs_of_shard": PAIRS,
            "concepts_of_shard": self._scores.of_shard,
            "n_concepts": self._scores.n_concepts,
            "fired": self._fired.concepts,
            "answers": {"roles": self._answers.roles, "shards": self._answers.n_shards} if self._answers else None,
            "has": {
                **{name: self._later[name] is not None for name in self._later},
                "versus": self._versus is not None,
            },
            "is_text_alone": self.tables.is_text_alone,
            "towards_verdict": self._towards_verdict(),
            "files": self.names(),
            "errors": self.errors,
        }

    def _towards_verdict(self) -> str:
        if self.tables.is_text_alone:
            return ""  # nothing can be foretold or sampled
        is_trained = (self.run.path / TRAINED_FOLDER / TRAIN_REPORT).is_file()
        return towards_verdict(self.run.manifest["stages"], is_trained=is_trained)

    def _numbers(self, view: str) -> range:
        return range(self._hypotheses.n_shards(view))

    @cached_property
    def _later(self) -> dict[str, Any]:
        """Artifacts of steps after the audit: they may be missing, or older than this version reads."""
        steps: dict[str, Callable[[Run], Any]] = {
            "forecast": outcomes.forecast, "plans": lambda run: outcomes.plans(run, self.errors), "doses": doses,
        }  # fmt: skip
        values = {
            name: outcomes.readable(lambda load=load: load(self.run), self.errors) or None
            for name, load in steps.items()
        }
        judged = outcomes.readable(lambda: verifications(self.run), self.errors) or [None]
        # The first one is what the other views quote; those with names stand beside it.
        return {**values, "verification": judged[0], "verifications": judged[1:] or None}

    @cached_property
    def _answers(self) -> outcomes.Answers | None:
        answers = outcomes.readable(lambda: outcomes.Answers(self.run), self.errors)
        return answers if answers is not None and answers.n_shards else None

    @cached_property
    def _whole(self) -> dict[str, Callable[[], Any]]:
        """Shards that there is one of."""
        shards: dict[str, Callable[[], Any]] = {
            "overview": lambda: tables.overview(self.tables, self.summary),
            "concepts": lambda: tables.concepts(self.tables),
            "places": lambda: tables.places(self.tables),
            "facts": lambda: tables.pair_facts(self.run),
            "members": lambda: tables.prompt_members(self.run),
            "map": lambda: tables.points(self.run),
            "likeness": lambda: tables.spots(concept_map(self.run)),
            "overlap": lambda: tables.spots(prompt_map(self.run)),
            "concentration": lambda: tables.concentration(self.tables),
            "patterns": self._patterns,
            "curation": lambda: curation(self.run),
        }
        if self.against is not None:
            shards["versus"] = lambda: self._versus
        return shards | {name: lambda name=name: self._later[name] for name, value in self._later.items() if value}

    @cached_property
    def _versus(self) -> dict[str, Any] | None:
        """This run against the other; None, with the reason among the errors, where they cannot be compared."""
        if self.against is None:
            return None
        against = self.against
        return outcomes.readable(lambda: versus(compare_runs(self.run, against, events=self._events)), self.errors)

    def _patterns(self) -> dict[str, Any]:
        """Name of a pattern to how it is counted."""
        if not self.run.holds(PATTERNS_FILE):
            return {}
        table = self.run.table(PATTERNS_FILE, ["pattern", "title", "counts", "reads", "expression", "function"])
        return {row.pop("pattern"): row for row in table.to_pylist()}

    def _value(self, name: str) -> Any:
        if name in self._whole:
            return self._whole[name]()
        kind, _, number = name.rpartition("-")
        if not number.isdigit():
            raise KeyError(name)
        i = int(number)
        if kind == "u" and i < self._scores.n_shards:
            return self._scores.shard(i)
        if kind == "fired" and i in self._fired.concepts:
            return self._fired.of(i, **self._scores.entry(i))
        if kind == "pairs" and i < self._texts.n_shards:
            return self._texts.shard(i)
        if kind == "answers" and self._answers is not None and i < self._answers.n_shards:
            return self._answers.shard(i)
        what, _, view = kind.partition("-")
        if what in ("rows", "words") and view in self._hypotheses.views and i < self._hypotheses.n_shards(view):
            return self._hypotheses.numbers(view, i) if what == "rows" else self._hypotheses.words(view, i)
        raise KeyError(name)
