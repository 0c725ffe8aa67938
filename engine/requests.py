"""What is asked for: a request with its numbers checked, its voice, and the finish of its waves."""

from __future__ import annotations

import dataclasses
import math
import numbers
import operator
from typing import Any

import numpy as np

from engine.audio import CROSS_FADE_SECONDS, SAMPLE_RATE, Samples
from engine.errors import OptionsError
from engine.options import Options
from engine.reference import Voice

SPEEDS = (0.3, 3.0)


@dataclasses.dataclass(frozen=True)
class Request:
    """What `Engine.synthesize` takes, for `Engine.synthesize_batch`: see there."""

    words: str
    voice: Voice | str | None = None
    seed: int = 0
    speed: float = 1.0
    nfe: int | None = None
    cfg_strength: float | None = None
    duration: float | None = None
    fade: float = CROSS_FADE_SECONDS
    pause: float = 0.0
    trim: bool = False
    target_rms: float | None = None

    def checked(self) -> Request:
        """The request with plain numbers, those of NumPy included.

        Raises:
            OptionsError: a number out of range, or no number.
        """
        try:
            seed = operator.index(self.seed)
        except TypeError:
            seed = -1
        if isinstance(self.seed, bool) or not 0 <= seed < 2**62:
            raise OptionsError(f"seed={self.seed!r}", "a whole number from 0 to 2**62", "Pass one")
        if not isinstance(self.trim, bool):
            raise OptionsError(f"trim={self.trim!r}", "True or False", "Pass one of them")
        if self.duration is not None and self.speed != 1.0:
            raise OptionsError(
                f"duration={self.duration!r} with speed={self.speed!r}", "one of them", "Leave one out"
            )
        return dataclasses.replace(
            self,
            seed=seed,
            speed=_number("speed", self.speed, *SPEEDS),
            fade=_number("fade", self.fade, 0.0, 1.0),
            pause=_number("pause", self.pause, 0.0, 10.0),
            duration=None if self.duration is None else _number("duration", self.duration, 0.1, 600.0),
        )

    def options(self, loaded: Options) -> Options:
        """The options of this request: those that the engine was loaded with, but for what it asks itself.

        Raises:
            OptionsError: a value that does not fit, or that the engine has fixed at load.
        """
        own = {name: getattr(self, name) for name in ("nfe", "cfg_strength")}
        asked = {name: value for name, value in own.items() if value is not None}
        if not asked:
            return loaded
        options = dataclasses.replace(loaded, **{name: _plain(value) for name, value in asked.items()})
        if loaded.hoist and options.nfe != loaded.nfe:
            raise OptionsError(
                f"nfe={self.nfe} of one request with hoist",
                f"the nfe={loaded.nfe} whose times were worked out at load",
                "Leave nfe out, or load an engine with hoist=False",
            )
        return options


def _plain(value: Any) -> Any:
    """Python's own number in place of NumPy's."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return value
    return operator.index(value) if isinstance(value, numbers.Integral) else float(value)


def _number(name: str, value: Any, low: float, high: float) -> float:
    known = isinstance(value, numbers.Real) and not isinstance(value, bool)
    number = float(value) if known else math.nan
    if not low <= number <= high:
        raise OptionsError(
            f"{name}={value!r}", f"a number from {low:g} to {high:g}", "Choose one in that range"
        )
    return number


def pick(known: dict[str, Voice], voice: Voice | str | None, target_rms: float | None = None) -> Voice:
    """The voice that a request names, of those that came with the checkpoint, or brings along.

    Raises:
        OptionsError: an unknown name, or no voice at all.
        ReferenceClipError: a level that no clip can be raised to.
    """
    picked = _named(known, voice)
    return picked if target_rms is None else dataclasses.replace(picked, target_rms=target_rms)


def _named(known: dict[str, Voice], voice: Voice | str | None) -> Voice:
    if voice is None:
        return next(iter(known.values()))
    if isinstance(voice, str):
        if voice not in known:
            raise OptionsError(
                f"voice {voice!r}",
                f"one of {', '.join(known)}",
                "Name one, or pass engine.Voice(clip, words)",
            )
        return known[voice]
    if not isinstance(voice, Voice):
        raise OptionsError(
            f"voice of type {type(voice).__name__}", "an engine.Voice or the name of one", "Pass one"
        )
    return voice


def finished(request: Request, wave: Samples, *, last: bool) -> Samples:
    """One piece's wave as its request wants it, with the pause behind it; [samples]."""
    if request.trim:
        wave = shorten_silences(wave)
    if request.pause and not last:
        wave = np.concatenate([wave, np.zeros(int(request.pause * SAMPLE_RATE), np.float32)])
    return wave


def shorten_silences(wave: Samples) -> Samples:
    """The wave [samples] without what is longer than half a second of silence at either side of speech.

    As upstream's `remove_silence_for_generated_wav`: below -50 dBFS for more than a second; half a second of
    it stays with what comes before, half a second with what comes after.
    """
    step, kept = SAMPLE_RATE // 100, 50  # 10 ms, and half a second of them
    blocks = wave[: len(wave) // step * step].reshape(-1, step)
    loud = np.flatnonzero(np.sqrt(np.mean(np.square(blocks), axis=1)) > 10 ** (-50 / 20))
    if not loud.size:
        return wave
    near = np.zeros(len(blocks) + 1, bool)
    near[-1] = loud[-1] >= len(blocks) - kept  # what is left behind the last whole block
    for block in loud:
        near[max(0, block - kept) : block + kept + 1] = True
    keeps = np.repeat(near, step)[: len(wave)]
    shorter: Samples = wave[: len(keeps)][keeps]
    return shorter
