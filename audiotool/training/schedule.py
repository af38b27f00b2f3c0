"""Learning rates as functions of the step alone, so that there is no state to save."""

from __future__ import annotations

import math

from audiotool.recipe.schema import (
    CleanUNetSchedule,
    CosineSchedule,
    ExponentialSchedule,
    Schedule,
    StepSchedule,
    TrapezoidSchedule,
)


def rate_factor(schedule: Schedule, step: int, steps: int, start: int = 0) -> float:
    """Return the factor of the optimiser's learning rate.

    Args:
        step: the coming optimiser step, counted from 0.
        steps: number of optimiser steps of the training.
        start: the optimiser's first step. The schedule begins there; the steps of `at` are the training's.
    """
    since, length = step - start, steps - start
    if isinstance(schedule, CleanUNetSchedule):
        return _cleanunet(schedule, since, schedule.cycle_steps or length)
    rise = min((since + 1) / max(schedule.warmup_steps, 1), 1.0)
    if isinstance(schedule, TrapezoidSchedule):
        # A fall longer than the run begins in the warm-up; the lower of both has no jump.
        return min(_trapezoid_fall(schedule, step, steps), rise)
    after = max(since - schedule.warmup_steps, 0)
    if isinstance(schedule, CosineSchedule):
        done = min(after / max(length - schedule.warmup_steps, 1), 1.0)
        return rise * (schedule.final + (1 - schedule.final) * 0.5 * (1 + math.cos(math.pi * done)))
    if isinstance(schedule, ExponentialSchedule):
        return rise * schedule.factor ** (after // schedule.every)
    return rise * _stepped(schedule, step, after) if isinstance(schedule, StepSchedule) else rise


def full_rate_problem(schedule: Schedule, steps: int, key: str = "schedule") -> str | None:
    """Return why a training never has the full learning rate, with the keys to change; None where it has.

    Args:
        steps: number of optimiser steps of the training.
        key: the schedule's place in the recipe.
    """
    ramps = {"warmup_steps": 0, "decay_steps": 0} | schedule.model_dump()
    if isinstance(schedule, CleanUNetSchedule):
        # The cycle's last step of the rise has the full rate.
        ramps["warmup"] = int((schedule.cycle_steps or steps) * schedule.warmup)
    long = {
        f"{key}.{name}": ramps[name] for name in ("warmup_steps", "warmup", "decay_steps") if ramps.get(name)
    }
    if sum(long.values()) <= steps:
        return None
    named = " + ".join(f"{name} ({value})" for name, value in long.items())
    return f"{named} is more than the run's {steps} steps: the learning rate never reaches its full value"


def renewed_rate_problem(
    schedule: Schedule, step: int, earlier: int, steps: int, key: str = "schedule", start: int = 0
) -> str | None:
    """Return that another number of steps makes a falling learning rate rise again; None where it does not.

    Args:
        step: the coming optimiser step, counted from 0.
        earlier, steps: number of optimiser steps of the training, before and now.
        key: the schedule's place in the recipe.
        start: as of `rate_factor`.
    """
    before, now = (rate_factor(schedule, step, whole, start) for whole in (earlier, steps))
    if now <= before:
        return None
    return (
        f"{key}: the learning rate had begun to fall when train.steps changed, and rises at step {step} from"
        f" {before:.3g} to {now:.3g} of its full value"
    )


def _trapezoid_fall(schedule: TrapezoidSchedule, step: int, steps: int) -> float:
    left = min(max(steps - step, 0) / schedule.decay_steps, 1.0)
    return schedule.final + (1 - schedule.final) * left


def _stepped(schedule: StepSchedule, step: int, after: int) -> float:
    """Count the steps of `at` from the training's beginning, those of `every` from the end of the warm-up."""
    times = sum(step >= at for at in schedule.at)
    if schedule.every is not None:
        times += after // schedule.every
    return schedule.factor**times


def _cleanunet(schedule: CleanUNetSchedule, step: int, cycle: int) -> float:
    """Return a linear warm-up, then a cosine. The published code changes the rate before each optimiser step,
    hence the + 1."""
    rising = int(cycle * schedule.warmup)
    position = step % cycle + 1
    lowest = 1 / schedule.divider
    if position <= rising:
        return lowest + position / rising * (1 - lowest)
    done = (position - rising) / (cycle - rising)
    final = lowest / 1e4
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * done))
