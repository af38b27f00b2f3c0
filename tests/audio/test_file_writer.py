"""Writing: bit-exact, atomic, nothing clipped silently, earlier files intact after any failure."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from kit.audio import speech_like, write_speech
from kit.disk import largest_file

from audiotool.audio import long_wav
from audiotool.audio.extras import Extras, Part
from audiotool.audio.file_writer import FileWriter
from audiotool.audio.long_wav import container_for
from audiotool.audio.outputs import write
from audiotool.audio.reader import AudioReader, read
from audiotool.audio.unclosed import WavHeader, read_wav_header
from audiotool.audio.writer import OutputFormat
from audiotool.errors import InputError


@pytest.mark.parametrize(
    ("name", "subtype"),
    [
        ("a.wav", "PCM_U8"),
        ("a.wav", "PCM_16"),
        ("a.flac", "PCM_24"),
        ("a.aiff", "PCM_S8"),
        ("a.wav", "FLOAT"),
    ],
)
def test_unchanged_samples_come_out_bit_for_bit(tmp_path: Path, name: str, subtype: str) -> None:
    source = write_speech(tmp_path / "in" / name, 0.3, 16000, 2, subtype=subtype)
    waveform, rate = read(source)
    with FileWriter(tmp_path / name, OutputFormat(rate, 2, subtype)) as writer:
        writer.write(waveform.T)
    before, after = (soundfile.read(str(p), dtype="int32")[0] for p in (source, tmp_path / name))
    np.testing.assert_array_equal(before, after)
    assert soundfile.info(str(tmp_path / name)).subtype == subtype
    assert writer.limited == 0


def test_samples_beyond_an_integer_format_are_counted_and_limited(tmp_path: Path) -> None:
    x = np.array([[0.5], [1.2], [-1.4], [1.0], [-1.0]], np.float32)
    with FileWriter(tmp_path / "a.wav", OutputFormat(8000, 1, "PCM_16")) as writer:
        writer.write(x)
    assert writer.limited == 2
    assert writer.peak == pytest.approx(1.4)
    np.testing.assert_array_equal(
        soundfile.read(str(tmp_path / "a.wav"), dtype="int16")[0], [16384, 32767, -32768, 32767, -32768]
    )
    with FileWriter(tmp_path / "b.wav", OutputFormat(8000, 1, "FLOAT")) as writer:
        writer.write(x)
    assert writer.limited == 0
    np.testing.assert_array_equal(read(tmp_path / "b.wav")[0], x.T)
    with FileWriter(tmp_path / "c.wav", OutputFormat(8000, 1, "ULAW")) as writer:
        writer.write(x)
    assert writer.limited == 2


def test_long_vorbis_blocks_do_not_crash_the_encoder(tmp_path: Path) -> None:
    with FileWriter(tmp_path / "a.ogg", OutputFormat(16000, 1, "PCM_16")) as writer:
        writer.write(np.zeros((2_000_000, 1), np.float32))
    assert writer.subtype == "VORBIS"
    assert soundfile.info(str(tmp_path / "a.ogg")).frames == 2_000_000


@pytest.mark.parametrize(
    ("name", "preferred", "expected"),
    [
        ("a.flac", "FLOAT", "PCM_24"),
        ("a.flac", "PCM_32", "PCM_24"),
        ("a.flac", "VORBIS", "PCM_16"),
        ("a.wav", "MPEG_LAYER_III", "PCM_16"),
        ("a.wav", "PCM_S8", "PCM_U8"),
        ("a.opus", "PCM_16", "OPUS"),
    ],
)
def test_subtype_follows_the_input_as_far_as_the_format_goes(
    tmp_path: Path, name: str, preferred: str, expected: str
) -> None:
    with FileWriter(tmp_path / name, OutputFormat(16000, 1, preferred)) as writer:
        writer.write(speech_like(0.1, 16000).T)
    found = soundfile.info(str(tmp_path / name)).subtype
    assert found == expected


@pytest.mark.parametrize(
    ("name", "asked", "expected"),
    [
        ("a.ogg", "opus", ("OGG", "OPUS")),
        ("a.opus", "ogg", ("OGG", "VORBIS")),
        ("a.opus", "wav", ("WAV", "PCM_16")),
        ("a.ogg", "OPUS", ("OGG", "OPUS")),
    ],
)
def test_the_asked_format_decides_not_the_name(
    tmp_path: Path, name: str, asked: str, expected: tuple[str, str]
) -> None:
    with FileWriter(tmp_path / name, OutputFormat(16000, 1, asked_format=asked, frames=1600)) as writer:
        writer.write(speech_like(0.1, 16000).T)
    found = soundfile.info(str(tmp_path / name))
    assert (found.format, found.subtype) == expected


def failing(tmp_path: Path) -> None:
    with FileWriter(tmp_path / "a.wav", OutputFormat(16000, 1)) as writer:
        writer.write(np.zeros((1000, 1)))
        assert len(list(tmp_path.iterdir())) == 2
        raise KeyboardInterrupt


def test_an_interrupt_leaves_the_earlier_file_and_nothing_else(tmp_path: Path) -> None:
    before = write_speech(tmp_path / "a.wav").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        failing(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]
    assert (tmp_path / "a.wav").read_bytes() == before


def test_samples_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    writer = FileWriter(tmp_path / "a.wav", OutputFormat(16000, 1))
    writer.write(np.zeros((100, 1), np.float32))
    with pytest.raises(InputError, match="NaN or infinity after sample 100"):
        writer.write(np.full((100, 1), np.nan, np.float32))
    writer.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "coding"), [("a.mp3", "MP3"), ("a.ogg", "VORBIS"), ("a.opus", "OPUS")])
def test_peaks_that_players_limit_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, coding: str
) -> None:
    write(tmp_path / name, np.array([0.5, 1.0, -1.0], np.float32), 16000)
    assert not caplog.messages
    write(tmp_path / name, np.array([0.5, 2.5, -2.0], np.float32), 16000)
    [message] = caplog.messages
    assert f"the peak, 2.500, is beyond full scale: {coding} keeps it, but" in message


@pytest.mark.parametrize(
    ("form", "frames", "container"),
    [
        (("WAV", "PCM_16", 2), 1 << 29, "WAV"),
        (("WAV", "PCM_16", 2), 1 << 30, "RF64"),
        (("WAV", "FLOAT", 1), 1 << 30, "RF64"),
        (("WAV", "MS_ADPCM", 1), None, "WAV"),
        (("WAV", "PCM_24", 1), None, "RF64"),
        (("FLAC", "PCM_24", 8), 1 << 32, "FLAC"),
        (("AIFF", "PCM_16", 1), None, "AIFF"),
    ],
)
def test_a_long_wav_becomes_an_rf64(form: tuple[str, str, int], frames: int | None, container: str) -> None:
    assert container_for(*form, frames) == container


def test_other_formats_of_four_gibibytes_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"AIFF holds 4 GiB.*choose \.wav"):
        FileWriter(tmp_path / "a.aiff", OutputFormat(48000, 2, "PCM_24", frames=1 << 30))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.aiff", "a.au"])
def test_other_formats_end_where_an_unknown_length_outgrows_them(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_wav, "WAV_BYTES", 10_000)
    block = np.zeros((1000, 1), np.float32)
    with FileWriter(tmp_path / name, OutputFormat(16000, 1)) as writer:
        for _ in range(4):
            writer.write(block)
    writer = FileWriter(tmp_path / f"long.{name}", OutputFormat(16000, 1))
    for _ in range(4):
        writer.write(block)
    with pytest.raises(InputError, match=r"holds 4 GiB.*choose \.wav"):
        writer.write(block)
    writer.close()
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("frames", [4000, None])
def test_what_is_beside_the_samples_counts_for_the_container(
    tmp_path: Path, frames: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_wav, "WAV_BYTES", 10_000)
    for size, head in ((100, b"RIFF"), (3000, b"RF64")):
        path = tmp_path / f"{size}.wav"
        extras = Extras("RIFF", (Part("cue ", bytes(size)),))
        with FileWriter(path, OutputFormat(16000, 1, frames=frames, extras=extras)) as writer:
            writer.write(np.zeros((4000, 1), np.float32))
        assert path.read_bytes()[:4] == head
        assert soundfile.info(path).frames == 4000


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "FLOAT", "ULAW"])
def test_a_stream_that_ends_early_is_a_plain_wav(tmp_path: Path, subtype: str) -> None:
    """Begun as RF64, since nobody knew how long it would become."""
    x = speech_like(0.2, 16000)[:, :3001]
    for name, frames in (("unknown.wav", None), ("known.wav", x.shape[1])):
        with FileWriter(tmp_path / name, OutputFormat(16000, 1, subtype, frames=frames)) as writer:
            writer.write(x.T)
    head = (tmp_path / "unknown.wav").read_bytes()[:12]
    size = (tmp_path / "unknown.wav").stat().st_size
    assert head == b"RIFF" + (size - 8).to_bytes(4, "little") + b"WAVE"
    found, expected = (
        {name: body for name, body in header_of(tmp_path / path).chunks if name != b"JUNK"}
        for path in ("unknown.wav", "known.wav")
    )
    # libsndfile notes the peak of float samples in a WAV, and not in an RF64.
    expected.pop(b"PEAK", None)
    assert found[b"fmt "][:16] == expected[b"fmt "][:16]
    assert found.keys() == expected.keys()
    assert found.get(b"fact") == expected.get(b"fact")
    assert soundfile.info(str(tmp_path / "unknown.wav")).format == "WAV"
    (unknown, _), (known, _) = read(tmp_path / "unknown.wav"), read(tmp_path / "known.wav")
    np.testing.assert_array_equal(unknown, known)


def test_a_short_stream_of_named_speakers_stays_extensible(tmp_path: Path) -> None:
    extras = Extras("RIFF", (Part("note", b"odd"),), mask=0x600)
    with FileWriter(tmp_path / "a.wav", OutputFormat(16000, 2, extras=extras)) as writer:
        writer.write(np.full((999, 2), 0.25, np.float32))
    with AudioReader(tmp_path / "a.wav") as reader:
        assert (reader.extras.mask, reader.extras.all_names()) == (0x600, ["note"])
        assert (reader.info.format, reader.info.frames) == ("WAVEX", 999)
    assert header_of(tmp_path / "a.wav").behind == 12


def header_of(path: Path) -> WavHeader:
    with path.open("rb") as file:
        file.seek(4)
        (size,) = struct.unpack("<I", file.read(4))
        file.seek(12)
        return read_wav_header(file, size)


FRAMES = 12_200
"""An odd number of GSM's blocks."""

LOSSLESS = [("a.wav", "PCM_16"), ("a.wav", "FLOAT"), ("a.aiff", "PCM_24"), ("a.flac", "PCM_16")]
CODED = [
    ("a.ogg", "VORBIS"),
    ("a.opus", "OPUS"),
    ("a.mp3", "MPEG_LAYER_III"),
    ("a.wav", "IMA_ADPCM"),
    ("a.wav", "GSM610"),
    ("a.aiff", "GSM610"),
    ("a.paf", "PCM_24"),
]


@pytest.mark.parametrize(("name", "subtype"), LOSSLESS + CODED)
def test_a_file_that_does_not_fit_the_disk_is_refused_at_every_size(
    tmp_path: Path, name: str, subtype: str
) -> None:
    """Also where only the end is missing, which no encoder tells."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, FRAMES)
    form = name[2:] if name == "a.paf" else None
    write(tmp_path / "whole" / name, noise, 16000, subtype, form)
    whole = (tmp_path / "whole" / name).read_bytes()
    expected = read(tmp_path / "whole" / name)[0]
    earlier = tmp_path / name
    reasons = []
    end = len(whole) - 20
    for size in [0, 1, 50, *range(500, end, len(whole) // 12), *range(end, len(whole) + 1)]:
        earlier.write_bytes(b"earlier")
        try:
            with largest_file(size):
                write(earlier, noise, 16000, subtype, form)
        except InputError as error:
            reasons.append(str(error))
            assert earlier.read_bytes() == b"earlier"
        else:
            np.testing.assert_array_equal(read(earlier)[0][:, :FRAMES], expected[:, :FRAMES])
        assert sorted(p.name for p in tmp_path.iterdir()) == [name, "whole"]
    assert len(reasons) > 12
    assert all("`ulimit -f`" in reason for reason in reasons)
    with largest_file(2 * len(whole)):
        write(earlier, noise, 16000, subtype, form)


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_the_reason_of_a_failure_is_reported(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, 200_000)
    with largest_file(50_000), pytest.raises(InputError, match=r"cannot write .*ulimit -f` allows$"):
        write(tmp_path / name, noise, 16000)
    write(tmp_path / name, noise[:1000], 16000)
    with largest_file(50_000), pytest.raises(InputError, match=r"cannot write .*ulimit -f.* earlier file"):
        write(tmp_path / name, noise, 16000)
    (tmp_path / name).unlink()
    writer = FileWriter(tmp_path / "out" / name, OutputFormat(16000, 1))
    writer.write(noise[:1000, None])
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(InputError, match="its folder was removed while"):
        writer.commit()
    writer.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("subtype", ["PCM_S8", "ULAW"])
def test_formats_that_pad_are_complete(tmp_path: Path, subtype: str) -> None:
    write(tmp_path / "a.aiff", np.zeros(1151), 16000, subtype)
    assert read(tmp_path / "a.aiff")[0].shape[1] in (1151, 1152)


@pytest.mark.parametrize("frames", [100_000, None])
def test_alac_is_refused_where_its_temporary_file_cannot_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frames: int | None
) -> None:
    """libsndfile ends the process there."""
    x = np.random.default_rng(0).uniform(-1, 1, (100_000, 1)).astype(np.float32)

    def written() -> None:
        with FileWriter(tmp_path / "a.caf", OutputFormat(16000, 1, "ALAC_16", frames=frames)) as writer:
            for start in range(0, len(x), 10_000):
                writer.write(x[start : start + 10_000])

    with largest_file(60_000), pytest.raises(InputError, match=r"ALAC is put aside in .*: set TMPDIR"):
        written()
    free = {str(tmp_path): 1 << 20, "/": 1 << 40}
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free[folder]))
    with pytest.raises(InputError, match=f"put aside in {tmp_path}, and there the disk is full"):
        written()
    assert not list(tmp_path.iterdir())
    free[str(tmp_path)] = 1 << 30
    written()
    assert soundfile.info(tmp_path / "a.caf").frames == len(x)


def test_missing_folders_are_made(tmp_path: Path) -> None:
    write(tmp_path / "x" / "y" / "a.wav", speech_like(0.1, 16000)[0], 16000)
    assert read(tmp_path / "x" / "y" / "a.wav")[0].shape == (1, 1600)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("a.xyz", {}, "names no audio format"),
        ("a.wav", {"asked_format": "wax"}, "did you mean 'wav'"),
        ("a.wav", {"asked_format": "raw"}, "RAW has no header"),
        ("a.wav", {"asked_subtype": "PCM_61"}, "did you mean 'PCM_16'"),
        ("a.opus", {"sample_rate": 44100}, "Opus holds"),
        ("a.flac", {"channels": 32}, "does not hold"),
        ("folder.wav", {}, "is a folder"),
        ("file.wav/a.wav", {}, "cannot write"),
    ],
)
def test_refused_outputs(tmp_path: Path, name: str, values: dict[str, object], message: str) -> None:
    (tmp_path / "folder.wav").mkdir()
    write_speech(tmp_path / "file.wav")
    before = sorted(tmp_path.iterdir())
    arguments = {"sample_rate": 16000, "channels": 1, **values}
    with pytest.raises(InputError, match=message):
        FileWriter(tmp_path / name, OutputFormat(**arguments))  # type: ignore[arg-type]
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "sample_rate", "bitrate"),
    [
        ("a.mp3", 44100, 192),
        ("a.mp3", 48000, 320),
        ("a.mp3", 44100, 32),
        ("a.mp3", 16000, 64),
        ("a.mp3", 8000, 24),
        ("a.opus", 48000, 128),
        ("a.opus", 16000, 24),
    ],
)
def test_the_bit_rate_that_was_asked_for(tmp_path: Path, name: str, sample_rate: int, bitrate: int) -> None:
    sound = 0.1 * np.random.default_rng(0).standard_normal((4 * sample_rate, 2)).astype(np.float32)
    with FileWriter(tmp_path / name, OutputFormat(sample_rate, 2, bitrate=bitrate)) as writer:
        writer.write(sound)
    found = (tmp_path / name).stat().st_size * 8 / 4 / 1000
    assert found == pytest.approx(bitrate, rel=0.15)


@pytest.mark.parametrize(
    ("name", "sample_rate", "channels", "message"),
    [
        ("a.mp3", 44100, 2, "32 to 320 kbit/s, not 500"),
        ("a.mp3", 8000, 1, "MP3 of 1 channel at 8000 Hz takes 8 to 64 kbit/s, not 500"),
        ("a.opus", 48000, 1, "6 to 256 kbit/s, not 500"),
    ],
)
def test_bit_rates_that_a_coding_has_not(
    tmp_path: Path, name: str, sample_rate: int, channels: int, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        FileWriter(tmp_path / name, OutputFormat(sample_rate, channels, bitrate=500))
    assert list(tmp_path.iterdir()) == []


def test_samples_at_which_the_encoder_of_mp3_ends_the_process_are_refused(tmp_path: Path) -> None:
    # At 1000 this sine ends the process; what came before it is kept.
    sine = np.tile(np.sin(0.3 * np.arange(24000, dtype=np.float32)), (2, 1)).T
    with FileWriter(tmp_path / "loud.mp3", OutputFormat(24000, 2, bitrate=8)) as writer:
        writer.write(sine * 100)
        with pytest.raises(InputError, match=r"loud\.mp3: MP3 does not hold a peak of 1000: choose \.wav"):
            writer.write(sine * 1000)
    assert len(read(tmp_path / "loud.mp3")[0].T) >= 24000
