"""Put an instruction that asks for a concept before the prompt of chosen responses that show it: the policy alone.

The reference keeps the plain prompt. What the instruction makes likelier is then no news to the policy, so that the
pair pulls less, and what it teaches is learned in the presence of the instruction. How much of it carries over to
prompts without it is not known before training.
"""

from __future__ import annotations

from pretilt.shape.methods.work import Work
from pretilt.shape.reference import plain_logps
from pretilt.shape.variants import Variant, variant_logps
from pretilt.train.actions import Action

UNIT = "share of the teaching pairs whose chosen response is trained under the instruction, the strongest first, 0 to 1"


def rows(work: Work, strength: float) -> list[Action]:
    """Instructions, with the log-odds that each explains before training."""
    teaching = sorted(work.first(work.teaching(), strength))
    if not teaching:
        return []
    instruction = str(work.item.instruction)
    likelier = variant_logps(work.data, Variant(instruction=instruction))[0] - plain_logps(work.data)[0]
    reason = f"teaches {work.target.name}"
    return [
        Action(
            row, work.number, "inoculate", side="chosen", text=instruction,
            explained=work.beta * float(likelier[row]), reason=reason,
        )
        for row in teaching
    ]  # fmt: skip
