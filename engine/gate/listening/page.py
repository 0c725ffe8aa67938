"""The A/B listening page: one self-contained HTML file on which people hear two sets blind, and vote.

A is the candidate and B the base, in that order everywhere. The votes that the page saves are read by
`engine.gate.listening.ballots`.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.audio import SAMPLE_RATE, Samples
from engine.errors import UsageError
from engine.gate.listening import pictures as pictures
from engine.gate.listening.ballots import Entry, Sheet
from engine.gate.quality.judges import hash_of

PAGE = Path(__file__).parent / "static"
"""Template, style and script."""
AUDIO_TYPE = "audio/flac"
"""Lossless, about half of a WAV, and played by every current browser."""

Measured = Mapping[str, float | str]
"""What was measured of one sample: name to figure, shown once the pair is voted on."""


@dataclasses.dataclass(frozen=True, eq=False)
class Pair:
    """One text, spoken by the candidate (`a`) and by the base (`b`): float32 samples [n] at 24 kHz."""

    name: str
    text: str
    voice: str
    a: Samples
    b: Samples
    scores_a: Measured = dataclasses.field(default_factory=dict)
    scores_b: Measured = dataclasses.field(default_factory=dict)


def sheet(pairs: Sequence[Pair], a: str, b: str, seed: int = 0) -> Sheet:
    """What the page asks about, by content. The blind order follows from it.

    Raises:
        UsageError: no pairs, a name twice, or samples that cannot be played.
    """
    names = [pair.name for pair in pairs]
    if not names or len(set(names)) < len(names):
        raise UsageError(
            f"pairs {', '.join(names) or 'none'}", "one or more, each with a name of its own", "Name them"
        )
    for pair in pairs:
        for label, samples in ((a, pair.a), (b, pair.b)):
            if samples.ndim != 1 or samples.size == 0 or not np.isfinite(samples).all():
                raise UsageError(
                    f"{pair.name!r} of {label!r}, samples {list(samples.shape)}",
                    "finite samples [n], at least one",
                    "Make it again: there is nothing to hear in this one",
                )
    entries = tuple(
        Entry(name=pair.name, text=pair.text, voice=pair.voice, a=hash_of(pair.a), b=hash_of(pair.b))
        for pair in pairs
    )
    return Sheet(a=a, b=b, seed=seed, pairs=entries)


def render(pairs: Sequence[Pair], a: str, b: str, seed: int = 0) -> str:
    """The page as HTML. The same pairs, labels and seed give the same page.

    Args:
        pairs: what is heard.
        a, b: labels of the candidate and of the base, such as their toggles.
        seed: of the order of the pairs, and of which sample of a pair comes first.

    Raises:
        UsageError: see `sheet`.
    """
    asked = sheet(pairs, a, b, seed)
    known, second = {pair.name: pair for pair in pairs}, asked.candidate_second()
    data = {
        "id": asked.id,
        "sheet": asked.model_dump(mode="json"),
        "audio_type": AUDIO_TYPE,
        "palette": pictures.gradient(),
        "range_db": pictures.RANGE_DB,
        "frequencies": pictures.frequency_ticks(),
        "pairs": [_shown(known[name], second[name], asked.id) for name in asked.order()],
    }
    parts = {
        "TITLE": html.escape(f"{a} against {b}: listen and vote"),
        "A": html.escape(a),
        "B": html.escape(b),
        "STYLE": (PAGE / "listen.css").read_text(encoding="utf-8"),
        "SCRIPT": (PAGE / "listen.js").read_text(encoding="utf-8"),
        "DATA": json.dumps(data, ensure_ascii=False).replace("<", "\\u003c"),  # no text can end the script
    }
    template = (PAGE / "listen.html").read_text(encoding="utf-8")
    return re.sub(r"@@([A-Z]+)@@", lambda found: parts[found[1]], template)


def _shown(pair: Pair, candidate_second: bool, page: str) -> dict[str, Any]:
    """One pair as the page has it: by what is heard first and second, without a word of which is which."""
    step = -1 if candidate_second else 1
    waves, scores = (pair.a, pair.b)[::step], (pair.scores_a, pair.scores_b)[::step]
    level = pictures.level(waves)
    pictured = pictures.spectrograms(waves)
    first, second = (
        {
            "audio": _base64(_flac(wave)),
            "seconds": round(len(wave) / SAMPLE_RATE, 3),
            "columns": pictures.COLUMNS,
            "wave": pictures.outline(wave, level),
            "mel": _base64(picture),
        }
        for wave, picture in zip(waves, pictured, strict=True)
    )
    return {
        "name": pair.name,
        "text": pair.text,
        "voice": pair.voice,
        "token": _token(pair.name, candidate_second, page),
        "seconds": round(max(len(wave) for wave in waves) / SAMPLE_RATE, 3),
        "level": level,
        "first": first,
        "second": second,
        "sealed": _base64(json.dumps(_table(*scores), ensure_ascii=False).encode()),
    }


def _token(name: str, candidate_second: bool, page: str) -> str:
    """Eight hex digits. An odd number of bits in them: the candidate is the second."""
    for attempt in range(1000):
        token = hashlib.sha256(f"token/{page}/{name}/{attempt}".encode()).hexdigest()[:8]
        if f"{int(token, 16):b}".count("1") % 2 == candidate_second:
            return token
    raise AssertionError("a thousand hashes of one parity")


def _table(first: Measured, second: Measured) -> list[tuple[str, str, str]]:
    """Rows of name, first and second; what only one of them has is a dash in the other."""
    return [(name, _figure(first.get(name)), _figure(second.get(name))) for name in {**first, **second}]


def _figure(value: float | str | None) -> str:
    if value is None:
        return "–"
    return value if isinstance(value, str) else f"{value:.3g}".replace("-", "−")


def _flac(samples: Samples) -> bytes:
    """16 bit at 24 kHz; beyond full scale it is clipped, as in a WAV."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, np.clip(samples, -1, 1), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
