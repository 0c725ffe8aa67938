"""The load session against a real service: every client is answered and counted; memory is read."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.studies.load import clients
from tests.studies.load.__main__ import main
from tests.studies.load.plan import ROUTES, Plan
from tests.studies.load.record import Phase, Record
from tests.studies.load.service import Service, started

pytestmark = pytest.mark.skipif(  # importing Locust would patch this process's sockets
    not (importlib.util.find_spec("locust") and importlib.util.find_spec("uvicorn")),
    reason="needs locust, which plays the clients, and the extra [serve]",
)
TINY = {"checkpoint": "seeded-tiny", "preset": "reference", "toggles": {"nfe": 1}, "deadline_seconds": 600.0}


@pytest.fixture(scope="module")
def service(tiny_folder: Path) -> Iterator[Service]:
    """A small model, and a queue of two."""
    with started({**TINY, "queue": 2}) as one:
        yield one


def test_a_crowd_gets_audio_or_is_refused(service: Service) -> None:
    """Each of its clients once, all within the queue's limit or told to come again."""
    plan = Plan(name="crowd", clients=20, seconds=60.0, each=1, streamed=0.5, patience=600.0)
    samples = clients.run(plan, service.url)
    found = Phase.of(plan, 4, samples)
    assert (found.asked, found.failed, found.lost) == (20, 0, 0), found.failures
    assert found.spoken + found.refused == 20
    assert found.spoken > 0
    assert {sample.route for sample in samples} == set(ROUTES)
    assert all(sample.first is not None and sample.first <= sample.seconds for sample in samples)


def test_open_arrivals_wait_for_nobody(service: Service) -> None:
    """As many as have a moment, each at its own; what was asked for is what the service counted."""
    plan = Plan(name="open", arrivals="open", rate=10.0, seconds=1.5, patience=600.0)
    samples = clients.run(plan, service.url)
    assert [sample.at for sample in samples] == plan.moments()
    assert all(sample.spoken or sample.refused for sample in samples)


def test_nobody_who_answers_is_a_failure_and_not_the_end(service: Service) -> None:
    """Requests that find no service are counted as failed; memory is that of a running one."""
    plan = Plan(name="nobody", clients=2, seconds=60.0, each=1, patience=5.0)
    found = Phase.of(plan, 1, clients.run(plan, "http://127.0.0.1:9"))
    assert (found.asked, found.failed) == (2, 2)
    assert "ConnectionError" in found.failures[0]
    assert service.memory_mib() > 50


@pytest.mark.slow
def test_a_session_fills_its_record(tiny_folder: Path, tmp_path: Path) -> None:
    """All phases, through the command; its exit code is that of the limits."""
    out = tmp_path / "load.json"
    with pytest.raises(SystemExit) as ended:
        main("seeded-tiny", "nfe=1", 0.05, closed_seconds=1.0, crowd=20, pairs=5, out=out)
    found = Record.model_validate_json(out.read_text())
    assert [phase.plan.arrivals for phase in found.phases] == ["closed", "closed", "closed", "open"]
    assert ended.value.code == (1 if found.broken() else 0)
    assert json.loads(out.read_text())["machine"] == found.machine
