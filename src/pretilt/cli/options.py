"""Commands made from settings classes: one option per field, its choices and default shown, panels by stage."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import typer
from typer.core import TyperCommand

from pretilt.errors import UserError
from pretilt.settings import OUTPUT, Settings

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of a finished audit.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
ShowText = Annotated[bool, typer.Option("--show-text", help="Print texts even where they may be harmful.")]
REPEATED = {"columns": ("--column", "Column by hand, as our_name=source_name; may be repeated.")}


class PanelCommand(TyperCommand):
    """A command whose help lists its options under the headings of their panels, in plain text."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        panels: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            is_argument = parameter.param_type_name == "argument"
            panel = "Arguments" if is_argument else getattr(parameter, "rich_help_panel", None) or OUTPUT
            panels.setdefault(panel, []).append(record)
        for panel in sorted(panels, key=lambda panel: (panel != "Arguments", panel == OUTPUT)):
            with formatter.section(panel):
                formatter.write_dl(panels[panel])


def command(settings: type[Settings]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of `settings`, and hand those that were typed to its argument `options`."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(function, eval_str=True)
        explicit = {name: p for name, p in signature.parameters.items() if name != "options"}
        generated = {name: _parameter(settings, name) for name in settings.model_fields if name not in explicit}

        @functools.wraps(function)
        def run(**values: Any) -> None:
            typed = {name: value for name in generated if (value := values.pop(name)) not in (None, [])}
            for name in REPEATED.keys() & typed.keys():
                typed[name] = _mapping(REPEATED[name][0], typed[name])
            function(**values, options=typed)

        ordered = sorted(
            [*explicit.values(), *generated.values()], key=lambda p: p.default is not inspect.Parameter.empty
        )
        run.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in ordered]
        )
        run.__annotations__ = {p.name: p.annotation for p in ordered}
        return run

    return decorate


def _parameter(settings: type[Settings], name: str) -> inspect.Parameter:
    """The option of a field. Its default is None: what was not typed leaves the configuration file's value."""
    annotation = settings.model_fields[name].annotation
    panel = settings.panel(name)
    if name in REPEATED:
        flag, text = REPEATED[name]
        option = typer.Option(flag, help=text, rich_help_panel=panel, metavar="OURS=THEIRS")
        return _optional(name, Annotated[list[str] | None, option])
    flag, words = f"--{name.replace('_', '-')}", settings.choices(name)
    # A choice is checked by the settings alone: one wording of the error, from Python and from the command line.
    metavar = f"<{'|'.join(words)}>" if words else None
    option = typer.Option(flag, help=settings.help(name), rich_help_panel=panel, show_default=False, metavar=metavar)
    return _optional(name, Annotated[(str if words else _bare(annotation)) | None, option])


def _optional(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _bare(annotation: Any) -> Any:
    """The type without its None."""
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = (part for part in get_args(annotation) if part is not type(None))
    return annotation


def _mapping(flag: str, entries: list[str]) -> dict[str, str]:
    """`--column chosen=better` as a mapping. Raises UserError for an entry without an equals sign."""
    for entry in entries:
        if "=" not in entry:
            raise UserError(f"{flag} {entry} is not understood", fix="Write it as our_name=source_name")
    return dict(entry.split("=", 1) for entry in entries)
