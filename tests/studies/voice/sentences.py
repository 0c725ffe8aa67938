"""Plain English sentences to train on: Debian's `fortunes` plus generated stream-chat messages."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from pathlib import Path

VOICES = ("slt", "rms", "awb", "kal16")
FORTUNES = Path("/usr/share/games/fortunes")
SHELVES = (
    "art computers cookie definitions education ethnic food fortunes goedel humorists kids law linux "
    "linuxcookie literature love magic medicine men-women miscellaneous news people pets platitudes politics "
    "pratchett riddles science songs-poems sports startrek tao wisdom work zippy"
).split()
PLAIN = re.compile(r"[A-Za-z][A-Za-z ,'!?.-]*[A-Za-z][.!?]")
SHOUT = re.compile(r"\b[A-Z]{2,}\b")

WHO = (
    "chat|everyone|everybody|guys|my friend|folks|all|team|mods|streamer|viewers|gamers|buddy|new people"
).split("|")
SHORT = (
    "hello|hi|hey|welcome|good morning|good evening|good night|GG|good game|thanks|thank you|nice|nice one|"
    "great|wow|well played|let's go|see you|bye|goodbye|take care|no way|yes|no|okay|sorry|what|why|really|"
    "amazing|congratulations|love you|happy birthday|welcome back|good luck|have fun|wait|stop|please|sure|"
    "exactly|of course|not again|LOL"
).split("|")
LONG = (
    "Thanks for {doing}, {who}!|Thank you for {doing}!|Welcome to the {thing}, {who}.|I {verb} this {thing}.|"
    "Can you {act} the {thing}?|Please {act} the {thing}.|That was a {adj} {thing}.|What a {adj} {thing}!|"
    "How long have you been {doing}?|We are {doing} until {time}.|See you {time}, {who}.|"
    "Let's {act} the next {thing}.|Is this {thing} {adj}?|The {thing} is {adj} {time}.|"
    "{who}, do you {verb} my {thing}?|I have {num} {thing}s left.|Only {num} more {thing}s, {who}.|"
    "My {thing} is so {adj}.|Hello from {place}!|Greetings from {place}, {who}.|I am {doing} from {place}.|"
    "Who wants to {act} a {thing} {time}?|Don't forget to {act} the {thing}."
).split("|")
_SLOTS = {
    "doing": "watching|the follow|subscribing|the raid|playing|joining|streaming|the gift|chatting|coming|"
    "talking|helping|donating|listening|waiting|dancing|practicing|cooking|drawing|the support|being here",
    "thing": "stream|game|channel|song|video|level|boss|match|round|chat|music|camera|sound|microphone|emote|"
    "clip|message|question|speed run|tournament|keyboard|raid|map|weapon|team|play|movie|dinner|hour|minute|"
    "dollar",
    "verb": "love|like|hate|enjoy|understand|remember|need|want|follow|hear|see|trust",
    "act": "play|watch|finish|restart|share|show|read|fix|turn up|turn down|check|follow|beat|try|skip|mute|"
    "like",
    "adj": "great|funny|amazing|crazy|awesome|beautiful|terrible|hard|easy|loud|quiet|cool|lucky|clean|"
    "perfect|strange|boring|insane|brilliant|slow|fast|good|bad|cute|scary|epic|sweet",
    "time": "tomorrow|tonight|next time|next week|on Monday|on Friday|on Sunday|soon|later|in an hour|today|"
    "now|at noon|in ten minutes|after the break|this weekend|every day",
    "num": "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty|fifty|"
    "a hundred|a thousand",
    "place": "Germany|Brazil|Japan|Texas|London|Paris|Canada|Sweden|Mexico|Korea|Spain|Italy|Poland|New York|"
    "India|Australia|France|California|Ireland|Norway",
}
SLOTS = {"who": WHO} | {name: words.split("|") for name, words in _SLOTS.items()}
REFERENCES = {
    "slt": "The weather is lovely this morning.",
    "rms": "My brother bought a small boat.",
    "awb": "Every morning she drinks coffee.",
    "kal16": "The children found an old map.",
}
"""What the reference clips say; held out like the test sentences. Short: every step computes them again."""


@dataclass(frozen=True)
class Sentence:
    """One sentence and the voice that says it."""

    text: str
    voice: str


def fortunes(folder: Path = FORTUNES) -> list[str]:
    """Distinct plain sentences of 8 to 150 characters from the fortune files, in a fixed order."""
    found: dict[str, None] = {}
    for shelf in SHELVES:
        path = folder / shelf
        if not path.is_file():
            continue
        for entry in path.read_text(encoding="utf-8", errors="ignore").split("\n%\n"):
            flat = re.sub(r"\s+", " ", entry.split("\n\t\t--")[0]).replace(" -- ", ", ")
            for piece in re.split(r"(?<=[.!?])\s+", flat):
                part = piece.strip().strip("\"'")
                plain = PLAIN.fullmatch(part) and not SHOUT.search(part) and part[0].isupper()
                if plain and 8 <= len(part) <= 150:
                    found[part] = None
    return list(found)


def chat(count: int, rng: random.Random) -> list[str]:
    """Distinct stream-chat messages, from one word to about twelve."""
    found: dict[str, None] = {}
    while len(found) < count:
        if rng.random() < 0.3:
            text = rng.choice(SHORT)
            if rng.random() < 0.8:
                text += rng.choice([" ", ", "]) + rng.choice(WHO)
            text += rng.choice(".!?!")
        else:
            text = re.sub(r"\{(\w+)\}", lambda slot: rng.choice(SLOTS[slot[1]]), rng.choice(LONG))
        if rng.random() < 0.15 and found:
            text = rng.choice(list(found)[-50:]) + " " + text[0].upper() + text[1:]
        found[text[0].upper() + text[1:]] = None
    return list(found)


def held_out(rest: list[str], messages: list[str]) -> list[Sentence]:
    """The 100 sentences to test on: of each voice 10 short messages, 10 middling, 5 of about ten seconds."""
    middle = [text for text in rest if 30 <= len(text) <= 80]
    long = [text for text in rest if 115 <= len(text) <= 150]
    chosen = [Sentence("Thanks for watching!", "slt"), Sentence("GG everyone.", "rms")]
    chosen += [Sentence("Hello chat!", "awb"), Sentence("Welcome.", "kal16")]
    for at, voice in enumerate(VOICES):
        texts = messages[at * 9 : at * 9 + 9] + middle[at * 10 : at * 10 + 10] + long[at * 5 : at * 5 + 5]
        chosen += [Sentence(text, voice) for text in texts]
    return chosen


def corpus(count: int, seed: int = 3) -> tuple[list[Sentence], list[Sentence]]:
    """Training sentences (about `count`, voices drawn at random) and the held-out ones; disjoint in text."""
    rng = random.Random(seed)
    plain = fortunes()
    rng.shuffle(plain)
    messages = chat(max(count // 4, 200), rng)
    test = held_out(plain, messages)
    banned = {sentence.text for sentence in test} | set(REFERENCES.values())
    train = [text for text in (plain + messages) if text not in banned]
    rng.shuffle(train)
    return [Sentence(text, rng.choice(VOICES)) for text in train[:count]], test
