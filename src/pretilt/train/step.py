"""`train`: the pairs of a run through stock TRL, to a model folder and a report of what became of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from pretilt.errors import UserError, require_extra
from pretilt.events import Events, watching
from pretilt.lock import working
from pretilt.result import Result
from pretilt.run import Run, Shards, content_hash, file_hash, write_table
from pretilt.schema import FORECAST_FILE, FORECAST_REPORT, MARGINS_FILE, PAIRS_FILE, SPANS, TOKENS_FILE, TRAINED_FOLDER
from pretilt.text import counted
from pretilt.train import folder
from pretilt.train.actions import Changes
from pretilt.train.dataset import TrainingPairs, account, training_pairs
from pretilt.train.regime import FORWARDS_MEASURED, pairs_to_measure
from pretilt.train.report import Measured, margins_table, training_facts
from pretilt.train.settings import TrainSettings

if TYPE_CHECKING:
    from pretilt.models.steering import Direction

_T = TypeVar("_T")


@dataclass(frozen=True)
class CompiledPlan:
    """What a plan does to the training pairs. `identity` (JSON-able: name, hashes, seal) goes into train.json.

    `directions` are those of `changes.detectors`, in that order; `beta` is that of the loss that the plan was made for,
    None for a plan that holds for every one.
    """

    name: str
    changes: Changes
    identity: dict[str, Any]
    directions: Sequence[Direction] = ()
    beta: float | None = None


@dataclass(frozen=True, repr=False)
class TrainResult(Result):
    """`path` is a folder that `AutoModelForCausalLM.from_pretrained` loads; `report` is its train.json."""

    path: Path
    report: dict[str, Any]

    @property
    def headline(self) -> str:
        return f"{self.path}: {self.report['regime']['words']}"

    @property
    def regime(self) -> str:
        """One of "linear", "bending", "saturating", "did not move", "diverged"."""
        return str(self.report["regime"]["name"])


def train_run(
    run: Run,
    *,
    settings: TrainSettings | None = None,
    config: str | Path | None = None,
    out: str | Path | None = None,
    plan: CompiledPlan | None = None,
    events: Events | None = None,
    **options: Any,
) -> TrainResult:
    """Train the model of a run with DPO on the run's training pairs; held-out pairs are measured, never trained on.

    `options` are the fields of `TrainSettings` and of `trl.DPOConfig` by name, over those of the YAML file `config`; or
    give `settings` whole. `out`: the model folder, by default `trained` inside the run. Killed, the same call goes on
    from the last whole checkpoint; finished, it returns what is there. With `max_steps=0` the untouched model is saved:
    the zero-step control. `plan`: actions on the training pairs; the folder is then `trained-<name>`. Under
    `accelerate launch` every process makes this call.

    Raises UserError for every mistake of the input, a missing package, and a full disk.
    """
    if settings is not None and (config is not None or options):
        raise ValueError("give either settings, or config and options")
    require_extra("train", "training")
    events = watching(events)
    if settings is None:
        settings = TrainSettings.load(Path(config) if config is not None else None, **options)
    settings = _of_run(run, settings, events)
    if plan is not None and settings.shuffled_labels:
        raise UserError("a plan and shuffled labels cannot be given together", why="the plan is about these labels")
    seed = settings.label_seed if settings.shuffled_labels else None
    pairs = training_pairs(run, label_seed=seed, changes=None if plan is None else plan.changes)
    default = TRAINED_FOLDER if plan is None else f"{TRAINED_FOLDER}-{plan.name}"
    out = Path(out).expanduser() if out is not None else run.path / default
    training = _Training(run, settings, pairs, out, events, plan)
    if not training.is_main:  # of several processes the first one writes
        return training.result()
    with working(out, "train", training.events.say):
        return training.result()


def _of_run(run: Run, settings: TrainSettings, events: Events) -> TrainSettings:
    """The settings with the model and the seed of the labels filled in from the run."""
    if settings.label_seed is None:
        settings = replace(settings, label_seed=int(_pairs_config(run).get("seed", 0)))
    if settings.model is not None:
        return settings
    lens = run.manifest.get("lens", {})
    if lens.get("bundled"):
        from pretilt.models.bundled import bundled_model

        return replace(settings, model=str(bundled_model(events.say)))
    name = run.manifest.get("settings", {}).get("model")
    if not name:
        raise UserError(
            "no model to train is named",
            file=run.path,
            why="the run names none",
            fix="Give --model: the model that the pairs were read for",
        )
    revision = settings.model_revision or lens.get("model_identity", {}).get("revision")
    return replace(settings, model=str(name), model_revision=revision)


def _pairs_config(run: Run) -> Mapping[str, Any]:
    config: Mapping[str, Any] = run.manifest["stages"].get("pairs", {}).get("config", {})
    return config


def sealed_forecast(run: Run) -> dict[str, str] | None:
    """Hash and time of the forecast that lies in the run, None without one. Raises UserError for a damaged one."""
    if "forecast" not in run.manifest["stages"]:
        return None
    report = run.json(FORECAST_REPORT)
    seal = {"sha256": str(report["sha256"]), "written": str(report["written"])}
    return seal if file_hash(run.file(FORECAST_FILE)) == seal["sha256"] else None


class _Training:
    """One training in one folder; `result` makes it, continues it or finds it done."""

    def __init__(
        self,
        run: Run,
        settings: TrainSettings,
        pairs: TrainingPairs,
        out: Path,
        events: Events,
        plan: CompiledPlan | None = None,
    ) -> None:
        self.run, self.settings, self.pairs, self.out, self.plan = run, settings, pairs, out, plan
        self.model = str(settings.model)
        from pretilt.models.load import check_model

        self.commit = check_model(self.model, revision=settings.model_revision)
        self.args = settings.dpo_config(out, _pairs_config(run).get("max_length", 1024))
        if plan is not None:
            self._prepare_args(plan)
        if self.commit is not None:
            self.args.model_init_kwargs = {**(self.args.model_init_kwargs or {}), "revision": self.commit}
        self.is_main = self.args.process_index == 0
        self.events = events if self.is_main else Events()
        labels = {"shuffled": True, "seed": settings.label_seed} if settings.shuffled_labels else None
        self.made_from = {
            "pairs_sha256": file_hash(run.file(PAIRS_FILE)),
            "model": folder.model_identity(self.model, self.commit),
            "labels": labels,
            "max_length": self.args.max_length,
            "settings": settings.identity(),
        }
        if plan is not None:
            self.made_from["plan"] = plan.identity
        self.key = content_hash(self.made_from)

    def _prepare_args(self, plan: CompiledPlan) -> None:
        """What the trainer must be told so that the plan can be carried out. Raises UserError where it cannot."""
        from pretilt.train.shaped import check_loss

        changes = plan.changes
        if np.any(changes.offset):
            check_loss(self.args)
        if np.any(changes.offset) or changes.instructions or changes.pushes:
            self.args.precompute_ref_log_probs = True  # of the plain model, whatever the policy is given
            if self.args.sync_ref_model:
                raise UserError("the plan needs a fixed reference", why="sync_ref_model updates it while training")
        if plan.beta is not None and not math.isclose(plan.beta, self.args.beta, rel_tol=1e-9):
            raise UserError(
                f"the plan was compiled for beta {plan.beta:g}, and the loss has {self.args.beta:g}",
                why="what steering or an instruction explains is beta times a log-probability",
                fix=f"Compile it with `pretilt shape --beta {self.args.beta:g}`, or train with beta {plan.beta:g}",
            )
        if plan.changes.masks and self.args.truncation_mode != "keep_start":
            raise UserError("a mask needs truncation_mode keep_start", why="tokens are counted from the start")

    def result(self) -> TrainResult:
        report_before = folder.opened(self.out, self.key, self.args.world_size)
        if report_before is not None and folder.is_whole(self.out, report_before):
            self.events.say(f"{self.out}: trained already; {report_before['regime']['words']}")
            return TrainResult(self.out, report_before)
        if report_before is not None and report_before["finished"]:
            self.events.say(f"{self.out}: files of the trained model are missing or changed; training again")
        # A training that goes on, or is made again, keeps what it began with: a later forecast may know its outcome.
        sealed = {"forecast": sealed_forecast(self.run) if report_before is None else report_before.get("forecast")}
        from accelerate import PartialState

        from pretilt.models.load import load_tokenizer
        from pretilt.train import trainer as stock

        tokenizer = load_tokenizer(self.model, revision=self.commit)
        state = PartialState()
        state.wait_for_everyone()  # all processes have looked into the folder before the first one writes
        if self.is_main:
            self._writing(lambda: folder.begin(self.out, self.key, self.args.world_size, sealed))
        state.wait_for_everyone()
        checkpoint = None if self.args.save_only_model else folder.last_checkpoint(self.out, remove=self.is_main)
        state.wait_for_everyone()
        directions = () if self.plan is None else self.plan.directions
        trainer = stock.build(self.model, tokenizer, self.pairs, self.args, self.settings, self.events, directions)
        accounts = self._accounts(trainer)
        samples = self._to_measure(trainer)
        before = None
        if self.plan is not None:
            from pretilt.train import shaped

            before = shaped.shift_reference(trainer)
        self._tell(accounts["train"], checkpoint, samples)
        self._check_space(trainer)
        measured, seconds = self._writing(lambda: self._train(trainer, checkpoint, samples, before))
        checked = {} if before is None else {"applied": shaped.applied(trainer, before)}
        report = {
            "format_version": folder.FORMAT_VERSION,
            "key": self.key,
            "processes": self.args.world_size,
            **self.made_from,
            "model_name": self.model,
            "source": self.run.manifest.get("source"),
            "measurement_id": self.run.manifest.get("measurement_id"),
            "pairs": {**accounts, "swapped": len(self.pairs.swapped_ids)},
            "resumed_from_step": None if checkpoint is None else int(checkpoint.name.split("-")[1]),
            "seconds": seconds,
            **sealed,
            **checked,
            **training_facts(trainer, measured),
        }
        if self.is_main:
            keep = not {"save_strategy", "save_steps", "save_total_limit"}.isdisjoint(self.settings.dpo)
            report = self._writing(lambda: folder.finish(self.out, report, keep_checkpoints=keep))
        state.wait_for_everyone()
        return TrainResult(self.out, report)

    def _to_measure(self, trainer: Any) -> dict[str, Any]:
        """The pairs of each split whose margins will be measured when training has ended."""
        from pretilt.train import trainer as stock

        args, n_pairs = self.args, self.settings.regime_pairs
        if n_pairs is None:
            at_once = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
            epochs = math.ceil(args.num_train_epochs * len(trainer.train_dataset))
            n_trained = epochs if args.max_steps < 0 else args.max_steps * at_once
            n_pairs = pairs_to_measure(n_trained, half_precision=args.bf16 or args.fp16)
        splits = (("train", trainer.train_dataset), ("heldout", trainer.eval_dataset))
        return {
            name: stock.drawn(split, n_pairs, args.seed) for name, split in splits if split is not None and len(split)
        }

    def _train(
        self, trainer: Any, checkpoint: Path | None, samples: dict[str, Any], planned: Any
    ) -> tuple[Measured, dict[str, float]]:
        from pretilt.train import trainer as stock

        clock = [time.monotonic()]
        if self.plan is not None:
            trainer.begin_contexts(planned)
        stock.run(trainer, checkpoint)
        if self.plan is not None:
            trainer.end_contexts()
        clock.append(time.monotonic())
        stock.save(trainer, self.out, self.model, self.commit)
        trainer.accelerator.wait_for_everyone()
        clock.append(time.monotonic())
        measured = self._measured(trainer, samples)
        if self.is_main:
            table = margins_table(measured, self.args.beta, self.args.loss_type[0])
            write_table(self.out / MARGINS_FILE, table, self.key)
        clock.append(time.monotonic())
        steps = zip(("training", "saving", "measuring"), clock, clock[1:], strict=False)
        return measured, {name: round(end - begin, 3) for name, begin, end in steps}

    def _measured(self, trainer: Any, samples: dict[str, Any]) -> Measured:
        """Margins by split, in shards that a kill leaves; of these weights alone."""
        from pretilt.train import trainer as stock

        weights, total, before = folder.saved_files(self.out), sum(map(len, samples.values())), 0
        measured = {}
        for split, sample in samples.items():
            key = content_hash({"weights": weights, "pairs": list(sample["pair_id"]), "of": self.key})
            shards = Shards(self.out / folder.PARTS / split, key, (stock.PART,))
            if self.is_main:
                shards.discard_others()
            trainer.accelerator.wait_for_everyone()

            def progress(done: int, before: int = before) -> None:
                self.events.progress("measuring margins", before + done, total, "pairs")

            measured[split] = stock.margins(trainer, sample, shards, self.pairs.family_id, progress)
            before += len(sample)
        return measured

    def _writing(self, work: Callable[[], _T]) -> _T:
        """The result of `work`, with a disk that is full or closed as the one error a user sees."""
        from safetensors import SafetensorError

        try:
            return work()
        except (OSError, RuntimeError, ValueError, SafetensorError) as error:
            explained = folder.disk_error(error, self.out)
            if explained is None:
                raise
            raise explained from error

    def _accounts(self, trainer: Any) -> dict[str, Any]:
        tokens = self.run.table(TOKENS_FILE, ["pair_id", *(f"{span}_ids" for span in SPANS)])
        parts = {
            "train": (self.pairs.train, trainer.train_dataset),
            "heldout": (self.pairs.heldout, trainer.eval_dataset),
        }
        accounts = {
            split: account(
                list(selected["pair_id"]),
                prepared,
                tokens,
                self.args.max_length,
                self.pairs.swapped_ids,
                self.pairs.rewritten_ids,
            )
            for split, (selected, prepared) in parts.items()
            if selected is not None
        }
        if elsewhere := self.pairs.masked_ids.intersection(accounts["train"].differing_ids):
            raise UserError(
                f"the plan masks {counted(len(elsewhere), 'pair')} with other tokens here than the audit read",
                why="a mask names tokens by their place: another tokenizer, chat template or max_length moves them",
                fix="Train the model of the audit with its max_length, or plan another method",
            )
        return {split: account.to_dict() for split, account in accounts.items()}

    def _tell(self, counts: Mapping[str, Any], checkpoint: Path | None, samples: Mapping[str, Any]) -> None:
        say, args = self.events.say, self.args
        what = "all weights" if self.settings.lora is None else "LoRA"
        say(f"training on {counts['kept']:,} pairs: {what}, loss {'+'.join(args.loss_type)}, β {args.beta:g}")
        if dropped := len(counts["dropped_by_trainer"]):
            say(f"{dropped:,} pairs are dropped by the trainer: the prompt alone fills max_length {args.max_length}")
        if differing := counts["read_differently_by_audit"]:
            say(
                f"{differing:,} of {counts['kept']:,} pairs have other tokens here than the audit read: another "
                "tokenizer, chat template or max_length; what the audit says is about other tokens"
            )
        if equal := counts["equal_responses"]:
            say(f"{equal:,} pairs have two responses with the same tokens: nothing is learned from them")
        if self.plan is not None:
            say(f"under the plan '{self.plan.name}'")
        elif swapped := len(self.pairs.swapped_ids):
            say(f"shuffled-label control: chosen and rejected exchanged in {swapped:,} pairs")
        n_pairs = {split: len(sample) for split, sample in samples.items()}
        say(
            f"then the margins of {n_pairs['train']:,} training and {n_pairs.get('heldout', 0):,} held-out pairs are "
            f"measured: {FORWARDS_MEASURED * 2 * sum(n_pairs.values()):,} responses go once through a model"
        )
        if checkpoint is not None:
            say(f"going on from {checkpoint.name}")

    def _check_space(self, trainer: Any) -> None:
        sizes = [(p.numel() * p.element_size(), p.requires_grad) for p in trainer.model.parameters()]
        saves = self.args.max_steps != 0 and self.args.save_strategy.value != "no"
        at_once = (self.args.save_total_limit or 1) + 1 if saves else 0  # the old one goes when the new one is whole
        trained = sum(n for n, is_trained in sizes if is_trained)
        folder.check_space(self.out, sum(n for n, _ in sizes), trained, at_once)
