"""Importing the engine does nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "numpy", "scipy", "soundfile", "f5_tts", "vocos", "torchaudio", "typer", "rich", "yaml")


def _python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120
    ).stdout.strip()


def test_importing_loads_neither_torch_nor_upstream_nor_numpy() -> None:
    """A program that only reads options pays for nothing else."""
    loaded = _python("import sys, engine; engine.Options.jetson(); print(' '.join(sys.modules))").split()
    assert "engine.options" in loaded
    assert [name for name in HEAVY if name in loaded] == []


@pytest.mark.parametrize(
    "arguments", [["--help"], ["voices"], ["doctor"], ["speak", "--help"], ["--version"]]
)
def test_a_command_that_only_looks_does_not_wait_for_torch(arguments: list[str]) -> None:
    """Torch is most of a second, and upstream another one: commands that need neither answer at once."""
    code = f"""
import contextlib, io, sys
from engine import cli
sys.argv = ["ishowtts", *{arguments!r}]
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    cli.main()
print(" ".join(sys.modules))
"""
    loaded = _python(code).splitlines()[-1].split()
    assert "engine.commands" in loaded
    assert [name for name in ("torch", "scipy", "f5_tts", "vocos", "torchaudio") if name in loaded] == []


def test_load_is_a_function_however_often_it_is_asked_for() -> None:
    """No submodule of the same name takes its place once it is imported."""
    code = "import engine; engine.load; import engine.loading; print(callable(engine.load))"
    assert _python(code) == "True"


@pytest.mark.parametrize(
    "name", ["Audio", "DEFAULT_CHECKPOINT", "Engine", "EngineError", "Options", "Voice", "load"]
)
def test_every_public_name_resolves(name: str) -> None:
    """What `__all__` promises is there."""
    import engine

    assert name in engine.__all__
    assert getattr(engine, name) is getattr(engine, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A typing error is not an import of everything."""
    import engine

    with pytest.raises(AttributeError, match="lode"):
        _ = engine.lode  # type: ignore[attr-defined]
