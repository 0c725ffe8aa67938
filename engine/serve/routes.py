"""What is served: speech whole and in pieces, as OpenAI's clients ask for it, voices, health and metrics."""

from __future__ import annotations

import io
import json
import logging
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import fastapi
import numpy as np
from fastapi import File, Form, UploadFile
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.requests import Request as HttpRequest

from engine.audio import SAMPLE_RATE, Audio
from engine.errors import OptionsError, OutputError, ReferenceClipError, TextError
from engine.recording import RATES
from engine.reference import Voice
from engine.requests import Request
from engine.serve import schemas, speech
from engine.serve.config import Config
from engine.serve.errors import RefusedError, StoppingError, UnusableVoiceError
from engine.serve.job import Spoken
from engine.serve.log import KEY, Entry
from engine.serve.metrics import Metrics
from engine.serve.speaker import Speaker

PAGE = Path(__file__).with_name("static") / "index.html"
MOST_SECONDS = 60
"""No longer clip is decoded: its length is judged by the engine, which cuts out pauses."""
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SAID = {
    400: "no JSON",
    401: "no key, or a wrong one",
    408: "a request that was sent too slowly",
    413: "a request that is too large",
    422: "a text, voice or number that cannot be spoken: the message says what to mend",
    429: "too many requests wait: Retry-After says when to try again",
    500: "an error of the service",
    503: "the service is loading or stopping",
    504: "no speech within the service's deadline",
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.Problem, "description": said} for status, said in _SAID.items()
}


log = logging.getLogger(__name__)


def _audio(*formats: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of an answer that is audio."""
    content = {
        schemas.MEDIA[name].partition(";")[0]: {"schema": {"type": "string", "format": "binary"}}
        for name in formats
    }
    return {200: {"description": "the speech", "content": content}, **PROBLEMS}


def router(config: Config, speaker: Speaker, metrics: Metrics) -> fastapi.APIRouter:
    """The routes of one application."""
    made = fastapi.APIRouter()
    desk = Desk(config, speaker, metrics)
    everything = tuple(schemas.MEDIA)
    made.post("/api/tts", response_class=Response, responses=_audio(*everything))(desk.speak)
    made.post("/api/tts/stream", response_class=Response, responses=_audio("wav", "pcm"))(desk.stream)
    if config.uploads:
        made.post("/api/tts/clip", response_class=Response, responses=_audio(*everything))(desk.speak_as)
    made.post("/v1/audio/speech", response_class=Response, responses=_audio(*everything))(desk.openai)
    made.get("/v1/models", responses={401: PROBLEMS[401]})(desk.models)
    made.get("/api/voices", responses={401: PROBLEMS[401], 503: PROBLEMS[503]})(desk.voices)
    made.get("/healthz")(desk.alive)
    made.get("/readyz", responses={503: {"model": schemas.Health}})(desk.ready)
    made.get("/api/metrics", response_class=Response, responses={401: PROBLEMS[401]})(desk.metrics)
    if PAGE.is_file():
        made.get("/", include_in_schema=False)(desk.page)
    return made


class Desk:
    """Answers requests for one application."""

    def __init__(self, config: Config, speaker: Speaker, metrics: Metrics) -> None:
        self._config, self._speaker, self._metrics = config, speaker, metrics
        self._own: dict[str, Voice] = {}

    async def speak(self, http: HttpRequest, asked: schemas.WholeSpeech) -> Response:
        """Say a text; the answer is the whole audio, its figures in the headers."""
        return await self._whole(http, self._request(http, asked), asked.format)

    async def stream(self, http: HttpRequest, asked: schemas.StreamedSpeech) -> Response:
        """Say a text piece by piece: the first is sent as soon as it is made."""
        entry: Entry = http.scope[KEY]
        request = self._request(http, asked)
        first, pieces = await speech.stream(self._speaker, request, self._config.deadline_seconds, http)
        self._metrics.first_audio.observe(first.waited + _made(first))
        self._note(entry, first)

        async def body() -> AsyncIterator[bytes]:
            if asked.format == "wav":
                yield wav_header()
            seconds = total = 0.0
            async for audio in pieces:
                self._metrics.spoke(audio)
                seconds, total = seconds + audio.seconds, total + audio.timings.total
                entry.audio_seconds, entry.rtf = seconds, total / max(seconds, 1e-9)
                if len(audio.samples):
                    yield audio.encode("pcm")

        return StreamingResponse(body(), media_type=schemas.MEDIA[asked.format])

    async def speak_as(
        self,
        http: HttpRequest,
        clip: Annotated[UploadFile, File(description="a reference clip of 0.5 to 20 s")],
        transcript: Annotated[str, Form(description="exactly what the clip says", max_length=2000)],
        text: Annotated[str, Form(description="what to say", max_length=5000)],
        format: Annotated[schemas.Format, Form()] = "wav",
        seed: Annotated[int, Form(ge=0, lt=2**62)] = 0,
    ) -> Response:
        """Say a text in the voice of an uploaded clip, which is kept nowhere."""
        http.scope[KEY].voice = "upload"
        self._check_length(http, text)
        content = await clip.read()
        voice = await fastapi.concurrency.run_in_threadpool(uploaded, content, transcript)
        return await self._whole(http, Request(text, voice, seed=seed), format)

    async def openai(self, http: HttpRequest, asked: schemas.OpenAISpeech) -> Response:
        """Say a text as OpenAI's `audio.speech.create` does."""
        if asked.response_format not in schemas.MEDIA:
            raise OutputError(
                f"response_format {asked.response_format[:20]!r}",
                f"one of {', '.join(schemas.MEDIA)}",
                "Ask for one of them",
            )
        voice = asked.voice.get("id") if isinstance(asked.voice, dict) else asked.voice
        plain = schemas.Speech(text=asked.input, voice=self._name(voice), speed=asked.speed)
        return await self._whole(http, self._request(http, plain), asked.response_format)

    async def models(self) -> dict[str, Any]:
        """The one model, as OpenAI's clients list it."""
        entry = {"id": self._config.checkpoint, "object": "model", "created": 0, "owned_by": "ishowtts"}
        return {"object": "list", "data": [entry]}

    async def voices(self) -> schemas.Voices:
        """Who can speak, in which languages."""
        engine = self._speaker.engine
        if engine is None:
            raise StoppingError("a service that is loading", "one that is ready", "Ask /readyz, then again")
        known = self._known()
        default = self._config.voice or next(iter(known))
        return schemas.Voices(
            checkpoint=engine.checkpoint.name,
            languages=list(engine.checkpoint.languages),
            voices=[
                schemas.VoiceEntry(name=name, text=voice.text, default=name == default)
                for name, voice in known.items()
            ],
            uploads=self._config.uploads,
        )

    async def alive(self) -> schemas.Health:
        """The process runs."""
        return schemas.Health(status="alive")

    async def ready(self) -> Response:
        """Whether requests are spoken: the model is loaded and warmed up, and the service is not stopping."""
        if self._speaker.ready:
            return JSONResponse({"status": "ready"})
        loading = not self._speaker.loaded.is_set()
        return JSONResponse({"status": "loading" if loading else "stopping"}, 503)

    async def metrics(self) -> Response:
        """Everything that is measured, in Prometheus' text format."""
        return Response(self._metrics.text(), media_type=METRICS_TYPE)

    async def page(self) -> Response:
        """The page for people."""
        return FileResponse(PAGE)

    def _known(self) -> dict[str, Voice]:
        """The voices that requests can name: the configured ones, then those of the checkpoint."""
        engine = self._speaker.engine
        own = {name: Voice(voice.clip, voice.text) for name, voice in self._config.voices.items()}
        return {**own, **(engine.checkpoint.references if engine is not None else {})}

    def _name(self, voice: Any) -> str | None:
        if voice is None or isinstance(voice, str):
            return voice
        raise OptionsError(f"voice of type {type(voice).__name__}", "a name of GET /api/voices", "Name one")

    def _request(self, http: HttpRequest, asked: schemas.Speech) -> Request:
        """What the engine is asked for."""
        self._check_length(http, asked.text)
        name = asked.voice if asked.voice is not None else self._config.voice
        http.scope[KEY].voice = name if name is None or name.isidentifier() else "other"
        voice: Voice | str | None = name
        if name is None and self._config.voices:
            name = next(iter(self._config.voices))
        if name in self._config.voices:
            voice = self._configured(name)
        return Request(
            asked.text, voice, seed=asked.seed, speed=asked.speed, nfe=asked.nfe,
            cfg_strength=asked.cfg_strength,
        )  # fmt: skip

    def _configured(self, name: str) -> Voice:
        """A voice of the configuration, its clip read once: a request's error never names a file.

        Raises:
            UnusableVoiceError: a clip that was there when the service was started is no longer.
        """
        if name not in self._own:
            try:
                self._own[name] = self._config.voices[name].voice()
            except ReferenceClipError as error:
                log.exception("the clip of voice %s cannot be used", name)
                raise UnusableVoiceError(f"voice {name!r}", "a clip that can be read", "Mend it") from error
        return self._own[name]

    def _check_length(self, http: HttpRequest, text: str) -> None:
        http.scope[KEY].characters = len(text)
        if len(text) > self._config.max_characters:
            raise TextError(
                f"text of {len(text)} characters",
                f"at most {self._config.max_characters}",
                "Send it in several requests",
            )

    async def _whole(self, http: HttpRequest, request: Request, format: str) -> Response:
        entry: Entry = http.scope[KEY]
        spoken = await speech.whole(self._speaker, request, self._config.deadline_seconds, http)
        audio = spoken.audio
        if audio is None:
            raise RefusedError(500, "a stream in place of speech", "speech", "Try again")
        self._note(entry, spoken)
        self._metrics.spoke(audio)
        self._metrics.first_audio.observe(spoken.waited + _made(spoken))
        content = await fastapi.concurrency.run_in_threadpool(audio.encode, format)
        return Response(content, media_type=schemas.MEDIA[format], headers=headers(audio, spoken))

    def _note(self, entry: Entry, spoken: Spoken) -> None:
        entry.batch, entry.queue_seconds = spoken.batch, spoken.waited
        if spoken.audio is not None and spoken.audio.seconds:
            entry.audio_seconds, entry.rtf = spoken.audio.seconds, spoken.audio.rtf


def _made(spoken: Spoken) -> float:
    return spoken.audio.timings.total if spoken.audio is not None else 0.0


def headers(audio: Audio, spoken: Spoken) -> dict[str, str]:
    """The figures of a request: seconds of audio, RTF, queue, batch, stages, and what did not go as asked."""
    stages = audio.timings.stages()
    made = {
        "x-audio-seconds": f"{audio.seconds:.3f}",
        "x-rtf": f"{audio.rtf:.4f}",
        "x-queue-seconds": f"{spoken.waited:.4f}",
        "x-batch": str(spoken.batch),
        "server-timing": ", ".join(f"{name};dur={1000 * seconds:.1f}" for name, seconds in stages.items()),
    }
    if audio.warnings:
        made["x-warnings"] = json.dumps(audio.warnings)  # ASCII, as headers are
    return made


def uploaded(content: bytes, transcript: str) -> Voice:
    """The voice of a clip that came with a request; errors name no file, since there is none.

    Raises:
        ReferenceClipError: no audio, or a transcript that does not fit.
    """
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            rate = file.samplerate
            if file.frames > MOST_SECONDS * rate or file.channels > 2 or not RATES[0] <= rate <= RATES[1]:
                raise ReferenceClipError(
                    f"a clip of {file.frames / rate:.3g} s with {file.channels} channels at {rate} Hz",
                    f"0.5 to 20 s, mono or stereo, {RATES[0]} to {RATES[1]} Hz",
                    "Cut or convert it",
                )
            samples = file.read(int(MOST_SECONDS * rate), dtype="float32")
    except (soundfile.LibsndfileError, RuntimeError, TypeError, ValueError) as error:
        raise ReferenceClipError(
            "a clip that is no audio", "WAV, FLAC, OGG, Opus or MP3", "Record it again"
        ) from error
    return Voice(np.asarray(samples), transcript, rate)


def wav_header() -> bytes:
    """The head of a WAV file whose length nobody knows yet: 16 bits, mono, 24 kHz."""
    endless = 0xFFFFFFFF
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, SAMPLE_RATE, 2 * SAMPLE_RATE, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", endless, b"WAVE") + form + struct.pack("<4sI", b"data", endless)
