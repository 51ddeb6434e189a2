"""The pairs of a run as the dataset that TRL's `DPOTrainer` reads, and an account of what the trainer made of them.

Messages, tools and template arguments go to the trainer as they are, and it applies the chat template itself. They are
stored as JSON, not as Arrow structs: Arrow would fill the keys that one message has and another lacks with nulls, which
templates print. `pair_id` rides along, so that rows which the trainer drops are named and its ids can be compared with
those that the audit read.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pretilt.errors import UserError
from pretilt.pairs.pair import Message, Pair, with_response
from pretilt.pairs.shuffle import swapped
from pretilt.pairs.tables import pairs_from_table
from pretilt.run import Run
from pretilt.schema import PAIRS_FILE, SPANS
from pretilt.train.actions import SIDES, Changes

if TYPE_CHECKING:
    from datasets import Dataset

_BLOCK = 1000  # prepared rows compared at a time


@dataclass(frozen=True)
class TrainingPairs:
    """What is trained on and what is held out, in the order of pairs.parquet; `heldout` is None where nothing is.

    `swapped_ids` are the pairs of either whose labels were exchanged, `family_id` maps every pair_id to its family.
    Under a plan `rewritten_ids` and `masked_ids` are pairs with another text and with tokens that leave the loss, and
    the training pairs have the columns of `shaped.py`; `instructions` are what the policy reads first, by the number of
    the pair and the side as it is trained on, and `instructed` those pairs.
    """

    train: Dataset
    heldout: Dataset | None
    swapped_ids: frozenset[str]
    family_id: Mapping[str, int]
    rewritten_ids: frozenset[str] = frozenset()
    masked_ids: frozenset[str] = frozenset()
    instructions: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    instructed: Mapping[int, Pair] = field(default_factory=dict)


@dataclass(frozen=True)
class Account:
    """Every pair that was given is trained on or in `dropped_ids` (the trainer drops a prompt that fills max_length).

    `differing_ids`: trained on, but with other token ids than the audit read. `equal_ids`: both responses have the same
    ids, so that nothing is learned from the pair.
    """

    n_given: int
    n_kept: int
    dropped_ids: tuple[str, ...]
    differing_ids: tuple[str, ...]
    equal_ids: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "given": self.n_given,
            "kept": self.n_kept,
            "dropped_by_trainer": list(self.dropped_ids),
            "read_differently_by_audit": len(self.differing_ids),
            "equal_responses": len(self.equal_ids),
        }


def training_pairs(run: Run, *, label_seed: int | None = None, changes: Changes | None = None) -> TrainingPairs:
    """The pairs of a run. With `label_seed` chosen and rejected change places for a random half of the families; with
    `changes` the training pairs are as a plan has them (by their rows among the training pairs).

    The coins are those of the audit's shuffled-label baseline: the same seed swaps the same pairs there and here.
    Raises UserError for a folder that is no run or has no pairs, and where every pair is held out.
    """
    if not run.manifest["stages"]:
        raise UserError("this is no run folder", file=run.path, why="run.json is missing", fix="Run `pretilt audit`")
    table = run.table(PAIRS_FILE)
    swap = np.zeros(table.num_rows, dtype=bool)
    if label_seed is not None:
        swap = swapped(table["family_id"].to_numpy(), label_seed)
    train = pc.equal(table["split"], "train").to_numpy()
    if not train.any():
        raise UserError(
            "the run has no training pairs",
            file=run.path / PAIRS_FILE,
            why=f"all of its {table.num_rows} pairs are held out" if table.num_rows else "it has no pairs at all",
            fix="Audit again with a smaller --holdout",
        )
    ids = table["pair_id"].to_pylist()
    family_id = dict(zip(ids, table["family_id"].to_pylist(), strict=True))
    if changes is not None:
        shaped = _shaped(table.filter(pa.array(train)), changes)
        heldout = pairs_from_table(table.filter(pa.array(~train)))
        return replace(shaped, heldout=preference_dataset(heldout) if heldout else None, family_id=family_id)

    def part(rows: np.ndarray) -> Dataset:
        chosen = np.flatnonzero(rows)
        pairs = pairs_from_table(table.take(pa.array(chosen)))
        return preference_dataset([swap_labels(p) if s else p for p, s in zip(pairs, swap[chosen], strict=True)])

    return TrainingPairs(
        train=part(train),
        heldout=part(~train) if not train.all() else None,
        swapped_ids=frozenset(pair_id for pair_id, s in zip(ids, swap, strict=True) if s),
        family_id=family_id,
    )


def _shaped(table: pa.Table, changes: Changes) -> TrainingPairs:
    """The training pairs under a plan, without the dropped ones. Raises UserError where none is left."""
    keep = np.flatnonzero(changes.weight > 0)
    if not keep.size:
        raise UserError("the plan leaves no pair to train on", why=f"it drops all {len(table):,} of them")
    pairs = pairs_from_table(table)
    shaped_pairs = []
    columns: dict[str, list[Any]] = {f"{name}_masked": [] for name in SIDES}
    columns |= {f"{name}_pushes": [] for name in SIDES if changes.pushes}
    instructions: dict[int, dict[str, str]] = {}
    for row in keep.tolist():
        pair, order = pairs[row], SIDES[::-1] if changes.swap[row] else SIDES
        for side in SIDES:
            if (row, side) in changes.texts:
                pair = with_response(pair, side, changes.texts[row, side])
        shaped_pairs.append(swap_labels(pair) if changes.swap[row] else pair)
        for name, side in zip(SIDES, order, strict=True):
            ranges = changes.masks.get((row, side), [])
            columns[f"{name}_masked"].append([edge for both in ranges for edge in both])
            if changes.pushes:
                along = changes.pushes.get((row, side), {})
                columns[f"{name}_pushes"].append([along.get(detector, 0.0) for detector in changes.detectors])
            if (row, side) in changes.instructions:
                instructions.setdefault(row, {})[name] = changes.instructions[row, side]
    columns |= {"pair_number": keep.tolist(), "pair_weight": changes.weight[keep].tolist()}
    columns["pair_offset"] = changes.offset[keep].tolist()
    dataset = preference_dataset(shaped_pairs)
    for name, values in columns.items():
        kind = {"masked": pa.list_(pa.int64()), "pushes": pa.list_(pa.float64())}.get(name.rpartition("_")[2])
        dataset = dataset.add_column(name, values if kind is None else pa.array(values, kind))

    def ids_of(rows: Collection[int]) -> frozenset[str]:
        return frozenset(str(pairs[row].pair_id) for row in rows)

    return TrainingPairs(
        dataset, None, ids_of(np.flatnonzero(changes.swap).tolist()), {},
        rewritten_ids=ids_of({row for row, _ in changes.texts}), masked_ids=ids_of({row for row, _ in changes.masks}),
        instructions=instructions,
        instructed={row: pair for row, pair in zip(keep.tolist(), shaped_pairs, strict=True) if row in instructions},
    )  # fmt: skip


def swap_labels(pair: Pair) -> Pair:
    return replace(pair, chosen=pair.rejected, rejected=pair.chosen)


def preference_dataset(pairs: Sequence[Pair]) -> Dataset:
    """Columns pair_id, prompt, chosen, rejected, and where a pair has them tools and chat_template_kwargs.

    Conversations give lists of messages, plain strings strings; all pairs must be of one kind, since the trainer takes
    the first row's kind for every row's. Raises UserError for a mixture, and for a value that JSON cannot carry there.
    """
    from datasets import Dataset, Features, Json, List, Value

    kinds = {pair.is_chat for pair in pairs}
    if len(kinds) > 1:
        raise UserError(
            "some pairs are conversations and some are plain strings",
            why="the trainer reads all of them as the first",
            fix="Audit and train them apart",
        )
    chat = kinds == {True}
    columns: dict[str, list[Any]] = {"pair_id": [str(pair.pair_id) for pair in pairs]}
    kind: dict[str, Any] = {"pair_id": Value("string")}
    for span in SPANS:
        spans: list[tuple[Message, ...]] = [getattr(pair, span) for pair in pairs]
        columns[span] = [[m.as_dict() for m in s] if chat else "".join(m.content for m in s) for s in spans]
        kind[span] = List(Json()) if chat else Value("string")
    if any(pair.tools for pair in pairs):
        columns["tools"], kind["tools"] = [pair.tools for pair in pairs], Value("string")
    if any(pair.template_kwargs for pair in pairs):
        # The trainer unpacks the value, so that a pair without arguments needs an empty mapping.
        columns["chat_template_kwargs"] = [json.loads(p.template_kwargs) if p.template_kwargs else {} for p in pairs]
        kind["chat_template_kwargs"] = Json()
    dataset = Dataset.from_dict(columns, features=Features(kind))
    _check_carried(dataset, columns, pairs)
    return dataset


def _check_carried(dataset: Dataset, columns: Mapping[str, list[Any]], pairs: Sequence[Pair]) -> None:
    """Numbers beyond 64 bits come back as text: the trainer would read another conversation, or stop in the middle."""
    for i, pair in enumerate(pairs):
        if not pair.template_kwargs and not any(m.extra for span in SPANS for m in getattr(pair, span)):
            continue
        if dataset[i] != {name: values[i] for name, values in columns.items()}:
            raise UserError(
                "a message cannot be handed to the trainer unchanged",
                row=pair.row_index,
                why="its tool calls or template arguments hold a number beyond 64 bits",
                fix="Write the number as text, or leave the row out",
            )


def account(
    pair_ids_given: Sequence[str],
    prepared: Dataset,
    tokens: pa.Table,
    max_length: int | None,
    swap: Collection[str],
    rewritten: Collection[str] = (),
) -> Account:
    """Compare what the trainer prepared with what it was given (pair_ids) and with the ids of the audit (TOKENS).

    `prepared` has pair_id and, untruncated, prompt_ids, chosen_ids and rejected_ids; `swap` holds the pair_ids whose
    labels were exchanged, `rewritten` those with a text that the audit never read. A token is compared where the
    trainer's collator keeps it: among the first `max_length`.
    """
    row_of = {pair_id: i for i, pair_id in enumerate(tokens["pair_id"].to_pylist())}
    read = {span: _ragged(tokens[f"{span}_ids"]) for span in SPANS}
    arrow = prepared.with_format("arrow")
    kept_ids: list[str] = []
    differing: list[str] = []
    equal: list[str] = []
    for start in range(0, len(prepared), _BLOCK):
        block = arrow[start : start + _BLOCK]
        pair_ids = block["pair_id"].to_pylist()
        spans = {span: _ragged(block[f"{span}_ids"]) for span in SPANS}
        for i, pair_id in enumerate(pair_ids):
            prompt = _row(spans["prompt"], i)
            room = None if max_length is None else max(max_length - prompt.size, 0)
            ours = [prompt[:max_length], _row(spans["chosen"], i)[:room], _row(spans["rejected"], i)[:room]]
            order = ("prompt", "rejected", "chosen") if pair_id in swap else SPANS
            row = row_of.get(pair_id)
            is_read = row is not None and pair_id not in rewritten
            if row is None or (
                is_read and not all(np.array_equal(a, _row(read[s], row)) for a, s in zip(ours, order, strict=True))
            ):
                differing.append(pair_id)
            if np.array_equal(ours[1], ours[2]):
                equal.append(pair_id)
        kept_ids += pair_ids
    prepared_ids = set(kept_ids)
    dropped = tuple(pair_id for pair_id in pair_ids_given if pair_id not in prepared_ids)
    return Account(len(pair_ids_given), len(kept_ids), dropped, tuple(differing), tuple(equal))


def _ragged(column: Any) -> tuple[np.ndarray, np.ndarray]:
    """Values and offsets of a list column."""
    joined = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return joined.values.to_numpy(zero_copy_only=False), joined.offsets.to_numpy()


def _row(ragged: tuple[np.ndarray, np.ndarray], i: int) -> np.ndarray:
    values, offsets = ragged
    return values[offsets[i] : offsets[i + 1]]
