"""The application: what is served where, for one configuration and one speaker."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import fastapi
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.staticfiles import StaticFiles

from engine.errors import EngineError
from engine.serve import middleware, routes
from engine.serve.config import Config
from engine.serve.errors import sentence_of, status_of
from engine.serve.log import KEY
from engine.serve.metrics import Metrics
from engine.serve.speaker import Speaker

STATIC = Path(__file__).with_name("static")


def create_app(config: Config, speaker: Speaker, metrics: Metrics) -> fastapi.FastAPI:
    """The service as an ASGI application.

    Args:
        config: its limits, voices and key.
        speaker: takes requests; the application starts it, and stops it at its end.
        metrics: told of every request; those that the speaker tells as well.
    """

    @contextlib.asynccontextmanager
    async def life(_: fastapi.FastAPI) -> AsyncIterator[None]:
        speaker.start()
        yield
        speaker.stop(config.stop_seconds)

    app = FastAPIOffline(
        redoc_url=None,
        title="ishowtts",
        description="Speech over HTTP: text in, audio out.",
        version="1",
        lifespan=life,
    )
    app.include_router(routes.router(config, speaker, metrics))
    if STATIC.is_dir():
        app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(EngineError, _failed)
    app.add_middleware(middleware.Guarded, config=config)
    app.add_middleware(middleware.Watched, metrics=metrics)
    return app


def _answer(status: int, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(middleware.problem(status, sentence), status, headers)


async def _invalid(http: HttpRequest, error: Exception) -> Response:
    """What is wrong with a request that does not have the described shape."""
    first = error.errors()[0] if isinstance(error, RequestValidationError) else {}
    http.scope[KEY].outcome = "invalid"
    if first.get("type") == "json_invalid":
        return _answer(400, 'The body is no JSON: expected an object like {"text": "Hello"}. Correct it.')
    place = ".".join(str(part) for part in first.get("loc", ())[1:]) or "body"
    return _answer(422, f"{place}: {first.get('msg', 'invalid')}. See /docs.")


async def _refused(http: HttpRequest, error: Exception) -> Response:
    """An unknown path or method."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    http.scope[KEY].outcome = "refused"
    headers = dict(getattr(error, "headers", None) or {})
    return _answer(
        status, f"{http.method} {http.url.path[:80]}: {getattr(error, 'detail', '')}. See /docs.", headers
    )


async def _failed(http: HttpRequest, error: Exception) -> Response:
    """An error of the engine as its status, its sentence, and when to try again."""
    status, kind = status_of(error)
    http.scope[KEY].outcome = kind
    headers = {}
    if (seconds := getattr(error, "retry_after", None)) is not None:
        headers["retry-after"] = str(seconds)
    return _answer(status, sentence_of(error), headers)
