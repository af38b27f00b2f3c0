"""Pages that are made from the code when the site is built: commands, recipe keys, architecture."""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from mkdocs.structure.files import File, Files
from pydantic import BaseModel
from typer.core import TyperGroup
from typer.main import get_command

from audiotool.cli.app import app
from audiotool.discovery import is_subclass
from audiotool.recipe.schema import Recipe

ROOT = Path(__file__).parents[1]


IN_THE_CHECKOUT = {
    "(../../ARCHITECTURE.md)": "(../extend/architecture.md)",
    "(../../audiotool/recipe/schema.py)": "(../reference/recipes.md)",
}
"""Links of the guides to files outside docs/, for readers of the checkout -> those to the generated pages."""


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages (called by MkDocs)."""
    pages = {
        "reference/commands.md": commands_page(),
        "reference/recipes.md": recipes_page(),
        "extend/architecture.md": _from_the_top("ARCHITECTURE.md"),
    }
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Point a page's links at the generated pages (called by MkDocs)."""
    for link, page in IN_THE_CHECKOUT.items():
        markdown = markdown.replace(link, page)
    return markdown


def _from_the_top(name: str) -> str:
    """A page of the project's folder; its links into docs/ begin in docs/extend/ here."""
    return (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](../")


def commands_page() -> str:
    """Every command with its arguments and options; first those of `audiotool` itself."""
    root = get_command(app)
    parts = ["# Commands\n"]
    for words, command in [((), root), *_leaves(root, ())]:
        parts.append(f"## {' '.join(('audiotool', *words))}\n\n{_prose(command.help or '')}\n")
        context = command.make_context(" ".join(words), [], resilient_parsing=True)
        rows = [
            _row(parameter, context) for parameter in command.params if not getattr(parameter, "hidden", 0)
        ]
        parts.append("| option | value | meaning |\n| --- | --- | --- |\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _leaves(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not isinstance(command, TyperGroup):
        yield words, command
        return
    context = command.make_context(" ".join(words), [], resilient_parsing=True)
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        if child is not None and not child.hidden:
            yield from _leaves(child, (*words, name))


def _prose(text: str) -> str:
    """Help as Markdown: lines that are commands become a block of code."""
    blocks = []
    for block in text.replace("\b", "").split("\n\n"):
        lines = [line.strip() for line in block.strip().splitlines()]
        if lines and all("audiotool " in line for line in lines):
            blocks.append("```sh\n" + "\n".join(lines) + "\n```")
        else:
            blocks.append(" ".join(lines))
    return "\n\n".join(blocks)


def _row(parameter: Any, context: Any) -> str:
    names = ", ".join(f"`{o}`" for o in (*parameter.opts, *parameter.secondary_opts))
    meaning = [getattr(parameter, "help", None) or ""]
    default = parameter.default
    if default is not None and parameter.secondary_opts:
        default = (parameter.opts if default else parameter.secondary_opts)[0]
    shown = getattr(parameter, "show_default", False) and default not in (None, False, "", ...)
    if parameter.required:
        meaning.append("Required.")
    elif shown and not callable(default):
        meaning.append(f"Default: `{getattr(default, 'value', default)}`.")
    if parameter.envvar:
        meaning.append(f"Environment variable: `{parameter.envvar}`.")
    cells = (names, _value(parameter, context), " ".join(filter(None, meaning)))
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _value(parameter: Any, context: Any) -> str:
    """The value that an option takes, with its choices or its range; "" for flags."""
    if getattr(parameter, "is_flag", False):
        return ""
    kind = parameter.type
    if "|" in (parameter.metavar or ""):
        return str(parameter.metavar)  # says the choices itself
    if choices := ", ".join(f"`{choice}`" for choice in getattr(kind, "choices", ())):
        return f"{parameter.metavar}: {choices}" if parameter.metavar else choices
    name = parameter.make_metavar(context).removesuffix(" RANGE")
    least, most = getattr(kind, "min", None), getattr(kind, "max", None)
    if most is None:
        return name if least is None else f"{name}, at least {least:g}"
    return f"{name}, {least:g} to {most:g}"


def recipes_page() -> str:
    """Every key of a recipe: its type, default and meaning."""
    intro = (
        "# Recipes\n\nA recipe is one YAML file. Unknown keys are refused with the nearest valid one."
        " `--set KEY=VALUE` overrides any key: `--set train.batch_size=8`. `audiotool recipes show NAME`"
        " prints a bundled recipe, `audiotool recipes losses` the losses with their options.\n"
    )
    return intro + "\n".join(_sections(Recipe, "", "", {Recipe: ""}))


def _sections(section: type[BaseModel], prefix: str, kind: str, seen: dict[type, str]) -> Iterator[str]:
    """A section and those inside it. Each class is described once, under the key that is nearest to the top.

    Args:
        prefix: key of the section, "data.mixing".
        kind: words behind the key in the title, " (adam)".
        seen: classes that have a description -> the key that it stands under.
    """
    # This section's keys come before those inside them: `optimiser`, not `adversarial.optimiser`.
    inside = []
    for name, field in section.model_fields.items():
        for inner in _models(field.annotation):
            if inner not in seen:
                key = seen[inner] = f"{prefix}.{name}".lstrip(".")
                inside.append((inner, key))
    title = f"`{prefix}{kind}`" if prefix else "The whole recipe"
    purpose = (section.__doc__ or "").strip().split("\n\n")[0]
    yield f"\n## {title}\n\n{purpose}\n"
    yield "| key | type | default | meaning |\n| --- | --- | --- | --- |"
    for name, field in section.model_fields.items():
        default = (
            "required" if field.is_required() else f"`{_plain(field.get_default(call_default_factory=True))}`"
        )
        there = {seen[inner] for inner in _models(field.annotation)} - {f"{prefix}.{name}".lstrip(".")}
        like = "".join(f", as `{key}`" for key in sorted(there))
        row = (f"`{name}`", _type(field.annotation) + like, default, field.description or "")
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |"
    for inner, key in inside:
        tag = inner.model_fields.get("name")
        kinds = get_args(tag.annotation) if tag and get_origin(tag.annotation) is Literal else ()
        yield from _sections(inner, key, f" ({kinds[0]})" if kinds else "", seen)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if is_subclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(a) for a in arguments))
    if origin is not None and hasattr(annotation, "__metadata__"):
        return _type(arguments[0])
    if origin in (list, tuple):
        inner = ", ".join(dict.fromkeys(_type(a) for a in arguments if a is not Ellipsis))
        return f"list of {inner}"
    if annotation is type(None):
        return "null"
    if is_subclass(annotation, BaseModel):
        return "section"
    return getattr(annotation, "__name__", str(annotation))


def _plain(value: Any) -> str:
    if isinstance(value, BaseModel):
        return "its own defaults"
    if isinstance(value, tuple):
        value = list(value)
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value) or '""'
