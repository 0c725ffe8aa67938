"""Speech with known phone times: Debian's `flite` says a sentence and tells when each phone ends."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SAMPLE_RATE = 24_000
HOP = 256
EDGE = 0.08  # seconds of silence kept before the first and after the last sound
LOUDNESS = 0.1  # root mean square of every utterance, as upstream's own target


@dataclass(frozen=True)
class Utterance:
    """One spoken sentence: samples float32 [n * 256] at 24 kHz and (phone, end in seconds) pairs."""

    samples: np.ndarray
    phones: tuple[tuple[str, float], ...]


def say(text: str, voice: str) -> Utterance:
    """Speak `text` with a flite voice, trimmed to EDGE seconds of silence at both ends."""
    import soundfile
    import soxr

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        command = ["flite", "-voice", voice, "-psdur", "-t", text, "-o", str(path)]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        samples, rate = soundfile.read(path, dtype="float32")
    samples = soxr.resample(samples, rate, SAMPLE_RATE)
    return trim(samples, phone_ends(out))


def phone_ends(printed: str) -> list[tuple[str, float]]:
    """(phone, end in seconds) of flite's -psdur lines; every line is an utterance with its own clock."""
    phones: list[tuple[str, float]] = []
    for line in printed.splitlines():
        begin = phones[-1][1] if phones else 0.0
        for item in line.split():
            name, end = item.rsplit(":", 1)
            phones.append((name, begin + float(end)))
    return phones


def trim(samples: np.ndarray, phones: list[tuple[str, float]]) -> Utterance:
    """Cut the silence at both ends to EDGE seconds, whole hops long, at the common loudness."""
    first = phones[0][1] if phones[0][0] == "pau" else 0.0
    last = phones[-2][1] if phones[-1][0] == "pau" else phones[-1][1]
    start = max(first - EDGE, 0.0)
    frames = int((min(last + EDGE, len(samples) / SAMPLE_RATE) - start) * SAMPLE_RATE / HOP)
    begin = int(start * SAMPLE_RATE)
    samples = samples[begin : begin + frames * HOP]
    loud = float(np.sqrt(np.mean(samples**2)))
    samples = samples * min(LOUDNESS / max(loud, 1e-5), 0.99 / max(float(np.abs(samples).max()), 1e-5))
    names = [name for name, _ in phones]
    names[0], names[-1] = (("end" if name == "pau" else name) for name in (names[0], names[-1]))
    return Utterance(
        samples.astype(np.float32),
        tuple((name, end - start) for name, (_, end) in zip(names, phones, strict=True)),
    )


def frame_phones(utterance: Utterance, names: list[str]) -> np.ndarray:
    """Index into `names` of the phone sounding at each mel frame, uint8 [n]."""
    frames = len(utterance.samples) // HOP
    ends = np.array([end for _, end in utterance.phones])
    which = np.searchsorted(ends, np.arange(frames) * HOP / SAMPLE_RATE, side="right")
    which = np.minimum(which, len(ends) - 1)
    return np.array([names.index(phone) for phone, _ in utterance.phones], np.uint8)[which]
