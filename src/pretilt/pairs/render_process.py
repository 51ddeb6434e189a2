"""The process that runs chat templates: a program inside a model's folder, which may loop or fill the memory.

Run as a script by `rendering.py`, with its module search path as the argument. A line of JSON in is the tokenizer's
template or a list of requests; a line of JSON out is the answer to one of them. A template that uses up its processor
time or its memory ends this process and nothing else; when the parent is gone, however it went, the input ends and so
does this process.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

CPU_SECONDS = 10.0  # for one rendering; an ordinary one takes a thousandth
MEMORY_BYTES = 2 * 1024**3  # beyond what the libraries take
MAX_CHARS = 64 * 1024**2


def main() -> None:
    sys.path[:] = json.loads(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # what a library prints is no answer

    from jinja2 import TemplateError
    from transformers.tokenization_utils_base import PreTrainedTokenizerBase

    class Template(PreTrainedTokenizerBase):
        """A tokenizer that has a template and nothing else: all the rest of `apply_chat_template` is the library's."""

        special_tokens_map: Any = None

        def __init__(self, chat_template: Any, special_tokens_map: dict[str, Any]) -> None:
            self.chat_template, self.special_tokens_map = chat_template, special_tokens_map

    raised = (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RuntimeError)
    _limit_memory()
    template: Template | None = None
    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        received = json.loads(line)
        if isinstance(received, dict):
            template = Template(**received["setup"])
            continue
        assert template is not None
        for request in received:
            signal.setitimer(signal.ITIMER_PROF, float(sys.argv[2]))  # its signal ends the process
            try:
                text = json.dumps({"text": _checked(str(template.apply_chat_template(**request, tokenize=False)))})
            except (*raised, MemoryError) as error:
                text = json.dumps({"refused": _words(error)})
            signal.setitimer(signal.ITIMER_PROF, 0)
            answers.write(text + "\n")
            answers.flush()


def _limit_memory() -> None:
    import resource

    in_use = 0
    if sys.platform == "linux":
        in_use = os.sysconf("SC_PAGE_SIZE") * int(Path("/proc/self/statm").read_text().split()[0])
    limit = in_use + MEMORY_BYTES
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _checked(text: str) -> str:
    if len(text) > MAX_CHARS:
        raise ValueError(f"the template printed {len(text):,} characters, more than {MAX_CHARS:,}")
    text.encode()  # half of a surrogate pair: no tokenizer takes it
    return text


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:500]}"


if __name__ == "__main__":
    main()
