"""The service's log: one JSON object a line; of each request its figures, and never its text."""

from __future__ import annotations

import dataclasses
import datetime
import json
import logging
import time
import uuid

REQUESTS = "engine.serve.requests"
KEY = "ishowtts.entry"
"""Where a request's entry lies in its ASGI scope."""


@dataclasses.dataclass
class Entry:
    """What the log will say of one request; its route fills it in."""

    id: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex[:12])
    began: float = dataclasses.field(default_factory=time.monotonic)
    characters: int | None = None
    voice: str | None = None
    audio_seconds: float | None = None
    rtf: float | None = None
    batch: int | None = None
    queue_seconds: float | None = None
    outcome: str = "ok"

    def figures(self) -> dict[str, object]:
        """The fields that are known, rounded."""
        fields = dataclasses.asdict(self)
        del fields["began"]
        seconds = time.monotonic() - self.began
        known = {name: value for name, value in fields.items() if value is not None}
        return {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in {**known, "seconds": seconds}.items()
        }


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        when = datetime.datetime.fromtimestamp(record.created, datetime.timezone.utc)
        line: dict[str, object] = {
            "time": when.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "figures", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configuration(level: str) -> dict[str, object]:
    """For `logging.config.dictConfig`: this package's and the server's lines go to stderr as JSON."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonFormatter}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "loggers": {
            name: {"level": level.upper(), "handlers": ["stderr"], "propagate": False}
            for name in ("engine", "uvicorn.error")
        },
    }
