"""The service beyond one machine: the same application in front, and Ray Serve's replicas in place of the one
engine.

Routes, key, limits, queue and metrics stay in this process. A request whose replica dies is given to another
one; the pieces of a stream that a client has got are not sent again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import socket
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from engine import cluster
from engine.checkpoint import Checkpoint, find
from engine.errors import EngineError, UsageError
from engine.evidence import Evidence
from engine.options import Options
from engine.reference import Voice
from engine.requests import Request
from engine.serve import calls
from engine.serve.config import Config
from engine.serve.job import Job
from engine.serve.metrics import Metrics
from engine.serve.replica import Replica, Reply, State
from engine.serve.speaker import Speaker

log = logging.getLogger(__name__)

GROUPS = 256
"""Batches whose other requests may still be on their way."""


@dataclasses.dataclass(frozen=True)
class Where:
    """Where the replicas run, and how many.

    Attributes:
        address: of a Ray cluster, or `cluster.LOCAL`.
        least, most: replicas; where they differ, Ray Serve adds and removes them as requests come.
    """

    address: str
    least: int
    most: int

    @classmethod
    def parse(cls, address: str, replicas: str | None) -> Where:
        """What the flags say: `2` is a number, `1-4` lets Ray Serve choose.

        Raises:
            UsageError: neither.
        """
        parts = ("1" if replicas is None else replicas).split("-")
        if not all(part.isdecimal() for part in parts) or len(parts) > 2:
            parts = ["0"]
        least, most = int(parts[0]), int(parts[-1])
        if not 1 <= least <= most <= 1000:
            raise UsageError(f"--replicas {replicas}", "a number, or two such as 1-4", "Give one of them")
        return cls(address, least, most)


class ClusterSpeaker(Speaker):
    """A queue as the one-machine speaker's, whose jobs are spoken by replicas, several at once."""

    def __init__(self, where: Where, config: Config, listener: Metrics) -> None:
        self._most_flying = 2 * config.batch * where.most
        load: Any = functools.partial(Replicas, config, where, self._most_flying)
        super().__init__(load, queue=config.queue, overload=config.overload, listener=listener)
        self._flying: set[Job] = set()
        self._groups: OrderedDict[str, list[Job]] = OrderedDict()

    def stop(self, seconds: float) -> bool:
        """As the one-machine speaker's; what is still being spoken then is given up."""
        if super().stop(seconds):
            return True
        with self._change:
            flying = list(self._flying)
        for job in flying:
            job.leave()
        return False

    def _has_work(self) -> bool:
        return self._stopping or bool(self._waiting and len(self._flying) < self._most_flying)

    def _turn(self) -> None:
        """Send the oldest job to a replica."""
        with self._change:
            if not self._waiting:
                return
            job = self._waiting.popleft()
            self._flying.add(job)
        replicas: Any = self.engine
        replicas.pool.submit(self._fly, replicas, job)

    def _fly(self, replicas: Replicas, job: Job) -> None:
        """Let a job be spoken, in a thread of the pool."""
        began = time.monotonic()
        try:
            job.check()
            job.start(1)
            for reply in replicas.replies(job):
                job.batch = reply.batch
                self._count(job, reply)
                if isinstance(reply.outcome, EngineError):
                    raise reply.outcome
                job.hand(reply.outcome)
            if job.stream:
                job.hand(None)
        except EngineError as error:
            job.fail(error)
        except Exception as error:
            log.exception("a request failed")
            job.fail(error)
        finally:
            with self._change:
                self._flying.discard(job)
                self._seconds += 0.2 * ((time.monotonic() - began) / self._most_flying - self._seconds)
                self._change.notify_all()

    def _count(self, job: Job, reply: Reply) -> None:
        """Tell the metrics of a batch once all of it is here."""
        with self._change:
            jobs = self._groups.setdefault(reply.group, [])
            jobs.append(job)
            whole = len(jobs) == reply.batch
            if whole:
                del self._groups[reply.group]
            while len(self._groups) > GROUPS:
                self._groups.popitem(last=False)
        if whole and self._listener is not None:
            self._listener.batched(jobs)


class Replicas:
    """The replicas of one service, in the place of an engine: what the application asks of one is answered
    here.

    Raises:
        ClusterError: Ray is missing or cannot be reached, or the replicas do not start.
        EngineError: a replica cannot load the model, or a voice is not fit.
    """

    def __init__(self, config: Config, where: Where, flying: int) -> None:
        self.checkpoint: Checkpoint = find(config.checkpoint, vocoder=config.vocoder)
        self.options: Options = config.options
        self.device = "cluster"
        self._voices = {voice.clip: _portable(voice.voice()) for voice in config.voices.values()}
        _check_voice(config, self.checkpoint)
        self._states: dict[str, State] = {}
        self._lock = threading.Lock()
        self.pool = ThreadPoolExecutor(flying, "flight")
        self._stack = contextlib.ExitStack()
        try:
            ray = self._stack.enter_context(cluster.joined(where.address))
            self._handle = self._deploy(ray, config, where)
            self._note(self._state())
        except BaseException:
            self._stack.close()
            raise

    def replies(self, job: Job) -> Iterator[Reply]:
        """The answer to a job, or the pieces of its stream: see `calls.replies`."""
        for reply in calls.replies(self._handle, self._request(job.request), job):
            self._note(reply.state)
            yield reply

    def evidence(self) -> dict[str, Evidence]:
        """For every option, what the replicas saw; proven where none saw the contrary."""
        with self._lock:
            states = list(self._states.values())
        return {
            name: min((state.evidence[name] for state in states), key=_doubt)
            for name in (states[0].evidence if states else {})
        }

    def counts(self) -> Mapping[str, int]:
        """What the parts of all replicas counted."""
        with self._lock:
            return sum((Counter(state.counts) for state in self._states.values()), Counter())

    def close(self) -> None:
        """Wait for what is being spoken, and end the replicas."""
        self.pool.shutdown(wait=True)
        self._stack.close()

    def _request(self, request: Request) -> Request:
        """The request with its clip in memory, for machines that do not have the file."""
        voice = request.voice
        if not isinstance(voice, Voice) or not isinstance(voice.audio, (str, Path)):
            return request
        known = self._voices.get(Path(voice.audio))
        return dataclasses.replace(request, voice=known or _portable(voice))

    def _note(self, state: State) -> None:
        with self._lock:
            self._states[state.replica] = state

    def _deploy(self, ray: Any, config: Config, where: Where) -> Any:
        """Start the replicas, and wait until they have loaded; a handle to them."""
        from ray import serve

        count, need = cluster.share(ray, config.device, config.threads, where.most)
        on_gpu = "num_gpus" in need
        own = config.model_copy(
            update={
                "api_key": None, "voices": {}, "voice": None, "device": "cuda" if on_gpu else "cpu",
                "threads": config.threads if on_gpu else need["num_cpus"],
            }
        )  # fmt: skip
        number: dict[str, Any] = {"num_replicas": count}
        if where.least < count:
            scaling = {
                "min_replicas": where.least,
                "max_replicas": count,
                "target_ongoing_requests": config.batch,
            }
            number = {"autoscaling_config": scaling}
        deployment = serve.deployment(
            name="speaker", max_ongoing_requests=2 * config.batch, ray_actor_options=need,
            graceful_shutdown_timeout_s=config.stop_seconds, **number,
        )(Replica)  # fmt: skip
        name = f"ishowtts-{socket.gethostname()}-{config.port}"
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        quiet = {"log_level": "ERROR", "enable_access_log": False}
        try:
            serve.start(proxy_location="Disabled", logging_config=quiet)
            handle = serve.run(
                deployment.bind(own, self.checkpoint.digest(), where.address == cluster.LOCAL),
                name=name,
                route_prefix=None,
                logging_config=quiet,
            )
        except (OSError, RuntimeError, ValueError, TimeoutError) as error:
            raise cluster.ClusterError(
                f"replicas that did not start ({error})"[:300], "room for them", "Ask for fewer"
            ) from error
        if where.address != cluster.LOCAL:  # else they end with it
            self._stack.callback(serve.delete, name, _blocking=False)
        return handle

    def _state(self) -> State:
        state: State | EngineError = self._handle.state.remote().result()
        if isinstance(state, EngineError):
            raise state
        return state


def _portable(voice: Voice) -> Voice:
    samples, rate = voice.read()
    return Voice(samples, voice.text, rate)


def _check_voice(config: Config, checkpoint: Checkpoint) -> None:
    """Refuse a default voice that nobody has."""
    known = [*config.voices, *checkpoint.references]
    if config.voice is not None and config.voice not in known:
        raise UsageError(f"voice {config.voice!r}", f"one of {', '.join(known)}", "Name one, or configure it")


def _doubt(evidence: Evidence) -> int:
    """Disproven before unknown before proven."""
    return {False: 0, None: 1, True: 2}[evidence.proven]
