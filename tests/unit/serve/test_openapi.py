"""Requests made up from the service's own description: each answer is one that it describes."""

from __future__ import annotations

from typing import Any

import hypothesis
import httpx
import schemathesis.openapi
from hypothesis import HealthCheck
from schemathesis import Case
from schemathesis.generation import GenerationMode
from starlette.testclient import TestClient

from tests.unit.serve.test_app import Service

EXAMPLES = 40


def sent(client: TestClient, case: Case) -> httpx.Response:
    """The answer to a made-up request."""
    asked: dict[str, Any] = case.as_transport_kwargs(base_url="http://testserver")
    asked.pop("allow_redirects", None)
    body = asked.pop("data", None)
    key = "data" if "files" in asked or isinstance(body, dict) else "content"
    return client.request(**asked, **({key: body} if body is not None else {}))


def test_no_request_that_can_be_made_up_has_an_answer_that_is_not_described() -> None:
    """Fit ones and unfit ones, on every route: no 500, no other status, type or shape than /openapi.json says."""
    with Service(uploads=True, max_characters=200) as client:
        schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
        statuses: dict[str, set[int]] = {}
        for result in schema.get_all_operations():
            operation = result.ok()
            seen = statuses.setdefault(operation.path, set())
            for mode in GenerationMode:
                try:
                    strategy = operation.as_strategy(generation_mode=mode)
                except Exception as e:
                    print(operation.path, mode, repr(e)); continue

                @hypothesis.settings(
                    max_examples=EXAMPLES, derandomize=True, deadline=None, database=None,
                    suppress_health_check=list(HealthCheck),
                )  # fmt: skip
                @hypothesis.given(case=strategy)
                def is_described(case: Case, seen: set[int] = seen) -> None:
                    response = sent(client, case)
                    seen.add(response.status_code)
                    case.validate_response(response)

                is_described()
        print(statuses)
        assert {200, 422} <= statuses["/api/tts"]
