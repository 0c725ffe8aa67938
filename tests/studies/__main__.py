"""Runs one study by its name: `python -m tests.studies NAME [arguments]`, or `nox -s study -- NAME`.

Every study writes its record where the registry says; what is given after the name is added, and wins.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

LIST = "--list"
USAGE = 2


class Study(NamedTuple):
    """What a study asks in one line, the module that runs it, and its arguments by default.

    `only_alone`: the arguments are for a call without any, instead of being added to those given.
    """

    asks: str
    module: str
    arguments: tuple[str, ...] = ()
    only_alone: bool = False


def _writes(name: str, *suffixes: str) -> tuple[str, ...]:
    """Arguments that name the record in `baselines/`, and its picture."""
    out = ("--out", f"baselines/{name}.json")
    return (*out, "--plot", f"baselines/{name}.png") if "png" in suffixes else out


STUDIES: Mapping[str, Study] = {
    "calibrate": Study(
        "How often is the gate wrong, and how often can it not tell? Simulated and replayed.",
        "tests.studies.calibrate",
        ("--out", "baselines/calibration.json"),
    ),
    "live-pairs": Study(
        "How far does identical code differ from block to block, live pairs and one after the other?",
        "tests.studies.live_pairs",
    ),
    "calibrate-quality": Study(
        "How often is the gate wrong about sound? On judged speech, resampled.",
        "tests.studies.calibrate_quality",
    ),
    "faults": Study(
        "Does the gate catch every seeded fault? Writes baselines/faults.{json,md}.",
        "pytest",
        ("tests/integration/test_faults.py", "--write-faults"),
    ),
    "fuzz": Study(
        "Is there audio or a clear error, whatever text, clip, folder or number comes in? Ten minutes.",
        "tests.studies.fuzz",
        _writes("fuzz"),
    ),
    "ladder": Study(
        "What does each toggle bring on top of the others: time, memory, sound?",
        "tests.studies.ladder",
        _writes("ladder", "png"),
    ),
    "steps": Study(
        "How long is one guided step at base size, in each format and by each kernel?",
        "tests.studies.steps",
        _writes("steps"),
    ),
    "upstream": Study(
        "How fast is the engine beside upstream's own infer, in one process?",
        "tests.studies.side_by_side",
        _writes("upstream"),
    ),
    "costs": Study(
        "Does the cost model predict other lengths and toggles than it was fitted on?",
        "tests.studies.cost_record",
        _writes("costs", "png"),
    ),
    "batches": Study(
        "What does a batch bring beside what one request leaves unused?",
        "tests.studies.batch_gain",
        _writes("batching"),
    ),
    "first-audio": Study(
        "How soon is a long text heard: whole, streamed, with a short first piece?",
        "tests.studies.first_audio",
        _writes("first_audio"),
    ),
    "load": Study(
        "How many requests does the service speak a minute, how long does each wait, does memory stay?",
        "tests.studies.load",
        ("--out", "baselines/load.json"),
    ),
    "pareto": Study(
        "Which step counts, solvers and number formats are worth having?",
        "tests.studies.pareto",
        _writes("pareto"),
    ),
    "plans": Study(
        "Which of few steps need guidance, how strongly, and where do they lie best? In engine/plans.json.",
        "tests.studies.plansearch",
    ),
    "grids": Study(
        "Which time grids of few steps come nearest to the flow's own path? Goes on where it stopped.",
        "tests.studies.gridsearch",
    ),
    "sensitivity": Study(
        "How much does each linear of the transformer mind 8 bits?",
        "tests.studies.sensitivity",
    ),
    "gpu": Study(
        "What does a card reach at base size, beside its limits and what was predicted?",
        "tests.studies.gpu",
    ),
    "vocoder": Study(
        "What does another runtime bring for the vocoder, and that for the whole?",
        "tests.studies.vocoder_bench",
    ),
    "voice": Study(
        "Trains the voice in the box again: hours on a CPU; needs flite.",
        "tests.studies.voice",
        ("all", "--work", "build/voice"),
        only_alone=True,
    ),
}


def command(name: str, given: Sequence[str]) -> tuple[str, list[str]]:
    """The module that runs a study, and its arguments: those of the registry first, so that the given win.

    Raises:
        KeyError: there is no such study.
    """
    study = STUDIES[name]
    return study.module, [*(() if study.only_alone and given else study.arguments), *given]


def table() -> Table:
    """Every study with what it asks."""
    rows = Table(box=None, pad_edge=False, show_header=False)
    for name, study in STUDIES.items():
        rows.add_row(name, study.asks)
    return rows


def main(arguments: Sequence[str]) -> int:
    """Run the study that is named first; 2 where there is none of that name."""
    if not arguments or arguments[0] == LIST:
        Console().print(table())
        return 0
    name, *given = arguments
    if name not in STUDIES:
        Console(stderr=True).print(
            f"study {name!r}: expected one of {', '.join(STUDIES)}. See what they ask with {LIST}.",
            markup=False, soft_wrap=True,
        )  # fmt: skip
        return USAGE
    module, words = command(name, given)
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
