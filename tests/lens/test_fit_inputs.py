"""What a stranger gives to `fit`, and what damage does to a run, a dictionary and a training: one line each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from test_fit import SMALL, planted

from pretilt.api import fit as fit_command
from pretilt.errors import UserError
from pretilt.lens.activations import TensorActivations
from pretilt.lens.fit import fit
from pretilt.lens.folder import WEIGHTS_FILE
from pretilt.lens.load import load_dictionary
from pretilt.run import Run
from pretilt.settings import AuditSettings, settings_of
from pretilt.train.folder import last_checkpoint


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"active": 0}, "'active' is not accepted.*greater than or equal to 1"),
        ({"features": 10**40}, "'features' is not accepted.*less than or equal to"),
        ({"epochs": 0}, "'epochs' is not accepted"),
        ({"max_length": -1}, "'max_length' is not accepted"),
        ({"limit": 0}, "'limit' is not accepted"),
        ({"seed": -1}, "'seed' is not accepted"),
    ],
)
def test_absurd_numbers_are_refused_before_the_model_is_loaded(
    tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        fit_command("pairs.jsonl", model="nowhere", layer=1, out=tmp_path / "new", **options)


def test_a_folder_of_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("mine")
    with pytest.raises(UserError, match=r"holds other files.*thesis\.doc"):
        fit_command("pairs.jsonl", model="nowhere", layer=1, out=tmp_path)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"text": 5}, "row 1, column 'text'.*a number"),
        ({"text": ["a"]}, "row 1, column 'text'.*a list of texts"),
    ],
)
def test_a_row_that_is_not_text_is_named(
    tmp_path: Path, shared_lens: dict[str, str], row: dict[str, Any], says: str
) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text(json.dumps({"text": "abc"}) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(UserError, match=says):
        fit_command(source, model=shared_lens["model"], layer=1, out=tmp_path / "new")


def test_a_dictionary_that_fit_did_not_write_is_refused_and_fitted_again(tmp_path: Path) -> None:
    data = TensorActivations(planted(1_000)[0])
    written = fit(data, SMALL, out=tmp_path).dictionary.hash
    weights = tmp_path / WEIGHTS_FILE
    content = bytearray(weights.read_bytes())
    content[-100] ^= 1  # in a weight's mantissa: finite, and of the right shape
    weights.write_bytes(content)
    with pytest.raises(UserError, match=r"not the one that `fit` wrote.*fit\.json.*pretilt fit"):
        load_dictionary(tmp_path)
    fit(data, SMALL, out=tmp_path)
    assert load_dictionary(tmp_path).hash == written


def test_a_truncated_checkpoint_of_a_training_is_not_gone_on_from(tmp_path: Path) -> None:
    for step in (1, 2):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        save_file({"w": torch.ones(50)}, folder / "model.safetensors")
        torch.save({"m": torch.ones(50)}, folder / "optimizer.pt")
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    assert last_checkpoint(tmp_path, remove=False) == tmp_path / "checkpoint-2"
    for name in ("model.safetensors", "optimizer.pt"):
        content = (tmp_path / "checkpoint-2" / name).read_bytes()
        (tmp_path / "checkpoint-2" / name).write_bytes(content[:-60])
        assert last_checkpoint(tmp_path, remove=False) == tmp_path / "checkpoint-1"
        (tmp_path / "checkpoint-2" / name).write_bytes(content)


def test_options_of_another_version_are_one_line(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.record("settings", AuditSettings(seed=3).model_dump())
    assert settings_of(run).seed == 3
    run.record("settings", {"seed": 3, "colour": "blue"})
    with pytest.raises(UserError, match=r"another version.*'colour'.*version that made it"):
        settings_of(run)
