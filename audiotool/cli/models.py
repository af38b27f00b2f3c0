"""`audiotool models`: list, show, verify, import and export checkpoints."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audiotool.audio import PIPE
from audiotool.cli.named_output import named, refuse_existing
from audiotool.cli.screen import say, write, write_document
from audiotool.cli.usage import Group
from audiotool.errors import AudiotoolError, CheckpointError, PlanError, as_plan_error
from audiotool.extras import is_there, require
from audiotool.paths import refuse_url
from audiotool.tasks import completion
from audiotool.tasks.options import AsJson
from audiotool.text import encodable, one_line, printable
from audiotool.writable import check_writable

if TYPE_CHECKING:
    from audiotool.checkpoint import Metadata

app = typer.Typer(
    cls=Group,
    add_completion=False,
    no_args_is_help=True,
    help="List, show, verify, import and export models; write their cards.",
)


CheckpointName = Annotated[
    str,
    typer.Argument(
        help="A bundled checkpoint, a task (its default) or a checkpoint file.",
        autocompletion=completion.models_and_tasks,
    ),
]
"""Argument of commands on a checkpoint, see `_path_of`."""

EXTRAS_OF_IMPORTS = {".onnx": "onnx", ".h5": "keras", "dtln": "onnx", "deepfilternet3": "deepfilternet"}
"""Endings of official files, and models, whose import needs more than the extra `torch` -> the extra."""


@app.command("list")
def list_models(
    cost: Annotated[
        bool, typer.Option("--cost", help="Also show multiply-accumulates a second of audio.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the bundled checkpoints with their scores, the imported ones, and the architectures."""
    from audiotool import named_checkpoints
    from audiotool.cli.model_tables import (
        BUNDLED,
        IMPORTED,
        print_architectures,
        print_checkpoints,
        print_faults,
    )
    from audiotool.model_facts import published

    checkpoints, faults = _rows(named_checkpoints.bundled(), cost)
    imported, more = _rows(named_checkpoints.imported(), cost)
    faults += more
    hidden = set() if cost else {"macs_per_second"}
    architectures = [{key: value for key, value in row.items() if key not in hidden} for row in published()]
    if as_json:
        write_document(
            "models list",
            checkpoints=checkpoints,
            imported=imported,
            faults=faults,
            architectures=architectures,
        )
        return
    print_checkpoints(checkpoints, BUNDLED)
    if imported:
        print_checkpoints(imported, IMPORTED)
    print_faults(faults)
    print_architectures(architectures)


@app.command()
def show(
    name: Annotated[
        str,
        typer.Argument(
            help="A bundled checkpoint, a task (its default), a checkpoint file or an architecture.",
            autocompletion=completion.models_and_tasks,
        ),
    ],
    full: Annotated[
        bool, typer.Option("--full", help="Show everything: recipe, sources, every score and setting.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show a checkpoint or an architecture in ten lines, as YAML.

    --full adds what a checkpoint was trained with and on, and every setting; --json prints all of that.
    """
    from audiotool import checkpoint, named_checkpoints
    from audiotool.model_facts import Facts, published

    name = named_checkpoints.defaults().get(name, name)
    if name in named_checkpoints.named() or Path(name).suffix or Path(name).is_file():
        path = named_checkpoints.resolve(name)
        metadata = checkpoint.read_metadata(path)
        facts = {"path": encodable(str(path)), **dataclasses.asdict(metadata)}
        brief = _brief(path, metadata) if not (full or as_json) else {}
    else:
        from audiotool.cli.model_tables import unknown_model
        from audiotool.configuration import build_config

        counted = next((row for row in published() if row["model"] == name), None)
        if counted is None and not is_there("torch"):
            raise unknown_model(name)
        require("torch", f"the architecture {name}")
        from audiotool.models.registry import MODELS

        if name not in MODELS:
            raise unknown_model(name)
        model_class = MODELS.get(name)
        facts = Facts.of(model_class.outline({})).row() if counted is None else dict(counted)
        facts.pop("macs_per_second", None)
        facts |= {"reference": model_class.reference, "importer": _imports(name)}
        brief = dict(facts)
        facts["config"] = dataclasses.asdict(build_config(model_class.config_class, {}, f"{name}: "))
    if as_json:
        write_document("models show", **facts)
    else:
        write(_as_yaml(facts if full else brief))


@app.command()
def verify(as_json: AsJson = False) -> None:
    """Check bundled checkpoints against their SHA-256; the exit code is 1 when one differs."""
    from audiotool import named_checkpoints

    found = named_checkpoints.verify()
    if as_json:
        write_document("models verify", checkpoints=found)
    else:
        write("".join(f"{status:<8} {one_line(name)}\n" for name, status in found.items()))
    wrong = [name for name, status in found.items() if status != "ok"]
    if wrong:
        from audiotool.doctor import checkpoints_fix

        mend = checkpoints_fix(found)
        raise CheckpointError(f"{len(wrong)} of {len(found)} checkpoints are not as released: {mend}")


@app.command("import")
def import_official(
    official: Annotated[
        str,
        typer.Argument(
            help="A published model's official checkpoint, or the name of one that an installed package has."
        ),
    ],
    model: Annotated[
        str | None, typer.Option(help="Its architecture, see `audiotool models list`.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The .safetensors to write; without it the checkpoint is kept under a name.",
            show_default=False,
            callback=named,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name for --model; that of the architecture unless given."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Its official configuration file.", show_default=False)
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Replace a setting: attention_window=null."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Convert an official checkpoint; nothing in it is executed. Prints the path of the result.

    Without --output it is kept in your data folder, and --model takes its name from then on.
    """
    require("torch", "importing a checkpoint", _extra_of_import(official, model))
    from audiotool import checkpoint, named_checkpoints
    from audiotool.importers.base import import_checkpoint, recognise_file, released_file
    from audiotool.yaml_documents import parse_settings

    refuse_url(official, "a checkpoint to import has a path or a name")
    path = Path(official)
    if model is None:
        if path.is_file():
            alike = recognise_file(path)
            looks = f", for example --model {alike[0]}, which it looks like" if alike else ""
            raise PlanError(f"{official}: say of which architecture it is with --model{looks}")
        model, path = official, released_file(official)
    if output is None:
        output = named_checkpoints.place_for(model if name is None else name)
    elif name is not None:
        raise PlanError("--name is for imports without --output, which gives the file a place of its own")
    if output.suffix != ".safetensors":
        raise PlanError(f"{output}: a checkpoint ends in .safetensors")
    _refuse_output(output, overwrite)
    values = parse_settings(settings or [])
    _check_settings(model, values)
    found, metadata = import_checkpoint(path, model, config, values)
    checkpoint.save(output, found.state_dict(), metadata)
    graph = checkpoint.graph_of(output)
    if graph is not None:
        say(
            f"{graph} is of the earlier checkpoint: write it again with `audiotool models export {output}"
            f" -o {graph} --overwrite`, or remove it"
        )
    if as_json:
        write_document("models import", output=str(output), model=model)
    else:
        write(one_line(str(output)) + "\n")


@app.command()
def export(
    name: CheckpointName,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The .onnx to write, with its card beside it.")
    ],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a model's step as an ONNX graph with its card, and compare its output with the model's."""
    if output.suffix != ".onnx":
        raise PlanError(f"{output}: a graph ends in .onnx")
    for path in (output, output.with_suffix(".json")):
        _refuse_output(path, overwrite)
    path = _path_of(name)
    require("onnxscript", "exporting a graph")
    from audiotool.exporting.export import export as write_graph

    found, parity = write_graph(path, output)
    card = output.with_suffix(".json")
    if as_json:
        write_document(
            "models export",
            output=str(output),
            card=str(card),
            parity={"worst": parity.worst, "seconds": parity.seconds, **parity.differences},
            states=len(found.states),
            delay=found.delay,
        )
        return
    write(f"{one_line(str(output))}\n{one_line(str(card))}\n")
    differences = ", ".join(f"{label} {difference:.1e}" for label, difference in parity.differences.items())
    write(
        f"parity: {parity.worst:.1e} of the peak at most over {parity.seconds:g} s ({differences});"
        f" {len(found.states)} states, {found.delay} samples of delay\n"
    )


@app.command()
def card(
    name: CheckpointName,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="NAME.md in this folder unless given; '-' prints the card.",
            show_default=False,
        ),
    ] = None,
    measure: Annotated[
        Path | None,
        typer.Option(
            metavar="TEST",
            help="Also measure it on a folder with noisy/ and clean/, as `audiotool data mix` renders them.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a card that exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a checkpoint's model card as Markdown. Prints its path.

    The card names the commands that render its test set: --measure repeats its numbers on yours.
    """
    from audiotool.modelcard import card_of, write_card

    path = _path_of(name)
    if str(output) == PIPE:
        if as_json:
            raise PlanError("--json and -o - both write to standard output: give -o FILE")
        write("".join(f"{printable(line)}\n" for line in card_of(path, measure).splitlines()))
        return
    target = output or Path(f"{path.stem}.md")
    if target.exists() and not overwrite:
        raise PlanError(f"{target} exists: give --overwrite to replace it, or -o FILE")
    written = write_card(path, target, measure)
    if as_json:
        write_document("models card", output=str(written), checkpoint=str(path))
    else:
        write(one_line(str(written)) + "\n")


def _extra_of_import(official: str, model: str | None) -> str:
    """Return the extra that brings all that an import needs, as far as its words tell. The importers, which
    know, import PyTorch."""
    words = (Path(official).suffix.lower(), model, official)
    return next((EXTRAS_OF_IMPORTS[word] for word in words if word in EXTRAS_OF_IMPORTS), "torch")


def _path_of(name: str) -> Path:
    """Return the path of the checkpoint of a `CheckpointName`."""
    from audiotool import named_checkpoints

    return named_checkpoints.resolve(named_checkpoints.defaults().get(name, name))


def _refuse_output(path: Path, overwrite: bool) -> None:
    """Check that a command may and can write a file.

    Raises:
        PlanError: it exists, and the option --overwrite is not given; or it cannot be written.
    """
    refuse_existing(path, overwrite)
    with as_plan_error():
        check_writable(path)


def _check_settings(model: str, values: Mapping[str, Any]) -> None:
    """Check the settings that an import is to replace, each by itself.

    Raises:
        PlanError: one is unknown, or its value is of another type or out of range.
        CheckpointError: no importer has that name.
    """
    from audiotool.configuration import check_keys, check_types, frozen
    from audiotool.importers.base import IMPORTERS
    from audiotool.models.registry import MODELS

    config_class = MODELS.get(IMPORTERS.get(model).name).config_class
    try:
        check_keys(config_class, values, "--set ")
        check_types(config_class, {key: frozen(value) for key, value in values.items()}, "--set ")
    except (CheckpointError, ValueError) as error:
        raise PlanError(str(error)) from error


def _rows(checkpoints: Mapping[str, Path], cost: bool) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Return what is listed of each checkpoint, and {"path", "error"} of each file that cannot be used."""
    rows, faults = [], []
    for name, path in checkpoints.items():
        try:
            rows.append(_checkpoint(name, path, cost))
        except AudiotoolError as error:
            named = str(error) if str(path) in str(error) else f"{path}: {error}"
            faults.append({"path": encodable(str(path)), "error": named})
    return rows, faults


def _checkpoint(name: str, path: Path, cost: bool) -> dict[str, Any]:
    from audiotool import checkpoint
    from audiotool.model_facts import facts_of
    from audiotool.tasks.base import TASKS

    metadata = checkpoint.read_metadata(path)
    TASKS.get(metadata.task)
    row = {"checkpoint": name, "task": metadata.task, "default": bool(_default_of(name))}
    facts, macs = facts_of(path, metadata, cost)
    row |= {key: value for key, value in facts.row().items() if key != "tasks"}
    row |= {"macs_per_second": macs} if cost else {}
    before, after = _test_scores(metadata)
    return row | {"licence": metadata.licence, "test": after, "input": before}


def _default_of(name: str | None) -> str:
    """Return a remark if the checkpoint is its task's default, at all rates or on one side of 24 kHz, else
    "", as for a file without a name."""
    from audiotool import named_checkpoints

    rates = (0, named_checkpoints.FULL_BAND_HZ + 1)
    low, high = (name in named_checkpoints.defaults(rate).values() for rate in rates)
    if low == high:
        return ", its default" if low else ""
    return f", its default {'up to' if low else 'above'} {named_checkpoints.FULL_BAND_HZ // 1000} kHz"


def _test_scores(metadata: Metadata) -> tuple[dict[str, float], dict[str, float]]:
    """Return {metric: value} on the test split, of the unprocessed input and of the output."""
    tests = {key: values for key, values in metadata.metrics.items() if key.startswith("test, ")}
    before = tests.pop("test, input", {})
    return before, next(iter(tests.values()), {})


def _brief(path: Path, metadata: Metadata) -> dict[str, Any]:
    """Return the ten facts that `models show` prints without --full."""
    from audiotool import checkpoint, named_checkpoints
    from audiotool.cli.model_tables import change
    from audiotool.model_facts import facts_of
    from audiotool.tasks.base import TASKS

    facts, _ = facts_of(path, metadata)
    before, after = _test_scores(metadata)
    known = [name for name in TASKS.get(metadata.task).scoring.metrics if name in after]
    latency = facts.row()["latency_ms"]
    size = "" if facts.parameters is None else f", {facts.parameters / 1e6:.2f} M parameters"
    by_licence = dict.fromkeys(str(source.get("licence", "unknown")) for source in metadata.sources)
    return {
        "path": encodable(str(path)),
        "task": metadata.task + _default_of(named_checkpoints.name_of(path)),
        "model": f"{facts.name}{size}, {metadata.sample_rate} Hz",
        "outputs": ", ".join(facts.stems) or "unknown",
        "latency": "unknown"
        if facts.causal is None
        else "unbounded"
        if latency is None
        else f"{latency:g} ms",
        "test": ", ".join(f"{n} {change(before.get(n), after[n])}" for n in known) or "not measured",
        "licence": metadata.licence,
        "sources": f"{len(metadata.sources)}, under {', '.join(by_licence)}" if by_licence else "unknown",
        "made": f"{metadata.created}, audiotool {metadata.version}",
        "sha256": checkpoint.sha256(path),
    }


def _imports(name: str) -> str:
    """Return where the official files that can be imported are published."""
    from audiotool.importers.base import IMPORTERS

    importer = IMPORTERS.all().get(name)
    return "none" if importer is None else importer.origin


def _as_yaml(facts: dict[str, Any]) -> str:
    from audiotool.yaml_documents import yaml_text

    # Through JSON, so that tuples are lists.
    plain = json.loads(json.dumps(facts))
    text = yaml_text(plain, width=float("inf"))
    return "".join(f"{printable(line)}\n" for line in text.split("\n")[:-1])
