"""Values that shells complete: names of models, recipes, metrics, formats and devices.

A shell starts the command for each completion, so a function here imports nothing heavy. Where no name begins
with what is typed, the shell completes a path.
"""

from __future__ import annotations

import typer

DEVICES = ("auto", "cpu", "cuda", "mps")


def models() -> list[str]:
    """Return the names of checkpoints."""
    from audiotool.named_checkpoints import named

    return list(named())


def models_and_tasks() -> list[str]:
    """Return the names of checkpoints, and of tasks, which stand for their defaults."""
    from audiotool.named_checkpoints import defaults

    return [*models(), *defaults()]


def models_of_task(ctx: typer.Context) -> list[str]:
    """Return the names of the checkpoints of the task whose command it is."""
    return _made_for(ctx.info_name)


def denoisers() -> list[str]:
    """Return the names of the checkpoints that denoise."""
    return _made_for("denoise")


def _made_for(task: str | None) -> list[str]:
    from audiotool.named_checkpoints import made_for

    return list(made_for(task))


def recipes() -> list[str]:
    """Return the names of bundled recipes."""
    from audiotool.named_recipes import bundled

    return list(bundled())


def metrics(incomplete: str) -> list[str]:
    """Return the names of metrics, after those that are typed already, with commas."""
    from audiotool.metrics.base import METRICS

    before, comma, _ = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in METRICS.all() if name not in before.split(",")]


def formats(ctx: typer.Context) -> list[str]:
    """Return the names of formats that are written: those of mels with --mel-only."""
    from audiotool.audio.formats import FORMATS, MEL_ENDINGS, MUXERS

    endings = MEL_ENDINGS if ctx.params.get("mel_only") else (*FORMATS, *MUXERS)
    return [ending[1:] for ending in endings]


def subtypes() -> list[str]:
    """Return libsndfile's names of sample formats."""
    import soundfile

    return list(soundfile.available_subtypes())


def raw_formats() -> list[str]:
    """Return the names of the formats of bare samples."""
    from audiotool.audio.raw import SUBTYPES

    return list(SUBTYPES)


def mel_presets() -> list[str]:
    """Return the names of mel definitions."""
    from audiotool.dsp.mel import PRESETS

    return list(PRESETS)


def devices() -> list[str]:
    """Return the names of torch devices."""
    return list(DEVICES)
