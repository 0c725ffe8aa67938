"""A thin F5-TTS engine with every optimisation toggleable.

    import engine

    tts = engine.load()
    audio = tts.synthesize("Hello, chat!", seed=7)
    audio.save("hello.wav")

Importing this package does nothing: torch and upstream are imported inside `load`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.errors import EngineError
from engine.options import Options

if TYPE_CHECKING:
    from engine.audio import Audio
    from engine.checkpoint import DEFAULT_CHECKPOINT
    from engine.loading import load
    from engine.reference import Voice
    from engine.requests import Request
    from engine.synthesis import Engine

__all__ = ["DEFAULT_CHECKPOINT", "Audio", "Engine", "EngineError", "Options", "Request", "Voice", "load"]

_HOMES = {
    "Audio": "engine.audio",
    "DEFAULT_CHECKPOINT": "engine.checkpoint",
    "Engine": "engine.synthesis",
    "Request": "engine.requests",
    "Voice": "engine.reference",
    "load": "engine.loading",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for (PEP 562)."""
    if name == "__version__":
        from importlib import metadata

        return metadata.version("ishowtts-engine")
    if name not in _HOMES:
        raise AttributeError(f"module 'engine' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
