"""`--install-completion` and `--show-completion`: typer's, for the running shell or one that is named."""

from __future__ import annotations

import os
from pathlib import Path

import typer
from typer.completion import install_callback, show_callback

from audiotool.errors import InputError

SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")


def install(ctx: typer.Context, param: typer.CallbackParam, asked: bool) -> None:
    """Write the script into the home folder, and leave.

    Raises:
        InputError: it cannot be written there.
    """
    if not asked:
        return
    shell = _named(ctx, param)
    try:
        bashrc = Path.home() / ".bashrc"
        before = bashrc.read_bytes() if bashrc.is_file() else None
        try:
            install_callback(ctx, param, shell or True)
        finally:
            # typer adds an empty line each time. A file that is cut loses nothing on a full disk.
            if before is not None and bashrc.read_bytes() == before + b"\n":
                os.truncate(bashrc, len(before))
    except typer.Exit:
        raise
    except (OSError, UnicodeError, RuntimeError) as error:
        show_it = " ".join(filter(None, ("audiotool --show-completion", shell)))
        raise InputError(
            f"completion is written into the home folder, which fails ({error}): `{show_it}` prints it"
        ) from error


def show(ctx: typer.Context, param: typer.CallbackParam, asked: bool) -> None:
    """Print the script, and leave."""
    if asked:
        show_callback(ctx, param, _named(ctx, param) or True)


def _named(ctx: typer.Context, param: typer.CallbackParam) -> str | None:
    """Return the shell whose name stands behind an option, which typer takes for a flag; None without one.

    Raises:
        BadParameter: it is none that can be completed.
    """
    # The script is that of the command also where it runs as `python -m audiotool`.
    ctx.info_name = "audiotool"
    words = ctx.command.words  # type: ignore[attr-defined]
    behind = words[words.index(param.opts[0]) + 1 :][:1]
    if not behind or behind[0].startswith("-"):
        return None
    if behind[0] not in SHELLS:
        raise typer.BadParameter(f"there is no completion for '{behind[0]}': {', '.join(SHELLS)} have one")
    return behind[0]
