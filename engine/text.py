"""Text before it becomes tokens: folded, read aloud, cleaned, and in letters that the model knows."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

from engine.errors import TextError
from engine.letters import LANGUAGES, SYMBOLIC, category, clean, fold, foreign, script, transliterated

MAX_CHARACTERS = 5_000
"""Longest text of one request; a chat message is far shorter, and a book belongs in a loop."""

SHORT_BYTES = 10
"""Pieces under ten bytes take as long as ten: one word needs room."""


LONGEST_READING = 4
"""A reading is at most this many times `MAX_CHARACTERS` long."""

MAX_UNKNOWN = 0.1
"""Share of the letters and digits that may be left out because the model does not know them."""


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A text as a voice will speak it, and a sentence for whatever of it is not spoken as it was written."""

    text: str
    warnings: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Frontend:
    """What one checkpoint makes of a text before it is cut into pieces.

    Attributes:
        voice: name of the checkpoint, for its errors.
        languages: what it speaks, as ISO 639-1 codes; empty where that is unknown.
        reading: text -> the text as it is read aloud (see `engine.reading`).
        known: whether the model has a sound for a letter, a digit or a combining mark.
    """

    voice: str = ""
    languages: tuple[str, ...] = ()
    reading: Callable[[str], str] = str
    known: Callable[[str], bool] = lambda character: True

    def prepare(self, words: str) -> Prepared:
        """The words read aloud, without what has no sound, in letters that the model knows.

        Raises:
            TextError: not a string, too long, nothing pronounceable in it, in a language that the checkpoint
                does not speak, or with too many letters that it does not know.
        """
        given = _checked(words)
        folded = fold(given)
        read = self.reading(folded)
        if not isinstance(read, str) or len(read) > MAX_CHARACTERS * LONGEST_READING:
            what = f"{len(read)} characters" if isinstance(read, str) else f"type {type(read).__name__}"
            raise TextError(
                f"text whose reading is of {what}",
                f"a string of at most {MAX_CHARACTERS * LONGEST_READING} characters",
                "Send it in several requests, or use reading='raw'",
            )
        spoken = clean(read)
        strange = check_language(spoken, self.languages, self.voice)
        spoken = clean(spoken.translate(dict.fromkeys(map(ord, strange), " ")))
        spoken, warnings = self._in_known_letters(spoken)
        if not _pronounceable(spoken):
            raise _nothing(given)
        dropped = set(foreign(folded, self.languages)) - set(
            read
        )  # by the reading, which says units and sums
        lost = [*strange, *sorted(letter for letter in dropped if script(letter) not in SYMBOLIC)]
        if lost:
            warnings = (f"{''.join(lost)[:20]!r} is not spoken", *warnings)
        return Prepared(spoken, warnings)

    def _in_known_letters(self, text: str) -> tuple[str, tuple[str, ...]]:
        """The text with every letter that the model does not know in plain Latin letters, or left out.

        Raises:
            TextError: of its letters and digits a larger share than `MAX_UNKNOWN` would be left out.
        """
        unknown = {
            one for one in set(text) if category(one) in "LNM" and not one.isascii() and not self.known(one)
        }
        unknown |= {one for one in set(text) if one.isascii() and one.isalnum() and not self.known(one)}
        if not unknown:
            return text, ()
        plain = {letter: transliterated(letter) for letter in unknown}
        lost = [letter for letter in text if plain.get(letter) == "" and category(letter) != "M"]
        sounding = sum(map(str.isalnum, text))
        if len(lost) > MAX_UNKNOWN * sounding:
            raise TextError(
                f"text with {''.join(dict.fromkeys(lost))[:10]!r}, which {self.voice!r} does not know",
                f"at most {MAX_UNKNOWN:.0%} of such letters",
                "Write it in other letters, or load a checkpoint whose vocabulary has them",
            )
        changed = {one: said for one, said in plain.items() if said}
        warnings = [f"{one!r} is spoken as {said!r}" for one, said in sorted(changed.items())[:5]]
        if lost:
            warnings.append(f"{''.join(dict.fromkeys(lost))[:20]!r} is not spoken")
        spoken = "".join(
            letter if letter not in plain else plain[letter] or ("" if category(letter) == "M" else " ")
            for letter in text
        )
        return clean(spoken), tuple(warnings)


def normalise(text: str) -> str:
    """What of `text` can be spoken by some voice: see `Frontend`.

    Raises:
        TextError: not a string, nothing pronounceable in it, or longer than `MAX_CHARACTERS`.
    """
    return Frontend().prepare(text).text


def _checked(text: str) -> str:
    """The text, with its surrogates made characters: pairs of them, and bytes of the command line.

    Raises:
        TextError: not a string, too long, or with bytes that are not UTF-8.
    """
    if not isinstance(text, str):
        raise TextError(f"text of type {type(text).__name__}", "a string", "Pass the words to say")
    if len(text) > MAX_CHARACTERS:
        raise TextError(
            f"text of {len(text)} characters", f"at most {MAX_CHARACTERS}", "Send it in several requests"
        )
    if text.isascii():
        return text
    if any("\udc80" <= character <= "\udcff" for character in text):  # how Python keeps undecodable bytes
        try:
            text = text.encode("utf-8", "surrogateescape").decode("utf-8")
        except UnicodeError:
            if not re.search("[\ud800-\udbff]", text):
                raise TextError(
                    f"text {text[:40]!r} with bytes that are not UTF-8", "UTF-8", "Encode it as UTF-8"
                ) from None
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def check_language(text: str, languages: tuple[str, ...], voice: str) -> str:
    """The letters of `text` that the voice cannot speak and that are no words: single ones, and few of them.

    Raises:
        TextError: a word, or more than a third of the letters, in a script that the voice was never trained
            on.
    """
    strange = foreign(text, languages)
    if not strange:
        return ""
    inside = "".join("x" if one in strange else "m" if category(one) == "M" else " " for one in text)
    words = re.search("x[xm]*x", inside)
    if words or len(strange) * 3 > sum(map(str.isalnum, text)):
        names = " and ".join(LANGUAGES.get(language, language) for language in languages)
        shown = text[words.start() :].split()[0] if words else strange[0]
        raise TextError(
            f"text with {shown[:20]!r} ({script(strange[0]).capitalize()})",
            f"{names}: the voice {voice!r} speaks {names} only",
            f"Send {names.replace(' and ', ' or ')}, or load a checkpoint that speaks this language",
        )
    return "".join(dict.fromkeys(strange))


def _pronounceable(text: str) -> bool:
    return any(category(character) in "LN" for character in text)


def _nothing(text: str) -> TextError:
    return TextError(f"text {text[:40]!r} with no letter or digit", "something to pronounce", "Send words")


def finish_reference(text: str) -> str:
    """The transcript as upstream hands it to the model: ended by a full stop and blanks, so the clip's last
    word closes.

    Source: `preprocess_ref_audio_text` and `infer_batch_process`, which each add their own blank.
    """
    if not text.endswith((". ", "。")):
        text += " " if text.endswith(".") else ". "
    return text + " " if len(text[-1].encode()) == 1 else text


def estimate_frames(reference_units: int, reference_frames: int, units: int, speed: float) -> int:
    """Mel frames to generate: the clip's own rate of frames per unit of text, carried over to the new text.

    Units are UTF-8 bytes, as in upstream's `infer_batch_process`.
    """
    return int(reference_frames / reference_units * units / speed)
