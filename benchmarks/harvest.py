"""How fast is the harvest? Against the bare forward pass to the lens layer, and against reading every prompt twice.

In one process, alternating shard by shard: (a) the bare early-exit forward over the harvest's own batches, inputs
prepared beforehand; (b) the harvest, with encoding, pooling and writing; (c) the same measurement with prompt +
response read twice, in batches of the same token budget, by length as ours are. Ratios are medians over shards and
repetitions; CPU time is given beside the clock's, because it holds on a shared machine. Prints JSON.

    python benchmarks/harvest.py --pairs RUN [--model MODEL --layer L --dictionary FOLDER]
    python benchmarks/harvest.py --pairs RUN --batch-tokens 1024 4096 --store     # the table of docs/results/speed.md
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from stored import store

from pretilt.lens.dictionary import Dictionary
from pretilt.lens.harvest import harvest
from pretilt.lens.lens import Lens
from pretilt.lens.load import load_dictionary
from pretilt.lens.measure import content_activations, measure
from pretilt.lens.packing import Rows, plan, tree_inputs
from pretilt.lens.store import PARTS
from pretilt.models.bundled import BUNDLED_DICTIONARY, bundled_model
from pretilt.models.load import load_tokenizer
from pretilt.models.subject import SubjectModel, load_model
from pretilt.pairs.read import read_pairs
from pretilt.run import Shards


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="Hub id or folder (default: the bundled one)")
    parser.add_argument(
        "--layer", type=int, default=15, help="decoder block whose output is read (default: %(default)s)"
    )
    parser.add_argument("--dictionary", help="folder, or random:FEATURES:L0 (default: the bundled one)")
    parser.add_argument(
        "--pairs", type=Path, required=True, help="run folder, its tokens.parquet, or a preference dataset"
    )
    parser.add_argument("--limit", type=int, help="a random sample of so many pairs")
    parser.add_argument("--repeat", type=int, default=3, help="repetitions (default: %(default)s)")
    parser.add_argument("--batch-tokens", type=int, nargs="+", default=[1024], help="token budgets (default: 1024)")
    parser.add_argument("--store", action="store_true", help="keep the table for the documentation")
    parser.add_argument("--pairs-per-shard", type=int, default=256, help="(default: %(default)s)")
    parser.add_argument("--threads", type=int, help="torch threads (default: torch's own choice)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    return parser.parse_args()


def random_dictionary(model: SubjectModel, layer: int, tokens: pa.Table, n_features: int, l0: float) -> Dictionary:
    """Random directions, each firing on the share l0 / n_features of a sample's tokens."""
    empty = Dictionary(
        "relu",
        W_enc=torch.zeros(model.d_model, 1),
        b_enc=torch.zeros(1),
        W_dec=torch.zeros(1, model.d_model),
        b_dec=torch.zeros(model.d_model),
    ).to(model.device)
    sample = Rows.from_table(tokens.slice(0, 24))
    x = torch.cat([x for _, x in content_activations(Lens(model, layer, empty), sample, 2048)])
    directions = torch.randn(model.d_model, n_features, generator=torch.Generator().manual_seed(0)).to(x.device)
    directions /= directions.norm(dim=0)
    projected = (x - x.mean(0)) @ directions
    threshold = projected.topk(max(1, round(len(x) * l0 / n_features)), dim=0).values[-1].clamp(min=0)
    return Dictionary(
        "jumprelu",
        W_enc=directions,
        b_enc=torch.zeros(n_features, device=x.device),
        W_dec=directions.T.contiguous(),
        b_dec=x.mean(0),
        threshold=threshold,
    )


def bare_forward(lens: Lens, rows: Rows, batch_tokens: int) -> tuple[float, float]:
    """(seconds, CPU seconds) within the forward passes alone."""
    model, wall, cpu = lens.model, 0.0, 0.0
    for batch in plan(rows, model, batch_tokens=batch_tokens, pack=lens.packs):
        input_ids = torch.from_numpy(batch.input_ids).to(model.device)
        inputs: dict[str, torch.Tensor] = {}
        if batch.ends is not None:
            ends = torch.from_numpy(batch.ends).to(model.device)
            inputs["attention_mask"], inputs["position_ids"] = tree_inputs(ends, input_ids.shape[1], model.dtype)
        seconds = timed(partial(model.residual, lens.layer, input_ids, **inputs))
        wall, cpu = wall + seconds[0], cpu + seconds[1]
    return wall, cpu


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """(seconds, CPU seconds) of `work`, with everything the device still had to do."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu


def read_tokens(args: argparse.Namespace) -> pa.Table:
    """The TOKENS table of a run, of a Parquet file, or made of a preference dataset by the model's tokenizer."""
    if args.pairs.is_dir():
        return pq.read_table(args.pairs / "tokens.parquet")
    if args.pairs.suffix == ".parquet":
        return pq.read_table(args.pairs)
    return read_pairs(str(args.pairs), load_tokenizer(args.model), holdout=0).tokens


def main() -> None:
    args = parse()
    args.model = args.model or str(bundled_model())
    args.dictionary = args.dictionary or str(BUNDLED_DICTIONARY)
    if args.threads:
        torch.set_num_threads(args.threads)
    tokens = read_tokens(args)
    if args.limit and args.limit < len(tokens):
        tokens = tokens.take(pa.array(np.sort(np.random.default_rng(0).permutation(len(tokens))[: args.limit])))
    model = load_model(args.model, device=args.device, dtype=args.dtype, layer=args.layer)
    if args.dictionary.startswith("random:"):
        n_features, l0 = args.dictionary.split(":")[1:]
        dictionary = random_dictionary(model, args.layer, tokens, int(n_features), float(l0))
    else:
        dictionary = load_dictionary(args.dictionary, device=args.device)
    lens = Lens(model, args.layer, dictionary)
    lens.packs, measure(lens, Rows.from_table(tokens.slice(0, 4)))  # warm up
    reports = [compare(args, lens, tokens, batch_tokens) for batch_tokens in args.batch_tokens]
    for report in reports:
        print(json.dumps(report, indent=2))
    if args.store:
        store("speed", "harvest", *table_of(reports))


def compare(args: argparse.Namespace, lens: Lens, tokens: pa.Table, batch_tokens: int) -> dict[str, Any]:
    """Bare forward, harvest and reading twice over all shards, `args.repeat` times, under one token budget."""
    seconds: dict[str, list[tuple[float, float]]] = {"bare": [], "harvest": [], "twice": []}
    disk = dict.fromkeys(PARTS, 0)
    n_tokens = n_twice = 0
    for repetition in range(args.repeat):
        for start in range(0, len(tokens), args.pairs_per_shard):
            part = tokens.slice(start, args.pairs_per_shard)
            rows = Rows.from_table(part)
            seconds["bare"].append(bare_forward(lens, rows, batch_tokens))
            with tempfile.TemporaryDirectory() as folder:
                out = Shards(Path(folder), "benchmark", PARTS)
                whole = {"pairs_per_shard": len(part), "batch_tokens": batch_tokens}
                seconds["harvest"].append(timed(partial(harvest, part, lens, out, **whole)))
                if repetition == 0:
                    for name in PARTS:
                        disk[name] += out.path(name, 0).stat().st_size
                    n_tokens += rows.n_tokens
                    n_twice += rows.n_tokens + sum(ids[0].size for ids in rows.ids)
            seconds["twice"].append(timed(partial(measure, lens, rows, pack=False, batch_tokens=batch_tokens)))
            print({name: [round(t, 2) for t in times[-1]] for name, times in seconds.items()}, file=sys.stderr)

    report: dict[str, Any] = {
        "device": args.device,
        "threads": torch.get_num_threads(),
        "batch_tokens": batch_tokens,
        "packed": lens.packs,
        "n_pairs": len(tokens),
        "n_tokens": n_tokens,
        "tokens_read_twice_over_once": round(n_twice / n_tokens, 3),
    }
    for clock, which in (("wall", 0), ("cpu", 1)):
        spent = {name: sum(t[which] for t in times) / args.repeat for name, times in seconds.items()}
        share = [b[which] / h[which] for b, h in zip(seconds["bare"], seconds["harvest"], strict=True)]
        gain = [t[which] / h[which] for t, h in zip(seconds["twice"], seconds["harvest"], strict=True)]
        report[clock] = {
            "bare_tokens_per_second": round(n_tokens / spent["bare"], 1),
            "harvest_tokens_per_second": round(n_tokens / spent["harvest"], 1),
            "harvest_over_bare": round(median(share), 4),
            "harvest_pairs_per_second": round(len(tokens) / spent["harvest"], 3),
            "twice_pairs_per_second": round(len(tokens) / spent["twice"], 3),
            "harvest_over_twice": round(median(gain), 3),
        }
    report["peak_memory_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    report["disk_bytes"] = {**disk, "total": sum(disk.values())}
    return report


def table_of(reports: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the documentation's table: two columns, clock and CPU time, for every token budget."""
    head, columns = [""], []
    for report in reports:
        head += [f"{report['batch_tokens']:,}, by the clock", "by CPU time"]
        columns += [report["wall"], report["cpu"]]
    rows = {
        "bare forward to the layer, tokens per second": ("bare_tokens_per_second", ",.0f"),
        "harvest (encoding, pooling, writing as well)": ("harvest_tokens_per_second", ",.0f"),
        "harvest / bare (goal 0.90)": ("harvest_over_bare", ".2f"),
        "harvest / prompt + response read twice, pairs per second (goal 1.4)": ("harvest_over_twice", ".2f"),
    }
    return head, [[title, *(format(column[key], form) for column in columns)] for title, (key, form) in rows.items()]


if __name__ == "__main__":
    main()
