"""What can go wrong with speech, on purpose: seeded faults that the gate must catch, and harmless changes.

All work on float32 mono samples [n] at 24 kHz within -1 and 1, return new samples, and draw chance from the
generator they are given. `broken_int8` works on weights instead.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import uniform_filter1d

from engine.audio import SAMPLE_RATE, Samples
from engine.errors import UsageError

Change: TypeAlias = "Callable[[Samples, str, np.random.Generator], Samples]"
"""Samples [n], the text they say, and a source of chance -> samples."""

SNR_DB = 3.0
FASTER = 1.10
OVERDRIVE = 4.0
HOP = 256
_SEAM_SECONDS = 0.005
_CLICK_SECONDS = 0.002


def drop_last_word(samples: Samples, text: str, generator: np.random.Generator) -> Samples:
    """The speech ends before the last word, and so does the audio. Of a single word nothing is left."""
    start = last_word_start(samples, text)
    return _faded(samples[:start]) if start else np.zeros_like(samples)


def silence_last_word(samples: Samples, text: str, generator: np.random.Generator) -> Samples:
    """The last word is missing, and the audio is as long as it should be."""
    out = np.zeros_like(samples)
    start = last_word_start(samples, text)
    out[:start] = _faded(samples[:start])
    return out


def add_noise(samples: Samples, text: str, generator: np.random.Generator) -> Samples:
    """White noise, `SNR_DB` below the power of the whole wave."""
    rms = float(np.sqrt(np.mean(np.square(samples))))
    noise = generator.standard_normal(len(samples)) * rms * 10 ** (-SNR_DB / 20)
    return _wave(np.clip(samples + noise, -1, 1))


def clip(samples: Samples, text: str, generator: np.random.Generator) -> Samples:
    """Peaks driven 12 dB beyond full scale and cut off there."""
    return _wave(np.clip(samples * (OVERDRIVE / _peak(samples)), -1, 1))


def clip_quietly(samples: Samples, text: str, generator: np.random.Generator) -> Samples:
    """The same flat tops at the level of the clean speech: no sample is at full scale."""
    return _wave(clip(samples, text, generator) * (_peak(samples) / OVERDRIVE))


def click_at_join(samples: Samples, text: str, generator: np.random.Generator) -> Samples:
    """A step of half the peak at a join near the middle, which decays within milliseconds."""
    at = quietest(samples, *_middle(samples))
    decay = np.exp(-np.arange(len(samples) - at) / (_CLICK_SECONDS * SAMPLE_RATE))
    out: Samples = samples.copy()
    out[at:] += _wave(0.5 * _peak(samples) * decay)
    return out


def speed_up_by_resampling(samples: Samples, text: str, generator: np.random.Generator) -> Samples:
    """10 % faster and higher, like a tape."""
    return _resampled(samples, SAMPLE_RATE * FASTER, SAMPLE_RATE)


def speed_up_tempo(samples: Samples, text: str, generator: np.random.Generator) -> Samples:
    """10 % faster at the same pitch (phase vocoder of librosa)."""
    from librosa.effects import time_stretch

    return _wave(time_stretch(samples, rate=FASTER))


def nan_frame(samples: Samples, text: str, generator: np.random.Generator) -> Samples:
    """One mel frame of samples near the middle is not a number."""
    out: Samples = samples.copy()
    at = int(generator.integers(*_middle(samples)))
    out[at : at + HOP] = np.nan
    return out


def swap_chunks(samples: Samples, text: str, generator: np.random.Generator) -> Samples:
    """The second half before the first, cut at the quietest place near the middle."""
    at = quietest(samples, *_middle(samples))
    return _wave(np.concatenate([_faded(samples[at:]), _faded(samples[:at])]))


def resample_and_back(samples: Samples, text: str, generator: np.random.Generator) -> Samples:
    """Through 22.05 kHz and back to 24 kHz, same length: harmless."""
    there = _resampled(samples, SAMPLE_RATE, 22_050)
    back = _resampled(there, 22_050, SAMPLE_RATE)[: len(samples)]
    return _wave(np.pad(back, (0, len(samples) - len(back))))


def lower_gain(samples: Samples, text: str, generator: np.random.Generator) -> Samples:
    """1 dB softer: harmless."""
    return _wave(samples * 10 ** (-1 / 20))


FAULTS: Mapping[str, Change] = {
    "last word cut off": drop_last_word,
    "last word silent": silence_last_word,
    "white noise at 3 dB SNR": add_noise,
    "clipping": clip,
    "clipping below full scale": clip_quietly,
    "click at the join": click_at_join,
    "10 % faster, resampled": speed_up_by_resampling,
    "10 % faster, same pitch": speed_up_tempo,
    "one NaN frame": nan_frame,
    "chunks swapped": swap_chunks,
}
"""Faults of a wave, by name."""

HARMLESS: Mapping[str, Change] = {
    "resampled to 22.05 kHz and back": resample_and_back,
    "gain -1 dB": lower_gain,
}
"""Changes that nobody hears, by name."""


def last_word_start(samples: Samples, text: str) -> int:
    """Index of the sample where the last word of `text` probably begins; 0 where it is the only word.

    The word's share of the letters says roughly where; the quietest 20 ms thereabouts say precisely.
    """
    word = last_word(text)
    if not re.search(r"\w", text[: word.start()]):
        return 0
    active = np.flatnonzero(np.abs(samples) > 0.02 * _peak(samples))
    first, last = int(active[0]), int(active[-1])
    share = (len(word.group()) + 1) / (len(re.sub(r"[^\w ]", "", text).strip()) + 1)
    guess = last - int(share * (last - first))
    reach = int(min(0.12 * SAMPLE_RATE, 0.4 * (last - guess)))
    return quietest(samples, max(guess - reach, 1), guess + reach + 1)


def last_word(text: str) -> re.Match[str]:
    """Where the last word of `text` is.

    Raises:
        UsageError: it has none.
    """
    words = list(re.finditer(r"\w(?:[\w'-]*\w)?", text))
    if not words:
        raise UsageError(f"text {text!r}", "at least one word", "Name another text")
    return words[-1]


def quietest(samples: Samples, start: int, stop: int) -> int:
    """The index in [start, stop) around which 20 ms have the least energy."""
    energy = uniform_filter1d(np.square(samples.astype(np.float64)), int(0.02 * SAMPLE_RATE), mode="nearest")
    return start + int(np.argmin(energy[start:stop]))


def broken_int8(source: Path, target: Path) -> Path:
    """Copy a checkpoint folder whose transformer's linears went through int8 with the wrong scales.

    Each row of a weight [out, in] of every block is quantised with its own scale, as usual, and restored with
    its neighbour's: the off-by-one of a scale table. Returns `target`.
    """
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, target, dirs_exist_ok=True)
    weights = load_file(target / "model.safetensors")
    for name, weight in weights.items():
        if "transformer_blocks" in name and weight.ndim == 2:
            scale = weight.float().abs().amax(dim=1, keepdim=True).clamp(min=1e-8) / 127  # [out, 1]
            levels = torch.round(weight.float() / scale)
            weights[name] = (levels * scale.roll(1, dims=0)).to(weight.dtype).contiguous()
    save_file(weights, target / "model.safetensors")
    manifest = json.loads((target / "voice.json").read_text(encoding="utf8"))
    manifest.pop("files")  # the checksums are those of the sound weights
    (target / "voice.json").write_text(json.dumps(manifest), encoding="utf8")
    return target


def _wave(samples: ArrayLike) -> Samples:
    wave: Samples = np.asarray(samples, np.float32)
    return wave


def _resampled(samples: Samples, given: float, wanted: float) -> Samples:
    import soxr

    return _wave(soxr.resample(samples, given, wanted))


def _faded(samples: Samples) -> Samples:
    """A copy whose last milliseconds fade out, so that a cut is no click."""
    length = min(int(_SEAM_SECONDS * SAMPLE_RATE), len(samples))
    out: Samples = samples.copy()
    if length:
        out[-length:] *= np.linspace(1, 0, length, dtype=np.float32)
    return out


def _middle(samples: Samples) -> tuple[int, int]:
    """The third of the wave around its middle, as [start, stop)."""
    return len(samples) // 3, max(len(samples) * 2 // 3, len(samples) // 3 + 1)


def _peak(samples: Samples) -> float:
    """The largest magnitude; above zero, so that silence can be divided by it."""
    return max(float(np.abs(samples).max(initial=0.0)), 1e-9)
