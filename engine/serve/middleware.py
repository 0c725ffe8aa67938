"""What every request passes before its route: its log entry, the API key, and the limits of its body."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.serve.config import Config
from engine.serve.errors import CLIENT_LEFT, INTERNAL, RefusedError
from engine.serve.log import KEY, REQUESTS, Entry
from engine.serve.metrics import Metrics

OPEN = ("/", "/healthz", "/readyz")
"""Paths that need no key, besides the page's own files."""
UPLOADS = "/api/tts/clip"

log = logging.getLogger(REQUESTS)


class Watched:
    """Measures every request and logs it once it is over; what a route let through becomes a 500."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        entry = scope[KEY] = Entry()
        status = CLIENT_LEFT

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", entry.id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception:
            entry.outcome = "internal"
            logging.getLogger(__name__).exception("request %s failed", entry.id)
            if status == CLIENT_LEFT:
                await _answer(watch, 500, INTERNAL)
        finally:
            self._end(scope, entry, status)

    def _end(self, scope: Scope, entry: Entry, status: int) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self._metrics.requests.labels(route, str(status)).inc()
        self._metrics.latency.labels(route).observe(time.monotonic() - entry.began)
        if entry.outcome != "ok":
            self._metrics.errors.labels(entry.outcome).inc()
        level = logging.DEBUG if route in ("/healthz", "/readyz", "/api/metrics") else logging.INFO
        figures = {"route": route, "status": status, **entry.figures()}
        log.log(level, "%s %s", scope["method"], route, extra={"figures": figures})


class Guarded:
    """Lets through who has the key, and bodies that are small and fast enough, read whole."""

    def __init__(self, app: ASGIApp, config: Config) -> None:
        self._app, self._config = app, config
        key = config.api_key
        self._key = key.get_secret_value().encode() if key is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check_key(scope)
            body = await self._body(scope, receive)
        except RefusedError as error:
            scope[KEY].outcome = "refused"
            headers = [(b"www-authenticate", b"Bearer")] if error.status == 401 else []
            await _answer(send, error.status, str(error), [*headers, (b"connection", b"close")])
            return
        if body is not None:
            await self._app(scope, _replayed(body, receive), send)

    def _check_key(self, scope: Scope) -> None:
        if self._key is None or scope["path"] in OPEN or scope["path"].startswith("/static/"):
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-api-key", b"")
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        if not given and scheme.lower() == b"bearer":
            given = token.strip()
        if not hmac.compare_digest(given, self._key):
            raise RefusedError(
                401,
                "a wrong API key" if given else "no API key",
                "the service's key as X-API-Key or as a Bearer token",
                "Ask its operator for one",
            )

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """The whole body; None where the client left before it was there."""
        most = self._config.max_body_bytes
        if scope["path"] == UPLOADS and self._config.uploads:
            most += self._config.max_clip_bytes
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length) > most:
            raise _too_large(most)
        seconds = self._config.body_seconds
        try:
            return await asyncio.wait_for(_collected(receive, most), seconds)
        except asyncio.TimeoutError as error:
            raise RefusedError(
                408,
                f"a request that was not there after {seconds:g} s",
                "one that is sent at once",
                "Send it again",
            ) from error


async def _collected(receive: Receive, most: int) -> bytes | None:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > most:
            raise _too_large(most)
        if not message.get("more_body", False):
            return bytes(body)


def _too_large(most: int) -> RefusedError:
    return RefusedError(413, f"a request of more than {most} bytes", "a smaller one", "Send less")


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Gives the body once, then waits for what the client does."""
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def problem(status: int, sentence: str) -> dict[str, object]:
    """The body of an error, in the shape that OpenAI's clients read as well."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": sentence, "type": kind, "code": status}}


async def _answer(
    send: Send, status: int, sentence: str, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    body = json.dumps(problem(status, sentence)).encode()
    head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*head, *(headers or [])]})
    await send({"type": "http.response.body", "body": body})
