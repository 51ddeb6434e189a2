"""What a pasted pair would teach, as far as its text says: patterns in either answer, and what the run's labels favour.

Features need the model; a pasted text is not read through it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pretilt.concepts.pattern_step import stored_patterns
from pretilt.concepts.patterns import count
from pretilt.errors import UserError
from pretilt.run import Run
from pretilt.schema import CONCEPTS_FILE, PATTERNS_FILE

SIDES = ("chosen", "rejected")
LONGEST = 200_000  # characters of a pasted text


def pasted(run: Run, body: Any) -> dict[str, Any]:
    """{"patterns": [{"concept_id", "chosen", "rejected", "u"}]}: how often each pattern that stands in either answer
    stands in both. `body`: {"prompt", "chosen", "rejected"}, texts; one of the answers may be "". Raises UserError."""
    values = [body.get(name, "") if isinstance(body, Mapping) else None for name in ("prompt", *SIDES)]
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) < len(values) or not (texts[1] or texts[2]):
        raise UserError("there is nothing to read", why="no answer is given", fix="Paste one answer, or a pair of them")
    if max(map(len, texts)) > LONGEST:
        raise UserError("the text is too long", why=f"more than {LONGEST:,} characters", fix="Paste a part of it")
    if not run.holds(PATTERNS_FILE):
        return {"patterns": []}
    patterns = stored_patterns(run)
    table = run.table(CONCEPTS_FILE, ["concept_id", "pattern"]).to_pylist()
    concept_of = {row["pattern"]: row["concept_id"] for row in table if row["pattern"] is not None}
    names = [name for name in patterns if name in concept_of]
    counts = count([patterns[name] for name in names], texts[1:], [texts[0]] * 2)
    counts[[not text for text in texts[1:]]] = 0  # an answer that is not given is not an empty one
    return {
        "patterns": [
            {
                "concept_id": concept_of[name],
                "chosen": int(chosen),
                "rejected": int(rejected),
                "u": int(chosen > 0) - int(rejected > 0),
            }
            for name, chosen, rejected in zip(names, counts[0], counts[1], strict=True)
            if chosen or rejected
        ]
    }
