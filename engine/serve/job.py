"""What waits in the service's queue: a request, who waits for it, and until when."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable

from engine.audio import Audio
from engine.requests import Request
from engine.serve.errors import GoneError, no_speech_in


@dataclasses.dataclass(frozen=True, eq=False)
class Spoken:
    """Speech, or one piece of it.

    Attributes:
        audio: what was said; None ends a stream.
        waited: seconds in the queue.
        batch: requests that were sampled together.
    """

    audio: Audio | None
    waited: float
    batch: int


Delivery = Spoken | Exception
Deliver = Callable[[Delivery], None]


class Job:
    """One request in the queue.

    Args:
        request: what to say.
        deliver: called from the engine's thread with the speech, piece after piece in a stream, or with the
            error that ended it.
        seconds: until when the speech, or its first piece, has to be there.
        stream: whether it goes out piece by piece, ended by a `Spoken` without audio.
    """

    def __init__(self, request: Request, deliver: Deliver, seconds: float, *, stream: bool = False) -> None:
        self.request, self.stream, self.seconds = request, stream, seconds
        self.arrived = time.monotonic()
        self.waited = 0.0
        self.batch = 1
        self._deliver = deliver
        self._left = threading.Event()
        self._pieces = 0

    def leave(self) -> None:
        """Say that nobody waits any more: what is not yet computed never will be."""
        self._left.set()

    @property
    def left(self) -> bool:
        """Whether nobody waits any more."""
        return self._left.is_set()

    def start(self, batch: int) -> None:
        """Note that the wait is over."""
        self.waited, self.batch = time.monotonic() - self.arrived, batch

    def check(self) -> None:
        """Go on only where somebody still waits, and in time.

        Raises:
            GoneError: the client has left.
            DeadlineError: its time is over.
        """
        if self.left:
            raise GoneError("a client that left", "one that waits for its speech", "Nothing")
        if not self._pieces and time.monotonic() - self.arrived > self.seconds:
            raise no_speech_in(self.seconds)

    def hand(self, audio: Audio | None) -> None:
        """Give the client its speech, a piece of it, or the end of a stream."""
        self._pieces += 1
        self._deliver(Spoken(audio, self.waited, self.batch))

    def fail(self, error: Exception) -> None:
        """Give the client the error that ended its request."""
        self._deliver(error)
