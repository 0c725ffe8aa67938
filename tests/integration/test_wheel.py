"""What people install: a wheel that holds everything the engine reads, and speaks without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
import soundfile

import engine

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str | Path, **more: object) -> str:
    """The output of a command, which must end well."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **more)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the tracked files alone, so that nothing that lies about gets in."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in run("git", "ls-files", "-z", cwd=ROOT).split("\0"):
        if name.startswith(("engine/", "pyproject", "README", "LICENSE")) and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    run(
        sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
        "--wheel-dir", out, source,
    )  # fmt: skip
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    """Weights, grids, clips and pages beside the code; and no test, study or recipe."""
    tracked = {name for name in run("git", "ls-files", "-z", "engine", cwd=ROOT).split("\0") if name}
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == {name for name in tracked if (ROOT / name).is_file()}


def test_an_installed_wheel_speaks_from_a_folder_that_is_not_the_checkout(
    wheel: Path, tmp_path: Path
) -> None:
    """In an environment of its own, which sees what the engine needs and not the checkout."""
    home, elsewhere = tmp_path / "environment", tmp_path / "elsewhere"
    elsewhere.mkdir()
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    own = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # A path in a .pth file is searched, but the .pth files in it (the editable checkout's) are not read.
    (own / "needed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    run(
        sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index",
        "--ignore-installed", wheel,
    )  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    where = run(python, "-c", "import engine; print(engine.__file__)", cwd=elsewhere, env=environment)
    assert Path(where.strip()).is_relative_to(home)
    command = home / "bin" / "ishowtts"
    assert run(command, "--version", cwd=elsewhere, env=environment) == f"ishowtts {engine.__version__}\n"
    run(command, "speak", "Hello, chat!", "--nfe", "2", "-o", "hello.wav", cwd=elsewhere, env=environment)
    samples, rate = soundfile.read(elsewhere / "hello.wav")
    assert rate == 24_000
    assert abs(samples).max() > 0.01
