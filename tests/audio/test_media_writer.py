"""Outputs of PyAV: the sound where it belongs, the video as it was, nothing half-written."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soxr
from kit.audio import speech_like
from kit.disk import largest_file
from kit.video import PICTURES, write_video
from numpy.typing import NDArray

import audiotool
from audiotool.audio import media
from audiotool.audio.formats import contradiction
from audiotool.audio.media_writer import ReadBack
from audiotool.audio.outputs import open_writer
from audiotool.audio.reader import AudioReader, probe, read
from audiotool.audio.writer import OutputFormat
from audiotool.errors import InputError


def pictures_of(path: Path) -> list[tuple[float, NDArray[np.uint8]]]:
    """The time of every picture after the first, and the pictures."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    times = [float(frame.time or 0) for frame in frames]
    return [(t - times[0], f.to_ndarray(format="rgb24")) for t, f in zip(times, frames, strict=True)]


def lag_of(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> int:
    """The lag in samples at which the first channels of two recordings differ least."""
    count = min(ours.shape[1], theirs.shape[1]) - 200
    left = {n: np.std(ours[0, 100 + n :][:count] - theirs[0, 100:][:count]) for n in range(-100, 101)}
    return min(left, key=left.__getitem__)


@pytest.mark.parametrize("name", ["out.mp4", "out.m4a", "out.mov", "out.mkv", "out.mka", "out.webm"])
@pytest.mark.parametrize("rate", [16000, 37800, 44100])
def test_the_sound_is_where_it_was(tmp_path: Path, name: str, rate: int) -> None:
    waveform = speech_like(1.0, rate, 2)
    audiotool.write(tmp_path / name, waveform, rate)
    found, coded_rate = read(tmp_path / name)
    assert coded_rate == (48000 if name == "out.webm" else max(rate, 44100) if rate > 32000 else rate)
    assert 0 <= found.shape[1] - coded_rate <= (1024 if ".mk" in name else 1)
    expected = soxr.resample(waveform.T, rate, coded_rate).T
    assert lag_of(found, expected) == 0
    assert np.std(found[:, : expected.shape[1]] - expected) < 0.3 * np.std(expected)


@pytest.mark.parametrize("name", ["out.mp4", "out.m4a", "out.mov", "out.mkv", "out.webm"])
@pytest.mark.parametrize("rate", [16000, 37800, 44100, 48000])
@pytest.mark.parametrize("frames", [9999, 20480])
def test_the_sound_is_as_long_as_it_was_or_a_line_says_so(
    tmp_path: Path, name: str, rate: int, frames: int
) -> None:
    with open_writer(tmp_path / name, OutputFormat(rate, 1)) as writer:
        writer.write(speech_like(2.0, rate)[:, :frames].T)
    found, coded_rate = read(tmp_path / name)
    expected = -(-frames * coded_rate // rate)
    # Matroska does not say how much of the last frame of AAC belongs to the recording.
    assert writer.filling == (-expected % 1024 if name == "out.mkv" else 0)
    assert found.shape[1] == expected + writer.filling


@pytest.mark.parametrize("begin", [0, 7])
@pytest.mark.parametrize(
    ("source", "output"),
    [("in.mp4", "out.mp4"), ("in.mp4", "out.mkv"), ("in.mkv", "out.mov"), ("in.webm", "out.webm")],
)
def test_the_video_stays_as_it_was(tmp_path: Path, source: str, output: str, begin: int) -> None:
    video, out = write_video(tmp_path / source, begin), tmp_path / output
    with AudioReader(video) as reader:
        wanted = OutputFormat(48000, 2, tags=reader.tags, extras=reader.extras, video=reader.video)
        with open_writer(out, wanted) as writer:
            for block in reader.blocks(4096):
                writer.write(block)
        assert writer.dropped == []
    for (ours, image), (theirs, expected) in zip(pictures_of(out), pictures_of(video), strict=True):
        assert ours == pytest.approx(theirs, abs=2e-3)
        np.testing.assert_array_equal(image, expected)
    assert lag_of(read(out)[0], read(video)[0]) == 0
    with av.open(str(out)) as container:
        assert container.metadata["title"] == "A talk"
        assert [dict(found["metadata"]) for found in container.chapters()] == [{"title": "Greeting"}]
        assert [stream.type for stream in container.streams][:2] == ["video", "audio"]


@pytest.mark.parametrize(("name", "dropped"), [("out.mov", 0), ("out.mkv", 0), ("out.mp4", 2)])
def test_the_place_and_the_make_of_a_phone_are_kept_or_named(tmp_path: Path, name: str, dropped: int) -> None:
    apple = "com.apple.quicktime"
    tags = {f"{apple}.location.ISO6709": "+52.5+13.4/", f"{apple}.make": "Apple"}
    write_video(tmp_path / "in.mov", tags=tags)
    with AudioReader(tmp_path / "in.mov") as reader:
        wanted = OutputFormat(48000, 2, tags=reader.tags, extras=reader.extras, video=reader.video)
        with open_writer(tmp_path / name, wanted) as writer:
            for block in reader.blocks(4096):
                writer.write(block)
    assert len(writer.dropped) == dropped
    with av.open(str(tmp_path / name)) as written:
        found = {tag.lower(): text for tag, text in written.metadata.items()}
    expected = {"title": "A talk", **tags}
    kept = {tag: text for tag, text in expected.items() if tag not in writer.dropped}
    assert {tag: found.get(tag.lower()) for tag in kept} == kept


def test_a_video_with_pictures_out_of_order_keeps_its_times(tmp_path: Path) -> None:
    video = tmp_path / "in.mkv"
    with av.open(str(video), "w") as container:
        pictures: Any = container.add_stream("libx264", rate=25, width=64, height=64, options={"bf": "2"})
        pictures.pix_fmt = "yuv420p"
        sound: Any = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(speech_like(2.0, 16000), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, 0
        packets = [*sound.encode(frame), *sound.encode(None)]
        for n in range(50):
            image = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 5 * n, np.uint8), format="rgb24")
            image.pts, image.time_base = n, Fraction(1, 25)
            packets += pictures.encode(image)
        container.mux([*packets, *pictures.encode(None)])
    with open_writer(tmp_path / "out.mp4", OutputFormat(16000, 1, video=video)) as writer:
        writer.write(speech_like(2.0, 16000).T)
    with av.open(str(tmp_path / "out.mp4")) as container:
        found: Any = container.streams.video[0]
        assert float(found.duration * found.time_base) == pytest.approx(2.0, abs=1e-3)
        times = [packet.dts for packet in container.demux(found) if packet.dts is not None]
    assert np.diff(times).min() > 0
    theirs = pictures_of(video)
    assert [ours for ours, _ in pictures_of(tmp_path / "out.mp4")] == pytest.approx(
        [t for t, _ in theirs], abs=2e-3
    )


def write_layout(path: Path, layout: str, coding: str = "flac") -> Path:
    """A file in whose channels there is sound one after another."""
    channels = av.AudioLayout(layout).nb_channels
    samples = np.zeros((8000 * channels, channels), np.float32)
    for n in range(channels):
        samples[8000 * n : 8000 * n + 4000, n] = 0.5 * np.sin(np.arange(4000) * 0.01)
    with av.open(str(path), "w") as container:
        sound: Any = container.add_stream(coding, rate=48000, layout=layout)
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="flt", layout=layout)
        frame.sample_rate, frame.pts = 48000, 0
        container.mux(sound.encode(frame) + sound.encode(None))
    return path


@pytest.mark.parametrize(
    ("layout", "mask", "named"),
    [
        *(("mono", 0, ()), ("stereo", 0, ()), ("2.1", 0xB, ("b.flac", "b.m4a")), ("quad", 0x33, ("b.m4a",))),
        *(("4.0", 0x107, ("b.flac",)), ("5.1", 0x3F, ()), ("5.1(side)", 0x60F, ("b.flac", "b.m4a"))),
    ],
)
def test_the_speakers_of_a_media_file_are_kept_or_named(
    tmp_path: Path, layout: str, mask: int, named: tuple[str, ...]
) -> None:
    with AudioReader(write_layout(tmp_path / "in.mkv", layout)) as reader:
        extras, channels, block = reader.extras, reader.info.channels, next(reader.blocks(1 << 18))
    assert extras.mask == mask
    for name in ("b.wav", "b.flac", "b.m4a"):
        with open_writer(tmp_path / name, OutputFormat(48000, channels, extras=extras)) as writer:
            writer.write(block)
        assert writer.dropped == ([f"the speakers of its channels ({mask:#x})"] if name in named else [])
    with AudioReader(tmp_path / "b.wav") as reader:
        assert reader.extras.mask == mask
        assert reader.info.format == ("WAVEX" if mask else "WAV")


@pytest.mark.parametrize(
    ("layout", "coding"),
    [
        *(("quad", "flac"), ("2.1", "flac"), ("5.1(side)", "flac"), ("7.1", "flac")),
        # Of PCM Matroska has no speakers: those are the usual ones of so many channels.
        *(("mono", "pcm_s16le"), ("stereo", "pcm_s16le"), ("5.1", "pcm_s16le")),
    ],
)
def test_the_speakers_are_those_of_the_film(tmp_path: Path, layout: str, coding: str) -> None:
    channels = av.AudioLayout(layout).nb_channels
    with AudioReader(write_layout(tmp_path / "in.mkv", layout, coding)) as reader:
        wanted = OutputFormat(48000, channels, video=reader.video)
        with open_writer(tmp_path / "out.mp4", wanted) as writer:
            writer.write(np.concatenate(list(reader.blocks(4096))))
    with av.open(str(tmp_path / "out.mp4")) as container:
        written: Any = container.streams.audio[0]
        assert written.codec_context.layout.name == layout.removesuffix("(side)")
    found = read(tmp_path / "out.mp4")[0]
    loudest = [np.square(found[:, 8000 * n : 8000 * n + 4000]).sum(1).argmax() for n in range(channels)]
    assert loudest == list(range(channels))


def test_the_program_that_wrote_a_film_is_no_loss(tmp_path: Path) -> None:
    path = write_layout(tmp_path / "in.avi", "stereo", "pcm_s16le")
    with av.open(str(path)) as film:
        assert "software" in film.metadata
    with AudioReader(path) as reader:
        assert reader.extras.lost == ()


def test_a_name_that_hides_the_video_contradicts_a_format_that_shows_it() -> None:
    assert (
        contradiction(Path("out.mp4"), "m4a")
        == "out.mp4 is named as another format than --format m4a: end it in .m4a"
    )
    assert contradiction(Path("out.m4a"), "mp4") is not None
    assert contradiction(Path("out.m4v"), "mp4") is None


def boxes_of(path: Path) -> list[bytes]:
    """The kinds of the outermost boxes of an MP4, in their order."""
    data, found, at = path.read_bytes(), [], 0
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        found.append(kind)
        at += length
    assert at == len(data)
    return found


@pytest.mark.parametrize("name", ["out.mp4", "out.m4a", "out.mov"])
def test_players_find_the_index_before_the_samples(tmp_path: Path, name: str) -> None:
    video = write_video(tmp_path / "in.mp4")
    with AudioReader(video) as reader:
        wanted = OutputFormat(48000, 2, tags=reader.tags, extras=reader.extras, video=reader.video)
        with open_writer(tmp_path / name, wanted) as writer:
            for block in reader.blocks(4096):
                writer.write(block)
    boxes = boxes_of(tmp_path / name)
    assert boxes[0] == b"ftyp"
    assert boxes.index(b"moov") < boxes.index(b"mdat")
    assert lag_of(read(tmp_path / name)[0], read(video)[0]) == 0
    assert len(list(tmp_path.iterdir())) == 2


def test_the_index_is_moved_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = list[int]()
    read_back = ReadBack.read

    def counted(reader: ReadBack, size: int) -> bytes:
        sizes.append(size)
        return read_back(reader, size)

    monkeypatch.setattr(ReadBack, "read", counted)
    noise = np.random.default_rng(0).normal(0, 0.1, (30 * 48000, 2)).astype(np.float32)
    audiotool.write(tmp_path / "a.mp4", noise.T, 48000)
    length = (tmp_path / "a.mp4").stat().st_size
    assert max(sizes) < length / 8
    assert sum(sizes) >= length


def test_memory_is_that_of_a_block(tmp_path: Path) -> None:
    video = write_video(tmp_path / "in.mp4")
    with (
        AudioReader(video) as reader,
        open_writer(tmp_path / "out.mkv", OutputFormat(48000, 2, video=reader.video)) as writer,
    ):
        block = next(reader.blocks(9600))
        writer.write(block)
        waiting = writer._remuxer._next  # type: ignore[attr-defined]
        assert 0.1 < waiting.dts * waiting.time_base < 0.4, "no picture is copied long before its sound"
        writer.write(np.concatenate(list(reader.blocks(48000))))
    assert len(pictures_of(tmp_path / "out.mkv")) == PICTURES


def test_a_video_that_the_format_does_not_hold(tmp_path: Path) -> None:
    video = write_video(tmp_path / "in.mp4")
    out = tmp_path / "out.webm"
    out.write_bytes(b"before")
    with pytest.raises(InputError, match=r"out\.webm: webm holds no video coded as mpeg4: try \.mkv"):
        open_writer(out, OutputFormat(48000, 2, video=video))
    assert out.read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.webm"]


def test_names_are_no_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    video = write_video(tmp_path / "in.mp4").rename("concat:other.mp4")
    write_video(tmp_path / "other.mp4", begin=3)
    with open_writer("out.mp4", OutputFormat(48000, 2, video=video)) as writer:
        writer.write(speech_like(0.5, 48000, 2).T)
    assert len(pictures_of(tmp_path / "out.mp4")) == PICTURES


def test_sound_alone_leaves_the_video_and_keeps_the_cover(tmp_path: Path) -> None:
    audiotool.write(tmp_path / "plain.m4a", speech_like(0.5, 16000), 16000)
    cover = tmp_path / "cover.m4a"
    with av.open(str(cover), "w", format="mp4") as container:
        sound: Any = container.add_stream("aac", rate=16000, layout="mono")
        picture: Any = container.add_stream("png", width=16, height=16)
        picture.pix_fmt, picture.disposition = "rgb24", media.ATTACHED_PICTURE
        image = av.VideoFrame.from_ndarray(np.full((16, 16, 3), 99, np.uint8), format="rgb24")
        container.mux(picture.encode(image) + picture.encode(None))
        frame = av.AudioFrame.from_ndarray(speech_like(0.5, 16000), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, 0
        container.mux(sound.encode(frame) + sound.encode(None))
    for name, kept in (("out.m4a", True), ("out.mka", False)):
        with open_writer(tmp_path / name, OutputFormat(16000, 1, video=cover)) as writer:
            writer.write(speech_like(0.5, 16000).T)
        assert writer.dropped == ([] if kept else ["picture"])
        with av.open(str(tmp_path / name)) as container:
            assert [media.is_cover(stream) for stream in container.streams.video] == [True] * kept
            assert not kept or (next(container.decode(video=0)).to_ndarray(format="rgb24") == 99).all()
    with open_writer(
        tmp_path / "video.m4a", OutputFormat(16000, 1, video=write_video(tmp_path / "in.mp4"))
    ) as writer:
        writer.write(speech_like(0.5, 16000).T)
    with av.open(str(tmp_path / "video.m4a")) as container:
        assert not container.streams.video


def test_tags_of_another_format(tmp_path: Path) -> None:
    wanted = OutputFormat(16000, 1, tags={"title": "Folge 1", "tracknumber": "3"})
    with open_writer(tmp_path / "a.m4a", wanted) as writer:
        writer.write(speech_like(0.2, 16000).T)
    with AudioReader(tmp_path / "a.m4a") as reader:
        assert reader.tags == {"title": "Folge 1", "tracknumber": "3"}


def write_sound(path: Path, tags: dict[str, str]) -> Path:
    """Half a second of speech in Matroska."""
    with av.open(str(path), "w", format="matroska") as container:
        container.metadata.update(tags)
        sound: Any = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(speech_like(0.5, 16000), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, 0
        container.mux(sound.encode(frame) + sound.encode(None))
    return path


def test_what_was_measured_on_the_input_is_not_kept(tmp_path: Path) -> None:
    tags = {"title": "Ep", "REPLAYGAIN_TRACK_GAIN": "-9.30 dB", "mood": "calm"}
    with AudioReader(write_sound(tmp_path / "a.mka", tags)) as reader:
        wanted = OutputFormat(16000, 1, tags=reader.tags, extras=reader.extras, video=reader.video)
    with open_writer(tmp_path / "b.mka", wanted) as writer:
        writer.write(speech_like(0.5, 16000).T)
    assert writer.dropped == ["REPLAYGAIN_TRACK_GAIN"]
    with av.open(str(tmp_path / "b.mka")) as container:
        found = {name.lower() for name in container.metadata}
    assert found == {"title", "mood", "encoder"}


def test_empty_tags_are_not_missed(tmp_path: Path) -> None:
    with AudioReader(write_sound(tmp_path / "a.mka", {"title": "Ep", "comment": "", "mood": " "})) as reader:
        wanted = OutputFormat(16000, 1, tags=reader.tags, extras=reader.extras, video=reader.video)
    for name in ("b.wav", "b.m4a"):
        with open_writer(tmp_path / name, wanted) as writer:
            writer.write(speech_like(0.5, 16000).T)
        assert writer.dropped == []
        with AudioReader(tmp_path / name) as reader:
            assert reader.tags == {"title": "Ep"}


@pytest.mark.parametrize(("bitrate", "low", "high"), [(None, 60, 110), (32.0, 20, 40)])
def test_bit_rates(tmp_path: Path, bitrate: float | None, low: float, high: float) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (4 * 48000, 1)).astype(np.float32)
    with open_writer(tmp_path / "a.m4a", OutputFormat(48000, 1, bitrate=bitrate)) as writer:
        writer.write(noise)
    assert low < (tmp_path / "a.m4a").stat().st_size * 8 / 4 / 1000 < high


def test_what_it_refuses(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="AAC does not hold 9 channels here"):
        open_writer(tmp_path / "a.mp4", OutputFormat(48000, 9))
    with pytest.raises(InputError, match=r"OPUS does not hold 5\.0 here"):
        open_writer(tmp_path / "a.webm", OutputFormat(48000, 5))
    for name, takes in (
        ("a.m4a", "AAC of 1 channel at 16000 Hz takes 8 to 96"),
        ("a.webm", "takes 6 to 256"),
    ):
        with pytest.raises(InputError, match=f"{takes} kbit/s, not 300"):
            open_writer(tmp_path / name, OutputFormat(16000, 1, bitrate=300))
    with pytest.raises(InputError, match=r"the sound of \.mp4 is written as AAC, not PCM_16"):
        open_writer(tmp_path / "a.mp4", OutputFormat(48000, 1, asked_subtype="PCM_16"))
    assert list(tmp_path.iterdir()) == []


def test_samples_beyond_full_scale_are_limited_and_counted(tmp_path: Path) -> None:
    with open_writer(tmp_path / "a.m4a", OutputFormat(16000, 1)) as writer:
        writer.write(np.array([[0.5], [2.0], [-3.0]] * 1000, np.float32))
    assert (writer.peak, writer.limited) == (3.0, 2000)


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", ["a.mp4", "a.m4a", "a.mkv"])
def test_a_full_disk_leaves_the_earlier_file_and_prints_nothing(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / name
    out.write_bytes(b"before")
    noise = np.random.default_rng(0).normal(0, 0.1, (20 * 48000, 1)).astype(np.float32)
    with (
        largest_file(1 << 16),
        pytest.raises(InputError, match="larger than the file system"),
        open_writer(out, OutputFormat(48000, 1)) as writer,
    ):
        writer.write(noise)
    assert out.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [out]
    assert capfd.readouterr().err == ""


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_disk_that_is_full_when_the_index_is_moved_leaves_the_earlier_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.mp4"
    noise = np.random.default_rng(0).normal(0, 0.1, (20 * 48000, 1)).astype(np.float32)
    audiotool.write(out, noise.T, 48000)
    # The index alone takes 4 kB, and is written twice.
    for left in (2000, 1):
        length = out.stat().st_size
        with (
            largest_file(length - left),
            pytest.raises(InputError, match="larger than the file system"),
            open_writer(out, OutputFormat(48000, 1)) as writer,
        ):
            writer.write(noise)
        assert boxes_of(out)[-1] == b"mdat"
        assert list(tmp_path.iterdir()) == [out]
    assert capfd.readouterr().err == ""


def test_without_pyav_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("audiotool.extras.is_there", lambda module: False)
    with pytest.raises(InputError, match=r"a\.mp4: \.mp4 is written by PyAV, which is not installed: pip"):
        audiotool.write(tmp_path / "a.mp4", speech_like(0.1, 16000), 16000)


def test_a_video_through_a_pipeline(tmp_path: Path, tiny_checkpoint: Path) -> None:
    video = write_video(tmp_path / "in.mp4")
    pipeline = audiotool.load(tiny_checkpoint, device="cpu")
    result = pipeline.process_file(video, tmp_path / "out.mp4")
    assert result.warnings == ()
    assert probe(tmp_path / "out.mp4").frames == probe(video).frames
    pipeline.process_file(video, tmp_path / "out.wav")
    assert lag_of(read(tmp_path / "out.mp4")[0], read(tmp_path / "out.wav")[0]) == 0
    assert len(pictures_of(tmp_path / "out.mp4")) == PICTURES
