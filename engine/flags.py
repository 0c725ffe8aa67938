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

    def command(**arguments: Any) -> None:
        base = Options.parse(arguments.pop("preset") or "reference")
        given = _given(arguments, without)
        function(**arguments, options=dataclasses.replace(base, **given))

    return _flagged(command, function, "options", without)


def toggle_flags(function: Callable[..., None], without: tuple[str, ...] = ()) -> Callable[..., None]:
    """As `option_flags`, but the command gets what was given alone, as `toggles`, the preset among it."""

    def command(**arguments: Any) -> None:
        preset = arguments.pop("preset")
        given = _given(arguments, without)
        function(**arguments, toggles={**given, **({} if preset is None else {"preset": preset})})

    return _flagged(command, function, "toggles", without)


def _given(arguments: dict[str, Any], without: tuple[str, ...]) -> dict[str, Any]:
    """The toggles among a command's arguments that were given; all toggles are taken out of the arguments."""
    names = [field.name for field in dataclasses.fields(Options) if field.name not in without]
    values = {name: arguments.pop(name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _flagged(
    command: Callable[..., None], function: Callable[..., None], receives: str, without: tuple[str, ...]
) -> Callable[..., None]:
    """`command` with the signature of `function`, whose argument `receives` became flags."""
    hints = get_type_hints(Options)
    signature = inspect.signature(function, eval_str=True)
    own = [p for p in signature.parameters.values() if p.name != receives]
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
        default=None,
        annotation=Annotated[str | None, typer.Option(help=f"toggles to start from: {', '.join(PRESETS)}")],
    )

    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + [preset, *flags]
    )
    return command
