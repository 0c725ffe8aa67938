"""Files that are whole or absent: atomic writing, and one line on why a file could not be read."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pydantic import ValidationError

from engine.errors import OutputError


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write `content` to `path`: a crash at any moment leaves the old file or the new one, never a part.

    Raises:
        OutputError: the directory or the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise _unwritable(path, error) from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)  # gone already when the replace succeeded
    _sync_directory(path.parent)


def reason(error: Exception) -> str:
    """One line on why a file could not be read: the first field at fault, or the system's words."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return (
            f"{'.'.join(map(str, first['loc'])) or 'content'}: {first['msg']} (given {first['input']!r:.60})"
        )
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"{type(error).__name__}: {error}"


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{path}: {reason(error)}", "a writable path", "Free space or choose another directory"
    )


def _sync_directory(directory: Path) -> None:
    """Make the rename itself survive a power cut, where the system can open a directory."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
