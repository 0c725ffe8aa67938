"""The service on a cluster: several requests at once, the dead tried again, the client's order kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ray")

from ray.exceptions import RayActorError, TaskCancelledError

from engine.errors import EngineError, TextError, UsageError
from engine.evidence import Evidence
from engine.reference import Voice
from engine.requests import Request
from engine.serve import calls, cluster
from engine.serve.cluster import ClusterSpeaker, Replicas, Where
from engine.serve.config import Config
from engine.serve.errors import DeadlineError, GoneError, QueueFullError, StoppingError
from engine.serve.job import Job, Spoken
from engine.serve.replica import Reply, State
from tests.unit.serve.fake import TONE, audio

STATE = State("one", {}, {})
HOUR = 3600.0


def reply(words: str, *, batch: int = 1, group: str = "") -> Reply:
    """Speech of these words."""
    return Reply(audio(words, "ann"), batch, group or words, STATE)


class Answers:
    """What a job was answered, and whether it is over."""

    def __init__(self) -> None:
        self.deliveries: list[Any] = []
        self.come = threading.Semaphore(0)

    def __call__(self, delivery: Any) -> None:
        self.deliveries.append(delivery)
        self.come.release()

    def next(self) -> Any:
        """The next answer."""
        assert self.come.acquire(timeout=60)
        return self.deliveries.pop(0)


def job(words: str = "hello", *, stream: bool = False, seconds: float = HOUR) -> tuple[Job, Answers]:
    """A job, and its answers."""
    answers = Answers()
    return Job(Request(words), answers, seconds, stream=stream), answers


class Handle:
    """A deployment whose replicas do what they are told: reply, die, or wait to be cancelled."""

    def __init__(self, *acts: list[Any]) -> None:
        self.acts = list(acts)
        self.say = self.stream = self
        self.asked: list[Request] = []

    def options(self, *, stream: bool) -> Handle:
        """The same deployment."""
        assert stream
        return self

    def remote(self, request: Request) -> Response:
        """The next act."""
        self.asked.append(request)
        return Response(self.acts.pop(0))


class Response:
    """The replies of one act, an error among them raised; `wait` ends once it is cancelled."""

    def __init__(self, act: list[Any]) -> None:
        self.act = act
        self.cancelled = threading.Event()

    def cancel(self) -> None:
        """Cancel it."""
        self.cancelled.set()

    def __iter__(self) -> Iterator[Reply]:
        for step in self.act:
            if step == "wait":
                assert self.cancelled.wait(60)
                raise TaskCancelledError
            if isinstance(step, Exception):
                raise step
            yield step

    def result(self) -> Reply:
        """The first reply."""
        return next(iter(self))


def test_a_request_whose_replica_dies_is_given_to_another() -> None:
    """As often as there are tries; then it fails, and says of what."""
    for deaths in range(calls.TRIES):
        handle = Handle(*[[RayActorError()]] * deaths, [reply("hello")])
        (got,) = calls.replies(handle, Request("hello"), job()[0])
        assert got.group == "hello"
        assert len(handle.asked) == deaths + 1
    with pytest.raises(EngineError, match="replicas that died"):
        list(calls.replies(Handle(*[[RayActorError()]] * calls.TRIES), Request("hello"), job()[0]))
    with pytest.raises(ZeroDivisionError):
        list(calls.replies(Handle([ZeroDivisionError()]), Request("hello"), job()[0]))


def test_a_stream_goes_on_where_its_replica_died() -> None:
    """No piece twice, none left out."""
    pieces = [reply(name) for name in "abcd"]
    died: Any = RayActorError()
    handle = Handle([*pieces[:2], died], [died], [*pieces[:1], died], pieces)
    got = calls.replies(handle, Request("long"), job(stream=True)[0])
    assert [one.group for one in got] == list("abcd")


def test_a_call_ends_when_nobody_waits_for_it() -> None:
    """Cancelled as soon as the client goes or the time is over, and never tried again then."""
    left, _ = job()
    left.leave()
    for one, kind in ((left, GoneError), (job(seconds=0.0)[0], DeadlineError)):
        for act in (["wait"], [RayActorError()]):
            handle = Handle(act)
            with pytest.raises(kind):
                list(calls.replies(handle, Request("hello"), one))
            assert len(handle.asked) == 1


class Stage:
    """Replicas that reply when they are let."""

    def __init__(self, play: Callable[[Job], Iterator[Reply]]) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self.play, self.pool = play, ThreadPoolExecutor(8)
        self.closed = threading.Event()

    def replies(self, job: Job) -> Iterator[Reply]:
        """What the play says."""
        return self.play(job)

    def close(self) -> None:
        """The end."""
        self.pool.shutdown(wait=True)
        self.closed.set()


class Listener:
    """Notes the batches."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def batched(self, jobs: list[Job]) -> None:
        """A batch."""
        self.batches.append(sorted(job.request.words for job in jobs))

    def halved(self, batch: int) -> None:
        """Never."""


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[ClusterSpeaker, Stage, Listener]]]:
    """Start a speaker in front of made-up replicas; it is stopped at the end."""
    speakers = []

    def make(play: Callable[[Job], Iterator[Reply]], **more: Any) -> tuple[ClusterSpeaker, Stage, Listener]:
        stage, listener = Stage(play), Listener()
        monkeypatch.setattr(cluster, "Replicas", lambda *_: stage)
        config = Config(**{"batch": 2, "queue": 3, **more})
        speaker = ClusterSpeaker(Where("local", 1, 1), config, listener)  # type: ignore[arg-type]
        speakers.append(speaker)
        speaker.start()
        assert speaker.loaded.wait(60)
        return speaker, stage, listener

    yield make
    for speaker in speakers:
        speaker.stop(60)


def test_requests_are_spoken_at_once_and_counted_by_batch(start: Any) -> None:
    """Two that a replica put together are one batch to the metrics, whichever comes first."""
    both = threading.Barrier(2)

    def play(one: Job) -> Iterator[Reply]:
        both.wait(60)
        yield reply(one.request.words, batch=2, group="together")

    speaker, _, listener = start(play)
    jobs = [job(words) for words in ("a", "b")]
    for one, _ in jobs:
        speaker.submit(one)
    for one, answers in jobs:
        spoken = answers.next()
        assert isinstance(spoken, Spoken)
        assert spoken.batch == 2
        assert np.array_equal(spoken.audio.samples, audio(one.request.words, "ann").samples)  # type: ignore[union-attr]
    assert listener.batches == [["a", "b"]]


def test_a_stream_ends_with_nothing(start: Any) -> None:
    """Its pieces in order, then the end that the routes wait for."""
    speaker, _, _ = start(lambda one: iter([reply("a"), reply("b")]))
    one, answers = job(stream=True)
    speaker.submit(one)
    got = [answers.next() for _ in range(3)]
    assert [spoken.audio is None for spoken in got] == [False, False, True]


def test_an_error_reaches_its_client_alone(start: Any) -> None:
    """The engine's own, and one that is a bug."""
    wrong = TextError("text ''", "words", "Write some")

    def play(one: Job) -> Iterator[Reply]:
        if one.request.words == "bug":
            raise ZeroDivisionError
        yield Reply(wrong, 1, "g", STATE) if one.request.words == "bad" else reply("good")

    speaker, _, _ = start(play)
    for words, kind in (("bad", TextError), ("bug", ZeroDivisionError), ("good", Spoken)):
        one, answers = job(words)
        speaker.submit(one)
        assert isinstance(answers.next(), kind)


def test_the_queue_is_bounded_and_its_end_refuses_what_waits(start: Any) -> None:
    """Beyond what flies and waits there is no room; at the end what flies is finished, what waits refused."""
    go, flying = threading.Event(), threading.Semaphore(0)

    def play(one: Job) -> Iterator[Reply]:
        flying.release()
        assert go.wait(60)
        yield reply("late")

    speaker, stage, _ = start(play)
    jobs = [job() for _ in range(7)]  # four fly (two batches of two), three wait
    for one, _ in jobs[:4]:
        speaker.submit(one)
        assert flying.acquire(timeout=60)
    for one, _ in jobs[4:]:
        speaker.submit(one)
    with pytest.raises(QueueFullError):
        speaker.submit(job()[0])
    speaker.drain()
    for _, answers in jobs[4:]:
        assert isinstance(answers.next(), StoppingError)
    assert not stage.closed.is_set()
    go.set()
    assert speaker.stop(60)
    assert stage.closed.is_set()
    assert all(isinstance(answers.next(), Spoken) for _, answers in jobs[:4])


def test_what_is_still_spoken_at_the_end_of_the_time_is_given_up(start: Any) -> None:
    """A replica that never answers does not hold up the end."""

    def play(one: Job) -> Iterator[Reply]:
        return calls.replies(Handle(["wait"]), one.request, one)

    speaker, stage, _ = start(play)
    one, answers = job()
    speaker.submit(one)
    assert not speaker.stop(0.0)
    assert isinstance(answers.next(), (GoneError, StoppingError))
    assert stage.closed.wait(60)


def test_the_evidence_of_all_replicas_is_the_worst_of_them() -> None:
    """Disproven by one is disproven; counts are added."""
    replicas: Any = object.__new__(Replicas)
    replicas._lock = threading.Lock()
    replicas._states = {}
    assert replicas.evidence() == {}
    yes, no, unknown = Evidence(True, "seen"), Evidence(False, "not seen"), Evidence(None, "nothing yet")
    replicas._note(State("a", {"x": yes, "y": yes, "z": yes}, {"requests": 2}))
    replicas._note(State("b", {"x": yes, "y": unknown, "z": unknown}, {"requests": 1}))
    replicas._note(State("c", {"x": yes, "y": unknown, "z": no}, {}))
    assert replicas.evidence() == {"x": yes, "y": unknown, "z": no}
    assert replicas.counts()["requests"] == 3
    assert replicas.counts()["cache hits"] == 0


def test_clips_travel_in_memory(clip: Path) -> None:
    """A machine of the cluster does not have the file; what has no file travels as it is."""
    replicas: Any = object.__new__(Replicas)
    replicas._voices = {}
    plain, array = Request("x", "ann"), Request("x", Voice(TONE, "words", 24_000))
    assert replicas._request(plain) is plain
    assert replicas._request(array) is array
    voice = replicas._request(Request("x", Voice(clip, "Some call me nature,"))).voice
    samples, rate = Voice(clip, "Some call me nature,").read()
    assert np.array_equal(voice.audio, samples)
    assert (voice.sample_rate, voice.text) == (rate, "Some call me nature,")


def test_replicas_are_a_number_or_two() -> None:
    """One by default; two numbers let Ray Serve choose between them."""
    for given, expected in ((None, (1, 1)), ("3", (3, 3)), ("1-4", (1, 4))):
        where = Where.parse("auto", given)
        assert (where.address, where.least, where.most) == ("auto", *expected)
    for given in ("", "0", "4-1", "1-2-3", "two", "1-", "-1", "9999", "½"):
        with pytest.raises(UsageError, match="--replicas"):
            Where.parse("auto", given)
