"""A file of texts: one JSON object a line, each an item to speak or a bad line that is named."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.errors import EngineError, UsageError
from engine.requests import Request

MAX_LINE = 1 << 20
"""Bytes of the longest line; the longest text is far shorter, in any script."""
NAMES = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""What an item may be called: its audio is a file of that name."""
KEYS: dict[str, tuple[type, ...]] = {
    "id": (str, int),
    "text": (str,),
    "voice": (str,),
    "seed": (int,),
    "speed": (int, float),
    "nfe": (int,),
    "cfg_strength": (int, float),
    "duration": (int, float),
    "fade": (int, float),
    "pause": (int, float),
    "trim": (bool,),
}
"""What a line may hold, and of which type."""


@dataclasses.dataclass(frozen=True, eq=False)
class Item:
    """A line that can be tried: its number from 1, the name of its file, and what to say."""

    line: int
    name: str
    request: Request


@dataclasses.dataclass(frozen=True)
class BadLine:
    """A line that cannot be tried, and why."""

    line: int
    reason: str

    @property
    def name(self) -> str:
        """What its result is called: no item can be called so."""
        return f"line {self.line}"


def read(path: Path, defaults: Request) -> tuple[list[Item], list[BadLine]]:
    """The items of a file, and its bad lines; empty lines are passed over.

    Args:
        path: a text file, one JSON object a line: `text`, and any other of `KEYS`.
        defaults: what a line that does not say otherwise takes; its words are not used.

    Raises:
        UsageError: the file cannot be read, or has no line to speak.
    """
    items: list[Item] = []
    bad: list[BadLine] = []
    taken: dict[str, int] = {}
    for number, content in _lines(path):
        try:
            fields = _fields(content)
            name = _name(fields.pop("id", f"{number:06d}"))
            if name.lower() in taken:  # some file systems know no capitals
                raise UsageError(
                    f"id {name!r} of line {taken[name.lower()]} again", "an id of its own", "Rename one"
                )
            items.append(Item(number, name, _request(fields, defaults)))
            taken[name.lower()] = number
        except EngineError as error:
            bad.append(BadLine(number, str(error)))
    if not items and not bad:
        raise UsageError(f"{path} without a text", 'lines such as {"text": "Hello, chat!"}', "Write one")
    return items, bad


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not empty, with their numbers; of one that is too long, its beginning."""
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE:
                    while rest := file.readline(MAX_LINE):
                        if rest.endswith(b"\n"):
                            break
                if line.strip():
                    yield number, line
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise UsageError(f"{path} ({error})", "a file of texts that can be read", "Check the path") from error


def _fields(content: bytes) -> dict[str, Any]:
    """What a line holds, its keys and their types checked."""
    if len(content) > MAX_LINE:
        raise UsageError("a line of more than 1 MiB", "a text that can be spoken", "Shorten it")
    try:
        fields = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, or nested without end
        raise UsageError(
            f"no JSON ({error})", 'an object such as {"text": "Hello, chat!"}', "Correct it"
        ) from error
    if not isinstance(fields, dict) or "text" not in fields:
        raise UsageError(
            f"{content[:60].decode(errors='replace').strip()!r} without a text",
            'an object such as {"text": "Hello, chat!"}',
            "Add one",
        )
    for key, value in fields.items():
        if key not in KEYS:
            raise UsageError(f"key {key!r:.60}", f"one of {', '.join(KEYS)}", "Correct it")
        if not isinstance(value, KEYS[key]) or (isinstance(value, bool) and bool not in KEYS[key]):
            kinds = " or ".join(kind.__name__ for kind in KEYS[key])
            raise UsageError(f"{key}={value!r:.60}", f"a value of type {kinds}", "Correct it")
    return fields


def _name(given: str | int) -> str:
    """The name of an item's file, without its suffix."""
    if not NAMES.fullmatch(str(given)):
        raise UsageError(
            f"id {given!r:.120}",
            "1 to 100 letters, digits, dots, dashes and underscores, the first a letter or a digit",
            "Rename it",
        )
    return str(given)


def _request(fields: dict[str, Any], defaults: Request) -> Request:
    """What a line asks for; a length of its own takes the place of a speed that is not its own."""
    if "duration" in fields and "speed" not in fields:
        fields["speed"] = 1.0
    return dataclasses.replace(defaults, words=fields.pop("text"), **fields).checked()
