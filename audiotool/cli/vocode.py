"""`audiotool vocode`: mel spectrograms to speech, and speech to mel spectrograms."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audiotool.cli.options import TaskOptions, takes
from audiotool.cli.task import asked_checkpoint, check_options, run_task
from audiotool.errors import CheckpointError, PlanError
from audiotool.paths import like_named

if TYPE_CHECKING:
    from audiotool.dsp.mel import MelConfig

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class VocodeOptions(TaskOptions):
    """What vocoding adds."""

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
        ),
    ] = None
    f0: Annotated[
        str | None,
        typer.Option(
            "--f0",
            metavar="PATH",
            help="F0 in Hz a frame (.npy) for mel files and vocoders that want it; a folder for several.",
            rich_help_panel="Mel",
            show_default=False,
        ),
    ] = None


@app.command()
@takes(VocodeOptions)
def vocode(options: VocodeOptions) -> None:
    """Turn mel spectrograms into speech, or speech into mel spectrograms and back.

    A mel file holds (n_mels, frames). It must be defined as the checkpoint says; a safetensors file made here
    knows its definition, of the others shape and range are checked. A recording is analysed and spoken again
    (copy synthesis), and keeps its sample rate, channels and length.

    audiotool vocode --mel-only talk.wav -o talk.safetensors
    audiotool vocode talk.safetensors -o spoken.wav
    audiotool vocode talk.wav -o again.wav --reference talk.wav
    audiotool vocode mels/ -o spoken/ --jobs 4
    audiotool vocode --mel-only talk.wav -o talk.npy --preset hifigan-22k
    """
    from audiotool.audio.formats import MEL_ENDINGS, readable_endings

    _check(options)
    if options.mel_only:
        work = {"mel": _definition(options)}
        run_task("vocode", options, layout_changes={"writes_mel": True, "done": "mel"}, work_changes=work)
    else:
        reads = (*readable_endings(), *MEL_ENDINGS)
        run_task("vocode", options, layout_changes={"reads": reads}, work_changes={"f0": options.f0})


def _check(options: VocodeOptions) -> None:
    """Refuse options that do not go together, before anything is loaded."""
    check_options(options)
    if not options.mel_only:
        if options.preset is not None:
            raise PlanError("--preset belongs to --mel-only: a vocoder's mel is its checkpoint's")
        _check_f0(options)
        return
    for name in ("f0", "reference", "subtype"):
        if getattr(options, name) is not None:
            raise PlanError(f"--mel-only and --{name} exclude each other")
    if options.preset is not None and asked_checkpoint(options) is not None:
        raise PlanError("--preset and a checkpoint exclude each other: each of them defines the mel")
    if options.format is not None:
        from audiotool.audio.formats import MEL_ENDINGS

        if f".{options.format.lower()}" not in MEL_ENDINGS:
            raise PlanError(f"--format of a mel is one of {', '.join(e[1:] for e in MEL_ENDINGS)}")


def _check_f0(options: VocodeOptions) -> None:
    if options.f0 is None:
        return
    place = like_named(Path(options.f0))
    if not place.exists():
        raise PlanError(f"no such F0: {place}")
    if place.is_file() and (len(options.inputs) > 1 or Path(options.inputs[0]).is_dir()):
        raise PlanError(f"several inputs need a folder of F0 files, and {place} is a file")


def _definition(options: VocodeOptions) -> MelConfig:
    """The mel that --preset or the checkpoint defines."""
    from audiotool.dsp.mel import mel_config

    if options.preset is not None:
        try:
            return mel_config(options.preset)
        except CheckpointError as error:
            raise PlanError(str(error)) from error
    from audiotool.checkpoint import default_for
    from audiotool.files.features import vocoder_of
    from audiotool.pipeline import load
    from audiotool.streaming.copy_synthesis import mel_of

    checkpoint = asked_checkpoint(options)
    if checkpoint is None:
        try:
            default_for("vocode")
        except CheckpointError as error:
            raise CheckpointError(f"{error}, or --preset NAME for its mel alone") from error
    return mel_of(vocoder_of(load(checkpoint or "vocode", "cpu", "vocode").engine))
