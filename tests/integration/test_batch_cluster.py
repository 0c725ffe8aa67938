"""A batch on a local Ray of two processes: what one process gives, and nothing lost when one is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

MINUTES = 8


def texts(path: Path, count: int) -> Path:
    """A file of texts, each with a seed of its own."""
    lines = [json.dumps({"text": f"This is text number {n}.", "seed": n}) for n in range(count)]
    path.write_text("\n".join(lines))
    return path


def command(source: Path, out: Path, *more: str) -> list[str]:
    """A cheap batch: one CPU thread, so that every process gives the same bytes."""
    fixed = ["--checkpoint", "seeded-tiny", "--device", "cpu", "--nfe", "2", "--threads", "1", "--json"]
    return [sys.executable, "-m", "engine.cli", "batch", str(source), "-o", str(out), *fixed, *more]


def results(out: Path) -> list[dict[str, Any]]:
    """The lines of `results.jsonl` that are whole."""
    path = out / "results.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes of a job that speak."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            title = " ".join(child.cmdline())
        except psutil.NoSuchProcess:
            continue
        if re.search(r"ray::.*Worker", title):
            found.append(child)
    return found


def test_a_worker_killed_half_way_loses_nothing(tmp_path: Path, tiny_folder: Path) -> None:
    """Two processes speak, one is killed: each text has its audio once, and it is what one process gives."""
    source, out, alone = texts(tmp_path / "texts.jsonl", 60), tmp_path / "out", tmp_path / "alone"
    process = subprocess.Popen(
        command(source, out, "--cluster", "--workers", "2"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60 * MINUTES
    while len(results(out)) < 5 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    victims = workers(process)
    assert len(victims) == 2, [
        child.cmdline() for child in psutil.Process(process.pid).children(recursive=True)
    ]
    victims[0].send_signal(signal.SIGKILL)
    done = len(results(out))
    printed, said = process.communicate(timeout=60 * MINUTES)
    assert process.returncode == 0, said
    facts = json.loads(printed)
    assert done < 60, "it was killed too late"
    assert (facts["spoken"], facts["failed"]) == (60, [])
    assert facts["processes"] >= 3, "the one that was killed, the other, and the one that took its place"
    assert [line["line"] for line in results(out)] == list(range(1, 61))
    subprocess.run(command(source, alone), check=True, capture_output=True)
    for line in results(alone):
        assert (out / line["file"]).read_bytes() == (alone / line["file"]).read_bytes()
    assert not [path for path in out.iterdir() if path.name.startswith(".") and path.name != ".lock"]


def test_a_batch_that_is_killed_goes_on_where_it_stopped(tmp_path: Path, tiny_folder: Path) -> None:
    """The whole job dies without a word; the second one skips what was acknowledged, by whatever spoke it."""
    source, out = texts(tmp_path / "texts.jsonl", 40), tmp_path / "out"
    process = subprocess.Popen(command(source, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(results(out)) < 5 and process.poll() is None:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    acknowledged = {line["id"]: line["sha256"] for line in results(out)}
    assert 5 <= len(acknowledged) < 40
    done = subprocess.run(
        command(source, out, "--cluster", "--workers", "2"), check=False, capture_output=True, text=True
    )
    facts = json.loads(done.stdout)
    assert (done.returncode, facts["finished_before"]) == (0, len(acknowledged)), done.stderr
    now = {line["id"]: line["sha256"] for line in results(out)}
    assert len(now) == 40
    assert {name: now[name] for name in acknowledged} == acknowledged


def test_a_model_that_no_process_can_load_is_one_sentence(tmp_path: Path, tiny_folder: Path) -> None:
    """The reason is the engine's own, not a page of Ray's."""
    source = texts(tmp_path / "texts.jsonl", 2)
    done = subprocess.run(
        command(source, tmp_path / "out", "--cluster", "--workers", "1", "--attention", "cudnn"),
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "attention='cudnn'" in done.stderr


DEADLY = """
import os, signal, sys
from pathlib import Path
from engine.checkpoint import find
from engine.jobs import batch, distributed
from engine.jobs.speaking import Setup
from engine.options import Options
from engine.requests import Request


class Deadly(distributed.Worker):
    def __call__(self, part):
        import pickle
        if any("die" in item.request.words for item in pickle.loads(part["items"][0])):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(part)


distributed.Worker = Deadly
found = find("seeded-tiny")
setup = Setup("seeded-tiny", None, "cpu", Options(nfe=2), "wav", found.digest())
summary = batch.run(
    Path(sys.argv[1]), Path(sys.argv[2]), setup, found, Request(""), distributed.Cluster(workers=1)
)
for result in summary.failed:
    print(result.line, result.error)
print(len(summary.spoken), "spoken")
"""


def test_a_text_that_ends_every_process_fails_alone(tmp_path: Path, tiny_folder: Path) -> None:
    """After some tries it is named, and the others have their audio."""
    source = tmp_path / "texts.jsonl"
    lines = [{"text": "One."}, {"text": "Here I die."}, {"text": "Three."}]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    script = tmp_path / "deadly.py"
    script.write_text(DEADLY)
    done = subprocess.run(
        [sys.executable, str(script), str(source), str(tmp_path / "out")],
        check=False, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "2 a process that died 4 times: expected one that lives. See that its machine has memory enough.",
        "2 spoken",
    ]


def test_an_address_where_nobody_answers_is_one_sentence(tmp_path: Path, tiny_folder: Path) -> None:
    """With what to start there."""
    source = texts(tmp_path / "texts.jsonl", 2)
    done = subprocess.run(
        command(source, tmp_path / "out", "--cluster", "127.0.0.1:9"),
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "--cluster 127.0.0.1:9" in done.stderr
    assert "ray start --head" in done.stderr
    assert "Traceback" not in done.stderr
