"""The real service over HTTP: speech, voices, batches, clients that go, overload, and its end."""

from __future__ import annotations

import asyncio
import hashlib
import io
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import soundfile

import engine
from engine.options import Options
from tests.integration.serve.server import SECONDS, Server, serving

LONG = "The first sentence is here. And the second one, which is a little longer, follows it at once. " * 3


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A service that is ready, shared by the tests that only ask it."""
    with serving("--nfe", "5", "--batch", "4", "--queue", "24") as one:
        one.ready()
        yield one


@pytest.fixture(scope="module")
def direct() -> Iterator[engine.Engine]:
    """The same engine in this process."""
    options = Options(**{**Options.fast_cpu().changed(), "nfe": 5, "batch": 4})
    with engine.load(options=options, device="cpu") as tts:
        yield tts


def samples(content: bytes) -> Any:
    """What a WAV file holds."""
    return soundfile.read(io.BytesIO(content), dtype="float32")[0]


def test_what_is_served_is_what_the_engine_says(server: Server, direct: engine.Engine) -> None:
    """Bit by bit, for every voice: by hash, so that no two voices are ever mixed."""
    known = [entry["name"] for entry in server.http.get("/api/voices").json()["voices"]]
    assert len(known) == 4
    with ThreadPoolExecutor(1) as pool:  # one at a time: together they would be sampled in one batch
        served = list(pool.map(lambda name: server.say("Good evening, chat.", voice=name, seed=7), known))
    prints = {
        name: hashlib.sha256(direct.synthesize("Good evening, chat.", name, seed=7).encode()).hexdigest()
        for name in known
    }
    assert len(set(prints.values())) == 4
    for name, response in zip(known, served, strict=True):
        assert hashlib.sha256(response.content).hexdigest() == prints[name], name


def test_voices_at_once_are_sampled_together_and_never_mixed(server: Server, direct: engine.Engine) -> None:
    """Each result is its own single run within the tolerance, and nearer to that than to any other."""
    asked = [
        (voice, words) for voice in ("slt", "rms") for words in ("Good evening, chat.", "See you later.")
    ]
    asked *= 3
    with ThreadPoolExecutor(len(asked)) as pool:
        answers = list(pool.map(lambda pair: server.say(pair[1], voice=pair[0], seed=3), asked))
    assert max(int(answer.headers["x-batch"]) for answer in answers) > 1
    single = {pair: direct.synthesize(pair[1], pair[0], seed=3).samples for pair in set(asked)}
    for pair, answer in zip(asked, answers, strict=True):
        got = samples(answer.content)
        assert len(got) == len(single[pair])
        error = np.linalg.norm(got - single[pair]) / np.linalg.norm(single[pair])
        assert error < 0.02, (pair, error)  # 16 bits, and a wave's phase follows its mel
        others = [other for key, other in single.items() if key != pair and len(other) == len(got)]
        assert all(np.linalg.norm(got - other) > np.linalg.norm(got - single[pair]) for other in others)


def test_a_stream_sends_its_first_piece_before_the_last_is_made(
    server: Server, direct: engine.Engine
) -> None:
    """Joined, it is the whole speech; its first bytes come while the engine still works."""
    with server.http.stream("POST", "/api/tts/stream", json={"text": LONG, "format": "pcm"}) as response:
        chunks = [chunk for chunk in response.iter_raw() if chunk]
    assert response.status_code == 200
    assert len(chunks) > 1
    numbers = np.frombuffer(b"".join(chunks), "<i2") / 32768
    np.testing.assert_allclose(numbers, direct.synthesize(LONG).samples, atol=1e-3)


def test_openais_client_works(server: Server) -> None:
    """As its documentation uses it, whole and streamed."""
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=SECONDS)
    spoken = client.audio.speech.create(
        model="tts-1", voice="slt", input="Hello, chat!", response_format="wav"
    )
    assert len(samples(spoken.content)) > 10_000
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="rms", input="Hello, chat!", response_format="mp3"
    ) as response:
        assert len(b"".join(response.iter_bytes())) > 1000
    with pytest.raises(openai.UnprocessableEntityError, match="voice 'alloy'"):
        client.audio.speech.create(model="tts-1", voice="alloy", input="Hello, chat!")
    assert client.models.list().data


def test_a_client_that_goes_is_not_computed_for_and_others_are_served(server: Server) -> None:
    """Half-way through a stream, and while it waits."""
    with server.http.stream("POST", "/api/tts/stream", json={"text": LONG * 3, "format": "pcm"}) as response:
        next(response.iter_raw())
    body = b'{"text": "Nobody hears this."}'
    lines = (
        "POST /api/tts HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    )
    for sent in (body, body[:9], b""):  # all of it, a part, the head alone
        with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as raw:
            raw.sendall("".join(f"{line}\r\n" for line in (*lines, "")).encode() + sent)
    assert server.say("Somebody hears this.").status_code == 200


def test_texts_of_every_kind_are_speech_or_a_sentence(server: Server) -> None:
    """Scripts, controls, marks and markup; the service goes on."""
    texts = (
        "😀😀", "你好", "a\u0301\u0301\u0301\u0301", "\x00\x07", "\u202eback", "<b>x</b>", "!?!?", "w" * 99,
    )  # fmt: skip
    for text in texts:
        response = server.say(text)
        assert response.status_code in (200, 422), (text, response.text)
        if response.status_code == 200:
            wave = samples(response.content)
            assert len(wave)
            assert np.isfinite(wave).all()
        else:
            assert response.json()["error"]["message"].endswith("."), response.text
    assert server.say("Hello.").status_code == 200


def test_many_clients_at_once_lose_nothing(server: Server) -> None:
    """Each of 200 gets audio, or 429 with the time to come back; none an error, and none nothing."""

    async def crowd() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(base_url=server.url, timeout=SECONDS, limits=limits) as http:
            asked = [http.post("/api/tts", json={"text": "Hi.", "seed": seed}) for seed in range(200)]
            return await asyncio.gather(*asked)

    answers = asyncio.run(crowd())
    codes = {code: sum(answer.status_code == code for answer in answers) for code in (200, 429)}
    assert sum(codes.values()) == 200
    assert codes[200] >= 24  # the queue's length
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers if answer.status_code == 429)


def test_sigterm_finishes_what_is_spoken_and_refuses_what_waits() -> None:
    """The process ends with 0, and its log tells of both."""
    with serving("--nfe", "5", "--batch", "1") as server:
        server.ready()
        with ThreadPoolExecutor(8) as pool:
            answers = [pool.submit(server.say, LONG) for _ in range(8)]
            while "ishowtts_queue_length 0.0" in server.http.get("/api/metrics").text:
                pass  # until some wait behind the one that is spoken
            code, log = server.end(signal.SIGTERM)
            codes = sorted(answer.result().status_code for answer in answers)
    assert code == 0
    assert set(codes) <= {200, 503}
    assert 200 in codes
    assert 503 in codes
    assert sorted(line["status"] for line in log if line.get("route") == "/api/tts" and line["status"] != 200)


def test_a_service_that_is_restarted_takes_its_port_again(tmp_path: Path) -> None:
    """At once, after it was killed as well; what it said before, it says again."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    contents = []
    for _ in range(2):
        with serving("--port", port, "--nfe", "5") as server:
            assert server.url.endswith(port)
            contents.append(server.say("Hello.").content)
            server.process.kill()
            server.process.wait()
    assert contents[0] == contents[1]


def test_a_bad_start_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    """Missing weights, a clip that is none, a port in use, a voice that nobody has."""
    config = tmp_path / "ishowtts.toml"
    config.write_text('[voices.me]\nclip = "none.wav"\ntext = "This is me."\n', encoding="utf8")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        cases = {
            ("--checkpoint", str(tmp_path)): "expected",
            ("--config", str(config)): "none.wav",
            ("--port", str(taken.getsockname()[1])): "nothing else listens",
            ("--voice", "nobody"): "voice 'nobody': expected one of",
        }
        for flags, sentence in cases.items():
            command = [sys.executable, "-m", "engine.cli", "serve", "--port", "0", *flags]
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
            assert done.returncode == 2, (flags, done.stderr)
            assert sentence in done.stderr.splitlines()[-1], done.stderr
            assert "Traceback" not in done.stderr
