"""What TRL's own DPOTrainer makes of rows: the tokens that say what is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def prepared_by_trainer(
    rows: Sequence[Mapping[str, Any]], tokenizer: Any, max_length: int | None, folder: object
) -> dict[str, dict[str, list[int]]]:
    """A row's `pair_id` -> the ids that DPOTrainer itself prepared and that its collator feeds to the model."""
    from datasets import Dataset
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl import DPOConfig, DPOTrainer

    size = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model, reference = (LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **size)) for _ in range(2))
    args = DPOConfig(
        output_dir=str(folder), max_length=max_length, use_cpu=True, bf16=False, report_to="none", disable_tqdm=True
    )
    data = Dataset.from_list([dict(row) for row in rows])
    trainer = DPOTrainer(model=model, ref_model=reference, args=args, processing_class=tokenizer, train_dataset=data)
    prepared = {}
    for row in trainer.train_dataset:
        batch = trainer.data_collator([row])
        fed = [ids[mask.bool()] for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)]
        n = len(row["prompt_ids"])
        prepared[row["pair_id"]] = {
            "prompt": row["prompt_ids"],
            "chosen": fed[0][n:].tolist(),
            "rejected": fed[1][n:].tolist(),
        }

    return prepared
