"""The process: bind, load the engine, serve until told to end, and end well."""

from __future__ import annotations

import asyncio
import contextlib
import logging.config
import math
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn
from rich.console import Console

from engine.errors import UsageError
from engine.memory import bound_caches
from engine.serve.app import create_app
from engine.serve.config import Config
from engine.serve.log import configuration
from engine.serve.metrics import Metrics
from engine.serve.speaker import Speaker

if TYPE_CHECKING:
    from engine.synthesis import Engine

WARM_WORDS = "Hello."
BACKLOG = 2048


def one_machine(config: Config, metrics: Metrics) -> Speaker:
    """The speaker of a service that loads its engine in this process."""
    return Speaker(
        lambda: load(config),
        batch=config.batch,
        batch_wait=config.batch_wait_ms / 1000,
        queue=config.queue,
        overload=config.overload,
        listener=metrics,
    )


def run(config: Config, make: Callable[[Config, Metrics], Speaker] = one_machine) -> None:
    """Serve until SIGTERM or SIGINT: what is being spoken is finished, what waits is refused.

    Args:
        config: all that can be set.
        make: makes the speaker.

    Raises:
        UsageError: the address cannot be listened on.
        EngineError: the model or a voice could not be loaded.
    """
    listener = _bind(config.host, config.port)
    logging.config.dictConfig(configuration(config.log_level))
    holder: list[Speaker] = []
    metrics = Metrics(lambda: holder[0] if holder else None)
    speaker = make(config, metrics)
    holder.append(speaker)
    server = Server(create_app(config, speaker, metrics), speaker, config)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    message = f"http://{shown}:{port} answers as soon as the voice is loaded; Ctrl+C ends it."
    Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(message)
    with listener:
        server.run(sockets=[listener])
    if speaker.failure is not None:
        raise speaker.failure


def load(config: Config) -> Engine:
    """The engine as configured, its voices checked, warmed up.

    Raises:
        EngineError: the model or a voice cannot be loaded.
    """
    bound_caches()
    import torch

    import engine

    voices = {name: voice.voice() for name, voice in config.voices.items()}
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    tts = engine.load(config.checkpoint, config.options, device=config.device, vocoder=config.vocoder)
    known = {**voices, **tts.checkpoint.references}
    if config.voice is not None and config.voice not in known:
        raise UsageError(f"voice {config.voice!r}", f"one of {', '.join(known)}", "Name one, or configure it")
    if config.warmup:
        if config.options.buckets:
            tts.warmup()
        # The service's own voices, which nobody has tried yet, and else the one that speaks by default.
        default = config.voice or next(iter(known))
        for voice in {**voices, default: known[default]}.values():
            tts.synthesize(WARM_WORDS if "en" in tts.checkpoint.languages else "你好", voice)
    return tts


class Server(uvicorn.Server):
    """uvicorn, which tells the speaker to refuse what waits, and ends where no engine can be loaded."""

    def __init__(self, app: Any, speaker: Speaker, config: Config) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=max(1, math.ceil(config.stop_seconds)),
                timeout_keep_alive=30,
                h11_max_incomplete_event_size=65_536,
            )
        )
        self._speaker = speaker
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve, and watch the engine load."""
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        self._watch = self._loop.run_in_executor(None, self._wait_for_engine)

    def _wait_for_engine(self) -> None:
        self._speaker.loaded.wait()
        if self._speaker.failure is not None:
            self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End well: refuse what waits, finish what is being spoken."""
        if self._loop is not None:  # not here: a signal may come while this thread holds the speaker's lock
            self._loop.call_soon_threadsafe(self._speaker.drain)
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but a signal that was obeyed is not raised again: the process ends with 0."""
        wanted = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in wanted}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _bind(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        UsageError: the address is in use, not this machine's, or not allowed.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        raise UsageError(
            f"host {host} and port {port} ({error.strerror})",
            "an address of this machine on which nothing else listens",
            "Choose another --port",
        ) from error
    listener.set_inheritable(True)
    return listener
