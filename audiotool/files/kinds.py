"""The kinds of inputs and outputs of a run, for planning before any file is opened.

Nothing compares or prints them; methods for that would slow down every start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from audiotool.audio import PIPE
from audiotool.audio.formats import (
    MEL_ENDINGS,
    check_any_bitrate,
    chosen_ending,
    contradiction,
    ending_for,
    format_for,
    has_bitrate,
    is_bare_name,
    is_media_name,
    is_mel_name,
    is_written_name,
    readable_endings,
    subtype_for,
)
from audiotool.audio.target import Target
from audiotool.errors import PlanError, as_plan_error


def alone(relative: Path) -> tuple[Path, ...]:
    """Return no companions: the input needs no other file."""
    return ()


@dataclass(frozen=True, eq=False, repr=False)
class Inputs:
    """The kind of a run's inputs.

    Args:
        endings: name endings of the files that are taken from folders and patterns.
        noun: name of such files in messages.
        companions: function from an input's path below its folder to other files that are read with it.
    """

    endings: tuple[str, ...] = field(default_factory=readable_endings)
    noun: str = "audio files"
    companions: Callable[[Path], tuple[Path, ...]] = alone


@dataclass(frozen=True, eq=False, repr=False)
class Outputs:
    """The recordings that are written for one input.

    Args:
        done: suffix of an output beside its input: NAME_denoised.wav.
        stems: names of the outputs; several go into a folder, as NAME.STEM.wav.
        last_is_rest: True when the last stem is the input minus all other stems.
    """

    done: str = "done"
    stems: tuple[str, ...] = ("speech",)
    last_is_rest: bool = False

    def ending(self, name: Path, asked: str | None) -> str:
        """Return the name ending of the output of the input `name`: that of the format option, or the
        input's.

        Raises:
            PlanError: there is no such format.
        """
        if asked is None:
            return ".wav" if is_mel_name(name) or is_media_name(name) or is_bare_name(name) else name.suffix
        ending = chosen_ending(name, asked)
        if is_written_name(Path(f"a{ending}")):
            return ending
        with as_plan_error():
            return ending_for(format_for(name, asked))

    @as_plan_error()
    def check(self, path: Path, asked: str | None, subtype: str | None) -> None:
        """Check that an output's name fits its format, and that format and sample format exist.

        Args:
            path: the output.
            asked, subtype: the user's format and sample format.
        Raises:
            PlanError: they do not; the message names those that exist.
        """
        name = format_for(path, asked)
        problem = contradiction(path, asked)
        if problem is not None:
            raise PlanError(problem)
        if subtype is not None:
            subtype_for(name, chosen_ending(path, asked), "PCM_16", subtype)

    @as_plan_error()
    def check_bitrate(self, place: str, asked: str | None, subtype: str | None, bitrate: float) -> None:
        """Check that an output's coding has a bit rate to choose, and that it may be so many kbit/s.

        Raises:
            PlanError: it has none or no such one, or there is no such format or sample format.
        """
        path = Path(place)
        name = "WAV" if place == PIPE else format_for(path, asked)
        coding = subtype_for(name, chosen_ending(path, asked), "PCM_16", subtype)
        if not has_bitrate(name, coding):
            shown = "standard output" if place == PIPE else place
            raise PlanError(f"--bitrate is for MP3, Opus and AAC, and {shown} has none: leave it out")
        check_any_bitrate(name, coding, bitrate)

    def target(
        self,
        places: tuple[str | Path, ...],
        residual: str | Path | None,
        asked: str | None,
        subtype: str | None,
        bitrate: float | None = None,
    ) -> Target:
        """Return the paths and the format of one input's outputs.

        Args:
            places: path or URL of each stem.
            residual: path or URL of input minus output, None for none; a last stem that is the rest of the
                input takes its place.
            asked, subtype, bitrate: the user's format, sample format and bit rate.
        """
        if self.last_is_rest:
            *places_of_stems, residual = places
            places = tuple(places_of_stems)
        return Target(places, residual, asked, subtype, bitrate)

    @as_plan_error()
    def check_pipe(self, asked: str | None = None, subtype: str | None = None) -> None:
        """Check that the outputs can go to standard output.

        Args:
            asked, subtype: the user's format and sample format.
        Raises:
            PlanError: they cannot, because there are several, or standard output has no such format.
        """
        if len(self.stems) > 1:
            raise PlanError(f"standard output takes one of {len(self.stems)} outputs: give -o FILE or FOLDER")
        if asked is not None or subtype is not None:
            from audiotool.audio.pipe_writer import check_coding

            check_coding(asked, subtype)


@dataclass(frozen=True, eq=False, repr=False)
class MelOutputs(Outputs):
    """A mel file of each input."""

    done: str = "mel"

    def ending(self, name: Path, asked: str | None) -> str:
        return MEL_ENDINGS[0] if asked is None else f".{asked.lower().lstrip('.')}"

    def check(self, path: Path, asked: str | None, subtype: str | None) -> None:
        if not is_mel_name(path):
            raise PlanError(f"{path}: a mel is written to {', '.join(MEL_ENDINGS)}")

    def check_pipe(self, asked: str | None = None, subtype: str | None = None) -> None:
        raise PlanError("standard output takes WAV, and a mel is none: give -o FILE")
