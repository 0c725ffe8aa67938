"""The application over a fake engine: every route, every error, key, limits, metrics and log."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient

from engine.serve.app import create_app
from engine.serve.config import Config
from engine.serve.log import JsonFormatter
from engine.serve.metrics import Metrics
from engine.serve.speaker import Speaker
from tests.unit.serve.fake import TONE, FakeEngine, audio

KEY = "a-key-of-sixteen-letters"


class Service:
    """One application with its engine, and a client that raises nothing."""

    def __init__(self, **settings: Any) -> None:
        self.engine = FakeEngine()
        config = Config(**settings)
        metrics = Metrics(lambda: self.speaker)
        self.speaker = Speaker(
            lambda: self.engine,  # type: ignore[arg-type]
            batch=config.batch,
            queue=config.queue,
            overload=config.overload,
            listener=metrics,
        )
        self.app = create_app(config, self.speaker, metrics)
        self.client = TestClient(self.app, raise_server_exceptions=False)

    def __enter__(self) -> TestClient:
        client = self.client.__enter__()
        assert self.speaker.loaded.wait(30)
        return client

    def __exit__(self, *_: object) -> None:
        self.engine.hold.set()
        self.client.__exit__()


@pytest.fixture
def client() -> Iterator[TestClient]:
    """A client of a service with its defaults."""
    with Service() as one:
        yield one


def samples(content: bytes) -> Any:
    """What a file holds."""
    return soundfile.read(io.BytesIO(content), dtype="float32")[0]


def message(response: Any) -> str:
    """The sentence of an error, in the one shape that all of them have."""
    body = response.json()
    assert list(body) == ["error"], body
    assert body["error"]["code"] == response.status_code
    text: str = body["error"]["message"]
    return text


def test_a_text_is_spoken_in_the_voice_that_was_named(client: TestClient) -> None:
    """And never in another one; without a name in the first."""
    for voice, expected in ((None, "ann"), ("ann", "ann"), ("bob", "bob")):
        response = client.post("/api/tts", json={"text": "Hello", "voice": voice})
        assert response.status_code == 200
        assert response.headers["content-type"] == "audio/wav"
        np.testing.assert_allclose(samples(response.content), audio("Hello", expected).samples, atol=1e-4)
        assert float(response.headers["x-audio-seconds"]) == pytest.approx(900 / 24_000, abs=1e-3)
        assert response.headers["x-batch"] == "1"
        assert "sampling;dur=10.0" in response.headers["server-timing"]
        assert len(response.headers["x-request-id"]) == 12


def test_every_format_is_what_it_says(client: TestClient) -> None:
    """As a decoder sees it."""
    kinds = {"wav": "WAV", "flac": "FLAC", "ogg": "OGG", "opus": "OGG", "mp3": "MP3"}
    for name, kind in kinds.items():
        response = client.post("/api/tts", json={"text": "Hello " * 20, "format": name})
        assert response.status_code == 200, name
        assert soundfile.SoundFile(io.BytesIO(response.content)).format == kind
    pcm = client.post("/api/tts", json={"text": "Hello", "format": "pcm"})
    assert len(pcm.content) == 2 * len(audio("Hello", None).samples)


def test_a_stream_is_the_speech_of_its_pieces(client: TestClient) -> None:
    """As raw samples, and as a WAV file of unknown length."""
    expected = np.concatenate([audio(word, "ann").samples for word in ("one", "two", "three")])
    for name, head in (("pcm", 0), ("wav", 44)):
        response = client.post("/api/tts/stream", json={"text": "one two three", "format": name})
        assert response.status_code == 200
        numbers = np.frombuffer(response.content[head:], "<i2") / 32768
        np.testing.assert_allclose(numbers, expected, atol=1e-4)
        assert response.content[:4] == b"RIFF" or name == "pcm"


def test_openais_request_is_spoken(client: TestClient) -> None:
    """With MP3 where no format is asked for; unknown fields of later clients are ignored."""
    body = {"model": "tts-1", "input": "Hello " * 20, "voice": "bob", "instructions": "be nice"}
    response = client.post("/v1/audio/speech", json=body)
    assert response.status_code == 200
    assert response.headers["content-type"] == "audio/mpeg"
    for wrong in ({"response_format": "aac"}, {"voice": 3}, {"voice": "alloy"}):
        assert client.post("/v1/audio/speech", json={**body, **wrong}).status_code == 422, wrong
    assert "expected one of wav, flac" in message(
        client.post("/v1/audio/speech", json={**body, "response_format": "aac"})
    )
    assert client.get("/v1/models").json()["data"][0]["id"] == "box"


def test_whatever_is_wrong_with_a_request_is_said(client: TestClient) -> None:
    """With a status of the client's, and a sentence that names the field or the cure."""
    cases: list[tuple[Any, int, str]] = [
        ({}, 422, "text: Field required"),
        ({"text": ""}, 422, "text: String should have at least 1 character"),
        ({"text": "..."}, 422, "with no letter.*Send some"),
        ({"text": "x" * 1001}, 422, "text of 1001 characters: expected at most 1000"),
        ({"text": "x", "sped": 2}, 422, "sped: Extra inputs"),
        ({"text": "x", "speed": 9}, 422, "speed: Input should be less"),
        ({"text": "x", "seed": -1}, 422, "seed"),
        ({"text": "x", "format": "aac"}, 422, "format: Input should be 'wav'"),
        ({"text": "x", "voice": {}}, 422, "voice"),
        ([1], 422, "body"),
        (None, 422, "body"),
    ]
    for body, status, sentence in cases:
        response = client.post("/api/tts", json=body)
        assert response.status_code == status, body
        assert re.search(sentence, message(response)), (body, message(response))
    broken = client.post("/api/tts", content=b"{nope", headers={"content-type": "application/json"})
    assert broken.status_code == 400
    assert "no JSON" in message(broken)
    assert client.get("/api/tts").status_code == 405
    assert "See /docs" in message(client.get("/nowhere"))


def test_bytes_that_are_no_request_are_a_sentence(client: TestClient) -> None:
    """Broken UTF-8, depth without end, numbers without end, half a character: all of them the client's."""
    bodies = (
        b"", b"null", b"\xff\xfe", b"[" * 20_000, b'{"text": "x", "seed": 1' + b"0" * 5000 + b"}",
        b'{"text": "x", "speed": NaN}', b'{"text": "\\ud800"}', b'{"text": ["x"]}', b'{"text": "\x00"}',
        b'{"text": "\\u0000\\u200b"}',
    )  # fmt: skip
    for body in bodies:
        for path in ("/api/tts", "/api/tts/stream", "/v1/audio/speech"):
            asked = body.replace(b'"text"', b'"input"') if "v1" in path else body
            response = client.post(path, content=asked, headers={"content-type": "application/json"})
            assert response.status_code in (400, 422), (path, body[:40])
            assert "Traceback" not in message(response)
    assert client.post("/api/tts", json={"text": "Hello"}).status_code == 200


def test_a_bug_is_a_500_that_says_nothing_of_the_machine(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has what happened; the next request is spoken."""
    for path in ("/api/tts", "/api/tts/stream", "/v1/audio/speech"):
        response = client.post(
            path, json={"text": "boom", "input": "boom"} if "v1" in path else {"text": "boom"}
        )
        assert response.status_code == 500, path
        assert "secret" not in response.text
        assert "Traceback" not in response.text
    assert "/secret/path is broken" in caplog.text
    assert client.post("/api/tts", json={"text": "Hello"}).status_code == 200


def test_a_full_queue_and_a_stopping_service_say_when_to_come_back() -> None:
    """429 with Retry-After; 503."""
    service = Service(queue=1)
    with service as client:
        service.engine.hold.clear()

        async def crowd() -> list[httpx.Response]:
            transport = httpx.ASGITransport(app=service.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
                first = asyncio.create_task(http.post("/api/tts", json={"text": "first"}))
                await asyncio.to_thread(service.engine.entered.acquire)
                second = asyncio.create_task(http.post("/api/tts", json={"text": "second"}))
                while not service.speaker.waiting:
                    await asyncio.sleep(0)
                third = await http.post("/api/tts", json={"text": "third"})
                service.speaker.drain()
                service.engine.hold.set()
                return [await first, await second, third]

        first, second, third = asyncio.run(crowd())
        assert [first.status_code, second.status_code, third.status_code] == [200, 503, 429]
        assert int(third.headers["retry-after"]) >= 1
        assert client.get("/readyz").json() == {"status": "stopping"}
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").json() == {"status": "alive"}


def test_speech_that_is_late_is_a_504() -> None:
    """The deadline counts from the request."""
    with Service(deadline_seconds=1e-9) as client:
        response = client.post("/api/tts", json={"text": "Hello"})
        assert response.status_code == 504
        assert "no speech within" in message(response)


def test_the_deadline_holds_while_the_engine_is_busy() -> None:
    """Its answer waits neither for the request that is being spoken nor for those that wait."""
    service = Service(deadline_seconds=0.1)
    with service as client:
        service.engine.hold.clear()
        for text in ("spoken meanwhile", "waits meanwhile"):
            response = client.post("/api/tts", json={"text": text})
            assert response.status_code == 504
            assert "no speech within 0.1 s" in message(response)


def test_no_answer_names_a_file_of_the_machine(tmp_path: Path) -> None:
    """A name is never a path; a configured clip is read once, and one that is gone is the operator's."""
    clip = tmp_path / "me.wav"
    soundfile.write(clip, TONE, 24_000)
    voices = {name: {"clip": clip, "text": "This is me."} for name in ("me", "gone")}
    with Service(voices=voices) as client:
        assert client.post("/api/tts", json={"text": "Hello", "voice": "me"}).status_code == 200
        clip.unlink()
        assert client.post("/api/tts", json={"text": "Hello", "voice": "me"}).status_code == 200
        gone = client.post("/api/tts", json={"text": "Hello", "voice": "gone"})
        assert gone.status_code == 500
        assert str(tmp_path) not in message(gone)
        for name in (str(clip), "../me.wav", "/etc/passwd", "file:///etc/passwd"):
            assert client.post("/api/tts", json={"text": "Hello", "voice": name}).status_code == 422, name


def test_the_key_is_asked_for_everywhere_but_for_health_and_the_page() -> None:
    """As X-API-Key or as a Bearer token; a wrong one is refused like none."""
    with Service(api_key=KEY) as client:
        for path in ("/api/voices", "/api/metrics", "/docs", "/openapi.json", "/v1/models", "/nowhere"):
            assert client.get(path).status_code == 401, path
            for headers in ({"x-api-key": KEY}, {"authorization": f"Bearer {KEY}"}):
                assert client.get(path, headers=headers).status_code in (200, 404), path
            for headers in ({"x-api-key": KEY[:-1]}, {"authorization": KEY}, {"x-api-key": "ä" * 24}):
                encoded = {name: value.encode() for name, value in headers.items()}
                assert client.get(path, headers=encoded).status_code == 401, path
        assert client.post("/api/tts", json={"text": "x"}).status_code == 401
        for path in ("/healthz", "/readyz"):
            assert client.get(path).status_code == 200


def test_large_and_slow_bodies_are_refused_before_they_are_read_whole() -> None:
    """By the announced length, by what arrives, and by the time that it takes."""
    with Service(max_body_bytes=300, body_seconds=0.05) as client:
        assert client.post("/api/tts", json={"text": "x" * 400}).status_code == 413
        parts = iter([b'{"text": "', b"x" * 200, b"x" * 200, b'"}'])
        assert client.post("/api/tts", content=parts).status_code == 413

        async def slowly() -> httpx.Response:
            async def body() -> Any:
                yield b'{"text":'
                await asyncio.Event().wait()

            transport = httpx.ASGITransport(app=client.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
                return await http.post("/api/tts", content=body())

        assert asyncio.run(slowly()).status_code == 408


def test_an_uploaded_clip_speaks_where_that_is_allowed() -> None:
    """And nowhere else; what is no audio is said."""
    file = io.BytesIO()
    soundfile.write(file, TONE, 24_000, format="WAV")
    fields = {"transcript": "This is me.", "text": "Hello"}
    with Service() as client:
        assert client.post("/api/tts/clip", files={"clip": file.getvalue()}, data=fields).status_code == 404
    with Service(uploads=True) as client:
        spoken = client.post("/api/tts/clip", files={"clip": file.getvalue()}, data=fields)
        assert spoken.status_code == 200
        assert client.get("/api/voices").json()["uploads"] is True
        crowd = io.BytesIO()
        soundfile.write(crowd, np.zeros((24_000, 8), np.float32), 24_000, format="FLAC")
        long = io.BytesIO()
        soundfile.write(long, np.zeros(61 * 8000, np.float32), 8000, format="FLAC")
        refusals = [(content, fields) for content in (b"", b"none", crowd.getvalue(), long.getvalue())]
        for content, words in [*refusals, (file.getvalue(), {**fields, "transcript": "..."})]:
            refused = client.post("/api/tts/clip", files={"clip": content}, data=words)
            assert refused.status_code == 422, words
            assert "clip" in message(refused)


def test_metrics_count_what_happened(client: TestClient) -> None:
    """By route and status, with the queue, the batch, the toggles and the errors by kind."""
    client.post("/api/tts", json={"text": "Hello"})
    client.post("/api/tts", json={"text": "..."})
    client.post("/api/tts/stream", json={"text": "one two"})
    lines = dict(
        line.rsplit(" ", 1) for line in client.get("/api/metrics").text.splitlines() if line[0] != "#"
    )
    expected = {
        'ishowtts_requests_total{route="/api/tts",status="200"}': 1,
        'ishowtts_requests_total{route="/api/tts",status="422"}': 1,
        'ishowtts_latency_seconds_count{route="/api/tts"}': 2,
        'ishowtts_errors_total{kind="text"}': 1,
        "ishowtts_rtf_count": 3,
        "ishowtts_first_audio_seconds_count": 2,
        "ishowtts_batch_size_count": 3,
        "ishowtts_queue_length": 0,
        "ishowtts_ready": 1,
        'ishowtts_toggle_proven{toggle="hoist"}': 1,
        "ishowtts_cache_hits_total": 2,
    }
    assert {name: float(lines[name]) for name in expected} == expected
    assert float(lines["ishowtts_process_memory_bytes"]) > 1e6
    assert float(lines["ishowtts_audio_seconds_total"]) > 0


def test_one_line_is_logged_for_a_request_and_never_its_text(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    """With its length, voice, figures and outcome; as JSON."""
    with caplog.at_level(logging.INFO, "engine.serve.requests"):
        client.post("/api/tts", json={"text": "My secret words", "voice": "bob"})
        client.post("/api/tts", json={"text": "?!", "voice": "my secret voice"})
        client.get("/healthz")
    lines = [
        json.loads(JsonFormatter().format(record))
        for record in caplog.records
        if record.name.endswith("requests")
    ]
    assert [line["outcome"] for line in lines] == ["ok", "option"]
    assert lines[0]["characters"] == 15
    assert lines[0]["voice"] == "bob"
    assert {"id", "seconds", "rtf", "batch", "queue_seconds", "status", "route", "time"} <= lines[0].keys()
    assert "secret" not in json.dumps(lines)


def test_a_client_that_leaves_is_not_computed_for() -> None:
    """Its job is taken out of the queue, and the log says that it left."""
    service = Service()
    with service as client:
        service.engine.hold.clear()

        async def leave() -> None:
            transport = httpx.ASGITransport(app=service.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
                first = asyncio.create_task(http.post("/api/tts", json={"text": "first"}))
                await asyncio.to_thread(service.engine.entered.acquire)
                second = asyncio.create_task(http.post("/api/tts", json={"text": "second"}))
                while not service.speaker.waiting:
                    await asyncio.sleep(0)
                second.cancel()
                await asyncio.gather(second, return_exceptions=True)
                service.engine.hold.set()
                assert (await first).status_code == 200

        asyncio.run(leave())
        client.post("/api/tts", json={"text": "third"})
        assert [words for batch in service.engine.batches for words in batch] == ["first", "third"]


def test_the_description_is_shown_without_another_host(client: TestClient) -> None:
    """A machine without a network has its pages as well: every script and style comes from the service."""
    page = client.get("/docs").text
    places = re.findall(r"(?:src|href)=[\"']([^\"']+)", page)
    assert len(places) >= 2
    for place in places:
        assert place.startswith("/"), place
        assert client.get(place).status_code == 200, place
