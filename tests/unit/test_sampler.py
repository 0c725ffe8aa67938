"""The hot loop: grids, guidance, the solver and the noise, against upstream and slow oracles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchdiffeq import odeint

from engine import sampler, upstream
from engine.options import EPSS_STEPS, MAX_NFE, Options

SCHEDULES = ("uniform", "sway", "epss")
ANY_GRID = st.one_of(
    st.builds(Options, nfe=st.integers(1, MAX_NFE), schedule=st.sampled_from(("uniform", "sway"))),
    st.builds(Options, nfe=st.sampled_from(EPSS_STEPS), schedule=st.just("epss")),
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


def run(toy: Toy, cfg: float = 2.0, nfe: int = 7, on_step: Callable[..., None] = lambda t, flow: None) -> Any:
    """Sample 9 frames of which 3 are the reference."""
    generator = torch.Generator().manual_seed(3)
    mel = torch.randn(1, 3, 4, generator=generator)
    noise = torch.randn(1, 9, 4, generator=generator)
    tokens = torch.tensor([[1, 2, 3]])
    grid = sampler.time_grid(Options(nfe=nfe), "cpu")
    with torch.inference_mode():
        return mel, noise, tokens, grid, sampler.sample(toy, mel, tokens, noise, grid, cfg, on_step)


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
    expected = claimed == options.schedule or (options.nfe == 1 and claimed != "epss")
    assert sampler.follows(times, claimed) == expected


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_follows_rejects_times_of_no_schedule(schedule: str) -> None:
    """Random, reversed and shifted times belong to none."""
    times = sampler.time_grid(Options(nfe=7), "cpu")[:-1].tolist()
    for wrong in (times[::-1], [t + 0.01 for t in times], [0.0, 0.013, 0.2, 0.21, 0.5, 0.77, 0.9]):
        assert not sampler.follows(wrong, schedule)


@pytest.mark.parametrize("cfg", [0.0, 1e-6, 0.5, 2.0])
@pytest.mark.parametrize("nfe", [1, 5, 32])
def test_the_solver_is_torchdiffeqs_euler(cfg: float, nfe: int) -> None:
    """The loop gives, to the bit, what the general solver gives that upstream calls."""
    toy = Toy()
    mel, noise, tokens, grid, sampled = run(toy, cfg, nfe)
    cond = torch.nn.functional.pad(mel, (0, 0, 0, 6))

    def flow(t: Any, x: Any) -> Any:
        return sampler.velocity(toy, x, t, cond=cond, tokens=tokens, cfg_strength=cfg)

    with torch.inference_mode():
        expected = odeint(flow, noise, grid, method="euler")[-1]
    assert torch.equal(sampled, torch.cat([mel, expected[:, 3:]], dim=1))


def test_guidance_weighs_the_two_halves_as_upstream_does() -> None:
    """pred + (pred - null) * strength, both halves in one call; at 0 the conditional half alone."""
    toy = Toy()
    x, t = torch.randn(1, 5, 4), torch.tensor(0.3)
    arguments: dict[str, Any] = {"cond": torch.randn(1, 5, 4), "tokens": torch.tensor([[4, 5]])}
    packed = toy(x=x, cond=arguments["cond"], text=arguments["tokens"], time=t, cfg_infer=True)
    guided = sampler.velocity(toy, x, t, cfg_strength=1.5, **arguments)
    assert torch.equal(guided, packed[:1] + (packed[:1] - packed[1:]) * 1.5)
    assert torch.equal(sampler.velocity(toy, x, t, cfg_strength=0.0, **arguments), packed[:1])
    assert [call["cfg_infer"] for call in toy.calls] == [True, True, False]


def test_every_evaluation_is_reported_with_its_time() -> None:
    """Progress and evidence see each step, in order."""
    seen: list[float] = []
    *_, grid, _ = run(Toy(), on_step=lambda t, flow: seen.append(float(t)))
    assert seen == grid[:-1].tolist()


def test_the_reference_frames_come_out_as_they_went_in() -> None:
    """What is conditioned on is not sampled."""
    mel, *_, sampled = run(Toy())
    assert torch.equal(sampled[:, :3], mel)


def test_upstreams_text_cache_is_cleared_even_when_a_step_fails() -> None:
    """A text left behind would be spoken by the next request of this thread."""
    toy = Toy()

    def fail(t: Any, flow: Any) -> None:
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
