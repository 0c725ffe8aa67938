"""Flags that commands share: those derived from `Options`, and a cluster whose address may be left out."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer
from typer.core import TyperCommand

from engine.cluster import LOCAL
from engine.options import PRESETS, Options

ADDRESS = re.compile(r"auto|local|ray://\S+|[\w.-]+:\d+|\[[0-9A-Fa-f:.]+\]:\d+")
"""What may follow `--cluster`: anything else is the next argument."""


class Command(TyperCommand):
    """A command whose `--cluster`, if it has one, may stand without an address."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments, the address filled in where there is none."""
        if any(parameter.name == "cluster" for parameter in self.params):
            end = args.index("--") if "--" in args else len(args)
            for place in reversed([place for place in range(end) if args[place] == "--cluster"]):
                if not (place + 1 < end and ADDRESS.fullmatch(args[place + 1])):
                    args = [*args[: place + 1], LOCAL, *args[place + 1 :]]
        return super().parse_args(ctx, args)


def option_flags(function: Callable[..., None], without: tuple[str, ...] = ()) -> Callable[..., None]:
    """Give a command one flag for each field of `Options`, and hand it the `Options` they spell as `options`.

    A flag that is not given leaves the preset's value.

    Args:
        function: the command.
        without: fields that mean nothing for it, which get no flag.
    """
    hints = get_type_hints(Options)
    signature = inspect.signature(function, eval_str=True)
    own = [p for p in signature.parameters.values() if p.name != "options"]
    flags = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                hints[field.name] | None,
                typer.Option(
                    help=f"{field.metadata['help']} (reference: {field.default})", rich_help_panel="Toggles"
                ),
            ],
        )
        for field in dataclasses.fields(Options)
        if field.name not in without
    ]
    preset = inspect.Parameter(
        "preset",
        inspect.Parameter.KEYWORD_ONLY,
        default="reference",
        annotation=Annotated[str, typer.Option(help=f"toggles to start from: {', '.join(PRESETS)}")],
    )

    def command(**arguments: Any) -> None:
        names = [field.name for field in dataclasses.fields(Options)]
        given = {name: value for name in names if (value := arguments.pop(name, None)) is not None}
        base = Options.parse(arguments.pop("preset"))
        function(**arguments, options=dataclasses.replace(base, **given))

    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + [preset, *flags]
    )
    return command
