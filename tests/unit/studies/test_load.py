"""The load session: what clients do, how requests are counted, and which limits a record breaks."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from engine.errors import BaselineError
from tests.studies.load.__main__ import RECORD, caption, limits, table
from tests.studies.load.clients import Sample
from tests.studies.load.plan import CHAT, MOST, ROUTES, Plan
from tests.studies.load.record import Limits, Memory, Overhead, Phase, Record, expected, percentile

CLOSED = Plan(name="8 clients", clients=8, seconds=20.0)
OPEN = Plan(name="70 % load", arrivals="open", rate=2.0, seconds=60.0, streamed=0.25)
CROWD = Plan(name="all at once", clients=200, seconds=60.0, each=1)


def sample(at: float = 0.0, seconds: float = 0.5, status: int = 200, **more: Any) -> Sample:
    """A request of so many seconds that got a second of audio, unless said otherwise."""
    return Sample(
        **{"at": at, "route": ROUTES[0], "status": status, "seconds": seconds, "bytes": 48_000, **more}
    )


def phase(plan: Plan = CLOSED, **changes: Any) -> Phase:
    """A phase in which everything went well."""
    good = Phase.of(plan, 8, [sample(at=0.5 * number) for number in range(expected(plan) or 40)])
    return good.model_copy(update=changes)


def record(**changes: Any) -> Record:
    """A session that holds its limits, but for what is changed."""
    good = {
        "timestamp": "2026-01-01T00:00:00+00:00",
        "revision": "0" * 40,
        "machine": "desk",
        "checkpoint": "box",
        "options": "nfe=7",
        "deadline_seconds": 30.0,
        "limits": Limits(),
        "first_speech_seconds": (2.0, 2.5),
        "overhead": Overhead.of([0.2] * 10, [0.205] * 10),
        "phases": (phase(), phase(CROWD), phase(OPEN)),
        "memory": Memory(before_mib=500.0, after_mib=501.0, peak_mib=520.0, seconds=120.0),
    }
    return Record(**{**good, **changes})


def test_clients_say_chat_in_an_order_of_their_own_and_the_same_every_time() -> None:
    """Every text before one comes again; no seed twice; a share of them streamed."""
    plan = Plan(name="x", seconds=1.0, streamed=0.25)
    said = {client: list(itertools.islice(plan.script(client), 400)) for client in range(3)}
    assert list(itertools.islice(plan.script(1), 400)) == said[1]
    assert [one.text for one in said[0]] != [one.text for one in said[1]]
    assert sorted(one.text for one in said[0][: len(CHAT)]) == sorted(case.text for case in CHAT)
    assert len({(client, one.seed) for client in said for one in said[client]}) == 1200
    streamed = sum(one.route == ROUTES[1] for lines in said.values() for one in lines)
    assert 0.15 * 1200 < streamed < 0.35 * 1200
    assert max(len(case.text) for case in CHAT) <= 80


def test_open_arrivals_come_at_random_moments_at_their_rate() -> None:
    """In order, within the phase, the same for the same seed; a rate belongs to them alone."""
    plan = Plan(name="x", arrivals="open", rate=5.0, seconds=400.0)
    moments = plan.moments()
    assert moments == sorted(moments) == plan.moments()
    assert 0 < moments[0] < moments[-1] < 400
    assert len(moments) == pytest.approx(2000, rel=0.1)
    for wrong in ({"arrivals": "open"}, {"rate": 1.0}):
        with pytest.raises(ValidationError, match="rate"):
            Plan(name="x", seconds=1.0, **wrong)


def test_every_phase_is_bounded_in_count() -> None:
    """Whatever its plan says; a client of a crowd asks as often as it should."""
    assert CROWD.turns == 1
    assert CLOSED.turns == MOST // 8
    assert len(Plan(name="x", arrivals="open", rate=1000.0, seconds=100.0).moments()) == MOST


def test_refused_failed_and_lost_requests_are_told_apart() -> None:
    """Only audio counts as spoken: no error page with status 200, no half of an answer."""
    found = Phase.of(
        CROWD,
        8,
        [
            sample(seconds=1.0),
            sample(seconds=3.0),
            sample(status=429, bytes=80),
            sample(status=500, bytes=80),
            sample(bytes=80),
            sample(status=0, error="ReadTimeout"),
            sample(error="ChunkedEncodingError"),
        ],
    )
    assert (found.asked, found.spoken, found.refused, found.failed, found.lost) == (7, 2, 1, 4, 193)
    assert found.failures == tuple(sorted(found.failures))
    assert "/api/tts: ReadTimeout" in found.failures
    assert (found.per_minute, found.p50, found.p99) == (40.0, 1.0, 3.0)


def test_first_audio_is_that_of_streams() -> None:
    """A whole answer's first byte says nothing of it."""
    found = Phase.of(OPEN, 8, [sample(first=0.5), sample(first=0.1, route=ROUTES[1])])
    assert (found.first_p50, found.first_p95) == (0.1, 0.1)


def test_percentiles_are_values_that_occurred() -> None:
    """None is made up between two, and none exists without values."""
    values = [float(value) for value in range(1, 101)]
    assert [percentile(values, share) for share in (50, 95, 99)] == [50.0, 95.0, 99.0]
    assert percentile([], 50) is None


def test_overhead_is_paired() -> None:
    """A machine that changes its pace changes nothing of it."""
    found = Overhead.of([0.1, 0.2, 0.4, 0.8, 1.6], [0.105, 0.205, 0.405, 0.805, 1.605])
    assert (found.direct_ms, found.added_ms) == pytest.approx((400.0, 5.0))
    assert found.low_ms <= found.added_ms <= found.high_ms


def test_a_good_session_breaks_nothing_and_each_limit_can_be_broken() -> None:
    """By one sentence each, which names the phase or the quantity."""
    assert record().broken() == []
    memory = Memory(before_mib=500.0, after_mib=504.5, peak_mib=520.0, seconds=120.0)
    broken: tuple[tuple[dict[str, Any], str], ...] = (
        ({"phases": (phase(per_minute=9.0),)}, "8 clients: 9 requests a minute"),
        ({"phases": (phase(failed=1, failures=("/api/tts: 500",)),)}, "/api/tts: 500"),
        ({"phases": (phase(CROWD, lost=1),)}, "all at once: 0 failed and 1 lost"),
        ({"phases": (phase(spoken=0),)}, "nothing was spoken"),
        ({"phases": (phase(OPEN, p95=31.0),)}, "70 % load: p95 31.00 s"),
        ({"phases": (phase(OPEN, refused=2),)}, "2 refused"),
        ({"memory": memory}, "grew by 4.5 MiB"),
        ({"overhead": Overhead.of([0.1] * 10, [0.111] * 10)}, "costs 11.0 ms more"),
        ({"first_speech_seconds": (2.0, 5.1)}, "first speech after 5.1 s"),
    )
    for changes, words in broken:
        (sentence,) = record(**changes).broken()
        assert words in sentence
    assert record(overhead=Overhead.of([1.0] * 10, [1.04] * 10)).broken() == []  # 40 ms, and 4 %
    assert record(phases=(phase(CROWD, refused=150, spoken=50),)).broken() == []  # 429 is an answer


def test_limits_are_those_of_the_committed_record(tmp_path: Path) -> None:
    """None: the project's; one that cannot be read, or holds what it should not: an error."""
    path = tmp_path / "load.json"
    assert limits(path) == Limits()
    path.write_text(record(limits=Limits(growth_mib=2.0)).model_dump_json())
    assert limits(path).growth_mib == 2.0
    content = json.loads(path.read_text())
    for wrong in ({**content, "growth": 1}, {**content, "limits": {"growth_mib": -1.0}}, {}):
        path.write_text(json.dumps(wrong))
        with pytest.raises(BaselineError, match=r"load\.json"):
            limits(path)


def test_the_table_tells_every_phase_and_every_limit() -> None:
    """One line a phase."""
    found = record()
    assert table(found).row_count == len(found.phases)
    said = caption(found)
    assert all(words in said for words in ("+5.0 ms", "2.5 s", "+1.0 MiB", "30 s at 70% load"))


def test_the_committed_record_holds_its_limits() -> None:
    """Whoever commits one commits a session that passed."""
    found = Record.model_validate_json(RECORD.read_text(encoding="utf-8"))
    assert found.broken() == []
    assert {plan.arrivals for plan in (one.plan for one in found.phases)} == {"closed", "open"}
    assert {one.batch > 1 for one in found.phases} == {True, False}
