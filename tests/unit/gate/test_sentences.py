"""The gate's product is its word: every kind of answer and of error, read as a whole.

`sentences.txt` holds them for people to read. After a change that is meant, write it again and look at the
difference: `python -m tests.unit.gate.test_sentences > tests/unit/gate/sentences.txt`.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from engine.errors import EngineError
from engine.gate.baselines.select import parse, select
from engine.gate.data.limits import Baseline
from engine.gate.data.samples import Run
from engine.gate.data.verdict import Judgement
from engine.gate.stats import calls
from engine.gate.verdict.judge import judge
from tests.unit.gate import builders
from tests.unit.gate.test_baseline import edited, put, recorded
from tests.unit.gate.test_change import replaced, with_work
from tests.unit.gate.test_product import with_limits

SENTENCES = Path(__file__).with_name("sentences.txt")
ALL: Any = ("change", "limits", "drift")

NOISY = builders.run(builders.processes(1.06, noise=0.08))
DAYS = builders.baseline(products=(), sessions=tuple(builders.session(0.2, day) for day in range(4)))
ONE_DAY = builders.baseline(products=(), sessions=(builders.session(0.2),))
HUNGRY = replaced(builders.processes(peak_host_mb=500.0), peak_host_mb=1000.0)
SLOW_START = replaced(builders.processes(), first_call_seconds=9.0)
ONE_CALL = builders.run((builders.process("candidate", 0, 0, [0.2]),))
BARELY = builders.run(tuple(builders.process("candidate", block, 0, [0.36004] * 6) for block in range(4)))

RUNS: dict[str, tuple[Run, Baseline | None, tuple[str, ...]]] = {
    "nothing changed": (
        builders.run(),
        None,
        ("time", "tails", "work", "memory growth", "preflight", "A/A control", "toggles"),
    ),
    "30 % faster": (builders.run(builders.processes(0.7)), None, ("time",)),
    "10 % slower": (builders.run(builders.processes(1.1)), None, ("time",)),
    "30 % slower": (builders.run(builders.processes(1.3)), None, ("time",)),
    "noise within the threshold": (NOISY, None, ("time",)),
    "noise over the threshold": (NOISY.model_copy(update={"threshold": 0.04}), None, ("time",)),
    "a slow first call": (builders.run(SLOW_START), None, ("first call", "load")),
    "more work": (with_work(operators=1300), None, ("work",)),
    "a leak": (builders.run(builders.processes(growth=0.24)), None, ("memory growth",)),
    "two calls": (builders.run(builders.processes(calls=2)), None, ("memory growth",)),
    "one call": (ONE_CALL, builders.baseline(), ("CV", "mean RTF")),
    "product limits": (
        builders.alone(0.2), builders.baseline(), ("mean RTF", "worst RTF", "CV", "noise between processes"),
    ),
    "over the product limits": (builders.alone(0.5), builders.baseline(), ("mean RTF", "worst RTF")),
    "barely over": (BARELY, builders.baseline(), ("mean RTF",)),
    "too good": (
        builders.alone(0.2), with_limits(mean_rtf=builders.limit(0.36, lower=0.25)), ("mean RTF",),
    ),
    "another model": (
        builders.alone(candidate=builders.side(checkpoint="box")), builders.baseline(), ("product",),
    ),
    "compared with nothing": (builders.alone(), None, ("older revision", "product")),
    "as on other days": (builders.alone(), DAYS, ("recorded sessions",)),
    "slower than on other days": (builders.alone(0.8), DAYS, ("recorded sessions",)),
    "slower than on one day": (builders.alone(0.3), ONE_DAY, ("recorded sessions",)),
    "another torch": (
        builders.alone(candidate=builders.side(versions={"torch": "2.14.0"})), DAYS, ("recorded sessions",),
    ),
    "never recorded": (
        builders.alone(candidate=builders.side(options={"nfe": 7})), DAYS, ("sessions", "toggle nfe"),
    ),
    "hot": (builders.run(builders.processes(0.7), preflight=builders.UNFIT), None, ("time", "preflight")),
    "hot half-way": (builders.run(after_blocks=builders.HALF_WAY), None, ("preflight",)),
    "hot, forced": (builders.run(preflight=builders.UNFIT, forced=True), None, ("preflight",)),
    "twice the memory": (builders.run(HUNGRY), None, ("peak memory, host",)),
    "loud": (builders.run(builders.processes(noise=0.6)), None, ("A/A control",)),
}  # fmt: skip


def known_machine(folder: Path) -> object:
    """`portable.json` says that this machine has a file, and it has none."""
    put(folder, builders.portable(machines_with_own_baseline=(builders.KEY,)))
    return select(builders.KEY, folder)


def changed_sentence(folder: Path) -> object:
    """A sentence that the file pins is another one now."""
    changed = builders.baseline(workloads={**builders.PINS, "short": "ab" * 32})
    return select(builders.KEY, folder, put(folder, changed))


def other_workload(_: Path) -> object:
    """The same name, with another text, voice or weights."""
    clip = builders.Clip.of("other", b"other", "Other.")
    side = builders.side(builders.pinned(clip, builders.WEIGHTS, ["short", "medium"]))
    return judge(builders.alone(candidate=side), builders.selection(DAYS))


def altered(way: str, value: object) -> Callable[[Path], object]:
    """Reads a baseline with one value replaced."""
    return lambda _: parse(edited(recorded(), way, value), "x.json")


ERRORS: dict[str, Callable[[Path], object]] = {
    "no file": lambda folder: select(builders.KEY, folder),
    "no file of a known machine": known_machine,
    "another machine's file": lambda folder: select(
        builders.KEY, folder, put(folder, builders.baseline(machine="other"))
    ),
    "a sentence that changed": changed_sentence,
    "a file of an earlier release": altered("schema_version", 1),
    "a placeholder": altered("products", None),
    "options that nobody knows": altered("products.0.options", "nobody"),
    "a sample that nobody measured": altered("sessions.0.workloads.short.rtf.1.0", 0.5),
    "a workload that changed": other_workload,
    "a time of zero": lambda _: calls.positive([1.0, 2.0, 0.0]),
    "no times": lambda _: calls.positive([]),
}


def figures(judgement: Judgement) -> str:
    """The figures of one answer, three digits each."""
    names = ("value", "base", "low", "high", "limit")
    given = [f"{name} {value:.3g}" for name in names if (value := getattr(judgement, name)) is not None]
    return ", ".join([*given, judgement.unit] if judgement.unit else given) or "no figures"


def blocks(folder: Path) -> Iterator[str]:
    """Everything the gate may say, by its cause."""
    for name, (run, baseline, questions) in RUNS.items():
        verdict = judge(run, builders.selection(baseline))
        yield f"{name}: exit {verdict.code}\n  {verdict.first_line}"
        for question in questions:
            judgement = next(each for each in verdict.judgements if each.question == question)
            head = f"{name}, {question}: {judgement.outcome} ({judgement.code}); {figures(judgement)}"
            yield f"{head}\n  {judgement.sentence}"
    full = judge(builders.run(questions=ALL), builders.selection(builders.baseline(sessions=DAYS.sessions)))
    for answer in full.answers:
        yield f"answer, {answer.topic}: {answer.outcome} ({answer.code})\n  {answer.sentence}"
    yield "\n  ".join(["notes:", *full.notes])
    loosened = judge(builders.run(), builders.selection(), loosened=["one was raised", "another was removed"])
    yield f"limits: {loosened.first_line}"
    for number, (name, cause) in enumerate(ERRORS.items()):
        own = folder / str(number)
        own.mkdir()
        try:
            cause(own)
        except EngineError as error:
            yield f"{name}: {type(error).__name__}\n  {error}".replace(str(own), "FOLDER")
        else:
            yield f"{name}: no error"


def test_everything_the_gate_says_reads_as_in_the_committed_file(tmp_path: Path) -> None:
    """Outcome, exit code, figures and sentence of every way a run may end, and every error, word for word."""
    assert list(blocks(tmp_path)) == SENTENCES.read_text(encoding="utf-8").rstrip("\n").split("\n\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        sys.stdout.write("\n\n".join(blocks(Path(made))) + "\n")
