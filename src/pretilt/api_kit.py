"""What the functions of the front door share: runs that are opened, and options shown in signature and docstring."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeAlias, TypeVar

from pretilt.settings import Settings

if TYPE_CHECKING:
    from pretilt.audit.result import AuditResult
    from pretilt.run import Run

AnyRun: TypeAlias = "str | Path | Run | AuditResult"  # a folder, a run, or the result of any step
P = ParamSpec("P")
T = TypeVar("T")


def with_options(settings: type[Settings]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Show the fields of `settings` in the signature and the docstring of a function that takes them as keywords."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(function)
        fields = settings.model_fields
        options = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.annotation)
            for name, field in fields.items()
        ]
        explicit = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]

        @functools.wraps(function)
        def documented(*args: P.args, **kwargs: P.kwargs) -> T:
            return function(*args, **kwargs)

        documented.__signature__ = signature.replace(parameters=[*explicit, *options])  # type: ignore[attr-defined]
        lines = [f"{name}: {settings.help(name)}{_choices(settings.choices(name))}" for name in fields]
        text = inspect.cleandoc(function.__doc__ or "")
        documented.__doc__ = text + "\n\nOptions:\n" + "\n".join(f"    {line}" for line in lines)
        return documented

    return decorate


def _choices(words: tuple[str, ...]) -> str:
    return f" One of {', '.join(words)}." if words else ""


def open_run(run: AnyRun) -> AuditResult:
    """Open a finished run. Raises UserError for a folder that is none, or whose manifest is damaged."""
    from pretilt.audit.result import open_run as open_folder

    return open_folder(run if isinstance(run, str | Path) else getattr(run, "run", run).path)


def read_by_a_lens(run: AnyRun, command: str) -> Run:
    """The run. Raises UserError for one that was audited without a lens: the command needs tokens and a model."""
    from pretilt.errors import UserError

    folder = open_run(run).run
    if folder.manifest.get("settings", {}).get("no_lens"):
        raise UserError(
            f"`pretilt {command}` needs a lens, and this run was audited with --no-lens",
            file=folder.path,
            fix="Audit the pairs into another folder with --model and --dictionary",
        )
    return folder
