"""The gate for real: a repository of its own, worktrees, worker processes, the tiny model, exit codes.

Only time is made up: the repository's instrument tells counted work as seconds, so that no outcome depends on
how fast or how evenly this machine runs. Everything else is as for a user who types `ishowtts gate`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.gate.data import samples
from tests.unit.gate.test_revision import git, only_one_worktree

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "engine.cli", "gate"]
PYTEST = [sys.executable, "-m", "pytest", "-q", "tests/perf", "-p", "engine.gate.pytest_plugin"]
FEW = ["--quick", "--blocks", "1", "--runs", "3", "--force", "--checkpoint=seeded-tiny", "--options=nfe=1"]

MADE_UP = {
    "    loaded = time.perf_counter() - start\n": "    loaded = 1.0\n",
    "    audio = tts.synthesize(request[": (
        '    tally = {"operators": 0, "flops": 0, "allocated_bytes": 0, "evaluations": 0}\n'
        "    with _counting(tally):\n"
        "        audio = tts.synthesize(request["
    ),
    "    seconds = time.perf_counter() - start\n": '    seconds = 1e-4 * tally["operators"]\n',
    '        "stages": {name: max(0.0, value) for name, value in audio.timings.stages().items()},\n': (
        '        "stages": {},\n'
    ),
    '        "host_mb": _host_mb(),\n': '        "host_mb": 500.0,\n',
}
"""Text of the instrument, and what stands there in the repository of the tests."""
SLOWER = '''

def load(*arguments, **options):
    """Loads as ever; what is loaded does two fifths more work for each short text, and says the same."""
    import torch
    from engine.loading import load
    tts = load(*arguments, **options)
    speak = tts.synthesize
    def synthesize(*words, **how):
        for _ in range(145):
            torch.ones(1) + 1
        return speak(*words, **how)
    tts.synthesize = synthesize
    return tts
'''


class Repository:
    """A repository with this engine, whose gate is run as a user would run it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        left_out = shutil.ignore_patterns("__pycache__", "test_gpu.py", "test_upstream.py")
        for name in ("engine", "baselines", "tests/perf"):
            shutil.copytree(ROOT / name, folder / name, ignore=left_out)
        for name in ("pyproject.toml", ".gitignore"):
            shutil.copy(ROOT / name, folder / name)
        worker = folder / "engine" / "gate" / "measure" / "worker.py"
        text = worker.read_text()
        for real, made_up in MADE_UP.items():
            assert text.count(real) == 1, real
            text = text.replace(real, made_up)
        worker.write_text(text)
        git(folder, "init", "-q")
        self.commit("engine/synthesis.py", "# the first commit\n")

    def commit(self, path: str, added: str) -> None:
        """Commit the folder with some text at the end of a file."""
        with (self.folder / path).open("a") as file:
            file.write(added)
        git(self.folder, "add", ".")
        git(self.folder, "commit", "-q", "-m", added.strip().splitlines()[0])

    def run(
        self, command: list[str], *arguments: str, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command there, as if from a terminal."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        return subprocess.run(
            [*command, *arguments], cwd=cwd or self.folder, capture_output=True, text=True, check=False,
            env={**kept, "PYTHONPATH": str(self.folder)},
        )  # fmt: skip


@pytest.fixture
def repository(tmp_path: Path, tiny_folder: Path) -> Repository:
    """One commit, on main."""
    return Repository(tmp_path / "repository")


def judged(done: subprocess.CompletedProcess[str]) -> tuple[dict[str, Any], samples.Run]:
    """The verdict as JSON, and the record."""
    assert done.returncode in (0, 1, 3), done.stderr
    facts = json.loads(done.stdout)
    assert facts["verdict"]["code"] == done.returncode
    return facts["verdict"], samples.read(Path(facts["record"]))


def about_time(verdict: dict[str, Any]) -> dict[str, Any]:
    """The judgement on the time of the short text."""
    (found,) = [each for each in verdict["judgements"] if each["question"] == "time"]
    return dict(found)


def test_a_commit_that_makes_everything_slower_exits_one_without_any_flag_that_names_it(
    repository: Repository,
) -> None:
    """HEAD against the commit before, in checkouts that are gone afterwards; the first line says which."""
    repository.commit("engine/__init__.py", SLOWER)
    done = repository.run(COMMAND, *FEW, "--no-quality", "--json")
    verdict, found = judged(done)
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("base: ")
    assert "HEAD~1: the commit before" in done.stderr.splitlines()[0]
    time = about_time(verdict)
    assert (time["outcome"], time["topic"]) == ("SLOWER", "change")
    assert time["value"] == pytest.approx(1.4, abs=0.1)
    assert found.base is not None
    assert found.base.revision == git(repository.folder, "rev-parse", "HEAD~1").strip()
    assert found.candidate.revision == git(repository.folder, "rev-parse", "HEAD").strip()
    assert found.work["candidate"]["short"].operators > 1.3 * found.work["base"]["short"].operators
    assert only_one_worktree(repository.folder)
    assert git(repository.folder, "status", "--porcelain") == ""  # the record lies where git ignores it


def test_a_commit_that_changes_a_comment_exits_zero(repository: Repository) -> None:
    """With everything that a user gets: twins, work, first call, memory, and the judges of sound."""
    repository.commit("engine/synthesis.py", "# a comment\n")
    verdict, found = judged(repository.run(COMMAND, *FEW, "--json"))
    assert verdict["code"] == 0, verdict["answers"]
    assert about_time(verdict)["outcome"] == "SAME"
    assert found.base is not None
    assert found.base.hashes == found.candidate.hashes
    assert [len(found.series(arm, "short")) for arm in ("base", "candidate")] == [2, 2]
    assert all(process.evidence["nfe"].proven for process in found.processes)
    said = [
        {call.seed: call.output for series in process.series for call in series.calls}
        for process in found.processes
    ]
    assert all(outputs == said[0] for outputs in said)  # the same seed, the same bytes, in every process
    assert len(set(said[0].values())) == 3  # and no call repeats another
    assert found.quality is not None
    assert set(found.quality.missing) == {"words", "speaker", "mos"}  # the model is untrained, and it says so


def test_uncommitted_changes_are_judged_from_any_folder(repository: Repository, tmp_path: Path) -> None:
    """Against HEAD, and nothing of it needs to be committed; the user stands elsewhere."""
    with (repository.folder / "engine" / "__init__.py").open("a") as file:
        file.write(SLOWER)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = repository.run(COMMAND, *FEW, "--no-quality", "--json", cwd=elsewhere)
    verdict, found = judged(done)
    assert done.returncode == 1
    assert "uncommitted changes are judged" in done.stderr.splitlines()[0]
    assert about_time(verdict)["outcome"] == "SLOWER"
    assert found.candidate.dirty
    assert list(elsewhere.iterdir()) == []
    assert len(list((repository.folder / "build" / "records").iterdir())) == 1


def test_the_base_branchs_gate_judges_another_revision(repository: Repository) -> None:
    """As in the workflow: the checkout is the base's, and a branch is the candidate; what it changes in the
    gate itself is not run."""
    git(repository.folder, "checkout", "-q", "-b", "topic")
    repository.commit("engine/__init__.py", SLOWER)
    repository.commit("engine/gate/run.py", "raise RuntimeError('the gate of the branch')\n")
    git(repository.folder, "checkout", "-q", "main")
    done = repository.run(COMMAND, *FEW, "--no-quality", "--json", "--candidate", "topic")
    verdict, _ = judged(done)
    assert done.returncode == 1
    assert "merge base of main" in done.stderr.splitlines()[0]
    assert about_time(verdict)["outcome"] == "SLOWER"


def test_limits_alone_are_told_in_one_short_run(repository: Repository) -> None:
    """Nothing older was looked at and no limits are held here: exit 3 with that sentence."""
    done = repository.run(COMMAND, "--limits", "--runs", "3", *FEW[5:], "--force", "--json")
    verdict, found = judged(done)
    assert done.returncode == 3
    assert found.base is None
    assert [len(each) for each in found.calls("candidate", "short")] == [3]
    assert any("cannot see a regression" in each["sentence"] for each in verdict["judgements"])


def test_the_benchmarks_are_the_same_run(repository: Repository) -> None:
    """Exit 1, the answers, the record, and pytest-benchmark's own storage with the made-up times."""
    repository.commit("engine/__init__.py", SLOWER)
    storage = repository.folder / "build" / "benchmark.json"
    storage.parent.mkdir()
    done = repository.run(PYTEST, *FEW, "--no-quality", f"--benchmark-json={storage}")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "SLOWER" in done.stdout
    means = {
        row["extra_info"]["arm"]: row["stats"]["mean"]
        for row in json.loads(storage.read_text())["benchmarks"]
    }
    assert means["candidate"] / means["base"] == pytest.approx(1.4, abs=0.1)
    assert len(list((repository.folder / "build" / "records").glob("run-*.json"))) == 1
    assert only_one_worktree(repository.folder)


def test_a_missing_baseline_exits_two_in_both_fronts(repository: Repository, tmp_path: Path) -> None:
    """In one sentence, before anything is measured."""
    for command in (COMMAND, PYTEST):
        done = repository.run(command, *FEW, f"--baseline={tmp_path / 'gone.json'}")
        assert done.returncode == 2
        assert "gone.json" in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr


def test_the_benchmarks_say_what_they_need(repository: Repository) -> None:
    """Without the plugin there is nobody to judge them."""
    done = repository.run([sys.executable, "-m", "pytest", "-q", "tests/perf/test_synthesis.py"])
    assert done.returncode == 2
    assert "-p engine.gate.pytest_plugin" in done.stdout + done.stderr
