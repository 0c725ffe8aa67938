"""What the judges heard of both arms, and where the bytes are not those that they should be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from engine.gate.data.outputs import Heard, Spoken, Stray
from engine.gate.data.samples import ARMS, Arm
from engine.gate.quality import judges, timed
from engine.gate.quality.judges import Distances, Item, Panel, Scores
from engine.gate.quality.judges.distance import WINDOW
from engine.gate.quality.timed import Timed

Report = Callable[[str], None]
Judge = Callable[[Sequence[Item], Panel, int, Callable[[int, int], None]], Sequence[Scores]]
"""Scores items by a panel, in so many processes, and tells how many are done, as `judges.judge_all` does."""


def scores(
    panel: Panel,
    missing: Mapping[str, str],
    spoken: Mapping[Arm, Sequence[Spoken]],
    folders: Mapping[str, Path],
    report: Report,
    judge: Judge,
) -> dict[Arm, dict[str, Scores]]:
    """Scores of what is judged, by arm and name; each distinct output is heard once.

    Args:
        panel: who judges.
        missing: judges that could not be opened, and why.
        spoken: all answers of both arms.
        folders: by kind of answer, where its waves are.
        report: is told what happens.
        judge: scores what was spoken.
    """
    asked = [(arm, answer) for arm in ARMS for answer in spoken[arm] if answer.judged]
    items = [
        Item(timed.wave(folders[answer.kind], answer.output), answer.text, answer.voice)
        for _, answer in asked
    ]
    workers = judges.workers() if panel.names else 1
    report(f"quality: judging {len({answer.output for _, answer in asked})} distinct outputs")

    def progress(done: int, total: int) -> None:
        if done * 4 // total > (done - 1) * 4 // total or workers > 1:
            report(f"quality: judged {done} of {total}")

    judged: dict[Arm, dict[str, Scores]] = {arm: {} for arm in ARMS}
    given = judge(items, panel, workers, progress)
    for (arm, answer), own in zip(asked, given, strict=True):
        reasons = {**own.not_judged, **missing}
        judged[arm][answer.name] = own.model_copy(update={"not_judged": reasons})
    return judged


def heard(
    arm: Arm, spoken: Sequence[Spoken], scored: dict[str, Scores], measured: Timed, folder: Path
) -> Heard:
    """One arm, with every output that has other bytes than the first one of the same request."""
    first = {answer.name: answer for answer in spoken if answer.judged}
    strays = list(timed.strays(measured.calls[arm], measured.folder))
    for answer in spoken:
        if answer.kind not in ("again", "repeat") or answer.output == first[answer.name].output:
            continue
        where = measured.folder if first[answer.name].kind == "timed" else folder
        expected = first[answer.name].output
        far = timed.mel_l2(timed.wave(where, expected), timed.wave(folder, answer.output))
        strays.append(
            Stray(
                name=answer.name, kind="again", seed=answer.seed,
                output=answer.output, expected=expected, mel_l2=far,
            )
        )  # fmt: skip
    return Heard(spoken=tuple(spoken), scores=scored, strays=tuple(strays))


def distances(base: Heard, candidate: Heard, folders: Mapping[str, Path]) -> Iterator[tuple[str, Distances]]:
    """How far the candidate is from the base, where the bytes differ and can be compared."""
    for name, answer in base.judged.items():
        waves = [timed.wave(folders[answer.kind], arm.judged[name].output) for arm in (base, candidate)]
        comparable = min(map(len, waves)) >= WINDOW and all(np.isfinite(wave).all() for wave in waves)
        if answer.output != candidate.judged[name].output and comparable:
            yield name, judges.distances(*waves)
