"""The service under load: started as a command, waited for, its memory read, and ended."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil

from engine.errors import EngineError
from tests.studies.load.clients import ROOT

MIB = 2.0**20
SETTINGS = "ISHOWTTS_SERVE_"
START_SECONDS = 120.0
STOP_SECONDS = 60.0
LOOK_SECONDS = 0.02
HELLO = {"text": "Hello chat, welcome back to the stream!", "seed": 0, "format": "wav"}


class Service:
    """A running service.

    Attributes:
        url: where it listens.
        first_speech_seconds: from the command to the first audio.
    """

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: Path, key: str = "") -> None:
        self._process, self.url, self._log = process, url, log
        self.headers = {"x-api-key": key} if key else {}
        self.first_speech_seconds = 0.0

    def wait(self, begun: float) -> None:
        """Ask until it speaks.

        Raises:
            EngineError: it ended, or does not speak in time.
        """
        while time.perf_counter() - begun < START_SECONDS:
            if self._process.poll() is not None:
                break
            with contextlib.suppress(httpx.TransportError):
                if self.ask(HELLO).status_code == 200:
                    self.first_speech_seconds = time.perf_counter() - begun
                    return
            time.sleep(LOOK_SECONDS)
        raise EngineError(
            f"a service that does not speak: {self._log.read_text()[-500:]}", "speech", "Start it by hand"
        )

    def ask(self, request: Mapping[str, object]) -> httpx.Response:
        """What it answers to one request of POST /api/tts.

        Raises:
            httpx.TransportError: nobody answers.
        """
        return httpx.post(f"{self.url}/api/tts", json=request, headers=self.headers, timeout=START_SECONDS)

    def memory_mib(self) -> float:
        """What its processes hold for themselves alone."""
        process = psutil.Process(self._process.pid)
        return sum(one.memory_full_info().uss for one in (process, *process.children(recursive=True))) / MIB

    def stop(self) -> int:
        """End it as systemd would; its exit code."""
        self._process.terminate()
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


@contextlib.contextmanager
def started(settings: Mapping[str, Any] | None = None, key: str = "") -> Iterator[Service]:
    """`ishowtts serve` on a free port of this machine, with these settings; ended at the end.

    Args:
        settings: what its configuration file says; values as JSON has them, tables as mappings.
        key: the API key that it asks for; empty: none.

    Raises:
        EngineError: it does not speak.
    """
    with tempfile.TemporaryDirectory() as folder:
        log, config = Path(folder) / "log", Path(folder) / "ishowtts.toml"
        port = free_port()
        config.write_text(toml({**(settings or {}), "host": "127.0.0.1", "port": port}))
        command = [sys.executable, "-m", "engine.cli", "serve", "--config", str(config)]
        begun = time.perf_counter()
        with log.open("wb") as out:
            process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, env=environment(key))
        service = Service(process, f"http://127.0.0.1:{port}", log, key)
        try:
            service.wait(begun)
            yield service
        finally:
            service.stop()


def toml(settings: Mapping[str, Any]) -> str:
    """Settings as a configuration file: what has tables comes last."""
    plain = [(name, value) for name, value in settings.items() if not isinstance(value, Mapping)]
    tables = [(name, value) for name, value in settings.items() if isinstance(value, Mapping)]
    lines = [f"{name} = {json.dumps(value)}" for name, value in plain]
    for table, values in tables:
        lines += [f"[{table}]", *(f"{name} = {json.dumps(value)}" for name, value in values.items())]
    return "\n".join(lines) + "\n"


def environment(key: str) -> dict[str, str]:
    """This process's, without settings of another service."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
    return {**kept, f"{SETTINGS}API_KEY": key} if key else kept


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
