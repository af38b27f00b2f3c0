"""`audiotool train`: train a model by a recipe."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audiotool.cli import screen
from audiotool.cli.screen import emit, say, write, write_document
from audiotool.errors import InputError
from audiotool.signals import calling_on_request
from audiotool.tasks import completion
from audiotool.tasks.options import AsJson, ProgressChoice, ProgressKind
from audiotool.text import one_line

if TYPE_CHECKING:
    from audiotool.training.trainer import Summary, Trainer

app = typer.Typer(add_completion=False)


@app.command()
def train(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A YAML file, a bundled recipe's name, or a checkpoint that holds one; with --resume, a"
            " run's folder.",
            autocompletion=completion.recipes,
        ),
    ],
    run: Annotated[
        Path | None,
        # torchrun takes --run for an abbreviation of its own.
        typer.Option("--run", "--folder", help="Folder of the run, or else runs/NAME.", show_default=False),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue from the newest state: audiotool train --resume RUN. Where the folder of --run has"
            " none, begin anew.",
        ),
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe: train.batch_size=8."),
    ] = None,
    init_from: Annotated[
        str | None, typer.Option("--init-from", metavar="CHECKPOINT", help="Begin with these weights.")
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            metavar="DEVICE",
            help="cpu, cuda, cuda:1, mps, or auto: cuda where it is there, else cpu.",
            autocompletion=completion.devices,
        ),
    ] = "auto",
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads of the training process; torch chooses unless given."),
    ] = None,
    as_json: AsJson = False,
    progress: ProgressChoice = ProgressKind.auto,
) -> None:
    """Train a model; Ctrl-C saves its state, and --resume goes on from there.

    Start with `torchrun --nproc-per-node N -m audiotool train ... --folder DIR` to use several processes.
    """
    from audiotool.extras import require

    require("lightning_fabric", "training")
    import torch

    from audiotool.recipe import find, load
    from audiotool.training.memory import keep_freed_memory
    from audiotool.training.trainer import Trainer

    overrides = list(settings or [])
    if init_from is not None:
        overrides.append(f"init.checkpoint={init_from}")
    recipe, run = _of_run(recipe, run, resume)
    loaded = load(recipe, overrides)
    if threads is not None:
        torch.set_num_threads(threads)
    # Denormal numbers slow a CPU down a hundredfold.
    torch.set_flush_denormal(True)
    keep_freed_memory()
    folder = run or Path("runs") / loaded.name
    listener = make_listener(loaded.train.steps, progress is ProgressKind.json)
    trainer = Trainer(loaded, folder, device, listener, find(recipe).parent)
    with _stopping_on_signals(trainer) as asked, listener:
        summary = trainer.run(resume)
    if trainer.current.fabric.is_global_zero:
        if progress is ProgressKind.json:
            emit("ended", step=summary.step, steps=summary.steps, elapsed_seconds=round(summary.seconds, 3))
        # A closed terminal cannot be written to. The exit code is that of the interrupt.
        with contextlib.suppress(*[InputError] if summary.interrupted else []):
            _print_summary(summary, folder, as_json)
    if summary.interrupted:
        # Another process of the same training may have received the signal.
        raise typer.Exit(128 + (asked or [signal.SIGINT])[0])


def _of_run(recipe: str, run: Path | None, resume: bool) -> tuple[str, Path | None]:
    """Return the recipe and the folder of a run; with `resume`, `recipe` may be the folder.

    Raises:
        RecipeError: the folder holds no run, or --resume is missing.
    """
    from audiotool.errors import RecipeError
    from audiotool.training.folder import RunFolder

    place = Path(recipe)
    if place.suffix == ".pt" and place.is_file():
        place = place.parent.parent
        raise RecipeError(
            f"{recipe} is the state of a training: `audiotool train --resume {place}` goes on from it"
        )
    if not place.is_dir():
        return recipe, run
    kept = RunFolder.recipe_of(place)
    if not resume:
        raise RecipeError(f"{place} is the folder of a run: go on with `audiotool train --resume {place}`")
    if run is not None and run.resolve() != place.resolve():
        raise RecipeError(f"{place} is the folder of a run, and --run names another: leave --run out")
    return str(kept), place


@contextlib.contextmanager
def _stopping_on_signals(trainer: Trainer) -> Iterator[list[int]]:
    """Stop the run after the current step at the first signal, and at once at the second.

    Yields:
        A list that receives the numbers of the signals.
    """
    asked: list[int] = []

    def stop(number: int, frame: Any) -> None:
        asked.append(number)
        trainer.stop()
        # A closed terminal cannot be written to.
        with contextlib.suppress(OSError):
            say("stopping after this step (again: at once)")

    with calling_on_request(stop):
        yield asked


def _print_summary(summary: Summary, folder: Path, as_json: bool) -> None:
    """Print the checkpoint's path or a JSON document on standard output, the rest on standard error."""
    hours = summary.seconds / 3600
    words = [f"{summary.step} of {summary.steps} steps in {hours:.2f} h"]
    if summary.skipped:
        words.append(f"{summary.skipped} skipped")
    if summary.best is not None:
        step, metric, value = summary.best
        words.append(f"best {metric} {value:.4g} at step {step}")
    if summary.interrupted:
        words.append(f"state saved, go on with --resume {folder}")
    say(", ".join(words))
    there = summary.checkpoint.exists()
    if as_json:
        names = ("step", "metric", "value")
        best = None if summary.best is None else dict(zip(names, summary.best, strict=True))
        write_document(
            "train",
            run=str(folder),
            checkpoint=str(summary.checkpoint) if there else None,
            step=summary.step,
            steps=summary.steps,
            seconds=summary.seconds,
            skipped=summary.skipped,
            best=best,
            interrupted=summary.interrupted,
        )
    elif there:
        write(one_line(str(summary.checkpoint)) + "\n")


def make_listener(steps: int, as_json: bool) -> Any:
    """Return a listener of the training, a context manager: a bar on a terminal, plain lines, or events."""
    if as_json:
        return EventListener(steps)
    return BarListener(steps) if sys.stderr.isatty() else LineListener(steps)


SILENCE_SECONDS = 60.0
"""Without a terminal a line is written at least every so many seconds."""


class LineListener:
    """Prints one line of text for each line of the log."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.began = (0, time.monotonic())
        self.spoke = time.monotonic()

    def __enter__(self) -> LineListener:
        return self

    def __exit__(self, *error: Any) -> None: ...

    def preparing(self, what: str) -> None:
        self.say(what)

    def decoding(self, done: int, count: int | None) -> None:
        if self._silent():
            self.say(f"decoding recordings, once: {done:,} of {count:,}")

    def started(self, step: int, steps: int, facts: dict[str, Any]) -> None:
        self.began = (step, time.monotonic())
        self.say(f"{facts['parameters']:,} parameters on {facts['device']}, step {step} of {steps}")

    def stepped(self, step: int) -> None:
        if step == self.began[0] + 1 or self._silent():
            self.say(f"step {step}/{self.steps}, {self.remaining(step)} to go")

    def logged(self, step: int, values: dict[str, float]) -> None:
        self.say(f"step {step}/{self.steps} {_numbers(values)}, {self.remaining(step)} to go")

    def validated(self, step: int, values: dict[str, float]) -> None:
        self.say(f"validation at step {step} {_numbers(values)}")

    def say(self, text: str) -> None:
        sys.stderr.write(f"{time.strftime('%H:%M:%S')} {one_line(text)}\n")
        sys.stderr.flush()
        self.spoke = time.monotonic()

    def remaining(self, step: int) -> str:
        """Return the time to the end at the speed so far: 2 days 3 h, 14 h 57 min, 3 min 5 s."""
        return duration(round(self.eta_seconds(step)))

    def eta_seconds(self, step: int) -> float:
        """Return the time to the end in seconds."""
        return (time.monotonic() - self.began[1]) / max(step - self.began[0], 1) * (self.steps - step)

    def _silent(self) -> bool:
        return time.monotonic() - self.spoke > SILENCE_SECONDS


def duration(seconds: int) -> str:
    """Return a time in seconds as text, in its two largest units."""
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"


class EventListener(LineListener):
    """Writes an event for each line of the log, see `--progress json`."""

    def preparing(self, what: str) -> None:
        emit("message", level="info", text=one_line(what))

    def decoding(self, done: int, count: int | None) -> None:
        if self._silent():
            self._emit("decoding", done=done, total=count)

    def started(self, step: int, steps: int, facts: dict[str, Any]) -> None:
        self.began = (step, time.monotonic())
        self._emit("begun", command="train", step=step, total=steps, **facts)

    def stepped(self, step: int) -> None:
        if self._silent():
            self._at("progress", step)

    def logged(self, step: int, values: dict[str, float]) -> None:
        self._at("progress", step, values=values)

    def validated(self, step: int, values: dict[str, float]) -> None:
        self._at("validated", step, values=values)

    def _at(self, event: str, step: int, **fields: Any) -> None:
        self._emit(event, step=step, total=self.steps, eta_seconds=round(self.eta_seconds(step), 1), **fields)

    def _emit(self, event: str, **fields: Any) -> None:
        emit(event, **fields)
        self.spoke = time.monotonic()


class BarListener(LineListener):
    """Shows a progress bar, with validations as lines above it."""

    def __init__(self, steps: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

        super().__init__(steps)
        self.progress = screen.progress(
            MofNCompleteColumn(),
            BarColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.description}", markup=False),
            transient=False,
            disable=False,
        )
        self.task = self.progress.add_task("", total=steps)

    def __exit__(self, *error: Any) -> None:
        self.progress.stop()

    def started(self, step: int, steps: int, facts: dict[str, Any]) -> None:
        # Started here because only the first of several processes gets here.
        self.progress.start()
        super().started(step, steps, facts)
        # The estimate of the time left must not count the steps of an earlier process.
        self.progress.reset(self.task, completed=step)

    def stepped(self, step: int) -> None:
        self.progress.update(self.task, completed=step)

    def logged(self, step: int, values: dict[str, float]) -> None:
        speed = values.get("audio_seconds_per_second")
        text = f"loss {values.get('loss', float('nan')):.4g}"
        if speed is not None:
            text += f", {speed:.0f} s audio/s"
        self.progress.update(self.task, description=text)

    def say(self, text: str) -> None:
        self.progress.console.print(one_line(text))
        self.spoke = time.monotonic()


def _numbers(values: dict[str, float]) -> str:
    return " ".join(f"{name}={value:.4g}" for name, value in values.items())
