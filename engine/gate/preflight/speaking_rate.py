"""Whether a transcript can be what a reference clip says: the speaking rate, by script."""

from __future__ import annotations

import unicodedata

from engine.gate.data.machine_state import Finding, Status

SLOWEST, SLOW, FAST, FASTEST = (3.0, 1.0), (6.0, 2.0), (22.0, 8.0), (30.0, 12.0)
"""Letters and syllables a second: unfit below the first and above the last, a warning outside the middle two.
Speech has 5 to 8 syllables a second in every language (Pellegrino et al. 2011, doi:10.1353/lan.2011.0057),
pauses slow it down, and an alphabet writes 2 to 3 letters a syllable."""

SYLLABIC = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL")
"""Scripts, by the names of their characters, that write about a syllable a character. So do digits."""


def check_reference(text: str, seconds: float) -> Finding:
    """The finding on a transcript and its clip's length. Punctuation, blanks and marks take no time."""
    syllables = sum(1 for char in text if char.isdigit() or (char.isalpha() and _is_syllable(char)))
    letters = sum(1 for char in text if char.isalpha() and not _is_syllable(char))
    longest, long, short, shortest = (
        letters / per_letter + syllables / per_syllable
        for per_letter, per_syllable in (SLOWEST, SLOW, FAST, FASTEST)
    )
    status: Status = "unfit"
    if 0 < shortest <= seconds <= longest:
        status = "ok" if short <= seconds <= long else "warning"
    return Finding(
        check="reference text",
        status=status,
        observed=f"{letters} letters and {syllables} syllables or digits in {seconds:.1f} s",
        expected=f"{shortest:.1f} to {longest:.1f} s",
        cure="" if status == "ok" else "Give the words of the clip, all of them and no others",
        source="clip",
    )


def _is_syllable(letter: str) -> bool:
    return unicodedata.name(letter, "").startswith(SYLLABIC)
