"""What the trainer is given: the same ids and batches as stock TRL on the raw rows, and an account of every row."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_lens import rows as planted_rows
from tiny_tokenizers import CHATML, LLAMA2, THINKING, ZEPHYR, byte_level, sentencepiece_like
from tiny_training import chats, long_prompt, write_model, write_run

from pretilt.errors import UserError
from pretilt.events import Events
from pretilt.pairs.pair import Message, Pair, assign_pair_ids
from pretilt.pairs.read import read_pairs
from pretilt.pairs.shuffle import swapped
from pretilt.pairs.tables import pairs_from_table
from pretilt.run import Run
from pretilt.train.dataset import account, preference_dataset, training_pairs
from pretilt.train.settings import TrainSettings

CALL = [{"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": None, "c": 0.5}}}]
TOOLS = json.dumps([{"type": "function", "function": {"name": "add", "parameters": {"a": {"type": "integer"}}}}])


def stock(raw: Sequence[dict[str, Any]], model: Path, tokenizer: Any, out: Path, max_length: int) -> Any:
    """A DPOTrainer as a user of TRL writes it, without a line of ours."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    args = DPOConfig(str(out), max_length=max_length, bf16=False, report_to="none", seed=0, save_strategy="no")
    made = Dataset.from_list(list(raw))
    return DPOTrainer(model=str(model), args=args, train_dataset=made, processing_class=tokenizer)


def ours(run: Run, model: Path, tokenizer: Any, out: Path, max_length: int) -> Any:
    from pretilt.train.trainer import build

    settings = TrainSettings.load(model=model)
    args = settings.dpo_config(out, max_length)
    return build(str(model), tokenizer, training_pairs(run), args, settings, Events())


def run_of(folder: Path, raw: Sequence[dict[str, Any]], tokenizer: Any, max_length: int) -> Run:
    """What `audit` leaves of these rows, through the reader."""
    read = read_pairs(list(raw), tokenizer, max_length=max_length, holdout=0.2)
    run = Run(folder)
    with run.stage("pairs", version=1, config={"max_length": max_length, "seed": 0}) as stage:
        stage.write("pairs.parquet", read.pairs)
        stage.write("tokens.parquet", read.tokens)
    return run


def plain_rows() -> list[dict[str, Any]]:
    words = ["Paris", "the lazy dog", "你好", "42", "", "brown fox jumps over the question"]
    made = [
        {"prompt": f"The capital number {i} of {word} is", "chosen": f" {word} {i}.", "rejected": f" not {i} {word}"}
        for i, word in enumerate(words * 5)
    ]
    return [*made, {"prompt": "[1, 2]", "chosen": '{"a": 1}', "rejected": "true"}]  # text that is JSON stays text


ROWS: dict[str, tuple[Callable[[], Any], list[dict[str, Any]]]] = {
    "chatml": (lambda: byte_level(CHATML), planted_rows(40)),
    "llama-2, BOS": (lambda: sentencepiece_like(LLAMA2), planted_rows(40, seed=1)),
    "zephyr, BOS": (lambda: byte_level(ZEPHYR, bos=True), planted_rows(40, seed=2)),
    "plain strings": (lambda: byte_level(None), plain_rows()),
    "plain strings, BOS": (lambda: byte_level(None, bos=True), plain_rows()),
}


@pytest.mark.parametrize("kind", ROWS)
def test_batches_are_those_of_stock_trl_on_the_raw_rows(kind: str, tmp_path: Path) -> None:
    tokenizer, raw = ROWS[kind][0](), ROWS[kind][1]
    whole = read_pairs(list(raw), tokenizer, max_length=None).tokens.to_pylist()
    lengths = [len(row["prompt_ids"]) + len(row[f"{s}_ids"]) for row in whole for s in ("chosen", "rejected")]
    max_length = int(np.quantile(lengths, 0.6))  # cuts the longer responses
    model = write_model(tmp_path / "model", tokenizer)
    run = run_of(tmp_path / "run", raw, tokenizer, max_length)
    table = run.table("pairs.parquet", ["row_index", "split"])
    kept = [
        i
        for i, split in zip(*(table[c].to_pylist() for c in ("row_index", "split")), strict=True)
        if split != "heldout"
    ]
    assert 10 < len(kept) < len(raw)  # some are held out
    theirs = stock([raw[i] for i in kept], model, tokenizer, tmp_path / "a", max_length)
    mine = ours(run, model, tokenizer, tmp_path / "b", max_length)
    for name in ("prompt_ids", "chosen_ids", "rejected_ids"):
        assert list(mine.train_dataset[name]) == list(theirs.train_dataset[name])
    n_batches = 0
    for batch, other in zip(mine.get_train_dataloader(), theirs.get_train_dataloader(), strict=True):
        assert batch.keys() == other.keys()
        assert all(torch.equal(batch[name], other[name]) for name in batch)
        n_batches += 1
        if n_batches == 1:
            with torch.no_grad():
                loss = mine.compute_loss(mine.model, batch)
                assert abs(float(loss - theirs.compute_loss(theirs.model, other))) < 1e-6
    assert n_batches == -(-len(kept) // 8)
    tokens = run.table("tokens.parquet").to_pylist()
    for side in ("chosen", "rejected"):  # both are cut somewhere, and are then compared as far as the collator goes
        assert any(len(row["prompt_ids"]) + len(row[f"{side}_ids"]) == max_length for row in tokens)
    given = training_pairs(run).train["pair_id"]
    found = account(given, mine.train_dataset, run.table("tokens.parquet"), max_length, frozenset())
    assert (found.n_kept, found.dropped_ids, found.differing_ids) == (len(kept), (), ())


def test_tools_calls_and_template_arguments_arrive_unchanged(tmp_path: Path) -> None:
    """Arrow's own structs would give every message `tool_calls: null` and every call the keys of all others."""
    asked = (Message("user", "add one"),)
    called = json.dumps({"tool_calls": CALL})
    other = json.dumps({"tool_calls": [{"function": {"name": "sub", "arguments": {"z": "text"}}}]})
    pairs = [
        Pair(0, asked, (Message("assistant", "", called),), (Message("assistant", "no"),), tools=TOOLS),
        Pair(1, asked, (Message("assistant", "two"),), (Message("assistant", "", other),)),
        Pair(2, asked, (Message("assistant", "four"),), (Message("assistant", "five"),), tools=TOOLS),
    ]  # fmt: skip
    tokenizer = byte_level(CHATML)
    run = write_run(tmp_path / "run", assign_pair_ids(pairs), tokenizer, max_length=200, n_heldout=0)
    check_ids(run, tokenizer, 200, tmp_path)
    made = training_pairs(run).train
    assert made[0]["chosen"] == [{"role": "assistant", "content": "", "tool_calls": CALL}]
    assert made[1]["chosen"] == [{"role": "assistant", "content": "two"}]
    assert made["tools"] == [TOOLS, None, TOOLS]


def test_template_arguments_of_some_pairs_only(tmp_path: Path) -> None:
    tokenizer = byte_level(THINKING, bos=True)
    pairs = [replace(p, template_kwargs='{"quiet":true}') if i % 2 else p for i, p in enumerate(chats(8))]
    run = write_run(tmp_path / "run", assign_pair_ids(pairs), tokenizer, max_length=200, n_heldout=2)
    check_ids(run, tokenizer, 200, tmp_path)


def check_ids(run: Run, tokenizer: Any, max_length: int, folder: Path) -> None:
    """The trainer prepares the very ids of tokens.parquet, which test_chat.py holds to the trainer on raw rows."""
    trainer = ours(run, write_model(folder / "model", tokenizer), tokenizer, folder / "out", max_length)
    tokens = run.table("tokens.parquet")
    found = account(training_pairs(run).train["pair_id"], trainer.train_dataset, tokens, max_length, frozenset())
    assert found.n_kept == found.n_given > 0
    assert found.differing_ids == ()


def test_every_row_is_trained_on_or_named(tmp_path: Path) -> None:
    tokenizer = byte_level()
    pairs = chats(12)
    pairs[3] = long_prompt(pairs[3])
    same = replace(pairs[5], rejected=(Message("assistant", pairs[5].chosen[0].content),))
    pairs[5] = same
    run = write_run(tmp_path / "run", pairs, tokenizer, max_length=64, n_heldout=2)
    trainer = ours(run, write_model(tmp_path / "model"), tokenizer, tmp_path / "out", 64)
    tokens = run.table("tokens.parquet")
    given = [p.pair_id for p in pairs[:10]]
    found = account(given, trainer.train_dataset, tokens, 64, frozenset())
    assert (found.n_given, found.n_kept) == (10, 9)
    assert found.dropped_ids == (pairs[3].pair_id,)
    assert found.equal_ids == (same.pair_id,)
    assert found.differing_ids == ()
    # Cut at 30 instead of 64 tokens, the longer responses are no longer what the audit read.
    n_ids = [sum(len(r[f"{s}_ids"]) for s in ("prompt", "chosen")) for r in tokens.to_pylist()[:10]]
    assert max(n_ids) > 30
    assert account(given, trainer.train_dataset, tokens, 30, frozenset()).differing_ids
    # And a swap that was not made is seen as a difference, pair by pair.
    claimed = frozenset({pairs[0].pair_id, same.pair_id})
    assert account(given, trainer.train_dataset, tokens, 64, claimed).differing_ids == (pairs[0].pair_id,)


def test_another_tokenizer_is_noticed(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", chats(8), byte_level(CHATML), n_heldout=0)
    trainer = ours(run, write_model(tmp_path / "model"), byte_level(ZEPHYR), tmp_path / "out", 64)
    found = account(training_pairs(run).train["pair_id"], trainer.train_dataset, run.table("tokens.parquet"), 64, ())
    assert len(found.differing_ids) == 8


def test_shuffled_labels_are_the_audits_own_coins_and_whole_families(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", chats(40), n_heldout=6)
    table = run.table("pairs.parquet")
    pairs = pairs_from_table(table)
    coins = swapped(table["family_id"].to_numpy(), 3)
    made = training_pairs(run, label_seed=3)
    assert made.swapped_ids == {p.pair_id for p, coin in zip(pairs, coins, strict=True) if coin}
    assert 0 < len(made.swapped_ids) < 40
    plain = training_pairs(run)
    assert (len(plain.train), len(plain.heldout or []), plain.swapped_ids) == (34, 6, frozenset())
    for row, original, coin in zip(made.train, plain.train, coins[:34], strict=True):
        assert row["pair_id"] == original["pair_id"]
        assert row["prompt"] == original["prompt"]
        there = ("rejected", "chosen") if coin else ("chosen", "rejected")
        assert (row["chosen"], row["rejected"]) == (original[there[0]], original[there[1]])
    assert (coins[0:34:2] == coins[1:34:2]).all()  # two pairs of a family change places together


def test_what_cannot_be_handed_over_is_one_error(tmp_path: Path) -> None:
    huge = json.dumps({"tool_calls": [{"function": {"name": "f", "arguments": {"n": 2**70}}}]})
    asked = (Message("user", "add"),)
    pair = Pair(17, asked, (Message("assistant", "", huge),), (Message("assistant", "no"),))
    with pytest.raises(UserError, match=r"row 17.*64 bits"):
        preference_dataset([pair])
    mixed = [Pair(0, asked, asked, asked, is_chat=True), Pair(1, asked, asked, asked, is_chat=False)]
    with pytest.raises(UserError, match="conversations and some are plain strings"):
        preference_dataset(mixed)
    run = write_run(tmp_path / "run", chats(4), n_heldout=4)
    with pytest.raises(UserError, match="all of its 4 pairs are held out"):
        training_pairs(run)
    with pytest.raises(UserError, match="no run folder"):
        training_pairs(Run(tmp_path / "nowhere"))
