"""Observations: counted once each, from any thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from engine.evidence import Evaluation, Observations


def test_counts_from_many_threads_add_up() -> None:
    """No count is lost when requests run at the same time."""
    observed = Observations()

    def work(_: int) -> None:
        for _ in range(200):
            observed.add("decodes")
            observed.sampled([Evaluation(0.0, 0, (2,)), Evaluation(0.5, 1, (1, 1))], {"fp32"})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert observed.counts["decodes"] == 1600
    assert (observed.counts["pieces"], observed.counts["evaluations"]) == (1600, 3200)
    assert (observed.counts["calls"], observed.counts["rows"]) == (4800, 6400)
    assert observed.evaluations == {2}


def test_number_formats_are_kept_apart_by_part() -> None:
    """The vocoder's format says nothing about the transformer's."""
    observed = Observations()
    observed.sampled([Evaluation(0.0, 0, (2,))], {"bf16"})
    observed.add("vocoder fp32")
    observed.add("graphs transformer")
    assert observed.dtypes("transformer") == {"bf16"}
    assert observed.dtypes("vocoder") == {"fp32"}


def test_nothing_observed_is_nothing() -> None:
    """A fresh engine proves nothing."""
    observed = Observations()
    assert observed.dtypes("transformer") == set()
    assert observed.last == ()
