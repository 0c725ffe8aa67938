"""Fixtures that need a model: one generated tiny checkpoint for each test session, and a short real clip."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine.gate.machine import describe
from engine.options import Options

if TYPE_CHECKING:
    from engine.reference import Voice
    from engine.synthesis import Engine

# Threads that wait for a core that another worker holds make everything ten times slower.
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
THREADS = max(1, min(int(os.environ.get("OMP_NUM_THREADS", "2")), describe().cores // WORKERS))
os.environ["OMP_NUM_THREADS"] = str(THREADS)
# The cache folder of a session is new; what was compiled for the last one shall serve again.
os.environ.setdefault(
    "TORCHINDUCTOR_CACHE_DIR", str(Path(tempfile.gettempdir(), f"ishowtts-tests-{os.getuid()}"))
)

WORDS = "Some call me nature,"
SECONDS = 1.6


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder of the session's own, so that no test writes into the user's home."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def tiny_folder(cache_home: Path) -> Path:
    """The generated tiny checkpoint."""
    from engine.voices import seeded

    return seeded.ensure("seeded-tiny")


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first words of the clip that ships with f5-tts: short, so that tests are cheap."""
    import soundfile

    from engine import upstream

    samples, rate = soundfile.read(upstream.shipped("infer/examples/basic/basic_ref_en.wav"), dtype="float32")
    path = tmp_path_factory.mktemp("clips") / "short.wav"
    soundfile.write(path, samples[: int(SECONDS * rate)], rate, subtype="PCM_16")
    return path


@pytest.fixture(scope="session")
def voice(clip: Path) -> Voice:
    """The short clip with its words."""
    from engine.reference import Voice

    return Voice(clip, WORDS)


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Callable[..., Engine]:
    """Load the tiny checkpoint with the given options on the CPU; two steps unless said otherwise."""
    from engine.loading import load

    def make(**options: object) -> Engine:
        return load("seeded-tiny", Options(**{"nfe": 2, **options}), device="cpu")  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def engine(tiny: Callable[..., Engine]) -> Engine:
    """A tiny engine with every toggle off, shared by tests that only call it."""
    return tiny()
