"""YAML as recipes use it: plain values only, numbers like 2e-4, and no key twice."""

from __future__ import annotations

import re
from typing import Any

import yaml


class RecipeYaml(yaml.SafeLoader):
    """PyYAML's safe loader, which builds no objects, with YAML 1.2's numbers and without silent repeats."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key}' is there twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


# YAML 1.1 asks for a dot and a signed exponent: 2e-4 would be a string.
RecipeYaml.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*(\.[\d_]*)?|\.\d[\d_]*)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)
