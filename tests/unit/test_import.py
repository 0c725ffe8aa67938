"""Importing the engine does nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

LIMIT_MS = 150
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


def test_importing_takes_less_than_its_limit() -> None:
    """The best of five processes: a busy machine makes single ones slow, and the limit is a promise to
    users."""
    code = (
        "import time; start = time.process_time(); import engine; print((time.process_time() - start) * 1000)"
    )
    assert min(float(_python(code)) for _ in range(5)) < LIMIT_MS


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
