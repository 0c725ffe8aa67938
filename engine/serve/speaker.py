"""The engine's one thread: a bounded queue in front of it, and batches out of what waits together."""

from __future__ import annotations

import collections
import dataclasses
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal, Protocol

from engine import memory
from engine.audio import Audio
from engine.errors import EngineError
from engine.serve.errors import GoneError, QueueFullError, StoppingError
from engine.serve.job import Job

if TYPE_CHECKING:
    from engine.synthesis import Engine

Overload = Literal["refuse", "drop_oldest"]

REST_SECONDS = 1.0
"""Without work for so long, the thread gives memory back."""
USUAL_SECONDS = 0.5
"""Taken for the time of a request until some have been timed."""

log = logging.getLogger(__name__)


class Listener(Protocol):
    """Is told what the speaker does: the metrics."""

    def batched(self, jobs: list[Job]) -> None:
        """These jobs are about to be sampled together."""

    def halved(self, batch: int) -> None:
        """Memory ran out; from now on so many requests are sampled together at most."""


class Speaker:
    """Speaks jobs in the order in which they came, in a thread of its own.

    Requests that wait together are sampled together; a stream takes turns with them, one piece at a time.
    A request that fails harms no other.

    Args:
        load: makes the engine, in the thread.
        batch: requests that are sampled together at most.
        batch_wait: seconds that a request waits for others to join it.
        queue: requests that may wait.
        overload: what happens to one more: it is refused, or the oldest makes room.
        listener: told what happens.
    """

    def __init__(
        self,
        load: Callable[[], Engine],
        *,
        batch: int = 1,
        batch_wait: float = 0.0,
        queue: int = 64,
        overload: Overload = "refuse",
        listener: Listener | None = None,
    ) -> None:
        self._load, self._listener = load, listener
        self._most, self._batch_wait = batch, batch_wait
        self._room, self._overload = queue, overload
        self._waiting: collections.deque[Job] = collections.deque()
        self._streams: collections.deque[tuple[Job, Iterator[Audio]]] = collections.deque()
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="speaker", daemon=True)
        self._stopping = False
        self._busy = False
        self._seconds = USUAL_SECONDS
        self.engine: Engine | None = None
        self.failure: Exception | None = None
        self.loaded = threading.Event()

    def start(self) -> None:
        """Begin to load the engine, and then to speak."""
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether the engine is loaded, and requests are taken."""
        return self.engine is not None and not self._stopping

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    def submit(self, job: Job) -> None:
        """Put a job into the queue; it is answered by its `deliver`, always.

        Raises:
            QueueFullError: as many wait as may.
            StoppingError: the service is about to end, or its engine could not be loaded.
        """
        with self._change:
            if self._stopping or self.failure is not None:
                raise _stopping()
            oldest = None
            if len(self._waiting) >= self._room:
                self._forget_those_that_left()
            if len(self._waiting) >= self._room:
                if self._overload == "refuse":
                    raise self._full()
                oldest = self._waiting.popleft()
            self._waiting.append(job)
            self._change.notify_all()
        if oldest is not None:
            oldest.fail(self._full())

    def _forget_those_that_left(self) -> None:
        """Nobody hears the answers of their jobs, which are not worth a place in the queue."""
        left = [job for job in self._waiting if job.left]
        for job in left:
            self._waiting.remove(job)
            job.fail(GoneError("a client that left", "one that waits for its speech", "Nothing"))

    def drain(self) -> None:
        """Take nothing more and refuse what waits; what is being spoken is finished."""
        with self._change:
            self._stopping = True
            refused = list(self._waiting)
            self._waiting.clear()
            self._change.notify_all()
        for job in refused:
            job.fail(_stopping())

    def stop(self, seconds: float) -> bool:
        """Drain, and wait for the thread; whether it ended in time."""
        self.drain()
        if self._thread.is_alive():
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        """Load, and speak until told to stop."""
        try:
            self.engine = self._load()
        except Exception as error:  # noqa: BLE001 - whatever it is, the service has to know
            self._refuse_all(error)
            return
        finally:
            self.loaded.set()
        rested = False
        while True:
            with self._change:
                idle = not self._change.wait_for(self._has_work, None if rested else REST_SECONDS)
                if self._stopping and not self._waiting and not self._streams:
                    break
            if idle:
                memory.give_back()
                rested = True
                continue
            rested = False
            self._turn()
        self.engine.close()

    def _refuse_all(self, error: Exception) -> None:
        with self._change:
            self.failure = error
            refused = list(self._waiting)
            self._waiting.clear()
        for job in refused:
            job.fail(_stopping())

    def _has_work(self) -> bool:
        return bool(self._waiting or self._streams or self._stopping)

    def _turn(self) -> None:
        """One piece of a stream, and one batch of what waits."""
        if self._streams:
            self._next_piece()
        jobs = self._take()
        if not jobs:
            return
        if jobs[0].stream:
            self._open(jobs[0])
            return
        began = time.monotonic()
        self._speak(jobs)
        self._seconds += 0.2 * ((time.monotonic() - began) / len(jobs) - self._seconds)

    def _take(self) -> list[Job]:
        """The jobs that are spoken next: the oldest, and those that join it in time; a stream goes alone."""
        with self._change:
            if not self._waiting:
                return []
            first = self._waiting.popleft()
            jobs = [first]
            until = first.arrived + self._batch_wait
            while not first.stream and len(jobs) < self._most:
                if self._waiting:
                    if self._waiting[0].stream:
                        break
                    jobs.append(self._waiting.popleft())
                    continue
                left = until - time.monotonic()
                if left <= 0 or self._streams or self._stopping:
                    break
                self._change.wait(left)
            return jobs

    def _speak(self, jobs: list[Job]) -> None:
        """Speak some jobs together; where that fails, each by itself."""
        jobs = [job for job in jobs if self._fit(job)]
        if not jobs:
            return
        for job in jobs:
            job.start(len(jobs))
        if self._listener is not None:
            self._listener.batched(jobs)
        if len(jobs) > 1 and self._together(jobs):
            return
        for job in jobs:
            self._alone(job)

    def _fit(self, job: Job) -> bool:
        """Whether somebody still waits for the job; who came to nothing is told."""
        try:
            job.check()
        except EngineError as error:
            job.fail(error)
            return False
        return True

    def _together(self, jobs: list[Job]) -> bool:
        """Whether the jobs were spoken in one batch; nothing was delivered where they were not."""
        engine = self.engine
        if engine is None:  # loading comes first
            return False
        try:
            audios = engine.synthesize_batch([job.request for job in jobs])
        except EngineError:
            return False  # one of them is to blame: by itself, each gets its own answer
        except Exception:
            log.exception("a batch of %d failed; each is tried by itself", len(jobs))
            return False
        if any("out of memory" in sentence for audio in audios for sentence in audio.warnings):
            self._most = max(1, len(jobs) // 2)
            log.warning("out of memory for a batch of %d: from now on %d at most", len(jobs), self._most)
            if self._listener is not None:
                self._listener.halved(self._most)
        for job, audio in zip(jobs, audios, strict=True):
            job.hand(audio)
        return True

    def _alone(self, job: Job) -> None:
        engine, request = self.engine, job.request
        if engine is None:
            return
        fields = {field.name: getattr(request, field.name) for field in dataclasses.fields(request)}
        words, voice = fields.pop("words"), fields.pop("voice")
        try:
            job.check()
            audio = engine.synthesize(words, voice, progress=lambda _: job.check(), **fields)
        except Exception as error:  # noqa: BLE001 - it reaches the client, and the log where it is ours
            _fail(job, error)
        else:
            job.hand(audio)

    def _open(self, job: Job) -> None:
        """Begin a stream: its first piece is made at once."""
        engine, request = self.engine, job.request
        if engine is None:
            return
        fields = {field.name: getattr(request, field.name) for field in dataclasses.fields(request)}
        words, voice = fields.pop("words"), fields.pop("voice")
        job.start(1)
        try:
            job.check()
            pieces = engine.stream(words, voice, progress=lambda _: job.check(), **fields)
        except Exception as error:  # noqa: BLE001 - as above
            _fail(job, error)
            return
        if self._listener is not None:
            self._listener.batched([job])
        self._streams.appendleft((job, pieces))
        self._next_piece()

    def _next_piece(self) -> None:
        """Make the next piece of the stream whose turn it is."""
        job, pieces = self._streams.popleft()
        try:
            job.check()
            audio = next(pieces, None)
        except Exception as error:  # noqa: BLE001 - as above
            _fail(job, error)
            return
        job.hand(audio)
        if audio is not None:
            self._streams.append((job, pieces))

    def _full(self) -> QueueFullError:
        wait = max(1, math.ceil(len(self._waiting) * self._seconds))
        return QueueFullError(
            f"a queue with {self._room} requests", "room for one more", f"Try again in {wait} s", wait
        )


def _fail(job: Job, error: Exception) -> None:
    if not isinstance(error, EngineError):
        log.error("a request failed", exc_info=error)
    elif not isinstance(error, GoneError):
        log.debug("a request was refused: %s", error)
    job.fail(error)


def _stopping() -> StoppingError:
    return StoppingError("a service that is stopping", "one that takes requests", "Try again in a moment")
