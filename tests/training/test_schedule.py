"""Learning rates: CleanUNet's against the official ones, the others by their definition."""

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
from audiotool.training.schedule import rate_factor

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
    assert factors[110:] == pytest.approx([0.1] * 10)
    assert factors[9:] == sorted(factors[9:], reverse=True)


def test_trapezoid_is_longer_for_a_longer_run() -> None:
    section = TrapezoidSchedule(name="trapezoid", warmup_steps=10, decay_steps=40, final=0.1)
    factors = [rate_factor(section, step, 100) for step in range(110)]
    assert factors[:10] == pytest.approx([(n + 1) / 10 for n in range(10)])
    assert factors[10:61] == [1.0] * 51
    assert factors[80] == pytest.approx(0.55)
    assert factors[100:] == pytest.approx([0.1] * 10)
    assert rate_factor(section, 80, 200) == 1.0


def test_exponential_step_constant() -> None:
    epochs = ExponentialSchedule(name="exponential", factor=0.5, every=100)
    assert [rate_factor(epochs, s, 1000) for s in (0, 99, 100, 250)] == [1.0, 1.0, 0.5, 0.25]
    steps = StepSchedule(name="step", factor=0.1, at=[5, 20])
    assert [rate_factor(steps, s, 30) for s in (4, 5, 20)] == pytest.approx([1.0, 0.1, 0.01])
    halved = StepSchedule(name="step", every=200)
    assert [rate_factor(halved, s, 1000) for s in (199, 200, 400)] == [1.0, 0.5, 0.25]
    constant = ConstantSchedule(name="constant", warmup_steps=4)
    assert [rate_factor(constant, s, 10) for s in (0, 3, 9)] == [0.25, 1.0, 1.0]
