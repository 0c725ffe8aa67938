"""What a batch brings: arithmetic on known times, and one real run on the seeded tiny checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.errors import UsageError
from engine.options import Options
from tests.studies import batch_gain, ceilings
from tests.studies.batch_gain import Batched, BatchGain

RATES = ceilings.Ceilings("desk", "cpu", 4, {"fp32": 1e12, "bf16": 4e12}, 1e11)


def found(**times: tuple[float, ...]) -> BatchGain:
    """Sizes `b1`, `b4` with their seconds, at 1e12 FLOPs a request of two seconds of audio."""
    sizes = {int(name[1:]): seconds for name, seconds in times.items()}
    return BatchGain(
        "cpu",
        Options(),
        2.0,
        RATES,
        {size: Batched(size, spent, size * 1e12) for size, spent in sizes.items()},
    )


def test_shares_are_of_the_fastest_format_and_times_of_one_request() -> None:
    """Four requests in twice the time are twice the throughput, at twice the share."""
    gain = found(b1=(1.0, 1.0, 1.0), b4=(2.0, 2.0, 2.0))
    assert gain.rtf == 0.5
    assert (gain.share(1), gain.share(4)) == pytest.approx((0.25, 0.5))
    one, four = gain.rows()
    assert (one["throughput"], four["throughput"]) == pytest.approx((1.0, 2.0))
    assert four["time"]["ratio"] == pytest.approx(2.0)


def test_a_machine_that_changes_its_pace_changes_no_ratio() -> None:
    """Sizes are compared round by round; the CV of the latency sees it."""
    gain = found(b1=(1.0, 2.0, 4.0), b4=(2.0, 4.0, 8.0))
    assert (gain.time(4).low, gain.time(4).high) == pytest.approx((2.0, 2.0))
    assert gain.sizes[1].cv == pytest.approx(0.6546536707)


def test_what_cannot_be_compared_is_refused() -> None:
    """An interval needs two rounds, a gain the single request."""
    for rounds, sizes in (
        (1, (1, 2)),
        (2, (2, 4)),
        (2, (1, 0)),
    ):
        with pytest.raises(UsageError, match="1 among the sizes"):
            batch_gain.measure("seeded-tiny", Options(), rounds=rounds, sizes=sizes)


def test_every_size_is_measured_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The record and the table hold each size, with times above zero and the work of all its requests."""
    monkeypatch.setattr(ceilings, "measure", lambda device: RATES)
    monkeypatch.setenv("COLUMNS", "160")
    real, kept = batch_gain.measure, []

    def small(*asked: object, **more: object) -> BatchGain:
        kept.append(real(*asked, **{**more, "sizes": (1, 2)}))  # type: ignore[arg-type]
        return kept[-1]

    monkeypatch.setattr(batch_gain, "measure", small)
    batch_gain.main("seeded-tiny", "nfe=1", "cpu", 2, tmp_path / "batching.json")
    written = json.loads((tmp_path / "batching.json").read_text())
    assert [row["size"] for row in written["rows"]] == [1, 2]
    assert all(len(row["seconds"]) == 2 and min(row["seconds"]) > 0 for row in written["rows"])
    sizes = kept[0].sizes
    assert sizes[2].flops == 2 * sizes[1].flops > 0
    assert kept[0].options.batch == 2
    assert "of the ceiling" in capsys.readouterr().out
