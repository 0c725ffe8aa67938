"""What ends a process from outside unwinds it, so that neither processes nor checkouts are left behind."""

from __future__ import annotations

import signal
import sys
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGHUP)
"""A cancelled job, and a terminal that was closed."""


def unwind_when_ended() -> None:
    """Let the signals that end a process raise SystemExit with the shell's code for them.

    A signal that is ignored stays so (`nohup`). After the first one all are ignored: a closing terminal sends
    several, and the second must not interrupt the cleaning up.
    """
    for number in ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _unwind)


def _unwind(number: int, frame: FrameType | None) -> None:
    for other in ENDING:
        signal.signal(other, signal.SIG_IGN)
    sys.exit(128 + number)
