"""A service in a process of its own, with the voice in the box, on a port that the system picks."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

SECONDS = 120.0
"""How long anything may take: far more than it does, so that a slow machine fails nothing."""


class Server:
    """A running `ishowtts serve`.

    Attributes:
        url: where it listens.
        http: a client for it.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        lines = process.stderr or ()
        first = next(iter(lines))
        match = re.search(r"http://\S+", first)
        assert match, first
        self.url = match[0]
        self.http = httpx.Client(base_url=self.url, timeout=SECONDS)

    def ready(self) -> None:
        """Wait until it speaks: a first request waits in its queue while the voice is loaded."""
        assert self.say("Hello.").status_code == 200

    def say(self, text: str, **more: Any) -> httpx.Response:
        """One text, spoken."""
        return self.http.post("/api/tts", json={"text": text, **more})

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, list[dict[str, Any]]]:
        """End it: its exit code, and what it logged."""
        self.process.send_signal(number)
        _, log = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, [json.loads(line) for line in log.splitlines() if line[:1] == "{"]


@contextlib.contextmanager
def serving(*flags: str, config: Path | None = None, **environment: str) -> Iterator[Server]:
    """A service until the end of the block."""
    more = ["--port", "0", "--deadline-seconds", "3600", *(["--config", str(config)] if config else [])]
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "engine.cli",
            "serve",
            "--port",
            "0",
            "--deadline-seconds",
            "3600",
            *more,
            *flags,
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        server = Server(process)
        with server.http:
            yield server
    finally:
        process.kill()
        process.communicate()
