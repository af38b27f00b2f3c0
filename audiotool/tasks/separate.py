"""Separate: one recording in, one file a stem out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from audiotool.audio.target import BACKGROUND
from audiotool.errors import PlanError
from audiotool.files.processor import FileProcessor
from audiotool.tasks.base import Scoring
from audiotool.tasks.denoise import Denoise
from audiotool.tasks.inference import Inference, InferenceTask
from audiotool.tasks.options import TaskOptions, output_option

if TYPE_CHECKING:
    from audiotool.files.kinds import Outputs


@dataclass(frozen=True, eq=False, repr=False)
class SeparateOptions(TaskOptions):
    """Options of `separate`."""

    output: Annotated[
        str | None,
        output_option(
            "A folder, or for one input a file, whose name gets those of the stems: -o one.wav writes"
            " one.speaker1.wav"
        ),
    ] = None
    stems: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Names of the outputs. The background is the rest of the input:"
            " speaker1,speaker2,background; speech,background takes the default denoiser.",
            rich_help_panel="Model",
            show_default=False,
        ),
    ] = None


class Separate(InferenceTask):
    """Take a recording apart: speakers, or instruments, or speech and background.

    Every stem becomes a file, DIR/NAME.STEM.wav. Speakers are separated by
    the mono mix of all channels: a stem is one speaker in every channel. Where
    one speaks alone the other stem is quiet; of three speakers two share a stem.
    Where --stems names background, the stems add up to the input, but for what
    a format rounds or limits. A denoiser's checkpoint gives speech and background.

    audiotool separate interview.wav -o stems/
    audiotool separate interview.wav -o stems/ --stems speaker1,speaker2,background
    audiotool separate interview.wav -o stems/ --stems speech,background
    audiotool separate recordings/ -o stems/ --jobs 4 --skip-existing
    """

    name = "separate"
    verb = "separating"
    done = "separated"
    gives = "stems"
    options_class = SeparateOptions
    scoring = Scoring(("si_sdr", "sdr", "pesq", "stoi"), best="si_sdr", any_order=True)
    example = "mixture"
    options: SeparateOptions
    by_denoiser = False

    def outputs(self, checkpoint: str | None) -> Outputs:
        from audiotool import named_checkpoints
        from audiotool.checkpoint import read_metadata, stems_of
        from audiotool.files.kinds import Outputs

        asked = self.options.stems
        wanted = None if asked is None else sorted(stem.strip() for stem in asked.split(","))
        if checkpoint is None:
            by_denoiser = wanted == sorted(("speech", BACKGROUND))
            path = named_checkpoints.default_for(Denoise.name if by_denoiser else self.name)
        else:
            path = named_checkpoints.resolve(checkpoint)
        stems = stems_of(path)
        # `Inference.load` refuses a checkpoint of any other task.
        self.by_denoiser = read_metadata(path).task == Denoise.name and len(stems) == 1
        has_rest = BACKGROUND not in stems and (self.by_denoiser or BACKGROUND in (wanted or ()))
        if has_rest:
            stems = (*stems, BACKGROUND)
        if wanted is not None and wanted != sorted(stems):
            other = "" if self.by_denoiser else "; --stems speech,background parts speech from the rest"
            raise PlanError(f"{path.stem} separates into {','.join(stems)}, not into {asked}{other}")
        return Outputs(self.done, stems, last_is_rest=has_rest)

    def processor(self, checkpoint: str | None) -> FileProcessor:
        return Inference.from_options(
            Denoise.name if self.by_denoiser else self.name, self.options, checkpoint
        )
