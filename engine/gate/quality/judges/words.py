"""Words: what a recogniser hears, against the text.

The offline recogniser is pocketsphinx with the English model inside its package (CMU Sphinx). It is a weak
one: on clear speech it mishears every fifth word, names and numbers more, so its error rate says nothing by
itself. Only differences between two renderings of the same text do, and only over many texts. Where a user
has a Whisper model (arXiv:2212.04356), it can be named instead and hears Chinese too.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any, Protocol

import numpy as np

from engine.audio import Samples
from engine.errors import UsageError
from engine.gate.data.scores import WordErrors
from engine.gate.quality.judges.missing import require
from engine.gate.quality.judges.numbers import spell
from engine.gate.quality.judges.resample import to_16k

PAD_SECONDS = 0.3
"""Silence put around a clip: pocketsphinx needs some to find the first and the last word."""
_PIECES = re.compile(r"[a-z]+(?:'[a-z]+)*|\d[\d,.]*(?:st|nd|rd|th)?|%|[\u3400-\u4dbf\u4e00-\u9fff]")


class Recogniser(Protocol):
    """Anything that writes down speech. `languages` are those it hears: "en", "zh"."""

    languages: tuple[str, ...]

    def hear(self, samples: Samples) -> str:
        """The words in float32 samples [n] at 24 kHz."""
        ...


class Words:
    """pocketsphinx (CMU Sphinx) with the English model inside its package. Weak: see the module.

    Raises:
        MissingJudge: pocketsphinx is not installed.
    """

    languages: tuple[str, ...] = ("en",)

    def __init__(self) -> None:
        package = require("words", "pocketsphinx")
        self._decoder = package.Decoder(samprate=16_000, loglevel="FATAL")

    def hear(self, samples: Samples) -> str:
        """The words in float32 samples [n] at 24 kHz; each clip is heard as if it were the first."""
        if not samples.any():
            return ""  # it would find a word in silence
        self._decoder.start_utt()
        self._decoder.process_raw(_pcm(samples), full_utt=True)  # whole, else it adapts to earlier clips
        self._decoder.end_utt()
        best = self._decoder.hyp()
        return re.sub(r"\(\d+\)", "", best.hypstr) if best else ""


class Whisper:
    """A Whisper model that the user has, by openai-whisper or faster-whisper (arXiv:2212.04356).

    Far better ears than pocketsphinx, in both languages; it may write down words that were never said where
    it hears silence, so silence must be judged by the signal.

    Raises:
        MissingJudge: neither package is installed, or the model cannot be opened.
    """

    languages: tuple[str, ...] = ("en", "zh")

    def __init__(self, package: str, model: str) -> None:
        cure = f"pip install {'faster-whisper' if package == 'faster_whisper' else 'openai-whisper'}"
        module = require("words", package, cure)
        self._package = package
        self._model = (
            module.WhisperModel(model, device="cpu", compute_type="int8")
            if package == "faster_whisper"
            else module.load_model(model, device="cpu")
        )

    def hear(self, samples: Samples) -> str:
        """The words in float32 samples [n] at 24 kHz, without sampling: the same answer each time."""
        heard = self._model.transcribe(to_16k(samples), temperature=0.0)
        if self._package == "faster_whisper":
            return " ".join(segment.text for segment in heard[0])
        return str(heard["text"])


def open_recogniser(name: str = "pocketsphinx") -> Recogniser:
    """The recogniser called "pocketsphinx", "whisper:MODEL" or "faster-whisper:MODEL" (a name or a folder).

    Raises:
        MissingJudge: its package is not installed.
        UsageError: no such recogniser.
    """
    kind, _, model = name.partition(":")
    if kind == "pocketsphinx" and not model:
        return Words()
    if kind in ("whisper", "faster-whisper") and model:
        return Whisper(kind.replace("-", "_"), model)
    raise UsageError(
        f"recogniser {name!r}", "pocketsphinx, whisper:MODEL or faster-whisper:MODEL", "Name one of these"
    )


def heard_by(name: str) -> tuple[str, ...]:
    """The languages that the recogniser of this name hears, without opening it."""
    return Words.languages if name == "pocketsphinx" else Whisper.languages


def languages(text: str) -> frozenset[str]:
    """The languages that `text` is written in, by script: "en" (Latin), "zh" (Han), or "other".

    Digits belong to whatever else is there, and are English alone.
    """
    scripts = {_language(char) for char in text if unicodedata.category(char)[0] == "L"}
    return frozenset(scripts or {"en"})


def plain(text: str) -> list[str]:
    """Words as error rates count them: lower case, numbers spelt out, a Chinese character a word.

    Punctuation, emoji and accents go. "25" becomes "twenty five"; how a speaker says a number (a year, digit
    by digit) is not known, so a text with digits counts errors that both sides of a comparison share.
    """
    flat = unicodedata.normalize("NFKD", text.lower().replace("\u2019", "'"))
    flat = "".join(char for char in flat if not unicodedata.combining(char))
    words: list[str] = []
    for piece in _PIECES.findall(flat):
        words += spell(piece) if piece[0].isdigit() else ["percent"] if piece == "%" else [piece]
    return words


def errors(text: str, heard: str) -> WordErrors:
    """Align what was heard with the text by the fewest edits (Levenshtein; jiwer).

    Raises:
        UsageError: no words in `text`.
        MissingJudge: jiwer is not installed.
    """
    said, found = plain(text), plain(heard)
    if not said:
        raise UsageError(f"text {text[:40]!r} with no words", "words to hear", "Judge another text")
    jiwer = require("words", "jiwer")
    words = jiwer.process_words(" ".join(said), " ".join(found))
    chars = jiwer.process_characters(" ".join(said), " ".join(found))
    dropped = tuple(
        word
        for chunk in words.alignments[0]
        if chunk.type == "delete"
        for word in said[chunk.ref_start_idx : chunk.ref_end_idx]
    )
    return WordErrors(
        word_edits=_edits(words),
        words=len(said),
        char_edits=_edits(chars),
        chars=len(" ".join(said)),
        dropped=dropped,
    )


def _edits(output: Any) -> int:
    return int(output.substitutions + output.deletions + output.insertions)


def _language(letter: str) -> str:
    name = unicodedata.name(letter, "")
    return "en" if "LATIN" in name else "zh" if name.startswith("CJK") else "other"


def _pcm(samples: Samples) -> bytes:
    """16-bit samples at 16 kHz with silence around them."""
    pad = np.zeros(int(PAD_SECONDS * 16_000), np.float32)
    low = np.clip(np.concatenate([pad, to_16k(samples), pad]), -1, 1)
    return bytes((low * 32_767).astype(np.int16).tobytes())
