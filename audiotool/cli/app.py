"""The `audiotool` command: finds its subcommands, and turns errors into one line and an exit code.

A subcommand is a task (`cli/tasks.py`), or a module of this package with
`app = typer.Typer(add_completion=False)`; its name is the module's, with hyphens. One command in that Typer
makes a command, several a group (`cls=Group`). Modules are imported when they are needed and import nothing
heavy themselves, so that `audiotool --help` stays fast. They raise `AudiotoolError`, or `typer.Exit(1)` once
failed jobs have been reported.

Exit codes: `EXIT_CODES`.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import functools
import importlib
import importlib.util
import itertools
import logging
import os
import pkgutil
import shlex
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer._completion_classes import completion_init

import audiotool.cli
from audiotool import signals, stdio
from audiotool.audio.formats import is_audio_name, is_media_name
from audiotool.cli import screen, shells, tasks
from audiotool.cli.local_paths import refuse_urls
from audiotool.cli.metavars import unify_metavars
from audiotool.cli.narrow_help import plain_where_narrow
from audiotool.cli.paragraphs import flow
from audiotool.cli.screen import fail, say, write
from audiotool.cli.usage import Group, describe, is_of_click, is_usage_error, keep_context
from audiotool.discovery import warn_once
from audiotool.errors import AudiotoolError
from audiotool.extras import explained
from audiotool.tasks.base import TASKS
from audiotool.text import printable_lines
from audiotool.version import __version__

UNKNOWABLE = (errno.ENAMETOOLONG, errno.EACCES)
"""Errors of names of which the system cannot say whether there is such a file."""

EXIT_CODES = (
    "Exit codes: 0 all well, 1 something failed, 2 the command line or a recipe is wrong, or a package is"
    " missing, 130 interrupted by Ctrl-C, 129 by a closed terminal or a lost connection, 143 by SIGTERM, 149"
    " by Ctrl-Break."
)


class Subcommands(Group):
    """The tasks and the modules of `audiotool.cli`, as commands."""

    debug = False
    words: Sequence[str] = ()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        keep_context(self)
        unify_metavars(self)
        plain_where_narrow(self)
        self._found: dict[str, Any] = {}

    def list_commands(self, ctx: Any) -> list[str]:
        modules = (m.name for m in pkgutil.iter_modules(audiotool.cli.__path__))
        found = [name.replace("_", "-") for name in modules if self._typer(name) is not None]
        return sorted([*found, *filter(self._is_usable, tasks.names())])

    def _is_usable(self, task: str) -> bool:
        """Return whether a command can be made of a task; else a warning names its package."""
        try:
            return self.get_command(None, task) is not None
        except AudiotoolError as error:
            warn_once(str(error))
            return False

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self._found:
            self._found[cmd_name] = self._command(cmd_name)
        return self._found[cmd_name]

    def _command(self, cmd_name: str) -> Any:
        found = self._typer(cmd_name.replace("-", "_"))
        if found is None and cmd_name not in TASKS:
            return None
        command: Any = tasks.command_of(cmd_name) if found is None else typer.main.get_command(found)
        command.name = cmd_name
        for each in _with_subcommands(command):
            _reserve_output(each)
            keep_context(each)
            unify_metavars(each)
            refuse_urls(each)
            flow(each)
            plain_where_narrow(each)
        return command

    def hint(self, ctx: Any, word: str) -> str:
        return _task_before(word) or self._below(ctx, word) or super().hint(ctx, word)

    def _below(self, ctx: Any, word: str) -> str:
        """Return the commands of groups that have a name, the end of a message; "" if none has."""
        groups = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        found = [f"'{name} {word}'" for name, group in groups if word in getattr(group, "commands", ())]
        return f"; did you mean {' or '.join(found)}?" if found else ""

    def main(self, args: Sequence[str] | None = None, *extra: Any, **options: Any) -> Any:
        """Take `--debug` from anywhere before a `--`, then run the command."""
        words = list(sys.argv[1:] if args is None else args)
        end = words.index("--") if "--" in words else len(words)
        self.debug = "--debug" in words[:end]
        # Errors of the line itself are events, too.
        screen.use_json_events(_asks_for_events(words[:end]))
        self._start_log()
        words = [w for n, w in enumerate(words) if w != "--debug" or n >= end]
        self.words = words
        return super().main(words, *extra, **options)

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        # Help and the version are printed here, before anything is invoked.
        with self._errors_to_exit_codes():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        with self._errors_to_exit_codes(ctx):
            return super().invoke(ctx)

    @contextlib.contextmanager
    def _errors_to_exit_codes(self, ctx: Any = None) -> Iterator[None]:
        """Turn exceptions into one line on standard error and an exit code."""
        try:
            yield
        except KeyboardInterrupt:
            # All is cleaned up; a second interrupt would only spoil the message and the exit code.
            signals.finish()
            say("interrupted")
            raise typer.Exit(130) from None
        except BrokenPipeError:
            # The reader of a pipe has closed it.
            raise typer.Exit(1) from None
        except AudiotoolError as error:
            if self.debug:
                raise
            fail(f"error: {error}", error.exit_code)
            raise typer.Exit(error.exit_code) from None
        except Exception as error:
            if is_usage_error(error):
                fail(describe(error, self.words), 2)
                raise typer.Exit(2) from None
            if self.debug or is_of_click(error):
                raise
            if isinstance(error, OSError) and error.errno in UNKNOWABLE and error.filename:
                fail(f"error: {os.fsdecode(error.filename)}: {error.strerror}", 2)
                raise typer.Exit(2) from None
            command = " ".join(filter(None, ("audiotool", getattr(ctx, "invoked_subcommand", None))))
            missing = explained(error, command) if isinstance(error, ImportError) else None
            if missing is not None:
                fail(f"error: {missing}", missing.exit_code)
                raise typer.Exit(missing.exit_code) from None
            fail(f"internal error: {type(error).__name__}: {error} (--debug shows where)", 1)
            raise typer.Exit(1) from None

    def _start_log(self) -> None:
        """Send the log to standard error."""
        handler = logging.StreamHandler(sys.stderr)
        text = "%(asctime)s %(name)s: %(message)s" if self.debug else "audiotool: %(message)s"
        handler.setFormatter(screen.LogFormatter(text))
        logging.basicConfig(level=logging.WARNING, handlers=[handler])
        # Other packages write requests with passwords and signed addresses.
        logging.getLogger("audiotool").setLevel(logging.DEBUG if self.debug else logging.NOTSET)

    @staticmethod
    def _typer(module: str) -> typer.Typer | None:
        name = f"{audiotool.cli.__name__}.{module}"
        if name == __name__ or not module.isidentifier() or importlib.util.find_spec(name) is None:
            return None
        found = getattr(importlib.import_module(name), "app", None)
        return found if isinstance(found, typer.Typer) else None


def _task_before(word: str) -> str:
    """Return how a recording or a folder is processed, the end of a message; "" for a word that is none."""
    if not (os.path.exists(word) or is_audio_name(Path(word)) or is_media_name(word)):
        return ""
    return f"; what to do comes first, for example: audiotool denoise {shlex.quote(word)}"


def _with_subcommands(command: Any) -> Iterator[Any]:
    """Yield a command, and the commands below it."""
    yield command
    for below in getattr(command, "commands", {}).values():
        yield from _with_subcommands(below)


def _reserve_output(command: Any) -> None:
    """Let a command begin with `stdio.reserve_output`: help is printed before."""
    own = command.callback

    @functools.wraps(own)
    def callback(*arguments: Any, **options: Any) -> Any:
        stdio.reserve_output()
        return own(*arguments, **options)

    if own is not None:
        command.callback = callback


def _asks_for_events(words: Sequence[str]) -> bool:
    """Return whether `--progress json` is among the words of a command line."""
    return "--progress=json" in words or ("--progress", "json") in itertools.pairwise(words)


def _version(ctx: typer.Context, asked: bool) -> None:
    # A shell that completes a line comes here, too.
    if asked and not ctx.resilient_parsing:
        write(f"audiotool {__version__}\n")
        raise typer.Exit


app = typer.Typer(
    cls=Subcommands,
    name="audiotool",
    add_completion=False,
    no_args_is_help=True,
    epilog=EXIT_CODES,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# typer calls this where the options of completion are its own.
completion_init()


@app.callback()
def audiotool_(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks and the log; accepted anywhere on the line.")
    ] = False,
    install_completion: Annotated[
        bool,
        typer.Option(
            "--install-completion",
            callback=shells.install,
            is_eager=True,
            help="Set up the Tab key of this shell, or of the one named after it, in the home folder.",
        ),
    ] = False,
    show_completion: Annotated[
        bool,
        typer.Option(
            "--show-completion",
            callback=shells.show,
            is_eager=True,
            help="Print what completes, for this shell or the one named after it.",
        ),
    ] = False,
) -> None:
    """Speech enhancement and vocoding: denoise, separate, vocode, super-resolve; streaming and offline."""


def main() -> None:
    """Entry point of the console script."""
    # Worker processes of all libraries import nothing from the working folder (Python 3.11 and later).
    os.environ["PYTHONSAFEPATH"] = "1"
    stdio.prepare()
    signals.unwind_on_request()
    try:
        app()
    except SystemExit as ending:
        if isinstance(ending.code, int):
            stdio.finish()
            signals.finish()
            _end_process(ending.code)
        raise
    except Exception:
        # With --debug. The messages of libraries may name URLs with their credentials.
        sys.stderr.write(printable_lines(traceback.format_exc()))
        sys.exit(1)
    finally:
        stdio.finish()
        signals.finish()


def _end_process(code: int) -> None:
    """Leave at once unless other threads run, because the interpreter would free every object one by one."""
    if threading.active_count() > 1:
        return
    atexit._run_exitfuncs()
    sys.stderr.flush()
    os._exit(code)
