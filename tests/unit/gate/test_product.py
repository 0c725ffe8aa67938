"""The product's limits: held on its machine, with its checkpoint and options, and to nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from engine.gate.baselines import select
from engine.gate.baselines.select import Selection
from engine.gate.data.limits import Baseline, Product
from engine.gate.data.samples import Process, Run
from engine.gate.data.verdict import Judgement
from engine.gate.measure.revisions import checkout
from engine.gate.verdict import product
from engine.options import Options
from tests.unit.gate import builders

JETSON = checkout() / "baselines" / "jetson-agx-orin.json"


def judged(run: Run, baseline: Baseline | None = None) -> list[Judgement]:
    """What the limits say of a run; by default those of the test machine's product."""
    return product.judge(run, builders.selection(builders.baseline() if baseline is None else baseline))


def answer(judgements: list[Judgement], question: str) -> Judgement:
    """The first judgement on a question."""
    return next(judgement for judgement in judgements if judgement.question == question)


def with_limits(**changes: Any) -> Baseline:
    """The test machine's baseline with other limits of its product."""
    limits = builders.LIMITS.model_copy(update=changes)
    return builders.baseline(products=(builders.PRODUCT.model_copy(update={"limits": limits}),))


def grown(processes: tuple[Process, ...], host: float, device: float | None = None) -> tuple[Process, ...]:
    """The candidate's processes with memory that grows by so many MiB a call."""
    return tuple(
        process.model_copy(
            update={
                "series": tuple(
                    series.model_copy(
                        update={
                            "calls": tuple(
                                call.model_copy(
                                    update={
                                        "host_mb": 500 + host * i,
                                        "device_mb": None if device is None else 100 + device * i,
                                    }
                                )
                                for i, call in enumerate(series.calls)
                            )
                        }
                    )
                    for series in process.series
                )
            }
        )
        if process.arm == "candidate"
        else process
        for process in processes
    )


def test_mean_and_worst_fail_on_the_figure_as_it_is() -> None:
    """Over 0.36 or 0.45 by a hair fails where some processes were measured, and passes under it."""
    for rtf, mean, worst in ((0.2, 0, 0), (0.358, 0, 0), (0.361, 1, 0), (0.5, 1, 1)):
        judgements = judged(builders.alone(rtf))
        assert answer(judgements, "mean RTF").code == mean
        assert answer(judgements, "worst RTF").code == worst


def test_one_call_over_the_worst_limit_fails() -> None:
    """A live stream hears it, however fast the others are."""
    paces = [[0.2] * 5, [0.2] * 5, [0.2] * 4 + [0.46], [0.2] * 5]
    run = builders.run(tuple(builders.process("candidate", i, 0, pace) for i, pace in enumerate(paces)))
    judgements = judged(run)
    assert (answer(judgements, "worst RTF").value, answer(judgements, "worst RTF").code) == (0.46, 1)
    assert answer(judgements, "mean RTF").code == 0


def test_one_process_that_is_a_little_over_is_undecided() -> None:
    """Another may be under; far over is over."""
    for rtf, code in ((0.37, 3), (1.0, 1)):
        run = builders.run((builders.process("candidate", 0, 0, [rtf] * 3),))
        assert answer(judged(run), "mean RTF").code == code


def test_figures_and_limit_never_read_alike_when_they_are_apart() -> None:
    """`0.36 against 0.36: over` tells nobody anything."""
    for rtf in (0.36004, 0.3600001):
        run = builders.run(tuple(builders.process("candidate", i, 0, [rtf] * 6) for i in range(4)))
        sentence = answer(judged(run), "mean RTF").sentence
        assert "over." in sentence
        assert "0.36 RTF against a limit of 0.36:" not in sentence


def test_calls_that_jump_fail_the_cv_though_processes_agree() -> None:
    """0.55, 1 and 1.55 times the pace in turn have a CV of 41 % over calls, and medians that agree to 1 %."""
    turns = (0.55, 1.0, 1.55)
    jitter = builders.processes(rtf=0.25, blocks=5, calls=12, slow=lambda arm, block, i: turns[i % 3])
    judgements = judged(builders.run(jitter, questions=("change", "limits")))
    spread, noise = answer(judgements, "CV"), answer(judgements, "noise between processes")
    assert (spread.outcome, spread.code) == ("OVER LIMIT", 1)
    assert spread.value == pytest.approx(0.42, abs=0.03)
    assert (noise.code, noise.value) == (0, pytest.approx(0.01, abs=0.01))
    assert answer(judgements, "worst RTF").code == 0


def test_a_single_call_has_no_spread() -> None:
    """That is no pass."""
    run = builders.run((builders.process("candidate", 0, 0, [0.2]),))
    assert answer(judged(run), "CV").code == 3


def test_bands_colour_where_the_product_has_them() -> None:
    """Good below 0.30, a warning below 0.35, critical from there; they decide nothing."""
    for rtf, band in ((0.2, "good"), (0.32, "warning"), (0.355, "critical")):
        judgement = answer(judged(builders.alone(rtf)), "mean RTF")
        assert (judgement.band, judgement.code) == (band, 0)
        assert band in judgement.sentence
        plain = answer(judged(builders.alone(rtf), with_limits(mean_rtf=builders.limit(0.36))), "mean RTF")
        assert plain.band is None


def test_what_is_too_good_is_looked_at() -> None:
    """Below the lower bound a figure is undecided."""
    judgements = judged(builders.alone(0.2), with_limits(mean_rtf=builders.limit(0.36, lower=0.25)))
    assert (answer(judgements, "mean RTF").outcome, answer(judgements, "mean RTF").code) == ("UNDECIDED", 3)


def test_peak_first_call_and_load_are_held_where_they_have_limits() -> None:
    """In MiB and seconds; without a limit they are not judged."""
    limits = with_limits(
        peak_memory_mb=builders.limit(600, unit="MiB"),
        first_call_seconds=builders.limit(2, unit="s"),
        load_seconds=builders.limit(5, unit="s"),
    )
    for factor, code in ((1.0, 0), (2.0, 1)):
        processes = tuple(
            process.model_copy(
                update={
                    "peak_host_mb": 500 * factor,
                    "first_call_seconds": 1.5 * factor,
                    "load_seconds": 4.0 * factor,
                }
            )
            for process in builders.alone().processes
        )
        judgements = judged(builders.run(processes), limits)
        for question in ("peak memory, host", "first call", "load"):
            assert answer(judgements, question).code == code, question
    assert not [each for each in judged(builders.alone()) if each.question == "load"]


# Whose limits


def test_no_limit_is_held_to_another_model_and_that_is_no_pass() -> None:
    """Neither another checkpoint nor other options, where limits were asked for."""
    others = (builders.side(checkpoint="box"), builders.side(options={"nfe": 7}))
    for side in others:
        run = builders.alone(0.01, candidate=side)
        judgements = judged(run)
        assert (answer(judgements, "product").outcome, answer(judgements, "product").code) == ("NO LIMITS", 3)
        assert not [each for each in judgements if each.question in ("mean RTF", "worst RTF", "CV")]
        toggles = judged(run.model_copy(update={"questions": ("toggles",)}))
        assert answer(toggles, "product").code == 0


def test_the_box_can_never_satisfy_the_jetsons_limits() -> None:
    """The demonstration voice reaches 0.1 without a GPU, and holds no limit of the product."""
    baseline = select.load(JETSON)
    box = builders.alone(
        0.01, machine_key="jetson-agx-orin", candidate=builders.side(checkpoint="box", trained=True)
    )
    judgement = product.judge(box, Selection(baseline, JETSON, ""))[0]
    assert (judgement.question, judgement.outcome, judgement.code) == ("product", "NO LIMITS", 3)
    assert "F5TTS_v1_Base (jetson)" in judgement.sentence
    assert "box" in judgement.sentence
    options = {
        "precision": "fp16", "vocoder_precision": "fp16", "compile": "max-autotune",
        "reference_cache": True, "nfe": 8,
    }  # fmt: skip
    own = box.model_copy(update={"candidate": builders.side(checkpoint="F5TTS_v1_Base", options=options)})
    assert answer(product.judge(own, Selection(baseline, JETSON, "")), "mean RTF").code == 0


def test_a_product_is_found_by_what_its_options_mean() -> None:
    """A preset and the same toggles written out are one product; one toggle more is another."""
    chosen = builders.selection(
        builders.baseline(
            products=(Product(checkpoint="x", options="fast_cpu nfe=6", limits=builders.LIMITS),)
        )
    )
    written = {**Options.fast_cpu().changed(), "nfe": 6}
    assert chosen.product("x", "fast_cpu nfe=6") is chosen.product("x", written) is not None
    for checkpoint, options in (("y", written), ("x", {**written, "batch": 2}), ("x", "fast_cpu")):
        assert chosen.product(checkpoint, options) is None


def test_a_machine_without_a_product_holds_growth_alone() -> None:
    """A slow machine is no regression."""
    judgements = judged(builders.run(builders.processes(rtf=3.0)), builders.portable())
    assert {(each.question, each.code) for each in judgements} == {("memory growth", 0)}


# Memory


def test_memory_that_grows_for_sure_fails() -> None:
    """0.24 MiB a call are 6.8 GiB a day at a call every three seconds, on the host or on the device."""
    for host, device, code in (
        (0.0, None, 0),
        (0.01, None, 0),
        (0.24, None, 1),
        (0.0, 0.24, 1),
        (0.0, 0.0, 0),
    ):
        run = builders.run(grown(builders.processes(), host, device))
        judgement = answer(judged(run, builders.portable()), "memory growth")
        assert judgement.code == code, (host, device)
        assert "in 20 of 20 processes" in judgement.sentence


def test_a_sure_leak_is_not_hidden_by_a_larger_unsure_one() -> None:
    """One process grew on the host by chance; on the device all of them did."""
    first, *others = grown(builders.processes(), 0.0, 0.5)
    chance = grown((first.model_copy(update={"arm": "candidate"}),), 20.0, 0.5)[0]
    run = builders.run((chance.model_copy(update={"arm": first.arm}), *others))
    judgement = answer(judged(run, builders.portable()), "memory growth")
    assert (judgement.code, "device memory" in judgement.sentence) == (1, True)


def test_too_few_calls_say_nothing_of_growth() -> None:
    """Two calls show none; that is no pass, and how many processes were judged is said."""
    run = builders.run(builders.processes(calls=2))
    assert answer(judged(run, builders.portable()), "memory growth").code == 3


def test_the_stricter_limit_of_growth_holds() -> None:
    """The product's own, or everybody's."""
    strict = builders.baseline(
        products=(
            builders.PRODUCT.model_copy(
                update={
                    "limits": builders.LIMITS.model_copy(
                        update={"memory_growth": builders.limit(0.001, unit="MiB/call")}
                    )
                }
            ),
        )
    )
    run = builders.run(grown(builders.processes(), 0.01))
    assert answer(judged(run, strict), "memory growth").code == 1
    assert answer(judged(run), "memory growth").code == 0
