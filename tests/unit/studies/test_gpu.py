"""The study of a card: its measuring code on a CPU, limits that agree, and columns that are never mixed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.gate.measure import revisions
from engine.options import Options
from tests.studies import ceilings, gpu, gpu_report
from tests.studies.batch_gain import Batched, BatchGain

RATES = ceilings.Ceilings("desk", "cuda", 4, {"bf16": 700e12}, 3e12)
COMMITTED = json.loads((revisions.checkout() / "baselines/gpu.json").read_text())


def found(one: float, four: float, eight: float, *, flops: float = 5.8e12, jitter: float = 0.0) -> BatchGain:
    """A card that takes so many seconds for one request, four and eight, of 4.5 s of speech each."""
    sizes = {1: (one, one * (1 + jitter)), 4: (four, four * (1 + jitter)), 8: (eight, eight * (1 + jitter))}
    return BatchGain(
        "cuda",
        gpu.FAST,
        4.5,
        RATES,
        {size: Batched(size, spent, size * flops) for size, spent in sizes.items()},
    )


def test_the_measuring_code_runs_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first call to the table, with a small model and few rounds."""
    monkeypatch.setattr(ceilings, "measure", lambda device: RATES)
    options = Options(nfe=1, buckets=True, hoist=True)
    real = gpu.batch_gain.measure
    monkeypatch.setattr(gpu.batch_gain, "measure", lambda *a, **k: real(*a, **{**k, "sizes": (1, 2)}))
    monkeypatch.setattr("engine.synthesis.Engine.warmup", lambda self: [])
    measured = gpu.measure("seeded-tiny", options, "cpu", rounds=2)
    monkeypatch.setattr(gpu, "failures", lambda _: [])
    row = json.loads(json.dumps(gpu.record(measured, "seeded-tiny", 2)))
    assert row["card"]
    assert row["warm_up"] == gpu.WARM_UP
    assert len(row["rows"]) == 2
    page = gpu_report.page({**COMMITTED, "measured": row})
    assert f"{row['rtf']:.4f} |" in page
    assert "every limit holds" in page


def test_the_limits_agree_with_each_other() -> None:
    """The RTF asks for about a third of what such a card reaches, and no batch for more than can be had."""
    request = gpu.workload()
    assert 0.2 < gpu.implied_share(request, gpu.H100.products) < 0.4
    at_the_limit = gpu.RTF * 4.5
    gains = {size: size * 5.8e12 / (gpu.REACHABLE * 700e12) for size in (4, 8)}
    assert gpu.failures(found(at_the_limit, gains[4], gains[8])) == []
    low, high = request.seconds(gpu.H100)
    assert low / request.audio_seconds < gpu.RTF < high / request.audio_seconds


@pytest.mark.parametrize(
    ("card", "said"),
    [
        (found(0.030, 0.06, 0.1), ["RTF"]),
        (found(0.020, 0.07, 0.1, jitter=0.2), ["varies"]),
        (found(0.022, 0.07, 0.1, flops=2e12), ["batch of four", "batch of eight"]),
        (found(0.022, 0.03, 0.06, flops=2e12), []),
    ],
)
def test_a_limit_that_does_not_hold_is_a_sentence(card: BatchGain, said: list[str]) -> None:
    """A batch is asked for a gain only where one request leaves the card idle."""
    failures = gpu.failures(card)
    assert len(failures) == len(said)
    for sentence, word in zip(failures, said, strict=True):
        assert word in sentence


def test_the_committed_prediction_is_what_the_command_gives() -> None:
    """On any machine, to the last figure; and the page and the documents show it."""
    assert json.loads(json.dumps(gpu.predict())) == COMMITTED["predicted"]
    root = revisions.checkout()
    assert (root / "baselines/gpu.md").read_text() == gpu_report.page(COMMITTED)
    assert gpu_report.table(COMMITTED) in (root / gpu_report.SHOWN).read_text()


def test_a_prediction_never_stands_in_the_measured_column() -> None:
    """It is empty until a card was measured."""
    rows = gpu_report.table({**COMMITTED, "measured": None}).splitlines()
    assert all(row.endswith("|  |") for row in rows[2:])


def test_writing_renews_record_page_and_documents(tmp_path: Path) -> None:
    """What stands around the table stays."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "baselines").mkdir()
    shown = tmp_path / gpu_report.SHOWN
    shown.write_text("Before.\n\n<!-- gpu -->\nold\n<!-- /gpu -->\n\nAfter.\n")
    for _ in range(2):
        gpu_report.write(COMMITTED, tmp_path)
        text = shown.read_text()
        assert text.startswith("Before.")
        assert text.endswith("After.\n")
        assert "old" not in text
        assert text.count(gpu_report.table(COMMITTED)) == 1
    assert gpu_report.known(tmp_path) == COMMITTED["measured"]
