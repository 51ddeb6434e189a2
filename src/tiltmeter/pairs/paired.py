"""Rows with one chosen and one rejected response: the context from wherever the format keeps it, then the responses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tiltmeter.pairs.cells import MESSAGES, TRANSCRIPT, TURNS, WRAPPED, Cells
from tiltmeter.pairs.messages import describe, parse_messages
from tiltmeter.pairs.pair import Message
from tiltmeter.pairs.ranked import Reading, Response, open_context


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
        reading = Reading()
        reading.context = self._context(cells, reading)
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
            cells.seen["responses that begin with their prompt"] += 1
        context = (Message("user", prompt),) if prompt else ()
        return Reading(
            context, [Response((Message("assistant", t),), rank) for rank, t in enumerate((chosen, rejected))]
        )

    def _context(self, cells: Cells, reading: Reading) -> tuple[Message, ...]:
        name = self.context
        if name is None:
            turns: tuple[Message, ...] = ()
        elif cells.columns.shape(name) == TURNS:
            turns = _input_output(cells, name)
        elif cells.columns.shape(name) == WRAPPED:
            turns = self._openai(cells, name, reading)
        elif name == "instruction":
            texts = [cells.text("instruction"), cells.text("input")]
            text = "\n".join(t for t in texts if t)
            turns = (*_history(cells), Message("user", text)) if text else ()
        else:
            turns = open_context(cells, name)
        if self.reads_system:
            system = cells.text("system")
            opened = bool(turns) and turns[0].role == "system"
            if system and not opened and (turns or name is None):
                turns = (Message("system", system), *turns)
        return turns

    def _openai(self, cells: Cells, name: str, reading: Reading) -> tuple[Message, ...]:
        """OpenAI's preference format: input = {messages, tools, parallel_tool_calls}."""
        value = cells.value(name)
        place = cells.place(name)
        if not isinstance(value, Mapping):
            raise place.error("wrong type", f"found {describe(value)}, expected an object with messages")
        reading.tools = value.get("tools")
        return parse_messages(value.get("messages"), place, cells.seen)


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


def _input_output(cells: Cells, name: str) -> tuple[Message, ...]:
    """Capybara: [{input, output}, …]; the last output is the response's place and not part of the context."""
    turns: list[Message] = []
    items = cells.items(name)
    for number, turn in enumerate(items):
        if not isinstance(turn, Mapping):
            raise cells.place(name).error(
                "wrong type", f"turn {number} is {describe(turn)}, expected an object with input and output"
            )
        for key, role in (("input", "user"), ("output", "assistant")):
            text = turn.get(key)
            if text is not None and not isinstance(text, str):
                raise cells.place(name).error(
                    "wrong type", f"{key} of turn {number} is {describe(text)}, expected text"
                )
            if text and not (key == "output" and number == len(items) - 1):
                turns.append(Message(role, text))
    return tuple(turns)


def _history(cells: Cells) -> tuple[Message, ...]:
    """LLaMA-Factory: `history` = [[user, assistant], …] before the instruction."""
    turns: list[Message] = []
    for number, past in enumerate(cells.items("history")):
        if not isinstance(past, (list, tuple)) or len(past) != 2 or not all(isinstance(t, str) for t in past):
            raise cells.place("history").error("wrong type", f"item {number} is {describe(past)}, expected two texts")
        turns += [Message("user", past[0]), Message("assistant", past[1])]
    return tuple(turns)
