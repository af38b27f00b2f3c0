"""The contents of a file beside its samples are in the output, byte for byte, or are named."""

from __future__ import annotations

import io
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from kit.audio import speech_like

from audiotool.audio import extract
from audiotool.audio.embed import embed, id3_tag
from audiotool.audio.extract import read_extras, wav_extras
from audiotool.audio.extras import FAMILIES, UNREAD_ID3, Extras, Part, family_of
from audiotool.audio.file_writer import FileWriter
from audiotool.audio.formats import FORMATS
from audiotool.audio.outputs import open_writer
from audiotool.audio.pipe_writer import PipeWriter
from audiotool.audio.raw import Raw
from audiotool.audio.reader import AudioReader, read
from audiotool.audio.writer import OutputFormat

TAGS = {"title": "Füße 语音 " + "long " * 20, "artist": "Zoë", "comment": "plain"}
SOUND = speech_like(0.5, 16000)
BEXT = Part("bext", struct.pack("<338sQH", b"a field recorder", 123456, 1) + bytes(254))
IXML = Part("iXML", b"<BWFXML><SCENE>1</SCENE></BWFXML>")
CUE = Part("cue ", struct.pack("<IIIIIII", 1, 1, 800, 0x61746164, 0, 0, 800))
ADTL = Part("LIST/adtl", b"adtl" + struct.pack("<4sII", b"labl", 10, 1) + b"hello\0")
INFO = Part("LIST/INFO", b"INFO" + struct.pack("<4sI", b"IENG", 6) + b"Jane \0")
ID3 = id3_tag(TAGS)
PICTURE = Part("ID3", b"ID3\4\0\0\0\0\0\x0eAPIC\0\0\0\4\0\0jpeg")
COMMENTS = b"\0\0\0\0\2\0\0\0\x10\0\0\0ALBUMARTIST=Jane\x09\0\0\0TITLE=abc"
COVER = struct.pack(">II9sIIIIII5000s", 3, 9, b"image/png", 0, 1, 1, 24, 0, 5000, b"p" * 5000)
SOURCES = {
    "a.wav": (
        Extras("RIFF", (BEXT, IXML, CUE, ADTL, INFO, ID3)),
        ["bext", "iXML", "cue", "LIST/adtl", "LIST/IENG"],
    ),
    "a.rf64": (Extras("RIFF", (BEXT, CUE)), ["bext", "cue"]),
    "a.aiff": (Extras("AIFF", (Part("NAME", "Füße".encode()), Part("MARK", bytes(2)), ID3)), ["MARK"]),
    "a.caf": (Extras("CAF", (Part("uuid", b"x" * 21), Part("mark", bytes(8)))), ["uuid", "mark"]),
    "a.flac": (
        Extras(
            "FLAC",
            (Part("comments", COMMENTS), Part("picture", COVER), Part("application", b"riffabc")),
        ),
        ["ALBUMARTIST", "picture", "application"],
    ),
    "a.mp3": (Extras("MP3", (PICTURE, Part("ID3v1", b"TAG" + bytes(125)))), ["picture"]),
}
OUTPUTS = [*SOURCES, "a.w64", "a.ogg", "a.opus", "a.au"]


def write(path: Path, extras: Extras, tags: dict[str, str] | None = None, channels: int = 1) -> list[str]:
    """Write `SOUND`; the names of what was dropped."""
    with open_writer(
        path, OutputFormat(16000, channels, frames=8000, tags=tags or {}, extras=extras)
    ) as writer:
        writer.write(np.repeat(SOUND, channels, 0).T)
    return writer.dropped


def extras_of(path: Path) -> Extras:
    with AudioReader(path) as reader:
        list(reader.blocks(1000))
        return reader.extras


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("source", SOURCES)
def test_every_part_is_kept_or_named(tmp_path: Path, source: str, output: str) -> None:
    extras, losable = SOURCES[source]
    for folder in ("in", "out"):
        (tmp_path / folder).mkdir()
    assert write(tmp_path / "in" / source, extras) == []
    found = extras_of(tmp_path / "in" / source)
    assert (found.family, found.parts, found.lost) == (extras.family, extras.parts, ())
    plain = tmp_path / f"plain{Path(output).suffix}"
    write(plain, Extras())
    dropped = write(tmp_path / "out" / output, extras_of(tmp_path / "in" / source))
    kept = extras_of(tmp_path / "out" / output)
    family = family_of(soundfile.info(str(plain)).format)
    expected = extras.parts if family == extras.family else [p for p in extras.parts if p.name == "ID3"]
    assert [p for p in kept.parts if p in extras.parts] == (
        list(expected) if family in ("RIFF", "AIFF", "MP3", extras.family) else []
    )
    names = [] if family == extras.family else losable
    if family in ("RIFF", "AIFF", "MP3"):
        # They hold an ID3 tag as it is.
        names = [] if source == "a.mp3" else names
    assert dropped == names
    # Nothing of that is sound.
    np.testing.assert_array_equal(read(tmp_path / "out" / output)[0], read(plain)[0])


@pytest.mark.parametrize("output", [*SOURCES, "a.ogg", "a.opus"])
def test_tags_of_any_script_and_length_are_read_again(tmp_path: Path, output: str) -> None:
    assert write(tmp_path / output, Extras(), TAGS) == []
    with AudioReader(tmp_path / output) as reader:
        assert reader.tags == TAGS
        extras_of_first, tags = reader.extras, reader.tags
    second = tmp_path / f"again-{output}"
    assert write(second, extras_of_first, tags) == []
    with AudioReader(second) as reader:
        assert reader.tags == TAGS


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (("APIC", "TXXX"), ["picture", "ID3/TXXX"]),
        (("CTOC", "CHAP", "CHAP", "APIC"), ["chapters", "picture"]),
        (("USLT",), ["lyrics"]),
    ],
)
def test_what_is_lost_is_said_in_words(tmp_path: Path, frames: tuple[str, ...], expected: list[str]) -> None:
    body = b"".join(name.encode() + b"\0\0\0\4\0\0data" for name in frames)
    tag = Part("ID3", b"ID3\4\0\0\0\0\0" + bytes([len(body)]) + body)
    assert write(tmp_path / "a.flac", Extras("MP3", (tag,))) == expected
    keys = ("CHAPTER000=0", "CHAPTER000NAME=a", "METADATA_BLOCK_PICTURE=x", "MOOD=y")
    packed = b"".join(len(key).to_bytes(4, "little") + key.encode() for key in keys)
    comments = Part("comments", bytes(4) + len(keys).to_bytes(4, "little") + packed)
    assert write(tmp_path / "b.wav", Extras("FLAC", (comments,))) == ["chapters", "picture", "MOOD"]


def test_tags_that_a_format_has_no_place_for_are_named(tmp_path: Path) -> None:
    assert write(tmp_path / "a.au", Extras(), TAGS) == ["title", "artist", "comment"]
    wanted = OutputFormat(16000, 1, tags=TAGS, extras=Extras("RIFF", (BEXT,)))
    assert PipeWriter(wanted, stdout=io.BytesIO()).dropped == ["title", "artist", "comment"]
    bare = PipeWriter(wanted, Raw("s16le", 16000, 1), stdout=io.BytesIO())
    assert bare.dropped == ["bext", "title", "artist", "comment"]


@pytest.mark.parametrize("frames", [8000, None])
def test_a_pipe_has_the_parts_of_a_wav_before_its_samples(frames: int | None) -> None:
    stream = io.BytesIO()
    parts, tags = (BEXT, IXML, CUE, ADTL, INFO, ID3), {**TAGS, "album": "A"}
    wanted = OutputFormat(16000, 1, frames=frames, tags=tags, extras=Extras("RIFF", parts, 0x8))
    with PipeWriter(wanted, stdout=stream) as writer:
        writer.write(SOUND.T)
    assert writer.dropped == ["the speakers of its channels (0x8)", "album"]
    stream.seek(0)
    with AudioReader("-", stdin=stream) as reader:
        assert (reader.extras.parts, reader.info.frames) == (parts, frames)
        assert reader.tags == {name: text.strip() for name, text in TAGS.items()}
        found = np.concatenate(list(reader.blocks(1000)))
    np.testing.assert_allclose(found, SOUND.T, atol=1e-4)
    assert reader.warnings == []
    # Of another format a WAV holds the ID3 tag alone.
    mp3 = OutputFormat(16000, 1, tags=TAGS, extras=Extras("MP3", (ID3, Part("ID3v1", bytes(128)))))
    assert PipeWriter(mp3, stdout=io.BytesIO()).dropped == []


@pytest.mark.parametrize("output", ["a.wav", "a.rf64", "a.flac", "a.aiff"])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_speakers_stay_or_are_named(tmp_path: Path, output: str, subtype: str) -> None:
    wanted = OutputFormat(16000, 6, subtype, frames=8000, extras=Extras(mask=0x60F))
    with FileWriter(tmp_path / "side.wav", wanted) as writer:
        writer.write(np.repeat(SOUND, 6, 0).T)
    extras = extras_of(tmp_path / "side.wav")
    assert (extras.mask, extras.parts) == (0x60F, ())
    dropped = write(tmp_path / output, extras, channels=6)
    if output in ("a.wav", "a.rf64"):
        assert (dropped, extras_of(tmp_path / output).mask) == ([], 0x60F)
    else:
        assert dropped == ["the speakers of its channels (0x60f)"]


@pytest.mark.parametrize("subtype", ["IMA_ADPCM", "MS_ADPCM"])
def test_speakers_that_a_coding_has_no_place_for_are_named(tmp_path: Path, subtype: str) -> None:
    extras = Extras("RIFF", mask=0x600)
    with FileWriter(
        tmp_path / "a.wav", OutputFormat(16000, 2, subtype, frames=8000, extras=extras)
    ) as writer:
        writer.write(np.repeat(SOUND, 2, 0).T)
    assert writer.dropped == ["the speakers of its channels (0x600)"]


def test_a_comment_with_the_speakers_is_named_as_speakers_where_they_are_lost(tmp_path: Path) -> None:
    extras = Extras("FLAC", (vorbis_comments("WAVEFORMATEXTENSIBLE_CHANNEL_MASK=0x60F"),))
    write(tmp_path / "a.flac", extras, channels=6)
    found = extras_of(tmp_path / "a.flac")
    assert found.mask == 0x60F
    for name, dropped in (
        ("b.wav", []),
        ("b.flac", []),
        ("b.aiff", ["the speakers of its channels (0x60f)"]),
    ):
        assert write(tmp_path / name, found, channels=6) == dropped
        assert dropped or extras_of(tmp_path / name).mask == 0x60F


def test_the_usual_speakers_are_no_news(tmp_path: Path) -> None:
    assert write(tmp_path / "a.flac", Extras("RIFF", mask=0x3F), channels=6) == []


def test_positions_in_samples_are_dropped_at_another_rate() -> None:
    extras = Extras("RIFF", (BEXT, IXML, CUE, ADTL, INFO, ID3), 3)
    after = extras.after(same_rate=False, same_channels=False)
    assert (after.parts, after.mask) == ((INFO, ID3), 0)
    assert after.lost == ("bext", "iXML", "cue", "LIST/adtl")
    assert extras.after(same_rate=True, same_channels=True) == extras


def test_what_was_measured_on_the_input_is_not_kept(tmp_path: Path) -> None:
    bext = struct.pack("<338sQH64s5h", b"", 5, 2, b"", -2300, 500, -100, -1800, -1700) + bytes(180)
    others = [("TXXX", b"\0mood\0calm"), ("COMM", b"\0eng\0a comment")]
    measured = [
        ("TXXX", b"\3replaygain_track_gain\0-9.30 dB"),
        ("COMM", b"\1eng" + "iTunNORM\0".encode("utf-16") + "1".encode("utf-16")),
        ("RVA2", b"track\0\1\xfb\0\0"),
    ]
    names = ["replaygain_track_gain", "iTunNORM", "RVA2"]
    tag = id3(*measured[:1], *others, *measured[1:])
    clean_tag = Part("ID3", (tag.data[:10] + id3(*others).data[10:]).ljust(len(tag.data), b"\0"))
    clean_bext = Part("bext", bext[:412] + b"\xff\x7f" * 5 + bext[422:])
    comments = vorbis_comments("R128_TRACK_GAIN=-2000", "MOOD=calm", "ReplayGain_Track_Peak=1")
    for name, family, parts, clean, dropped in (
        ("a.wav", "RIFF", (Part("bext", bext), tag), (clean_bext, clean_tag), names),
        ("a.mp3", "MP3", (tag,), (clean_tag,), names),
        (
            *("a.flac", "FLAC", (comments,), (vorbis_comments("MOOD=calm"),)),
            ["R128_TRACK_GAIN", "REPLAYGAIN_TRACK_PEAK"],
        ),
    ):
        write(tmp_path / name, Extras(family, parts))
        after = extras_of(tmp_path / name).after(same_rate=True, same_channels=True)
        assert write(tmp_path / f"out-{name}", after) == dropped
        assert extras_of(tmp_path / f"out-{name}").parts == clean


def test_chunks_on_both_sides_of_the_samples_and_through_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, SOUND.T[:7999], 16000, subtype="PCM_U8")
    data = path.read_bytes()
    bext = struct.pack("<4sI", b"bext", len(BEXT.data)) + BEXT.data
    data = (
        data[:12]
        + bext
        + data[12:]
        + b"\0" * (len(data) % 2)
        + struct.pack("<4sI", b"iXML", len(IXML.data))
        + IXML.data
    )
    data = data[:4] + struct.pack("<I", len(data) - 8) + data[8:]
    path.write_bytes(data)
    assert extras_of(path).parts == (BEXT, IXML)
    with AudioReader("-", stdin=io.BytesIO(data)) as reader:
        assert reader.extras.parts == (BEXT,)
        assert sum(map(len, reader.blocks(1000))) == 7999
    (warning,) = reader.warnings
    assert "behind the samples of a stream are not kept: iXML;" in warning
    write(tmp_path / "out.wav", extras_of(path))
    assert extras_of(tmp_path / "out.wav").parts == (BEXT, IXML)


def test_chunks_of_a_w64_are_kept_in_a_wav_and_else_named(tmp_path: Path) -> None:
    path = tmp_path / "a.w64"
    write(path, Extras())
    data = path.read_bytes()
    data += bytes(-len(data) % 8) + b"bext" + bytes.fromhex("f3acd3118cd100c04f8edb8a")
    data += struct.pack("<Q", 24 + len(BEXT.data)) + BEXT.data + bytes(-len(BEXT.data) % 8)
    path.write_bytes(data[:16] + struct.pack("<Q", len(data)) + data[24:])
    assert write(tmp_path / "out.wav", extras_of(path)) == []
    assert extras_of(tmp_path / "out.wav").parts == (BEXT,)
    assert write(tmp_path / "out.w64", extras_of(path)) == ["bext"]


def test_the_program_that_wrote_the_input_did_not_write_the_output(tmp_path: Path) -> None:
    info = b"INFO" + struct.pack("<4sI", b"ISFT", 4) + b"Lavf" + struct.pack("<4sI", b"IENG", 4) + b"Jane"
    data = id3_tag({"title": "abc"}).data[10:] + b"TSSE\0\0\0\5\0\0\3Lavf"
    id3 = b"ID3\4\0\0\0\0\0" + bytes([len(data)]) + data
    comments = b"\4\0\0\0Lavf\1\0\0\0\x0c\0\0\0ENCODER=Lavf"
    for name, family, parts in (
        ("a.wav", "RIFF", (Part("LIST/INFO", info), Part("ID3", id3))),
        ("a.flac", "FLAC", (Part("comments", comments),)),
        ("a.mp3", "MP3", (Part("ID3", id3),)),
    ):
        write(tmp_path / name, Extras(family, parts))
        write(tmp_path / f"out-{name}", extras_of(tmp_path / name))
        out = (tmp_path / f"out-{name}").read_bytes()
        assert b"Lavf" not in out
        assert (b"IENG" in out) == (name == "a.wav")
        assert (b"TIT2" in out) == (name != "a.flac")


def test_great_parts_are_left_out_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.wav", Extras("RIFF", (BEXT, IXML)))
    monkeypatch.setattr(extract, "LARGEST", 100)
    found = extras_of(tmp_path / "a.wav")
    assert (found.parts, found.lost) == ((IXML,), ("bext",))


@pytest.mark.parametrize("family", ["RIFF", "FLAC"])
def test_of_very_many_chunks_the_first_are_kept(family: str) -> None:
    n = extract.MOST_PIECES
    if family == "RIFF":
        chunks = b"".join(struct.pack("<4sI", b"%04x" % k, 0) for k in range(n + 1))
        file = io.BytesIO(b"RIFF" + bytes(4) + b"WAVE" + chunks)
        found = read_extras(file, "WAV")
        assert found.split("WAV", 1) == (list(found.parts), [extract.BEYOND])
        sent = wav_extras((f"{k:04x}", b"") for k in range(n + 1))
        assert sent == found
    else:
        file = io.BytesIO(b"fLaC" + (n + 1) * b"\2\0\0\4riff" + b"\x81\0\0\0")
        found = read_extras(file, "FLAC")
    assert (len(found.parts), found.lost) == (n, (extract.BEYOND,))


def test_very_many_tags_take_no_more_time_each() -> None:
    n = 50000
    begin = time.process_time()
    for family, part in (
        ("RIFF", id3(*n * [("RVA2", b"")])),
        ("FLAC", vorbis_comments(*(f"REPLAYGAIN_{k}=1" for k in range(n)))),
    ):
        after = Extras(family, (part,)).after(same_rate=True, same_channels=True)
        assert len(after.lost) == n
        assert not list(after.tags())
    program = id3(*n * [("TSSE", b"")]).data
    chunks = wav_extras([("id3 ", program)])
    assert chunks.parts == (Part("ID3", program[:10] + bytes(len(program) - 10)),)
    assert time.process_time() - begin < 20


def test_padding_takes_no_room_of_the_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "LARGEST", 100)
    comments = vorbis_comments("MOOD=calm")
    blocks = ((0, bytes(34)), (1, bytes(200)), (4 | 0x80, comments.data))
    file = io.BytesIO(b"fLaC" + b"".join(bytes([k]) + len(d).to_bytes(3, "big") + d for k, d in blocks))
    assert read_extras(file, "FLAC") == Extras("FLAC", (comments,))


def test_comments_of_an_ogg_are_kept_by_flac_and_else_named(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "a.opus"), "w", format="ogg") as container:
        container.metadata.update({"album_artist": "Jane", "title": "abc", "mood": "calm"})
        stream = container.add_stream("libopus", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(speech_like(0.5, 48000), format="flt", layout="mono")
        frame.sample_rate, frame.pts = 48000, 0
        sampler = av.AudioResampler(stream.codec_context.format, "mono", 48000, 960)
        for piece in [*sampler.resample(frame), *sampler.resample(None), None]:
            container.mux(stream.encode(piece))
    extras = extras_of(tmp_path / "a.opus")
    lost = write(tmp_path / "b.ogg", extras)
    assert "MOOD" in lost
    assert any("ALBUM" in name for name in lost)
    assert "TITLE" not in lost
    assert write(tmp_path / "b.flac", extras) == []
    assert extras_of(tmp_path / "b.flac").parts == extras.parts


def vorbis_comments(*comments: str) -> Part:
    packed = b"".join(struct.pack("<I", len(c.encode())) + c.encode() for c in comments)
    return Part("comments", struct.pack("<II", 0, len(comments)) + packed)


def id3(*frames: tuple[str, bytes]) -> Part:
    body = b"".join(name.encode() + struct.pack(">I", len(data)) + b"\0\0" + data for name, data in frames)
    size = bytes(len(body) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return Part("ID3", b"ID3\3\0\0" + size + body)


def info(*chunks: tuple[str, bytes]) -> Part:
    packed = (struct.pack("<4sI", n.encode(), len(t)) + t + bytes(len(t) % 2) for n, t in chunks)
    return Part("LIST/INFO", b"INFO" + b"".join(packed))


TWO_HOSTS: dict[str, tuple[Part, ...]] = {
    "a.flac": (
        vorbis_comments("TITLE=Ep", "ARTIST=Zoë", "artist=Jo", "ARTIST=Jo", "COMMENT=one", "COMMENT=two"),
    ),
    "a.mp3": (
        id3(
            ("TIT2", b"\0Ep\0"),
            ("TPE1", b"\1" + "Zoë\0".encode("utf-16") + "Jo".encode("utf-16")),
            ("COMM", b"\0eng\0one"),
            ("COMM", b"\1deu" + "\0".encode("utf-16") + "two".encode("utf-16")),
        ),
    ),
    "a.wav": (
        info(
            *(("INAM", b"Ep\0"), ("IART", "Zoë\0".encode()), ("IART", b"Jo\0")),
            *(("ICMT", b"one\0"), ("ICMT", b"two")),
        ),
    ),
    "a.aiff": (
        *(Part("NAME", b"Ep"), Part("AUTH", "Zoë".encode()), Part("AUTH", b"Jo")),
        *(Part("ANNO", b"one"), Part("ANNO", b"two\0")),
    ),
}
"""Recordings with two artists and two comments."""


@pytest.mark.parametrize("output", [*OUTPUTS, "a.m4a"])
@pytest.mark.parametrize("source", TWO_HOSTS)
def test_all_values_of_a_tag_are_kept_or_named(tmp_path: Path, source: str, output: str) -> None:
    family = FAMILIES[FORMATS[Path(source).suffix]]
    first = tmp_path / f"in{Path(source).suffix}"
    write(first, Extras(family, TWO_HOSTS[source]))
    with AudioReader(first) as reader:
        tags, extras = reader.tags, reader.extras
    assert tags == {"title": "Ep", "artist": "Zoë; Jo", "comment": "one; two"}
    second = tmp_path / f"out{Path(output).suffix}"
    dropped = write(second, extras, tags)
    with AudioReader(second) as reader:
        assert {**reader.tags, **dict.fromkeys(dropped)} == {**tags, **dict.fromkeys(dropped)}


def test_comments_with_a_description_are_not_the_comment(tmp_path: Path) -> None:
    frames = [("COMM", b"\0engiTunNORM\x00000A"), ("COMM", b"\0eng\0one"), ("COMM", b"\0eng\0one")]
    write(tmp_path / "a.mp3", Extras("MP3", (id3(*frames),)))
    with AudioReader(tmp_path / "a.mp3") as reader:
        assert reader.tags == {"comment": "one"}
        assert write(tmp_path / "a.flac", reader.extras, reader.tags) == ["ID3/COMM with a description"]


@pytest.mark.parametrize(("output", "dropped"), [("b.flac", []), ("b.wav", ["MOOD"])])
def test_an_id3_tag_before_a_flac_becomes_comments_or_is_named(
    tmp_path: Path, output: str, dropped: list[str]
) -> None:
    comments = vorbis_comments("TITLE=Ep", "MOOD=calm")
    tag = id3(
        *(("TIT2", b"\0Another"), ("TPE1", "\0Zoë".encode("latin-1")), ("TCOM", b"\0Jo"), ("CHAP", b"c1"))
    )
    write(tmp_path / "plain.flac", Extras("FLAC", (comments,)))
    (tmp_path / "a.flac").write_bytes(tag.data + (tmp_path / "plain.flac").read_bytes())
    with AudioReader(tmp_path / "a.flac") as reader:
        assert reader.tags == {"title": "Ep", "artist": "Zoë"}
        named = write(tmp_path / output, reader.extras, reader.tags)
    assert sorted(named) == sorted([*dropped, "ID3/TCOM", "chapters"])
    with AudioReader(tmp_path / output) as reader:
        assert reader.tags == {"title": "Ep", "artist": "Zoë"}


@pytest.mark.parametrize("flags", [0x40, 0x80])
def test_an_id3_tag_in_another_form_is_kept_or_named(tmp_path: Path, flags: int) -> None:
    """With an extended header, or recoded as a whole (unsynchronised)."""
    frames = id3(("TIT2", b"\0Ep"), ("TCOM", b"\0Jo")).data[10:]
    body = (b"\0\0\0\6" + bytes(6) if flags == 0x40 else b"") + frames
    tag = Part("ID3", b"ID3\3\0" + bytes([flags]) + b"\0\0\0" + bytes([len(body)]) + body)
    write(tmp_path / "a.mp3", Extras("MP3", (tag,)))
    with AudioReader(tmp_path / "a.mp3") as reader:
        assert reader.tags == {"title": "Ep"}
        assert write(tmp_path / "b.mp3", reader.extras, reader.tags) == []
        assert write(tmp_path / "b.flac", reader.extras, reader.tags) == [UNREAD_ID3]


def test_empty_tags_are_not_missed(tmp_path: Path) -> None:
    v1 = b"TAG" + b"Ep".ljust(30, b"\0") + bytes(94) + b"\xff"
    parts = (id3(("TPE1", b"\0"), ("TALB", b"\1" + "\0".encode("utf-16"))), Part("ID3v1", v1))
    write(tmp_path / "a.mp3", Extras("MP3", parts))
    write(tmp_path / "a.flac", Extras("FLAC", (vorbis_comments("TITLE=Ep", "ALBUM=", "MOOD="),)))
    for name in ("a.mp3", "a.flac"):
        with AudioReader(tmp_path / name) as reader:
            assert reader.tags == {"title": "Ep"}
            assert write(tmp_path / "b.wav", reader.extras, reader.tags) == []


def test_tags_that_the_kept_id3_tag_has_not_are_named(tmp_path: Path) -> None:
    parts = (info(("IART", b"Zoe\0")), id3(("TIT2", b"\0Ep")))
    write(tmp_path / "a.wav", Extras("RIFF", parts))
    with AudioReader(tmp_path / "a.wav") as reader:
        assert reader.tags == {"title": "Ep", "artist": "Zoe"}
        assert write(tmp_path / "a.mp3", reader.extras, reader.tags) == ["artist"]


@pytest.mark.parametrize("name", SOURCES)
def test_any_damage_to_them_costs_no_samples(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, SOURCES[name][0])
    whole = (tmp_path / name).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(150):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), 20):
            data[at] = rng.integers(256)
        for at in rng.integers(0, min(len(data), 900), 3):
            data[at] = rng.choice([0, 255])
        extras = read_extras(io.BytesIO(bytes(data)), soundfile.info(str(tmp_path / name)).format)
        extras.tags()
        extras.names()


def test_a_disk_that_fills_up_on_the_way_is_an_error() -> None:
    class Full(io.BytesIO):
        def write(self, data: bytes) -> int:  # type: ignore[override]
            raise OSError(28, "No space left on device")

    wav = io.BytesIO()
    soundfile.write(wav, SOUND.T, 16000, format="WAV")
    with pytest.raises(OSError, match="No space"):
        embed(Full(wav.getvalue()), "WAV", [BEXT])
