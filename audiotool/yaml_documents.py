"""Read YAML from outside: plain values of limited size and depth; and write what is read as the same.

The values are dictionaries, lists, strings, numbers, booleans and None. An alias counts as often as it is
used, because a few lines of aliases can expand to more values than fit into memory.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import yaml

from audiotool.documents import MAX_DEPTH, DocumentError
from audiotool.errors import RecipeError

MAX_VALUES = 100_000
"""Greatest number of values of a document."""
MAX_BITS = 64
"""Greatest size of an integer."""

_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"


def read_yaml(text: str, unique_keys: bool = True) -> Any:
    """Return the values of a YAML text. Tags never create objects.

    Args:
        unique_keys: a repeated key is an error; otherwise its last value counts, as in most programs.
    Raises:
        DocumentError: it is not YAML, or has other than plain values, too many, or too deeply nested ones.
    """
    try:
        return yaml.load(text, Loader=_UniqueLoader if unique_keys else _PlainLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = str(getattr(error, "problem", None) or " ".join(str(error).split()))
        # In YAML a pattern such as *.bias would be an alias.
        if "alias" in f"{getattr(error, 'context', '')} {problem}":
            problem += "; text that begins with * wants quotes: '*.bias'"
        raise DocumentError(problem, mark.line + 1 if mark else None) from error
    except Exception as error:  # scalars whose tag they do not fit fail wherever they are converted
        raise DocumentError(f"a value is not of its type: {error}") from error


def yaml_text(values: Any, width: float = 80) -> str:
    """Return the YAML of plain values, from which `read_yaml` reads the same: text that looks like a number
    of YAML 1.1 or 1.2 has quotes."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=width)


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Parse settings: ["attention_window=null"] -> {"attention_window": None}, with values as in recipes.

    Raises:
        RecipeError: a setting has no "=", or its value is not YAML.
    """
    values = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise RecipeError(f"--set {setting}: write KEY=VALUE")
        values[key.strip()] = parse_value(text, f"--set {setting}")
    return values


def parse_value(text: str, source: str) -> Any:
    """Parse the text of a recipe or of one setting; `source` is its name in messages.

    Raises:
        RecipeError: it is not YAML.
    """
    try:
        return read_yaml(text)
    except DocumentError as error:
        where = f", line {error.line}" if error.line else ""
        raise RecipeError(f"{source}{where}: not valid YAML: {error}") from error


class _PlainLoader(yaml.SafeLoader):
    """PyYAML's safe loader with YAML 1.2's numbers, and without sets, dates and bytes."""

    depth = 0
    values = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        self.values += 1
        for found, most, what in ((self.depth, MAX_DEPTH, "levels"), (self.values, MAX_VALUES, "values")):
            if found > most:
                mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
                raise yaml.composer.ComposerError(None, None, f"more than {most} {what}", mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def get_single_node(self) -> Any:
        node = super().get_single_node()
        _measure(node, {})
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key is text, found a list or a mapping: put it in quotes", key.start_mark
                )
        return super().construct_mapping(node, deep)


class _UniqueLoader(_PlainLoader):
    """A loader for which a repeated key is an error."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if (key.tag, key.value) in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key '{key.value}' is there twice", key.start_mark
                    )
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def _integer(loader: Any, node: Any) -> int:
    """Construct an integer, whose underscores are of YAML 1.1."""
    text = str(loader.construct_scalar(node)).replace("_", "")
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    # Python reads no number of more than 4300 digits, and says what is of no use here.
    if len(text) > MAX_BITS or (value := int(text, base)).bit_length() > MAX_BITS:
        raise ValueError(f"an integer has at most {MAX_BITS} bits")
    return value


def _number(loader: Any, node: Any) -> float:
    """Construct a floating-point number."""
    text = str(loader.construct_scalar(node)).replace("_", "").lower()
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


def _measure(node: Any, done: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """Return the number of values of a node, each use of an alias counted, and its depth."""
    if not isinstance(node, yaml.CollectionNode):
        return 1, 1
    if id(node) not in done:
        done[id(node)] = None
        pairs = node.value if isinstance(node, yaml.MappingNode) else [(n,) for n in node.value]
        inner = [_measure(n, done) for pair in pairs for n in pair]
        done[id(node)] = 1 + sum(count for count, _ in inner), 1 + max((d for _, d in inner), default=0)
    found = done[id(node)]
    if found is None or found[0] > MAX_VALUES or found[1] > MAX_DEPTH:
        problem = f"aliases make more than {MAX_VALUES} values or {MAX_DEPTH} levels of it"
        raise yaml.composer.ComposerError(None, None, problem, node.start_mark)
    return found


_PlainLoader.yaml_constructors = {
    tag: constructor
    for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
    if tag not in [f"tag:yaml.org,2002:{kind}" for kind in ("binary", "omap", "pairs", "set")]
}
_PlainLoader.yaml_constructors["tag:yaml.org,2002:timestamp"] = yaml.SafeLoader.construct_yaml_str
# YAML 1.1 reads 2e-4 as text, 010 as 8, and 1:20 as 80, in a time that grows with the square of the length.
_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_INT, _FLOAT)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern in (
    (_INT, r"[-+]?[0-9][0-9_]*|0o[0-7]+|0x[0-9a-fA-F]+"),
    (_FLOAT, r"[-+]?(\.[0-9][0-9_]*|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?"),
    (_FLOAT, r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
):
    _PlainLoader.add_implicit_resolver(_tag, re.compile(f"(?:{_pattern})$"), list("-+.0123456789"))
_PlainLoader.yaml_constructors |= {_INT: _integer, _FLOAT: _number}


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, which quotes what either version of YAML reads as another type."""


_Dumper.yaml_implicit_resolvers = {
    first: [*resolvers, *yaml.SafeDumper.yaml_implicit_resolvers.get(first, [])]
    for first, resolvers in _PlainLoader.yaml_implicit_resolvers.items()
}
