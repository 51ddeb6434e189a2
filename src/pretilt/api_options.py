"""The options of a function of the front door: made from its settings class, shown in signature and docstring."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from pretilt.settings import Settings

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
