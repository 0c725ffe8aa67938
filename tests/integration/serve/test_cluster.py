"""The service on a local Ray of two replicas: what one process says, and nothing lost when one is killed."""

from __future__ import annotations

import hashlib
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from tests.integration.serve.server import Server, serving

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

CHEAP = ("--checkpoint", "seeded-tiny", "--device", "cpu", "--threads", "1", "--nfe", "5", "--queue", "200")
TEXTS = [f"This is text number {number} of many." for number in range(60)]


def sound(answer: httpx.Response) -> str:
    """The digest of the audio that was answered."""
    assert answer.status_code == 200, answer.text
    return hashlib.sha256(answer.content).hexdigest()


def replicas(server: Server) -> list[psutil.Process]:
    """The processes that speak."""
    found = []
    for child in psutil.Process(server.process.pid).children(recursive=True):
        try:
            if "ServeReplica" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.fixture(scope="module")
def expected(tiny_folder: object) -> list[str]:
    """What one process says."""
    with serving(*CHEAP, "--batch", "1") as server:
        server.ready()
        return [sound(server.say(text, seed=number)) for number, text in enumerate(TEXTS)]


@pytest.fixture
def server(tiny_folder: object) -> Iterator[Server]:
    """A service with two replicas, each request by itself, so that every byte is that of one process."""
    with serving(*CHEAP, "--batch", "1", "--cluster", "--replicas", "2") as one:
        one.ready()
        yield one


def test_a_replica_killed_half_way_loses_nothing(server: Server, expected: list[str]) -> None:
    """Every request that was taken is answered with its own speech, by whoever is left; then it ends well."""
    half, count, lock = threading.Event(), 0, threading.Lock()

    def ask(number: int) -> str:
        nonlocal count
        digest = sound(server.say(TEXTS[number], seed=number))
        with lock:
            count += 1
            if count == len(TEXTS) // 4:
                half.set()
        return digest

    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(ask, number) for number in range(len(TEXTS))]
        assert half.wait(600)
        victims = replicas(server)
        assert len(victims) == 2
        victims[0].send_signal(signal.SIGKILL)
        assert [one.result(600) for one in asked] == expected
    metrics = server.http.get("/api/metrics").text
    assert "ishowtts_batch_size_count" in metrics
    assert 'ishowtts_toggle_proven{toggle="hoist"} 1.0' in metrics
    assert 'ishowtts_requests_total{route="/api/tts",status="200"} 61.0' in metrics
    code, _ = server.end()
    assert code == 0
    assert not [victim for victim in victims if victim.is_running() and victim.status() != "zombie"]


def test_every_route_is_there(server: Server, expected: list[str]) -> None:
    """Voices, streams, errors and health are those of one machine; and no other machine reaches any port."""
    assert server.http.get("/readyz").json() == {"status": "ready"}
    assert server.http.get("/api/voices").json()["checkpoint"] == "seeded-tiny"
    long = " ".join(TEXTS[:12])
    with server.http.stream("POST", "/api/tts/stream", json={"text": long, "format": "pcm"}) as streamed:
        pieces = list(streamed.iter_raw())
    whole = server.http.post("/api/tts", json={"text": long, "format": "pcm"}).content
    assert b"".join(pieces) == whole
    assert server.say("...").status_code == 422
    assert server.say("Hello.", voice="nobody").status_code == 422
    assert sound(server.say(TEXTS[0], seed=0)) == expected[0]
    processes = [psutil.Process(server.process.pid)]
    processes += processes[0].children(recursive=True)
    ports = [
        port for process in processes for port in process.net_connections("inet") if port.status == "LISTEN"
    ]
    assert len(ports) > 5
    loopback = ("127.0.0.1", "::1", "::ffff:127.0.0.1")
    assert [port for port in ports if port.laddr.ip not in loopback] == []
