"""What the policy alone is given while it trains under a plan: prompts with an instruction, pushes along directions.

The reference never sees them: its log-probabilities are computed before. When training has ended they are taken away,
so that margins are measured as the model will be used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset

from pretilt.errors import UserError
from pretilt.pairs.instruction import instructed
from pretilt.pairs.pair import Pair
from pretilt.train.actions import SIDES

NUMBER = "pair_number"
PROMPTS = tuple(f"{side}_policy_prompt" for side in SIDES)  # token ids that stand for prompt_ids; []: the pair's own
PUSHES = tuple(f"{side}_pushes" for side in SIDES)  # length along each direction of the plan
_PADDED = ("input_ids", "attention_mask", "completion_mask")


def with_policy_prompts(
    dataset: Dataset, instructions: Mapping[int, Mapping[str, str]], pairs: Mapping[int, Pair], tokenizer: Any,
    max_length: int | None,
) -> Dataset:  # fmt: skip
    """The prepared pairs with the columns PROMPTS. `instructions`: number of a pair to side to instruction.

    Raises UserError where a prompt does not take its instruction, or where a response then has fewer tokens in the loss
    than in the reference.
    """
    row_of = {number: row for row, number in enumerate(dataset[NUMBER])}
    columns: dict[str, list[list[int]]] = {name: [[] for _ in range(len(dataset))] for name in PROMPTS}
    by_text: dict[tuple[str, str], list[int]] = {}
    for number, of_pair in instructions.items():
        for side, text in of_pair.items():
            if number in row_of:
                by_text.setdefault((side, text), []).append(number)
    for (side, text), numbers in by_text.items():
        read = instructed([pairs[number] for number in numbers], text, tokenizer)
        for number, (pair, tokens) in zip(numbers, read, strict=True):
            example = dataset[row_of[number]]
            response = np.asarray(example[f"{side}_ids"])
            room = np.inf if max_length is None else max_length
            longest = max(tokens.prompt_ids.size, len(example["prompt_ids"])) + response.size
            if not np.array_equal(getattr(tokens, f"{side}_ids"), response) or longest > room:
                raise UserError(
                    f"pair {pair.pair_id} cannot be trained under the instruction",
                    why=f"with it the response does not fit whole into max_length {max_length}" if longest > room
                    else "the chat template renders the response otherwise after it",
                    fix="Give a larger max_length, a shorter instruction or another method",
                )  # fmt: skip
            columns[PROMPTS[SIDES.index(side)]][row_of[number]] = tokens.prompt_ids.tolist()
    for name, values in columns.items():
        dataset = dataset.add_column(name, pa.array(values, pa.list_(pa.int64())))
    return dataset


def collate_policy_prompts(stock: Any, examples: list[dict[str, Any]]) -> dict[str, Any]:
    """TRL's batch, with the policy's prompts before the responses of each half."""
    batch: dict[str, Any] = stock(examples)
    if not any(example[name] for example in examples for name in PROMPTS):
        return batch
    halves: dict[str, list[torch.Tensor]] = {name: [] for name in _PADDED}
    for half, prompt in enumerate(PROMPTS):
        changed = [{**example, "prompt_ids": example[prompt] or example["prompt_ids"]} for example in examples]
        other = stock(changed)
        for name in _PADDED:
            halves[name].append(other[name].chunk(2)[half])
    width = max(values.shape[1] for values in halves["input_ids"])
    for name, values in halves.items():
        fill = stock.pad_token_id if name == "input_ids" else 0
        padded = [torch.nn.functional.pad(half, (0, width - half.shape[1]), value=fill) for half in values]
        batch[name] = torch.cat(padded)
    return batch


def pushes_of(examples: list[dict[str, Any]]) -> torch.Tensor | None:
    """float32 [2 × pairs, directions] of a batch, chosen first; None where nothing is pushed."""
    rows = [example[name] for name in PUSHES for example in examples]
    amounts = torch.tensor(rows, dtype=torch.float32)
    return amounts if bool(amounts.any()) else None
