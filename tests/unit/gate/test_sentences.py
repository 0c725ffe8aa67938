"""The gate's product is its word: every kind of answer and of error, read as a whole.

`sentences.txt` holds them for people to read. After a change that is meant, write it again and look at the
difference: `python -m tests.unit.gate.test_sentences > tests/unit/gate/sentences.txt`.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from engine.errors import EngineError
from engine.gate.baselines.select import Baseline, dump, find_recorded, parse, select
from engine.gate.data.samples import Judgement, Run
from engine.gate.stats import calls
from tests.unit.gate import builders
from tests.unit.gate.test_baseline import edited, entry, put
from tests.unit.gate.test_verdict import answer, verdict, with_limit

SENTENCES = Path(__file__).with_name("sentences.txt")

NOISY = builders.run(builders.processes(1.03, noise=0.06))
SAMPLES = tuple(entry(workload=one.name, workload_sha256=one.sha256) for one in builders.WORKLOADS)
FASTER = tuple(
    entry(workload=one.name, workload_sha256=one.sha256, rtf=((0.1, 0.1), (0.1, 0.1)))
    for one in builders.WORKLOADS
)
HUNGRY = tuple(
    one.model_copy(update={"peak_host_mb": 1000.0 if one.arm == "candidate" else 500.0})
    for one in builders.processes()
)
ONE_CALL = builders.run((builders.process("candidate", 0, 0, [0.2]),))
BELIEVED = with_limit("product", "mean_rtf", lower=0.25)

ANSWERS: dict[str, tuple[Run, Baseline | None, tuple[str, ...]]] = {
    "nothing changed": (builders.run(), None, ("centre", "tails", "memory", "preflight", "A/A control")),
    "30 % faster": (builders.run(builders.processes(0.7)), None, ("centre",)),
    "10 % slower": (builders.run(builders.processes(1.1)), None, ("centre",)),
    "30 % slower": (builders.run(builders.processes(1.3)), None, ("centre",)),
    "noise within the threshold": (NOISY, None, ("centre",)),
    "noise over the threshold": (NOISY.model_copy(update={"threshold": 0.04}), None, ("centre",)),
    "noise at the limit": (
        builders.run(builders.processes(1.01, noise=0.05)),
        with_limit("relative", "time_ratio", upper=0.99, reference=None),
        ("centre",),
    ),
    "a leak": (builders.run(builders.processes(growth=1.0)), None, ("memory",)),
    "two calls": (builders.run(builders.processes(calls=2)), None, ("memory",)),
    "one call": (ONE_CALL, builders.baseline(), ("CV", "mean RTF")),
    "two calls of one process": (
        builders.run((builders.process("candidate", 0, 0, [0.2, 0.21]),)),
        builders.baseline(),
        ("CV",),
    ),
    "one unlike the other": (
        builders.run(tuple(builders.process("candidate", 0, i, [0.1 + 0.2 * i]) for i in range(2))),
        builders.baseline(),
        ("CV",),
    ),
    "product limits": (builders.alone(0.2), builders.baseline(), ("centre", "mean RTF", "worst RTF", "CV")),
    "over the product limits": (builders.alone(0.5), builders.baseline(), ("mean RTF", "worst RTF")),
    "over a product limit by noise": (
        builders.run(builders.processes(rtf=0.365, noise=0.1)),
        builders.baseline(),
        ("mean RTF",),
    ),
    "too good": (builders.alone(0.2), BELIEVED, ("mean RTF",)),
    "compared with nothing": (builders.alone(), None, ("centre",)),
    "compared with samples": (builders.alone(), builders.baseline(entries=SAMPLES), ("centre",)),
    "hot": (builders.run(builders.processes(0.7), preflight=builders.UNFIT), None, ("centre", "preflight")),
    "hot half-way": (builders.run(after_blocks=builders.HALF_WAY), None, ("preflight",)),
    "hot, forced": (builders.run(preflight=builders.UNFIT, forced=True), None, ("preflight",)),
    "slower than it was": (builders.run(), builders.baseline(entries=FASTER), ("recorded",)),
    "twice the memory": (builders.run(HUNGRY), None, ("peak memory, host",)),
    "on, and unseen": (builders.run(candidate=builders.side(options={"nfe": 7})), None, ("toggle nfe",)),
    "loud": (builders.run(builders.processes(noise=0.6)), None, ("A/A control",)),
}


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
    recorded = builders.baseline(entries=(entry(workload_sha256="ab" * 32),))
    return find_recorded(recorded, builders.side(), "short")


def altered(way: str, value: object) -> Callable[[Path], object]:
    """Reads a baseline with one value replaced."""
    return lambda _: parse(edited(builders.baseline(entries=(entry(),)), way, value), "x.json")


ERRORS: dict[str, Callable[[Path], object]] = {
    "no file": lambda folder: select(builders.KEY, folder),
    "no file of a known machine": known_machine,
    "another machine's file": lambda folder: select(
        builders.KEY, folder, put(folder, builders.baseline(machine="other"))
    ),
    "a sentence that changed": changed_sentence,
    "a file of a later release": altered("schema_version", 2),
    "a placeholder": altered("product", None),
    "a sample that nobody measured": altered("entries.0.rtf.1.0", 0.5),
    "a workload that changed": other_workload,
    "a time of zero": lambda _: calls.positive([1.0, 2.0, 0.0]),
    "no times": lambda _: calls.positive([]),
}

VERSIONS = {"one package renewed": {"torch": "2.14.0"}, "and one added": {"torch": "2.14.0", "vocos": "0.1"}}


def figures(found: Judgement) -> str:
    """The figures of one answer, three digits each."""
    names = ("value", "low", "high", "limit")
    given = [f"{name} {value:.3g}" for name in names if (value := getattr(found, name)) is not None]
    return ", ".join([*given, found.unit] if found.unit else given) or "no figures"


def blocks(folder: Path) -> Iterator[str]:
    """Everything the gate may say, by its cause."""
    for name, (run, baseline, questions) in ANSWERS.items():
        for question in questions:
            found = answer(verdict(run, baseline), question)
            yield f"{name}, {question}: {found.outcome} ({found.code}); {figures(found)}\n  {found.sentence}"
    for name, run in {"with a base": builders.run(), "without a base": builders.alone()}.items():
        yield "\n  ".join([f"notes {name}:", *verdict(run).notes])
    said = ["one was raised", "another was removed"]
    yield f"limits: {answer(verdict(builders.run(), loosened=said), 'limits').sentence}"
    for name, versions in VERSIONS.items():
        recorded = find_recorded(
            builders.baseline(entries=(entry(),)), builders.side(versions=versions), "short"
        )
        yield f"{name}:\n  {recorded[1]}"
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


def test_a_written_baseline_has_no_empty_fields() -> None:
    """What is absent stays absent: a null would be refused when it is read."""
    assert "null" not in dump(builders.portable())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        sys.stdout.write("\n\n".join(blocks(Path(made))) + "\n")
