"""`audiotool models`: what there is, whether it is intact, and how others' checkpoints come in."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audiotool.errors import CheckpointError, PlanError

if TYPE_CHECKING:
    from audiotool.models.base import Model

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="List, show, verify and import models; write their cards.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, not tables.")]


@app.command("list")
def list_models(
    cost: Annotated[
        bool, typer.Option("--cost", help="Also count multiply-accumulates; runs every model.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the bundled checkpoints and their scores, and the architectures with their published settings."""
    from audiotool import checkpoint
    from audiotool.cli.model_tables import print_architectures, print_checkpoints
    from audiotool.models.registry import MODELS

    checkpoints = [_checkpoint(name, cost) for name in checkpoint.bundled()]
    if not as_json:
        # Most come for these; the architectures take some seconds.
        print_checkpoints(checkpoints)
    architectures = [_described(_published(name, cost), cost) for name in MODELS.all()]
    if not as_json:
        print_architectures(architectures)
        return
    found = {"checkpoints": checkpoints, "architectures": architectures}
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


@app.command()
def show(
    name: Annotated[
        str,
        typer.Argument(
            help="A bundled checkpoint, a task (its default), a checkpoint file or an architecture."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Show what a checkpoint says of itself, or an architecture's settings and their published values."""
    from audiotool import checkpoint
    from audiotool.configuration import build_config
    from audiotool.models.registry import MODELS

    name = checkpoint.defaults().get(name, name)
    if name in checkpoint.bundled() or Path(name).suffix or Path(name).is_file():
        path = checkpoint.resolve(name)
        facts = {"path": str(path), **dataclasses.asdict(checkpoint.read_metadata(path))}
    else:
        model_class = MODELS.get(name)
        facts = _described(_published(name, real=False), cost=False)
        facts |= {"reference": model_class.reference, "importer": _imports(name)}
        facts["config"] = dataclasses.asdict(build_config(model_class.config_class, {}, f"{name}: "))
    if as_json:
        sys.stdout.write(json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
        return
    sys.stdout.write(_as_yaml(facts))


@app.command()
def verify() -> None:
    """Check bundled checkpoints against their SHA-256; the exit code is 1 when one differs."""
    from audiotool import checkpoint

    found = checkpoint.verify()
    for name, status in found.items():
        sys.stdout.write(f"{status:<8} {name}\n")
    wrong = [name for name, status in found.items() if status != "ok"]
    if wrong:
        raise CheckpointError(
            f"{len(wrong)} of {len(found)} checkpoints are not as released: reinstall audiotool"
        )


@app.command("import")
def import_official(
    official: Annotated[Path, typer.Argument(help="A published model's official checkpoint.")],
    model: Annotated[
        str, typer.Option(help="Its architecture, see `audiotool models list`.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The .safetensors to write.", show_default=False)
    ],
    config: Annotated[
        Path | None, typer.Option(help="Its official configuration file.", show_default=False)
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Replace a setting: attention_window=null."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")] = False,
) -> None:
    """Convert an official checkpoint; nothing in it is executed. Prints the path of the result."""
    from audiotool import checkpoint
    from audiotool.importers.base import import_checkpoint
    from audiotool.recipe import parse_settings

    if output.suffix != ".safetensors":
        raise PlanError(f"{output}: a checkpoint ends in .safetensors")
    if output.exists() and not overwrite:
        raise PlanError(f"{output} exists: give --overwrite to replace it")
    found, metadata = import_checkpoint(official, model, config, parse_settings(settings or []))
    checkpoint.save(output, found.state_dict(), metadata)
    sys.stdout.write(f"{output}\n")


@app.command()
def card(
    name: Annotated[str, typer.Argument(help="A bundled checkpoint or a checkpoint file.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Beside the checkpoint unless given.", show_default=False),
    ] = None,
) -> None:
    """Write a checkpoint's model card as Markdown. Prints its path."""
    from audiotool import checkpoint
    from audiotool.modelcard import write_card

    sys.stdout.write(f"{write_card(checkpoint.resolve(name), output)}\n")


def _published(name: str, real: bool) -> Model:
    """The architecture with its published settings; see `_built`."""
    return _built({"name": name, "config": {}}, real)


def _built(description: Mapping[str, Any], real: bool) -> Model:
    """The model that {"name", "config"} describe.

    Args:
        real: with weights that can be run; otherwise without memory for them where the model allows it.
    """
    import torch

    from audiotool.models.registry import MODELS

    model_class, config = MODELS.get(description["name"]), description["config"]
    if not real:
        try:
            with torch.device("meta"):
                return model_class.from_config(config)
        except (RuntimeError, NotImplementedError):
            # Some models look at their first weights while they are built.
            return model_class.from_config(config).eval()
    return model_class.from_config(config).eval()


def _checkpoint(name: str, cost: bool) -> dict[str, Any]:
    from audiotool import checkpoint

    metadata = checkpoint.read_metadata(checkpoint.bundled()[name])
    model = _built(metadata.model, real=cost)
    row = {"checkpoint": name, "task": metadata.task, "default": name in checkpoint.defaults().values()}
    row |= {key: value for key, value in _described(model, cost).items() if key != "tasks"}
    tests = {key: values for key, values in metadata.metrics.items() if key.startswith("test, ")}
    before = tests.pop("test, input", {})
    return row | {"test": next(iter(tests.values()), {}), "input": before}


def _described(model: Model, cost: bool) -> dict[str, Any]:
    from audiotool.modelcard import Facts

    facts = Facts.of(model)
    row = {
        "model": facts.name,
        "tasks": list(facts.tasks),
        "sample_rate": facts.sample_rate,
        "parameters": facts.parameters,
        "latency_ms": None if facts.latency_ms is None else round(facts.latency_ms, 2),
        "causal": facts.causal,
    }
    if cost:
        from audiotool.benchmark import count_macs

        row["macs_per_second"] = count_macs(model)
    return row


def _imports(name: str) -> str:
    """Where the official files that can be imported are published."""
    from audiotool.importers.base import IMPORTERS

    importer = IMPORTERS.all().get(name)
    return "none" if importer is None else importer.origin


def _as_yaml(facts: dict[str, Any]) -> str:
    import yaml

    # Through JSON, so that tuples are lists.
    plain = json.loads(json.dumps(facts))
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)
