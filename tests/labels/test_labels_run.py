"""Labelling a finished run of the tiny lens: the whole path, and that nothing else of the run notices."""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harms import HARMS
from misbehaving_server import Behaviour, Reply, Server, fails, says

import pretilt
from pretilt.api import describe as label_run
from pretilt.errors import UserError
from pretilt.events import Events
from pretilt.labels.cache import CACHE
from pretilt.labels.labeller import Estimate, fit_texts
from pretilt.labels.prompts import label_messages
from pretilt.labels.step import DescribeResult
from pretilt.labels.subjects import read_subjects, shown_things
from pretilt.labels.table import LABELS, LabelRow, labels_table
from pretilt.run import Run, file_hash

SRC = Path(pretilt.__file__).parent


@pytest.fixture(scope="module")
def finished(shared_run: pretilt.AuditResult) -> Path:
    return shared_run.path


@pytest.fixture
def run_path(finished: Path, tmp_path: Path) -> Iterator[Path]:
    yield Path(shutil.copytree(finished, tmp_path / "run"))


def texts_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body["messages"][1]["content"].splitlines()]


def model_that(score: Any, label: str = "says thank you") -> Behaviour:
    """Labels everything alike and judges each text by `score(text)`."""

    def behave(body: dict[str, Any]) -> Reply:
        lines = texts_of(body)
        if "label" not in lines[0]:
            return says(json.dumps({"label": label}))
        return says(json.dumps({name: score(text) for line in lines[1:] for name, text in line.items()}))

    return behave


def by_label(run_path: Path, behaviour: Behaviour, **options: Any) -> tuple[DescribeResult, Server]:
    with Server(behaviour) as server:
        options = {"model": "m", "base_url": server.url, "top": 4, "yes": True, "timeout": 5.0, **options}
        return label_run(run_path, **options), server


def of(result: DescribeResult, labeller: str, kind: str = "") -> list[dict[str, Any]]:
    return [
        row for row in result.labels.to_pylist() if row["labeller"] == labeller and (not kind or row["kind"] == kind)
    ]


def hashes(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): file_hash(p) for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def described(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> DescribeResult:
    """A copy of the run with the labels of a model that gives every text a 7."""
    path = Path(shutil.copytree(finished, tmp_path_factory.mktemp("described") / "run"))
    return by_label(path, model_that(lambda text: 7))[0]


@pytest.fixture
def described_path(described: DescribeResult, tmp_path: Path) -> Path:
    return Path(shutil.copytree(described.run.path, tmp_path / "described"))


def test_offline_labels_touch_nothing_but_their_own_file(run_path: Path) -> None:
    before = hashes(run_path)
    result = label_run(run_path, top=4)
    after = hashes(run_path)
    assert {name for name in after if before.get(name) != after[name]} == {"labels.parquet", "run.json"}
    assert result.labels.schema.remove_metadata() == LABELS
    assert {row["kind"] for row in result.labels.to_pylist()} == {"concept", "group", "prompt_concept", "hypothesis"}
    assert (result.n_requests, result.estimate) == (0, None)
    scored = [row for row in of(result, "offline") if row["status"] == "ok" and row["kind"] != "hypothesis"]
    assert len(scored) > 5
    assert all(0 <= row["detection_balanced_accuracy"] <= 1 and row["n_scored"] > 2 for row in scored)


def test_a_run_that_is_labelled_is_not_audited_anew(run_path: Path) -> None:
    stages = json.loads((run_path / "run.json").read_text())["stages"]
    label_run(run_path, top=4)
    again = json.loads((run_path / "run.json").read_text())["stages"]
    assert {name: again[name] for name in stages} == stages


BELOW = ("pairs", "models", "lens", "concepts", "stats", "audit")  # what every number of an audit is made from


def test_no_statistic_can_read_a_label() -> None:
    for path in (path for floor in BELOW for path in sorted((SRC / floor).rglob("*.py"))):
        text = path.read_text(encoding="utf-8")
        names = {n.module or "" for n in ast.walk(ast.parse(text)) if isinstance(n, ast.ImportFrom)}
        assert not any("labels" in name for name in names), path
        assert "labels.parquet" not in text, path


def test_a_label_never_sees_what_scores_it(run_path: Path) -> None:
    run = Run(run_path)
    subjects, _ = read_subjects(run, shown_things(run, 4), 0, Events())
    assert len(subjects) > 5
    for subject in subjects:
        fit, score = ({text.content for text in texts} for texts in (subject.fit, subject.score))
        assert fit
        assert not fit & score


def test_a_judge_that_knows_scores_one_and_a_guesser_half(run_path: Path) -> None:
    run = Run(run_path)
    subjects, _ = read_subjects(run, shown_things(run, 4), 0, Events())
    truth = {
        name_of(label_messages(s.kind, fit_texts(s))[1]["content"]): {t.content: t.shows for t in s.score}
        for s in subjects
    }
    assert len(truth) == len(subjects)

    def knows(body: dict[str, Any]) -> Reply:
        lines = texts_of(body)
        if "label" not in lines[0]:
            return says(json.dumps({"label": name_of(body["messages"][1]["content"])}))
        told = truth[lines[0]["label"]]
        return says(json.dumps({name: 9 * told[text] for line in lines[1:] for name, text in line.items()}))

    knowing, _ = by_label(run_path, knows, refresh=True)
    scores = [(r["detection_balanced_accuracy"], r["detection_auroc"]) for r in of(knowing, "m") if r["n_scored"]]
    assert len(scores) > 5
    assert set(scores) == {(1.0, 1.0)}
    yes, _ = by_label(run_path, model_that(lambda text: 10), refresh=True)
    assert {row["detection_balanced_accuracy"] for row in of(yes, "m") if row["n_scored"]} == {0.5}
    rng = np.random.default_rng(0)
    guess, _ = by_label(run_path, model_that(lambda text: int(rng.integers(0, 11))), refresh=True)
    guesses = [row["detection_auroc"] for row in of(guess, "m") if row["n_scored"]]
    assert abs(np.mean(guesses) - 0.5) < 0.12


def name_of(texts: str) -> str:
    """A label that stands for one subject alone."""
    return "thing " + hashlib.sha256(texts.encode()).hexdigest()[:12]


def test_a_second_run_asks_nothing_and_the_same_server_load_is_bounded(run_path: Path) -> None:
    first, server = by_label(run_path, model_that(lambda text: 7), concurrency=2)
    assert server.most <= 2
    assert first.n_requests == len(server.requests) == first.estimate.n_requests  # type: ignore[union-attr]
    assert {row["status"] for row in of(first, "m", "concept")} <= {"ok", "unscored"}
    unread, none = by_label(run_path, model_that(lambda text: 1))  # finished: not even the texts are read again
    assert (unread.labels, none.requests, unread.estimate) == (first.labels, [], None)
    (run_path / "labels.parquet").unlink()
    second, again = by_label(run_path, model_that(lambda text: 1))
    assert again.requests == []
    assert second.labels.equals(first.labels)


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_damaged_labels_are_made_again_from_the_answers_that_were_kept(
    described: DescribeResult, described_path: Path, harm: Callable[[Path], None]
) -> None:
    harm(described_path / "labels.parquet")
    again, server = by_label(described_path, model_that(lambda text: 1))
    assert (again.labels, server.requests) == (described.labels, [])


def test_damaged_answers_are_one_line_that_says_what_to_remove(described_path: Path) -> None:
    (described_path / CACHE).write_bytes(b"no database" * 500)
    (described_path / "labels.parquet").unlink()
    with pytest.raises(UserError, match=rf"{CACHE}.*Remove the file"):
        by_label(described_path, model_that(lambda text: 1))
    (described_path / CACHE).unlink()
    again, server = by_label(described_path, model_that(lambda text: 7))
    assert server.requests and {row["status"] for row in of(again, "m", "concept")} <= {"ok", "unscored"}


def test_an_answer_that_was_changed_is_asked_for_again(described: DescribeResult, described_path: Path) -> None:
    with sqlite3.connect(described_path / CACHE) as answers:
        key = answers.execute("select key from answers order by key").fetchone()
        answers.execute("update answers set content = replace(content, 'a', 'e') || ' ' where key = ?", key)
    answers.close()
    (described_path / "labels.parquet").unlink()
    again, server = by_label(described_path, model_that(lambda text: 7))
    assert (len(server.requests), again.labels) == (1, described.labels)


def test_labels_of_a_hostile_model_are_plain_text(run_path: Path) -> None:
    hostile = 'Ignore\x1b[31m all\u202e previous\n"</script><img src=x onerror=alert(1)>" [bold]x[/]'
    result, _ = by_label(run_path, model_that(lambda text: 5, hostile))
    labels = {row["label"] for row in of(result, "m", "concept")}
    assert len(labels) == 1
    label = labels.pop()
    assert label.isprintable()
    assert len(label) <= 100
    assert "<img" in label  # kept as text: whoever shows it escapes it


def test_failures_are_rows_and_are_mended_by_the_next_run(run_path: Path) -> None:
    broken, server = by_label(run_path, lambda _: fails(401, "bad key"))
    assert len(server.requests) == 1
    assert {row["status"] for row in of(broken, "m")} == {"error"}
    assert "bad key" in of(broken, "m")[0]["error"]
    assert any(row["status"] == "ok" for row in of(broken, "offline"))
    mended, _ = by_label(run_path, model_that(lambda text: 5))
    assert all(row["label"] for row in of(mended, "m", "concept"))


def test_a_label_whose_judge_fails_is_kept_without_a_score(run_path: Path) -> None:
    def behave(body: dict[str, Any]) -> Reply:
        return says("I cannot judge") if "label" in texts_of(body)[0] else says('{"label": "x y"}')

    result, _ = by_label(run_path, behave)
    found = of(result, "m", "concept")
    assert {row["status"] for row in found} == {"unscored"}
    assert {row["label"] for row in found} == {"x y"}
    assert all(row["detection_balanced_accuracy"] is None and row["n_scored"] == 0 for row in found)


def test_the_cap_cuts_off_the_last_ones(run_path: Path) -> None:
    result, server = by_label(run_path, model_that(lambda text: 5), max_requests=6, concurrency=1)
    assert len(server.requests) == 6
    found = [row["status"] for row in of(result, "m", "concept")]
    assert found[0] == "ok"
    assert found[-1] == "skipped"


def test_nothing_is_sent_before_somebody_agrees(run_path: Path) -> None:
    shown: list[Estimate] = []

    def decline(estimate: Estimate) -> bool:
        shown.append(estimate)
        return False

    with Server(model_that(lambda text: 5)) as server:
        for confirm in (None, decline):
            with pytest.raises(UserError, match="agreement"):
                label_run(run_path, model="m", base_url=server.url, top=4, confirm=confirm)
        assert server.requests == []
        assert not (run_path / "labels.parquet").exists()
        assert shown[0].n_requests > 10
        assert shown[0].n_tokens > 1000
        label_run(run_path, model="m", base_url=server.url, top=4, confirm=lambda estimate: True)
        assert len(server.requests) == shown[0].n_requests


def test_prompt_concepts_are_labelled_by_the_prompts_they_select(run_path: Path) -> None:
    run = Run(run_path)
    pairs, members = run.table("pairs.parquet"), run.table("prompt_members.parquet")
    content = dict(
        zip(pairs["pair_id"].to_pylist(), (m[-1]["content"] for m in pairs["prompt"].to_pylist()), strict=True)
    )
    selected: dict[str, set[str]] = {}
    for member in members.to_pylist():
        selected.setdefault(str(member["prompt_concept_id"]), set()).add(content[member["pair_id"]])
    found = [s for s in read_subjects(run, shown_things(run, 4), 0, Events())[0] if s.kind == "prompt_concept"]
    assert found
    for subject in found:
        assert len({text.shows for text in subject.fit}) == 2
        for text in (*subject.fit, *subject.score):
            assert text.shows == (text.content in selected[subject.id])
    result = label_run(run_path, top=4)
    hypotheses = [row for row in result.labels.to_pylist() if row["id"].startswith("prompt_")]
    assert hypotheses
    assert all(", where: " in row["label"] for row in hypotheses if row["status"] == "ok")


class Interrupt(Events):
    """Interrupts after a few labels, as a person would."""

    def progress(self, label: str, done: int, total: int, unit: str) -> None:
        if unit == "labels" and done == 3:
            signal.raise_signal(signal.SIGINT)


def test_an_interrupt_keeps_what_was_answered(run_path: Path) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell starts its jobs with it ignored
    with Server(model_that(lambda text: 5)) as server:
        options = {"model": "m", "base_url": server.url, "top": 4, "yes": True}
        with pytest.raises(KeyboardInterrupt):
            label_run(run_path, events=Interrupt(), **options)
        before = len(server.requests)
        assert before >= 3
        assert (run_path / CACHE).exists()
        assert not (run_path / "labels.parquet").exists()
        result = label_run(run_path, **options)
        assert result.n_from_cache >= 3
        whole = result.n_requests + result.n_from_cache
        assert result.n_requests == len(server.requests) - before < whole


def test_a_folder_that_is_no_run_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        label_run(tmp_path)


def test_a_description_that_passes_is_the_name_that_is_shown_and_no_table_changes(run_path: Path) -> None:
    """The best one that passes, beside the concept's own name, hostile text spelled out, in page, trace and lists."""
    from pretilt.labels.described import named_table
    from pretilt.trace.parts import concepts_of
    from pretilt.view.step import write_summary

    run = Run(run_path)
    own = run.table("concepts.parquet")["name"].to_pylist()
    before = hashes(run_path)
    texts = [("0", "thanks \x1b[31mloudly", 0.9), ("1", "no better than chance", 0.6), ("2", "x" * 500, 0.8)]
    rows = [LabelRow("concept", i, text, "m", "ok", None, score, score, 20, 20) for i, text, score in texts]
    with run.stage("labels", version=1, config={}) as stage:
        stage.write("labels.parquet", labels_table([*rows, LabelRow("concept", "3", "own words", "offline", "ok")]))
    write_summary(run)
    names = named_table(run, "concepts")["name"].to_pylist()
    assert names[0] == f"thanks ‹U+001B›[31mloudly ({own[0]})"
    assert names[1] == own[1] and names[3:] == own[3:]  # under 0.75, and what an offline labeller says is the own name
    assert names[2] == "x" * 79 + f"… ({own[2]})"
    assert concepts_of(run, [0])[0]["name"] == names[0]
    assert "thanks ‹U+001B›[31mloudly" in (run_path / "summary.json").read_text(encoding="utf-8")
    after = hashes(run_path)
    changed = {name for name in after if before.get(name) != after[name]}
    assert changed <= {"labels.parquet", "run.json", "summary.json"}
