"""Rows with one chosen and one rejected response: the context from wherever the format keeps it, then the responses."""

from __future__ import annotations

from dataclasses import dataclass

from pretilt.pairs.cells import MESSAGES, TRANSCRIPT, Cells
from pretilt.pairs.context import read_context
from pretilt.pairs.messages import describe
from pretilt.pairs.pair import Message
from pretilt.pairs.ranked import Reading, Response


@dataclass(frozen=True)
class PairedReader:
    """How to read the rows of one table: column names are canonical; see `formats.recognise`.

    `context` is None when the responses carry their prompt; `is_whole` says that they do so in most rows, whatever the
    context column repeats; `reads_system` that the column `system` opens the context.
    """

    chosen: str
    rejected: str
    context: str | None
    is_chat: bool
    is_whole: bool
    reads_system: bool

    def read(self, cells: Cells) -> Reading:
        if cells.is_tie():
            return Reading(drop=("tie", "status is 'tie'"))
        if not self.is_chat:
            return self._plain(cells)

        context, tools = read_context(cells, self.context, self.reads_system)
        reading = Reading(context, tools=tools)
        opened_by_marker = bool(self.context) and cells.columns.shape(self.context) == TRANSCRIPT

        responses = []
        for rank, name in enumerate((self.chosen, self.rejected)):
            turns = cells.turns(name, "assistant")
            if opened_by_marker and len(turns) == 1 and cells.columns.shape(name) != MESSAGES:
                turns = (_after_marker(turns[0], cells, str(self.context)),)
            if not turns and cells.columns.shape(name) == TRANSCRIPT and cells.text(name).strip():
                return Reading(drop=("no common prompt", f"{name} does not begin with a 'Human:' turn"))
            responses.append(Response(turns, rank))

        reading.responses = responses
        return reading

    def _plain(self, cells: Cells) -> Reading:
        """TRL's standard format: raw strings, which the trainer reads without a chat template."""
        chosen, rejected = cells.text(self.chosen), cells.text(self.rejected)
        if not_read := cells.row.get("system"):
            why = f"no row of the sample at the start has one, this one holds {describe(not_read)}"
            raise cells.place("system").error(
                "an unexpected system text", why, "Say that it counts: --column system=system"
            )

        if self.context:
            prompt = cells.text(self.context)
        elif chosen == rejected:
            prompt = ""
            return Reading(drop=("identical", "") if chosen.strip() else ("empty", "both responses are empty"))
        elif not chosen.strip() or not rejected.strip():
            return Reading(drop=("empty", f"{'rejected' if chosen.strip() else 'chosen'} is empty"))
        else:
            at = common_text(chosen, rejected)
            prompt, chosen, rejected = chosen[:at], chosen[at:], rejected[at:]
            if not prompt.strip():
                return Reading(drop=("no common prompt", "the two texts begin differently"))

        if self.context and prompt and chosen.startswith(prompt) and rejected.startswith(prompt):
            cells.remark_counts["responses that begin with their prompt"] += 1

        context = (Message("user", prompt),) if prompt else ()
        return Reading(
            context, [Response((Message("assistant", t),), rank) for rank, t in enumerate((chosen, rejected))]
        )


def common_text(first: str, second: str) -> int:
    """Length of the prompt that two different texts share, as TRL's `extract_prompt` cuts it.

    That is the common prefix, without a blank at its end; when one text continues the other, one character is left to
    the shorter. Unlike TRL's, it does not wrap around when the first characters differ.
    """
    shorter = min(len(first), len(second))
    at = next((i for i in range(shorter) if first[i] != second[i]), shorter - 1)
    differs = first[at] != second[at]
    return at - 1 if differs and at > 0 and first[at - 1] == " " else at


def _after_marker(message: Message, cells: Cells, context: str) -> Message:
    """A response to a prompt that ends in a bare "Assistant:": the blank after the marker is the separator's."""
    bare = cells.text(context).endswith("Assistant:")
    return Message(message.role, message.content[1:]) if bare and message.content.startswith(" ") else message
