"""TRL's `DPOTrainer` under a plan: the one subclass, and the check that what was planned is what was trained on.

Rows, labels and texts are changed in the dataset (`dataset.py`). Offsets are a shift of the precomputed reference
log-probabilities, so that the loss is TRL's own: beta D + offset = beta (D + offset / beta). The subclass adds what a
dataset cannot say: tokens that leave the loss, by the completion mask; weights, by the gradient of a pair's
log-probabilities; and what the policy alone is given (`contexts.py`). The loss that is logged is the unweighted one,
and `rewards/…` are shifted with the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from trl import DPOTrainer

from pretilt.errors import UserError
from pretilt.events import Events
from pretilt.models.steering import Direction, Steering
from pretilt.train.actions import LEAST, SIDES
from pretilt.train.contexts import NUMBER, PROMPTS, PUSHES, collate_policy_prompts, pushes_of

WEIGHT, OFFSET = "pair_weight", "pair_offset"
MASKED = tuple(f"{side}_masked" for side in SIDES)  # token ranges, flat: start, stop, start, stop …
AMOUNTS = "pushes"  # of a batch
COLUMNS = (NUMBER, WEIGHT, OFFSET, *MASKED, *PROMPTS, *PUSHES, AMOUNTS)
# TRL's losses of beta times a margin, summed and averaged over the tokens of a response.
SUMMED, AVERAGED = ("sigmoid", "hinge", "exo_pair", "robust", "discopop"), ("sigmoid_norm", "ipo")
_CLOSE = 1e-3  # nats; single precision of a sum over a long response


class ShapedTrainer(DPOTrainer):  # type: ignore[misc]
    """Keeps our columns, hides masked tokens, weights gradients, and remembers what went through the loss.

    `directions`: what the lengths in the columns PUSHES are multiples of. Between `begin_contexts` and `end_contexts`
    the policy is given its own prompts and pushes.
    """

    def __init__(
        self, *args: Any, n_pairs: int, events: Events, directions: Sequence[Direction] = (), **kwargs: Any
    ) -> None:
        self.events = events
        self._reference, self._pairs_done = ("", 0), 0  # whose reference is computed, of how many pairs
        self.passed = Passed.none(n_pairs, len(directions))
        self.directions = directions
        self.steering: Steering | None = None
        self.planned: Dataset | None = None
        super().__init__(*args, **kwargs)
        self.wrap_collator()

    def wrap_collator(self) -> None:
        """Put ours around TRL's collator; again, it does nothing."""
        if not isinstance(self.data_collator, _Collator):
            self.data_collator = _Collator(self.data_collator)

    def _collator(self) -> _Collator:
        self.wrap_collator()
        collator: Any = self.data_collator
        return collator  # type: ignore[no-any-return]

    def begin_contexts(self, planned: Dataset | None = None) -> None:
        """From here on the policy reads its own prompts, and is pushed.

        `planned`: the pairs without the offsets; the first batch is then held against them, before hours are spent.
        """
        self.planned = planned
        self._collator().gives_contexts = True
        if self.directions:
            self.steering = Steering(self.accelerator.unwrap_model(self.model), self.directions)

    def end_contexts(self) -> None:
        """The policy is the plain model again."""
        self._collator().gives_contexts = False
        if self.steering is not None:
            self.steering.remove()
            self.steering = None

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        self.wrap_collator()  # the constructor computes the reference, with the masks
        self._reference = ("training" if name == "train" else "held-out", len(dataset))
        self._pairs_done = 0
        return super()._precompute_ref_logps(dataset, name, batch_size)

    def compute_ref_log_probs(self, model: Any, inputs: dict[str, Any]) -> Any:
        logps = super().compute_ref_log_probs(model, {k: v for k, v in inputs.items() if k not in COLUMNS})
        split, n_pairs = self._reference
        if self._pairs_done < n_pairs:
            self._pairs_done = min(self._pairs_done + len(logps[0]) * self.accelerator.num_processes, n_pairs)
            self.events.progress(f"reference of the {split} pairs", self._pairs_done, n_pairs, "pairs")
        return logps

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        columns: list[str] = self._signature_columns  # type: ignore[assignment]
        columns += [name for name in COLUMNS if name not in columns]

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        ours = {name: inputs.pop(name) for name in (NUMBER, WEIGHT, AMOUNTS) if name in inputs}
        if self.steering is not None:  # until the next batch: a checkpointed block runs again in the backward pass
            self.steering.amounts = ours.get(AMOUNTS)
        if not ours:  # the evaluation set, on which nothing was planned
            return super()._compute_loss(model, inputs, return_outputs)
        weight = ours[WEIGHT]
        weighted = model if bool((weight == 1).all()) else _Weighted(model, weight)
        n_calls = 0 if self.steering is None else self.steering.n_calls
        loss = super()._compute_loss(weighted, inputs, return_outputs)
        if model.training:
            self.passed.add(ours[NUMBER], inputs)
            if self.steering is not None and self.steering.n_calls > n_calls:
                self.passed.add_pushes(ours[NUMBER], self.steering.amounts)
            self._check_first_batch(ours[NUMBER])
        return loss

    def _check_first_batch(self, numbers: Any) -> None:
        planned, self.planned = self.planned, None
        if planned is not None:
            passed = set(numbers.tolist())
            rows = [row for row, number in enumerate(planned[NUMBER]) if number in passed]
            self._collator().gives_contexts = False  # tokens are counted as they stand without them
            check_applied(self, planned, rows)
            self._collator().gives_contexts = True


class _Collator:
    """TRL's collator, then the masks; the numbers, weights and pushes of the pairs ride along."""

    def __init__(self, stock: Any) -> None:
        self.stock, self.gives_contexts = stock, False

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        is_planned = NUMBER in examples[0]
        has_prompts = self.gives_contexts and PROMPTS[0] in examples[0]
        batch: dict[str, Any] = collate_policy_prompts(self.stock, examples) if has_prompts else self.stock(examples)
        if not is_planned:
            return batch
        mask = batch["completion_mask"]
        for half, (name, prompt) in enumerate(zip(MASKED, PROMPTS, strict=True)):
            for i, example in enumerate(examples):
                ranges = example[name] or ()
                n_prompt = len((has_prompts and example[prompt]) or example["prompt_ids"])
                for start, stop in zip(ranges[::2], ranges[1::2], strict=True):
                    mask[half * len(examples) + i, n_prompt + start : n_prompt + stop] = 0
        batch[NUMBER] = torch.tensor([example[NUMBER] for example in examples])
        batch[WEIGHT] = torch.tensor([example[WEIGHT] for example in examples], dtype=torch.float32)
        amounts = pushes_of(examples) if self.gives_contexts and PUSHES[0] in examples[0] else None
        if amounts is not None:
            batch[AMOUNTS] = amounts
        return batch


class _Weighted:
    """A model whose log-probabilities of pair i pass weight_i times their gradient: a weight on the pair's loss."""

    def __init__(self, model: Any, weight: Any) -> None:
        self.model, self.weight = model, weight

    def __call__(self, **inputs: Any) -> Any:
        outputs = self.model(**inputs)
        outputs.log_probs = _ScaleGradient.apply(outputs.log_probs, self.weight.repeat(2)[:, None])
        return outputs


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: Any, factor: Any) -> Any:
        context.save_for_backward(factor)
        return values.view_as(values)

    @staticmethod
    def backward(context: Any, gradient: Any) -> Any:  # type: ignore[override]
        (factor,) = context.saved_tensors
        return gradient * factor.to(gradient.dtype), None


@dataclass
class Passed:
    """What went through the training loss, by the number of the pair."""

    times: np.ndarray  # int64 [n]
    n_tokens: np.ndarray  # int64 [n, 2], response tokens that counted: chosen, rejected
    reference: np.ndarray  # float64 [n], log-probability of chosen under the reference as the loss had it; NaN: none
    length: np.ndarray  # int64 [n, 2], tokens that the policy read: prompt and chosen, prompt and rejected
    pushes: np.ndarray  # float64 [n, 2, directions], lengths that the hooks added

    @classmethod
    def none(cls, n: int, n_directions: int = 0) -> Passed:
        """Nothing yet."""
        return cls(
            np.zeros(n, np.int64), np.zeros((n, 2), np.int64), np.full(n, np.nan), np.zeros((n, 2), np.int64),
            np.zeros((n, 2, n_directions)),
        )  # fmt: skip

    def add_pushes(self, numbers: Any, amounts: Any) -> None:
        """What the hooks added in one batch, [2 × pairs, directions]."""
        self.pushes[numbers.cpu().numpy()] = np.stack(amounts.cpu().double().numpy().reshape(2, len(numbers), -1), 1)

    def add(self, numbers: Any, inputs: dict[str, Any]) -> None:
        """One batch."""
        rows = numbers.cpu().numpy()
        np.add.at(self.times, rows, 1)
        lengths = inputs["attention_mask"].sum(dim=1).cpu().numpy()
        self.length[rows, 0], self.length[rows, 1] = lengths[: rows.size], lengths[rows.size :]
        counts = inputs["completion_mask"].sum(dim=1).cpu().numpy()
        self.n_tokens[rows, 0], self.n_tokens[rows, 1] = counts[: rows.size], counts[rows.size :]
        if "ref_chosen_logps" in inputs:
            self.reference[rows] = inputs["ref_chosen_logps"].double().cpu().numpy()


def check_loss(args: Any) -> None:
    """Raise UserError for a loss that has no margin to which an offset could be added."""
    kinds = list(args.loss_type)
    divergence = getattr(args.f_divergence_type, "value", args.f_divergence_type)
    if len(kinds) > 1 or kinds[0] not in (*SUMMED, *AVERAGED) or divergence != "reverse_kl":
        raise UserError(
            f"an offset cannot be given to the loss '{'+'.join(kinds)}'"
            + ("" if divergence == "reverse_kl" else f" with the divergence '{divergence}'"),
            why="it is no function of one margin beta D",
            fix=f"Choose one of {', '.join((*SUMMED, *AVERAGED))}, or a plan that drops, weights or rewrites",
        )


def shift_reference(trainer: Any) -> Dataset:
    """Shift the reference log-probabilities of the training pairs by their offsets; returns the dataset as it was.

    One response's reference falls by offset / beta, per token of it where the loss averages over tokens.
    """
    before: Dataset = trainer.train_dataset
    offset = np.asarray(before[OFFSET], np.float64)
    if not (np.abs(offset) > LEAST).any():
        return before
    shift = offset / trainer.beta
    if trainer.loss_types[0] in AVERAGED:
        shift = shift * completion_tokens(trainer, before)[:, 0]
    reference = np.asarray(before["ref_chosen_logps"], np.float64) - shift
    columns = [name for name in before.column_names if name != "ref_chosen_logps"]
    trainer.train_dataset = before.select_columns(columns).add_column("ref_chosen_logps", reference.tolist())
    return before


def completion_tokens(trainer: Any, dataset: Dataset) -> np.ndarray:
    """int64 [n, 2]: tokens of chosen and of rejected that the loss counts, after truncation and masks."""
    counts = []
    for example in dataset:
        mask = trainer.data_collator([example])["completion_mask"]
        counts.append(mask.sum(dim=1).tolist())
    return np.asarray(counts, np.int64).reshape(-1, 2)


def check_applied(trainer: Any, before: Dataset, rows: Sequence[int]) -> None:
    """Hold what the loss was given against what was planned, of the pairs in `rows` that went through it.

    `before`: the pairs without the offsets. Raises UserError where a pair had other tokens, another prompt, pushes
    or reference than the plan says.
    """
    passed: Passed = trainer.passed
    part = before.select(rows)
    numbers, offset = np.asarray(part[NUMBER], np.int64), np.asarray(part[OFFSET], np.float64)
    is_passed = passed.times[numbers] > 0
    expected = completion_tokens(trainer, part)
    wrong = (passed.n_tokens[numbers] != expected).any(axis=1)
    wrong |= (passed.length[numbers] != _policy_lengths(trainer, part)).any(axis=1)
    pushes = _planned_pushes(part, len(trainer.directions))
    wrong |= ~np.isclose(passed.pushes[numbers], pushes, rtol=1e-5, atol=0).all(axis=(1, 2))
    if "ref_chosen_logps" in part.column_names:
        shift = offset / trainer.beta * (expected[:, 0] if trainer.loss_types[0] in AVERAGED else 1.0)
        planned = np.asarray(part["ref_chosen_logps"], np.float64) - shift
        off_by = np.abs(passed.reference[numbers] - planned)
        wrong |= ~(off_by <= _CLOSE * np.maximum(1.0, 1e-3 * np.abs(planned)))
    wrong &= is_passed
    if wrong.any():
        first = part[int(np.flatnonzero(wrong)[0])]["pair_id"]
        raise UserError(
            f"{int(wrong.sum())} pairs went into the loss otherwise than the plan says",
            why=f"the first is pair {first}: its tokens, its prompt, its pushes or its reference differ",
            fix="Report this with train.json: nothing that was trained is according to the plan",
        )


def applied(trainer: Any, before: Dataset) -> dict[str, Any]:
    """What the loss was given, by count, when training has ended; raises as `check_applied` does."""
    check_applied(trainer, before, range(len(before)))
    passed: Passed = trainer.passed
    numbers = np.asarray(before[NUMBER], np.int64)
    offset, weight = np.asarray(before[OFFSET], np.float64), np.asarray(before[WEIGHT], np.float64)
    masked = sum(int(stop - start) for name in MASKED for ranges in before[name] for start, stop in
                 zip((ranges or [])[::2], (ranges or [])[1::2], strict=True))  # fmt: skip
    return {
        "pairs": int(numbers.size),
        "passed": int((passed.times[numbers] > 0).sum()),
        "passes": int(passed.times.sum()),
        "offsets": int((np.abs(offset) > LEAST).sum()),
        "weights": int((weight != 1).sum()),
        "masked_tokens": masked,
        "instructed": sum(bool(ids) for name in PROMPTS if name in before.column_names for ids in before[name]),
        "pushed": int((_planned_pushes(before, len(trainer.directions)) != 0).any(axis=2).sum()),
    }


def _policy_lengths(trainer: Any, dataset: Dataset) -> np.ndarray:
    """int64 [n, 2]: tokens of prompt and response that the policy is to read, after truncation."""
    room = trainer.args.max_length or np.iinfo(np.int64).max
    columns = []
    for side, prompt in zip(SIDES, PROMPTS, strict=True):
        own = [len(ids) for ids in dataset["prompt_ids"]]
        given = [len(ids) for ids in dataset[prompt]] if prompt in dataset.column_names else own
        responses = [len(ids) for ids in dataset[f"{side}_ids"]]
        columns.append([min((g or o) + r, room) for g, o, r in zip(given, own, responses, strict=True)])
    return np.array(columns, np.int64).T.reshape(-1, 2)


def _planned_pushes(dataset: Dataset, n_directions: int) -> np.ndarray:
    """float64 [n, 2, directions]: lengths that the hooks are to add."""
    if PUSHES[0] not in dataset.column_names:
        return np.zeros((len(dataset), 2, n_directions))
    return np.stack([np.asarray(dataset[name], np.float64) for name in PUSHES], axis=1)
