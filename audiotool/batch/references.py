"""Find the clean recordings with which outputs are compared."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

from audiotool.audio.formats import is_readable_name
from audiotool.audio.near_names import near_name
from audiotool.batch.inputs import Found
from audiotool.errors import PlanError
from audiotool.paths import MISSING, absence, like_named, storable
from audiotool.text import composed


class References:
    """References of a user's inputs, found by name; every folder is read once.

    Args:
        place: a clean file for one input, else a folder of them. For several stems a folder with
            NAME.STEM.wav or STEM/NAME.wav, or for one input STEM.wav.
        stems: names of the outputs of one input.
        several: True when there are several inputs.
        last_is_rest: True when the last stem is the rest of the input, which need not have a reference.
    Raises:
        PlanError: the place does not exist, or is a file and several are needed.
    """

    def __init__(
        self, place: Path, stems: tuple[str, ...], several: bool, last_is_rest: bool = False
    ) -> None:
        place = like_named(place)
        self.place = place
        self.stems = stems
        self.several = several
        self.last_is_rest = last_is_rest
        self._folders: dict[Path, dict[str, list[Path]]] = {}
        if len(stems) > 1 and not os.path.isdir(place):
            raise PlanError(f"several stems need a folder of references, and {place} is none")
        reason = absence(place)
        if reason == MISSING:
            raise PlanError(f"no such reference: {place}{near_name(place)}")
        if reason is not None:
            raise PlanError(f"reference {place}: {reason}")
        if several and os.path.isfile(place):
            raise PlanError(f"several inputs need a folder of references, and {place} is a file")

    def of(self, found: Found) -> tuple[Path, ...]:
        """Return the references of an input, one for each stem, but for a last one that is the rest and has
        none.

        Raises:
            PlanError: there is none, or there are several of its name.
        """
        if len(self.stems) > 1:
            found_all = [self._of_stem(found, stem) for stem in self.stems]
            return tuple(path for path in found_all if path is not None)
        if os.path.isfile(self.place):
            return (self.place,)
        exact = self.place / storable(found.relative)
        same = self._in_any_format(exact)
        if same is None:
            raise PlanError(f"{found.path} has no reference: {exact} does not exist, in any format")
        return (same,)

    def _of_stem(self, found: Found, stem: str) -> Path | None:
        name = storable(found.relative)
        tries = [self.place / name.with_name(f"{name.stem}.{stem}{name.suffix}"), self.place / stem / name]
        tries += [] if self.several else [self.place / f"{stem}{name.suffix}"]
        for path in tries:
            same = self._in_any_format(path)
            if same is not None:
                return same
        if self.last_is_rest and stem == self.stems[-1]:
            return None
        raise PlanError(
            f"{found.path} has no reference for its {stem}: there is none of {', '.join(map(str, tries))},"
            " in any format"
        )

    def _in_any_format(self, path: Path) -> Path | None:
        """Return the file of this name, or the one that differs only in its ending; None if there is none.

        Raises:
            PlanError: several differ in their endings.
        """
        if os.path.isfile(path) and is_readable_name(path):
            return path
        folder = path.parent
        # `like_named` finds the folder under any Unicode normal form of its name.
        if folder not in self._folders:
            by_stem = defaultdict(list)
            place = like_named(folder)
            try:
                others = sorted(place.iterdir()) if os.path.isdir(place) else []
            except OSError as error:
                raise PlanError(f"the references in {place} cannot be read: {error.strerror}") from error
            for other in others:
                if is_readable_name(other) and os.path.isfile(other):
                    by_stem[composed(other.stem)].append(other)
            self._folders[folder] = by_stem
        alike = self._folders[folder].get(composed(path.stem), [])
        alike = [other for other in alike if other.stem == path.stem] or alike
        if len(alike) > 1:
            raise PlanError(f"{alike[0]} and {alike[1]} have one name: which of them counts?")
        return next(iter(alike), None)
