"""The folder of a job: its audio files, and `results.jsonl` with one line for each item that was tried.

A file counts as finished once its line stands in `results.jsonl` and its bytes are those that the line names.
Both are forced to the disk, the file first, so a crash at any moment costs the item under way and no other.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from engine.audio import FORMATS
from engine.errors import OutputError, UsageError
from engine.files import sha256, write_atomically
from engine.jobs.speaking import Outcome

NAME = "results.jsonl"
LOCK = ".lock"
LEFT_BEHIND = re.compile(rf"\..+({'|'.join(FORMATS)}|jsonl)\.[a-z0-9_]{{8}}")
"""What a killed process leaves of a file that it had not finished."""


@dataclasses.dataclass(frozen=True)
class Result:
    """A line of `results.jsonl`: the fields of a success, or an `error`.

    Attributes:
        line, id: of the item: its place in the file of texts, and its name.
        key: digest of all that decides its audio.
        file, sha256, bytes: what was written.
        seconds, rtf, warnings: as in `Audio`.
        error: why there is no audio.
    """

    line: int
    id: str
    key: str = ""
    file: str = ""
    sha256: str = ""
    bytes: int = 0
    seconds: float = 0.0
    rtf: float = 0.0
    warnings: tuple[str, ...] = ()
    error: str = ""

    def json(self) -> str:
        """The line, without the fields that say nothing."""
        known = {name: value for name, value in dataclasses.asdict(self).items() if value not in ("", 0, ())}
        return json.dumps(known, ensure_ascii=False)


class Results:
    """An output folder, held by one process at a time. A context manager.

    Raises:
        OutputError: the folder cannot be made or written.
        UsageError: another process writes into it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / LOCK).open("w")
        except (OSError, ValueError) as error:  # ValueError: a null byte in the path
            raise OutputError(
                f"{folder} ({error})", "a folder that can be written", "Choose another"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise UsageError(
                f"{folder} in use by another batch", "one at a time", "Wait for it, or choose another folder"
            ) from error
        self._sweep()
        self._latest = self._read()
        self._file: IO[bytes] = (folder / NAME).open("ab")

    def __enter__(self) -> Results:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._lock.close()

    def finished(self, name: str, key: str) -> bool:
        """Whether the audio of this item is there, whole, and what would be spoken now."""
        result = self._latest.get(name)
        if result is None or result.error or result.key != key:
            return False
        path = self.folder / result.file
        return path.is_file() and path.stat().st_size == result.bytes and sha256(path) == result.sha256

    def keep(self, outcome: Outcome, key: str, format: str) -> Result:
        """Write the audio of an item, if it has any, and then its line.

        Raises:
            OutputError: the folder cannot be written.
        """
        item, content = outcome.item, outcome.content
        if content is None:
            return self.fail(item.line, item.name, outcome.error)
        file = f"{item.name}{FORMATS[format][2][0]}"
        path = self.folder / file
        write_atomically(path, content)
        result = Result(
            item.line, item.name, key, file, sha256(path), len(content),
            round(outcome.seconds, 4), round(outcome.rtf, 4), outcome.warnings,
        )  # fmt: skip
        self._append(result)
        return result

    def fail(self, line: int, name: str, reason: str) -> Result:
        """Write the line of an item that has no audio.

        Raises:
            OutputError: the folder cannot be written.
        """
        result = Result(line, name, error=reason)
        self._append(result)
        return result

    def settle(self, names: Sequence[str]) -> None:
        """Leave one line for each item, in the order given; of others, those whose audio is there stay.

        Raises:
            OutputError: the folder cannot be written.
        """
        others = [result for name, result in self._latest.items() if name not in set(names) and result.file]
        results = [*(self._latest[name] for name in names if name in self._latest), *others]
        write_atomically(self.folder / NAME, "".join(f"{result.json()}\n" for result in results))

    def _append(self, result: Result) -> None:
        try:
            self._file.write(f"{result.json()}\n".encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputError(
                f"{self.folder / NAME} ({error})", "room for a line", "Free space, and run it again"
            ) from error
        self._latest[result.id] = result

    def _sweep(self) -> None:
        """Delete what a killed process had not finished."""
        for path in self.folder.iterdir():
            if LEFT_BEHIND.fullmatch(path.name):
                path.unlink()

    def _read(self) -> dict[str, Result]:
        """The last whole line of each item; one that was cut off is taken away, so that none grows on it."""
        path = self.folder / NAME
        if not path.is_file():
            return {}
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            write_atomically(path, content[:whole])
        results = [_parsed(line) for line in content[:whole].splitlines()]
        return {result.id: result for result in results if result is not None}


def _parsed(line: bytes) -> Result | None:
    """A line of `results.jsonl`; nothing for one that a person has broken: its item is spoken again."""
    try:
        content: Any = json.loads(line)
        if not {"line", "id"} <= content.keys():
            return None
        return Result(**{**content, "warnings": tuple(content.get("warnings", ()))})
    except (ValueError, TypeError, AttributeError):
        return None
