"""Find classes by name in a package, so that adding one is adding one file.

Models, losses, tasks and importers are all found the same way: a class with a `name` in any module of its
room. Names use hyphens (`parallel-wavegan`), modules underscores (`parallel_wavegan.py`).
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from typing import Generic, TypeVar

from audiotool.errors import AudiotoolError

T = TypeVar("T")


def nearest(word: str, allowed: list[str]) -> str:
    """The end of a sentence: `"; did you mean 'x'?"` with the closest allowed word, or `"."`."""
    close = difflib.get_close_matches(word, allowed, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else "."


class Catalogue(Generic[T]):
    """The named classes of one package.

    Args:
        package: dotted package that is searched, not recursively ("audiotool.models").
        base: only subclasses of it that declare `name` themselves are listed.
        kind: the word used in messages ("model").
        error: the exception class raised for an unknown name.
    """

    def __init__(self, package: str, base: type[T], kind: str, error: type[AudiotoolError]) -> None:
        self.package = package
        self.base = base
        self.kind = kind
        self.error = error

    def modules(self) -> list[str]:
        """Names of the package's modules, without importing them."""
        search_path = importlib.import_module(self.package).__path__
        return sorted(m.name for m in pkgutil.iter_modules(search_path) if not m.ispkg)

    def _classes(self, module: str) -> dict[str, type[T]]:
        contents = vars(importlib.import_module(f"{self.package}.{module}")).values()
        return {
            c.__dict__["name"]: c
            for c in contents
            if isinstance(c, type) and issubclass(c, self.base) and isinstance(c.__dict__.get("name"), str)
        }

    def all(self) -> dict[str, type[T]]:
        """Every name and its class, sorted by name; imports the whole package."""
        found: dict[str, type[T]] = {}
        for module in self.modules():
            found.update(self._classes(module))
        return dict(sorted(found.items()))

    def get(self, name: str) -> type[T]:
        """Return the class called `name`; imports only its module where the two share a name.

        Raises:
            the catalogue's error: no class has that name; the message lists the nearest and all.
        """
        module = name.replace("-", "_")
        if module in self.modules():
            found = self._classes(module)
            if name in found:
                return found[name]
        classes = self.all()
        if name not in classes:
            hint = nearest(name, list(classes))
            raise self.error(f"no {self.kind} is called '{name}'{hint} Known: {', '.join(classes)}.")
        return classes[name]
