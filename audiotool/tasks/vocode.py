"""The task `vocode`: from mels to waveforms, from recordings to mels and back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audiotool.audio import PIPE, STANDARD_INPUT
from audiotool.errors import CheckpointError, InputError, PlanError
from audiotool.files.processor import FileProcessor, FileResult, Process
from audiotool.paths import like_named
from audiotool.progress import Progress
from audiotool.tasks import completion
from audiotool.tasks.base import Scoring
from audiotool.tasks.inference import Inference, InferenceTask
from audiotool.tasks.options import TaskOptions, output_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audiotool.audio.target import Target
    from audiotool.dsp.mel import MelConfig
    from audiotool.files.kinds import Inputs, Outputs


@dataclass(frozen=True, eq=False, repr=False)
class VocodeOptions(TaskOptions):
    """Options of `vocode`."""

    output: Annotated[
        str | None,
        output_option(
            "A file for one input, a folder for several, '-' for WAV, and not a mel, on standard output"
        ),
    ] = None
    mel_only: Annotated[
        bool,
        typer.Option(
            "--mel-only",
            help="Write the recordings' mels: .npy, .npz or .safetensors.",
            rich_help_panel="Mel",
        ),
    ] = False
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="With --mel-only: a mel definition by name, in place of a checkpoint's.",
            rich_help_panel="Mel",
            show_default=False,
            autocompletion=completion.mel_presets,
        ),
    ] = None
    f0: Annotated[
        Path | None,
        typer.Option(
            "--f0",
            metavar="PATH",
            help="F0 in Hz of each frame (.npy), for mel files and vocoders with F0; a folder for several.",
            rich_help_panel="Mel",
            show_default=False,
        ),
    ] = None


class Vocode(InferenceTask):
    """Turn mel spectrograms into speech, or speech into mel spectrograms and back.

    A mel file holds an array (n_mels, frames), made as the checkpoint's model expects it. A .safetensors file
    that audiotool wrote says how it was made; of other files the shape and the range of values are checked. A
    recording is turned into a mel spectrogram and back (copy synthesis), and keeps its sample rate, channels
    and length.

    audiotool vocode --mel-only talk.wav -o talk.safetensors
    audiotool vocode talk.safetensors -o spoken.wav
    audiotool vocode talk.wav -o again.wav --reference talk.wav
    audiotool vocode mels/ -o spoken/ --jobs 4
    audiotool vocode --mel-only talk.wav -o talk.npy --preset hifigan-22k
    """

    name = "vocode"
    verb = "vocoding"
    done = "vocoded"
    takes = "mel"
    options_class = VocodeOptions
    # The input's upper band has not been vocoded, so it must not be in the output.
    settings = {"upper_band": False}  # noqa: RUF012
    scoring = Scoring(("mel_l1", "mrstft", "pesq", "stoi", "f0_rmse", "vuv_error"), best="mel_l1")
    example = "features"
    options: VocodeOptions

    def check(self) -> None:
        options = self.options
        if not options.mel_only:
            if options.preset is not None:
                raise PlanError("--preset belongs to --mel-only: a vocoder's mel is its checkpoint's")
            self._check_f0()
            return
        from audiotool.audio.formats import MEL_ENDINGS, is_mel_name

        for name in ("f0", "reference", "subtype", "bitrate"):
            if getattr(options, name) is not None:
                raise PlanError(f"--mel-only and --{name} exclude each other")
        for place in options.inputs:
            if is_mel_name(place):
                raise PlanError(f"{place} is a mel already: leave out --mel-only to vocode it")
        if options.preset is not None:
            if options.names_checkpoint:
                raise PlanError("--preset and a checkpoint exclude each other: each of them defines the mel")
            self._preset(options.preset)
        if options.format is not None and f".{options.format.lower()}" not in MEL_ENDINGS:
            raise PlanError(f"--format of a mel is one of {', '.join(e[1:] for e in MEL_ENDINGS)}")

    def _check_f0(self) -> None:
        if self.options.f0 is None:
            return
        place, inputs = like_named(self.options.f0), self.options.inputs
        if not place.exists():
            raise PlanError(f"no such F0: {place}")
        if place.is_file() and (len(inputs) > 1 or Path(inputs[0]).is_dir()):
            raise PlanError(f"several inputs need a folder of F0 files, and {place} is a file")

    def inputs(self) -> Inputs:
        from audiotool.audio.formats import MEL_ENDINGS
        from audiotool.files.kinds import Inputs

        recordings = Inputs()
        if self.options.mel_only:
            return recordings
        return Inputs((*recordings.endings, *MEL_ENDINGS), "audio or mel files", self.f0_of)

    def f0_of(self, relative: Path) -> tuple[Path, ...]:
        """Return the file of F0 for an input, from the input's path below its folder."""
        if self.options.f0 is None:
            return ()
        place = like_named(self.options.f0)
        return ((place / relative).with_suffix(".npy") if place.is_dir() else place,)

    def outputs(self, checkpoint: str | None) -> Outputs:
        from audiotool.files.kinds import MelOutputs

        return MelOutputs() if self.options.mel_only else super().outputs(checkpoint)

    def processor(self, checkpoint: str | None) -> FileProcessor:
        if not self.options.mel_only:
            f0 = None if self.options.f0 is None else str(self.options.f0)
            return Vocoding.from_options(self.name, self.options, checkpoint, f0=f0)
        from audiotool.files.features import MelAnalysis

        raw, preset = self.options.raw_samples(), self.options.preset
        if preset is not None:
            return MelAnalysis(self._preset(preset), raw)
        definition = self._definition(checkpoint)
        return MelAnalysis(definition, raw, Inference(self.name, checkpoint).provenance())

    @staticmethod
    def _preset(name: str) -> MelConfig:
        from audiotool.dsp.mel import mel_config

        try:
            return mel_config(name)
        except CheckpointError as error:
            raise PlanError(str(error)) from error

    def _definition(self, checkpoint: str | None) -> MelConfig:
        """Return the definition of the mel that the vocoder of a checkpoint takes."""
        from audiotool.engines.copy_synthesis import mel_of
        from audiotool.files.features import vocoder_of
        from audiotool.named_checkpoints import default_for

        if checkpoint is None:
            try:
                default_for(self.name)
            except CheckpointError as error:
                raise CheckpointError(f"{error}, or --preset NAME for its mel alone") from error
        return mel_of(vocoder_of(Inference(self.name, checkpoint, "cpu").load().engine))


@dataclass(frozen=True)
class Vocoding(Inference):
    """Processor that vocodes mel files, and recordings by copy synthesis.

    Args:
        f0: the option --f0: F0 for mel files; None where the mel files have it or the vocoder takes none.
    """

    f0: str | None = None

    def open(self, threads: int | None = None) -> Process:
        pipeline = self.load(threads)

        def process(inputs: Sequence[str | Path], target: Target, progress: Progress | None) -> FileResult:
            source, *f0 = inputs
            if not self.is_recording(source):
                track = like_named(Path(f0[0])) if f0 else None
                return pipeline.process_file(source, target, progress, self.raw, track)
            if f0:
                name = STANDARD_INPUT if str(source) == PIPE else Path(source).name
                raise InputError(f"{name} is a recording, in which F0 is tracked: --f0 belongs to mel files")
            return pipeline.process_file(source, target, progress, self.raw)

        return process

    def provenance(self) -> dict[str, Any]:
        facts = super().provenance()
        f0 = {} if self.f0 is None else {"f0": self.f0}
        return {**facts, "settings": {**facts["settings"], **f0}}

    def is_recording(self, source: str | Path) -> bool:
        from audiotool.audio.formats import is_mel_name

        return not is_mel_name(source)
