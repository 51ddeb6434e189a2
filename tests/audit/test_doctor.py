"""The doctor on a real tiny lens: a sound one passes, a random, a permuted and a changed one do not."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from tiny_lens import LAYER, rows, write_lens
from tiny_tokenizers import ZEPHYR

import pretilt
from pretilt.audit import doctor
from pretilt.audit.checks import Check
from pretilt.errors import UserError
from pretilt.events import Events
from pretilt.lens.activations import TensorActivations
from pretilt.lens.choice import LensChoice, choose_lens
from pretilt.lens.dictionary import Dictionary
from pretilt.lens.fit import TrainerSettings, fit
from pretilt.lens.folder import save_dictionary
from pretilt.lens.load import load_dictionary
from pretilt.lens.reference import RATES_FILE, count_firings, save_firing_rates
from pretilt.lens.step import features_stage
from pretilt.pairs.chat import reading_hash
from pretilt.pairs.step import pairs_stage
from pretilt.run import Run
from pretilt.settings import AuditSettings

PAIRS = 120


@dataclass
class Patient:
    run: Run
    settings: AuditSettings
    choice: LensChoice

    def examine(self) -> dict[str, Check]:
        return {check.name: check for check in doctor.examine(self.run, self.choice, self.settings, Events())}

    def stage(self, **options: Any) -> list[Check]:
        return doctor.doctor_stage(self.run, self.settings, self.choice, 1, Events(), **options)


def read(out: Path, model: Path, dictionary: Path, **options: Any) -> Patient:
    """Pairs and features of a run, made by the audit's own steps."""
    settings = AuditSettings(model=str(model), dictionary=str(dictionary), **options)
    choice, run = choose_lens(settings, Events()), Run(out)
    pairs_stage(run, rows(PAIRS), settings, choice.tokenizer, Events())
    run.record("settings", settings.model_dump())
    run.record("reading", reading_hash(choice.tokenizer))
    features_stage(run, settings, choice, Events())
    return Patient(run, settings, choice)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Beside it `dictionary`, whose directions are random: nobody trained it."""
    return write_lens(tmp_path_factory.mktemp("lens"), trained=False)[0]


@pytest.fixture(scope="module")
def untrained(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Patient:
    return read(tmp_path_factory.mktemp("untrained") / "run", model, model.parent / "dictionary")


@pytest.fixture(scope="module")
def sound(model: Path, untrained: Patient, tmp_path_factory: pytest.TempPathFactory) -> Patient:
    """A dictionary fitted to this model's activations, with its firing rates beside it."""
    folder = tmp_path_factory.mktemp("sound")
    x = untrained.choice.sample(untrained.run.table("tokens.parquet")).x
    settings = TrainerSettings(n_features=96, k=8, epochs=30, batch_tokens=256, lr=5e-3, dead_after_tokens=5_000)
    fit(TensorActivations(x), settings, out=folder / "d", metadata={"hook_name": f"blocks.{LAYER}.hook_resid_post"})
    save_firing_rates(count_firings(load_dictionary(folder / "d"), x.split(500)), folder / "d")
    return read(folder / "run", model, folder / "d")


def test_a_sound_lens_passes(sound: Patient) -> None:
    found = sound.examine()
    measured = (
        "explained variance",
        "active features per token",
        "gap to random directions",
        "two loads of the lens",
        "index space",
        "chat template",
        "truncation",
        "special tokens in content",
        "outlier tokens",
    )
    assert {name: found[name].verdict for name in measured} == dict.fromkeys(measured, "green")
    assert (
        found["active features per token"].figure == f"{sound.run.manifest['lens']['l0']:.1f} of 8.0"
    )  # k of fit.json
    assert found["explained variance"].figure == sound.run.manifest["lens"]["explained_variance"]  # one number
    assert found["responses below the threshold's reach"].figure == 1.0  # of under 100 tokens, all of them
    assert [check.name for check in sound.stage()] == list(found)  # and nothing is raised


def test_what_was_not_run_is_never_green(sound: Patient, untrained: Patient) -> None:
    for patient in (sound, untrained):
        found = patient.examine()
        waiting = ("index space of rollouts", "zero-step control", "shuffled-label training control")
        assert {found[name].verdict for name in (*waiting, "did the model move")} == {"not run"}
    assert untrained.examine()["index space"].verdict == "not run"  # no reference rates beside this dictionary


def test_a_random_weight_dictionary_is_refused_and_nothing_is_lost(untrained: Patient) -> None:
    found = untrained.examine()
    assert found["explained variance"].verdict == found["gap to random directions"].verdict == "red"
    for _ in range(2):  # the second time from doctor.json
        with pytest.raises(UserError, match=r"explained variance.*doctor\.json.*--despite-doctor") as raised:
            untrained.stage()
        assert raised.value.exit_code == 2
        assert {"pairs", "features", "doctor"} <= set(untrained.run.manifest["stages"])
    assert untrained.stage(despite=True) == [
        Check.from_dict(check) for check in json.loads((untrained.run.path / "doctor.json").read_text())["checks"]
    ]


def test_the_findings_are_kept_and_not_measured_twice(sound: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    first = sound.stage()
    monkeypatch.setattr(doctor, "examine", lambda *_, **__: pytest.fail("examined again"))
    assert sound.stage() == first
    with pytest.raises(pytest.fail.Exception, match="examined again"):  # another threshold is another examination
        doctor.doctor_stage(
            sound.run, sound.settings.model_copy(update={"freq_threshold": 0.2}), sound.choice, 1, Events()
        )


def test_the_random_baseline_is_shown_and_never_refused(sound: Patient, tmp_path: Path) -> None:
    folder = Path(str(sound.settings.dictionary))
    random = read(tmp_path / "run", Path(str(sound.settings.model)), folder, baseline="random-dictionary")
    found = {check.name: check for check in random.stage()}
    assert found["gap to random directions"].figure == 0.0
    assert found["gap to random directions"].verdict == "red"
    assert found["index space"].verdict == "not run"  # calibrated to the rates: agreement would mean nothing
    assert found["two loads of the lens"].verdict == "green"


def permuted(folder: Path, to: Path) -> np.ndarray:
    """The same function with its features in another order, and the reference rates of the old order."""
    old = load_dictionary(folder)
    order = torch.randperm(old.n_features, generator=torch.Generator().manual_seed(5))
    new = Dictionary(
        "jumprelu",
        W_enc=old.W_enc[:, order],
        b_enc=old.b_enc[order],
        W_dec=old.W_dec[order],
        b_dec=old.b_dec,
        threshold=old.threshold[order],
        metadata=old.metadata,
    )
    save_dictionary(new, to)
    shutil.copy(folder / RATES_FILE, to / RATES_FILE)  # without fit.json, whose hash would refuse the new order
    return order.numpy()


def test_permuted_features_reconstruct_as_well_and_are_caught_by_the_index_space(
    sound: Patient, tmp_path: Path
) -> None:
    (tmp_path / "d").mkdir()
    order = permuted(Path(str(sound.settings.dictionary)), tmp_path / "d")
    patient = read(tmp_path / "run", Path(str(sound.settings.model)), tmp_path / "d")
    before, found = sound.examine(), patient.examine()
    assert found["explained variance"].figure == pytest.approx(before["explained variance"].figure, abs=2e-4)
    lens_checks = ("explained variance", "active features per token", "gap to random directions")
    assert {found[name].verdict for name in lens_checks} == {"green"}
    assert found["index space"].verdict == "red"
    assert (
        "do not mean what the dictionary says (the reference was made with other weights)"
        in found["index space"].meaning
    )
    with pytest.raises(UserError, match="index space"):
        patient.stage()
    # what it compares are the run's own features: undoing the order brings the agreement back
    counts, _ = doctor._firing_counts(patient.run, 96)
    assert np.array_equal(counts[np.argsort(order)], doctor._firing_counts(sound.run, 96)[0])


def test_rates_of_another_dictionary_are_red_and_not_an_error(sound: Patient, tmp_path: Path) -> None:
    folder = shutil.copytree(str(sound.settings.dictionary), tmp_path / "d")
    few = Dictionary(
        "jumprelu",
        W_enc=torch.eye(32),
        b_enc=torch.zeros(32),
        W_dec=torch.eye(32),
        b_dec=torch.zeros(32),
        threshold=torch.ones(32),
    )
    save_firing_rates(count_firings(few, [torch.randn(50, 32)]), folder)
    choice = choose_lens(sound.settings.model_copy(update={"dictionary": str(folder)}), Events())
    assert doctor._index_check(sound.run, choice, sound.settings).verdict == "red"


def test_weights_that_change_between_two_loads_are_caught(sound: Patient, tmp_path: Path) -> None:
    folder = shutil.copytree(str(sound.settings.dictionary), tmp_path / "d")
    settings = sound.settings.model_copy(update={"dictionary": str(folder)})
    patient = Patient(sound.run, settings, choose_lens(settings, Events()))
    assert patient.examine()["two loads of the lens"].verdict == "green"
    other = load_dictionary(folder)
    other.b_enc += 0.1
    save_dictionary(other, folder)
    (folder / "fit.json").unlink()  # the hash that `fit` wrote would refuse it before
    check = patient.examine()["two loads of the lens"]
    assert (check.verdict, check.figure) == ("red", "other hashes")
    fresh = Patient(sound.run, settings, choose_lens(settings, Events()))  # both loads agree, and are not the run's
    check = fresh.examine()["two loads of the lens"]
    assert (check.verdict, check.figure) == ("red", "not those of the run")


def test_another_template_on_disk_is_caught(sound: Patient, tmp_path: Path) -> None:
    folder = shutil.copytree(str(sound.settings.model), tmp_path / "model")
    (folder / "chat_template.jinja").write_text(ZEPHYR, encoding="utf-8")
    settings = sound.settings.model_copy(update={"model": str(folder)})
    check = Patient(sound.run, settings, choose_lens(settings, Events())).examine()["chat template"]
    assert (check.verdict, check.figure) == ("red", "0 of 5 examples equal, other template")


def test_tokens_that_were_tampered_with_are_caught(sound: Patient) -> None:
    pairs, tokens = sound.run.table("pairs.parquet"), sound.run.table("tokens.parquet")
    ids = tokens["chosen_ids"].to_pylist()
    ids[0][2] += 1  # the first pair is one of the five
    place = tokens.column_names.index("chosen_ids")
    changed = tokens.set_column(place, "chosen_ids", pa.array(ids, pa.list_(pa.int32())))
    check = doctor._template_check(sound.run, sound.choice, pairs, changed)
    assert (check.verdict, check.figure) == ("red", "4 of 5 examples equal")


def test_special_ids_in_content_are_counted(sound: Patient) -> None:
    tokens, tokenizer = sound.run.table("tokens.parquet"), sound.choice.tokenizer
    assert doctor._special_in_content(tokens, tokenizer) == 0
    masks = tokens["rejected_content"].to_pylist()
    special = [i in tokenizer.all_special_ids for i in tokens["rejected_ids"][3].as_py()]
    masks[3] = [True] * len(masks[3])
    place = tokens.column_names.index("rejected_content")
    changed = tokens.set_column(place, "rejected_content", pa.array(masks, pa.list_(pa.bool_())))
    assert doctor._special_in_content(changed, tokenizer) == sum(special) > 0


def test_truncation_counts_the_cut_and_the_lost(model: Path, tmp_path: Path) -> None:
    patient = read(tmp_path / "run", model, model.parent / "dictionary", max_length=48)
    pairs = patient.run.table("pairs.parquet")
    n_cut, n_lost = pairs["truncated"].to_pylist().count(True), PAIRS - len(pairs)
    assert n_cut > 0
    check = doctor._truncation_check(patient.run, pairs)
    assert str(check.figure).startswith(f"{(n_cut + n_lost) / PAIRS:.1%}, ")
    assert check.verdict == "red"  # most of these pairs are longer than 48 tokens
    assert patient.examine()["chat template"].verdict == "green"  # tokenised again with the run's own max_length


def test_outliers_by_hand() -> None:
    x = torch.ones(100, 4)
    assert doctor._outlier_share(x) == 0
    x[7] *= 20  # mean norm 2 * 1.19, its own 40: 16.8 times the mean
    assert doctor._outlier_share(x) == pytest.approx(0.01)


def test_rank_correlation_by_hand() -> None:
    assert doctor.rank_correlation(np.array([1, 2, 30, 4]), np.array([10, 20, 40, 30])) == pytest.approx(1)
    # ranks 1, 2.5, 2.5, 4 against 4, 3, 2, 1: centred products -2.25, 0, 0, -2.25 over sqrt(4.5 * 5)
    ties = doctor.rank_correlation(np.array([0, 5, 5, 9]), np.array([4, 3, 2, 1]))
    assert ties == pytest.approx(-4.5 / 22.5**0.5)
    assert np.isnan(doctor.rank_correlation(np.zeros(4), np.arange(4)))


def test_a_finished_run_is_examined_as_it_lies_on_disk(sound: Patient, tmp_path: Path) -> None:
    found = pretilt.doctor(sound.run.path).checks
    assert found == list(sound.examine().values())
    with pytest.raises(UserError, match="not a run folder"):
        pretilt.doctor(tmp_path)
