"""The engine's thread: order, batches, overload, deadlines, clients that leave, and the end."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from engine.errors import CheckpointError, TextError
from engine.requests import Request
from engine.serve import speaker as speakers
from engine.serve.errors import DeadlineError, GoneError, QueueFullError, StoppingError
from engine.serve.job import Job, Spoken
from engine.serve.speaker import Speaker
from tests.unit.serve.fake import FakeEngine, audio

FOREVER = 600.0


class Stand:
    """A speaker over a fake engine, whose jobs are made by their words."""

    def __init__(self, **settings: Any) -> None:
        self.engine = FakeEngine()
        self.sizes: list[int] = []
        self.halvings: list[int] = []
        self.speaker = Speaker(lambda: self.engine, listener=self, **settings)  # type: ignore[arg-type]
        self.speaker.start()
        assert self.speaker.loaded.wait(30)

    def batched(self, jobs: list[Job]) -> None:
        """Take down a batch."""
        self.sizes.append(len(jobs))

    def halved(self, batch: int) -> None:
        """Take down a smaller limit."""
        self.halvings.append(batch)

    def job(self, words: str, seconds: float = FOREVER, stream: bool = False) -> tuple[Job, queue.Queue[Any]]:
        """A job in the queue, and where its answers come."""
        answers: queue.Queue[Any] = queue.Queue()
        job = Job(Request(words), answers.put, seconds, stream=stream)
        self.speaker.submit(job)
        return job, answers

    def busy(self) -> queue.Queue[Any]:
        """The answers of a job that the engine holds on to until `engine.hold` is set."""
        self.engine.hold.clear()
        self.engine.entered = threading.Semaphore(0)
        _, answers = self.job("busy")
        assert self.engine.entered.acquire(timeout=30)
        return answers


@pytest.fixture
def made() -> Iterator[list[Stand]]:
    """Stands to end after the test."""
    stands: list[Stand] = []
    yield stands
    for stand in stands:
        stand.engine.hold.set()
        assert stand.speaker.stop(30)


def answer(answers: queue.Queue[Any]) -> Any:
    """The next answer; an error is given back."""
    return answers.get(timeout=30)


def said(answers: queue.Queue[Any], words: str) -> bool:
    """Whether the next answer is the speech of these words."""
    spoken = answer(answers)
    return isinstance(spoken, Spoken) and np.array_equal(spoken.audio.samples, audio(words, None).samples)


def test_requests_that_wait_together_are_sampled_together_in_their_order(made: list[Stand]) -> None:
    """Up to the batch, each with its own speech."""
    made.append(stand := Stand(batch=3))
    first = stand.busy()
    words = ["one", "two", "three", "four"]
    rest = [stand.job(word)[1] for word in words]
    stand.engine.hold.set()
    assert said(first, "busy")
    assert all(said(answers, word) for answers, word in zip(rest, words, strict=True))
    assert stand.engine.batches == [["busy"], ["one", "two", "three"], ["four"]]
    assert stand.sizes == [1, 3, 1]


def test_a_request_joins_the_one_that_waits_for_others(made: list[Stand]) -> None:
    """Within the wait; with a wait that is long, a full batch does not wait for its end."""
    made.append(stand := Stand(batch=2, batch_wait=FOREVER))
    one, two = stand.job("one")[1], stand.job("two")[1]
    assert said(one, "one")
    assert said(two, "two")
    assert stand.engine.batches == [["one", "two"]]


def test_a_request_that_fails_harms_no_other(made: list[Stand]) -> None:
    """A bad text and a bug of the engine's each end their own request; those beside them are spoken."""
    made.append(stand := Stand(batch=4))
    first = stand.busy()
    bad, good, bug = (stand.job(words)[1] for words in ("...", "good", "boom"))
    stand.engine.hold.set()
    assert said(first, "busy")
    assert isinstance(answer(bad), TextError)
    assert said(good, "good")
    assert isinstance(answer(bug), RuntimeError)
    assert said(stand.job("next")[1], "next")


def test_a_full_queue_refuses_one_more_or_drops_its_oldest(made: list[Stand]) -> None:
    """And says when to try again."""
    for overload, refused in (("refuse", "three"), ("drop_oldest", "one")):
        made.append(stand := Stand(queue=2, overload=overload))
        stand.busy()
        waiting = {word: stand.job(word)[1] for word in ("one", "two")}
        if overload == "refuse":
            with pytest.raises(QueueFullError, match="a queue with 2 requests") as error:
                stand.job("three")
            assert error.value.retry_after >= 1
        else:
            waiting["three"] = stand.job("three")[1]
            assert isinstance(answer(waiting.pop(refused)), QueueFullError)
        stand.engine.hold.set()
        assert all(said(answers, word) for word, answers in waiting.items()), overload


def test_who_left_holds_no_place_in_the_queue(made: list[Stand]) -> None:
    """A full queue of clients that have gone takes one that has not."""
    made.append(stand := Stand(queue=1))
    stand.busy()
    gone, its_answers = stand.job("gone")
    gone.leave()
    waiting = stand.job("waiting")[1]
    assert isinstance(answer(its_answers), GoneError)
    stand.engine.hold.set()
    assert said(waiting, "waiting")


def test_nothing_is_computed_for_a_client_that_left_or_came_too_late(made: list[Stand]) -> None:
    """Whether it waits in the queue or is being spoken."""
    made.append(stand := Stand())
    stand.engine.hold.clear()
    spoken, answers = stand.job("left while spoken")
    assert stand.engine.entered.acquire(timeout=30)
    gone, its_answers = stand.job("left while waiting")
    _, late = stand.job("late", seconds=-1.0)
    spoken.leave()
    gone.leave()
    stand.engine.hold.set()
    assert isinstance(answer(answers), GoneError)
    assert isinstance(answer(its_answers), GoneError)
    assert isinstance(answer(late), DeadlineError)
    assert stand.engine.batches == [["left while spoken"]]


def test_a_stream_takes_turns_with_whole_requests(made: list[Stand]) -> None:
    """A long stream keeps nobody waiting for more than one of its pieces."""
    made.append(stand := Stand())
    stand.engine.hold.clear()
    _, pieces = stand.job("a b c", stream=True)
    assert stand.engine.entered.acquire(timeout=30)
    whole = stand.job("whole")[1]
    stand.engine.hold.set()
    assert said(whole, "whole")
    assert all(said(pieces, word) for word in "abc")
    assert answer(pieces).audio is None
    order = [words for batch in stand.engine.batches for words in batch]
    assert order.index("whole") < order.index("c")


def test_a_stream_ends_with_its_client_or_with_an_error(made: list[Stand]) -> None:
    """What is not yet made never is."""
    made.append(stand := Stand())
    stand.engine.hold.clear()
    job, pieces = stand.job("a b c", stream=True)
    assert stand.engine.entered.acquire(timeout=30)
    job.leave()
    stand.engine.hold.set()
    assert isinstance(answer(pieces), GoneError)
    assert isinstance(answer(stand.job("...", stream=True)[1]), TextError)
    _, broken = stand.job("a boom", stream=True)
    assert isinstance(answer(broken), RuntimeError)
    assert said(stand.job("next")[1], "next")


def test_memory_that_runs_out_halves_the_batch_and_is_said(made: list[Stand]) -> None:
    """From then on fewer are sampled together."""
    made.append(stand := Stand(batch=4))
    stand.engine.memory = 2
    for _ in range(2):
        first = stand.busy()
        rest = [stand.job(f"w{index}")[1] for index in range(4)]
        stand.engine.hold.set()
        assert all(isinstance(answer(answers), Spoken) for answers in [first, *rest])
    assert stand.halvings == [2]
    assert stand.sizes == [1, 4, 1, 2, 2]


def test_stopping_finishes_what_is_spoken_and_refuses_what_waits(made: list[Stand]) -> None:
    """And whatever comes afterwards; the engine is closed."""
    made.append(stand := Stand())
    first = stand.busy()
    waiting = stand.job("waiting")[1]
    stand.speaker.drain()
    assert isinstance(answer(waiting), StoppingError)
    with pytest.raises(StoppingError):
        stand.job("later")
    assert not stand.speaker.ready
    assert not stand.speaker.stop(0.0)
    stand.engine.hold.set()
    assert said(first, "busy")
    assert stand.speaker.stop(30)
    assert stand.engine.closed


def test_an_engine_that_cannot_be_loaded_is_told_to_all() -> None:
    """To those that wait already, and to those that come."""
    begin = threading.Event()

    def load() -> Any:
        assert begin.wait(30)
        raise CheckpointError("no weights", "weights", "Fetch them")

    speaker = Speaker(load)
    speaker.start()
    answers: queue.Queue[Any] = queue.Queue()
    speaker.submit(Job(Request("early"), answers.put, FOREVER))
    begin.set()
    assert isinstance(answer(answers), StoppingError)
    assert speaker.loaded.wait(30)
    assert isinstance(speaker.failure, CheckpointError)
    with pytest.raises(StoppingError):
        speaker.submit(Job(Request("late"), answers.put, FOREVER))


def test_memory_is_given_back_at_rest_once(monkeypatch: pytest.MonkeyPatch, made: list[Stand]) -> None:
    """Not while there is work, and not again before there was some."""
    given = threading.Semaphore(0)
    monkeypatch.setattr(speakers.memory, "give_back", given.release)
    monkeypatch.setattr(speakers, "REST_SECONDS", 0.01)
    made.append(stand := Stand())
    for _ in range(2):
        assert given.acquire(timeout=30)
        assert said(stand.job("one")[1], "one")
    assert given.acquire(timeout=30)
    assert not given.acquire(blocking=False)
