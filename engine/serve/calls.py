"""Calls to replicas: cancelled where nobody waits any more, and made again where a replica dies."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from ray.exceptions import ObjectLostError, RayActorError, TaskCancelledError, WorkerCrashedError

from engine.errors import EngineError
from engine.requests import Request
from engine.serve.job import Job
from engine.serve.replica import Reply

TRIES = 4
"""How many replicas may die on a request before it fails."""
PATIENCE = 0.05
"""Seconds between two looks whether somebody still waits."""
DEATHS = (RayActorError, WorkerCrashedError, ObjectLostError)
"""What Ray raises where the process of a replica is gone."""


def replies(handle: Any, request: Request, job: Job) -> Iterator[Reply]:
    """The answer to a job, or the pieces of its stream; those that were given before a death not again.

    Args:
        handle: of the deployment.
        request: what the job asks for, fit to travel.
        job: asked whether somebody still waits.

    Raises:
        GoneError, DeadlineError: nobody waits any more.
        EngineError: too many replicas died.
    """
    given = 0
    for _ in range(TRIES):
        try:
            for number, reply in enumerate(_attempt(handle, request, job)):
                if number >= given:
                    given += 1
                    yield reply
            return
        except DEATHS:
            job.check()
    raise EngineError(f"{TRIES} replicas that died on a request", "one that lives", "Look at their machines")


def _attempt(handle: Any, request: Request, job: Job) -> Iterator[Reply]:
    """What one replica replies."""
    response = (handle.options(stream=True).stream if job.stream else handle.say).remote(request)
    with _cancelled_when_left(response, job):
        if job.stream:
            yield from response
        else:
            yield response.result()


@contextlib.contextmanager
def _cancelled_when_left(response: Any, job: Job) -> Iterator[None]:
    """Cancel a call as soon as nobody waits for it; then the reason is raised.

    Raises:
        GoneError, DeadlineError: nobody waits any more.
    """
    over = threading.Event()

    def watch() -> None:
        while not over.wait(PATIENCE):
            try:
                job.check()
            except EngineError:
                response.cancel()
                return

    watching = threading.Thread(target=watch, name="watch", daemon=True)
    watching.start()
    try:
        yield
    except TaskCancelledError:
        job.check()
        raise
    finally:
        over.set()
