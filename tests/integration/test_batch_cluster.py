"""A batch on a local Ray of two processes: what one process gives, and nothing lost when one is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

SCENE = """
import os, pickle, signal, sys
from pathlib import Path
from engine.checkpoint import find
from engine.jobs import batch, distributed
from engine.jobs.distributed import Cluster
from engine.jobs.speaking import Setup
from engine.options import Options
from engine.requests import Request

found = find("seeded-tiny")
setup = Setup("seeded-tiny", None, "cpu", Options(nfe=2), "wav", found.digest(), 1)

def run(speaker, report=lambda *_: None):
    return batch.run(Path(sys.argv[1]), Path(sys.argv[2]), setup, found, Request(""), speaker, report)
"""
KILLED = """
workers = []

def speaker(setup, todo):
    for outcome in Cluster(workers=2)(setup, todo):
        workers.append(outcome.worker)
        if len(workers) == 5:  # the process that has just spoken has its next text by now
            os.kill(int(outcome.worker.rpartition(":")[2]), signal.SIGKILL)
        yield outcome

summary = run(speaker)
print(len(summary.spoken), len(summary.failed), len(set(workers)))
"""
INTERRUPTED = """
run(batch.locally, lambda done, *_: os.kill(os.getpid(), signal.SIGKILL) if done == 5 else None)
"""
DEADLY = """
class Deadly(distributed.Worker):
    def __call__(self, part):
        if any("die" in item.request.words for item in pickle.loads(part["items"][0])):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(part)

distributed.Worker = Deadly
summary = run(Cluster(workers=1))
for result in summary.failed:
    print(result.line, result.error)
print(len(summary.spoken), "spoken")
"""


def play(story: str, source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Run a story in a process of its own."""
    script = source.with_name("story.py")
    script.write_text(SCENE + story)
    return subprocess.run(
        [sys.executable, str(script), str(source), str(out)],
        check=False, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip


def command(source: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run a cheap batch: one CPU thread, so that every process gives the same bytes."""
    fixed = ["--checkpoint", "seeded-tiny", "--device", "cpu", "--nfe", "2", "--threads", "1", "--json"]
    return subprocess.run(
        [sys.executable, "-m", "engine.cli", "batch", str(source), "-o", str(out), *fixed, *more],
        check=False, capture_output=True, text=True,
    )  # fmt: skip


def texts(path: Path, count: int) -> Path:
    """A file of texts, each with a seed of its own."""
    lines = [json.dumps({"text": f"This is text number {n}.", "seed": n}) for n in range(count)]
    path.write_text("\n".join(lines))
    return path


def results(out: Path) -> list[dict[str, Any]]:
    """The lines of `results.jsonl`."""
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def test_a_worker_killed_half_way_loses_nothing(tmp_path: Path, tiny_folder: Path) -> None:
    """Two processes speak, one is killed: each text has its audio once, and it is what one process gives."""
    source, out, alone = texts(tmp_path / "texts.jsonl", 40), tmp_path / "out", tmp_path / "alone"
    done = play(KILLED, source, out)
    assert done.returncode == 0, done.stderr
    spoken, failed, workers = map(int, done.stdout.split())
    assert (spoken, failed) == (40, 0)
    assert workers >= 2, "another process took its place, or the other went on"
    assert [line["line"] for line in results(out)] == list(range(1, 41))
    assert command(source, alone).returncode == 0
    for line in results(alone):
        assert (out / line["file"]).read_bytes() == (alone / line["file"]).read_bytes()
    assert not [path for path in out.iterdir() if path.name.startswith(".") and path.name != ".lock"]


def test_a_batch_that_is_killed_goes_on_where_it_stopped(tmp_path: Path, tiny_folder: Path) -> None:
    """The job dies without a word; the next one skips what was acknowledged, whoever spoke it."""
    source, out = texts(tmp_path / "texts.jsonl", 12), tmp_path / "out"
    assert play(INTERRUPTED, source, out).returncode == -signal.SIGKILL
    acknowledged = {line["id"]: line["sha256"] for line in results(out)}
    assert len(acknowledged) == 5
    done = command(source, out, "--cluster", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["finished_before"] == 5
    now = {line["id"]: line["sha256"] for line in results(out)}
    assert len(now) == 12
    assert {name: now[name] for name in acknowledged} == acknowledged


def test_a_model_that_no_process_can_load_is_one_sentence(tmp_path: Path, tiny_folder: Path) -> None:
    """The reason is the engine's own, not a page of Ray's."""
    source = texts(tmp_path / "texts.jsonl", 2)
    done = command(source, tmp_path / "out", "--cluster", "--workers", "1", "--attention", "cudnn")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "attention='cudnn'" in done.stderr


def test_a_text_that_ends_every_process_fails_alone(tmp_path: Path, tiny_folder: Path) -> None:
    """After some tries it is named, and the others have their audio."""
    source = tmp_path / "texts.jsonl"
    lines = [{"text": "One."}, {"text": "Here I die."}, {"text": "Three."}]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = play(DEADLY, source, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "2 a process that died 4 times: expected one that lives. See that its machine has memory enough.",
        "2 spoken",
    ]
