"""Take a pattern out of the responses that teach it, by the pattern's own rewriter; the new text is measured anew."""

from __future__ import annotations

from pretilt.concepts.patterns import without_all
from pretilt.errors import UserError
from pretilt.shape.methods.work import Work
from pretilt.train.actions import Action

UNIT = "share of the teaching pairs whose response is rewritten, the strongest first, 0 to 1"


def rows(work: Work, strength: float) -> list[Action]:
    """Rewritten responses; of suppress the chosen ones with the pattern, of amplify the rejected ones.

    A response of which nothing would be left stays as it is. Raises UserError for a concept that has no rewriter.
    """
    pattern = work.data.patterns.get(work.target.pattern or "")
    if pattern is None or not pattern.rewriter:
        with_rewriter = [name for name, pattern in work.data.patterns.items() if pattern.rewriter]
        raise UserError(
            f"nothing rewrites {work.target.name}",
            why="it is no pattern" if pattern is None else "this pattern has no rewriter",
            fix=f"Choose another method; patterns with a rewriter are {', '.join(with_rewriter[:8])} …",
        )
    side = "chosen" if work.suppresses else "rejected"
    chosen = sorted(work.first(work.teaching(against=not work.suppresses), strength))
    changed = []
    messages = work.data.messages(side)
    for row in chosen:
        if sum(message["role"] == "assistant" for message in messages[row]) > 1:
            continue  # of several turns it is not known which one a text would take the place of
        changed.append(row)
    before = [work.data.text(row, side) for row in changed]
    after = without_all(pattern, before).to_pylist()
    return [
        Action(row, work.number, "rewrite", side=side, text=new, reason=f"without {pattern.title}")
        for row, old, new in zip(changed, before, after, strict=True)
        if new != old
    ]
