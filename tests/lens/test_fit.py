"""Training a dictionary: gradients against autograd, a planted dictionary found again, kills that leave no trace."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from children import Child, run_child

from pretilt.errors import UserError
from pretilt.lens.activations import TensorActivations, cache_activations
from pretilt.lens.corpus import pair_sequences, split_heldout, text_sequences
from pretilt.lens.fidelity import fidelity
from pretilt.lens.fit import TrainerSettings, fit, fit_from_text
from pretilt.lens.load import load_dictionary
from pretilt.lens.trainer import Trainer
from pretilt.schema import TOKENS

D_MODEL, N_TRUE = 32, 48
SMALL = TrainerSettings(n_features=64, k=3, epochs=6, batch_tokens=256, lr=5e-3, dead_after_tokens=5_000)


def planted(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """(vectors [n, d], the unit directions they are sparse sums of); three of 48 active on average."""
    g = torch.Generator().manual_seed(99)
    directions = torch.nn.functional.normalize(torch.randn(N_TRUE, D_MODEL, generator=g), dim=-1)
    centre = torch.randn(D_MODEL, generator=g)
    g = torch.Generator().manual_seed(seed)
    active = torch.rand(n, N_TRUE, generator=g) < 3 / N_TRUE
    strength = active * (1 + torch.rand(n, N_TRUE, generator=g))
    return 5 * (strength @ directions + centre + 0.01 * torch.randn(n, D_MODEL, generator=g)), directions


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fit")
    fit(
        TensorActivations(planted(20_000)[0]),
        SMALL,
        out=folder,
        heldout=TensorActivations(planted(4_000, seed=1)[0]),
        metadata={"model_name": "planted", "hook_name": "blocks.2.hook_resid_post"},
    )
    return folder


def test_finds_the_planted_directions(trained: Path) -> None:
    dictionary = load_dictionary(trained)
    learned = torch.nn.functional.normalize(dictionary.W_dec, dim=-1)
    cosine = (planted(1)[1] @ learned.T).max(dim=1).values
    assert float(cosine.mean()) > 0.95
    assert int((cosine > 0.9).sum()) >= 40  # of 48


def test_the_report_is_of_the_saved_dictionary_on_raw_heldout_activations(trained: Path) -> None:
    report, dictionary = json.loads((trained / "fit.json").read_text()), load_dictionary(trained)
    assert report["dictionary_hash"] == dictionary.hash
    x = planted(4_000, seed=1)[0]
    found = fidelity(dictionary, x)
    assert report["heldout"]["explained_variance"] == pytest.approx(found.explained_variance, abs=1e-6)
    assert report["heldout"]["l0"] == pytest.approx(found.l0, abs=1e-3)
    # independently: 1 - squared error / squared deviation from the mean
    error = (x - dictionary.decode(dictionary.encode(x))).square().sum() / (x - x.mean(dim=0)).square().sum()
    assert found.explained_variance == pytest.approx(1 - float(error), abs=1e-5)
    assert found.explained_variance > 0.9
    assert found.l0 == pytest.approx(3, rel=0.25)  # the threshold learned in training keeps L0 near k
    assert dictionary.layer == 2
    assert not (trained / "checkpoint.safetensors").exists()


def test_saelens_reads_it_the_same_way(trained: Path) -> None:
    sae_lens = pytest.importorskip("sae_lens")
    x = planted(500, seed=2)[0]
    torch.testing.assert_close(
        sae_lens.SAE.load_from_disk(trained).encode(x), load_dictionary(trained).encode(x), atol=1e-5, rtol=0
    )


def test_gradients_equal_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    x = planted(512)[0]
    trainer = Trainer(TensorActivations(x), np.arange(512), replace(SMALL, batch_tokens=128, dead_after_tokens=10**9))
    torch.manual_seed(0)
    trainer.weights["b_enc"].normal_(0, 0.1)
    mine: dict[str, torch.Tensor] = {}
    monkeypatch.setattr(trainer, "_adam", lambda gradients: mine.update({n: g.clone() for n, g in gradients.items()}))
    monkeypatch.setattr(trainer, "_next_batch", lambda: np.arange(128))
    free = {name: tensor.clone().requires_grad_() for name, tensor in trainer.weights.items()}
    trainer.advance()

    scaled = x[:128] * trainer.scale
    h = (scaled - free["b_dec"]) @ free["W_enc"].T + free["b_enc"]
    cut = h.flatten().topk(3 * 128).values.min()
    reconstruction = torch.where(h >= cut, h, 0.0) @ free["W_dec"] + free["b_dec"]
    ((reconstruction - scaled).square().sum(dim=-1).mean() / trainer.variance).backward()
    for name in ("W_enc", "b_enc", "b_dec"):
        torch.testing.assert_close(mine[name], free[name].grad, atol=1e-6, rtol=1e-4)
    grad = free["W_dec"].grad
    assert grad is not None
    tangent = grad - (grad * free["W_dec"]).sum(dim=-1, keepdim=True) * free["W_dec"]  # rows stay on the unit sphere
    torch.testing.assert_close(mine["W_dec"], tangent.detach(), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(trainer.weights["W_dec"].norm(dim=-1), torch.ones(64))


def test_the_auxiliary_loss_revives_features() -> None:
    def dead_after(aux_weight: float) -> int:
        settings = replace(SMALL, aux_weight=aux_weight, dead_after_tokens=1_000)
        trainer = Trainer(TensorActivations(planted(10_000)[0]), np.arange(10_000), settings)
        trainer.weights["b_enc"][:32] = -4.0  # half of them start too low to fire, so that only this loss reaches them
        for _ in range(150):
            trainer.advance()
        return int(trainer.dead().sum())

    assert dead_after(0.0) >= 32
    assert dead_after(1 / 32) < 16


def test_the_scale_of_the_model_is_folded_in(tmp_path: Path) -> None:
    x = planted(4_000)[0]
    reports = [
        fit(
            TensorActivations(x * factor),
            replace(SMALL, epochs=2),
            out=tmp_path / str(factor),
            heldout=TensorActivations(x[:1000] * factor),
        )
        for factor in (1.0, 1024.0)
    ]
    small, large = (r.dictionary for r in reports)
    torch.testing.assert_close(large.W_dec, small.W_dec * 1024, rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(large.encode(x[:100] * 1024), small.encode(x[:100]), rtol=1e-3, atol=1e-3)


def test_outlier_tokens_are_left_out(tmp_path: Path) -> None:
    x = planted(2_000)[0]
    sink = torch.full((1, D_MODEL), 500.0)  # about 50 times the mean norm
    plain = fit(TensorActivations(x), replace(SMALL, epochs=1), out=tmp_path / "plain")
    spiked = fit(TensorActivations(torch.cat([x, sink])), replace(SMALL, epochs=1), out=tmp_path / "spiked")
    assert (plain.n_outliers, spiked.n_outliers) == (0, 1)
    assert spiked.dictionary.hash == plain.dictionary.hash


def test_too_little_to_train_on(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"100 tokens are too few.*one step takes 256"):
        fit(TensorActivations(planted(100)[0]), SMALL, out=tmp_path)
    with pytest.raises(UserError, match="k = 64 must be smaller"):
        fit(TensorActivations(planted(1000)[0]), replace(SMALL, k=64), out=tmp_path)


# --- killed and started again -------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
import numpy as np, torch
sys.path.insert(0, {tests!r})
from test_fit import SMALL, reader, sequences
from pretilt.lens.fit import fit_from_text
die_reading, die_fitting = int(sys.argv[2]), int(sys.argv[3])
calls = 0
def read(batch):
    global calls
    calls += 1
    if calls == die_reading:
        os.kill(os.getpid(), signal.SIGKILL)
    return reader(batch)
def progress(stage, done, total):
    if stage == "fitting" and done == die_fitting * 256:
        os.kill(os.getpid(), signal.SIGKILL)
fit_from_text(sequences(), read, SMALL, out=sys.argv[1], identity="fake", heldout_share=0.1, progress=progress,
              shard_tokens=500, checkpoint_steps=10)
print(calls)
"""


def sequences() -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 60, size=100)
    return [(rng.integers(0, 500, size=n).astype(np.int32), np.arange(n) > 0) for n in lengths]


def reader(batch: list[np.ndarray]) -> torch.Tensor:
    """A model: a token's vector is a function of its id and position."""
    table = planted(600, seed=7)[0]
    return torch.cat(
        [table[torch.from_numpy(ids.astype(np.int64))] + torch.arange(len(ids))[:, None] * 0.01 for ids in batch]
    )


def test_killed_while_reading_and_while_fitting_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    script = KILLED.format(tests=str(Path(__file__).parent))

    def start(out: str, die_reading: int, die_fitting: int) -> Child:
        return run_child(script, tmp_path / out, die_reading, die_fitting)

    n_calls = 0

    def counted(batch: list[np.ndarray]) -> torch.Tensor:
        nonlocal n_calls
        n_calls += 1
        return reader(batch)

    options: dict[str, Any] = {"identity": "fake", "heldout_share": 0.1, "shard_tokens": 500, "checkpoint_steps": 10}
    fit_from_text(sequences(), counted, SMALL, out=tmp_path / "whole", **options)
    assert start("killed", n_calls - 2, 0).status == -signal.SIGKILL
    assert start("killed", 0, 25).status == -signal.SIGKILL
    assert (tmp_path / "killed/checkpoint.safetensors").exists()
    last = start("killed", 0, 24)  # continues after step 20 and passes step 24, where it would die: kill it there again
    assert last.status == -signal.SIGKILL
    last = start("killed", 0, 15)  # step 15 lies behind the checkpoint of step 20: it is not passed again
    assert last.status == 0, last.output
    assert last.output.splitlines()[-1] == "0"  # and nothing is read again
    for name in ("sae_weights.safetensors", "cfg.json", "fit.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_foreign_or_broken_checkpoint_is_not_continued(tmp_path: Path) -> None:
    data = TensorActivations(planted(2_000)[0])
    one = replace(SMALL, epochs=2)
    fresh = fit(data, one, out=tmp_path / "fresh")

    def stop_at_10(done: int, total: int) -> None:
        if done == 10 * 256:
            raise KeyboardInterrupt

    for out, other in (("seed", replace(one, seed=1)), ("same", one)):
        with pytest.raises(KeyboardInterrupt):
            fit(data, other, out=tmp_path / out, checkpoint_steps=5, progress=stop_at_10)
        checkpoint = tmp_path / out / "checkpoint.safetensors"
        assert checkpoint.exists()
        if out == "same":
            checkpoint.write_bytes(checkpoint.read_bytes()[:-50])
        assert fit(data, one, out=tmp_path / out).dictionary.hash == fresh.dictionary.hash


# --- activations and corpus ---------------------------------------------------------------------------------------


def test_cache_holds_the_kept_tokens_and_is_read_once(tmp_path: Path) -> None:
    given = sequences()
    sizes = []

    def read(batch: list[np.ndarray]) -> torch.Tensor:
        sizes.append(len(batch) * max(map(len, batch)))
        return reader(batch)

    cached = cache_activations(given, read, tmp_path, identity="m", shard_tokens=500, batch_tokens=200)
    assert len(sizes) > 1
    assert max(sizes) <= 200
    expected = torch.cat([reader([ids])[torch.from_numpy(keep)] for ids, keep in given])
    assert cached.n_tokens == len(expected)
    took = cached.take(np.arange(cached.n_tokens))

    def ordered(x: torch.Tensor) -> torch.Tensor:
        return x[x[:, 0].argsort()]

    torch.testing.assert_close(ordered(took)[:, 0], ordered(expected)[:, 0], rtol=2e-3, atol=2e-2)
    torch.testing.assert_close(took.sum(dim=0), expected.sum(dim=0), rtol=1e-3, atol=1)
    np.testing.assert_allclose(np.sort(cached.norms), expected.norm(dim=-1).sort().values.numpy(), rtol=1e-5)
    picked = np.array([cached.n_tokens - 1, 3, 700, 3])  # any order, across shards
    torch.testing.assert_close(cached.take(picked), took[torch.from_numpy(picked)])

    calls = len(sizes)
    again = cache_activations(given, read, tmp_path, identity="m", shard_tokens=500, batch_tokens=200)
    assert len(sizes) == calls
    assert again.fingerprint == cached.fingerprint
    assert (
        cache_activations(given, read, tmp_path, identity="other", shard_tokens=500, batch_tokens=200).fingerprint
        != cached.fingerprint
    )
    assert len(sizes) == 2 * calls


def test_cache_survives_any_scale_and_refuses_overflow(tmp_path: Path) -> None:
    cached = cache_activations(
        sequences()[:3], lambda batch: reader(batch) * 1e6, tmp_path, identity=1
    )  # beyond float16
    assert bool(torch.isfinite(cached.take(np.arange(cached.n_tokens))).all())
    with pytest.raises(UserError, match="NaN or infinity"):
        cache_activations(sequences()[:3], lambda batch: reader(batch) * float("inf"), tmp_path, identity=2)
    nothing = [(np.array([1, 2], np.int32), np.array([False, False]))]
    with pytest.raises(UserError, match="no token to train on"):
        cache_activations(nothing, reader, tmp_path, identity=3)


def test_heldout_split_keeps_copies_together() -> None:
    given = sequences() * 3
    training, heldout = split_heldout(given, 0.2, seed=3)
    assert len(training) + len(heldout) == 300
    assert 20 < len(heldout) < 110
    assert not {ids.tobytes() for ids, _ in training} & {ids.tobytes() for ids, _ in heldout}
    assert [len(part) for part in split_heldout(given, 0.0)] == [300, 0]


def test_pair_sequences_by_hand() -> None:
    table = pa.Table.from_pylist(
        [
            {
                "pair_id": "a",
                "prompt_ids": [1, 2],
                "chosen_ids": [3, 4],
                "rejected_ids": [5],
                "prompt_content": [False, True],
                "chosen_content": [True, False],
                "rejected_content": [True],
            }
        ],
        schema=TOKENS,
    )
    (chosen, chosen_keep), (rejected, rejected_keep) = pair_sequences(table)
    assert (chosen.tolist(), chosen_keep.tolist()) == ([1, 2, 3, 4], [False, True, True, False])
    assert (rejected.tolist(), rejected_keep.tolist()) == ([1, 2, 5], [False, False, True])


def test_texts_are_cut_into_windows_without_special_tokens() -> None:
    class Tokenizer:
        all_special_ids = (0,)

        def __call__(self, text: str) -> dict[str, list[int]]:
            return {"input_ids": [0, *map(ord, text)]}

    found = text_sequences(["abcd", "e"], Tokenizer(), max_tokens=3)
    assert [ids.tolist() for ids, _ in found] == [[0, 97, 98], [99, 100], [0, 101]]
    assert [keep.tolist() for _, keep in found] == [[False, True, True], [True, True], [False, True]]
