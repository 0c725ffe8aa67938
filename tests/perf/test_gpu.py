"""The limits of an H100-class card at base size, held on what `nox -s gpu` has just measured and recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from engine.gate.measure import revisions
from tests.studies import gpu, gpu_report

pytestmark = [pytest.mark.gpu, pytest.mark.base]


@pytest.fixture
def measured(record_property: Any) -> Mapping[str, Any]:
    """The record of a card that the limits are meant for; of any card its figures reach the report."""
    found = gpu_report.known(revisions.checkout())
    if found is None:
        pytest.skip("no card has been measured here: nox -s gpu")
    record_property("gpu", f"{found['card']}: RTF {found['rtf']:.4f}, latency CV {found['cv']:.1%}")
    if not gpu.judged(found["card"]):
        pytest.skip(f"limits of an H100-class card, not of {found['card']}")
    return found


def test_every_limit_holds(measured: Mapping[str, Any]) -> None:
    """RTF, steadiness, and what a batch brings where one request leaves the card idle."""
    assert measured["failures"] == []
