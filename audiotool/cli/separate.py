"""`audiotool separate`: take a recording apart, one file a stem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from audiotool.cli.options import TaskOptions, takes
from audiotool.cli.task import asked_checkpoint, check_options, run_task
from audiotool.errors import PlanError

app = typer.Typer(add_completion=False)

SPEECH_AND_BACKGROUND = ("speech", "background")


@dataclass(frozen=True)
class SeparateOptions(TaskOptions):
    """What separation adds."""

    stems: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="What to separate into: speech,background takes the default denoiser.",
            rich_help_panel="Model",
            show_default=False,
        ),
    ] = None


@app.command()
@takes(SeparateOptions)
def separate(options: SeparateOptions) -> None:
    """Take a recording apart: speakers, or instruments, or speech and background.

    Every stem becomes a file, DIR/NAME.STEM.wav. A denoiser's checkpoint gives speech and background, which
    add up to the input, but for what a format rounds or limits.

    audiotool separate interview.wav -o stems/
    audiotool separate interview.wav -o stems/ --stems speech,background
    audiotool separate recordings/ -o stems/ --jobs 4 --skip-existing
    """
    check_options(options)
    from audiotool.engines.base import are_interchangeable

    task, stems = _task_and_stems(options)
    run_task(
        "separate",
        options,
        stems=stems,
        layout_changes={"last_is_rest": task == "denoise"},
        work_changes={"task": task, "any_order": are_interchangeable(stems)},
    )


def _task_and_stems(options: SeparateOptions) -> tuple[str, tuple[str, ...]]:
    """The task of the checkpoint, and the names of what comes out."""
    from audiotool import checkpoint

    wanted = None if options.stems is None else tuple(s.strip() for s in options.stems.split(","))
    named = asked_checkpoint(options)
    if named is None:
        default = "denoise" if wanted and set(wanted) == set(SPEECH_AND_BACKGROUND) else "separate"
        path = checkpoint.default_for(default)
    else:
        path = checkpoint.resolve(named)
    metadata = checkpoint.read_metadata(path)
    stems = checkpoint.stems_of(path)
    is_denoiser = metadata.task == "denoise" and len(stems) == 1
    if is_denoiser:
        stems = SPEECH_AND_BACKGROUND
    if wanted is not None and set(wanted) != set(stems):
        other = "" if is_denoiser else "; --stems speech,background parts speech from the rest"
        raise PlanError(f"{path.stem} separates into {','.join(stems)}, not into {options.stems}{other}")
    # Any other task is refused where the checkpoint is loaded.
    return "denoise" if is_denoiser else "separate", stems
