"""Learning rates: CleanUNet's against the official ones, the others by their definition."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from audiotool.recipe.schema import (
    CleanUNetSchedule,
    ConstantSchedule,
    CosineSchedule,
    ExponentialSchedule,
    StepSchedule,
    TrapezoidSchedule,
)
from audiotool.training.schedule import full_rate_problem, rate_factor, renewed_rate_problem

PACK = Path(__file__).parents[1] / "data" / "parity" / "cleanunet_training" / "training.safetensors"


def test_cleanunet_schedule_equals_the_official_one() -> None:
    official = load_file(PACK)["lr_schedule_n400"]
    section = CleanUNetSchedule(name="cleanunet")
    mine = torch.tensor([2e-4 * 1e4 * rate_factor(section, step, 400) for step in range(len(official))])
    torch.testing.assert_close(mine, official, rtol=1e-5, atol=1e-7)


def test_cosine() -> None:
    section = CosineSchedule(name="cosine", warmup_steps=10, final=0.1)
    factors = [rate_factor(section, step, 110) for step in range(120)]
    assert factors[:10] == pytest.approx([(n + 1) / 10 for n in range(10)])
    assert factors[10] == 1.0
    assert factors[60] == pytest.approx(0.55)
    # `final` comes one step after the last.
    assert factors[109] > 0.1002
    assert factors[110:] == pytest.approx([0.1] * 10)
    assert factors[9:] == sorted(factors[9:], reverse=True)


def test_trapezoid_is_longer_for_a_longer_run() -> None:
    section = TrapezoidSchedule(name="trapezoid", warmup_steps=10, decay_steps=40, final=0.1)
    factors = [rate_factor(section, step, 100) for step in range(110)]
    assert factors[:10] == pytest.approx([(n + 1) / 10 for n in range(10)])
    assert factors[10:61] == [1.0] * 51
    assert factors[80] == pytest.approx(0.55)
    assert factors[99] == pytest.approx(0.1 + 0.9 / 40)
    assert factors[100:] == pytest.approx([0.1] * 10)
    assert rate_factor(section, 80, 200) == 1.0


def test_a_fall_longer_than_the_run_has_no_jump() -> None:
    section = TrapezoidSchedule(name="trapezoid", warmup_steps=100, decay_steps=2000, final=0.01)
    factors = [rate_factor(section, step, 500) for step in range(500)]
    assert max(abs(a - b) for a, b in pairwise(factors)) <= 1 / 100 + 1e-9
    assert 0.2 < max(factors) < 0.3
    assert factors[-1] == pytest.approx(0.01, abs=0.001)


def test_a_run_too_short_for_its_schedule_is_told_the_keys() -> None:
    fall = TrapezoidSchedule(name="trapezoid", warmup_steps=100, decay_steps=2000)
    assert full_rate_problem(fall, 2100) is None
    problem = full_rate_problem(fall, 500)
    assert problem is not None
    assert "schedule.warmup_steps (100) + schedule.decay_steps (2000) is more than the run's 500" in problem
    rise = CosineSchedule(name="cosine", warmup_steps=100)
    assert "other.warmup_steps (100) is more" in (full_rate_problem(rise, 50, "other") or "")
    assert full_rate_problem(CleanUNetSchedule(name="cleanunet"), 1) is None
    cycle = CleanUNetSchedule(name="cleanunet", cycle_steps=1000, warmup=0.5)
    assert max(rate_factor(cycle, step, 500) for step in range(500)) == 1.0
    assert full_rate_problem(cycle, 500) is None
    assert "schedule.warmup (500) is more than the run's 499" in (full_rate_problem(cycle, 499) or "")


def test_a_longer_run_whose_rate_has_fallen_is_told_of_its_rise() -> None:
    fall = TrapezoidSchedule(name="trapezoid", decay_steps=4)
    assert renewed_rate_problem(fall, 6, 10, 20) is None
    assert "rises at step 8 from 0.5 to 1 of its" in (renewed_rate_problem(fall, 8, 10, 20) or "")
    assert renewed_rate_problem(fall, 8, 10, 10) is None
    assert renewed_rate_problem(fall, 8, 20, 10) is None
    assert renewed_rate_problem(ConstantSchedule(name="constant", warmup_steps=4), 2, 10, 20) is None
    other = renewed_rate_problem(CosineSchedule(name="cosine"), 5, 10, 20, "adversarial.schedule")
    assert (other or "").startswith("adversarial.schedule: ")


def test_exponential_step_constant() -> None:
    epochs = ExponentialSchedule(name="exponential", factor=0.5, every=100)
    assert [rate_factor(epochs, s, 1000) for s in (0, 99, 100, 250)] == [1.0, 1.0, 0.5, 0.25]
    steps = StepSchedule(name="step", factor=0.1, at=[5, 20])
    assert [rate_factor(steps, s, 30) for s in (4, 5, 20)] == pytest.approx([1.0, 0.1, 0.01])
    halved = StepSchedule(name="step", every=200)
    assert [rate_factor(halved, s, 1000) for s in (199, 200, 400)] == [1.0, 0.5, 0.25]
    constant = ConstantSchedule(name="constant", warmup_steps=4)
    assert [rate_factor(constant, s, 10) for s in (0, 3, 9)] == [0.25, 1.0, 1.0]


def test_a_rate_falls_from_the_end_of_the_warm_up_on() -> None:
    fading = ExponentialSchedule(name="exponential", factor=0.5, every=2, warmup_steps=4)
    factors = [rate_factor(fading, s, 100) for s in range(10)]
    assert factors == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    halved = StepSchedule(name="step", every=2, warmup_steps=4)
    assert [rate_factor(halved, s, 100) for s in range(10)] == factors
    # Steps that are named are the run's; one in the warm-up lowers what is left of it, without a jump behind.
    named = StepSchedule(name="step", at=[2, 6], warmup_steps=4)
    assert [rate_factor(named, s, 100) for s in range(7)] == [0.25, 0.5, 0.375, 0.5, 0.5, 0.5, 0.25]


def test_a_schedule_that_begins_later_falls_at_the_steps_of_the_training() -> None:
    named = StepSchedule(name="step", at=[4], every=3, warmup_steps=2, factor=0.5)
    assert [rate_factor(named, s, 10, 2) for s in range(2, 9)] == [0.5, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25]
    cosine = CosineSchedule(name="cosine", warmup_steps=2)
    for section in (cosine, ExponentialSchedule(name="exponential", factor=0.5, warmup_steps=2)):
        later = [rate_factor(section, step, 12, 5) for step in range(5, 12)]
        assert later == [rate_factor(section, step, 7) for step in range(7)]
    assert "rises at step 8 from 0.5 to 0.854" in (renewed_rate_problem(cosine, 8, 10, 14, start=4) or "")
