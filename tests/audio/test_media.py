"""Sound in films and in formats that libsndfile does not know: as much of it, as loud, where it belongs."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from kit.audio import speech_like
from numpy.typing import NDArray

import audiotool
from audiotool.audio import media
from audiotool.audio.formats import format_for, subtype_for
from audiotool.audio.outputs import open_writer
from audiotool.audio.reader import AudioReader, probe, read
from audiotool.audio.writer import OutputFormat
from audiotool.batch.plan import Layout, make_plan
from audiotool.errors import InputError
from audiotool.metrics.pairing import pair_files

CODECS = {"a.m4a": "aac", "a.mp4": "aac", "a.mkv": "flac", "a.webm": "libopus", "a.aac": "aac"}


def write_media(
    path: Path, channels: int = 2, seconds: float = 1.0, tracks: int = 1, picture: bool = False
) -> Path:
    """Synthetic speech of 48 kHz, coded as the name asks, titled "A talk"; perhaps with a picture."""
    rate, layout = 48000, {1: "mono", 2: "stereo"}[channels]
    # With the index before the samples a file can be read where it is truncated.
    options = {"movflags": "+faststart"} if path.name == "first.m4a" else {}
    with av.open(str(path), "w", options=options) as container:
        container.metadata["title"] = "A talk"
        film: Any = container.add_stream("mpeg4", rate=5, width=64, height=64) if picture else None
        codec = CODECS.get(path.name, "aac")
        streams: list[Any] = [container.add_stream(codec, rate=rate, layout=layout) for _ in range(tracks)]
        if film:
            image = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            container.mux(film.encode(image) + film.encode(None))
        for n, stream in enumerate(streams):
            samples = speech_like(seconds, rate, channels, seed=n)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = rate, 0
            sampler = av.AudioResampler(stream.codec_context.format, layout, rate, stream.frame_size or None)
            for piece in [*sampler.resample(frame), *sampler.resample(None), None]:
                container.mux(stream.encode(piece))
    return path


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", ["a.m4a", "a.mp4", "a.mkv", "a.webm"])
def test_a_recording_is_where_it_was(tmp_path: Path, name: str, channels: int) -> None:
    waveform, rate = read(write_media(tmp_path / name, channels))
    expected = speech_like(1.0, 48000, channels)
    assert (rate, waveform.shape) == (48000, expected.shape)
    for ours, theirs in zip(waveform, expected, strict=True):
        assert np.std(ours - theirs) < (1e-3 if name == "a.mkv" else 0.02)
        # What a coder leaves would hide a shift of one sample in that: no other lag fits better.
        left = {lag: np.std(np.roll(ours, lag) - theirs) for lag in range(-8, 9)}
        assert min(left, key=left.__getitem__) == 0


def test_the_header_names_the_codec(tmp_path: Path) -> None:
    info = probe(write_media(tmp_path / "a.m4a", seconds=0.7))
    assert (info.sample_rate, info.channels, info.frames) == (48000, 2, 33600)
    assert (info.format, info.subtype) == ("MOV", "AAC")
    assert probe(write_media(tmp_path / "a.aac")).frames is None


def test_a_length_that_is_not_exact_serves_progress_alone(tmp_path: Path) -> None:
    for name, slack in (("a.mkv", 0.001), ("a.webm", 0.01), ("a.aac", 0.05)):
        with AudioReader(write_media(tmp_path / name, seconds=5.0)) as reader:
            assert reader.expected_frames == pytest.approx(240000, rel=slack)
            assert (reader.info.frames, reader.announced_frames) == (None, None)


@pytest.mark.parametrize(
    ("name", "codec", "decoded", "wav", "flac"),
    [
        ("a.m4a", "alac", "s16p", "PCM_16", "PCM_16"),
        ("a.m4a", "alac", "s32p", "PCM_24", "PCM_24"),
        ("a.mkv", "flac", "s32", "PCM_24", "PCM_24"),
        ("a.wv", "wavpack", "fltp", "FLOAT", "PCM_24"),
        ("a.mov", "pcm_u8", "u8", "PCM_U8", "PCM_S8"),
        ("a.mov", "pcm_s16be", "s16", "PCM_16", "PCM_16"),
        ("a.mov", "pcm_s24le", "s32", "PCM_24", "PCM_24"),
        ("a.mov", "pcm_s32le", "s32", "PCM_32", "PCM_24"),
        ("a.mov", "pcm_f32le", "flt", "FLOAT", "PCM_24"),
        ("a.mov", "pcm_f64le", "dbl", "DOUBLE", "PCM_24"),
        ("a.mov", "pcm_alaw", "s16", "PCM_16", "PCM_16"),
        ("a.m4a", "aac", "fltp", "PCM_16", "PCM_16"),
    ],
)
def test_outputs_have_the_sample_format(
    tmp_path: Path, name: str, codec: str, decoded: str, wav: str, flac: str
) -> None:
    path = tmp_path / name
    samples = np.round(np.float32(2**23) * speech_like(0.1, 48000, 1)) / np.float32(2**23)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=48000, layout="mono")
        stream.codec_context.format = decoded
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 48000, 0
        sampler = av.AudioResampler(decoded, "mono", 48000, stream.frame_size or None)
        for piece in [*sampler.resample(frame), *sampler.resample(None), None]:
            container.mux(stream.encode(piece))
    kept = probe(path).subtype
    assert subtype_for("WAV", ".wav", kept, None) == wav
    assert subtype_for("FLAC", ".flac", kept, None) == flac
    if wav in ("PCM_24", "PCM_32", "FLOAT", "DOUBLE"):
        np.testing.assert_array_equal(read(path)[0], samples)


@pytest.mark.parametrize("size", [1, 777, 1 << 20])
def test_blocks_join_to_the_whole(tmp_path: Path, size: int) -> None:
    path = write_media(tmp_path / "a.m4a", seconds=0.1)
    with AudioReader(path) as reader:
        blocks = list(reader.blocks(size))
        assert reader.warnings == []
    assert all(0 < len(block) <= size for block in blocks)
    np.testing.assert_array_equal(np.concatenate(blocks).T, read(path)[0])


def test_a_film_is_its_first_sound_track(tmp_path: Path) -> None:
    path = write_media(tmp_path / "film.mp4", tracks=2, picture=True)
    with AudioReader(path) as reader:
        assert reader.tags == {"title": "A talk"}
        assert reader.warnings == [f"{path} holds 2 sound tracks: the first is processed"]
    alone, _ = read(write_media(tmp_path / "a.mp4"))
    np.testing.assert_array_equal(read(path)[0], alone)


@pytest.mark.parametrize(("ending", "written"), [("AAC", ".m4a, .wav"), ("avi", ".mp4 or .mkv")])
def test_an_output_of_a_format_that_is_only_read(ending: str, written: str) -> None:
    message = rf"\.{ending.lower()} is read, and not written: write {written}"
    with pytest.raises(InputError, match=f"out.{ending}: {message}"):
        format_for(Path(f"out.{ending}"))
    with pytest.raises(InputError, match=message):
        format_for(Path("out"), ending)


def test_chunks_and_tags_of_a_wav_that_libsndfile_cannot_decode(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    with av.open(str(path), "w", options={"write_bext": "1"}) as container:
        container.metadata.update(title="Call 17", date="2026-11-30", originator_reference="PBX 5")
        sound: Any = container.add_stream("g726", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = 8000, 0
        container.mux(sound.encode(frame) + sound.encode(None))
    data = path.read_bytes() + b"NICE" + (6).to_bytes(4, "little") + b"ANI=49"
    path.write_bytes(data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:])
    result = audiotool.load("denoise-tiny-16k").process_file(path, tmp_path / "out.wav")
    assert result.warnings == ("G726 in WAV is only read: PCM_16 is written",)
    with AudioReader(path) as before, AudioReader(tmp_path / "out.wav") as after:
        assert before.info.subtype == "G726"
        bodies = [
            {p.name: p.data for p in file.extras.parts if p.name != "LIST/INFO"} for file in (before, after)
        ]
        assert bodies[0] == bodies[1]
        assert sorted(bodies[0]) == ["NICE", "bext"]
        assert before.tags == after.tags == {"title": "Call 17", "date": "2026-11-30"}
        wanted = OutputFormat(8000, 1, tags=before.tags, extras=before.extras, video=before.video)
        with open_writer(tmp_path / "out.m4a", wanted) as writer:
            writer.write(np.zeros((8000, 1), np.float32))
        assert writer.dropped == ["bext", "NICE", "originator_reference", "time_reference"]


def test_a_cover_is_named(tmp_path: Path) -> None:
    path = tmp_path / "episode.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        sound: Any = container.add_stream("aac", rate=48000, layout="mono")
        cover: Any = container.add_stream("png", width=16, height=16)
        cover.pix_fmt, cover.disposition = "rgb24", media.ATTACHED_PICTURE
        image = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        container.mux(cover.encode(image) + cover.encode(None))
        frame = av.AudioFrame.from_ndarray(speech_like(0.2, 48000, 1), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 48000, 0
        container.mux(sound.encode(frame) + sound.encode(None))
    with AudioReader(path) as reader:
        list(reader.blocks(4096))
        assert ("picture" in reader.extras.lost, reader.has_video) == (True, False)
    with AudioReader(write_media(tmp_path / "film.mp4", picture=True)) as reader:
        list(reader.blocks(4096))
        assert ("picture" in reader.extras.lost, reader.has_video) == (False, True)


def test_a_pipe(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.m4a")
    with AudioReader("-", io.BytesIO(path.read_bytes())) as reader:
        piped = np.concatenate(list(reader.blocks(4096))).T
    np.testing.assert_array_equal(piped, read(path)[0])


def test_files_without_a_recording(tmp_path: Path) -> None:
    silent = write_media(tmp_path / "silent.mp4", tracks=0, picture=True)
    whole = write_media(tmp_path / "a.m4a").read_bytes()
    (tmp_path / "half.m4a").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "letter.mp4").write_text("This is a letter to a friend. " * 99)
    with pytest.raises(InputError, match="no sound track"):
        read(silent)
    for name in ("half.m4a", "letter.mp4"):
        with pytest.raises(InputError, match=r"as audio \(Invalid data.* damaged, of another coding, or"):
            read(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "picture", "stated"),
    [
        *(("a.mkv", False, 4.0), ("a.webm", False, 4.0), ("film.mkv", True, 4.0), ("a.flv", False, 4.0)),
        *(("first.m4a", False, 4.0), ("a.aac", False, None), ("a.wma", False, None)),
    ],
)
@pytest.mark.parametrize("is_piped", [False, True])
def test_a_truncated_file_is_read_to_its_end_and_says_so(
    tmp_path: Path, name: str, picture: bool, stated: float | None, is_piped: bool
) -> None:
    whole = write_media(tmp_path / name, seconds=4.0, picture=picture)
    cut = tmp_path / f"cut.{name}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    found = {}
    for path in (whole, cut):
        source = ("-", io.BytesIO(path.read_bytes())) if is_piped else (path,)
        with AudioReader(*source) as reader:
            found[path] = np.concatenate(list(reader.blocks(1 << 18)))
        warnings = reader.warnings
        assert path is cut or warnings == []
    seconds = len(found[cut]) / 48000
    assert 1.0 < seconds < 3.0
    np.testing.assert_array_equal(found[cut], found[whole][: len(found[cut])])
    (warning,) = warnings
    words = re.fullmatch(r".* is truncated: (\S+) s( of (\S+) s)? are there, .*processed", warning)
    assert words is not None
    assert float(words[1]) == pytest.approx(seconds, abs=0.006)
    assert (words[3] and float(words[3])) == (stated and pytest.approx(stated, abs=0.1))


def test_a_damaged_film_gives_what_precedes_and_has_the_position(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.m4a", seconds=4.0)
    expected = read(path)[0].T
    whole = bytearray(path.read_bytes())
    middle = len(whole) // 2
    whole[middle : middle + 3000] = bytes(3000)
    (tmp_path / "damaged.m4a").write_bytes(whole)
    blocks: list[NDArray[np.float32]] = []
    with (
        AudioReader(tmp_path / "damaged.m4a") as reader,
        pytest.raises(InputError, match=r"is damaged after (\d\.\d\d) s: Invalid data") as caught,
    ):
        blocks += reader.blocks(1 << 18)
    (block,) = blocks
    np.testing.assert_array_equal(block[:-1024], expected[: len(block) - 1024])
    assert f"after {len(block) / 48000:.2f} s" in str(caught.value)
    assert 1.0 < len(block) / 48000 < 3.0


def test_a_playlist_opens_no_other_file(tmp_path: Path) -> None:
    write_media(tmp_path / "a.aac")
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\na.aac\n#EXT-X-ENDLIST\n"
    for name in ("list.mp4", "list.m3u8"):
        (tmp_path / name).write_text(playlist)
        with pytest.raises(InputError, match="cannot be read as audio"):
            read(tmp_path / name)


def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_media(tmp_path / "a.m4a")
    monkeypatch.setattr("audiotool.extras.is_there", lambda module: False)
    with pytest.raises(InputError, match=r'pip install "audiotool-speech\[media\]"'):
        read(path)


def test_a_broken_pyav_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_media(tmp_path / "a.m4a")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "av.py").write_text("raise ImportError('libavcodec.so: no such file')")
    monkeypatch.delitem(sys.modules, "av")
    monkeypatch.syspath_prepend(tmp_path / "broken")
    with pytest.raises(InputError, match=r"read by PyAV, which does not import \(libav.*reinstall av"):
        read(path)


def test_a_film_is_a_reference(tmp_path: Path) -> None:
    for name in ("truth", "estimates"):
        (tmp_path / name).mkdir()
    reference = write_media(tmp_path / "truth" / "a.m4a", channels=1)
    soundfile.write(tmp_path / "estimates" / "a.wav", read(reference)[0].T, 48000)
    (pair,) = pair_files(tmp_path / "truth", tmp_path / "estimates")
    assert pair.reference == reference
    layout = Layout(output=str(tmp_path / "out"), reference=str(tmp_path / "truth"))
    plan = make_plan([str(tmp_path / "estimates")], layout)
    assert [job.references for job in plan.jobs] == [(reference,)]


def test_a_recording_that_changes_on_the_way(tmp_path: Path) -> None:
    """Two parts of different rates and channels, one behind the other, as broadcasters' streams have them."""
    parts = []
    for channels, rate in ((1, 48000), (2, 32000)):
        path = tmp_path / f"{rate}.aac"
        with av.open(str(path), "w") as container:
            layout = "mono" if channels == 1 else "stereo"
            stream: Any = container.add_stream("aac", rate=rate, layout=layout)
            samples = speech_like(1.0, rate, channels)
            for n in range(0, rate, 1024):
                block = np.ascontiguousarray(samples[:, n : n + 1024])
                frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
                frame.sample_rate, frame.pts = rate, n
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        parts.append(path.read_bytes())
    (tmp_path / "both.aac").write_bytes(b"".join(parts))
    with AudioReader(tmp_path / "both.aac") as reader:
        blocks = list(reader.blocks(5000))
    assert reader.info.channels == 1
    assert sum(map(len, blocks)) == pytest.approx(2 * 48000, abs=8000)
    assert [w.partition(" changes")[2] for w in reader.warnings] == [
        " its rate, channels or coding on the way: all of it becomes 48000 Hz, 1 channels"
    ]


def test_a_film_of_two_tracks_that_changes_on_the_way(tmp_path: Path) -> None:
    parts = [write_media(tmp_path / f"{n}.ts", channels=n, tracks=2).read_bytes() for n in (2, 1)]
    (tmp_path / "both.ts").write_bytes(b"".join(parts))
    with AudioReader(tmp_path / "both.ts") as reader:
        assert sum(map(len, reader.blocks(5000))) > 48000
    assert "holds 2 sound tracks" in reader.warnings[0]
    assert "changes its rate, channels or coding" in reader.warnings[1]


@pytest.mark.parametrize(("name", "codec"), [("a.ogg", "flac"), ("a.caf", "alac"), ("a.wav", "ac3")])
def test_codings_that_libsndfile_does_not_know(
    tmp_path: Path, name: str, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CODECS, name, codec)
    path = write_media(tmp_path / name)
    waveform, _ = read(path)
    n = min(waveform.shape[1], 48000)
    assert n > 40000
    if codec != "ac3":
        np.testing.assert_allclose(waveform, speech_like(1.0, 48000, 2), atol=1e-4)
    with AudioReader("-", io.BytesIO(path.read_bytes())) as reader:
        np.testing.assert_array_equal(np.concatenate(list(reader.blocks(4096))).T, waveform)


def test_an_mp3_in_a_wav_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CODECS, "a.wav", "mp3")
    with AudioReader(write_media(tmp_path / "a.wav")) as reader:
        assert sum(map(len, reader.blocks(4096))) == pytest.approx(48000, abs=2400)
        assert reader.warnings == []


def test_damaged_films_are_refused_in_words(tmp_path: Path) -> None:
    whole = write_media(tmp_path / "a.m4a", seconds=0.2).read_bytes()
    refusals = 0
    for at in range(0, 2200, 37):
        damaged = bytearray(whole)
        begin = damaged.index(b"moov") + at
        damaged[begin : begin + 4] = bytes(4)
        (tmp_path / "damaged.m4a").write_bytes(damaged)
        try:
            read(tmp_path / "damaged.m4a")
        except InputError:
            refusals += 1
    assert refusals >= 5, "where the place does not matter the file is read"
