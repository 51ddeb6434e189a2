"""A pasted text has the figures that the audit gave the same pair."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
from detector_examples import contrast

import pretilt
from pretilt.audit.evidence import scores_of
from pretilt.errors import UserError
from pretilt.events import Events
from pretilt.rollouts.pasted import PastedReader
from pretilt.run import Run
from pretilt.schema import CONCEPTS_FILE, GROUP_MEMBERS_FILE, PAIRS_FILE, PROMPT_CONCEPTS_FILE, PROMPT_MEMBERS_FILE
from pretilt.settings import settings_of


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, shared_run: pretilt.AuditResult) -> Run:
    path = Path(shutil.copytree(shared_run.path, tmp_path_factory.mktemp("pasted") / "run"))
    pretilt.detector(path, "thanks", contrast=contrast())
    return Run(path)


@pytest.fixture(scope="module")
def reader(run: Run) -> PastedReader:
    return PastedReader(run, Events())


def texts(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["prompt"][-1]["content"], row["chosen"][-1]["content"], row["rejected"][-1]["content"]


def test_a_pair_of_the_run_pasted_has_its_own_figures(run: Run, reader: PastedReader) -> None:
    """u of every concept, the group and the prompt concepts, of a dozen pairs, held-out ones among them."""
    pairs = run.table(PAIRS_FILE).to_pylist()
    table = run.table(CONCEPTS_FILE, ["concept_id", "pattern", "detector"])
    concepts = table.filter(pc.is_null(table["pattern"]))["concept_id"].to_pylist()
    assert table["detector"].null_count < len(table), "the run must hold a detector"
    scores = scores_of(run, settings_of(run), concepts, np.ones(len(pairs), bool))
    groups = run.table(GROUP_MEMBERS_FILE)["group_id"].to_pylist()
    members = {
        (row["prompt_concept_id"], row["pair_id"]): row["score"] for row in run.table(PROMPT_MEMBERS_FILE).to_pylist()
    }
    prompt_concepts = run.table(PROMPT_CONCEPTS_FILE)["prompt_concept_id"].to_pylist()
    differ = 0
    for i in range(0, len(pairs), max(1, len(pairs) // 12)):
        pasted = reader.read(*texts(pairs[i]))
        assert pasted.u == pytest.approx({c: u[i] for c, (u, _) in scores.items() if u[i]}, abs=1e-5), i
        assert (pasted.group_id or 0) == groups[i]
        stored = {k: members[k, pairs[i]["pair_id"]] for k in prompt_concepts if (k, pairs[i]["pair_id"]) in members}
        assert stored.items() <= pasted.prompt_concepts.items()  # ties at the cutoff may be more
        assert list(pasted.prompt_concepts.values()) == sorted(pasted.prompt_concepts.values(), reverse=True)
        differ += bool(pasted.u)
    assert differ >= 6


def test_turned_round_it_teaches_the_contrary_and_one_answer_shows_what_it_has(run: Run, reader: PastedReader) -> None:
    row = next(row for row in run.table(PAIRS_FILE).to_pylist() if reader.read(*texts(row)).u)
    prompt, chosen, rejected = texts(row)
    pair, turned = reader.read(prompt, chosen, rejected), reader.read(prompt, rejected, chosen)
    assert (
        turned.u == pytest.approx({concept: -u for concept, u in pair.u.items()}, abs=1e-5)
        and turned.group_id == pair.group_id
    )
    alone, other = reader.read(prompt, chosen, ""), reader.read(prompt, "", rejected)  # it shows, the other less
    assert alone.group_id is other.group_id is None and alone.prompt_concepts == pair.prompt_concepts
    assert alone.u and min(alone.u.values()) > 0 > max(other.u.values())
    prompt_alone = reader.read(prompt, "", "")
    assert not prompt_alone.u and prompt_alone.prompt_concepts == pair.prompt_concepts
    answer_alone = reader.read("", chosen, "")
    assert answer_alone.u and not answer_alone.prompt_concepts and answer_alone.group_id is None


def test_a_lens_that_did_not_read_the_pairs_is_refused(run: Run, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run.path, tmp_path / "run"))
    Run(other).record("measurement_id", "0" * 64)
    with pytest.raises(UserError, match="the lens is not the one that read the pairs"):
        PastedReader(Run(other), Events()).read("a", "b", "c")
