"""Options that commands share: each written once, taken by a command as one dataclass.

@app.command()
@takes(DenoiseOptions)
def denoise(options: DenoiseOptions) -> None: ...
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

OptionsT = typing.TypeVar("OptionsT")

Device = Annotated[
    str,
    typer.Option(help="cpu, cuda, cuda:1, mps, or auto.", metavar="DEVICE", rich_help_panel="Computation"),
]


class EngineKind(str, enum.Enum):
    """What runs a model."""

    auto = "auto"
    onnx = "onnx"
    torch = "torch"


EngineChoice = Annotated[
    EngineKind,
    typer.Option(
        "--engine",
        metavar="ENGINE",
        help="What runs the model: onnx (its exported graph), torch, or auto (the graph where there is one).",
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
        help="Worker processes; 0: one a core.",
        rich_help_panel="Computation",
    ),
]


def takes(options_class: type[OptionsT]) -> Callable[[Callable[[OptionsT], None]], Callable[..., None]]:
    """Give a command the fields of a dataclass as its arguments and options."""

    def decorate(command: Callable[[OptionsT], None]) -> Callable[..., None]:
        @functools.wraps(command)
        def call(**values: Any) -> None:
            command(options_class(**values))

        hints = typing.get_type_hints(options_class, include_extras=True)
        parameters = []
        for item in dataclasses.fields(options_class):  # type: ignore[arg-type]
            default = inspect.Parameter.empty
            if item.default is not dataclasses.MISSING:
                default = item.default
            elif item.default_factory is not dataclasses.MISSING:
                default = item.default_factory()
            kind = inspect.Parameter.KEYWORD_ONLY
            parameters.append(
                inspect.Parameter(item.name, kind, default=default, annotation=hints[item.name])
            )
        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {p.name: p.annotation for p in parameters}
        return call

    return decorate


@dataclass(frozen=True)
class TaskOptions:
    """What every task's command takes."""

    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders, glob patterns, or '-' for WAV on standard input.", show_default=False
        ),
    ] = field(default_factory=list)
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="A file for one input, a folder for several, '-' for WAV on standard output; without it"
            " outputs go beside their inputs, as NAME_denoised.wav and the like.",
            show_default=False,
        ),
    ] = None
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A bundled checkpoint; `audiotool models list` names them.",
            rich_help_panel="Model",
            show_default=False,
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
            help="A recipe: the checkpoint that training with it made.",
            rich_help_panel="Model",
            show_default=False,
        ),
    ] = None
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Clean file or folder: scores are reported.",
            rich_help_panel="Report",
            show_default=False,
        ),
    ] = None
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the report as .json or .csv.",
            rich_help_panel="Report",
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
            "--skip-existing", help="Leave inputs out whose outputs exist: resume.", rich_help_panel="Files"
        ),
    ] = False
    format: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT", help="wav, flac, ogg, mp3, …", rich_help_panel="Files", show_default=False
        ),
    ] = None
    subtype: Annotated[
        str | None,
        typer.Option(
            metavar="SUBTYPE", help="PCM_16, PCM_24, FLOAT, …", rich_help_panel="Files", show_default=False
        ),
    ] = None
    device: Device = "auto"
    engine: EngineChoice = EngineKind.auto
    chunk: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=3600,
            metavar="SECONDS",
            help="Seconds a model step takes: memory against speed. Files 10, standard input 0.25.",
            rich_help_panel="Computation",
            show_default=False,
        ),
    ] = None
    rehearse: Annotated[
        bool,
        typer.Option(
            "--rehearse/--no-rehearse",
            help="Let the model hear a file's first seconds once before it processes them, so that the"
            " beginning is as good as the rest; --no-rehearse begins as live streams and pipes do.",
            rich_help_panel="Computation",
        ),
    ] = True
    jobs: Jobs = 1
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False

    def settings(self) -> dict[str, Any]:
        """Keywords of the stream's `Settings`; tasks with more of them extend this."""
        return {"chunk_seconds": self.chunk, "rehearse": self.rehearse}


Mix = Annotated[
    float,
    typer.Option(
        min=0.0,
        max=1.0,
        metavar="SHARE",
        help="1: the output alone; 0: the input alone, aligned.",
        rich_help_panel="Amount",
    ),
]
MaxAttenuation = Annotated[
    float | None,
    typer.Option(
        "--max-attenuation",
        min=0.0,
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
