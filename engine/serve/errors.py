"""What a request can come to besides speech, with its HTTP status and one sentence for the client."""

from __future__ import annotations

from engine.errors import EngineError, OptionsError, OutputError, ReferenceClipError, TextError


class QueueFullError(EngineError):
    """More requests wait than the queue holds."""

    def __init__(self, given: str, expected: str, cure: str, retry_after: int = 1) -> None:
        super().__init__(given, expected, cure)
        self.retry_after = retry_after


class StoppingError(EngineError):
    """The service is about to end, or has not loaded its model."""


class DeadlineError(EngineError):
    """The speech was not there in time."""


class GoneError(EngineError):
    """The client left before its speech was there."""


class UnusableVoiceError(EngineError):
    """A configured voice whose clip has gone: its operator's to mend, so that the client gets 500."""


class RefusedError(EngineError):
    """A request that HTTP itself makes wrong: no key, too large, too slow, not found.

    Args:
        status: the HTTP status to answer with.
    """

    def __init__(self, status: int, given: str, expected: str, cure: str) -> None:
        super().__init__(given, expected, cure)
        self.status = status


def no_speech_in(seconds: float) -> DeadlineError:
    """What a client is told whose time is over."""
    return DeadlineError(
        f"no speech within {seconds:g} s",
        "a service with less to do, or a shorter text",
        "Try again later, or ask the operator for a longer deadline",
    )


INTERNAL = (
    "The request could not be served: the service's log has the reason. Try again, or tell its operator."
)
CLIENT_LEFT = 499
"""nginx's status for a client that closed the connection; it reaches the log and the metrics alone."""

_STATUS: tuple[tuple[type[EngineError], int, str], ...] = (
    (TextError, 422, "text"),
    (ReferenceClipError, 422, "voice"),
    (OptionsError, 422, "option"),
    (OutputError, 422, "format"),
    (QueueFullError, 429, "queue_full"),
    (StoppingError, 503, "unavailable"),
    (DeadlineError, 504, "deadline"),
    (GoneError, CLIENT_LEFT, "client_left"),
)


def status_of(error: Exception) -> tuple[int, str]:
    """The HTTP status of an error, and its kind in the metrics; 500 for whatever is not the client's."""
    if isinstance(error, RefusedError):
        return error.status, "refused"
    for kind, status, name in _STATUS:
        if isinstance(error, kind):
            return status, name
    return 500, "internal"


def sentence_of(error: Exception) -> str:
    """What the client is told: what to mend, and nothing of the machine."""
    return INTERNAL if status_of(error)[0] == 500 else str(error)
