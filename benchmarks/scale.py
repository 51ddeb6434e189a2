"""What the steps after the harvest take at the paper's size: seconds, CPU seconds, memory and bytes read, per step.

260,000 training pairs × 65,536 features (about 1,000 non-zeros per response, 600 per prompt), 814 concepts, 512
groups, 1,000 prompt and 1,000 response-shift concepts per statistic; --size scales the number of pairs. The run folder
is made up (scale_data.py), written before any clock starts and kept for the next time. Then, each in a process of its
own, with the files out of the page cache:

    shifts      prompt and response-shift concepts of both statistics: moments, sample, SVD, k-means
    statistics  groups, and every statistic of both views, to hypotheses.parquet
    graph       co-firing graph of 100,000 responses and its Leiden communities: mutual nearest neighbours
    paper-graph the same with the paper's threshold, the top 1 % of all pairs of features: 21 million edges
    naive       the paper's statistics of the groups, group by group with boolean masks, against the sums we use

Not in it: reading texts and naming (prompts here have eight words, and their naming is told apart). Prints a table and
JSON. `--size 1` needs 6 GB of disk.

    python benchmarks/scale.py [--size 0.1] [--out FOLDER]
    python benchmarks/scale.py --size 1 --store       # after one of --size 0.1: the table of docs/results/speed.md
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scale_data import Size, generate
from stored import store

from pretilt.audit import effects as statistics
from pretilt.concepts import shifts
from pretilt.concepts.cofiring import Graph, find_communities
from pretilt.concepts.names import ConceptName
from pretilt.concepts.prompt_scores import STATISTICS
from pretilt.concepts.step import default_resolution, fired_sample, membership, shift_tables
from pretilt.lens.blocks import Features, train_rows
from pretilt.run import Run
from pretilt.schema import FEATURES, SHIFT_SIGMA_FILE, SHIFTS_FILE
from pretilt.settings import AuditSettings
from pretilt.stats import hypotheses, view_statistics
from pretilt.stats.columns import ColumnBuilder
from pretilt.stats.contrast import contrasts
from pretilt.stats.disparity import disparity_block
from pretilt.stats.sets import Sets
from pretilt.stats.sums import cell_sums

SETTINGS = AuditSettings().resolved()
REPORT = "report.json"  # in the run's folder: what was measured
NAIVE_GROUPS = 16  # measured; the time of all groups follows, since every group takes the same


class Clock:
    """Seconds spent in some functions, and the most memory that the process held meanwhile.

    What one function spends inside another counts for the inner one; threads beside the first count for whoever waits.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.peak_mib: dict[str, int] = defaultdict(int)
        self._open: list[str] = []
        self._last = time.perf_counter()

    def switch(self, name: str | None) -> None:
        """Enter a part, or leave the one entered last."""
        part = self._open[-1] if self._open else "other"
        self.seconds[part] += time.perf_counter() - self._last
        self.peak_mib[part] = max(self.peak_mib[part], _peak_mib())
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        self._last = time.perf_counter()
        if name is None:
            self._open.pop()
        else:
            self._open.append(name)

    def watch(self, owner: Any, attribute: str, name: str) -> None:
        """Count every call of the function, and every step of it where it is a generator."""
        function = getattr(owner, attribute)

        def timed(*args: Any, **kwargs: Any) -> Any:
            if threading.current_thread() is not threading.main_thread():
                return function(*args, **kwargs)
            self.switch(name)
            try:
                result = function(*args, **kwargs)
            finally:
                self.switch(None)
            return self._steps(result, name) if isinstance(result, Iterator) else result

        setattr(owner, attribute, timed)

    def _steps(self, blocks: Iterator[Any], name: str) -> Iterator[Any]:
        while True:
            self.switch(name)
            try:
                block = next(blocks)
            except StopIteration:
                return
            finally:
                self.switch(None)
            yield block


def find_shifts(run: Run, clock: Clock) -> dict[str, Any]:
    clock.watch(Features, "_blocks", "read")
    clock.watch(shifts, "in_order", "moments")
    clock.watch(shifts, "_sample", "sample")
    clock.watch(shifts, "right_singular_vectors", "svd")
    features = Features(run, SETTINGS)
    found = shifts.find_shifts(partial(features.blocks, train_rows(run)), features.n_features, seed=SETTINGS.seed)
    with run.stage("shifts", version=1, config={}, reads=["pairs", FEATURES]) as stage:
        stage.done = False
        lists, sigma = shift_tables(found, lambda clusters: [ConceptName("", [])] * len(clusters))
        stage.write(SHIFTS_FILE, lists)
        stage.write(SHIFT_SIGMA_FILE, sigma)
    return {f"{q}_{name}": n for q in STATISTICS for name, n in found[q].summary.items() if "concepts" in name}


def all_statistics(run: Run, clock: Clock) -> dict[str, Any]:
    clock.watch(Features, "_blocks", "read")
    clock.watch(statistics, "in_order", "scores")
    clock.watch(statistics, "fit_groups", "fit_groups")
    for name in ("add", "finish"):
        clock.watch(statistics.Selection, name, "select")
    for name in ("name_groups", "name_sets"):
        clock.watch(statistics, name, "names")
    for name in ("cell_sums", "moderate", "fit_mixture", "sign_flip_p", "cross_fitted", "contrasts"):
        clock.watch(view_statistics, name, name)
    for name in ("bootstrap_deltas", "rank_stability", "_ranks", "_table"):
        clock.watch(hypotheses, name, name.strip("_"))
    clock.watch(view_statistics.Mixture, "posterior", "posterior")
    clock.watch(view_statistics.Mixture, "interval", "interval")
    run.manifest["stages"].pop("audit", None)
    statistics.statistics_stage(run, SETTINGS, version=1)
    return {"groups": len(run.table("groups.parquet")) - 1, **run.json("statistics.json")["n_tested"]}


def graph(run: Run, clock: Clock, kind: Graph = "mutual-knn") -> dict[str, Any]:
    clock.watch(Features, "_blocks", "read")
    from pretilt.concepts import cofiring

    for name in ("nearest_pairs", "top_pairs", "_leiden"):
        clock.watch(cofiring, name, name.strip("_"))
    fired, active = fired_sample(Features(run, SETTINGS), train_rows(run), SETTINGS.seed)
    resolution = 1.0 if kind == "paper" else default_resolution(int((active > 0).sum()))
    report = find_communities(fired, graph=kind, resolution=resolution, seed=SETTINGS.seed).report()
    wanted = ("n_samples", "n_features_in_graph", "n_edges", "n_communities", "community_size_median")
    return {"non_zeros": int(fired.nnz), **{name: report[name] for name in wanted}}


def naive(run: Run, clock: Clock) -> dict[str, Any]:
    concepts, train = membership(run)[1], train_rows(run)
    builder = ColumnBuilder(len(concepts), np.int16)
    for block in Features(run, SETTINGS).blocks(train, prompts=False):
        builder.add(disparity_block(block.chosen, block.rejected, concepts, forms=("paper",)).numerators["paper"])
    columns = builder.finish(concepts.size.astype(np.float64))
    family = run.table("pairs.parquet", ["family_id"])["family_id"].to_numpy()[train]
    group_id = run.table("group_members.parquet", ["group_id"])["group_id"].to_numpy()[train]
    clock.switch("ours")
    ours = contrasts(cell_sums(columns, Sets.groups(group_id, family)))
    clock.switch(None)
    u = (columns.dense(slice(None), np.float32) / columns.scale).astype(np.float32)
    some = np.linspace(0, ours.where.size - 1, min(NAIVE_GROUPS, ours.where.size)).astype(int)
    clock.switch("naive")
    found = [masked(u, group_id, group) for group in ours.where[some]]
    clock.switch(None)
    for mine, name in enumerate(("delta", "z", "cohens_d")):
        np.testing.assert_allclose([f[mine] for f in found], getattr(ours, name)[some], rtol=2e-3, atol=1e-4)
    whole = clock.seconds["naive"] * ours.where.size / some.size
    return {"groups": ours.where.size, "measured": some.size, "naive_seconds_for_all_groups": round(whole, 1),
            "naive_over_ours": round(whole / clock.seconds["ours"], 1)}  # fmt: skip


def masked(u: np.ndarray, group_id: np.ndarray, group: int) -> tuple[np.ndarray, ...]:
    """delta, z and d of one group against the rest, as one writes it down first."""
    inside, outside = u[group_id == group], u[(group_id != group) & (group_id != 0)]
    n, m = len(inside), len(outside)
    delta = inside.mean(axis=0, dtype=float) - outside.mean(axis=0, dtype=float)
    a, b = (x.var(axis=0, ddof=1, dtype=float) for x in (inside, outside))
    with np.errstate(invalid="ignore", divide="ignore"):
        return delta, delta / np.sqrt(a / n + b / m), delta / np.sqrt(((n - 1) * a + (m - 1) * b) / (n + m - 2))


STAGES: dict[str, Callable[[Run, Clock], dict[str, Any]]] = {
    "shifts": find_shifts,
    "statistics": all_statistics,
    "graph": graph,
    "paper-graph": partial(graph, kind="paper"),
    "naive": naive,
}


def measure(name: str, folder: Path) -> dict[str, Any]:
    """Run one step in this process."""
    before, start, clock = _read_bytes(), time.perf_counter(), Clock()
    found = STAGES[name](Run(folder), clock)
    clock.switch("other")
    seconds, cpu = time.perf_counter() - start, time.process_time()
    parts = sorted(clock.seconds, key=lambda part: -clock.seconds[part])
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "peak_mib": max(clock.peak_mib.values()),
        "read_mb": (_read_bytes() - before) // 10**6,
        "parts": {p: [round(clock.seconds[p], 1), clock.peak_mib[p]] for p in parts if clock.seconds[p] > 0.05},
        "found": found,
    }


def _peak_mib() -> int:
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024


def _read_bytes() -> int:
    """What read calls gave this process, from the disk or from the page cache."""
    return int(Path("/proc/self/io").read_text().split("rchar: ")[1].split()[0])


def _forget(folder: Path) -> None:
    """Take the run's files out of the page cache."""
    for path in folder.rglob("*.parquet"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=float, default=0.1, help="share of the paper's pairs (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="where the run folder is kept (default: runs/scale-SIZE)")
    usual = [name for name in STAGES if name != "paper-graph"]
    parser.add_argument("--only", nargs="+", choices=STAGES, default=usual, help="steps (default: all but paper-graph)")
    parser.add_argument("--store", action="store_true", help="keep the table for the documentation; with --size 1")
    parser.add_argument("--here", choices=STAGES, help="one step in this process, without a table; to profile it")
    args = parser.parse_args()
    size = Size(n_pairs=round(Size.n_pairs * args.size))
    folder = args.out or Path("runs") / f"scale-{args.size:g}"
    if args.store and not ((args.out or Path("runs/scale-1")).with_name("scale-0.1") / REPORT).exists():
        parser.error("--store needs a finished run of --size 0.1 beside this one")
    if args.here:
        print(json.dumps(measure(args.here, folder)))
        return
    start = time.perf_counter()
    run = generate(folder, size)
    report: dict[str, Any] = {
        "pairs": size.n_pairs,
        "features": size.n_features,
        "disk_gb": round(sum(p.stat().st_size for p in (folder / FEATURES).iterdir()) / 1e9, 2),
        "generation_seconds": round(time.perf_counter() - start, 1),
        "cores": len(os.sched_getaffinity(0)),
    }
    del run
    print(f"{'step':21} {'seconds':>9} {'CPU s':>9} {'peak MiB':>9} {'read MB':>9}")
    for name in args.only:
        _forget(folder)
        command = [sys.executable, __file__, "--here", name, "--out", str(folder)]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        report[name] = one = json.loads(told.stdout)
        print(f"{name:21} {one['seconds']:9} {one['cpu_seconds']:9} {one['peak_mib']:9} {one['read_mb']:9}")
        for part, (seconds, peak) in one["parts"].items():
            print(f"  {part:19} {seconds:9} {'':9} {peak:9}", flush=True)
    print(json.dumps(report, indent=2))
    (folder / REPORT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if args.store:
        tenth = folder.with_name("scale-0.1") / REPORT
        store("speed", "scale", *table_of(report, json.loads(tenth.read_text(encoding="utf-8"))))


def table_of(whole: dict[str, Any], tenth: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the documentation's table, from the reports of both sizes, which must hold the three steps."""
    head = ["step", "seconds", "CPU seconds", "peak MiB", "a tenth of the pairs: seconds, CPU seconds, peak MiB"]

    def cells(report: dict[str, Any], steps: tuple[str, ...]) -> tuple[str, str, str]:
        parts = [report[step] for step in steps]
        return (f"{sum(part['seconds'] for part in parts):,.0f}", f"{sum(part['cpu_seconds'] for part in parts):,.0f}",
                f"{max(part['peak_mib'] for part in parts):,}")  # fmt: skip

    steps = {
        "prompt and response-shift concepts, both statistics": ("shifts",),
        "groups, all statistics of four views, to the tables": ("statistics",),
        "together (goal 900 s, 8 GB)": ("shifts", "statistics"),
    }
    rows = [[title, *cells(whole, names), ", ".join(cells(tenth, names))] for title, names in steps.items()]
    for title, part in (
        ("the paper's statistics of the groups alone: sums per cell", "ours"),
        ("the same, group by group with boolean masks on dense scores", "naive"),
    ):
        figures = [_naive_cells(report["naive"], part) for report in (whole, tenth)]
        rows.append([title, figures[0][0], "", figures[0][1], ", , ".join(figures[1])])
    return head, rows


def _naive_cells(report: dict[str, Any], part: str) -> tuple[str, str]:
    """Seconds and peak MiB of one of the two ways; of the masks those of all groups, with what was measured."""
    seconds, peak_mib = report["parts"][part]
    if part == "ours":
        return f"{seconds:.1f}", f"{peak_mib:,}"
    groups = report["found"]
    whole = f"{groups['naive_seconds_for_all_groups']:,.0f}"
    return f"{whole} ({groups['measured']} groups measured: {seconds:.1f})", f"{peak_mib:,}"


if __name__ == "__main__":
    main()
