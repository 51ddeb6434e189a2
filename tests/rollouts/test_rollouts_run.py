"""Rollouts of a tiny run: resumed after SIGKILL to the same bytes, never replaced or mixed by mistake; a server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
import torch
from children import Child
from harms import HARMS
from misbehaving_server import JSON, Reply, Server, fails
from tiny_lens import rows, write_lens
from transformers import AutoModelForCausalLM, AutoTokenizer

import pretilt
from pretilt.api import rollouts as rollouts_run
from pretilt.artifacts import read_sealed
from pretilt.errors import UserError
from pretilt.models.sample import LocalSampler
from pretilt.rollouts.likelihood import log_ratio_run
from pretilt.rollouts.step import RolloutResult, open_rollouts
from pretilt.run import Run, file_hash

OPTIONS: dict[str, Any] = {"per_prompt": 3, "max_new_tokens": 12, "prompts_per_shard": 4, "batch_size": 8}

# Stops for ever once it has written the file that is named, so that the parent can kill it at exactly that moment.
CHILD = """
import json, os, sys, time
from pathlib import Path
import pyarrow.parquet as pq
import pretilt.run
from pretilt.api import rollouts as rollouts_run

def stopping(write):
    def write_and_stop(*args, **settings):
        write(*args, **settings)
        names = [str(a).replace(f".{os.getpid()}.partial", ".partial") for a in args if isinstance(a, Path)]
        if any(name.endswith(sys.argv[2]) for name in names):
            print("stopped", flush=True)
            time.sleep(3600)
    return write_and_stop
pq.write_table = stopping(pq.write_table)  # writes the .partial file
pretilt.run.write_table = stopping(pretilt.run.write_table)
rollouts_run(sys.argv[1], **json.loads(sys.argv[3]))
"""


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 pairs, of which about 24 are held out, three with one prompt; folder `lens` holds model and dictionary."""
    folder = tmp_path_factory.mktemp("rollouts")
    model, dictionary = write_lens(folder / "lens", trained=False)
    some = rows(80)
    for i in (1, 2):
        some[i]["prompt"] = some[0]["prompt"]
    options: dict[str, Any] = {"model": str(model), "dictionary": str(dictionary), "holdout": 0.3}
    pretilt.audit(some, out=folder / "run", despite_doctor=True, **options)
    return folder


@pytest.fixture(scope="module")
def trained(audited: Path) -> Path:
    """The run's model with its weights moved a little, saved as a trainer saves it."""
    model = AutoModelForCausalLM.from_pretrained(audited / "lens" / "model")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        model.lm_head.weight += 0.02 * torch.randn(model.lm_head.weight.shape, generator=generator)
    model.save_pretrained(audited / "trained")
    AutoTokenizer.from_pretrained(audited / "lens" / "model").save_pretrained(audited / "trained")
    return audited / "trained"


@pytest.fixture(scope="module")
def undisturbed(audited: Path) -> RolloutResult:
    shutil.copytree(audited / "run", audited / "undisturbed")
    return rollouts_run(audited / "undisturbed", **OPTIONS)


@pytest.fixture
def run(audited: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(audited / "run", tmp_path / "run"))


def hashes(path: Path) -> dict[str, str]:
    files = [*(path / "rollouts").rglob("*"), *path.glob("rollouts-*.json")]
    return {str(f.relative_to(path)): file_hash(f) for f in sorted(files) if f.is_file()}


def test_a_run_gets_rollouts_and_their_features(undisturbed: RolloutResult) -> None:
    samples, reading = undisturbed.samples, undisturbed.reading
    pairs = undisturbed.run.table("pairs.parquet")
    heldout = {row["pair_id"]: row for row in pairs.to_pylist() if row["split"] == "heldout"}
    asked = {json.dumps(row["prompt"]) for row in heldout.values()}
    report = undisturbed.report
    assert report["prompts"]["distinct"] == report["prompts"]["used"] == len(asked) > 15
    assert len(samples) == 3 * len(asked) == len(reading) == report["rollouts"]["sampled"]
    assert samples["rollout_id"].to_pylist() == reading["rollout_id"].to_pylist()
    assert {json.dumps(heldout[p]["prompt"]) for p in samples["pair_id"].to_pylist()} == asked
    assert all(heldout[r["pair_id"]]["family_id"] == r["family_id"] for r in samples.to_pylist())
    tokens = {row["pair_id"]: row["prompt_ids"] for row in undisturbed.run.table("tokens.parquet").to_pylist()}
    assert all(tokens[r["pair_id"]] == r["prompt_ids"] for r in samples.to_pylist())
    counts = report["rollouts"]
    assert counts["finished"] + counts["cut"] == counts["sampled"]
    assert counts["read"] + counts["empty"] + sum(counts["dropped"].values()) == counts["sampled"]
    assert counts["finished"] == sum(samples["finished"].to_pylist())
    assert report["measurement_id"] == undisturbed.run.manifest["measurement_id"]
    assert report["model"] == undisturbed.run.manifest["lens"]["model_identity"]
    features = undisturbed.features
    assert features.fire_count.shape == (len(samples), 96)
    assert features.n_tokens.tolist() == reading["n_tokens"].to_pylist()
    assert features.fire_count.sum() > len(samples)


def test_killed_rollouts_end_with_the_same_bytes(audited: Path, tmp_path: Path, undisturbed: RolloutResult) -> None:
    moments = {"sampling": "samples-00002.parquet.partial", "reading": "rollout-00001.parquet"}
    children = {}
    for name, last in moments.items():
        path = shutil.copytree(audited / "run", tmp_path / name)
        children[name] = Child(CHILD, path, last, json.dumps(OPTIONS))
    for child in children.values():
        child.wait_for_line("stopped")
        child.kill()
    for name in moments:
        kept = hashes(tmp_path / name)
        # a shard is whole once its file of hashes is there too
        whole = [
            file for file in kept if file.endswith(".parquet") and f"{Path(file).parent}/{file[-13:-8]}.sha256" in kept
        ]
        before = {f: (tmp_path / name / f).stat().st_mtime_ns for f in whole}
        assert len(whole) >= 2
        rollouts_run(tmp_path / name, **OPTIONS)
        assert hashes(tmp_path / name) == hashes(undisturbed.run.path)
        assert {f: (tmp_path / name / f).stat().st_mtime_ns for f in whole} == before  # not sampled or read again


def test_what_is_finished_is_kept_and_options_are_remembered(
    undisturbed: RolloutResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {f: (undisturbed.run.path / f).stat().st_mtime_ns for f in hashes(undisturbed.run.path)}

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", refuse)
    assert rollouts_run(undisturbed.run.path).samples.equals(undisturbed.samples)
    assert open_rollouts(undisturbed.run, "before").reading.equals(undisturbed.reading)
    assert {f: (undisturbed.run.path / f).stat().st_mtime_ns for f in before} == before


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_damaged_rollouts_are_drawn_anew_to_the_same_bytes(
    undisturbed: RolloutResult, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    run = Path(shutil.copytree(undisturbed.run.path, tmp_path / "run"))
    names = [name for name in hashes(run) if name.endswith(".parquet")]
    assert len(names) >= 4
    for name in names:
        harm(run / name)
    with pytest.raises(UserError, match=r"damaged \(.*rollouts.*pretilt rollouts"):
        assert open_rollouts(Run(run), "before").samples
    rollouts_run(run, **OPTIONS)
    assert hashes(run) == hashes(undisturbed.run.path)


def test_other_rollouts_are_not_replaced_unasked(run: Path) -> None:
    few = {**OPTIONS, "n_prompts": 5}
    first = rollouts_run(run, **few)
    samples = first.samples
    with pytest.raises(UserError, match="other rollouts 'before'"):
        rollouts_run(run, temperature=0.5)
    assert rollouts_run(run).samples.equals(samples)
    colder = rollouts_run(run, temperature=0.5, replace=True)
    assert colder.report["settings"] == {**first.report["settings"], "temperature": 0.5}
    assert colder.samples["rollout_id"].equals(samples["rollout_id"])
    assert not colder.samples["ids"].equals(samples["ids"])
    assert pc.mean(colder.samples["logprob"]).as_py() > pc.mean(samples["logprob"]).as_py()  # nearer to the likeliest


def test_before_and_after_answer_the_same_prompts_with_other_streams(run: Path, audited: Path, trained: Path) -> None:
    few = {**OPTIONS, "n_prompts": 6}
    before = rollouts_run(run, **few)
    after = rollouts_run(run, "after", trained)
    assert after.report["settings"] == before.report["settings"]
    assert after.samples["rollout_id"].to_pylist() == before.samples["rollout_id"].to_pylist()
    assert after.report["model"] != before.report["model"]
    # Zero steps: the untrained model as "after" draws other answers, so that noise does not cancel.
    zero = rollouts_run(run, "after-zero", audited / "lens" / "model")
    assert zero.report["model"] == before.report["model"]
    same = [a == b for a, b in zip(zero.samples["ids"].to_pylist(), before.samples["ids"].to_pylist(), strict=True)]
    assert not any(same)
    with pytest.raises(UserError, match=r"could not be compared.*n_prompts is 7, there it was 6"):
        rollouts_run(run, "after-more", trained, n_prompts=7)
    with pytest.raises(UserError, match=r"no model is named for the rollouts 'after-2'.*--model FOLDER"):
        rollouts_run(run, "after-2")
    with pytest.raises(UserError, match="cannot name rollouts"):
        rollouts_run(run, "../after", trained)

    weights = log_ratio_run(Run(run), "before", other=trained)
    assert weights.divergence.kl > 0
    assert weights.own == pytest.approx(before.samples["logprob"].to_numpy(), abs=1e-3)
    assert weights.ess_share.shape == (6,)
    assert (weights.ess_share < 1).all()
    back = log_ratio_run(Run(run), "after", own=trained)
    assert back.own == pytest.approx(after.samples["logprob"].to_numpy(), abs=1e-3)
    assert (np.abs(back.log_weight) > 1e-4).any()
    assert log_ratio_run(Run(run), "before").divergence.kl == 0
    with pytest.raises(UserError, match="drawn by another model"):
        log_ratio_run(Run(run), "after")


def test_what_another_run_drew_is_taken_and_the_result_is_the_same(
    run: Path, audited: Path, trained: Path, undisturbed: RolloutResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    batch = LocalSampler.__call__

    def counted(self: LocalSampler, prompts: Any, streams: Any) -> Any:
        asked.append(len(streams))
        return batch(self, prompts, streams)

    monkeypatch.setattr(LocalSampler, "__call__", counted)
    rollouts_run(run, reuse=undisturbed.run.path)  # with the options that it has there
    assert hashes(run) == hashes(undisturbed.run.path)
    assert not asked

    # A run of some of the same pairs, more rollouts of each prompt: only what is missing is drawn.
    some = audited / "fewer"
    options = {"model": str(audited / "lens" / "model"), "dictionary": str(audited / "lens" / "dictionary")}
    pretilt.audit(rows(95)[:70] + rows(95)[80:], out=some, despite_doctor=True, holdout=0.3, **options)
    fresh = Path(shutil.copytree(some, audited / "fresh"))
    more = {**OPTIONS, "per_prompt": 4}
    found = rollouts_run(some, reuse=undisturbed.run.path, **more)
    shared = set(undisturbed.samples["rollout_id"].to_pylist()) & set(found.samples["rollout_id"].to_pylist())
    assert len(shared) > 20
    assert sum(asked) == len(found.samples) - len(shared)
    alone = rollouts_run(fresh, **more).samples
    assert found.samples.drop_columns("logprob").equals(alone.drop_columns("logprob"))
    assert found.samples["logprob"].to_numpy() == pytest.approx(alone["logprob"].to_numpy(), abs=1e-4)


def test_only_answers_of_the_same_model_and_limits_are_taken(
    run: Path, trained: Path, undisturbed: RolloutResult
) -> None:
    there = undisturbed.run.path
    with pytest.raises(UserError, match=r"cannot stand for those of this run.*temperature is 1\.0, here 0\.5"):
        rollouts_run(run, reuse=there, **OPTIONS, temperature=0.5)
    with pytest.raises(UserError, match=r"cannot stand for those of this run.*another model answered"):
        rollouts_run(run, "before", trained, reuse=there, **OPTIONS)
    with pytest.raises(UserError, match="no rollouts 'reference'"):
        rollouts_run(run, "reference", reuse=there, **OPTIONS)
    assert not list((run / "rollouts").rglob("*.parquet"))


def test_another_lens_or_another_vocabulary_is_refused_before_anything_is_sampled(
    run: Path, audited: Path, tmp_path: Path
) -> None:
    manifest = read_sealed((run / "run.json").read_bytes())
    other = shutil.copytree(audited / "lens", tmp_path / "lens")
    manifest["settings"] |= {"model": str(other / "model"), "dictionary": str(other / "dictionary")}
    (run / "run.json").write_text(json.dumps(manifest))
    rollouts_run(run, n_prompts=2, **OPTIONS)  # the same bytes elsewhere are the same lens
    shutil.rmtree(run / "rollouts")
    AutoModelForCausalLM.from_pretrained(other / "model").bfloat16().float().save_pretrained(other / "model")
    with pytest.raises(UserError, match="not the one that read the pairs"):
        rollouts_run(run, n_prompts=2, **OPTIONS)
    assert not list((run / "rollouts").rglob("*.parquet"))

    shutil.copytree(audited / "lens" / "model", other / "model", dirs_exist_ok=True)
    tokenizer = json.loads((other / "model" / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    foreign = Path(shutil.copytree(other / "model", tmp_path / "foreign"))
    (foreign / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(UserError, match=r"other token ids.*2 tokens differ"):
        rollouts_run(run, "after", foreign, n_prompts=2, **OPTIONS)


def test_no_run_no_rollouts(tmp_path: Path, run: Path) -> None:
    with pytest.raises(UserError, match="not a run folder"):
        rollouts_run(tmp_path)
    with pytest.raises(UserError, match="no rollouts 'before'"):
        open_rollouts(Run(run), "before")
    with pytest.raises(UserError, match="the folder holds no model"):
        rollouts_run(run, "after", run)


def completion(text: str, reason: str = "stop", n_prompt: int | None = None, ids: list[int] | None = None) -> Reply:
    choice = {"index": 0, "text": text, "finish_reason": reason, **({"token_ids": ids} if ids is not None else {})}
    usage = {"prompt_tokens": n_prompt, "completion_tokens": 2, "total_tokens": 2} if n_prompt else None
    body = {"id": "x", "object": "text_completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}
    return 200, JSON, json.dumps(body).encode()


@pytest.fixture
def ask(run: Path) -> Iterator[Any]:
    pytest.importorskip("openai")

    def asking(behaviour: Any) -> tuple[RolloutResult, list[dict[str, Any]]]:
        with Server(behaviour) as server:
            few = {**OPTIONS, "n_prompts": 3, "per_prompt": 2}
            found = rollouts_run(run, "after", base_url=server.url, endpoint_model="m", concurrency=2, **few)
            return found, server.requests

    yield asking


def test_a_server_gets_the_prompts_ids_and_its_answers_are_read(ask: Any) -> None:
    def behaviour(body: dict[str, Any]) -> Reply:
        return completion(" is Paris", n_prompt=len(body["prompt"]), ids=[270, 280, 2])

    found, requests = ask(behaviour)
    samples = found.samples
    key = lambda ids: json.dumps(ids)  # noqa: E731
    assert sorted(map(key, samples["prompt_ids"].to_pylist())) == sorted(key(r["prompt"]) for r in requests)
    assert len({r["seed"] for r in requests}) == 6
    assert all(r["max_tokens"] == 12 and r["temperature"] == 1.0 and r["top_p"] == 1.0 for r in requests)
    assert all(r["top_k"] == -1 and r["repetition_penalty"] == 1.0 and r["stop_token_ids"] == [2] for r in requests)
    assert samples["ids"].to_pylist() == [[270, 280, 2]] * 6
    assert samples["finished"].to_pylist() == [True] * 6
    assert samples["n_tokens"].to_pylist() == [2] * 6
    assert samples["logprob"].to_pylist() == [None] * 6
    assert found.report["model"]["name"] == "m"
    assert found.report["rollouts"]["read"] == 6


def test_a_plain_server_is_asked_in_plain_terms_and_its_text_is_tokenised(ask: Any, audited: Path) -> None:
    def behaviour(body: dict[str, Any]) -> Reply:
        if "return_token_ids" in body:
            return fails(400, "unrecognized argument return_token_ids")
        return completion("the capital", "length")

    found, _ = ask(behaviour)
    tokenizer = AutoTokenizer.from_pretrained(audited / "lens" / "model")
    assert found.samples["ids"].to_pylist() == [tokenizer("the capital")["input_ids"]] * 6
    assert found.report["rollouts"]["cut"] == 6
    assert found.report["rollouts"]["retokenised"] == 0


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (completion("x", n_prompt=3), "read 3 prompt tokens"),
        (fails(404, "no such model"), "no such model"),
        ((200, JSON, b'{"choices": [{"message": {}}]}'), "no text completion"),
        ((200, {"content-type": "text/html"}, b"<html>"), "gives no rollouts"),
    ],
)
def test_a_wrong_server_is_one_line(ask: Any, reply: Reply, says: str) -> None:
    with pytest.raises(UserError, match=says):
        ask(lambda body: reply)


def test_half_a_server_is_refused(run: Path) -> None:
    with pytest.raises(UserError, match="one of them is missing"):
        rollouts_run(run, "after", endpoint_model="m")
    with pytest.raises(UserError, match="base URL is not understood"):
        rollouts_run(run, "after", endpoint_model="m", base_url="localhost:8000")


def test_after_is_the_model_that_was_trained_in_the_run(run: Path, trained: Path) -> None:
    """As `verify` has it; without a training the error says what to do."""
    rollouts_run(run, n_prompts=3, **OPTIONS)
    with pytest.raises(UserError, match=r"rollouts 'after'.*nothing was trained here yet.*pretilt train"):
        rollouts_run(run, "after")
    shutil.copytree(trained, run / "trained")
    (run / "trained" / "train.json").write_text("{}")
    named = rollouts_run(run, "after-named", trained)
    assert rollouts_run(run, "after").report["model"] == named.report["model"]
    assert named.samples.num_rows == 9
