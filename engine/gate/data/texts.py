"""The pinned texts that quality is judged on: what a live stream says, in turn by each voice.

Speed needs few texts spoken often; quality needs many, because a single clip is noisy. A case belongs to a
voice by number, so that any checkpoint can speak it with the reference clips it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from engine.errors import UsageError
from engine.gate.data.workloads import Frozen, Name, sha256_of

Language = Literal["en", "zh", "mixed"]
Kind = Literal["chat", "sentence", "long", "number", "question", "name", "chinese", "mixed", "emoji"]


class Case(Frozen):
    """A text, the number of the voice that says it (modulo the checkpoint's voices), and the seed."""

    name: Name
    text: Annotated[str, Field(min_length=1)]
    voice: Annotated[int, Field(ge=0)]
    seed: Annotated[int, Field(ge=0)] = 0
    language: Language = "en"
    kind: Kind

    @property
    def sha256(self) -> str:
        """Hash of all that changes the result (so not of name, language and kind)."""
        return sha256_of(self.model_dump(include={"text", "voice", "seed"}))

    def spoken_by(self, voices: Sequence[str]) -> str:
        """The name of the voice, of a checkpoint's voices in their own order."""
        return voices[self.voice % len(voices)]


class Chosen(NamedTuple):
    """The cases to speak, and one sentence for each that is left out."""

    cases: tuple[Case, ...]
    skipped: tuple[str, ...]


_EVENING = (
    "Good evening, everybody, and thank you for coming. Tonight we walk through the old market, taste a few "
    "things that I cannot name, and answer the questions that you left yesterday."
)
_RULES = (
    "Before we start, a few simple rules. Be kind to each other, do not tell the end of the story, and if the"
    " sound stops working, write it in the chat so that I can see it."
)
_TWO_PIECES = (
    "When I was young, my father kept a garden behind the house. Every spring he planted beans and potatoes, "
    "and every summer the birds took half of them. He never complained. He said that the birds had been there"
    " first, and that half a garden was enough for us. I still think about that when the days grow warm. Now "
    "I have a garden of my own, and the birds have found it too."
)
_TEXTS: tuple[tuple[str, Kind, Language, str], ...] = (
    ("hello", "chat", "en", "Hello chat, welcome back to the stream!"),
    ("gift", "chat", "en", "Thanks for the gift, that is so kind of you!"),
    ("good game", "chat", "en", "Good game, well played, everyone."),
    ("wait", "chat", "en", "Wait, wait, do not open that door yet!"),
    ("back soon", "chat", "en", "I will be right back, please stay here."),
    ("louder", "chat", "en", "Can you make the music a little louder?"),
    ("kitchen", "sentence", "en", "She left the kitchen window open and the rain came in during the night."),
    ("letter", "sentence", "en", "The old man wrote a long letter to his daughter and never sent it."),
    ("harbor", "sentence", "en", "Small boats waited in the harbor until the storm had moved away."),
    ("bread", "sentence", "en", "Fresh bread and strong coffee are all that I need in the morning."),
    ("evening", "long", "en", _EVENING),
    ("rules", "long", "en", _RULES),
    ("two pieces", "long", "en", _TWO_PIECES),
    ("points", "number", "en", "That was 25 points, only 7 more to win."),
    ("followers", "number", "en", "We have 1500 followers now, thank you so much."),
    ("minutes", "number", "en", "The next round begins in ten minutes and takes about forty."),
    ("which map", "question", "en", "Which map should we play after the break?"),
    ("how long", "question", "en", "How long have you been watching this channel?"),
    ("weather", "question", "en", "Is it raining where you live, or is the sun out?"),
    ("greetings", "name", "en", "Greetings to Peter and Maria from Berlin."),
    ("london", "name", "en", "Thomas from London says hello to Anna in Paris."),
    ("party", "emoji", "en", "Happy birthday 🎉🎂, have a wonderful day!"),
    ("fire", "emoji", "en", "That shot was amazing 🔥🔥🔥, do it again."),
    ("heart", "emoji", "en", "I love this song ❤️, please play it one more time."),
    ("zh hello", "chinese", "zh", "大家好，欢迎来到直播间！"),
    ("zh gift", "chinese", "zh", "谢谢你的礼物，我非常喜欢。"),
    ("zh weather", "question", "zh", "今天天气怎么样，你们那里下雨了吗？"),
    ("zh number", "number", "zh", "我们还有25分钟，请不要走开。"),
    ("mixed game", "mixed", "mixed", "这个 game 真的很好玩，let's play again。"),
    ("mixed name", "mixed", "mixed", "欢迎 Peter 来到我们的 channel。"),
    ("mixed emoji", "emoji", "mixed", "太棒了 👍，good job everyone。"),
)

CASES: tuple[Case, ...] = tuple(
    Case(name=name, text=text, voice=number, seed=100 + number, language=language, kind=kind)
    for number, (name, kind, language, text) in enumerate(_TEXTS)
)
"""Pinned: voices in turn, a seed of its own for each."""

QUICK: tuple[str, ...] = ("hello", "kitchen", "rules", "points", "how long", "london", "fire", "heart")
"""Names of the few cases of a quick run: every voice of four twice, and each kind of English text."""


def choose(languages: Sequence[str], names: Sequence[str] | None = None) -> Chosen:
    """The cases that a checkpoint of these languages speaks, in order; the others are named, not an error.

    Args:
        languages: of the checkpoint, such as ("en",) or ("en", "zh"); none: unknown, so all are tried.
        names: only these (such as QUICK).

    Raises:
        UsageError: an unknown name, or no case in these languages.
    """
    known = {case.name for case in CASES}
    if unknown := [name for name in names or () if name not in known]:
        raise UsageError(f"case {unknown[0]!r}", f"one of {', '.join(sorted(known))}", "Name a pinned case")
    wanted = [case for case in CASES if names is None or case.name in names]
    spoken = tuple(case for case in wanted if not languages or _needs(case) <= set(languages))
    if not spoken:
        raise UsageError(
            f"languages {', '.join(languages)}", "a checkpoint that speaks the cases' own", "Name other cases"
        )
    skipped = tuple(
        f"{case.name}: left out, the checkpoint does not speak {' and '.join(sorted(_needs(case)))}"
        for case in wanted
        if case not in spoken
    )
    return Chosen(spoken, skipped)


def _needs(case: Case) -> set[str]:
    """The languages that a case is in."""
    return {"en", "zh"} if case.language == "mixed" else {case.language}
