"""Between a route and the engine's thread: a request goes over, its speech comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Protocol

from engine.audio import Audio
from engine.requests import Request
from engine.serve.errors import GoneError, no_speech_in
from engine.serve.job import Delivery, Job, Spoken

if TYPE_CHECKING:
    from starlette.requests import Request as HttpRequest


class Queue(Protocol):
    """Takes jobs and answers each: `engine.serve.speaker.Speaker`, or what stands for it elsewhere."""

    def submit(self, job: Job) -> None:
        """Put a job into the queue."""


async def whole(queue: Queue, request: Request, seconds: float, http: HttpRequest) -> Spoken:
    """The speech of a request.

    Raises:
        GoneError: the client left; nothing more is computed for it.
        EngineError: the request cannot be spoken, or not in time.
    """
    answers, job = _submitted(queue, request, seconds, stream=False)
    return await _next(answers, job, http)


async def stream(
    queue: Queue, request: Request, seconds: float, http: HttpRequest
) -> tuple[Spoken, AsyncIterator[Audio]]:
    """The first piece of a request's speech, and an iterator over all of its pieces, the first among them.

    Raises:
        GoneError, EngineError: as `whole`, as long as there is no first piece.
    """
    answers, job = _submitted(queue, request, seconds, stream=True)
    first = await _next(answers, job, http)

    async def pieces() -> AsyncIterator[Audio]:
        try:
            spoken = first
            while spoken.audio is not None:
                yield spoken.audio
                delivery = await answers.get()
                if isinstance(delivery, Exception):
                    raise delivery
                spoken = delivery
        finally:
            job.leave()

    return first, pieces()


def _submitted(
    queue: Queue, request: Request, seconds: float, *, stream: bool
) -> tuple[asyncio.Queue[Delivery], Job]:
    """A job in the queue, and where its answers will be."""
    loop = asyncio.get_running_loop()
    answers: asyncio.Queue[Delivery] = asyncio.Queue()

    def deliver(delivery: Delivery) -> None:
        loop.call_soon_threadsafe(answers.put_nowait, delivery)

    job = Job(request, deliver, seconds, stream=stream)
    queue.submit(job)
    return answers, job


async def _next(answers: asyncio.Queue[Delivery], job: Job, http: HttpRequest) -> Spoken:
    """The job's next answer, unless the client leaves or its time is over before it is there."""
    answer = asyncio.ensure_future(answers.get())
    left = asyncio.ensure_future(_left(http))
    try:
        await asyncio.wait({answer, left}, timeout=job.seconds, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            if left.done():
                raise GoneError("a client that left", "one that waits for its speech", "Nothing")
            raise no_speech_in(job.seconds)
        delivery = answer.result()
    except BaseException:
        job.leave()
        raise
    finally:
        answer.cancel()
        left.cancel()
    if isinstance(delivery, Exception):
        raise delivery
    return delivery


async def _left(http: HttpRequest) -> None:
    """Returns once the client has closed the connection."""
    while (await http.receive())["type"] != "http.disconnect":
        pass
