"""TRL's `DPOTrainer`, stock: built from settings, run from the last whole checkpoint, and measured at the end."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from accelerate.utils import is_peft_model
from datasets import Dataset
from datasets.utils import logging as datasets_logging
from safetensors import SafetensorError
from transformers import PrinterCallback, TrainerCallback
from trl import DPOTrainer

from tiltmeter.errors import UserError
from tiltmeter.events import Events
from tiltmeter.lens.checkpoint import auto_class, load_config
from tiltmeter.train.dataset import TrainingPairs
from tiltmeter.train.folder import ADAPTER, disk_error
from tiltmeter.train.regime import Margins
from tiltmeter.train.settings import TrainSettings, first_line


class Progress(TrainerCallback):  # type: ignore[misc]
    """Tells the listener after every optimizer step."""

    def __init__(self, events: Events) -> None:
        self.events = events

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.events.progress("training", state.global_step, state.max_steps, "steps")


def build(model: str, tokenizer: Any, pairs: TrainingPairs, args: Any, settings: TrainSettings, events: Events) -> Any:
    """The `trl.DPOTrainer` with the pairs prepared. Raises UserError where the model cannot be loaded or trained so.

    The model goes in by name: the trainer then loads the reference in the same way, from the same commit. The held-out
    pairs are its evaluation set, which it reads only if `eval_strategy` is given, and never chooses by.
    """
    with quiet():
        try:
            trainer: Any = DPOTrainer(
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
        with quiet():
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


def margins(
    trainer: Any, prepared: Dataset, n_pairs: int, seed: int, family_id: Mapping[str, int]
) -> tuple[Margins, list[str]]:
    """Log-probabilities of at most `n_pairs` of the prepared pairs, drawn by the seed, before and after training.

    With the trainer's own batches, in the precision of the weights: the rounding of mixed precision is larger than what
    a short run changes. Only under FSDP, DeepSpeed and with precomputed references is it as in training. Second result:
    the pair_ids, in order.
    """
    rows = np.sort(np.random.default_rng(seed).permutation(len(prepared))[:n_pairs])
    sample = prepared.select(rows)
    pair_ids = list(sample["pair_id"])
    policy = trainer.model_wrapped
    was_training = policy.training
    policy.eval()
    found: list[np.ndarray] = []
    try:
        with quiet(), torch.no_grad():
            for batch in trainer.get_eval_dataloader(sample):
                read = policy if "ref_chosen_logps" in batch else _exact(trainer, policy)
                after = _response_logps(read, batch)
                n_tokens = batch["completion_mask"].sum(dim=1)
                columns = (*_reference(trainer, batch), *after.chunk(2), *n_tokens.chunk(2))
                gathered = trainer.accelerator.gather_for_metrics(torch.stack([c.double() for c in columns], dim=1))
                found.append(gathered.cpu().numpy())
    finally:
        policy.train(was_training)
    table = np.concatenate(found)
    families = np.array([family_id[pair_id] for pair_id in pair_ids], dtype=np.int64)
    return Margins(table[:, 0], table[:, 2], table[:, 1], table[:, 3], table[:, 4], table[:, 5], families), pair_ids


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
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    datasets_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
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
