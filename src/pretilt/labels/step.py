"""`label`: names with held-out scores for what a finished run shows, offline or by a language model. Decoration only.

No step of the run reads labels.parquet; what shows names does (`labels/described.py`), and the summary is made anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from pretilt.errors import UserError
from pretilt.events import Events, watching
from pretilt.labels.cache import CACHE, AnswerCache
from pretilt.labels.client import find_endpoint
from pretilt.labels.labeller import Estimate, estimate, label_all
from pretilt.labels.prompts import PROMPT_VERSION, SCHEMA_VERSION
from pretilt.labels.subjects import Shown, read_subjects, shown_things
from pretilt.labels.table import OFFLINE, TOO_FEW, LabelRow, hypothesis_rows, labels_table
from pretilt.lock import writes
from pretilt.result import Result
from pretilt.run import Run
from pretilt.schema import LABELS_FILE
from pretilt.settings import DescribeSettings
from pretilt.text import counted

VERSION = 1  # raise it when a change of code can change which texts are drawn or how a label is scored


@dataclass(frozen=True, repr=False)
class DescribeResult(Result):
    """What `describe_run` did. `labels` has the columns of LABELS (docs/artifacts.md)."""

    run: Run
    labels: pa.Table
    estimate: Estimate | None  # None without a language model
    n_requests: int
    n_from_cache: int
    n_tokens: int

    @property
    def headline(self) -> str:
        return f"{self.run.path}: {counted(self.labels.num_rows, 'name')}, {counted(self.n_requests, 'request')}"

    @property
    def table(self) -> pa.Table:
        return self.labels

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: every row, and what was spent."""
        return {
            "labels": self.labels.to_pylist(),
            "estimate": asdict(self.estimate) if self.estimate else None,
            "requests": self.n_requests,
            "from_cache": self.n_from_cache,
            "tokens": self.n_tokens,
        }


@writes("describe")
def describe_run(
    run: Run,
    options: DescribeSettings,
    *,
    refresh: bool = False,
    yes: bool = False,
    confirm: Callable[[Estimate], bool] | None = None,
    events: Events | None = None,
) -> DescribeResult:
    """Label the concepts, groups and prompt concepts behind the first `top` hypotheses of every view and direction.

    Without a model only the offline labeller works and nothing leaves the machine. With one, excerpts of the dataset
    are sent to its endpoint once `confirm` has said yes to the estimate, or with `yes`. Answers are cached in the run;
    `refresh` asks again. Failures are rows with a status, not errors. Raises UserError for an endpoint that cannot be
    used at all, and where nobody agreed to the cost.
    """
    events = watching(events)
    endpoint = find_endpoint(
        options.model, options.base_url, options.api_key_env, timeout=options.timeout,
        max_requests=options.max_requests, max_tokens=options.max_tokens,
    )  # fmt: skip
    shown = shown_things(run, options.top)
    config = {
        "model": options.model, "top": options.top, "seed": options.seed,
        "prompt": PROMPT_VERSION, "schema": SCHEMA_VERSION,
    }  # fmt: skip
    with run.stage("labels", version=VERSION, config=config, reads=shown.reads) as stage:
        if stage.done and not refresh:
            table_before = run.table(LABELS_FILE)
            if not any(_may_be_mended(row) for row in table_before.to_pylist()):
                return DescribeResult(run, table_before, None, 0, 0, 0)
        stage.done = False  # some rows may be mended, or all are to be asked for again
        subjects, offline = read_subjects(run, shown, options.seed, events)
        rows, cost, spent = list(offline), None, (0, 0, 0)
        if endpoint is not None:
            cache = AnswerCache(run.path / CACHE)
            try:
                cost = estimate(subjects, endpoint, cache, refresh=refresh)
                _agree(cost, yes, confirm)
                events.say(f"labels: {cost.n_requests:,} requests to {cost.model}, {cost.n_cached:,} answers known")
                described, client = asyncio.run(
                    label_all(
                        endpoint,
                        cache,
                        subjects,
                        concurrency=options.concurrency,
                        refresh=refresh,
                        progress=lambda done, total: events.progress("labels", done, total, "labels"),
                    )
                )
            finally:
                cache.close()
            rows += described
            spent = (client.requests, client.from_cache, client.tokens)
        table = labels_table(_in_order(rows, shown))
        stage.write(LABELS_FILE, table)
    return DescribeResult(run, table, cost, *spent)


def _may_be_mended(row: dict[str, Any]) -> bool:
    """True for a row of LABELS that failed for a reason which may have passed."""
    if row["labeller"] == OFFLINE or row["kind"] == "hypothesis":
        return False
    return row["status"] in ("error", "skipped") or (row["status"] == "unscored" and row["error"] != TOO_FEW)


def _agree(cost: Estimate, yes: bool, confirm: Callable[[Estimate], bool] | None) -> None:
    if yes or not cost.n_requests or (confirm is not None and confirm(cost)):
        return
    raise UserError(
        "no labels were asked for",
        why=f"{cost.n_requests:,} requests of about {cost.n_tokens:,} tokens to {cost.model} ({cost.host}) "
        "need your agreement",
        fix="Answer yes, or give --yes",
    )


def _in_order(rows: list[LabelRow], shown: Shown) -> list[LabelRow]:
    """Things in the order they are shown, both labellers of one side by side, then the hypotheses."""
    place = {f"{kind}:{id_}": i for i, (kind, id_) in enumerate(shown.things)}
    things = sorted(rows, key=lambda row: place[f"{row.kind}:{row.id}"])
    return [*things, *hypothesis_rows(shown.hypotheses, rows)]
