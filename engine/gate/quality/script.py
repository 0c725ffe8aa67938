"""Quality pass: one process an arm speaks the pinned cases and the timed sentences, and some of it again.

It follows MLPerf's audit of inference results (https://github.com/mlcommons/inference, `compliance`): what is
timed must be what is judged (TEST01), and a request that was answered before must be computed anew (TEST04).
So the second pass, in shuffled order, holds the same requests again (the same bytes: order must not matter),
and other seeds and other voices (other bytes, in the same time).
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
"""Cases that the second pass asks for again, beside all timed sentences."""
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
    """What a process is to say: every case and sentence in order, then the second pass in shuffled order.

    Args:
        cases: the pinned cases; voices are theirs by number.
        sentences: the timed ones, in the first voice, whose clip the timed processes have.
        voices: of the checkpoint, in its own order.
        seed: of the second pass: which cases, in what order.
        probes: so many of the cases are asked for again; all sentences are.
    """
    timed = [Line("timed", sentence, voices[0]) for sentence in sentences]
    spoken = [
        Line("case", Sentence(name=case.name, text=case.text, seed=case.seed), case.spoken_by(voices))
        for case in cases
    ]
    draw = np.random.default_rng(seed)
    drawn = [spoken[index] for index in draw.permutation(len(spoken))[:probes]]
    second = [one for line in (*drawn, *timed) for one in _probes(line, voices)]
    return (*spoken, *timed, *(second[index] for index in draw.permutation(len(second))))


def _probes(line: Line, voices: Sequence[str]) -> list[Line]:
    """The same request again, with another seed, and (a case) in another voice where there is one."""
    other = line.sentence.model_copy(update={"seed": line.sentence.seed + SEED_STEP})
    found = [dataclasses.replace(line, kind="again"), Line("other seed", other, line.voice)]
    if line.kind == "case" and len(voices) > 1:
        following = voices[(list(voices).index(line.voice) + 1) % len(voices)]
        found.append(Line("other voice", line.sentence, following))
    return found


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
