"""Open the writer of an output; sound of a sample rate that the output's coding has not is resampled.

The outputs of a file are first checked to be different files, and none of its inputs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from audiotool.audio import PIPE
from audiotool.audio.formats import coding_for, mp3_rate, muxer_for, opus_rate
from audiotool.audio.levels import FloatBlock
from audiotool.audio.outputs import open_writer
from audiotool.audio.target import Target
from audiotool.audio.writer import OutputFormat, Writer, resampling
from audiotool.errors import InputError
from audiotool.paths import clash, local_path
from audiotool.streaming.resample import StreamingResampler

if TYPE_CHECKING:
    from audiotool.audio.raw import Raw


def check_apart(target: Target, *inputs: str | Path | None) -> None:
    """Check that the outputs of a file are local, and that none would replace another one or an input, as
    plans check it (`batch.checks`).

    Args:
        inputs: the source, and other files that are read; None for one that is not there.
    Raises:
        InputError: two outputs are one file, or both are standard output; an output is an input, or as
            `local_path`.
    """
    for place in target.places:
        local_path(place)
    outputs = [place for place in target.places if place != PIPE]
    same = (PIPE, PIPE) if len(target.places) - len(outputs) > 1 else clash(outputs)
    if same is not None:
        raise InputError(f"outputs of one name: {' and '.join(same)}; give each a name of its own")
    sources = [place for place in inputs if place is not None and str(place) != PIPE]
    for output in outputs:
        if any(clash([output, source]) for source in sources):
            raise InputError(f"an output would replace its own input: {output}; give it another name")


def open_output(path: str | Path, wanted: OutputFormat, raw: Raw | None = None) -> Writer:
    """Return the writer of an output, as `audio.outputs.open_writer`, for blocks of any sample rate.

    Raises:
        InputError: as `open_writer`.
    """
    rate = _file_rate(path, wanted)
    if rate == wanted.sample_rate:
        return open_writer(path, wanted, raw)
    return ResamplingWriter(path, wanted, rate)


def _file_rate(path: str | Path, wanted: OutputFormat) -> int:
    """Return the sample rate in Hz of an output; PyAV resamples what it writes itself."""
    asked = wanted.asked_format
    if str(path) == PIPE or muxer_for(Path(path), asked) is not None:
        return wanted.sample_rate
    format_name, subtype = coding_for(Path(path), asked, wanted.subtype, wanted.asked_subtype)
    if format_name == "MP3":
        return mp3_rate(wanted.sample_rate)
    return opus_rate(wanted.sample_rate) if subtype == "OPUS" else wanted.sample_rate


class ResamplingWriter(Writer):
    """A writer of blocks of another sample rate than the file's; memory is that of a block.

    Args:
        path: path of the output.
        wanted: its format, with the sample rate of the blocks.
        sample_rate: Hz of the file.
    Raises:
        InputError: as `open_writer`.
    """

    def __init__(self, path: str | Path, wanted: OutputFormat, sample_rate: int) -> None:
        super().__init__()
        self._resampler = StreamingResampler(wanted.sample_rate, sample_rate, wanted.channels)
        frames = None if wanted.frames is None else self._resampler.output_length(wanted.frames)
        self._writer = open_writer(path, wanted._replace(sample_rate=sample_rate, frames=frames))
        self.name, self.subtype = self._writer.name, self._writer.subtype
        self.resampled = resampling(self.subtype, wanted.sample_rate, sample_rate)

    def _put(self, block: FloatBlock) -> None:
        self._writer.write(self._resampler.feed(block.T).T)

    def _finish(self) -> None:
        self._writer.write(self._resampler.flush().T)
        self._writer.prepare()
        self.dropped, self.peak, self.limited, self.filling = (
            self._writer.dropped,
            self._writer.peak,
            self._writer.limited,
            self._writer.filling,
        )

    def commit(self) -> None:
        self.prepare()
        self._writer.commit()

    def close(self) -> None:
        self._writer.close()
