"""TRL's `DPOTrainer`, stock: built from settings, run from the last whole checkpoint, and measured at the end."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
import transformers
from accelerate.utils import is_peft_model
from datasets import Dataset
from datasets.utils import logging as datasets_logging
from safetensors import SafetensorError
from transformers import PrinterCallback, TrainerCallback
from trl import DPOTrainer

from pretilt.errors import UserError
from pretilt.events import Events
from pretilt.models.load import auto_class, load_config
from pretilt.run import Shards
from pretilt.train.dataset import TrainingPairs
from pretilt.train.folder import ADAPTER, disk_error
from pretilt.train.regime import Margins
from pretilt.train.settings import TrainSettings, first_line

if TYPE_CHECKING:
    from pretilt.models.steering import Direction

NO_BARS = "TQDM_DISABLE"
PART, SHARD_PAIRS = "margins", 16


class Trained(Exception):
    """The checkpoint from which training goes on holds the last step already."""


class Progress(TrainerCallback):  # type: ignore[misc]
    """Tells the listener after every optimizer step, keeps the last one, and lets none follow it.

    The trainer looks at `max_steps` after a step: from a checkpoint of the last one it would make one more.
    """

    def __init__(self, events: Events) -> None:
        self.events = events

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step >= state.max_steps:
            raise Trained

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step >= state.max_steps and args.save_strategy.value == "steps":
            control.should_save = True
        self.events.progress("training", state.global_step, state.max_steps, "steps")


def build(
    model: str, tokenizer: Any, pairs: TrainingPairs, args: Any, settings: TrainSettings, events: Events,
    directions: Sequence[Direction] = (),
) -> Any:  # fmt: skip
    """The `trl.DPOTrainer` with the pairs prepared; its subclass where a plan gave the pairs columns of its own.

    Raises UserError where the model cannot be loaded or trained so.

    The model goes in by name: the trainer then loads the reference in the same way, from the same commit. The held-out
    pairs are its evaluation set, which it reads only if `eval_strategy` is given, and never chooses by.
    """
    kind: Any = DPOTrainer
    if "pair_number" in pairs.train.column_names:
        from pretilt.train.shaped import ShapedTrainer

        kind = partial(ShapedTrainer, n_pairs=max(pairs.train["pair_number"]) + 1, events=events, directions=directions)
    with quiet():
        try:
            trainer: Any = kind(
                model=model,
                args=args,
                train_dataset=pairs.train,
                eval_dataset=pairs.heldout,
                processing_class=tokenizer,
                peft_config=settings.lora_config(),
                callbacks=[Progress(events)],
            )
        except torch.OutOfMemoryError as error:
            raise _out_of_memory(error) from error
        except (OSError, SafetensorError) as error:
            raise disk_error(error, Path(args.output_dir)) or UserError(
                f"cannot load the model '{model}'", why=first_line(error), fix="Give a complete causal language model"
            ) from error
        except (ValueError, RuntimeError, KeyError, TypeError, ImportError) as error:
            # NotImplementedError, TRL's word for settings that do not go together, is a RuntimeError
            raise UserError(
                f"TRL cannot train the model '{model}' with these settings", why=first_line(error)
            ) from error
    trainer.remove_callback(PrinterCallback)
    if pairs.instructions:
        from pretilt.train.contexts import with_policy_prompts

        trainer.train_dataset = with_policy_prompts(
            trainer.train_dataset, pairs.instructions, pairs.instructed, tokenizer, args.max_length
        )
    if not len(trainer.train_dataset):
        raise UserError(
            f"the trainer drops all {len(pairs.train)} pairs",
            why=f"every prompt alone fills max_length {args.max_length}",
            fix="Give a larger max_length",
        )
    return trainer


def run(trainer: Any, checkpoint: Path | None) -> None:
    """Train to the end, from `checkpoint` if there is one; with max_steps 0 not a step is made.

    The trainer itself reads 0 as "not given" and would train whole epochs.
    """
    if trainer.args.max_steps == 0 or trainer.args.num_train_epochs == 0:
        return
    try:
        with quiet(), contextlib.suppress(Trained):
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    except torch.OutOfMemoryError as error:
        raise _out_of_memory(error) from error


def save(trainer: Any, out: Path, model: str, revision: str | None) -> None:
    """A model folder that `AutoModelForCausalLM` loads; of a LoRA run the merged model, and the adapter in `adapter/`.

    The merge starts again from the files, on the CPU, so that it is the same however training was distributed.
    """
    with quiet():
        if not is_peft_model(trainer.model):
            trainer.save_model(str(out))
            return
        from peft import PeftModel

        trainer.save_model(str(out / ADAPTER))
        if trainer.is_world_process_zero():
            for leftover in (out / ADAPTER).glob("training_args.bin"):
                leftover.unlink()
            dtype = (trainer.args.model_init_kwargs or {}).get("dtype", "float32")
            base = auto_class(load_config(model, revision=revision)).from_pretrained(
                model, revision=revision or "main", dtype=dtype, trust_remote_code=False, use_safetensors=True
            )
            merged = PeftModel.from_pretrained(base, str(out / ADAPTER)).merge_and_unload()
            merged.save_pretrained(str(out))
            trainer.processing_class.save_pretrained(str(out))
        trainer.accelerator.wait_for_everyone()


def drawn(prepared: Dataset, n_pairs: int, seed: int) -> Dataset:
    """At most `n_pairs` of the prepared pairs, drawn by the seed, in their order."""
    return prepared.select(np.sort(np.random.default_rng(seed).permutation(len(prepared))[:n_pairs]))


def margins(
    trainer: Any, sample: Dataset, shards: Shards, family_id: Mapping[str, int], progress: Callable[[int], None]
) -> tuple[Margins, list[str]]:
    """Log-probabilities of the prepared pairs before and after training; finished shards are read, not measured again.

    With the trainer's own batches, in the precision of the weights: the rounding of mixed precision is larger than what
    a short run changes. Only under FSDP, DeepSpeed and with precomputed references is it as in training. Second result:
    the pair_ids, in order. `progress` is called with the number of pairs that are done.
    """
    pair_ids, columns = list(sample["pair_id"]), [field.name for field in fields(Margins)][:-1]
    at_once = trainer.args.eval_batch_size * trainer.args.world_size
    size = at_once * -(-SHARD_PAIRS // at_once)
    for number, start in enumerate(range(0, len(sample), size)):
        rows = range(start, min(start + size, len(sample)))
        if not shards.has(number):
            read = _log_probabilities(trainer, sample.select(rows))
            if trainer.is_world_process_zero():
                shards.write(number, {PART: pa.table(dict(zip(columns, read.T, strict=True)))})
            trainer.accelerator.wait_for_everyone()
        progress(rows.stop)
    table = pa.concat_tables([shards.read(PART, number) for number in range(-(-len(sample) // size))])
    families = np.array([family_id[pair_id] for pair_id in pair_ids], dtype=np.int64)
    return Margins(**{name: table[name].to_numpy() for name in columns}, family_id=families), pair_ids


def _log_probabilities(trainer: Any, sample: Dataset) -> np.ndarray:
    """(pairs, 6), the columns of `Margins`: chosen before, after, rejected before, after, and their tokens."""
    policy = trainer.model_wrapped
    was_training = policy.training
    policy.eval()
    read: list[np.ndarray] = []
    try:
        with quiet(), torch.no_grad():
            for batch in trainer.get_eval_dataloader(sample):
                model = policy if "ref_chosen_logps" in batch else _exact(trainer, policy)
                before, after = _reference(trainer, batch), _response_logps(model, batch).chunk(2)
                n_tokens = batch["completion_mask"].sum(dim=1).chunk(2)
                columns = (before[0], after[0], before[1], after[1], *n_tokens)
                gathered = trainer.accelerator.gather_for_metrics(torch.stack([c.double() for c in columns], dim=1))
                read.append(gathered.cpu().numpy())
    finally:
        policy.train(was_training)
    return np.concatenate(read)


def _reference(trainer: Any, batch: Mapping[str, Any]) -> tuple[Any, Any]:
    """Log-probabilities (pairs,) of chosen and of rejected under the reference."""
    if "ref_chosen_logps" in batch:
        return batch["ref_chosen_logps"], batch["ref_rejected_logps"]
    if trainer.ref_model is not None:
        return _response_logps(_exact(trainer, trainer.ref_model), batch).chunk(2)
    with trainer.accelerator.unwrap_model(trainer.model).disable_adapter():
        return _response_logps(_exact(trainer, trainer.model_wrapped), batch).chunk(2)


def _exact(trainer: Any, model: Any) -> Any:
    """The model's forward without the autocast that accelerate puts around it, where the weights are not sharded."""
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        return model
    inner = trainer.accelerator.unwrap_model(model)
    return getattr(inner, "_original_forward", inner)


def _response_logps(model: Any, batch: Mapping[str, Any]) -> Any:
    """(2 × pairs,) summed log-probability of each response, chosen ones first, through TRL's fused head."""
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    read = {name: batch[name] for name in ("input_ids", "attention_mask")}
    return model(**read, labels=labels, fused_lm_head=True, use_cache=False).log_probs.sum(dim=1)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence bars and reports of the libraries below: what matters in them is an error or in the report."""
    logging = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    data_bars = datasets_logging.is_progress_bar_enabled()
    disabled = os.environ.get(NO_BARS)
    os.environ[NO_BARS] = "1"  # TRL's bar of precomputed references asks for it alone
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    datasets_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        if disabled is None:
            del os.environ[NO_BARS]
        else:
            os.environ[NO_BARS] = disabled
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
        if data_bars:
            datasets_logging.enable_progress_bar()


def _out_of_memory(error: BaseException) -> UserError:
    return UserError(
        "the device has too little memory for this training",
        why=first_line(error),
        fix="Lower per_device_train_batch_size (and raise gradient_accumulation_steps), or give lora",
    )
