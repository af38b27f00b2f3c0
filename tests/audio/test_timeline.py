"""The sound of media files lies where its timestamps say: gaps are silence, also before its beginning."""

from __future__ import annotations

import io
import tracemalloc
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from kit.audio import speech_like
from numpy.typing import NDArray

from audiotool.audio import media
from audiotool.audio.reader import AudioReader
from audiotool.audio.timeline import Timeline

RATE = 48000
CODECS = {".mp4": "aac", ".mov": "pcm_s16le", ".mkv": "flac", ".webm": "libopus"}


def write_parts(
    path: Path,
    parts: list[tuple[float, float]],
    picture: float | None = None,
    options: dict[str, str] | None = None,
) -> NDArray[np.float32]:
    """Write parts of a sound, each at its own time; return the sound, (1, time).

    Args:
        parts: begin in the file and length, in seconds.
        picture: begin of a picture in seconds; None is no picture.
        options: of the format.
    """
    sound = speech_like(sum(length for _, length in parts), RATE, 1)
    with av.open(str(path), "w", options=options or {}) as container:
        stream: Any = container.add_stream(CODECS[path.suffix], rate=RATE, layout="mono")
        film: Any = (
            container.add_stream("mpeg4", rate=10, width=64, height=64) if picture is not None else None
        )
        container.start_encoding()
        for n in range(10 if film else 0):
            image = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            image.pts, image.time_base = round(10 * (picture or 0.0)) + n, Fraction(1, 10)
            container.mux(film.encode(image))
        if film:
            container.mux(film.encode(None))
        size, done = stream.frame_size or 960, 0
        sampler = av.AudioResampler(stream.codec_context.format, "mono", RATE)
        for begin, length in parts:
            count = round(length * RATE)
            for n in range(0, count, size):
                piece = np.ascontiguousarray(sound[:, done + n : done + min(n + size, count)])
                frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
                frame.sample_rate = RATE
                for coded in sampler.resample(frame):
                    coded.pts = round(begin * RATE) + n
                    container.mux(stream.encode(coded))
            done += count
        container.mux(stream.encode(None))
    return sound


def read_all(path: Path) -> tuple[NDArray[np.float32], list[str], int | None]:
    """Return the samples, the warnings without the file's name, and the header's number of samples."""
    with AudioReader(path) as reader:
        samples = np.concatenate(list(reader.blocks(5000)))[:, 0]
    return samples, [warning.replace(str(path), "FILE") for warning in reader.warnings], reader.info.frames


def share(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    """Return the correlation of two recordings, 1 where they are the same."""
    return float(np.corrcoef(ours, theirs)[0, 1])


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm"])
def test_a_pause_is_silence(tmp_path: Path, name: str) -> None:
    # Whole frames of each codec: encoders join what is shorter.
    sound = write_parts(tmp_path / name, [(0.0, 0.96), (1.96, 0.96)])[0]
    samples, warnings, frames = read_all(tmp_path / name)
    assert frames in (None, 2.92 * RATE)
    assert len(samples) == pytest.approx(2.92 * RATE, abs=RATE // 500)
    assert warnings == ["FILE has pauses: 1 gap, 1.00 s in all, is filled with silence"]
    assert not samples[48000:93000].any()
    assert share(samples[:45000], sound[:45000]) > 0.95
    # Matroska and WebM round to 1 ms.
    most = 1 if name == "a.mp4" else 48
    behind = sound[48000:90000]
    assert max(share(samples[96000 + lag : 138000 + lag], behind) for lag in range(-most, most + 1)) > 0.95


def test_timestamps_that_jitter_are_no_pauses(tmp_path: Path) -> None:
    write_parts(tmp_path / "a.mkv", [(0.02 * n + 0.015 * (n % 2), 0.02) for n in range(20)])
    samples, warnings, _ = read_all(tmp_path / "a.mkv")
    assert (len(samples), warnings) == (0.4 * RATE, [])


def test_small_gaps_count_together(tmp_path: Path) -> None:
    write_parts(tmp_path / "a.webm", [(0.035 * n, 0.02) for n in range(20)])
    samples, warnings, _ = read_all(tmp_path / "a.webm")
    assert len(samples) == pytest.approx((19 * 0.035 + 0.02) * RATE, abs=0.02 * RATE)
    assert warnings == ["FILE has pauses: 9 gaps, 0.27 s in all, are filled with silence"]


def test_a_long_pause_takes_no_memory(tmp_path: Path) -> None:
    write_parts(tmp_path / "a.mkv", [(0.0, 0.1), (60.0, 0.1)])
    with AudioReader(tmp_path / "a.mkv") as reader:
        tracemalloc.start()
        count = sum(map(len, reader.blocks(5000)))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert count == pytest.approx(60.1 * RATE, abs=RATE // 500)
    assert most < 1e6


def test_a_pause_that_no_length_confirms(tmp_path: Path) -> None:
    """Where a file states no length, a damaged timestamp cannot be told from a pause."""
    sound = write_parts(tmp_path / "a.mkv", [(0.0, 0.2), (3600.0, 0.2)], options={"live": "1"})
    samples, warnings, _ = read_all(tmp_path / "a.mkv")
    np.testing.assert_allclose(samples, sound[0], atol=1e-4)
    (warning,) = warnings
    assert warning.startswith("FILE has timestamps that jump, first by +3599.80 s after 0.")


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
def test_sound_that_begins_after_the_picture_is_under_it(tmp_path: Path, name: str) -> None:
    sound = write_parts(tmp_path / name, [(0.5, 0.96)], picture=0.0, options=exact(name))[0]
    samples, warnings, frames = read_all(tmp_path / name)
    assert frames in (None, len(samples))
    # The AAC begins with a frame that the coder adds.
    (warning,) = warnings
    assert warning.startswith(f"FILE has sound from {'0.48' if name == 'a.mp4' else '0.50'} s on: silence")
    assert not samples[:22500].any()
    assert share(samples[24000:70000], sound[:46000]) > 0.95
    # The picture is what makes the difference.
    write_parts(tmp_path / name, [(0.5, 0.96)], options=exact(name))
    alone, warnings, frames = read_all(tmp_path / name)
    assert (frames, warnings) == (None if frames is None else len(alone), [])
    assert len(alone) == pytest.approx(len(samples) - 24000, abs=1024)


def exact(name: str) -> dict[str, str]:
    """Return options with which the muxer writes its times to the sample, where it rounds them to 1 ms."""
    return {} if name.endswith(".mkv") else {"movie_timescale": str(RATE)}


def test_sound_that_begins_before_the_picture_is_first(tmp_path: Path) -> None:
    sound = write_parts(tmp_path / "a.mkv", [(0.0, 0.96)], picture=0.5)[0]
    samples, warnings, _ = read_all(tmp_path / "a.mkv")
    np.testing.assert_allclose(samples, sound, atol=1e-4)
    assert warnings == []


def test_a_cover_is_no_picture_of_a_video(tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        sound: Any = container.add_stream("aac", rate=RATE, layout="mono")
        cover: Any = container.add_stream("png", width=16, height=16)
        cover.pix_fmt, cover.disposition = "rgb24", media.ATTACHED_PICTURE
        image = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        container.mux(cover.encode(image) + cover.encode(None))
        frame = av.AudioFrame.from_ndarray(speech_like(0.2, RATE, 1), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = RATE, RATE // 2
        container.mux(sound.encode(frame) + sound.encode(None))
    samples, warnings, _ = read_all(path)
    assert len(samples) < 0.3 * RATE
    assert warnings == []


def place(timeline: Timeline, *times: float | None) -> list[int]:
    """Return the silence before frames of 1000 samples."""
    frames = [SimpleNamespace(time=time, samples=1000, sample_rate=1000) for time in times]
    return [timeline.silence_before(frame) for frame in frames]


def test_nothing_is_cut_where_frames_overlap() -> None:
    timeline = Timeline(1000, None, length=60.0)
    assert place(timeline, 5.0, 6.0, 6.5, 7.5, 8.75) == [0, 0, 0, 0, 250]
    assert timeline.remarks("FILE") == [
        "FILE has pauses: 1 gap, 0.25 s in all, is filled with silence",
        "FILE has timestamps that jump, first by -0.50 s after 2.00 s: the sound is joined there, and"
        " nothing of it is cut",
    ]


def test_silence_ends_with_the_stated_length() -> None:
    timeline = Timeline(1000, None, length=8.0)
    assert place(timeline, 0.0, 3600.0, 3601.0, None, 3607.0) == [0, 0, 0, 0, 4000]
    assert place(timeline, *(9000.0 * n for n in range(100))) == [0] * 100


def test_a_beginning_is_placed_to_the_sample() -> None:
    assert place(Timeline(1000, 5.0, length=60.0), 5.003, 6.01, 7.1) == [3, 0, 97]
    assert place(Timeline(1000, 5.0, length=60.0), 4.9, 5.9) == [0, 0]
    timeline = Timeline(1000, 5.0, length=60.0)
    assert place(timeline, 5000.0, 5001.0) == [0, 0]
    assert timeline.remarks("FILE")[0].startswith(
        "FILE has timestamps that jump, first by +4995.00 s after 0.00"
    )


def test_a_late_frame_among_others_moves_the_rest_once() -> None:
    timeline = Timeline(1000, None, length=None)
    assert place(timeline, 0.0, 1.03, 2.0, 3.03, 4.0) == [0, 30, 0, 0, 0]


def test_other_formats_are_joined(tmp_path: Path) -> None:
    """FFmpeg counts the frames of ADTS as if they had the first one's rate."""
    path = tmp_path / "a.aac"
    for rate in (32000, 48000):
        part = io.BytesIO()
        with av.open(part, "w", format="adts") as container:
            stream: Any = container.add_stream("aac", rate=rate, layout="mono")
            frame = av.AudioFrame.from_ndarray(speech_like(1.0, rate, 1), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = rate, 0
            container.mux(stream.encode(frame) + stream.encode(None))
        with path.open("ab") as file:
            file.write(part.getvalue())
    _, warnings, _ = read_all(path)
    assert len(warnings) == 1
    assert "changes its rate" in warnings[0]
