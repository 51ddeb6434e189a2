"""Is pretilt's own trainer of BatchTopK dictionaries as good as SAELens', and as fast?

Both train on the same activations in the same order (checked by a hash of the order), with the same number of tokens,
steps and tokens per step, k, width, scale of the input, learning-rate schedule and window after which a feature counts
as dead; initial weights, loss, gradient clipping and the update of the threshold are each trainer's own, but that
"sae-lens-centred" starts SAELens' decoder bias where pretilt's starts, at the geometric median. Prompts are
held out with all their answers, in two halves: the learning rate is chosen among the same three for both on the first,
everything is reported on the second. Every training runs in a process of its own, one after another.

    python benchmarks/dictionary.py --out runs/dictionary            # the bundled model; 20 minutes on two cores
    python benchmarks/dictionary.py --out runs/dictionary --store    # and into the documentation

Interrupted, it goes on with the next training; other options need another folder.

Explained variance is given twice: with the threshold that the training left, whose L0 is not exactly k, and with the
one threshold at which the same dictionary has L0 = k on the training tokens. The learning rate is chosen by the latter.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stored import store
from torch import Tensor

from pretilt.lens.activations import Activations, CachedActivations, cache_activations
from pretilt.lens.corpus import TokenSequence, pair_sequences
from pretilt.lens.dictionary import Dictionary
from pretilt.lens.fidelity import fidelity
from pretilt.lens.fit_step import residual_reader
from pretilt.lens.load import load_dictionary
from pretilt.lens.trainer import Trainer, TrainerSettings
from pretilt.models.bundled import bundled_model
from pretilt.models.subject import load_model
from pretilt.pairs.read import read_pairs

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src/pretilt/demo/data/demo-a.jsonl.gz"
LAYER = 15
LEARNING_RATES = (2e-3, 6e-3, 1.8e-2)
TRAINERS = ("pretilt", "sae-lens", "sae-lens-centred")
PARTS = ("training", "choosing", "reporting")


class InOrder:
    """Activations that hash the indices of every batch, so that two trainings can be shown to read the same order."""

    def __init__(self, data: Activations) -> None:
        self._data = data
        self.n_tokens, self.d_model = data.n_tokens, data.d_model
        self.fingerprint, self.norms = data.fingerprint, data.norms
        self.order = hashlib.sha256()

    def take(self, index: np.ndarray) -> Tensor:
        self.order.update(np.ascontiguousarray(index, dtype=np.int64).tobytes())
        return self._data.take(index)


def split(tokenizer: Any, wanted_tokens: dict[str, int]) -> dict[str, list[TokenSequence]]:
    """The shortest sequences of set A by part, up to so many content tokens each, a prompt with all its answers in one.

    The shortest, since reading is what takes long on two cores: they need the least padding and the fewest prompts.
    """
    parts: dict[str, list[TokenSequence]] = {name: [] for name in PARTS}
    tokens = read_pairs(str(SOURCE), tokenizer, holdout=0).tokens
    prompts = [np.array(ids, dtype=np.int32).tobytes() for ids in tokens["prompt_ids"].to_pylist()]
    for number, sequence in enumerate(pair_sequences(tokens)):
        place = hashlib.sha256(prompts[number // 2]).digest()[0]  # of 256: 204 train, 26 choose, 26 report
        parts["training" if place < 204 else "choosing" if place < 230 else "reporting"].append(sequence)
    for name, sequences in parts.items():
        sequences.sort(key=lambda sequence: len(sequence[0]))
        n_before = np.cumsum([0, *(int(keep.sum()) for _, keep in sequences)])[:-1]
        parts[name] = sequences[: int((n_before < wanted_tokens[name]).sum())]
    return parts


def read_activations(out: Path, wanted_tokens: dict[str, int]) -> dict[str, CachedActivations]:
    """The three parts, read once by the bundled model and stored under `out`."""
    subject = load_model(str(bundled_model()), layer=LAYER)
    reader = residual_reader(subject, LAYER)

    def progress(done: int, total: int) -> None:
        print(f"{done:,} of {total:,} tokens read", file=sys.stderr, flush=True)

    return {
        name: cache_activations(
            sequences, reader, out / "activations" / name, identity={"model": subject.identity, "layer": LAYER},
            shard_tokens=8192, batch_tokens=1024, progress=progress,
        )
        for name, sequences in split(subject.tokenizer, wanted_tokens).items()
    }  # fmt: skip


def settings_of(arguments: argparse.Namespace) -> TrainerSettings:
    return TrainerSettings(
        n_features=arguments.features, k=arguments.k, epochs=arguments.epochs, batch_tokens=arguments.batch_tokens,
        lr=arguments.lr, seed=arguments.seed, dead_after_tokens=arguments.dead_after_tokens,
    )  # fmt: skip


def train_pretilt(data: Activations, inliers: np.ndarray, settings: TrainerSettings, out: Path) -> dict[str, Any]:
    """Train with `pretilt.lens.trainer`; the dictionary, the seconds of the steps, the hash of the order."""
    recorded = InOrder(data)
    warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
    trainer = Trainer(recorded, inliers, settings)
    recorded.order = hashlib.sha256()  # without the sample that the start is made from
    start, cpu_start = time.perf_counter(), time.process_time()
    while trainer.step < trainer.n_steps:
        trainer.advance()
    took = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu_start}
    return {"dictionary": trainer.dictionary({}), "order": recorded.order.hexdigest(), **took}


def train_sae_lens(
    data: Activations, inliers: np.ndarray, settings: TrainerSettings, out: Path, *, centred: bool = False
) -> dict[str, Any]:
    """The same with SAELens' trainer and its own defaults for what is not compared."""
    from sae_lens import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig, SAETrainer
    from sae_lens.config import LoggingConfig, SAETrainerConfig

    torch.manual_seed(settings.seed)
    steps_per_epoch = len(inliers) // settings.batch_tokens
    n_steps = settings.epochs * steps_per_epoch
    recorded = InOrder(data)

    def batches() -> Iterator[Tensor]:
        for epoch in range(settings.epochs):
            order = np.random.default_rng((settings.seed, epoch)).permutation(inliers)
            for place in range(steps_per_epoch):
                yield recorded.take(order[place * settings.batch_tokens : (place + 1) * settings.batch_tokens])

    sae = BatchTopKTrainingSAE(
        BatchTopKTrainingSAEConfig(
            d_in=data.d_model, d_sae=settings.n_features, k=settings.k, device="cpu",
            normalize_activations="expected_average_only_in",
        )
    )  # fmt: skip
    config = SAETrainerConfig(
        total_training_samples=n_steps * settings.batch_tokens, train_batch_size_samples=settings.batch_tokens,
        lr=settings.lr, lr_end=settings.lr / 10, device="cpu", logger=LoggingConfig(log_to_wandb=False),
        lr_warm_up_steps=round(settings.warmup_share * n_steps), lr_decay_steps=round(settings.decay_share * n_steps),
        dead_feature_window=settings.dead_after_tokens // settings.batch_tokens,
    )  # fmt: skip
    trainer = SAETrainer(config, sae, batches())
    if centred:
        with torch.no_grad():
            sae.b_dec.copy_(Trainer(data, inliers, settings).weights["b_dec"])
    # The scale of both: else SAELens would estimate its own from batches of the stream, and lose them for training.
    trainer.activation_scaler.scaling_factor = data.d_model**0.5 / float(np.mean(data.norms[inliers]))
    start, cpu_start = time.perf_counter(), time.process_time()
    trained = trainer.fit()
    took = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu_start}
    trained.save_inference_model(out)
    return {"dictionary": load_dictionary(out), "order": recorded.order.hexdigest(), **took}


def cut_at(dictionary: Dictionary, data: Activations, index: np.ndarray, k: int) -> Dictionary:
    """The same dictionary with the one threshold at which k features fire per token of a sample."""
    sample = data.take(index[np.linspace(0, len(index) - 1, min(len(index), 4096)).astype(np.int64)])
    h = replace_threshold(dictionary, 0.0).encode(sample)
    positive = h[h > 0].numpy()
    n = min(len(positive) - 1, k * len(sample))
    return replace_threshold(dictionary, float(np.partition(positive, len(positive) - n - 1)[len(positive) - n - 1]))


def replace_threshold(dictionary: Dictionary, threshold: float) -> Dictionary:
    weights = dictionary.tensors() | {"threshold": torch.full((dictionary.n_features,), threshold)}
    return Dictionary("jumprelu", **weights, subtract_b_dec=dictionary.subtract_b_dec)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """One training in this process, and the figures of its dictionary on every part."""
    torch.set_num_threads(arguments.threads)
    data = {name: activations_at(arguments.out, name) for name in PARTS}
    settings = settings_of(arguments)
    limit = settings.outlier_norm_ratio * float(np.mean(data["training"].norms, dtype=np.float64))
    index = {name: np.flatnonzero(part.norms <= limit) for name, part in data.items()}
    name = f"{arguments.here}-{settings.lr:g}-{settings.seed}"
    train = {
        "pretilt": train_pretilt,
        "sae-lens": train_sae_lens,
        "sae-lens-centred": partial(train_sae_lens, centred=True),
    }[arguments.here]
    # Warm: imports and the first products are not what is compared.
    warm = replace(settings, epochs=1, n_features=256)
    train(data["training"], index["training"][: 2 * settings.batch_tokens], warm, arguments.out / "warm")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = memory("VmRSS")
    trained = train(data["training"], index["training"], settings, arguments.out / name)
    peak = memory("VmHWM") - before

    n_tokens = settings.epochs * (len(index["training"]) // settings.batch_tokens) * settings.batch_tokens
    exact = cut_at(trained["dictionary"], data["training"], index["training"], settings.k)
    figures: dict[str, Any] = {
        "trainer": arguments.here, "lr": settings.lr, "seed": settings.seed, "order": trained["order"],
        "tokens": n_tokens, "steps": n_tokens // settings.batch_tokens, "peak_mib": peak,
        "seconds_per_100k": trained["seconds"] / n_tokens * 1e5,
        "cpu_seconds_per_100k": trained["cpu_seconds"] / n_tokens * 1e5,
        "distinct_tokens": len(index["training"]),
    }  # fmt: skip
    fired = fidelity(exact, batches_of(data["training"], index["training"]))
    figures["dead"] = fired.n_dead
    for part in ("choosing", "reporting"):
        for kind, dictionary in (("own", trained["dictionary"]), ("exact", exact)):
            judged = fidelity(dictionary, batches_of(data[part], index[part]))
            figures[part] = figures.get(part, {}) | {
                f"{kind}_explained": judged.explained_variance, f"{kind}_l0": judged.l0, "tokens": judged.n_tokens
            }  # fmt: skip
    return figures


def batches_of(data: Activations, index: np.ndarray) -> Iterator[Tensor]:
    for start in range(0, len(index), 2048):
        yield data.take(index[start : start + 2048])


def activations_at(out: Path, part: str) -> CachedActivations:
    """A part that `read_activations` left on disk."""
    (folder,) = (out / "activations" / part).iterdir()
    return CachedActivations(folder, len(list(folder.glob("*.sha256.json"))), folder.name)


def memory(name: str) -> int:
    """MiB of this process, as the kernel has them."""
    return int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0]) // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=90_000, help="distinct, to train on (default: %(default)s)")
    parser.add_argument("--heldout-tokens", type=int, default=9_000, help="in either half (default: %(default)s)")
    parser.add_argument(
        "--dead-after-tokens", type=int, default=20_000, help="without firing, in both (default: %(default)s)"
    )
    parser.add_argument("--features", type=int, default=2304, help="(default: %(default)s)")
    parser.add_argument("--k", type=int, default=32, help="(default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=2, help="(default: %(default)s)")
    parser.add_argument("--batch-tokens", type=int, default=512, help="tokens per step (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="torch threads (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs=2, default=[0, 1], help="the rate is chosen with the first")
    parser.add_argument("--store", action="store_true", help="into benchmarks/results, for the documentation")
    parser.add_argument("--here", choices=TRAINERS, help="one training in this process: with --lr and --seed")
    parser.add_argument("--lr", type=float, default=LEARNING_RATES[0])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.here:
        print(json.dumps(measure(arguments)))
        return

    torch.set_num_threads(arguments.threads)
    start = time.monotonic()
    heldout = arguments.heldout_tokens
    parts = read_activations(arguments.out, {"training": arguments.tokens, "choosing": heldout, "reporting": heldout})
    print(
        {name: part.n_tokens for name, part in parts.items()}, f"read in {time.monotonic() - start:.0f} s", flush=True
    )
    del parts

    def train(trainer: str, lr: float, seed: int) -> dict[str, Any]:
        passed = ("features", "k", "epochs", "batch_tokens", "dead_after_tokens", "threads", "out")
        command = [sys.executable, __file__, "--here", trainer, "--lr", str(lr), "--seed", str(seed)]
        for name in passed:
            command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
        done = arguments.out / "trainings" / f"{trainer}-{lr:g}-{seed}.json"
        if not done.exists():
            printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            done.parent.mkdir(exist_ok=True)
            done.write_text(printed.splitlines()[-1] + "\n", encoding="utf-8")
        print(done.read_text(encoding="utf-8").rstrip(), flush=True)
        figures: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
        return figures

    first, second = arguments.seeds
    trainings: list[dict[str, Any]] = []
    # They take turns, so that other work on the machine slows all of them.
    for lr in LEARNING_RATES:
        trainings += [train(trainer, lr, first) for trainer in TRAINERS]
    for trainer in TRAINERS:
        rates = [figures for figures in trainings if figures["trainer"] == trainer]
        best = max(rates, key=lambda figures: figures["choosing"]["exact_explained"])
        for figures in rates:
            figures["chosen"] = figures is best
        trainings.append({**train(trainer, best["lr"], second), "chosen": True})
    for seed in arguments.seeds:
        orders = {figures["order"] for figures in trainings if figures["seed"] == seed}
        if len(orders) != 1:
            raise AssertionError(f"the trainings of seed {seed} read their tokens in different orders")
    (arguments.out / "dictionary.json").write_text(json.dumps(trainings, indent=1) + "\n", encoding="utf-8")
    show(trainings, arguments.store)


def show(trainings: list[dict[str, Any]], keep: bool) -> None:
    """Both tables, printed; stored for the documentation if `keep`."""
    rates_head = ["trainer", *(f"{lr:g}" for lr in LEARNING_RATES)]
    rates = []
    for trainer in TRAINERS:
        runs = [f for f in trainings if f["trainer"] == trainer and f["seed"] == trainings[0]["seed"]]
        cells = [f"{f['choosing']['exact_explained']:.4f}" + (" (chosen)" if f["chosen"] else "") for f in runs]
        rates.append([trainer, *cells])
    head = ["trainer", "seed", "learning rate", "explained variance at L0 = k", "its L0 held out",
            "with the trained threshold", "its L0", "dead features", "seconds per 100,000 tokens", "CPU seconds",
            "peak memory of the training, MiB"]  # fmt: skip
    rows = [
        [f["trainer"], f["seed"], f"{f['lr']:g}", f"{f['reporting']['exact_explained']:.4f}",
         f"{f['reporting']['exact_l0']:.1f}", f"{f['reporting']['own_explained']:.4f}",
         f"{f['reporting']['own_l0']:.1f}", f"{f['dead']:,}", f"{f['seconds_per_100k']:.1f}",
         f"{f['cpu_seconds_per_100k']:.1f}", f"{f['peak_mib']:,}"]
        for trainer in TRAINERS for f in trainings if f["chosen"] and f["trainer"] == trainer
    ]  # fmt: skip
    for table, columns, lines in (("learning-rates", rates_head, rates), ("trainers", head, rows)):
        for line in (columns, *lines):
            print(" | ".join(str(cell) for cell in line))
        if keep:
            store("dictionary", table, columns, lines)


if __name__ == "__main__":
    main()
