"""What the quality pass asks for: the pinned cases, then some requests again, then what a memory would know.

It follows MLPerf's audit of inference results (https://github.com/mlcommons/inference, `compliance`): what is
timed must be what is judged (TEST01), so the judges hear waves of the timed calls, and a process that knows
nothing of the timing says them again in shuffled order; and a request that was answered before must be
computed anew (TEST04), so repeats stand beside new requests of the same length.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from engine.gate.data.outputs import Kind, Spoken
from engine.gate.data.samples import ARMS, Arm, Call
from engine.gate.data.texts import Case
from engine.gate.data.workloads import Sentence
from engine.gate.measure import blocks
from engine.gate.measure.process import Instrument, Opener, Reference

PROBES, QUICK_PROBES = 4, 2
"""Cases that the second pass asks for again, beside all judged sentences."""
MEMORY_PAIRS = 8
"""Repeats of one request, each beside a new one: with 5 % noise a call, 20 % saved are nearly always seen."""
SEED_STEP = 7919
"""Added to a seed for other noise; no case and no sentence lies so far from another."""

Report = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Line:
    """One request: what it is for, the sentence (name, text, seed, speed), and the voice that says it."""

    kind: Kind
    sentence: Sentence
    voice: str


def script(
    cases: Sequence[Case], sentences: Sequence[Sentence], voices: Sequence[str], seed: int, probes: int
) -> tuple[Line, ...]:
    """What a process is to say: every case in order, the second pass in shuffled order, and the memory probe.

    Args:
        cases: the pinned cases; voices are theirs by number.
        sentences: the timed requests that are judged, in the first voice, which is the timed one.
        voices: of the checkpoint, in its own order.
        seed: of the second pass: which cases, in what order.
        probes: so many of the cases are asked for again; all sentences are.
    """
    spoken = [
        Line("case", Sentence(name=case.name, text=case.text, seed=case.seed), case.spoken_by(voices))
        for case in cases
    ]
    draw = np.random.default_rng(seed)
    second = [
        line for index in draw.permutation(len(spoken))[:probes] for line in _second(spoken[index], voices)
    ]
    second += [Line("again", sentence, voices[0]) for sentence in sentences]
    shuffled = [second[index] for index in draw.permutation(len(second))]
    return (*spoken, *shuffled, *_memory(sentences, voices[0], draw))


def _second(case: Line, voices: Sequence[str]) -> list[Line]:
    """The same request again, with another seed, and in another voice where there is one."""
    other = case.sentence.model_copy(update={"seed": case.sentence.seed + SEED_STEP})
    lines = [dataclasses.replace(case, kind="again"), Line("other seed", other, case.voice)]
    if len(voices) > 1:
        following = voices[(list(voices).index(case.voice) + 1) % len(voices)]
        lines.append(Line("other voice", case.sentence, following))
    return lines


def _memory(sentences: Sequence[Sentence], voice: str, draw: np.random.Generator) -> list[Line]:
    """Pairs of the shortest sentence as it was asked before and of its words in another order, which nobody
    has said yet and which takes as long; which comes first is drawn."""
    if not sentences:
        return []
    known = min(sentences, key=lambda sentence: len(sentence.text))
    words, lines = known.text.split(), list[Line]()
    for turn in range(1, min(MEMORY_PAIRS, len(words) - 1) + 1):
        text = " ".join((*words[turn:], *words[:turn]))
        new = known.model_copy(update={"text": text, "seed": known.seed + turn * SEED_STEP})
        pair = [Line("repeat", known, voice), Line("fresh", new, voice)]
        lines += pair if draw.random() < 0.5 else reversed(pair)
    return lines


def obtain(
    lines: Sequence[Line],
    voices: Mapping[str, Reference],
    open_worker: Opener,
    described: dict[Arm, Mapping[str, Any]],
    report: Report,
) -> dict[Arm, tuple[Spoken, ...]]:
    """Let one process of each arm speak `lines`, in their order.

    Args:
        lines: from `script`.
        voices: the clip of each voice.
        open_worker: starts a process of an arm.
        described: what each arm said of itself when it was measured; the processes here are held to it.
        report: is told what happens.

    Raises:
        UsageError: an arm is broken, or changed since it was measured.
    """
    found: dict[Arm, tuple[Spoken, ...]] = {}
    for arm in ARMS:
        report(f"quality: the {arm} speaks {len(lines)} lines")
        with open_worker(arm) as handle:
            blocks.same_as_before(arm, handle, described)
            found[arm] = tuple(_speak(handle, line, voices[line.voice]) for line in lines)
            handle.finish()
    return found


def _speak(handle: Instrument, line: Line, reference: Reference) -> Spoken:
    call: Call = handle.call(line.sentence, reference)
    return Spoken(
        name=line.sentence.name,
        kind=line.kind,
        text=line.sentence.text,
        voice=line.voice,
        seed=line.sentence.seed,
        output=call.output,
        seconds=call.seconds,
        audio_seconds=call.audio_seconds,
    )
