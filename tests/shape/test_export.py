"""The pairs as a plain dataset: what a plan did stands in the rows, and what is left to a trainer in the README."""

from __future__ import annotations

import json
import math
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from command_line import in_process
from tiny_training import chats, write_model
from tiny_training import write_run as write_training_run

import pretilt
from pretilt.errors import UserError
from pretilt.models.language import load_language_model
from pretilt.run import Run


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_without_a_plan_the_pairs_are_as_they_were(run: Run, tmp_path: Path) -> None:
    result = pretilt.export(run, tmp_path / "out")
    pairs = {row["pair_id"]: row for row in run.table("pairs.parquet").to_pylist()}
    train, heldout = lines(tmp_path / "out" / "train.jsonl"), lines(tmp_path / "out" / "heldout.jsonl")
    assert len(train) + len(heldout) == len(pairs) and result.columns == ()
    for row in train + heldout:
        pair = pairs[row["pair_id"]]
        assert row["chosen"] == pair["chosen"][0]["content"] and row["prompt"] == pair["prompt"][0]["content"]
    assert "any trainer reads this" in (tmp_path / "out" / "README.md").read_text()


def test_what_a_plan_did_stands_in_the_rows(run: Run, tmp_path: Path) -> None:
    items = [
        {"suppress": "pattern:bold", "method": "rewrite", "strength": 0.5},
        {"suppress": "source:second", "method": "drop", "strength": 0.25},
        {"suppress": "pattern:bold", "method": "offset", "strength": 2.0, "gate": "source:first"},
        {"amplify": "pattern:apology", "method": "swap", "strength": 0.1},
    ]
    result = pretilt.export(run, tmp_path / "out", plan={"items": items})
    rows = {row["pair_id"]: row for row in lines(tmp_path / "out" / "train.jsonl")}
    shaped = pretilt.shape(run, {"items": items})
    by_action: dict[str, list[dict[str, Any]]] = {}
    for action in shaped.actions.to_pylist():
        by_action.setdefault(action["action"], []).append(action)
    dropped = {action["pair_id"] for action in by_action["drop"]}
    assert not dropped & rows.keys() and len(rows) == shaped.report["coverage"]["left"]
    for action in by_action["rewrite"]:
        assert action["pair_id"] in dropped or rows[action["pair_id"]]["chosen"] == action["text"]
    pairs = {row["pair_id"]: row for row in run.table("pairs.parquet").to_pylist()}
    for action in by_action["swap"]:
        if action["pair_id"] in rows:
            assert rows[action["pair_id"]]["chosen"] == pairs[action["pair_id"]]["rejected"][0]["content"]
    for action in by_action["offset"]:
        row = rows.get(action["pair_id"])
        assert row is None or (row["offset"], row["margin"]) == (action["amount"], -action["amount"])
    assert result.columns == ("offset", "margin")
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    for trainer in ("TRL", "axolotl", "LLaMA-Factory", "open-instruct", "NeMo-RL"):
        assert trainer in text
    assert f"{len(dropped):,} pairs left out" in text


@pytest.fixture(scope="module")
def with_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    model = write_model(folder / "model")
    settings = pretilt.AuditSettings(model=str(model), dictionary=str(folder), layer=0).model_dump()
    run = write_training_run(folder / "run", chats(12), settings=settings)
    return run.path


def test_reference_log_probabilities_are_the_models(with_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Summed over the response, by the model's own logits; a second export reads what the first one computed."""
    import torch

    from pretilt.shape.reference import reference_logps

    run = Run(with_model)
    model_path = run.manifest["settings"]["model"]
    choice = type("Choice", (), {"model_name": model_path, "revision": None, "tokenizer": None})()
    chosen, rejected = reference_logps(run, choice, pretilt.Events())  # type: ignore[arg-type]
    model = load_language_model(model_path, revision=None, device="cpu", dtype="float32").model
    tokens = run.table("tokens.parquet").to_pylist()
    for row in (0, 5, 11):
        for side, values in (("chosen", chosen), ("rejected", rejected)):
            ids = tokens[row]["prompt_ids"] + tokens[row][f"{side}_ids"]
            with torch.no_grad():
                logp = torch.log_softmax(model(torch.tensor([ids])).logits[0, :-1].double(), -1)
            start = len(tokens[row]["prompt_ids"]) - 1
            total = sum(float(logp[i, ids[i + 1]]) for i in range(start, len(ids) - 1))
            assert values[row] == pytest.approx(total, abs=1e-3)
    monkeypatch.setattr(import_module("pretilt.shape.reference"), "response_logps", None)  # nothing is computed again
    again = reference_logps(run, choice, pretilt.Events())  # type: ignore[arg-type]
    assert np.array_equal(again[0], chosen)


def test_a_rewritten_response_has_a_reference_of_its_own(with_model: Path) -> None:
    """That of its new tokens; the responses that were not rewritten keep theirs."""
    from pretilt.models.load import load_tokenizer
    from pretilt.pairs.chat import tokenise
    from pretilt.shape.export import _Export
    from pretilt.shape.reference import response_logps

    run = Run(with_model)
    model_path = run.manifest["settings"]["model"]
    tokenizer = load_tokenizer(model_path, revision=None)
    choice = type("Choice", (), {"model_name": model_path, "revision": None, "tokenizer": tokenizer})()
    export = _Export(run, None, pretilt.Events())
    export.changes.texts = {(2, "chosen"): "Rome."}
    export.pairs = [export._shaped(pair, row) for row, pair in enumerate(export.pairs)]
    chosen, rejected = np.full((2, len(export.pairs)), -1.0)
    export._read_again(choice, chosen, rejected)
    (tokens,) = tokenise([export.pairs[2]], tokenizer, max_length=1024)
    table = pa.table({"prompt_ids": [tokens.prompt_ids], "chosen_ids": [tokens.chosen_ids]})
    model = load_language_model(model_path, revision=None, device="cpu", dtype="float32")
    assert chosen[2] == pytest.approx(response_logps(model, table, "chosen")[0], abs=1e-4)
    assert (np.delete(chosen, 2) == -1).all() and rejected[2] != -1 and (np.delete(rejected, 2) == -1).all()


def test_offsets_can_be_put_into_the_reference(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ref_chosen - offset / beta: then beta (D + offset / beta) is beta D + offset."""
    with_a_lens = pretilt.AuditSettings(model="m", dictionary="d", layer=1)
    monkeypatch.setattr(import_module("pretilt.shape.reference"), "reference_logps", _reference)
    monkeypatch.setattr(import_module("pretilt.lens.choice"), "choose_lens", lambda settings, events: None)
    monkeypatch.setattr(import_module("pretilt.shape.export"), "settings_of", lambda run: with_a_lens)
    plan = {"items": [{"suppress": "pattern:bold", "method": "offset", "strength": 2.0}]}
    pretilt.export(run, tmp_path / "plain", plan=plan, reference=True)
    pretilt.export(run, tmp_path / "shifted", plan=plan, reference=True, beta=0.1)
    plain, shifted = (lines(tmp_path / name / "train.jsonl") for name in ("plain", "shifted"))
    for before, after in zip(plain, shifted, strict=True):
        assert after["ref_rejected_logps"] == before["ref_rejected_logps"] == -3.0
        assert math.isclose(after["ref_chosen_logps"], before["ref_chosen_logps"] - before["offset"] / 0.1)
    assert "do not apply them again" in (tmp_path / "shifted" / "README.md").read_text(encoding="utf-8")


def _reference(run: Run, choice: Any, events: Any) -> tuple[np.ndarray, np.ndarray]:
    n = len(run.table("pairs.parquet"))
    return np.full(n, -2.0), np.full(n, -3.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"reference": True}, "audited without a model"),
        ({"beta": 0.1}, "Give --plan and --reference"),
    ],
)
def test_what_cannot_be_exported_is_one_line(run: Run, tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        pretilt.export(run, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_kept(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        pretilt.export(run, tmp_path)
    with pytest.raises(UserError, match="own artifacts alone"):
        pretilt.export(run, run.path / "out")


def test_the_command_says_where_to_read_on(run: Run, tmp_path: Path) -> None:
    shown = in_process("export", run.path, tmp_path / "out")
    assert shown.returncode == 0, shown.stderr
    assert "training pairs" in shown.stdout and "README.md" in shown.stderr
