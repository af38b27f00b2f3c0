"""`audiotool serve`: a server that processes streams and files of other programs and browsers."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audiotool.cli.causal import causal
from audiotool.cli.screen import say, write_document
from audiotool.errors import PlanError
from audiotool.extras import require_extra
from audiotool.tasks import completion
from audiotool.tasks.options import AsJson, Device, EngineChoice, EngineKind, a_number

if TYPE_CHECKING:
    from audiotool.pipeline import Pipeline

app = typer.Typer(add_completion=False)

TOKEN = "AUDIOTOOL_TOKEN"
"""Environment variable of the token."""


@app.command()
def serve(
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen on; 0.0.0.0 accepts other machines.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="Port; 0 is any free one.")] = 8321,
    capacity: Annotated[
        int,
        typer.Option(
            min=1,
            max=100_000,
            metavar="N",
            help="Places, one for each channel of a stream; others are refused.",
        ),
    ] = 64,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A task (its default) or a checkpoint; causal, with one output.",
            show_default=False,
            autocompletion=completion.models_and_tasks,
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A checkpoint file.", show_default=False)
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            envvar=TOKEN,
            metavar="TEXT",
            help="Clients send it as `Authorization: Bearer TEXT` or ?token=TEXT, also for the page.",
            show_default=False,
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A name of this machine by which clients reach it, beside localhost, --host and addresses;"
            " repeatable.",
            show_default=False,
        ),
    ] = None,
    idle: Annotated[
        float,
        typer.Option(
            min=1.0,
            callback=a_number,
            metavar="SECONDS",
            help="A stream ends after this time without a message.",
        ),
    ] = 60.0,
    upload: Annotated[
        int,
        typer.Option(
            min=1,
            max=10_000,
            metavar="MB",
            help="Greatest size of a file that is sent. It has 300 s to arrive, and lasts no longer than"
            " --longest.",
        ),
    ] = 64,
    longest: Annotated[
        float,
        typer.Option(
            min=1.0,
            callback=a_number,
            metavar="SECONDS",
            help="Greatest length of a file that is sent, which has 67 million samples of all channels at"
            " most: 23 min of one channel at 48 kHz.",
        ),
    ] = 600.0,
    device: Device = "auto",
    engine: EngineChoice = EngineKind.auto,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of a step.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Serve streams by WebSocket and files by POST, many at once; a page at / tries it with your microphone.

    One process serves one task with one checkpoint. It listens on this machine alone unless --host says
    otherwise, and then wants a token. Ctrl-C, SIGTERM or SIGHUP stops it: streams get their tails, and
    files have 30 s to be finished.

    audiotool serve
    audiotool serve --model denoise-tiny-16k --capacity 200 --port 9000
    """
    if model is not None and checkpoint is not None:
        raise PlanError("--model and --checkpoint exclude each other")
    # typer takes an empty variable for none, which would publish a server whose secret is missing.
    given = os.environ.get(TOKEN) if token is None else token
    if given is not None and (not given or given != given.strip()):
        raise PlanError(
            f"--token ({TOKEN}) is empty, or has white space around it, which no header keeps: give another"
            " text, or leave it out"
        )
    if token is None and host not in ("127.0.0.1", "localhost", "::1"):
        raise PlanError(
            f"whoever reaches {host} could use this server: give --token TEXT, or keep to 127.0.0.1"
        )
    for name in allow_host or ():
        if not re.fullmatch(r"[\w.-]+", name, re.ASCII):
            raise PlanError(
                f"--allow-host is a name of a-z, 0-9, - and ., without https:// and port, got '{name}'"
            )
    require_extra("serve", "audiotool serve")
    pipeline = _load(
        str(checkpoint) if checkpoint is not None else model or "denoise", device, engine, threads
    )
    from audiotool.serve.app import Server
    from audiotool.serve.connections import Runner
    from audiotool.serve.listen import listen
    from audiotool.serve.service import Service
    from audiotool.serve.sessions import Limits

    limits = Limits(idle, upload_bytes=upload * 1_000_000, upload_seconds=longest)
    listener = listen(host, port, limits.stall_seconds)
    server = Server(Service(pipeline, capacity), token, limits, hosts=(host, *(allow_host or ())))
    address = f"[{host}]" if ":" in host else host
    place = f"http://{address}:{listener.getsockname()[1]}/"
    say(f"listening on {place} for {pipeline.task}")
    if as_json:
        write_document("serve", address=place, task=pipeline.task, capacity=capacity)
    logging.getLogger("audiotool.serve").setLevel(logging.INFO)  # a line at the end of each stream and file
    Runner(server).run([listener])


def _load(name: str, device: str, engine: EngineKind, threads: int) -> Pipeline:
    from audiotool.tasks.load import load

    return causal(load(name, device, engine=engine.value, threads=threads))
