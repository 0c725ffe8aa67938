"""A process of a cluster that speaks: one engine, its requests put together by Ray Serve."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from ray import serve

from engine.audio import Audio
from engine.errors import CheckpointError, EngineError
from engine.evidence import Evidence
from engine.requests import Request
from engine.serve.config import Config
from engine.serve.errors import GoneError
from engine.serve.server import load

if TYPE_CHECKING:
    from engine.synthesis import Engine, Progress

Value = TypeVar("Value")


@dataclasses.dataclass(frozen=True, eq=False)
class State:
    """What an engine was seen to do by then, for the metrics.

    Attributes:
        replica: which process.
        evidence: of its toggles.
        counts: of its parts.
    """

    replica: str
    evidence: dict[str, Evidence]
    counts: dict[str, int]


@dataclasses.dataclass(frozen=True, eq=False)
class Reply:
    """What became of one request, or of one piece of a stream.

    Attributes:
        outcome: speech, or the error that ended it.
        batch: requests that were sampled together.
        group: the same for all of these.
        state: of the engine afterwards.
    """

    outcome: Audio | EngineError
    batch: int
    group: str
    state: State


class Wish:
    """A request, and whether somebody still waits for it."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.gone = threading.Event()

    def check(self, _: Progress) -> None:
        """Go on only where somebody waits.

        Raises:
            GoneError: nobody does.
        """
        if self.gone.is_set():
            raise GoneError("a client that left", "one that waits for its speech", "Nothing")

    def arguments(self) -> tuple[str, Any, dict[str, Any]]:
        """Words, voice and the rest, as `Engine.synthesize` takes them."""
        more = {field.name: getattr(self.request, field.name) for field in dataclasses.fields(self.request)}
        return more.pop("words"), more.pop("voice"), more


class Replica:
    """What Ray Serve runs on every process.

    Args:
        config: of the service, without its key and its voices' files.
        digest: of the weights, which must be the same on each machine.
        local: whether nothing beyond this machine may reach the process.
    """

    def __init__(self, config: Config, digest: str, local: bool) -> None:
        if local:
            _listen_on_loopback()
        self._name = f"{socket.gethostname()}:{uuid.uuid4().hex[:8]}"
        self._pool = ThreadPoolExecutor(1, "speaker")  # an engine's requests come one after the other
        self._engine: Engine | None = None
        self._failure: EngineError | None = None
        self.speak.set_max_batch_size(config.batch)  # type: ignore[attr-defined]
        self.speak.set_batch_wait_timeout_s(config.batch_wait_ms / 1000)  # type: ignore[attr-defined]
        try:
            self._engine = load(config)
            own = self._engine.checkpoint.digest()
            if own != digest:
                raise CheckpointError(
                    f"checkpoint {config.checkpoint} of digest {own} on {socket.gethostname()}",
                    f"the weights of digest {digest} that the service began with",
                    "Copy the same checkpoint to every machine",
                )
        except EngineError as error:  # raised here, Ray Serve would start the process again and again
            self._failure = error

    async def state(self) -> State | EngineError:
        """What the engine was seen to do, or why there is none."""
        return self._failure or self._state()

    async def say(self, request: Request) -> Reply:
        """Speak a request, put together with others that wait; no longer than somebody waits for it."""
        wish = Wish(request)
        try:
            return await self.speak(wish)
        except asyncio.CancelledError:
            wish.gone.set()
            raise

    @serve.batch(max_batch_size=1, batch_wait_timeout_s=0.0)  # the configuration's own are set at the start
    async def speak(self, wishes: list[Wish]) -> list[Reply]:
        """Speak what waits together; one that fails harms no other."""
        group = uuid.uuid4().hex
        outcomes = await self._in_turn(self._spoken, wishes)
        state = self._state()
        return [Reply(outcome, len(wishes), group, state) for outcome in outcomes]

    async def stream(self, request: Request) -> AsyncIterator[Reply]:
        """Speak a request piece by piece; other requests come between the pieces."""
        wish, group = Wish(request), uuid.uuid4().hex
        pieces: Iterator[Audio] | None = None
        try:
            while True:
                outcome, pieces = await self._in_turn(self._piece, wish, pieces)
                if outcome is not None:
                    yield Reply(outcome, 1, group, self._state())
                if pieces is None:
                    return
        finally:
            wish.gone.set()

    async def _in_turn(self, work: Callable[..., Value], *arguments: Any) -> Value:
        """What `work` returns in the engine's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)

    def _spoken(self, wishes: list[Wish]) -> list[Audio | EngineError]:
        """Speak some requests together; where that fails, each by itself."""
        tts = self._loaded()
        if len(wishes) > 1:
            try:
                audios = tts.synthesize_batch([wish.request for wish in wishes])
            except EngineError:
                pass  # one of them is to blame: by itself, each gets its own answer
            else:
                self._note_memory(audios)
                return [_light(audio) for audio in audios]
        return [self._alone(tts, wish) for wish in wishes]

    def _alone(self, tts: Engine, wish: Wish) -> Audio | EngineError:
        words, voice, more = wish.arguments()
        try:
            return _light(tts.synthesize(words, voice, progress=wish.check, **more))
        except EngineError as error:
            return error

    def _piece(
        self, wish: Wish, pieces: Iterator[Audio] | None
    ) -> tuple[Audio | EngineError | None, Iterator[Audio] | None]:
        """The next piece of a stream, and what makes the one after it; neither at its end."""
        words, voice, more = wish.arguments()
        try:
            if pieces is None:
                pieces = self._loaded().stream(words, voice, progress=wish.check, **more)
            audio = next(pieces, None)
        except EngineError as error:
            return error, None
        return (None, None) if audio is None else (_light(audio), pieces)

    def _note_memory(self, audios: list[Audio]) -> None:
        """Put fewer together from now on where memory ran out."""
        if any("out of memory" in sentence for audio in audios for sentence in audio.warnings):
            self.speak.set_max_batch_size(max(1, len(audios) // 2))  # type: ignore[attr-defined]

    def _loaded(self) -> Engine:
        if self._engine is None:
            raise self._failure or EngineError("no engine", "a loaded one", "Restart the service")
        return self._engine

    def _state(self) -> State:
        tts = self._loaded()
        return State(self._name, tts.evidence(), dict(tts.counts()))


def _listen_on_loopback() -> None:
    """Let the port that Ray Serve opens in each replica be one of loopback.

    It is bound to every address, whatever address the node has, after the replica was made; nothing that is
    documented changes that. Calls do not use it, and it asks for the cluster's token.
    """
    from ray.serve._private import replica

    module: Any = replica
    bind = module.add_port_to_grpc_server
    module.add_port_to_grpc_server = lambda server, address: bind(
        server, address.replace("[::]", "127.0.0.1")
    )


def _light(audio: Audio) -> Audio:
    """The audio without its mel, which no client gets."""
    return dataclasses.replace(audio, mel=np.zeros((0, 100), np.float32))
