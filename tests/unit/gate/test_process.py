"""Real worker processes with a stand-in engine: the protocol, and what happens when a side breaks."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from engine.errors import UsageError
from engine.gate.data.samples import Arm, Series, Work
from engine.gate.data.workloads import SENTENCES
from engine.gate.measure import process as instrument
from engine.gate.measure.process import Material, Opener, Target
from tests.unit.gate import fake_engine


def opened(folder: Path, extra: str = "", options: str = "reference", **changes: Any):  # type: ignore[no-untyped-def]
    """An opener over the stand-in under `folder`, for both arms."""
    root = fake_engine.write(folder, extra)
    clip = folder / "clip.wav"
    clip.write_bytes(b"audio")
    target = Target(root, "0123456789ab", True, options)
    arms = {"base": target, "candidate": target}
    return instrument.opener(arms, Material("any", "any", clip, "Words."), **changes)


def test_a_process_speaks_and_says_what_it_observed(tmp_path: Path) -> None:
    """A library that prints to stdout does not disturb it."""
    with opened(tmp_path) as open_worker, open_worker("candidate") as handle:
        calls = [handle.call(SENTENCES[0], seed=seed) for seed in (0, 0, 5)]
        own = handle.call(SENTENCES[1])
        spoken = [Series(workload="short", calls=tuple(calls))]
        process = instrument.process("candidate", 0, 1, spoken, handle, handle.finish())
    assert [call.seed for call in (*calls, own)] == [0, 0, 5, SENTENCES[1].seed]
    assert len({call.output for call in calls}) == 2
    assert (process.arm, process.block, process.twin) == ("candidate", 0, 1)
    assert process.first_call_seconds == calls[0].seconds
    assert process.load_seconds > 0
    assert process.evidence["reference_cache"].observed == "4 calls"
    assert process.peak_host_mb
    assert process.peak_host_mb > 1


@pytest.mark.parametrize(
    ("extra", "options", "last"),
    [
        ("raise RuntimeError('half a merge')", "reference", "half a merge"),
        ("", "unknown=1", "no such option"),
        ("def load(*a, **k): import os; os._exit(9)", "reference", "code 9"),
    ],
)
def test_a_broken_side_is_one_error_with_its_last_words(
    tmp_path: Path, extra: str, options: str, last: str
) -> None:
    """It names the arm, the revision, and what the process said last."""
    with (
        pytest.raises(UsageError, match=rf"(?s)the base \(0123456789\+, {options}\).*{last}"),
        opened(tmp_path, extra, options) as open_worker,
        open_worker("base") as handle,
    ):
        handle.finish()


def test_a_side_that_hangs_is_ended(tmp_path: Path) -> None:
    """The time limit holds, and the error says that the process was killed."""
    hang = "import threading\ndef load(*a, **k): threading.Event().wait()"
    with (
        pytest.raises(UsageError, match="code -9"),
        opened(tmp_path, hang, timeout=0.2) as open_worker,
        open_worker("base") as handle,
    ):
        handle.finish()


def test_another_engine_than_the_sides_own_is_refused(tmp_path: Path) -> None:
    """An installed engine that answers in place of the checkout would measure the wrong code."""
    lie = f"__file__ = {str(tmp_path / 'elsewhere' / 'engine' / '__init__.py')!r}"
    with (
        pytest.raises(UsageError, match="elsewhere"),
        opened(tmp_path, lie) as open_worker,
        open_worker("base") as handle,
    ):
        handle.finish()


def test_work_is_counted_alike_in_two_processes_and_for_two_seeds(tmp_path: Path) -> None:
    """Counts are exact."""
    with opened(tmp_path) as open_worker, open_worker("base") as base, open_worker("candidate") as candidate:
        counts = [handle.count(SENTENCES[0]) for handle in (base, candidate, base)]
    assert set(counts) == {
        Work(operators=0, flops=0, allocated_bytes=0, evaluations=7, rows=14),
    }


def test_processes_of_both_arms_are_alive_together(tmp_path: Path) -> None:
    """They load at the same time, and answer in any order."""
    with opened(tmp_path) as open_worker, contextlib.ExitStack() as stack:
        arms: tuple[Arm, ...] = ("base", "candidate", "base", "candidate")
        handles = [stack.enter_context(open_worker(arm)) for arm in arms]
        outputs = [handles[index].call(SENTENCES[0], seed=3).output for index in (2, 0, 3, 1)]
    assert len(set(outputs)) == 1


def test_the_last_words_of_one_process_are_not_anothers(tmp_path: Path) -> None:
    """Each writes a log of its own while the others live."""
    last = "\nEngine.synthesize = lambda self, text, *a, **k: exit('last words on ' + text)"
    with opened(tmp_path, last) as open_worker, contextlib.ExitStack() as stack:
        handles = [stack.enter_context(open_worker(arm)) for arm in ("base", "candidate")]
        for handle, sentence in zip(handles, SENTENCES, strict=False):
            with pytest.raises(UsageError, match=f"(?s)last words on {sentence.text[:20]}"):
                handle.call(sentence)


def interrupted(open_worker: Opener, children: list[subprocess.Popen[str]]) -> None:
    """One process is busy and one waits when the keyboard interrupts."""
    with open_worker("base") as base, open_worker("candidate") as candidate:
        for handle in (base, candidate):
            assert isinstance(handle, instrument.Worker)
            assert handle.described["threads"] >= 1
            children.append(handle._process)
        assert isinstance(base, instrument.Worker)
        base._send({"text": "busy", "seed": 0, "speed": 1.0})
        raise KeyboardInterrupt


def test_no_process_stays_after_an_error(tmp_path: Path) -> None:
    """Whatever is raised while they live, busy or not: all of them are killed."""
    hang = "\nEngine.synthesize = lambda *a, **k: __import__('threading').Event().wait()"
    children: list[subprocess.Popen[str]] = []
    with opened(tmp_path, hang) as open_worker, pytest.raises(KeyboardInterrupt):
        interrupted(open_worker, children)
    assert [child.returncode for child in children] == [-9, -9]


def test_idle_threads_sleep_whatever_the_environment_says(tmp_path: Path) -> None:
    """A thread that spins while its process waits takes a core from the others."""
    tell = (
        "\nimport os\nProof.__init__ = lambda self, calls: setattr(self, 'observed', repr(dict(os.environ)))"
    )
    environment = {**os.environ, "OMP_WAIT_POLICY": "ACTIVE"}
    with opened(tmp_path, tell, environment=environment) as open_worker, open_worker("base") as handle:
        observed = handle.finish()["evidence"]["reference_cache"][1]
    for name, value in instrument.IDLE_THREADS_SLEEP.items():
        assert f"'{name}': '{value}'" in observed
