"""What a run reads and what it writes: known before anything is opened, for planning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from audiotool.audio.formats import (
    MEL_ENDINGS,
    ending_for,
    ending_meant,
    format_for,
    is_audio_name,
    is_media_name,
    is_mel_name,
    readable_endings,
    subtype_for,
)
from audiotool.errors import InputError, PlanError


def alone(relative: Path) -> tuple[Path, ...]:
    """An input that needs no other file."""
    return ()


@dataclass(frozen=True)
class Inputs:
    """What one input is.

    Args:
        endings: name endings that are looked for in folders and patterns.
        noun: what such files are called.
        companions: other files that are read with an input, from its place below the folder it was found in.
    """

    endings: tuple[str, ...] = field(default_factory=readable_endings)
    noun: str = "audio files"
    companions: Callable[[Path], tuple[Path, ...]] = alone


@dataclass(frozen=True)
class Outputs:
    """Which recordings one input becomes.

    Args:
        done: put into the name of an output, with an underscore, that goes beside its input.
        stems: names of the outputs; several go into a folder, as NAME.STEM.wav.
        last_is_rest: True when the last stem is what the others leave of the input.
    """

    done: str = "done"
    stems: tuple[str, ...] = ("speech",)
    last_is_rest: bool = False

    def ending(self, name: Path, asked: str | None) -> str:
        """Name ending of the output of an input called `name`, of the asked format or like the input's.

        Raises:
            PlanError: there is no such format.
        """
        if asked is None:
            return ".wav" if is_mel_name(name) or is_media_name(name) else name.suffix
        ending = ending_meant(name, asked)
        if is_audio_name(Path(f"a{ending}")):
            return ending
        try:
            return ending_for(format_for(name, asked))
        except InputError as error:
            raise PlanError(str(error)) from error

    def check(self, path: Path, asked: str | None, subtype: str | None) -> None:
        """Refuse a name that does not say what is written, and formats and sample formats that do not exist.

        Raises:
            PlanError: says which are there.
        """
        try:
            name = format_for(path, asked)
            if subtype is not None:
                subtype_for(name, ending_meant(path, asked), "PCM_16", subtype, sample_rate=48000)
        except InputError as error:
            raise PlanError(str(error)) from error

    def check_pipe(self) -> None:
        """Refuse standard output where it cannot take this.

        Raises:
            PlanError: there are several outputs.
        """
        if len(self.stems) > 1:
            raise PlanError(f"standard output takes one of {len(self.stems)} outputs: give -o FILE or FOLDER")


@dataclass(frozen=True)
class MelOutputs(Outputs):
    """A mel file of each input."""

    done: str = "mel"

    def ending(self, name: Path, asked: str | None) -> str:
        return MEL_ENDINGS[0] if asked is None else f".{asked.lower().lstrip('.')}"

    def check(self, path: Path, asked: str | None, subtype: str | None) -> None:
        if not is_mel_name(path):
            raise PlanError(f"{path}: a mel is written to {', '.join(MEL_ENDINGS)}")

    def check_pipe(self) -> None:
        raise PlanError("standard output takes WAV, and a mel is none: give -o FILE")
