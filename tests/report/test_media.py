"""The recordings of a row, their pictures and sounds."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from kit.audio import speech_like, write_speech
from kit.disk import largest_file

from audiotool.metrics.rows import Row
from audiotool.report.gallery import add_media, sound_that_fits
from audiotool.report.media import make_media
from audiotool.report.places import locate
from audiotool.report.spool import Spool, content
from audiotool.report.tracks import tracks_of


@pytest.fixture
def row(tmp_path: Path) -> Row:
    """Noisy, and cleaned to a tenth in its second half; a residual is not written."""
    voice = speech_like(2.0, 16000, 2)
    cleaned = voice * np.where(np.arange(32000) < 16000, 1.0, 0.1).astype(np.float32)
    for name, waveform in (("in", voice), ("out", cleaned)):
        soundfile.write(tmp_path / f"{name}.wav", waveform.T, 16000, subtype="FLOAT")
    places = {"input": str(tmp_path / "in.wav"), "output": str(tmp_path / "out.wav")}
    return Row("a", facts={**places, "settings": {"mix": 1.0}})


def test_the_removed_signal_is_the_difference(row: Row) -> None:
    tracks = tracks_of(row)
    assert [(track.role, track.label) for track in tracks] == [
        ("input", "Input"),
        ("output", "Output"),
        ("removed", "Removed"),
    ]
    before, after, removed = (np.concatenate(list(track.blocks()), axis=1) for track in tracks)
    np.testing.assert_array_equal(removed, before - after)


@pytest.mark.parametrize(
    ("facts", "is_less"),
    [
        ({"settings": {"mix": 1.0}}, True),
        ({"noisy": "in.wav"}, True),
        ({"settings": {"upper_band": False}}, False),
        ({"settings": "mix"}, False),
        ({}, False),
    ],
)
def test_only_an_output_that_is_less_than_its_input_has_a_removed_signal(
    row: Row, facts: dict[str, object], is_less: bool
) -> None:
    """A vocoder's differs from its input by more than the input."""
    places = {name: row.facts[name] for name in ("input", "output")}
    roles = [track.role for track in tracks_of(Row("a", facts={**places, **facts}))]
    assert roles == ["input", "output", *(["removed"] if is_less else [])]


def test_stems_a_residual_and_a_reference(tmp_path: Path, row: Row) -> None:
    stems = [str(write_speech(tmp_path / f"a.{name}.wav")) for name in ("speaker1", "speaker2")]
    facts = {"output": stems, "reference": stems[0]}
    assert [t.label for t in tracks_of(Row("a", facts={**row.facts, **facts}))] == [
        *("Input", "speaker1", "speaker2", "Reference"),
    ]
    residual = {**row.facts, "residual": stems[1]}
    assert [str(t.path) for t in tracks_of(Row("a", facts=residual))][2] == stems[1]
    scored = {"estimate": stems[0], "noisy": row.facts["input"], "reference": stems[1]}
    assert [t.role for t in tracks_of(Row("a", facts=scored))] == ["input", "output", "reference"]


def test_paths_are_looked_for_beside_the_report_too(tmp_path: Path) -> None:
    write_speech(tmp_path / "b.wav")
    row = Row("b", facts={"estimate": "b.wav"})
    assert tracks_of(row) == []
    locate([row], tmp_path)
    assert [track.path for track in tracks_of(row)] == [tmp_path / "b.wav"]


@pytest.mark.parametrize("place", ["-", "missing.wav", "mel.npy", None, 3, ["x", None]])
def test_files_without_a_recording_are_left_out(place: object) -> None:
    assert make_media(Row("a", facts={"input": place, "output": place}), True) is None


def test_gain_level_and_sound(row: Row) -> None:
    media = make_media(row, sound=True)
    assert media is not None
    assert media.top_hz == 8000
    gains = [gain for gain in media.gain_db if gain is not None]
    assert np.median(gains[: len(gains) // 2]) == pytest.approx(0, abs=0.1)
    assert np.median(gains[len(gains) // 2 :]) == pytest.approx(-20, abs=0.1)
    first, second, removed = media.clips
    assert first.level_db is not None
    assert second.level_db is not None
    assert first.level_db - second.level_db == pytest.approx(2.97, abs=0.3)
    assert removed.path is None
    assert [clip.is_sum for clip in media.clips] == [True, False, False]
    assert first.sound is None
    sounds = []
    for clip in (second, removed):
        assert clip.sound is not None
        decoded, rate = soundfile.read(io.BytesIO(content(clip.sound)))
        assert (rate, decoded.shape[1]) == (16000, 2)
        assert len(decoded) == pytest.approx(32000, abs=1)
        sounds.append(decoded[:31999])
    original, _ = soundfile.read(row.facts["input"])
    assert np.corrcoef(sum(sounds)[:, 0], original[:31999, 0])[0, 1] > 0.98


def test_pictures_of_what_was_removed_reach_the_end(tmp_path: Path) -> None:
    samples = speech_like(2.0, 16000)[0]
    soundfile.write(tmp_path / "in.wav", samples, 16000, "FLOAT")
    soundfile.write(tmp_path / "out.wav", 0.5 * samples, 16000, "FLOAT")
    places = {"input": str(tmp_path / "in.wav"), "output": str(tmp_path / "out.wav")}
    media = make_media(Row("a", facts={**places, "settings": {"mix": 1.0}}), sound=False)
    assert media is not None
    first, second, removed = media.clips
    assert content(removed.picture) == content(second.picture) != content(first.picture)  # half was removed
    assert removed.width_s == first.width_s == second.width_s >= removed.seconds


@pytest.mark.parametrize("seconds", [0.01, 1.3, 15.0])
def test_what_was_removed_is_shown_as_its_recording(tmp_path: Path, seconds: float) -> None:
    """Also where the output begins in silence: parts of the mix to mono then have other lengths."""
    voice = speech_like(seconds, 16000)[0]
    noise = 0.05 * np.random.default_rng(0).standard_normal(len(voice)).astype(np.float32)
    cleaned = np.where(np.arange(len(voice)) < len(voice) // 4, np.float32(0), voice)
    recordings = {"in": voice + noise, "out": cleaned, "removed": voice + noise - cleaned}
    places = {name: str(tmp_path / f"{name}.wav") for name in recordings}
    for name, samples in recordings.items():
        soundfile.write(places[name], samples, 16000, "FLOAT")
    facts = {"input": places["in"], "output": places["out"]}
    of_difference = make_media(Row("a", facts={**facts, "settings": {"mix": 1.0}}), sound=False)
    of_recording = make_media(Row("a", facts={**facts, "residual": places["removed"]}), sound=False)
    assert of_difference is not None
    assert of_recording is not None
    assert [replace(clip, path=None) for clip in of_recording.clips] == [
        replace(clip, path=None) for clip in of_difference.clips
    ]


def test_level_and_peak_are_those_of_the_channels_and_not_of_their_mix(tmp_path: Path) -> None:
    left = np.full(16000, 0.5, np.float32)
    left[100] = -0.75
    soundfile.write(tmp_path / "in.wav", np.stack((left, 0 * left), axis=1), 16000, subtype="FLOAT")
    media = make_media(Row("a", facts={"input": str(tmp_path / "in.wav")}), sound=False)
    assert media is not None
    [clip] = media.clips
    assert clip.level_db == pytest.approx(10 * np.log10(0.125), abs=1e-3)
    assert clip.peak == 0.75


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("rates", [(16000, 48000), (48000, 16000), (8000, 44100)])
@pytest.mark.parametrize("seconds", [1 / 16000, 0.02, 0.3])
def test_gain_between_sample_rates(tmp_path: Path, seconds: float, rates: tuple[int, int]) -> None:
    """The overviews of a short input and of its output at another rate have unequal numbers of columns."""
    facts = {}
    for name, rate in zip(("input", "output"), rates, strict=True):
        time = np.arange(max(1, round(seconds * rate))) / rate
        facts[name] = str(tmp_path / f"{name}.wav")
        soundfile.write(facts[name], 0.5 * np.cos(2 * np.pi * 440 * time), rate)
    media = make_media(Row("a", facts=facts), sound=False)
    assert media is not None
    assert all(gain is None or abs(gain) < 10 for gain in media.gain_db)


def test_only_sounds_that_add_up_are_left_to_the_page(
    tmp_path: Path, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sounds(facts: dict[str, object]) -> list[bool]:
        made = make_media(Row("a", facts=facts), True)
        assert made is not None
        assert not any(clip.sound is not None and clip.is_sum for clip in made.clips)
        return [clip.is_sum for clip in made.clips]

    assert sounds(row.facts) == [True, False, False]
    assert sounds({**row.facts, "residual": row.facts["input"]}) == [False, False, False]
    assert sounds({"input": row.facts["input"]}) == [False]
    shorter = str(write_speech(tmp_path / "short.wav", 1.0))
    assert sounds({**row.facts, "output": shorter}) == [False, False]
    monkeypatch.setattr("audiotool.report.media.SUMMED_SAMPLES", 63999)
    assert sounds(row.facts) == [False, False, False]
    silent = make_media(row, False)
    assert silent is not None
    assert not any(clip.is_sum for clip in silent.clips)


def test_a_damaged_file_costs_its_row_alone(tmp_path: Path, row: Row) -> None:
    samples = np.zeros(16000, np.float32)
    samples[9000] = np.nan
    soundfile.write(tmp_path / "out.wav", samples, 16000, subtype="FLOAT")
    assert make_media(row, False) is None


def test_a_page_tells_no_message_of_a_library(
    row: Row, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("operands could not be broadcast together")

    monkeypatch.setattr("audiotool.report.media.OverviewBuilder", fail)
    assert make_media(row, False) is None
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "a: not shown in the page: internal error: ValueError (--debug shows where)"
    ]


@pytest.mark.parametrize("jobs", [1, 2])
def test_pictures_are_kept_on_the_disk(tmp_path: Path, row: Row, jobs: int) -> None:
    rows = [Row(name, facts=row.facts) for name in "abc"]
    before = sorted(tmp_path.iterdir())
    with Spool(tmp_path / "new") as spool:
        add_media(rows, "embed", spool, jobs)
        expected = make_media(row, True)
        assert expected is not None
        for made in rows:
            assert [content(clip.picture) for clip in made.media.clips] == [
                content(clip.picture) for clip in expected.clips
            ]
            assert not any(isinstance(clip.picture, bytes) for clip in made.media.clips)
        assert sorted(tmp_path.iterdir()) == before


def test_a_full_disk_costs_pictures_alone(tmp_path: Path, row: Row, caplog: pytest.LogCaptureFixture) -> None:
    rows = [Row(name, facts=dict(row.facts)) for name in "abc"]
    with Spool(tmp_path) as spool:
        with largest_file(60_000):
            add_media(rows, "embed", spool)
        kept = [clip for row in rows if row.media is not None for clip in row.media.clips]
        assert [row.media is not None for row in rows] == [True, False, False]
        assert all(content(clip.picture).startswith(b"\x89PNG") for clip in kept)
    (record,) = caplog.records
    assert record.getMessage().startswith("b and later files are not shown in the page: the file is larger")


def test_sound_is_embedded_while_it_is_small(tmp_path: Path) -> None:
    short = write_speech(tmp_path / "a.wav", 1.0)
    long = tmp_path / "long.wav"
    with soundfile.SoundFile(long, "w", 8000, 1, "PCM_U8") as file:
        file.write(np.zeros(8000 * 1500))
    assert sound_that_fits([short, "-", tmp_path / "missing.wav"]) == "embed"
    assert sound_that_fits([short, long]) == "link"
