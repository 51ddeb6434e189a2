"""Labels by a language model: one request for the label, then a few in which it is judged on held-out texts.

Subjects are worked through in order by a few workers, so that a cap on requests cuts off the least important ones and
every label that was paid for is scored.
"""

from __future__ import annotations

import asyncio
import math
import random
import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pretilt.labels.answers import InvalidAnswer, parse_label, parse_scores
from pretilt.labels.cache import AnswerCache, answer_key
from pretilt.labels.client import BudgetSpent, Client, Endpoint, EndpointError, estimate_tokens, sampling
from pretilt.labels.prompts import (
    JUDGE_TOKENS,
    LABEL_SCHEMA,
    LABEL_TOKENS,
    SHOWS_FROM,
    Messages,
    judge_messages,
    label_messages,
    scores_schema,
)
from pretilt.labels.table import TOO_FEW, LabelRow, scored_row
from pretilt.labels.texts import Subject, Text

FIT_SHOWN = 8  # showing texts that the model is given
JUDGED_AT_ONCE = 10  # texts per request


@dataclass(frozen=True)
class Estimate:
    """What labelling will cost at most if every answer is valid at once; retries come on top, up to the caps."""

    model: str
    host: str
    n_subjects: int
    n_requests: int
    n_cached: int  # requests whose answer is known already; not counted in n_requests
    n_tokens: int  # prompts and the longest answers


def estimate(subjects: Sequence[Subject], endpoint: Endpoint, cache: AnswerCache, *, refresh: bool = False) -> Estimate:
    """Counts the requests to come, without making any."""
    n_requests = n_cached = n_tokens = 0
    for subject in subjects:
        requests = [(label_messages(subject.kind, fit_texts(subject)), LABEL_TOKENS)]
        cached_answer = None if refresh else cache.get(_key(endpoint, *requests[0]))

        try:
            label = parse_label(cached_answer) if cached_answer is not None else "x" * 60
        except InvalidAnswer:
            label = "x" * 60
        requests += [(judge_messages(label, [t.content for t in batch]), JUDGE_TOKENS) for batch in batches(subject)]

        for messages, longest in requests:
            if not refresh and cache.get(_key(endpoint, messages, longest)) is not None:
                n_cached += 1
            else:
                n_requests += 1
                n_tokens += estimate_tokens(messages) + longest

    host = urllib.parse.urlsplit(endpoint.base_url or "").netloc.rpartition("@")[2] or "the SDK's default host"
    return Estimate(endpoint.model, host, len(subjects), n_requests, n_cached, n_tokens)


def _key(endpoint: Endpoint, messages: Messages, max_tokens: int) -> str:
    return answer_key(endpoint.model, messages, sampling(max_tokens))


def fit_texts(subject: Subject) -> list[Text]:
    """What the model is given to find a label: texts that show it, then texts without it."""
    shown = [t for t in subject.fit if t.shows][:FIT_SHOWN]
    return [*shown, *(t for t in subject.fit if not t.shows)]


def batches(subject: Subject) -> list[list[Text]]:
    """The held-out texts as the judge gets them: shuffled, the same way every time, in equal parts.

    None without texts of both kinds: there would be nothing to tell apart.
    """
    if len({text.shows for text in subject.score}) < 2:
        return []
    texts = sorted(subject.score, key=lambda t: (t.content, t.shows))
    random.Random(f"{subject.kind}:{subject.id}").shuffle(texts)
    n = math.ceil(len(texts) / JUDGED_AT_ONCE)
    return [texts[i::n] for i in range(n)]


async def label_subject(client: Client, subject: Subject) -> LabelRow:
    """The row of one subject; where asking fails, a row with the status and the reason."""
    model, n_fit = client.endpoint.model, len(fit_texts(subject))
    if not any(text.shows for text in subject.fit):
        return LabelRow(subject.kind, subject.id, None, model, "unscored", TOO_FEW)
    try:
        label = await client.ask(
            label_messages(subject.kind, fit_texts(subject)), LABEL_SCHEMA, parse_label, LABEL_TOKENS
        )
    except InvalidAnswer as error:
        return LabelRow(subject.kind, subject.id, None, model, "invalid", f"no valid answer: {error}", n_fit=n_fit)
    except EndpointError as error:
        return LabelRow(subject.kind, subject.id, None, model, "error", str(error), n_fit=n_fit)
    except BudgetSpent as error:
        return LabelRow(subject.kind, subject.id, None, model, "skipped", str(error), n_fit=n_fit)

    shows: list[bool] = []
    scores: list[float] = []
    problem = ""
    for batch in batches(subject):
        n = len(batch)
        try:
            messages = judge_messages(label, [text.content for text in batch])
            scores += await client.ask(messages, scores_schema(n), _scores_parser(n), JUDGE_TOKENS)
            shows += [text.shows for text in batch]
        except (InvalidAnswer, EndpointError, BudgetSpent) as error:
            problem = f"{n} texts not judged: {error}"

    predicted = [score >= SHOWS_FROM for score in scores]
    return scored_row(subject.kind, subject.id, label, model, n_fit, shows, predicted, scores, problem)


def _scores_parser(n: int) -> Callable[[str], list[float]]:
    return lambda answer: parse_scores(answer, n)


async def label_all(
    endpoint: Endpoint,
    cache: AnswerCache,
    subjects: Sequence[Subject],
    *,
    concurrency: int = 4,
    refresh: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[LabelRow], Client]:
    """Rows in the order of `subjects`, and the client with what was spent. The first subject goes alone: it finds out
    which form of structured output the endpoint takes. At most `concurrency` requests are under way at a time."""
    rows: dict[int, LabelRow] = {}
    waiting = iter(enumerate(subjects))

    async def work(n: int | None = None) -> None:
        for i, subject in waiting:
            rows[i] = await label_subject(client, subject)
            progress(len(rows), len(subjects))
            if n is not None and len(rows) >= n:
                return

    async with Client(endpoint, cache, refresh=refresh) as client:
        await work(1)
        await asyncio.gather(*(work() for _ in range(max(1, concurrency))))
    return [rows[i] for i in range(len(subjects))], client
