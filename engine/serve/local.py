"""A service around an engine that is loaded already, for as long as a block lasts: what the gate measures."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from engine.serve.app import create_app
from engine.serve.config import read
from engine.serve.metrics import Metrics
from engine.serve.speaker import Speaker

if TYPE_CHECKING:
    from engine.synthesis import Engine

LOOPBACK = "127.0.0.1"
VOICE = "given"


@contextlib.contextmanager
def serving(engine: Engine, clip: Path, text: str) -> Iterator[tuple[str, int]]:
    """The application as `ishowtts serve` runs it, in a thread; gives its address and port.

    Args:
        engine: serves its requests, and is closed at the end.
        clip: of the voice that speaks where a request names nobody.
        text: what the clip says.

    Raises:
        UsageError: the clip's settings do not fit.
    """
    voices = {VOICE: {"clip": str(clip), "text": text}}
    flags = {"host": LOOPBACK, "voices": voices, "voice": VOICE, "deadline_seconds": 3600.0, "api_key": None}
    config = read(None, flags)
    holder: list[Speaker] = []
    metrics = Metrics(lambda: holder[0] if holder else None)
    speaker = Speaker(
        lambda: engine,
        batch=engine.options.batch,
        batch_wait=config.batch_wait_ms / 1000,
        queue=config.queue,
        listener=metrics,
    )
    holder.append(speaker)
    settings = uvicorn.Config(create_app(config, speaker, metrics), log_config=None, access_log=False)
    server = uvicorn.Server(settings)
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="server")
        thread.start()
        try:
            yield LOOPBACK, int(listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join()
