"""The harvest: resumable at any moment, the same bytes each time, errors that name the pair."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from children import Child
from tiny_models import VOCAB, lens, rows, some_sizes, tokens_table

from pretilt.errors import UserError
from pretilt.lens.harvest import harvest, n_shards
from pretilt.lens.store import PARTS
from pretilt.run import Shards, file_hash

N_PAIRS, PER_SHARD = 30, 4

# Stops for ever once it has written the file that is named, so that the parent can kill it at exactly that moment.
CHILD = """
import os, sys, time
from pathlib import Path
import pyarrow.parquet as pq
import pretilt.run
from tiny_models import lens, rows, some_sizes, tokens_table
from pretilt.lens.harvest import harvest
from pretilt.lens.store import PARTS

def stopping(write):
    def write_and_stop(*args, **settings):
        write(*args, **settings)
        names = [a.name.replace(f".{os.getpid()}.partial", ".partial") for a in args if isinstance(a, Path)]
        if sys.argv[2] in names:
            print("stopped", flush=True)
            time.sleep(3600)
    return write_and_stop
pq.write_table = stopping(pq.write_table)  # writes the .partial file
pretilt.run.write_table = stopping(pretilt.run.write_table)
shards = pretilt.run.Shards(Path(sys.argv[1]), "key", PARTS)
harvest(tokens_table(rows(some_sizes(30))), lens(), shards, pairs_per_shard=4, batch_tokens=128)
"""


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: file_hash(path) for path in sorted(folder.iterdir())}


def run_harvest(folder: Path, **settings: object) -> tuple[Shards, list[tuple[int, int]]]:
    shards = Shards(folder, "key", PARTS)
    shards.discard_others()
    seen: list[tuple[int, int]] = []
    harvest(
        tokens_table(rows(some_sizes(N_PAIRS))),
        lens(),
        shards,
        pairs_per_shard=PER_SHARD,
        batch_tokens=128,
        progress=lambda done, total: seen.append((done, total)),
    )
    return shards, seen


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("undisturbed") / "features"
    run_harvest(folder)
    return hashes(folder)


def test_killed_harvests_end_with_the_same_bytes(tmp_path: Path, undisturbed: dict[str, str]) -> None:
    moments = {"in a file": "rejected-00002.parquet.partial", "between two files": "chosen-00003.parquet"}
    children = {name: Child(CHILD, tmp_path / name, last) for name, last in moments.items()}
    for name, child in children.items():
        child.wait_for_line("stopped")
        child.kill()
        written = moments[name].replace(".partial", f".{child.pid}.partial")
        assert (tmp_path / name / written).exists()
    for name in moments:
        folder = tmp_path / name
        left = Shards(folder, "key", PARTS)
        whole = [number for number in range(n_shards(N_PAIRS, PER_SHARD)) if left.has(number)]
        assert whole == list(range(int(moments[name].split("-")[1][:5])))  # one shard is lost
        before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
        run_harvest(folder)
        assert hashes(folder) == undisturbed
        for number in whole:  # not measured again
            for part in PARTS:
                path = left.path(part, number)
                assert path.stat().st_mtime_ns == before[path.name]


def test_harvest_repeats_to_the_byte_and_resumes_damage(tmp_path: Path, undisturbed: dict[str, str]) -> None:
    shards, seen = run_harvest(tmp_path / "again")
    assert hashes(shards.folder) == undisturbed
    total = rows(some_sizes(N_PAIRS)).n_tokens
    assert seen[0] == (0, total)
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})

    shards.path("peaks", 3).unlink()
    cut = shards.path("prompt", 5)
    cut.write_bytes(cut.read_bytes()[:-40])
    lost = sum(
        rows(some_sizes(N_PAIRS)).ids[i][s].size for n in (3, 5) for i in range(n * 4, n * 4 + 4) for s in range(3)
    )
    _, seen = run_harvest(shards.folder)
    assert seen[0] == (total - lost, total)
    assert hashes(shards.folder) == undisturbed
    assert run_harvest(shards.folder)[1] == [(total, total)]


def test_report_counts_tokens(tmp_path: Path) -> None:
    pairs = rows(some_sizes(6))
    tokens, a_lens, shards = tokens_table(pairs), lens(), Shards(tmp_path, "key", PARTS)
    first = harvest(tokens, a_lens, shards, pairs_per_shard=4)
    assert (first.n_tokens, first.n_resumed, first.packed) == (pairs.n_tokens, 0, True)
    assert first.tokens_per_second == pytest.approx(pairs.n_tokens / first.seconds)
    again = harvest(tokens, a_lens, shards, pairs_per_shard=4)
    assert again.n_resumed == pairs.n_tokens
    assert np.isnan(again.tokens_per_second)


def test_error_names_the_pair(tmp_path: Path) -> None:
    pairs = rows(some_sizes(7))
    pairs.ids[5][1][0] = VOCAB + 2
    with pytest.raises(UserError, match=rf"token id {VOCAB + 2} is unknown to the model \(pair pair0005") as caught:
        harvest(tokens_table(pairs), lens(), Shards(tmp_path, "key", PARTS), pairs_per_shard=4)
    assert caught.value.row == 5
