"""What clients send and get, as OpenAPI describes it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from engine.options import MAX_NFE
from engine.requests import SPEEDS
from engine.text import MAX_CHARACTERS

Format = Literal["wav", "flac", "ogg", "opus", "mp3", "pcm"]
StreamFormat = Literal["wav", "pcm"]

MEDIA = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "opus": "audio/ogg; codecs=opus",
    "mp3": "audio/mpeg",
    "pcm": "audio/pcm; rate=24000; channels=1",
}

Text = Annotated[
    str, Field(min_length=1, max_length=MAX_CHARACTERS, description="what to say", examples=["Hello, chat!"])
]
VoiceName = Annotated[
    str | None, Field(description="a name of GET /api/voices; by default the service's", examples=["slt"])
]
Seed = Annotated[int, Field(ge=0, lt=2**62, description="the same seed gives the same samples")]
Speed = Annotated[float, Field(ge=SPEEDS[0], le=SPEEDS[1], description="speech rate; 1 is the clip's own")]


class Speech(BaseModel):
    """A text to be spoken."""

    model_config = ConfigDict(extra="forbid")

    text: Text
    voice: VoiceName = None
    seed: Seed = 0
    speed: Speed = 1.0
    nfe: Annotated[
        int | None,
        Field(ge=1, le=MAX_NFE, description="evaluations of the flow, where the service lets choose"),
    ] = None
    cfg_strength: Annotated[float | None, Field(ge=0, le=10, description="guidance strength")] = None


class WholeSpeech(Speech):
    """A text whose speech is sent when it is whole."""

    format: Annotated[Format, Field(description="of the audio")] = "wav"


class StreamedSpeech(Speech):
    """A text whose speech is sent piece by piece."""

    format: Annotated[
        StreamFormat,
        Field(description="wav (of unknown length) or pcm: 16 bits, little-endian, 24 kHz, mono"),
    ] = "wav"


class OpenAISpeech(BaseModel):
    """What OpenAI's clients send to `/v1/audio/speech`."""

    model_config = ConfigDict(extra="ignore")

    input: Text
    voice: Annotated[Any, Field(description="a name of GET /api/voices")] = None
    model: Annotated[str, Field(description="any: the service has one model")] = "f5-tts"
    response_format: Annotated[str, Field(description="mp3, opus, flac, wav or pcm")] = "mp3"
    speed: Annotated[float, Field(ge=SPEEDS[0], le=SPEEDS[1])] = 1.0


class VoiceEntry(BaseModel):
    """A voice that requests can name."""

    name: str
    text: Annotated[str, Field(description="what its clip says")]
    default: bool


class Voices(BaseModel):
    """Who can speak, and what."""

    checkpoint: str
    languages: list[str]
    voices: list[VoiceEntry]
    uploads: Annotated[bool, Field(description="whether POST /api/tts/clip takes a clip of one's own")]


class Health(BaseModel):
    """The state of the service."""

    status: Literal["alive", "ready", "loading", "stopping"]


class ProblemDetail(BaseModel):
    """What went wrong."""

    message: str
    type: str
    code: int


class Problem(BaseModel):
    """The body of every error."""

    error: ProblemDetail
