"""The pairs as a plain preference dataset: as they are, or as a plan has them, for whichever trainer reads them.

train.jsonl     prompt, chosen, rejected as messages (texts where the source had texts), pair_id, and where they apply
                weight, offset, margin, ref_chosen_logps, ref_rejected_logps, chosen_masked, rejected_masked
heldout.jsonl   the held-out pairs, untouched
README.md       what each trainer can honour of that, and the lines that do it; written last
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pretilt.artifacts import write_text
from pretilt.errors import UserError
from pretilt.events import Events
from pretilt.lens.blocks import train_rows
from pretilt.pairs.chat import tokenise
from pretilt.pairs.pair import Drop, Message, Pair, with_response
from pretilt.pairs.tables import pairs_from_table, tokens_batch
from pretilt.result import Result
from pretilt.run import Run
from pretilt.schema import PAIRS_FILE
from pretilt.settings import settings_of
from pretilt.shape.export_readme import readme
from pretilt.shape.result import ShapeResult
from pretilt.shape.step import compiled_plan
from pretilt.text import counted
from pretilt.train.actions import SIDES, Changes

TRAIN, HELDOUT, README = "train.jsonl", "heldout.jsonl", "README.md"


@dataclass(frozen=True, repr=False)
class ExportResult(Result):
    """`path` is the folder; `columns` are those of train.jsonl beside the pair itself."""

    path: Path
    n_train: int
    n_heldout: int
    columns: tuple[str, ...]
    has_lens: bool  # the run can sample and read answers of what is trained on it

    @property
    def headline(self) -> str:
        extra = f" with {', '.join(self.columns)}" if self.columns else ""
        return f"{self.path}: {counted(self.n_train, 'training pair')}, {self.n_heldout:,} held out{extra}"


def export_run(
    run: Run, out: Path, shape: ShapeResult | None, *, reference: bool, beta: float | None, events: Events
) -> ExportResult:
    """Write the dataset into a folder that is new or empty; see `api.export`.

    `beta`: the loss' β; then `ref_chosen_logps` hold the offsets already, shifted by -offset / β, for losses of summed
    log-probabilities. Raises UserError for a folder that holds something, and where there is no model for a reference.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError("the folder of the export is not empty", file=out, fix="Give another folder")
    if out.resolve().is_relative_to(run.path.resolve()):
        raise UserError("the run folder holds the run's own artifacts alone", file=out, fix="Export to another folder")
    if beta is not None and not (reference and shape is not None):
        raise UserError("--beta shifts the reference by a plan's offsets", fix="Give --plan and --reference with it")
    if beta is not None and not 0 < beta < float("inf"):
        raise UserError(f"--beta is {beta:g}", why="it must be a number above 0")
    export = _Export(run, shape, events)
    if reference:
        export.add_reference(beta)
    rows = export.rows()
    columns = tuple(name for name in rows[0] if name not in ("pair_id", "prompt", *SIDES))
    heldout = [_row(pair) for pair in export.heldout]
    write_text(out / TRAIN, _lines(rows))
    write_text(out / HELDOUT, _lines(heldout))
    write_text(out / README, readme(str(run.manifest.get("source")), len(rows), columns, beta, export.facts))
    return ExportResult(out, len(rows), len(heldout), columns, run.manifest.get("measurement_id") is not None)


class _Export:
    """The pairs under the plan, and what rides along."""

    def __init__(self, run: Run, shape: ShapeResult | None, events: Events) -> None:
        self.run, self.events = run, events
        train = train_rows(run)
        table = run.table(PAIRS_FILE)
        self.train = train
        self.heldout = pairs_from_table(table.filter(pa.array(~train)))
        pairs = pairs_from_table(table.filter(pa.array(train)))
        self.changes = Changes.none(len(pairs)) if shape is None else compiled_plan(shape).changes
        self.keep = np.flatnonzero(self.changes.weight > 0)
        self.pairs = [self._shaped(pairs[row], row) for row in self.keep.tolist()]
        self.extra: dict[str, list[Any]] = {}
        if (self.changes.weight[self.keep] != 1).any():
            self.extra["weight"] = self.changes.weight[self.keep].tolist()
        if self.changes.offset.any():
            self.extra["offset"] = self.changes.offset[self.keep].tolist()
            self.extra["margin"] = (-self.changes.offset[self.keep]).tolist()
        if self.changes.masks:
            for name in SIDES:
                self.extra[f"{name}_masked"] = [self._masked(row, name) for row in self.keep.tolist()]
        if self.changes.pushes:
            raise UserError(
                "a plan that steers the policy cannot be exported", why="it is done inside the trainer's model",
                fix="Use `pretilt train --plan`, or plan `steer-reference`",
            )  # fmt: skip
        for name in SIDES if self.changes.instructions else ():
            self.extra[f"{name}_instruction"] = [self._instruction(row, name) for row in self.keep.tolist()]
        self.facts = {
            "name": None if shape is None else shape.name,
            "dropped": int((self.changes.weight == 0).sum()),
            "swapped": int(self.changes.swap.sum()),
            "rewritten": len({row for row, _ in self.changes.texts}),
        }

    def _shaped(self, pair: Pair, row: int) -> Pair:
        for side in SIDES:
            if (row, side) in self.changes.texts:
                pair = with_response(pair, side, self.changes.texts[row, side])
        return replace(pair, chosen=pair.rejected, rejected=pair.chosen) if self.changes.swap[row] else pair

    def _masked(self, row: int, name: str) -> list[list[int]]:
        side = SIDES[1 - SIDES.index(name)] if self.changes.swap[row] else name
        return [list(both) for both in self.changes.masks.get((row, side), [])]

    def _instruction(self, row: int, name: str) -> str | None:
        side = SIDES[1 - SIDES.index(name)] if self.changes.swap[row] else name
        return self.changes.instructions.get((row, side))

    def add_reference(self, beta: float | None) -> None:
        """Log-probabilities under the run's model; rewritten responses are read anew."""
        from pretilt.lens.choice import choose_lens
        from pretilt.shape.reference import reference_logps

        settings = settings_of(self.run)
        if settings.no_lens:
            raise UserError(
                "the run was audited without a model, and a reference is a model's", file=self.run.path,
                fix="Audit the pairs with --model and --dictionary",
            )  # fmt: skip
        if self.changes.masks:
            raise UserError(
                "reference log-probabilities of masked responses are not exported",
                why="they depend on how the trainer masks: let it compute them",
                fix="Leave --reference out, or use `pretilt train --plan`",
            )
        choice = choose_lens(settings, self.events)
        both = [side[self.train][self.keep] for side in reference_logps(self.run, choice, self.events)]
        swap = self.changes.swap[self.keep]
        chosen, rejected = np.where(swap, both[1], both[0]), np.where(swap, both[0], both[1])
        self._read_again(choice, chosen, rejected)
        if beta is not None:
            chosen = chosen - self.changes.offset[self.keep] / beta
        self.extra |= {"ref_chosen_logps": chosen.tolist(), "ref_rejected_logps": rejected.tolist()}

    def _read_again(self, choice: Any, chosen: np.ndarray, rejected: np.ndarray) -> None:
        from pretilt.rollouts.source import ModelSource
        from pretilt.shape.reference import response_logps

        changed = [i for i, row in enumerate(self.keep.tolist()) if any((row, s) in self.changes.texts for s in SIDES)]
        if not changed:
            return
        settings = settings_of(self.run)
        source = ModelSource.of(choice, None, None, dtype=settings.dtype, device=settings.device)
        pairs = [self.pairs[i] for i in changed]
        tokens = list(tokenise(pairs, choice.tokenizer, max_length=settings.max_length))
        if dropped := [pair for pair, read in zip(pairs, tokens, strict=True) if isinstance(read, Drop)]:
            raise UserError(
                f"pair {dropped[0].pair_id} cannot be read after it is rewritten", fix="Give a smaller strength"
            )
        table = tokens_batch(
            [str(pair.pair_id) for pair in pairs], [read for read in tokens if not isinstance(read, Drop)]
        )
        model = source.load()
        chosen[changed] = response_logps(model, table, "chosen")
        rejected[changed] = response_logps(model, table, "rejected")

    def rows(self) -> list[dict[str, Any]]:
        """The lines of train.jsonl."""
        extra = [dict(zip(self.extra, values, strict=True)) for values in zip(*self.extra.values(), strict=True)]
        return [{**_row(pair), **(extra[i] if extra else {})} for i, pair in enumerate(self.pairs)]


def _row(pair: Pair) -> dict[str, Any]:
    def span(messages: tuple[Message, ...]) -> Any:
        return [message.as_dict() for message in messages] if pair.is_chat else messages[0].content

    row: dict[str, Any] = {"pair_id": str(pair.pair_id), "prompt": span(pair.prompt)}
    row |= {side: span(getattr(pair, side)) for side in SIDES}
    if pair.tools:
        row["tools"] = pair.tools
    if pair.template_kwargs:
        row["chat_template_kwargs"] = json.loads(pair.template_kwargs)
    return row


def _lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
