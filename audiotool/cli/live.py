"""`audiotool live`: the microphone, denoised, to a loudspeaker or a virtual microphone."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audiotool.cli.causal import causal
from audiotool.cli.keys import keys
from audiotool.cli.screen import console, say, show, table, write_document
from audiotool.errors import InputError, PlanError, UnfitCheckpoint
from audiotool.signals import RAISED
from audiotool.stdio import silent_libraries
from audiotool.tasks import completion
from audiotool.tasks.options import AsJson, EngineChoice, EngineKind, MaxAttenuation, Mix, Quiet, a_number
from audiotool.text import printable

if TYPE_CHECKING:
    from audiotool.live.backend import Backend, Device, Form
    from audiotool.live.loop import LiveLoop
    from audiotool.live.recorder import Recorder
    from audiotool.pipeline import Pipeline

app = typer.Typer(add_completion=False)

REFRESH_SECONDS = 0.1
WARNING_SECONDS = 10.0
"""Least seconds between two warnings of underruns."""

QUIETEST_DB = -60.0
BAR = 12
"""Width of a meter in characters."""

LAYOUTS = ((BAR, 3), (BAR, 2), (BAR // 2, 2), (0, 2), (BAR // 2, 1), (0, 1))
"""Widths of the meters, and how many of keys, gaps and latency follow them: of these the first that fits."""

FASTEST = "denoise-tiny-16k"
"""The checkpoint for a machine on which another is too slow."""


def open_backend() -> Backend:
    """Return the sound system of this machine."""
    from audiotool.live.portaudio import PortAudio

    return PortAudio()


@app.command()
@silent_libraries()  # ALSA and PortAudio
def live(
    input: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="DEVICE",
            help="Microphone: its number, or a part of its name.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            metavar="DEVICE",
            help="Loudspeaker or virtual microphone: its number, or a part of its name.",
            show_default=False,
        ),
    ] = None,
    list_devices: Annotated[
        bool, typer.Option("--list-devices", help="Print the devices and leave.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A causal denoiser's bundled checkpoint.",
            show_default=False,
            autocompletion=completion.denoisers,
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A checkpoint file.", show_default=False)
    ] = None,
    engine: EngineChoice = EngineKind.auto,
    max_attenuation: MaxAttenuation = None,
    mix: Mix = 1.0,
    rate: Annotated[
        int | None,
        typer.Option(
            min=1000,
            max=768000,
            metavar="HZ",
            help="Sample rate of both devices; their own unless given.",
            show_default=False,
        ),
    ] = None,
    block: Annotated[
        int | None,
        typer.Option(
            min=16,
            max=65536,
            metavar="SAMPLES",
            help="Block of a callback; the model's hop unless given.",
            show_default=False,
        ),
    ] = None,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure",
            help="Measure the latency first, up to 1 s, by bursts of noise through a cable or a monitor.",
        ),
    ] = False,
    record: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="IN OUT", help="Write input and output to two new files.", show_default=False),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=0.1, callback=a_number, metavar="N", help="Stop after this time.", show_default=False
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Denoise a microphone as you speak. Keys: b switches between output and input, q ends.

    Wear headphones, or let --output be a virtual microphone: a loudspeaker would be heard by the microphone.
    A device that is unplugged, or a full disk, ends the command, and the recordings are kept.
    """
    backend = open_backend()
    if list_devices:
        (_write_devices if as_json else _print_devices)(backend)
        return
    if model is not None and checkpoint is not None:
        raise PlanError("--model and --checkpoint exclude each other")
    if record is not None:
        from audiotool.live.recorder import check_places

        check_places(*record)
    from audiotool.live.backend import choose
    from audiotool.live.loop import LiveLoop

    source, sink = choose(backend, input), choose(backend, output, output=True)
    pipeline = _load(model, checkpoint, engine, mix=mix, max_attenuation_db=max_attenuation)
    form = _form(backend, source, sink, pipeline, rate, block)
    stream = causal(pipeline.at(form.sample_rate)).live(form.sample_rate)
    devices = _measured(backend, form) if measure else None
    ended: BaseException | None = None
    with _recording(record, form.sample_rate) as recorder:
        loop = LiveLoop(backend, form, stream, recorder, devices)
        try:
            try:
                loop.start()
                if not quiet:
                    say(
                        f"'{source.name}' to '{sink.name}', {form.sample_rate} Hz, blocks of {form.block}:"
                        f" {loop.latency_seconds * 1000:.0f} ms from end to end"
                        f"{'' if devices is None else ', measured'},"
                        f" {stream.latency_seconds * 1000:.0f} of them the model's"
                    )
                faster = "" if model == FASTEST else f", or --model {FASTEST}"
                _watch(loop, seconds, quiet, f"try a larger --block{faster}")
            finally:
                loop.stop()
        except BaseException as error:
            ended = error  # however a stream ends, it has a document
        if not quiet:
            say(f"{loop.seconds:.1f} s, {_gaps(loop)}")
    interrupted = isinstance(ended, RAISED)
    if as_json and (loop.callbacks or ended is None or interrupted):
        facts = {**_facts(loop, form, source, sink), "interrupted": interrupted}
        if recorder is not None and recorder.kept:
            facts |= {"recordings": list(map(str, recorder.kept)), "recordings_lost": recorder.lost}
        # A closed terminal cannot be written to. The exit code is that of the interrupt.
        with contextlib.suppress(*[] if ended is None else [InputError]):
            write_document("live", **facts)
    if recorder is not None:
        recorder.check()
    if ended is not None:
        raise ended


def _load(model: str | None, path: Path | None, engine: EngineKind, **settings: Any) -> Pipeline:
    """Load the pipeline of a live stream.

    Raises:
        UnfitCheckpoint: it does not turn a waveform into speech, as separators and vocoders do not.
    """
    from audiotool.tasks.base import TASKS
    from audiotool.tasks.load import load

    name = path if path is not None else model or "denoise"
    pipeline = load(name, engine=engine.value, threads=1, **settings)
    task = TASKS.get(pipeline.task)
    if (task.takes, task.gives) != ("waveform", "speech"):
        raise UnfitCheckpoint(f"{name} was made to {task.name}: live needs a checkpoint that gives speech")
    return pipeline


def _measured(backend: Backend, form: Form) -> float:
    from audiotool.live.measure import round_trip

    say("measuring: bursts of noise are played")
    return round_trip(backend, form)


def _form(
    backend: Backend, source: Device, sink: Device, pipeline: Pipeline, rate: int | None, block: int | None
) -> Form:
    """Return sample rate and block: the given ones, else the devices' rate and the model's hop at that
    rate."""
    from audiotool.live.backend import agree

    def block_of(rate: int) -> int:
        engine = pipeline.at(rate).engine
        return block or math.ceil(engine.hop_length * rate / engine.sample_rate)

    own = (source.sample_rate, sink.sample_rate, pipeline.sample_rate, 48000, 44100)
    return agree(backend, source, sink, own if rate is None else (rate,), block_of)


@contextlib.contextmanager
def _recording(places: tuple[Path, Path] | None, sample_rate: int) -> Iterator[Recorder | None]:
    """Yield the recorder, if there is one, and keep its recordings however the stream ends."""
    if places is None:
        yield None
        return
    from audiotool.live.recorder import Recorder

    recorder = Recorder(*places, sample_rate)
    try:
        yield recorder
    finally:
        recorder.commit()
        for path in recorder.kept:
            if path not in places:
                say(f"a file of its name has appeared meanwhile, and stays: the recording is {path}")
        if recorder.lost:
            say(f"the disk was too slow: {recorder.lost} blocks of the recordings are silence")


def _watch(loop: LiveLoop, seconds: float | None, quiet: bool, advice: str) -> None:
    """Run the meter and the keys until q is pressed or the time is over.

    Args:
        advice: what helps against gaps.
    Raises:
        DeviceError: the devices have stopped, or the time was over before any sample had come.
        AudiotoolError: the model or a recording failed.
    """
    end = math.inf if seconds is None else time.monotonic() + seconds
    reported, reported_at = 0.0, time.monotonic()
    with keys() as wait, _meter(quiet) as draw:
        while (left := end - time.monotonic()) > 0:
            key = wait(min(REFRESH_SECONDS, left))
            if key == "q":
                return
            if key == "b":
                loop.bypass = not loop.bypass
            before = loop.reopened
            loop.check()
            if loop.reopened > before and not quiet:
                say(
                    "the devices had stopped and were opened again with longer buffers:"
                    f" {loop.latency_seconds * 1000:.0f} ms from end to end"
                )
            draw(loop)
            gaps = loop.underruns + loop.overruns + loop.lost_seconds + loop.reopened
            if gaps > reported and not quiet and time.monotonic() - reported_at >= WARNING_SECONDS:
                say(f"{_gaps(loop)}: {advice}")
                reported, reported_at = gaps, time.monotonic()
    loop.check_begun()


@contextlib.contextmanager
def _meter(quiet: bool) -> Iterator[Any]:
    """Yield a function that draws the levels of a loop in a line of standard error if it is a terminal."""
    screen = console(to_stderr=True)
    if quiet or not screen.is_terminal:
        yield lambda loop: None
        return
    from rich.live import Live
    from rich.text import Text

    with Live(console=screen, auto_refresh=False, transient=True, redirect_stdout=False) as shown:

        def draw(loop: LiveLoop) -> None:
            line = meter_line(loop, screen.width, screen.options.ascii_only)
            shown.update(Text(line, no_wrap=True), refresh=True)

        yield draw


def meter_line(loop: LiveLoop, width: int, ascii_only: bool = False) -> str:
    """Return the meter: levels of input and output, keys, underruns and overruns, latency.

    Args:
        width: of the terminal in characters; what has no room is left out, the keys last.
        ascii_only: True where the terminal has no blocks.
    """
    levels = loop.levels()
    keys_shown = "BYPASS (b)" if loop.bypass else "b bypass, q quit"
    others = (keys_shown, _gaps(loop), f"{loop.latency_seconds * 1000:.0f} ms")

    def line(bar: int, count: int) -> str:
        before, after = (_level(peak, bar, ascii_only) for peak in (levels.before, levels.after))
        return "  ".join((f"in {before}", f"out {after}", *others[:count]))

    return next((found for layout in LAYOUTS if len(found := line(*layout)) <= width), keys_shown)


def _level(peak: float, bar: int, ascii_only: bool) -> str:
    """Return a peak as a bar of a width in characters, without one if that is 0, and in dB."""
    level = max(QUIETEST_DB, 20 * math.log10(max(peak, 1e-9)))
    filled = round(bar * (1 - level / QUIETEST_DB)) if level < 0 else bar
    block, empty = "#." if ascii_only else "█·"
    return f"{block * filled}{empty * (bar - filled)}{' ' if bar else ''}{level:3.0f} dB"


def _gaps(loop: LiveLoop) -> str:
    lost = f", {loop.lost_seconds:.2f} s of input lost" if loop.lost_seconds else ""
    reopened = f", devices reopened: {loop.reopened}" if loop.reopened else ""
    return f"{loop.underruns} underruns, {loop.overruns} overruns{lost}{reopened}"


def _facts(loop: LiveLoop, form: Form, source: Device, sink: Device) -> dict[str, Any]:
    """Return the fields of the JSON document of a stream."""
    return {
        "input": source.name,
        "output": sink.name,
        "sample_rate": form.sample_rate,
        "block": form.block,
        "latency_ms": round(loop.latency_seconds * 1000, 3),
        "seconds": round(loop.seconds, 3),
        "underruns": loop.underruns,
        "overruns": loop.overruns,
        "lost_seconds": round(loop.lost_seconds, 3),
        "reopened": loop.reopened,
    }


def _write_devices(backend: Backend) -> None:
    source, sink = backend.defaults()
    devices = [
        {
            "name": device.name,
            "number": device.number,
            "inputs": device.inputs,
            "outputs": device.outputs,
            "sample_rate": device.sample_rate,
            "default_input": device.number == source,
            "default_output": device.number == sink,
        }
        for device in backend.devices()
    ]
    write_document("live", devices=devices)


def _print_devices(backend: Backend) -> None:
    devices = backend.devices()
    if not devices:
        say("there are no devices: plug one in, or start the sound server")
        return
    rows = table("device", "number", "inputs", "outputs", "Hz", "default")
    source, sink = backend.defaults()
    for device in devices:
        default = [name for name, number in (("input", source), ("output", sink)) if number == device.number]
        cells = (device.number, device.inputs, device.outputs, device.sample_rate, ", ".join(default))
        rows.add_row(printable(device.name), *map(str, cells))
    show(rows)
