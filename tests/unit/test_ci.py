"""What CI runs: a browser where one is missing, three Pythons, and a gate no pull request can change."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BASH = shutil.which("bash") or ""
WORKFLOWS = ROOT / ".github" / "workflows"


def workflow(name: str) -> dict[str, Any]:
    """A workflow as GitHub reads it."""
    content: dict[str, Any] = yaml.safe_load((WORKFLOWS / f"{name}.yml").read_text())
    return content


def browser(tmp_path: Path, user: int, *present: str, apt: str = "exit 0") -> tuple[int, str, list[str]]:
    """Run .ci/browser where only `present` is installed: exit code, what it says, and what apt was asked."""
    folder, asked = tmp_path / "bin", tmp_path / "asked"
    shutil.rmtree(folder, ignore_errors=True)
    asked.unlink(missing_ok=True)
    folder.mkdir()
    scripts = dict.fromkeys(present, "exit 0")
    scripts |= {"id": f"echo {user}", "apt-get": f'echo "$@" >>{asked}; {apt}'}
    for name, body in scripts.items():
        (folder / name).write_text(f"#!{BASH}\n{body}\n")
        (folder / name).chmod(0o755)
    done = subprocess.run(
        [BASH, str(ROOT / ".ci" / "browser")],
        env={"PATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr, asked.read_text().splitlines() if asked.exists() else []


@pytest.mark.skipif(not BASH, reason="bash is not installed")
def test_a_browser_and_its_driver_are_installed_where_they_are_missing(tmp_path: Path) -> None:
    """As root on Debian; nobody else is stopped by it, and whoever has both is left alone."""
    code, said, asked = browser(tmp_path, 0)
    assert code == 0
    assert asked[0].startswith("update")
    assert "chromium chromium-driver" in asked[1]
    assert browser(tmp_path, 0, "google-chrome")[2] == asked  # without a driver it cannot be driven
    assert browser(tmp_path, 0, "chromium", "chromedriver") == (0, "", [])
    code, said, asked = browser(tmp_path, 1000)
    assert (code, asked) == (0, [])
    assert "apt-get install chromium chromium-driver" in said
    code, said, asked = browser(tmp_path, 0, apt="exit 100")
    assert code == 0
    assert "could not" in said


def test_ci_runs_on_every_python_that_the_project_supports() -> None:
    """Each through .ci/run, which takes the one it is given."""
    (job,) = workflow("ci")["jobs"].values()
    assert job["strategy"]["matrix"]["python"] == ["3.10", "3.11", "3.12"]
    step = job["steps"][-1]
    assert step["run"] == ".ci/run"
    assert "PYTHON" in step["env"]
    assert "${PYTHON:-}" in (ROOT / ".ci" / "run").read_text()
    assert ".ci/browser" in (ROOT / ".ci" / "run").read_text()
    assert os.access(ROOT / ".ci" / "browser", os.X_OK)


def test_the_base_branchs_gate_judges_a_pull_request() -> None:
    """What is checked out and run is the base's; the pull request's code is only the candidate."""
    jobs = workflow("gate")["jobs"]
    measure = jobs["measure"]
    first = measure["steps"][0]
    assert first["with"]["ref"].startswith("${{ github.event.pull_request.base.sha")
    assert first["with"]["fetch-depth"] == 0
    (run,) = [step["run"] for step in measure["steps"] if step.get("id") == "gate"]
    assert '--candidate "$HEAD"' in run
    assert '>>"$GITHUB_STEP_SUMMARY"' in run
    assert "permissions" not in measure  # it reads, as the workflow does
    assert workflow("gate")["permissions"] == {"contents": "read"}


def test_undecided_is_shown_as_such_and_never_green() -> None:
    """3 is a neutral check of that name, with a label; the job that may write runs nothing of the pull
    request."""
    jobs = workflow("gate")["jobs"]
    (run,) = [step["run"] for step in jobs["measure"]["steps"] if step.get("id") == "gate"]
    assert "3) verdict=undecided" in run
    publish = jobs["publish"]
    assert publish["permissions"] == {"checks": "write", "pull-requests": "write"}
    assert not [step for step in publish["steps"] if "checkout" in step["uses"]]
    script = publish["steps"][-1]["with"]["script"]
    assert '{ 0: "success", 3: "neutral" }[code] || "failure"' in script
    assert 'labels: ["undecided"]' in script
    assert workflow("gate")[True]["schedule"]  # YAML reads the key `on` as true
