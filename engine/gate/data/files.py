"""Files that are whole or absent, and one line on why a file could not be read."""

from __future__ import annotations

from pydantic import ValidationError

from engine.files import write_atomically as write_atomically


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
