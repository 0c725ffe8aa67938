"""The service's configuration: a TOML file, then the environment, then flags; what comes later wins."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from engine.checkpoint import DEFAULT_CHECKPOINT
from engine.errors import EngineError, UsageError
from engine.options import Options
from engine.reference import Voice
from engine.serve.speaker import Overload
from engine.text import MAX_CHARACTERS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PREFIX = "ISHOWTTS_SERVE_"
Level = Literal["debug", "info", "warning", "error"]


class VoiceConfig(BaseModel):
    """A speaker of one's own: a clip, and exactly what it says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    clip: Path
    text: str = Field(min_length=1)

    def voice(self) -> Voice:
        """The voice as the engine takes it, its clip read: nothing that happens to the file later matters.

        Raises:
            ReferenceClipError: the clip or its text cannot be used.
        """
        samples, rate = Voice(self.clip, self.text).read()
        voice = Voice(samples, self.text, rate)
        voice.prepared()
        return voice


class Config(BaseSettings):
    """Everything that can be set. Unknown keys are errors.

    A path in the file is relative to the file's folder.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=True
    )

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes any that is free")
    checkpoint: str = Field(DEFAULT_CHECKPOINT, min_length=1, description="name, folder or weight file")
    vocoder: Path | None = Field(None, description="folder with a Vocos, if none lies beside the weights")
    device: str | None = Field(
        None, description="cpu or cuda; by default CUDA where it is there and no toggle is CPU-only"
    )
    threads: int | None = Field(None, ge=1, le=1024, description="CPU threads; by default as torch decides")
    preset: str = Field("fast_cpu", description="toggles to start from; take jetson on a GPU")
    toggles: dict[str, Any] = Field(default_factory=dict, description="toggles that differ from the preset")
    voices: dict[str, VoiceConfig] = Field(default_factory=dict, description="speakers of one's own, by name")
    voice: str | None = Field(None, description="who speaks where a request names nobody")
    batch: int = Field(4, ge=1, le=16, description="requests that are sampled together at most")
    batch_wait_ms: float = Field(5.0, ge=0, le=1000, description="how long a request waits for others")
    queue: int = Field(64, ge=1, le=10_000, description="requests that may wait; one more gets 429")
    overload: Overload = Field("refuse", description="refuse one more, or drop_oldest for chat")
    deadline_seconds: float = Field(30.0, gt=0, le=3600, description="speech that is not there by then: 504")
    max_characters: int = Field(1000, ge=1, le=MAX_CHARACTERS, description="longest text of a request")
    max_body_bytes: int = Field(65_536, ge=256, le=10_000_000, description="largest request without a clip")
    max_clip_bytes: int = Field(10_000_000, ge=1000, le=100_000_000, description="largest uploaded clip")
    body_seconds: float = Field(10.0, gt=0, le=600, description="time that a client has to send its request")
    stop_seconds: float = Field(
        20.0, ge=0, le=600, description="time to finish what is being spoken at the end"
    )
    uploads: bool = Field(False, description="whether requests may bring a reference clip along")
    warmup: bool = Field(True, description="speak once before the service says that it is ready")
    api_key: SecretStr | None = Field(None, description="what clients send as X-API-Key or Bearer token")
    insecure: bool = Field(False, description="listen beyond this machine without an API key")
    log_level: Level = Field("info", description="debug, info, warning or error")

    @field_validator("api_key")
    @classmethod
    def _key_is_long_enough(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and (len(key.get_secret_value()) < 16 or not key.get_secret_value().isascii()):
            raise ValueError("an API key has 16 ASCII characters at least: `openssl rand -hex 24` makes one")
        return key

    @property
    def options(self) -> Options:
        """The toggles that the engine is loaded with.

        Raises:
            OptionsError: an unknown preset or toggle, a value that does not fit, or two that conflict.
        """
        text = " ".join([self.preset, *(f"{name}={value}" for name, value in self.toggles.items())])
        options = Options.parse(text)
        return options if "batch" in self.toggles else dataclasses.replace(options, batch=self.batch)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the service."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def shown(self) -> str:
        """The configuration as JSON, its key hidden."""
        values = self.model_dump(mode="json")
        values["toggles"] = {**self.options.changed()}
        return json.dumps(values, indent=2)


def read(file: Path | None, flags: Mapping[str, Any]) -> Config:
    """The configuration of a file, the environment and flags, in that order, the last of which wins.

    Args:
        file: a TOML file, or none.
        flags: by field; `toggles` are added to those of the file one by one.

    Raises:
        UsageError: a file that cannot be read, an unknown key, or a value that does not fit.
    """
    content = _file(file) if file is not None else {}
    strange = sorted(name for name in os.environ if name.startswith(PREFIX) and not _known(name))
    if strange:
        raise UsageError(f"environment variable {strange[0]}", "one that the service knows", "Unset it")

    class Layers(Config):
        """The same fields, read from the three places."""

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            """The first has the last word."""
            flag_settings = InitSettingsSource(settings_cls, init_kwargs=dict(flags))
            return flag_settings, env_settings, InitSettingsSource(settings_cls, init_kwargs=content)

    try:
        config: Config = Layers.model_validate({})
        _ = config.options
    except ValidationError as error:
        raise UsageError(_said(error, file), "known keys with values in range", "Correct it") from error
    except EngineError as error:
        raise UsageError(f"toggles ({error.given})", error.expected, error.cure) from error
    if not config.is_local and config.api_key is None and not config.insecure:
        raise UsageError(
            f"host {config.host!r} without an API key",
            f"an API key where others can reach the service ({PREFIX}API_KEY, or api_key in the file)",
            "Set one, listen on 127.0.0.1, or add --insecure",
        )
    return config


def _known(variable: str) -> bool:
    return variable.removeprefix(PREFIX).split("__")[0].lower() in Config.model_fields


def _file(path: Path) -> dict[str, Any]:
    """What a TOML file holds, its paths made absolute."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError) as error:  # ValueError: no TOML, or no UTF-8
        raise UsageError(
            f"configuration {path} ({error})", "a TOML file that can be read", "Correct it"
        ) from error
    voices = content.get("voices")
    for voice in voices.values() if isinstance(voices, dict) else ():
        if isinstance(voice, dict) and isinstance(voice.get("clip"), str):
            voice["clip"] = str(path.parent.resolve() / voice["clip"])
    return content


def _said(error: ValidationError, file: Path | None) -> str:
    """The first fault of a configuration: where, and what."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    value = "" if first["type"] in ("missing", "extra_forbidden") else f"={str(first['input'])[:60]!r}"
    where = f" in {file}" if file is not None else ""
    return f"configuration {key}{value}{where} ({first['msg']})"
