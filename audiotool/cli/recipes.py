"""`audiotool recipes`: list, show and validate recipes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audiotool.cli.screen import counting, table, write, write_document
from audiotool.cli.screen import show as show_table
from audiotool.cli.usage import Group
from audiotool.errors import CheckpointError, RecipeError
from audiotool.extras import require, require_extra
from audiotool.tasks import completion
from audiotool.tasks.options import AsJson
from audiotool.text import one_line

if TYPE_CHECKING:
    from audiotool.data.config import Split
    from audiotool.recipe import Recipe

app = typer.Typer(
    cls=Group, add_completion=False, no_args_is_help=True, help="List, show and validate recipes."
)

Name = Annotated[
    str,
    typer.Argument(
        help="A YAML file, a bundled recipe's name, or a checkpoint that holds one.",
        autocompletion=completion.recipes,
    ),
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key: train.batch_size=8.")
]


@app.command("list")
def list_recipes(as_json: AsJson = False) -> None:
    """List the bundled recipes with their tasks."""
    from audiotool.named_recipes import bundled, values_of

    # They are not checked: that would take PyTorch and two seconds, and a test does it.
    found = {name: values_of(path) for name, path in bundled().items()}
    rows = [{"name": n, "task": r["task"], "description": r.get("description", "")} for n, r in found.items()]
    if as_json:
        write_document("recipes list", recipes=rows)
        return
    for task in dict.fromkeys(row["task"] for row in rows):
        made = table(task, "description")
        made.columns[1].no_wrap, made.columns[1].justify = False, "left"
        for row in rows:
            if row["task"] == task:
                made.add_row(row["name"], row["description"])
        show_table(made)
        write("\n")


@app.command()
def show(
    name: Name,
    settings: Overrides = None,
    resolved: Annotated[bool, typer.Option("--resolved", help="Print all defaults, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print a recipe: as it was written, or as it is understood, which is what --json prints.

    Of a checkpoint it is the recipe of its training, as it was understood.
    """
    from audiotool.named_recipes import find, text_of
    from audiotool.yaml_documents import yaml_text

    if not (as_json or resolved or settings):
        write(text_of(find(name)))
        return
    from audiotool.recipe import load

    plain = load(name, settings or []).plain()
    if as_json:
        write_document("recipes show", recipe=plain)
    else:
        write(yaml_text(plain))


@app.command()
def validate(
    names: Annotated[
        list[str],
        typer.Argument(
            help="YAML files, bundled recipes' names, or checkpoints that hold one.",
            autocompletion=completion.recipes,
        ),
    ],
    settings: Overrides = None,
    data: Annotated[
        bool,
        typer.Option(
            "--data", help="Decode its recordings of training and validation too, as training would."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check keys, values, names and the weights to begin with; nothing is trained."""
    require_extra("train", "recipes validate")
    from audiotool.models.registry import MODELS
    from audiotool.recipe import find, load
    from audiotool.training.setup import begin_from, build_model, prepare

    rows = []
    for name in names:
        recipe = load(name, settings or [])
        try:
            model = MODELS.get(recipe.model.name).outline(recipe.model.config)
            prepare(model, recipe)
            if recipe.init.checkpoint is not None:
                begin_from(build_model(recipe), recipe.init)
        except (CheckpointError, RecipeError) as error:
            raise RecipeError(f"{find(name)}: {error}") from error
        found = _look_for_data(recipe, find(name).parent) if data else []
        if as_json:
            facts = {"recipe": name, "task": recipe.task, "model": recipe.model.name}
            rows.append(facts | {"parameters": model.parameter_count, "data": found})
            continue
        count = f"{model.parameter_count:,} parameters"
        write(f"{one_line(name)}: {recipe.task}, {recipe.model.name}, {count}\n")
        write("".join(f"    {one_line(line)}\n" for line in found))
    if as_json:
        write_document("recipes validate", recipes=rows)


def _look_for_data(recipe: Recipe, folder: Path) -> list[str]:
    """Open every recording as training and validation would; return a line for each split, and warnings.

    Raises:
        RecipeError, InputError: as `audiotool.data.dataset.make_dataset`.
    """
    from audiotool.data.dataset import make_dataset
    from audiotool.data.rows import split_warnings
    from audiotool.tasks.base import TASKS

    data = recipe.data.located(folder)
    lines = []
    splits: tuple[Split, ...] = ("train", "valid")
    for split in splits:
        with counting("decoding") as tick:
            opened = make_dataset(data, recipe.audio, TASKS.get(recipe.task).example, split, None, tick)
        material = opened.example.material
        lines.append(f"{split}: {len(material.paths)} recordings, {len(material.unreadable)} unreadable")
        lines += [f"{path}: {reason}" for path, reason in material.unreadable.items()]
    return lines + split_warnings(data, recipe.audio)


@app.command()
def losses(as_json: AsJson = False) -> None:
    """List the losses a recipe can name, with their options and defaults."""
    require("torch", "recipes losses", "train")
    import inspect

    from audiotool.losses.base import LOSSES

    found = []
    for name, loss in LOSSES.all().items():
        description, options = (inspect.getdoc(loss) or "").splitlines()[0], _options(loss)
        found.append({"name": name, "description": description, "options": options})
        if not as_json:
            write(f"{name}: {description}\n")
            write("".join(f"    {option}: {_in_yaml(one)}\n" for option, one in options.items()))
    if as_json:
        write_document("recipes losses", losses=found)


def _options(loss: type) -> dict[str, dict[str, Any]]:
    """Return the default of each option of a loss, and whether a recipe must have the option."""
    import inspect

    return {
        option.name: {
            "default": None if option.default is option.empty else option.default,
            "required": option.default is option.empty,
        }
        for option in inspect.signature(loss).parameters.values()
        if option.kind not in (option.VAR_POSITIONAL, option.VAR_KEYWORD)
    }


def _in_yaml(option: dict[str, Any]) -> str:
    """Return the default as a recipe has it, or "required"."""
    import json

    # JSON is YAML.
    return "required" if option["required"] else json.dumps(option["default"])
