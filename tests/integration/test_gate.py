"""The gate for real: worker processes, the tiny model, a worktree of the base, and the exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.gate.data import samples
from engine.gate.measure import revisions

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-c", "from engine.cli import main; main()", "gate"]
PYTEST = [sys.executable, "-m", "pytest", "-q", "tests/perf", "-p", "engine.gate.pytest_plugin"]
FEW = ["--quick", "--runs", "1", "--force"]


def run(command: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the checkout, as if from a terminal: pytest-benchmark is off in a worker of xdist."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [*command, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, env=environment
    )


def test_the_gate_compares_with_a_revision_and_records_what_it_measured(
    tmp_path: Path, tiny_folder: Path
) -> None:
    """Both revisions are measured in processes of their own; the worktree is gone afterwards."""
    if revisions.describe(ROOT)[0] == revisions.UNVERSIONED:
        pytest.skip("needs a git checkout")
    asked = [
        "--against",
        "HEAD",
        "--options",
        "nfe=1 reference_cache=on",
        "--checkpoint",
        "seeded-tiny",
        "--records",
        str(tmp_path),
        "--json",
    ]
    done = run(COMMAND, *FEW, *asked)
    assert done.returncode in (0, 1, 3), done.stderr
    facts = json.loads(done.stdout)
    assert facts["verdict"]["code"] == done.returncode
    found = samples.read(Path(facts["record"]))
    assert found.base is not None
    assert found.base.revision == found.candidate.revision
    assert found.base.hashes == found.candidate.hashes
    assert [len(found.series(arm, "short")) for arm in ("base", "candidate")] == [2, 2]
    assert all(process.evidence["reference_cache"].proven for process in found.processes)
    outputs = {call.output for process in found.processes for one in process.series for call in one.calls}
    assert len(outputs) == 1  # unchanged code: the same seed, the same bytes, in every process
    assert found.quality is not None
    distance = "REPORTED" if found.candidate.dirty else "LOSSLESS"
    assert {one["outcome"] for one in facts["verdict"]["quality"]} <= {
        "MATCHED", "SAME", "COMPUTED", distance, "WITHIN", "NOT JUDGED",
    }  # fmt: skip
    assert {"words", "speaker", "mos"} == set(found.quality.missing)  # the model is untrained, and it says so
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "worktree", "list"], capture_output=True, text=True, check=True
    )
    assert "ishowtts-checkout" not in listed.stdout


def test_the_benchmarks_fail_when_a_limit_is_lowered(tmp_path: Path, tiny_folder: Path) -> None:
    """Exit 1, the table, the record, and pytest-benchmark's own storage."""
    limits = json.loads((ROOT / "baselines" / "portable.json").read_text())
    limits["relative"]["time_ratio"]["upper"] = 1e-9  # one block of a busy machine has a wide interval
    (tmp_path / "lowered.json").write_text(json.dumps(limits))
    storage = tmp_path / "benchmark.json"
    asked = [
        "--toggles=nfe=1 reference_cache=on",
        "--reference-toggles=nfe=1",
        f"--baseline={tmp_path / 'lowered.json'}",
        f"--records={tmp_path}",
        f"--benchmark-json={storage}",
        "--no-quality",
    ]
    done = run(PYTEST, *FEW, *asked)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "OVER LIMIT" in done.stdout
    assert "Quality was not judged" in done.stdout
    benchmarks = json.loads(storage.read_text())["benchmarks"]
    assert len(benchmarks) == 4
    assert {one["extra_info"]["arm"] for one in benchmarks} == {"base", "candidate"}
    assert len(list(tmp_path.glob("run-*.json"))) == 1


@pytest.mark.parametrize("command", [COMMAND, PYTEST], ids=["gate", "pytest"])
def test_a_missing_baseline_exits_two(command: list[str], tmp_path: Path) -> None:
    """In one sentence, before anything is measured."""
    done = run(command, *FEW, f"--baseline={tmp_path / 'gone.json'}", f"--records={tmp_path}")
    assert done.returncode == 2
    assert "gone.json" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_the_benchmarks_say_what_they_need() -> None:
    """Without the plugin there is nobody to judge them."""
    done = run([sys.executable, "-m", "pytest", "-q", "tests/perf"])
    assert done.returncode == 2
    assert "-p engine.gate.pytest_plugin" in done.stdout + done.stderr
