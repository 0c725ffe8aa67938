"""The decision about torch: on a Jetson the one that NVIDIA ships stays, elsewhere CI's pin is installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("nox", reason="nox comes with the dev extra")
import noxfile

NVIDIA = {"torch": "2.5.0a0+872d972e41.nv24.08", "torchvision": "0.20.0a0+afc54f7", "numpy": "1.26.4"}


class Session:
    """Takes the place of nox's session: remembers the commands, answers the question about versions."""

    def __init__(self, versions: dict[str, str]) -> None:
        self.versions = versions
        self.env: dict[str, str] = {}
        self.commands: list[list[str]] = []

    def run(self, *command: str, **settings: object) -> str:
        """Remember the command; the versions are its output."""
        self.commands.append(list(command))
        return " ".join(f"{name}={version}" for name, version in self.versions.items())

    def log(self, *message: object) -> None:
        """Ignore what nox would show."""

    def error(self, message: str) -> None:
        """Stop the session."""
        raise RuntimeError(message)

    def command(self, module: str) -> list[str]:
        """The one remembered command that runs `module`."""
        (command,) = [command for command in self.commands if module in command]
        return command


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for the shared environment."""
    folder = tmp_path / "shared"
    folder.mkdir()
    names = {"SHARED": "", "PYTHON": "bin/python", "STAMP": "installed", "VENDOR": "vendor-constraints.txt"}
    for name, path in names.items():
        monkeypatch.setattr(noxfile, name, folder / path)
    monkeypatch.setattr(noxfile, "HERE", tmp_path)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text("first")
    return folder


def test_a_jetson_keeps_nvidias_torch(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There the environment sees the system's packages, and pip may not replace the torch among them."""
    monkeypatch.setattr(noxfile, "is_jetson", lambda: True)
    session = Session(NVIDIA)
    noxfile.prepare(session)
    assert "--system-site-packages" in session.command("virtualenv")
    install = session.command("pip")
    assert install[install.index("--constraint") + 1] == str(noxfile.VENDOR)
    assert not [argument for argument in install if argument.startswith("torch")]
    assert noxfile.VENDOR.read_text() == f"torch=={NVIDIA['torch']}\ntorchvision=={NVIDIA['torchvision']}\n"


def test_a_jetson_without_torch_is_told_what_to_install(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is installed then: pip would fetch a torch that does not know the GPU."""
    monkeypatch.setattr(noxfile, "is_jetson", lambda: True)
    session = Session({"numpy": "1.26.4"})
    with pytest.raises(RuntimeError, match="NVIDIA ships"):
        noxfile.prepare(session)
    assert not [command for command in session.commands if "pip" in command]


def test_elsewhere_ci_pins_are_installed_apart_from_the_system(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anywhere else the environment is closed and constraints.txt decides, torch included."""
    monkeypatch.setattr(noxfile, "is_jetson", lambda: False)
    session = Session({})
    noxfile.prepare(session)
    assert "--system-site-packages" not in session.command("virtualenv")
    install = session.command("pip")
    assert install[install.index("--constraint") + 1] == str(noxfile.HERE / "constraints.txt")
    assert not noxfile.VENDOR.exists()


def test_the_environment_is_installed_again_only_when_what_describes_it_changes(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second session installs nothing; a changed constraints file does."""
    monkeypatch.setattr(noxfile, "is_jetson", lambda: False)
    noxfile.prepare(Session({}))
    second, third = Session({}), Session({})
    noxfile.prepare(second)
    assert second.commands == []
    (noxfile.HERE / "constraints.txt").write_text("second")
    noxfile.prepare(third)
    assert third.command("pip")


def test_everything_goes_to_the_gate_but_the_benchmarks_own_flags() -> None:
    """`nox -s perf` is one command for all, and passes its arguments on as they are."""
    expected: list[tuple[list[str], bool]] = [
        ([], True),
        (["--quick", "--baseline", "x.json"], True),
        (["--limits", "--runs", "3"], True),
        (["--against=HEAD~1", "--markdown", "report.md"], True),
        (["--options", "fast_cpu", "--against-options", "reference"], True),
        (["--quick", "--benchmark-json=b.json"], False),
    ]
    for arguments, gate in expected:
        command = noxfile.perf_command(arguments)
        assert ("gate" in command) is gate
        assert ("tests/perf" in command) is not gate
        assert command[len(command) - len(arguments) :] == arguments


def test_the_gates_exit_code_is_passed_on_and_others_are_misuse() -> None:
    """Regression, misuse and undecided stay apart outside nox too; pytest's 4 and 5 are no verdict, and a
    signal stays one."""
    for code, left in ((1, 1), (2, 2), (3, 3), (4, 2), (5, 2), (143, 143)):
        with pytest.raises(SystemExit) as stopped:
            noxfile.judge(Session({}), [sys.executable, "-c", f"raise SystemExit({code})"])
        assert stopped.value.code == left
    with pytest.raises(SystemExit) as stopped:
        noxfile.judge(Session({}), [sys.executable, "-c", "import os; os.kill(os.getpid(), 15)"])
    assert stopped.value.code == 143


def test_a_passing_gate_lets_the_session_go_on() -> None:
    """Exit code 0 ends nothing."""
    noxfile.judge(Session({}), [sys.executable, "-c", ""])


def test_mutants_without_a_test_count_as_survivors() -> None:
    """Only what was killed or hung counts; untested and skipped ones stay in the total."""
    counts = {"killed": 6, "timeout": 1, "survived": 1, "no_tests": 1, "skipped": 1, "total": 10}
    assert noxfile.killed_share(counts) == pytest.approx(0.7)


def test_pins_carry_no_local_build() -> None:
    """A CPU build's tag would shut out the CUDA build of the same release."""
    lines = noxfile.constraint_lines(["torch==2.13.0+cpu", "X_Transformers==2.31.10", "-e somewhere"])
    assert lines == ["torch==2.13.0", 'x-transformers==2.31.10 ; python_version >= "3.11"']


def test_the_constraints_pin_the_same_torch_as_the_noxfile() -> None:
    """`nox -s pin` writes the file with the torch that the noxfile names."""
    lines = (Path(noxfile.__file__).parent / "constraints.txt").read_text().splitlines()
    assert f"torch=={noxfile.TORCH}" in lines


def test_ci_runs_the_command_that_the_readme_names() -> None:
    """Whoever follows the README runs what CI runs."""
    root = Path(noxfile.__file__).parent
    command = "nox -s tests"
    assert command in (root / "README.md").read_text(encoding="utf8")
    assert command in (root / ".ci" / "run").read_text(encoding="utf8")
