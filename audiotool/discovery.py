"""Find classes by name in a package, so that adding one is adding one file.

Models, discriminators, losses, tasks, metrics, importers, training examples and corpora are all found the
same way: a class with a `name` in any module of its package. Names use hyphens (`parallel-wavegan`), modules
underscores (`parallel_wavegan.py`).

Other packages add classes by entry points. The group is the package's dotted name, the name of the entry
point is that of the class:

    [project.entry-points."audiotool.metrics"]
    wer = "recogniser_scores:WordErrorRate"

Entry points are read when a name is not one of the project's, or when all are listed. A broken one is left
out, and one line in the log names its package.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import pkgutil
from typing import TYPE_CHECKING, Any, Generic, TypeGuard, TypeVar, cast

from audiotool import stdio
from audiotool.errors import AudiotoolError
from audiotool.signals import EndRequest
from audiotool.text import nearest, one_line

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from importlib.metadata import EntryPoint

T = TypeVar("T")

log = logging.getLogger(__name__)


def is_subclass(value: object, base: type[T]) -> TypeGuard[type[T]]:
    """Whether any value is a class, and a subclass of `base`.

    The value's own type decides, not `isinstance(value, type)`: on Python 3.10 that is also true of aliases
    such as `list[int]`, which `issubclass` refuses.
    """
    return issubclass(type(value), type) and issubclass(cast("type", value), base)


class Catalogue(Generic[T]):
    """The named classes of one package, and those that other packages add by entry points.

    Args:
        package: dotted package that is searched, not recursively ("audiotool.models"), and the group of entry
            points.
        base: only subclasses of it that declare `name` themselves are listed.
        kind: word for such a class in messages ("model").
        error: exception class for an unknown name.
    """

    def __init__(self, package: str, base: type[Any], kind: str, error: type[AudiotoolError]) -> None:
        self.package = package
        self.base = base  # not type[T], because mypy takes no abstract class for it
        self.kind = kind
        self.error = error

    def modules(self) -> list[str]:
        """Return the names of the package's modules, without importing them."""
        search_path = importlib.import_module(self.package).__path__
        return sorted(m.name for m in pkgutil.iter_modules(search_path) if not m.ispkg)

    def _classes(self, module: str) -> dict[str, type[T]]:
        contents = vars(importlib.import_module(f"{self.package}.{module}")).values()
        return {
            c.__dict__["name"]: c
            for c in contents
            if is_subclass(c, self.base) and isinstance(c.__dict__.get("name"), str)
        }

    def builtin(self) -> dict[str, type[T]]:
        """Return the project's own names and classes, sorted by name; imports the whole package."""
        found: dict[str, type[T]] = {}
        for module in self.modules():
            found.update(self._classes(module))
        return dict(sorted(found.items()))

    def all(self) -> dict[str, type[T]]:
        """Return all names and classes, sorted by name; imports the whole package and those of other
        packages."""
        found = self.builtin()
        for _, message in self._add(found):
            warn_once(message)
        return dict(sorted(found.items()))

    def left_out(self, broken: Collection[str] = ()) -> list[tuple[str, str]]:
        """Return (package and version, message with the reason) of each class of other packages that is left
        out; imports everything, as `all` does, but for modules that are known as broken."""
        return list(self._add(self.builtin(), broken))

    def _add(self, found: dict[str, type[T]], broken: Collection[str] = ()) -> Iterator[tuple[str, str]]:
        """Add the classes of other packages; yield package and message of those that are left out."""
        for entry in self._entries():
            if entry.module in broken:
                continue
            try:
                if entry.name in found:
                    raise self.error(f"{self._called(entry)} is left out: another has that name")
                found[entry.name] = self._load(entry)
            except AudiotoolError as error:
                yield package_of(entry), str(error)

    def __contains__(self, name: str) -> bool:
        """Whether a class has that name; those of other packages are not imported."""
        return self._find_builtin(name) is not None or any(entry.name == name for entry in self._entries())

    def get(self, name: str) -> type[T]:
        """Return the class called `name`; imports only its module where the two share a name.

        Raises:
            the catalogue's error: no class has that name (the message lists the nearest and all), or the
                class is of another package and cannot be imported.
        """
        builtin = self._find_builtin(name)
        if builtin is not None:
            return builtin
        for entry in self._entries():
            if entry.name == name:
                return self._load(entry)
        classes = self.all()
        raise self.error(
            f"no {self.kind} is called '{name}'{nearest(name, list(classes))} Known: {', '.join(classes)}."
        )

    def _find_builtin(self, name: str) -> type[T] | None:
        """Return the project's own class of that name; imports only its module where the two share a name."""
        module = name.replace("-", "_")
        is_there = module.isidentifier() and importlib.util.find_spec(f"{self.package}.{module}") is not None
        if is_there and (found := self._classes(module).get(name)) is not None:
            return found
        return self.builtin().get(name)

    def added(self) -> list[tuple[str, str]]:
        """Return (name, package and version) of the classes of other packages; nothing is imported."""
        return [(entry.name, package_of(entry)) for entry in self._entries()]

    def package_of(self, name: str) -> str | None:
        """Return the package and version that a class comes from; None for the project's own."""
        if self._find_builtin(name) is not None:
            return None
        # Of several classes of one name the first is taken.
        return next((package for added, package in self.added() if added == name), None)

    def called(self, name: str) -> str:
        """Return what messages call a class, with the package it comes from: "model 'x' of package y 1.0"."""
        package = self.package_of(name)
        return f"{self.kind} '{name}'" + ("" if package is None else f" of package {package}")

    def _entries(self) -> list[EntryPoint]:
        from importlib.metadata import entry_points

        return sorted(entry_points(group=self.package), key=lambda entry: (entry.name, package_of(entry)))

    def _load(self, entry: EntryPoint) -> type[T]:
        """Return the class of an entry point.

        Raises:
            the catalogue's error: it cannot be imported or is no such class; the message names the package.
        """
        try:
            # A module may print as it is imported, while a list or completions are being written.
            with stdio.reserved_output():
                found = entry.load()
        except EndRequest:
            raise
        except (Exception, SystemExit) as error:
            reason = one_line(f"{type(error).__name__}: {error}")
            raise self.error(f"{self._called(entry)} is left out: {reason}") from error
        if not is_subclass(found, self.base):
            raise self.error(f"{self._called(entry)} is left out: {entry.value} is no {self.base.__name__}")
        if found.__dict__.get("name") != entry.name:
            declared = found.__dict__.get("name")
            raise self.error(f"{self._called(entry)} is left out: {entry.value} has the name {declared!r}")
        return found

    def _called(self, entry: EntryPoint) -> str:
        return f"{self.kind} '{entry.name}' of package {package_of(entry)}"


def package_of(entry: EntryPoint) -> str:
    """Return the name and version of the package that an entry point is of."""
    found = entry.dist
    return "of unknown name" if found is None else f"{found.name} {found.version}"


@functools.cache
def warn_once(message: str) -> None:
    """Log a warning, each only once in a process."""
    log.warning(message)
