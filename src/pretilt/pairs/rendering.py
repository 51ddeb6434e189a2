"""Chat templates are run in a process of their own, with a limit of time and of memory for each rendering.

One process serves all tokenizers and stays for as long as this one: it starts in about a second, and a rendering
through it takes little more than the rendering itself. It is started again when a template has ended it.
"""

from __future__ import annotations

import atexit
import inspect
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pretilt.errors import UserError
from pretilt.pairs.render_process import CPU_SECONDS, MEMORY_BYTES

Request = tuple[Sequence[dict[str, Any]], bool, Mapping[str, Any]]  # as the arguments of `TemplateRenderer.render`

_BATCH_CHARS = 4_000_000  # of requests that the process is sent at once
_ENDED_AT_FIRST = 3  # so many conversations that end the process, none rendered before: it is the template
_VALUES = {"tools", "documents", "kwargs"}  # parameters of `apply_chat_template` that are values for the template


class TemplateRefused(Exception):
    """The template raised an error for a conversation, or used up its time or its memory; the text says which."""


class TemplateRenderer:
    """`tokenizer.apply_chat_template(conversation, tokenize=False, …)`, and whatever the template does is survived."""

    def __init__(self, tokenizer: Any) -> None:
        special = {name: plain_token(token) for name, token in tokenizer.special_tokens_map.items()}
        self._setup = json.dumps({"setup": {"chat_template": tokenizer.chat_template, "special_tokens_map": special}})
        self._own_names = {*inspect.signature(tokenizer.apply_chat_template).parameters} - _VALUES
        self._own_names |= {"conversations", "messages"}
        self._rendered, self._ended = False, 0

    def render(
        self, conversation: Sequence[dict[str, Any]], *, ask: bool = False, arguments: Mapping[str, Any] | None = None
    ) -> str:
        """The text of a conversation; `ask` adds the generation prompt, `arguments` are tools and template arguments.

        Raises TemplateRefused; UserError if it is the template's fault that nothing can be rendered.
        """
        [text] = self.render_all([(conversation, ask, arguments or {})])
        if isinstance(text, TemplateRefused):
            raise text
        return text

    def render_all(self, requests: Sequence[Request]) -> list[str | TemplateRefused]:
        """The texts of many conversations, in order: several times as fast as one by one. Raises UserError alone."""
        lines = [self._line(*request) for request in requests]
        request_lines = [line for line in lines if isinstance(line, str)]
        texts: list[str | TemplateRefused] = []
        while len(texts) < len(request_lines):
            answers = _PROCESS.ask(self._setup, _first_lines(request_lines, len(texts)))
            texts += map(self._text, answers)

        rendered = iter(texts)
        return [next(rendered) if isinstance(line, str) else line for line in lines]

    def _line(
        self, conversation: Sequence[dict[str, Any]], ask: bool, arguments: Mapping[str, Any]
    ) -> str | TemplateRefused:
        if taken := sorted(self._own_names & set(arguments)):
            return TemplateRefused(
                f"chat_template_kwargs may not hold {', '.join(taken)}: data give values to the model's chat template, "
                "never a template or an option of the tokenizer"
            )
        try:
            return json.dumps({"conversation": list(conversation), "add_generation_prompt": ask, **arguments})
        except (TypeError, ValueError, RecursionError) as error:
            return TemplateRefused(f"{type(error).__name__}: {error}")

    def _text(self, answer: Any) -> str | TemplateRefused:
        if isinstance(answer, int):
            self._ended += 1
            why = f"the chat template {_end(answer)}"
            if self._ended >= _ENDED_AT_FIRST and not self._rendered:
                raise UserError(
                    "the model's chat template does not end",
                    why=f"{why} on each of the first {self._ended} conversations",
                    fix="Give a model whose chat_template.jinja renders a conversation",
                )
            return TemplateRefused(why)

        if "refused" in answer:
            return TemplateRefused(answer["refused"])
        self._rendered = True
        return str(answer["text"])


def _first_lines(lines: Sequence[str], start: int) -> list[str]:
    """From `start` on, as many as the process is sent at once: at least one."""
    sizes = itertools.accumulate(len(line) for line in lines[start:])
    n = sum(1 for _ in itertools.takewhile(lambda size: size <= _BATCH_CHARS, sizes))
    return list(lines[start : start + max(n, 1)])


def _end(status: int) -> str:
    if status == -signal.SIGPROF:
        return f"ran past {CPU_SECONDS:g} s"
    return f"ended its process (status {status}; it may use {MEMORY_BYTES // 1024**3} GB of memory)"


def plain_token(value: Any) -> Any:
    """Special tokens may be AddedToken objects or lists of them."""
    if isinstance(value, dict):
        return {k: plain_token(v) for k, v in value.items()}
    return [plain_token(v) for v in value] if isinstance(value, (list, tuple)) else str(value)


class _Process:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: subprocess.Popen[str] | None = None
        self._owner, self._setup = 0, ""

    def ask(self, setup: str, requests: Sequence[str]) -> list[Any]:
        """The answers (dicts) in order; if a request ends the process, its exit status (int) is the last of them."""
        answers: list[Any] = []
        with self._lock:
            process = self._started()
            assert process.stdin and process.stdout
            try:
                if self._setup != setup:
                    process.stdin.write(setup + "\n")
                    self._setup = setup
                # One line, which is read whole before the first answer: neither side waits for the other to read.
                process.stdin.write(f"[{','.join(requests)}]\n")
                process.stdin.flush()
                for _ in requests:
                    line = process.stdout.readline()
                    if not line.endswith("\n"):
                        break
                    answers.append(json.loads(line))
            except BrokenPipeError:
                pass  # it has ended
            except BaseException:  # Ctrl-C: the answers, unread, would be taken for the next ones
                self.stop()
                raise
            if len(answers) < len(requests):
                answers.append(process.wait())
                self.stop()

        return answers

    def _started(self) -> subprocess.Popen[str]:
        if self._running is None or self._owner != os.getpid():  # a fork of this process has none of its own
            errors = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
            self._running = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    str(Path(__file__).with_name("render_process.py")),
                    json.dumps(sys.path),
                    str(CPU_SECONDS),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                encoding="ascii",
                env={**os.environ, "USE_TORCH": "0", "OPENBLAS_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error"},
            )

            self._owner, self._setup = os.getpid(), ""

            assert self._running.stdout
            if not self._running.stdout.readline():
                self.stop()
                errors.seek(0)
                why = errors.read().decode("utf-8", "replace").strip().splitlines()[-1:]
                raise UserError("the process that runs chat templates does not start", why="".join(why))
        return self._running

    def stop(self) -> None:
        process, self._running = self._running, None
        if process is not None and self._owner == os.getpid():
            process.kill()
            process.wait()


_PROCESS = _Process()
atexit.register(_PROCESS.stop)
