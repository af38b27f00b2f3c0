"""Results of a command that cannot be written, and cost no other result."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from audiotool.cli.screen import say
from audiotool.errors import InputError


class Unwritten:
    """The errors of results that could not be written, kept until everything else is written and said."""

    def __init__(self) -> None:
        self._errors: list[InputError] = []

    @contextlib.contextmanager
    def held_back(self) -> Iterator[None]:
        """Keep the error of the result that the `with` block writes."""
        try:
            yield
        except InputError as error:
            self._errors.append(error)

    def say(self) -> None:
        """Say the errors, where another one ends the command."""
        for error in self._errors:
            say(f"error: {error}")
        self._errors.clear()

    def raise_any(self) -> None:
        """Raise the last error, and say those before it.

        Raises:
            InputError: a result could not be written.
        """
        if self._errors:
            last = self._errors.pop()
            self.say()
            raise last
