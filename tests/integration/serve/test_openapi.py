"""Requests made up from the service's own description: each answer is one that it describes."""

from __future__ import annotations

from typing import Any

import httpx
import hypothesis
import requests
import schemathesis.openapi
from hypothesis import HealthCheck
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks
from starlette.testclient import TestClient

from tests.unit.serve.test_app import Service

FIELDS = ("method", "url", "headers", "params", "cookies", "data", "json", "files")
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]


def send(client: TestClient, case: Case) -> httpx.Response:
    """The answer to a made-up request."""
    asked: dict[str, Any] = case.as_transport_kwargs(base_url="http://testserver")
    prepared = requests.Request(**{key: asked[key] for key in FIELDS if key in asked}).prepare()
    headers = [(name.encode(), value.encode("latin-1")) for name, value in prepared.headers.items()]
    body = prepared.body.encode() if isinstance(prepared.body, str) else prepared.body
    return client.request(str(prepared.method), str(prepared.url), content=body, headers=headers)


def statuses(client: TestClient, strategy: Any) -> set[int]:
    """The statuses that requests of a strategy were answered with, each of them as described."""
    seen: set[int] = set()

    @hypothesis.settings(
        max_examples=15, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @hypothesis.given(case=strategy)
    def answers_are_described(case: Case) -> None:
        response = send(client, case)
        seen.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    answers_are_described()
    return seen


def test_no_request_that_can_be_made_up_has_an_answer_that_is_not_described() -> None:
    """Fit and unfit ones, on every route: no 500, and no status, type or shape besides the described ones."""
    with Service(uploads=True) as client:
        schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
        seen = {}
        for operation in (result.ok() for result in schema.get_all_operations()):
            for mode in GenerationMode if operation.body else (GenerationMode.POSITIVE,):
                strategy = operation.as_strategy(generation_mode=mode)
                seen[operation.path, mode.value] = statuses(client, strategy)
    assert 200 in seen["/api/tts", "positive"]
    assert 422 in seen["/api/tts", "negative"]
