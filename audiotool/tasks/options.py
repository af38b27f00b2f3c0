"""Arguments and options: those that several commands share, and those of every task's command."""

from __future__ import annotations

import enum
import glob
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audiotool.audio import PIPE
from audiotool.errors import PlanError, as_plan_error
from audiotool.tasks import completion

if TYPE_CHECKING:
    from audiotool.audio.raw import Raw


def a_number(value: float | None) -> float | None:
    """Check that a value is not "nan", which passes every range.

    Raises:
        typer.BadParameter: the value is not a number.
    """
    if value is not None and math.isnan(value):
        raise typer.BadParameter("nan is not a number.")
    return value


Device = Annotated[
    str,
    typer.Option(
        help="cpu, cuda, cuda:1, mps, or auto: cpu for a model with a graph (all bundled ones), else cuda if"
        " there.",
        metavar="DEVICE",
        rich_help_panel="Computation",
        autocompletion=completion.devices,
    ),
]


class EngineKind(str, enum.Enum):
    """Choices of --engine."""

    auto = "auto"
    onnx = "onnx"
    torch = "torch"


EngineChoice = Annotated[
    EngineKind,
    typer.Option(
        "--engine",
        metavar="ENGINE",
        help="Engine of the model: onnx (its exported graph), torch, or auto (the graph if there is one).",
        rich_help_panel="Computation",
    ),
]
Jobs = Annotated[
    int,
    typer.Option(
        "--jobs",
        "-j",
        min=0,
        metavar="N",
        help="Number of worker processes; 0: one per core.",
        rich_help_panel="Computation",
    ),
]


Reports = Annotated[
    list[Path],
    typer.Option(
        metavar="FILE",
        help="Write the report: .html to look at and listen to, .json, .csv, .md; several times for several.",
        rich_help_panel="Report",
        show_default=False,
    ),
]


class ReportAudioChoice(str, enum.Enum):
    """Choices of --report-audio: where the sound of a report's page is."""

    embed = "embed"
    link = "link"
    none = "none"


ReportAudio = Annotated[
    ReportAudioChoice | None,
    typer.Option(
        "--report-audio",
        metavar="HOW",
        help="Sound of an .html report: embed (a single file), link (to the recordings at their paths),"
        " none; without it, embedded while it is small.",
        rich_help_panel="Report",
        show_default=False,
    ),
]


AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document, not text.", rich_help_panel="Report"),
]


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]


class ProgressKind(str, enum.Enum):
    """Choices of --progress."""

    auto = "auto"
    json = "json"


ProgressChoice = Annotated[
    ProgressKind,
    typer.Option(
        help="Progress on standard error: auto (bars on a terminal, lines elsewhere) or json, one event"
        " per line: started, done, failed, seconds to go.",
        rich_help_panel="Report",
    ),
]


def raw_rate_option(*names: str) -> Any:
    """Return the option for the sample rate of bare samples, with these names."""
    return typer.Option(
        *names,
        min=1,
        max=768000,
        metavar="HZ",
        help="Sample rate of bare samples in Hz.",
        rich_help_panel="Bare samples",
        show_default=False,
    )


def output_option(places: str) -> Any:
    """Return the option for the outputs' places."""
    return typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        help=f"{places}; without it outputs go beside their inputs, named after what was done.",
        show_default=False,
    )


RawRate = Annotated[int | None, raw_rate_option("--raw-rate", "--rate")]


@dataclass(frozen=True, eq=False, repr=False)
class TaskOptions:
    """Arguments and options of every task's command.

    Nothing compares or prints options; methods for that, over so many fields, would slow down every start.
    """

    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders, glob patterns, URLs (s3://), or '-' for WAV on standard input.",
            show_default=False,
        ),
    ] = field(default_factory=list)
    output: Annotated[
        str | None,
        output_option("A file for one input, a folder for several, '-' for WAV on standard output"),
    ] = None
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A checkpoint's name, or its file; `audiotool models list` has the names.",
            rich_help_panel="Model",
            show_default=False,
            autocompletion=completion.models_of_task,
        ),
    ] = None
    checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A checkpoint file.", rich_help_panel="Model", show_default=False),
    ] = None
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="A recipe, for the checkpoint that was trained with it.",
            rich_help_panel="Model",
            show_default=False,
            autocompletion=completion.recipes,
        ),
    ] = None
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Clean file or folder: scores are reported.",
            rich_help_panel="Report",
            show_default=False,
        ),
    ] = None
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Metrics, with commas; the task's unless given. Metrics that need no reference, as"
            " dnsmos, are scored without --reference.",
            rich_help_panel="Report",
            show_default=False,
            autocompletion=completion.metrics,
        ),
    ] = None
    report: Reports = field(default_factory=list)
    report_audio: ReportAudio = None
    as_json: AsJson = False
    progress: ProgressChoice = ProgressKind.auto
    listed: Annotated[
        str | None,
        typer.Option(
            "--list",
            metavar="FILE",
            help="Take inputs from a list as well: one path per line, or a CSV with the columns input, output"
            " and reference; '-' reads it from standard input.",
            rich_help_panel="Files",
            show_default=False,
        ),
    ] = None
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Do the I-th of N equal shares, for schedulers of clusters: 3/64. The report's name gets"
            " -0003-of-0064.",
            rich_help_panel="Computation",
            show_default=False,
        ),
    ] = None
    suffix: Annotated[
        str,
        typer.Option(
            metavar="TEXT", help="Put between an output's name and its ending.", rich_help_panel="Files"
        ),
    ] = ""
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace outputs that exist.", rich_help_panel="Files")
    ] = False
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            help="Skip inputs whose outputs exist and are not older, to resume.",
            rich_help_panel="Files",
        ),
    ] = False
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print what would be read, skipped and written, and do nothing.",
            rich_help_panel="Files",
        ),
    ] = False
    format: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT",
            help="wav, flac, ogg, mp3, m4a, mp4, …",
            rich_help_panel="Files",
            show_default=False,
            autocompletion=completion.formats,
        ),
    ] = None
    subtype: Annotated[
        str | None,
        typer.Option(
            metavar="SUBTYPE",
            help="PCM_16, PCM_24, FLOAT, …",
            rich_help_panel="Files",
            show_default=False,
            autocompletion=completion.subtypes,
        ),
    ] = None
    bitrate: Annotated[
        int | None,
        typer.Option(
            min=6,
            max=1024,
            metavar="KBPS",
            help="Bit rate of MP3 (constant), Opus and AAC, in kbit/s of all channels, for example 192.",
            rich_help_panel="Files",
            show_default=False,
        ),
    ] = None
    raw: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT",
            help="Format of bare samples (raw PCM, without a header): u8, s16le, s24le, s32le, f32le, f64le,"
            " mulaw or alaw. Files named .ulaw, .alaw, .raw or .pcm are read as such, and written as WAV."
            " Standard input, named pipes and standard output hold them in place of WAV, and output follows"
            " after every hop.",
            rich_help_panel="Bare samples",
            show_default=False,
            autocompletion=completion.raw_formats,
        ),
    ] = None
    raw_rate: RawRate = None
    channels: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=255,
            metavar="N",
            help="Channels of bare samples, interleaved; 1 unless given.",
            rich_help_panel="Bare samples",
            show_default=False,
        ),
    ] = None
    device: Device = "auto"
    engine: EngineChoice = EngineKind.auto
    chunk: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=3600,
            callback=a_number,
            metavar="SECONDS",
            help="Seconds of audio in a model step; longer steps are faster and take more memory. 10 for"
            " files, 0.25 for standard input, one hop with --raw.",
            rich_help_panel="Computation",
            show_default=False,
        ),
    ] = None
    warm_up: Annotated[
        bool,
        typer.Option(
            "--warm-up/--no-warm-up",
            help="Run the model over a file's first seconds before it processes them, so that the"
            " beginning is as good as the rest; --no-warm-up begins as live streams and pipes do.",
            rich_help_panel="Computation",
        ),
    ] = True
    rehearse: Annotated[bool | None, typer.Option("--rehearse/--no-rehearse", hidden=True)] = None
    """Name of `warm_up` until 0.1; takes precedence over it."""
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Work on a Ray cluster: auto is that of this machine or of RAY_ADDRESS, else HOST:PORT or"
            " ray://HOST:PORT.",
            rich_help_panel="Computation",
            show_default=False,
        ),
    ] = None
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            min=0,
            metavar="N",
            help="Number of worker processes; 0: one per core. Unless given 1, on a cluster one per core.",
            rich_help_panel="Computation",
            show_default=False,
        ),
    ] = None
    quiet: Quiet = False

    @property
    def names_checkpoint(self) -> bool:
        """Whether --model, --checkpoint or --recipe is given."""
        return any(value is not None for value in (self.model, self.checkpoint, self.recipe))

    @property
    def residual_place(self) -> str | None:
        """Path of the residual, input minus output; None writes none."""
        return None

    @property
    def writes_to_stdout(self) -> bool:
        """Whether standard output is written: by -o -, or for standard input without -o."""
        return self.output == PIPE or (self.output is None and self.inputs == [PIPE])

    def raw_samples(self) -> Raw | None:
        """Return the format of bare samples; None where --raw is not given.

        Raises:
            PlanError: the options of bare samples do not go together.
        """
        if self.raw is None:
            if self.raw_rate is not None or self.channels is not None:
                raise PlanError(
                    "a rate and --channels are those of bare samples: say what they are with --raw"
                )
            return None
        from audiotool.audio.formats import BARE_ENDINGS
        from audiotool.audio.raw import Raw

        for name in ("format", "subtype", "bitrate"):
            if getattr(self, name) is not None and self.writes_to_stdout:
                raise PlanError(f"--raw says what standard output holds: leave --{name} out")
        may_read_some = self.listed is not None or any(map(_may_hold_files, self.inputs))
        reads_some = any(map(_is_bare, self.inputs)) or (may_read_some and not self.writes_to_stdout)
        if reads_some and self.raw_rate is None:
            raise PlanError("bare samples do not say their rate: give --raw-rate HZ")
        if not reads_some and not self.writes_to_stdout:
            raise PlanError(
                "--raw is for pipes and for files that are named as bare samples:"
                f" {', '.join(BARE_ENDINGS)}; any other comes through a pipe: `- < FILE`"
            )
        if not reads_some and not may_read_some and (self.raw_rate, self.channels) != (None, None):
            raise PlanError(
                "--raw-rate and --channels describe bare samples that are read, and here none are: leave them"
                " out; standard output has the sample rate and the channels of the output"
            )
        with as_plan_error():
            return Raw(self.raw, self.raw_rate, self.channels or 1)

    def settings(self) -> dict[str, Any]:
        """Return the keywords of the stream's `Settings`; tasks with more options extend them."""
        warm_up = self.warm_up if self.rehearse is None else self.rehearse
        return {"chunk_seconds": self.chunk, "warm_up": warm_up}


def _is_bare(text: str) -> bool:
    """Whether an input holds bare samples: a pipe, or a file so named."""
    from audiotool.audio.formats import is_bare_name
    from audiotool.paths import is_fifo

    return text == PIPE or is_fifo(text) or is_bare_name(text)


def _may_hold_files(text: str) -> bool:
    """Whether an input may stand for several files: a folder, a pattern or a URL."""
    from audiotool.paths import is_url

    return os.path.isdir(text) or text.endswith(("/", os.sep)) or is_url(text) or glob.has_magic(text)


Mix = Annotated[
    float,
    typer.Option(
        min=0.0,
        max=1.0,
        callback=a_number,
        metavar="SHARE",
        help="1: only the output; 0: only the input, aligned.",
        rich_help_panel="Amount",
    ),
]
MaxAttenuation = Annotated[
    float | None,
    typer.Option(
        "--max-attenuation",
        min=0.0,
        callback=a_number,
        metavar="DB",
        help="Never remove more than this many dB.",
        rich_help_panel="Amount",
        show_default=False,
    ),
]
Residual = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="Also write input minus output: a file for one input, a folder for several.",
        rich_help_panel="Files",
        show_default=False,
    ),
]


@dataclass(frozen=True, eq=False, repr=False)
class EnhancementOptions(TaskOptions):
    """Options of tasks whose output is a cleaner version of the input: mix, greatest attenuation,
    residual."""

    mix: Mix = 1.0
    max_attenuation: MaxAttenuation = None
    residual: Residual = None

    @property
    def residual_place(self) -> str | None:
        return self.residual

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "mix": self.mix, "max_attenuation_db": self.max_attenuation}
