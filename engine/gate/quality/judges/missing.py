"""A judge whose package is not installed."""

from __future__ import annotations

import importlib
from typing import Any

from engine.errors import UsageError

INSTALL = "Install the extra, in the checkout: pip install -e .[quality]"


class MissingJudge(UsageError):  # noqa: N818 - it is the judge that is missing
    """A judge cannot be opened because a package of it cannot be imported. `judge` names it."""

    def __init__(self, judge: str, reason: str, cure: str = INSTALL) -> None:
        super().__init__(f"judge {judge!r} ({reason})", "its package installed", cure)
        self.judge, self._parts = judge, (judge, reason, cure)

    def __reduce__(self) -> tuple[type[MissingJudge], tuple[str, str, str]]:
        """Pickled by its own arguments: it may be raised in another process."""
        return type(self), self._parts


def require(judge: str, module: str, cure: str = INSTALL) -> Any:
    """Import a package that a judge needs.

    Raises:
        MissingJudge: it cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingJudge(judge, f"{type(error).__name__}: {error}", cure) from error
