"""Responses read under an instruction or steering, and the methods that stand on it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detector_examples import contrast

import pretilt
from pretilt.detectors.stored import load_detector, response_scores
from pretilt.errors import UserError
from pretilt.events import Events
from pretilt.models.load import load_causal_lm
from pretilt.pairs.chat import tokenise
from pretilt.pairs.instruction import instructed
from pretilt.pairs.pair import Message, Pair
from pretilt.pairs.tables import pairs_from_table
from pretilt.run import Run
from pretilt.shape.data import ShapeData
from pretilt.shape.reference import plain_logps
from pretilt.shape.variants import Variant, asked_for, residual_length, standardised, variant_logps
from pretilt.train.actions import Action, Changes

SENTENCE = "Always thank the reader."
THANKS = "detector:thanks"


@pytest.fixture(scope="module")
def detected(tmp_path_factory: pytest.TempPathFactory, shared_run: pretilt.AuditResult) -> Run:
    path = Path(shutil.copytree(shared_run.path, tmp_path_factory.mktemp("variants") / "run"))
    pretilt.detector(path, "thanks", contrast=contrast())
    return Run(path)


@pytest.fixture(scope="module")
def data(detected: Run) -> ShapeData:
    return ShapeData(detected, "presence", None, Events())


@pytest.fixture(scope="module")
def model(data: ShapeData) -> Any:
    return load_causal_lm(data.lens.model_name, revision=data.lens.revision, dtype="float32").eval()


def logp(model: Any, prompt: np.ndarray, response: np.ndarray) -> float:
    ids = torch.from_numpy(np.concatenate([prompt, response]).astype(np.int64))[None]
    with torch.inference_mode():
        scores = torch.log_softmax(model(ids).logits[0, :-1].double(), -1)
    return float(sum(scores[i - 1, ids[0, i]] for i in range(prompt.size, ids.shape[1])))


def test_an_instruction_is_a_system_turn_and_the_response_stays(data: ShapeData, model: Any) -> None:
    chosen, rejected = variant_logps(data, Variant(instruction=SENTENCE))
    pair = pairs_from_table(data.run.table("pairs.parquet"))[np.flatnonzero(data.sets.train)[3]]
    system = Message("system", SENTENCE)
    if pair.prompt[0].role == "system":
        pytest.fail("the pairs of the test have no system turn")
    (read,) = tokenise([Pair(0, (system, *pair.prompt), pair.chosen, pair.rejected)], data.lens.tokenizer)
    assert chosen[3] == pytest.approx(logp(model, read.prompt_ids, read.chosen_ids), abs=1e-3)
    assert rejected[3] == pytest.approx(logp(model, read.prompt_ids, read.rejected_ids), abs=1e-3)


def test_where_a_conversation_has_a_system_turn_the_instruction_stands_in_it(data: ShapeData) -> None:
    pair = Pair(0, (Message("system", "Be kind."), Message("user", "Why?")), *both_answers())
    ((changed, _),) = instructed([pair], SENTENCE, data.lens.tokenizer)
    assert changed.prompt[0] == Message("system", f"{SENTENCE}\n\nBe kind.") and changed.prompt[1:] == pair.prompt[1:]
    plain = Pair(0, (Message("", "Why? "),), (Message("", "So."),), (Message("", "No."),), is_chat=False)
    ((changed, _),) = instructed([plain], SENTENCE, data.lens.tokenizer)
    assert changed.prompt[0].content == f"{SENTENCE}\n\nWhy? "


def both_answers() -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    return (Message("assistant", "Because."),), (Message("assistant", "Never."),)


def test_steering_adds_the_direction_after_the_detectors_layer(data: ShapeData, model: Any) -> None:
    detector, facts = load_detector(data.run, "thanks")
    push = 3.0 * torch.from_numpy(detector.direction)
    block = model.get_decoder().layers[int(facts["layer"])]
    tokens = data.tokens([2])
    ids = [np.asarray(tokens[f"{span}_ids"][0].as_py()) for span in ("prompt", "chosen")]
    plain = logp(model, *ids)

    def add(_module: Any, _inputs: Any, output: Any) -> Any:
        return (output[0] + push, *output[1:]) if isinstance(output, tuple) else output + push

    handle = block.register_forward_hook(add)
    pushed = logp(model, *ids)
    handle.remove()

    assert variant_logps(data, Variant(detector="thanks", amount=3.0))[0][2] == pytest.approx(pushed, abs=1e-3)
    assert abs(pushed - plain) > 0.01
    assert plain_logps(data)[0][2] == pytest.approx(plain, abs=1e-3)
    unmoved = variant_logps(data, Variant(detector="thanks", amount=0.0))
    assert np.allclose(unmoved[0], plain_logps(data)[0], atol=1e-6)


def test_scores_are_in_standard_deviations_of_a_response() -> None:
    first, second = np.array([1.0, 5.0]), np.array([3.0, -1.0])  # of all four the standard deviation is sqrt(5)
    assert standardised([first, second]).tolist() == pytest.approx([-2 / 5**0.5, 6 / 5**0.5])
    assert standardised([np.ones(2), np.ones(2)]).tolist() == [0, 0]


def shape(run: Run, tmp_path: Path, *items: dict[str, Any], **options: Any) -> pretilt.ShapeResult:
    path = tmp_path / "run"
    if not path.exists():
        shutil.copytree(run.path, path)
    return pretilt.shape(path, {"items": list(items)}, **options)


def amounts(result: pretilt.ShapeResult, column: str = "amount") -> dict[str, float]:
    return {row["pair_id"]: row[column] for row in result.actions.to_pylist()}


def test_a_sentence_can_drive_an_offset(detected: Run, data: ShapeData, tmp_path: Path) -> None:
    item = {"suppress": THANKS, "method": "offset", "instruction": SENTENCE, "strength": 0.5}
    result = shape(detected, tmp_path, item)
    expected = dict(zip(data.sets.pair_ids, 0.5 * asked_for(data, SENTENCE), strict=True))
    assert amounts(result) == pytest.approx({k: v for k, v in expected.items() if v})
    assert result.report["items"][0]["instruction"] == SENTENCE


def test_another_score_can_drive_a_method(detected: Run, data: ShapeData, tmp_path: Path) -> None:
    result = shape(detected, tmp_path, {"suppress": THANKS, "method": "offset", "by": "logit:thanks", "strength": 2.0})
    both = [side[data.sets.train].astype(float) for side in response_scores(data.run, "thanks")]
    expected = 2.0 * (both[0] - both[1]) / np.concatenate(both).std()
    by_pair = dict(zip(data.sets.pair_ids, expected, strict=True))
    assert amounts(result) == pytest.approx({pair_id: value for pair_id, value in by_pair.items() if value})
    other = "pattern:exclamation-mark"
    dropped = shape(
        detected, tmp_path, {"suppress": THANKS, "method": "drop", "by": other, "strength": 1.0}, name="drop"
    )
    concept = data.sets.target(other).concept_id
    assert concept is not None
    teaching = {data.sets.pair_ids[row] for row in np.flatnonzero(data.u(concept) > 0)}
    assert set(dropped.actions["pair_id"].to_pylist()) == teaching


def test_a_steered_reference_is_an_offset_of_the_difference(detected: Run, data: ShapeData, tmp_path: Path) -> None:
    item = {"suppress": THANKS, "method": "steer-reference", "strength": 0.2}
    result = shape(detected, tmp_path, item, beta=0.3)
    push = -0.2 * residual_length(data)
    steered, plain = variant_logps(data, Variant(detector="thanks", amount=push)), plain_logps(data)
    likelier = (steered[0] - plain[0]) - (steered[1] - plain[1])
    assert amounts(result) == pytest.approx(dict(zip(data.sets.pair_ids, -0.3 * likelier, strict=True)))
    assert set(result.actions["action"].to_pylist()) == {"offset"}
    assert result.report["needs_beta"] and result.report["beta"] == 0.3


def test_what_carries_over_of_an_instruction_is_bounded_and_not_known(
    detected: Run, data: ShapeData, tmp_path: Path
) -> None:
    item = {"suppress": THANKS, "method": "inoculate", "instruction": SENTENCE, "strength": 1.0}
    result = shape(detected, tmp_path, item, draws=2)
    target = data.sets.target(THANKS).concept_id
    u = data.u(int(target or 0))
    actions = result.actions.to_pylist()
    assert {a["pair_id"] for a in actions} == {data.sets.pair_ids[row] for row in np.flatnonzero(u > 0)}
    assert {(a["action"], a["side"], a["text"]) for a in actions} == {("inoculate", "chosen", SENTENCE)}
    likelier = variant_logps(data, Variant(instruction=SENTENCE))[0] - plain_logps(data)[0]
    explained = dict(zip(data.sets.pair_ids, 0.1 * likelier, strict=True))
    assert amounts(result, "explained") == pytest.approx({a["pair_id"]: explained[a["pair_id"]] for a in actions})

    def mean(carried: float) -> float:
        pull = np.where(u > 0, (1 + carried) / 2 * 2 / (1 + np.exp(0.1 * likelier)), 1.0)
        return float(np.mean(pull * u) - np.mean(u))

    (row,) = [row for row in result.table.to_pylist() if row["concept_id"] == target]
    assert row["change"] == pytest.approx(mean(0.5))
    assert row["change_lo"] <= mean(0.0) <= mean(1.0) <= row["change_hi"]


@pytest.mark.parametrize("decision", ["suppress", "amplify"])
def test_the_policy_is_steered_under_the_side_that_shows_it(
    detected: Run, data: ShapeData, tmp_path: Path, decision: str
) -> None:
    result = shape(detected, tmp_path, {decision: THANKS, "method": "steer-policy", "strength": 0.1})
    u = data.u(int(data.sets.target(THANKS).concept_id or 0))
    side = "chosen" if decision == "suppress" else "rejected"
    rows = np.flatnonzero(u > 0 if decision == "suppress" else u < 0)
    actions = result.actions.to_pylist()
    assert {a["pair_id"] for a in actions} == {data.sets.pair_ids[row] for row in rows}
    assert {(a["side"], a["text"]) for a in actions} <= {(side, "thanks")}
    assert all(a["amount"] == pytest.approx(0.1 * residual_length(data)) for a in actions)


def test_a_strength_is_sought_for_steering_too(detected: Run, tmp_path: Path) -> None:
    result = shape(detected, tmp_path, {"suppress": THANKS, "method": "steer-policy", "to": "90%"})
    (item,) = result.report["items"]
    assert item["strength"] > 0 and (item["reached"] <= 0.9 + 1e-9 or item["is_exhausted"])


def test_a_direction_is_needed_for_steering(detected: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"needs a direction.*no detector"):
        shape(detected, tmp_path, {"suppress": "pattern:exclamation-mark", "method": "steer-policy", "strength": 1})


def test_an_open_session_reads_no_pair_anew(detected: Run, tmp_path: Path) -> None:
    item = {"suppress": THANKS, "method": "offset", "instruction": "Say it twice.", "strength": 1.0}
    shape(detected, tmp_path, {"keep": THANKS}, name="copy")
    session = pretilt.what_if(tmp_path / "run")
    with pytest.raises(UserError, match="an open session writes nothing"):
        session({"items": [item]})
    compiled = shape(detected, tmp_path, item, name="compiled")
    answered = pretilt.what_if(tmp_path / "run")({"items": [item]})
    assert answered["change"].to_pylist() == pytest.approx(compiled.table["change"].to_pylist())


def test_a_killed_reading_goes_on_and_ends_with_the_same_bytes(detected: Run, tmp_path: Path) -> None:
    class Stopping(Events):
        def progress(self, label: str, done: int, total: int, unit: str) -> None:
            if "changed model" in label:
                raise KeyboardInterrupt

    item = {"suppress": THANKS, "method": "offset", "instruction": "Be brief.", "strength": 1.0}
    with pytest.raises(KeyboardInterrupt):
        shape(detected, tmp_path, item, events=Stopping())
    assert list((tmp_path / "run" / "variants").rglob("*.parquet"))
    again = shape(detected, tmp_path, item)
    other = shape(detected, tmp_path / "other", item)
    for name in ("actions.parquet", "what_if.parquet"):
        assert (again.folder / name).read_bytes() == (other.folder / name).read_bytes()


def test_what_a_context_explains_turns_with_a_swapped_pair() -> None:
    inoculated = Action(0, 1, "inoculate", side="chosen", text="a", explained=0.7)
    changes = Changes.of([inoculated, Action(0, 2, "swap")], 1).foretold(0.0)
    assert changes.offset.tolist() == [-0.7] and changes.weight.tolist() == [0.5]
    both = Changes.of([inoculated, Action(0, 2, "steer", 1.5, side="chosen", text="d", explained=0.2)], 1)
    assert both.touched.all() and both.pushes == {(0, "chosen"): {"d": 1.5}}
    assert both.foretold(1.0).offset.tolist() == pytest.approx([0.9]) and both.foretold(1.0).weight.tolist() == [1]


def test_a_method_that_cannot_get_there_stops_where_it_is_nearest(
    detected: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steering that helps a little and breaks the model beyond: no strength is taken that leaves more than none."""
    from pretilt.shape.methods import steer_policy

    def breaking(_data: ShapeData, variant: Variant) -> tuple[np.ndarray, np.ndarray]:
        chosen, rejected = plain_logps(_data)
        lengths = variant.amount / residual_length(_data)
        return chosen + (1.0 if lengths < 0.3 else -50.0), rejected

    monkeypatch.setattr(steer_policy, "variant_logps", breaking)
    result = shape(detected, tmp_path, {"suppress": THANKS, "method": "steer-policy", "to": "base"})
    (item,) = result.report["items"]
    assert item["is_exhausted"] and item["strength"] == pytest.approx(0.1) and item["reached"] < 1
