"""The hot loop: grids, solvers and the noise, against upstream and slow oracles."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchdiffeq import odeint

from engine import proofs, sampler, upstream
from engine.evidence import Evaluation
from engine.options import EPSS_STEPS, MAX_NFE, SOLVER_STAGES, Options, Solver, searched

SCHEDULES = ("uniform", "sway", "epss", "searched")
ANY_GRID = st.one_of(
    st.builds(Options, nfe=st.integers(1, MAX_NFE), schedule=st.sampled_from(("uniform", "sway"))),
    st.builds(Options, nfe=st.sampled_from(EPSS_STEPS), schedule=st.just("epss")),
    *(st.just(Options(nfe=steps, schedule="searched")) for steps in searched()),
)


class Toy(torch.nn.Module):
    """A transformer in upstream's calling convention that is cheap and depends on all it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.proj_out = torch.nn.Linear(4, 4)
        self.calls: list[dict[str, Any]] = []
        self.cleared = 0

    def forward(
        self, *, x: Any, cond: Any, text: Any, time: Any, cfg_infer: bool = False, **rest: Any
    ) -> Any:
        self.calls.append({"cfg_infer": cfg_infer, "time": time, **rest})
        spoken = text.float().mean()
        both = [torch.sin(x + cond * k + spoken * k + time) for k in ((1, 0) if cfg_infer else (1,))]
        return torch.cat([self.proj_out(half) for half in both], dim=0)

    def clear_cache(self) -> None:
        self.cleared += 1


def nothing(evaluation: Evaluation) -> None:
    """Nobody listens."""


def run(toy: Toy, options: Options | None = None, on_step: Callable[..., None] = nothing) -> Any:
    """Sample 9 frames of which 3 are the reference."""
    options = options or Options(nfe=7)
    generator = torch.Generator().manual_seed(3)
    mel = torch.randn(1, 3, 4, generator=generator)
    noise = torch.randn(1, 9, 4, generator=generator)
    tokens = torch.tensor([[1, 2, 3]])
    grid = sampler.time_grid(options, "cpu")
    with torch.inference_mode():
        sampled = sampler.sample(sampler.plain(toy), mel, tokens, noise, grid, options, on_step)
    return mel, noise, tokens, grid, sampled


def solve(solver: Any, steps: int, rate: float, schedule: Any = "uniform") -> float:
    """x(1) of x' = rate x (1 + t) from x(0) = 1, through the loop itself; exp(3 rate / 2) is exact."""
    options = Options(nfe=steps * SOLVER_STAGES[solver], solver=solver, schedule=schedule, cfg_strength=0.0)

    @contextlib.contextmanager
    def backbone(cond: Any, tokens: Any, times: Any, mask: Any) -> Iterator[Any]:
        yield lambda x, evaluation, half: rate * (1 + times[evaluation]) * x

    grid = sampler.time_grid(options, "cpu")
    mel, tokens = torch.zeros(1, 1, 1), torch.zeros(1, 1, dtype=torch.long)
    return float(sampler.sample(backbone, mel, tokens, torch.ones(1, 2, 1), grid, options, nothing)[0, 1, 0])


@given(ANY_GRID)
def test_a_grid_rises_from_zero_to_one_in_nfe_steps(options: Options) -> None:
    """Whatever the schedule: nfe evaluations, no step backwards."""
    grid = sampler.time_grid(options, "cpu")
    assert grid.shape == (options.nfe + 1,)
    assert grid.dtype == torch.float32
    assert (float(grid[0]), float(grid[-1])) == pytest.approx((0.0, 1.0), abs=1e-6)
    assert bool((grid.diff() > 0).all())


@pytest.mark.parametrize("nfe", [1, 2, 8, 9, 32, 64])
def test_the_sway_grid_is_upstreams(nfe: int) -> None:
    """Upstream's formula on an even grid, to the bit (its own grid where it has no pruned one)."""
    t = upstream.module("f5_tts.model.utils").get_epss_timesteps(nfe, "cpu", torch.float32)
    assert torch.equal(
        sampler.time_grid(Options(nfe=nfe), "cpu"), t + -1.0 * (torch.cos(torch.pi / 2 * t) - 1 + t)
    )


@pytest.mark.parametrize("nfe", EPSS_STEPS)
def test_the_epss_grid_is_upstreams_with_sway(nfe: int) -> None:
    """The pruned steps are those that `CFM.sample` takes by itself for these counts."""
    t = upstream.module("f5_tts.model.utils").get_epss_timesteps(nfe, "cpu", torch.float32)
    expected = t + -1.0 * (torch.cos(torch.pi / 2 * t) - 1 + t)
    assert torch.equal(sampler.time_grid(Options(nfe=nfe, schedule="epss"), "cpu"), expected)
    assert not torch.equal(expected, sampler.time_grid(Options(nfe=nfe), "cpu"))


def test_the_uniform_grid_is_even() -> None:
    """Without sway every step is as long as the others."""
    grid = sampler.time_grid(Options(nfe=10, schedule="uniform"), "cpu")
    torch.testing.assert_close(grid, torch.arange(11) / 10)


@given(ANY_GRID, st.sampled_from(SCHEDULES))
def test_follows_recognises_each_grid_and_no_other(options: Options, claimed: str) -> None:
    """Judged from the times alone; one evaluation lies at 0 on every grid."""
    times = sampler.time_grid(options, "cpu")[:-1].tolist()
    expected = claimed == options.schedule or (options.nfe == 1 and claimed in ("uniform", "sway"))
    assert proofs.follows(times, claimed) == expected


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_follows_rejects_times_of_no_schedule(schedule: str) -> None:
    """Random, reversed and shifted times belong to none."""
    times = sampler.time_grid(Options(nfe=7), "cpu")[:-1].tolist()
    for wrong in (times[::-1], [t + 0.01 for t in times], [0.0, 0.013, 0.2, 0.21, 0.5, 0.77, 0.9]):
        assert not proofs.follows(wrong, schedule)


@pytest.mark.parametrize("cfg", [0.0, 1e-6, 0.5, 2.0])
@pytest.mark.parametrize(
    ("solver", "method", "nfe"),
    [("euler", "euler", 1), ("euler", "euler", 5), ("euler", "euler", 32)]
    + [("midpoint", "midpoint", nfe) for nfe in (2, 10)]
    + [("heun", "heun2", nfe) for nfe in (2, 10)],
)
def test_the_solvers_are_torchdiffeqs(solver: Any, method: str, nfe: int, cfg: float) -> None:
    """What the general solver gives that upstream calls: Euler to the bit, the others to rounding."""
    toy = Toy()
    options = Options(nfe=nfe, solver=solver, cfg_strength=cfg)
    mel, noise, tokens, grid, sampled = run(toy, options)
    cond = torch.nn.functional.pad(mel, (0, 0, 0, 6))

    def flow(t: Any, x: Any) -> Any:  # upstream's own `fn`
        given = {"x": x, "cond": cond, "text": tokens, "time": t, "mask": None, "cache": True}
        if cfg < 1e-5:
            return toy(**given)
        conditional, unconditional = toy(**given, cfg_infer=True).chunk(2)
        return conditional + (conditional - unconditional) * cfg

    with torch.inference_mode():
        expected = torch.cat([mel, odeint(flow, noise, grid, method=method)[-1][:, 3:]], dim=1)
    if solver == "euler":
        assert torch.equal(sampled, expected)
    torch.testing.assert_close(sampled, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2)])
@pytest.mark.parametrize("schedule", ["uniform", "sway"])
@given(rate=st.floats(0.5, 1.5))
def test_a_solver_converges_with_its_order(solver: str, order: int, schedule: str, rate: float) -> None:
    """Halving the steps of an ODE with a known solution divides the error by 2, 4 and 4."""
    exact = math.exp(1.5 * rate)
    coarse, fine = (abs(solve(solver, steps, rate, schedule) - exact) for steps in (32, 64))
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.2)


@pytest.mark.parametrize("solver", get_args(Solver))
def test_a_step_costs_what_the_options_say(solver: str) -> None:
    """`nfe` stays the number of evaluations; what the options count is what the solver does."""
    options = Options(nfe=8, solver=solver)  # type: ignore[arg-type]
    toy, seen = Toy(), []  # type: ignore[var-annotated]
    run(toy, options, seen.append)
    assert len(toy.calls) == len(seen) == 8
    assert len(sampler.SOLVERS[solver].at) == SOLVER_STAGES[solver]
    assert seen[-1].step + 1 == options.steps


@given(st.sampled_from(get_args(Solver)), st.integers(1, 20), st.sampled_from(["uniform", "sway"]))
def test_a_solver_is_recognised_by_its_evaluations_and_no_other_is(
    name: Any, steps: int, schedule: Any
) -> None:
    """Judged from when the flow was evaluated within each step."""
    options = Options(nfe=steps * SOLVER_STAGES[name], solver=name, schedule=schedule)
    times = sampler.evaluation_times(sampler.time_grid(options, "cpu"), sampler.SOLVERS[name])
    found = times.reshape(steps, -1).tolist()
    assert [other for other in get_args(Solver) if proofs.solved_by(found, other)] == [name]


def test_every_evaluation_is_reported_with_its_time() -> None:
    """Progress and evidence see each one, in order, with the flow."""
    seen: list[float] = []
    *_, grid, _ = run(Toy(), on_step=lambda evaluation: seen.append(float(evaluation.time)))
    assert seen == grid[:-1].tolist()


def test_padding_does_not_reach_the_reference_frames() -> None:
    """In a batch each item keeps its own clip and no more."""
    options, noise = Options(nfe=3, cfg_strength=0.0), torch.randn(2, 9, 4)
    mel = torch.randn(2, 3, 4)
    mel[1, 2:] = 0
    sampled = sampler.sample(
        sampler.plain(Toy()),
        mel,
        torch.ones(2, 3, dtype=torch.long),
        noise,
        sampler.time_grid(options, "cpu"),
        options,
        nothing,
        reference_frames=torch.tensor([3, 2]),
    )
    assert torch.equal(sampled[0, :3], mel[0])
    assert torch.equal(sampled[1, :2], mel[1, :2])
    assert not torch.equal(sampled[1, 2], mel[1, 2])


def test_the_reference_frames_come_out_as_they_went_in() -> None:
    """What is conditioned on is not sampled."""
    mel, *_, sampled = run(Toy())
    assert torch.equal(sampled[:, :3], mel)


def test_upstreams_text_cache_is_cleared_even_when_a_step_fails() -> None:
    """A text left behind would be spoken by the next request of this thread."""
    toy = Toy()

    def fail(evaluation: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(toy, on_step=fail)
    assert toy.cleared == 1


@given(st.integers(0, 2**40), st.integers(1, 50))
def test_noise_is_the_stream_of_the_global_generator(seed: int, frames: int) -> None:
    """The same numbers that upstream draws after `torch.manual_seed`, without touching the global state."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        expected = torch.randn(frames, 100)
        before = torch.get_rng_state()
        noise = sampler.noise_like(frames, 100, seed, "cpu")
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(noise[0], expected)
