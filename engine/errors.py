"""The exceptions. Each says what was given, what was expected, and what to do."""

from __future__ import annotations


class EngineError(Exception):
    """Base of every error this package raises on purpose.

    The three parts are required, so no error can leave one out.

    Args:
        given: what was found, with its value ("precision='fp8'").
        expected: what would have been right ("one of fp32, bf16, fp16").
        cure: what to do now, as an imperative ("Choose one of them").
    """

    def __init__(self, given: str, expected: str, cure: str) -> None:
        super().__init__(given, expected, cure)
        self.given, self.expected, self.cure = given, expected, cure

    def __str__(self) -> str:
        return f"{self.given}: expected {self.expected}. {self.cure}."


class OptionsError(EngineError, ValueError):
    """An option is unknown, out of range, or cannot be combined with another."""


class TextError(EngineError, ValueError):
    """The text cannot be spoken: empty, too long, or nothing pronounceable in it."""


class ReferenceClipError(EngineError, ValueError):
    """The reference clip or its transcript cannot be used."""


class CheckpointError(EngineError):
    """Weights, vocabulary or architecture are missing, corrupt or foreign."""


class OfflineError(CheckpointError):
    """A hub file is needed and the hub cannot be reached."""


class OutputError(EngineError):
    """The result cannot be written."""


class DeviceError(EngineError):
    """The device is absent or cannot do what was asked."""


class UpstreamError(EngineError):
    """f5-tts or vocos is missing, or no longer has the shape the engine relies on."""


class BaselineError(EngineError):
    """A baseline is missing, unreadable, foreign, or holds a placeholder. The gate exits 2."""


class UsageError(EngineError):
    """The gate or a tool was asked for something that cannot be done. The gate exits 2."""
