"""Figures are complete files of their format, show what they should, and take any name."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from kit.audio import speech_like, write_speech
from kit.command import run_command
from kit.disk import largest_file
from typer.testing import Result

from audiotool import extras
from audiotool.errors import InputError
from audiotool.metrics.rows import REFERENCE_RATE, Row
from audiotool.metrics.values import Value
from audiotool.plots.curves import plot_curves
from audiotool.plots.figure import save
from audiotool.plots.recordings import plot_recordings, tracks_to_plot
from audiotool.plots.scores import input_snr_db, plot_against, plot_by_snr

if extras.is_there("matplotlib"):
    from matplotlib.text import Text

pytestmark = pytest.mark.skipif(not extras.is_there("matplotlib"), reason=extras.install("plots"))

BEGINS = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


def run(*words: str) -> Result:
    return run_command("plot", *words)


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A recording whose name would be a formula, and half of it; at 16 kHz, of two seconds."""
    monkeypatch.chdir(tmp_path)
    voice = speech_like(2.0, 16000)
    places = Path("$x^$ <b> 東京.wav"), Path("half.wav")
    for place, gain in zip(places, (1.0, 0.5), strict=True):
        soundfile.write(str(place), gain * voice.T, 16000, subtype="FLOAT")
    return places


@pytest.mark.parametrize("ending", BEGINS)
def test_every_format(pair: tuple[Path, Path], ending: str) -> None:
    done = run(*map(str, pair), "-o", f"new/plot{ending}")
    assert done.exit_code == 0, done.output
    assert Path(f"new/plot{ending}").read_bytes().startswith(BEGINS[ending])
    assert len(list(Path("new").iterdir())) == 1


def test_recordings_are_on_one_scale_and_the_difference_below_them(pair: tuple[Path, Path]) -> None:
    figure = plot_recordings(tracks_to_plot(pair, difference=True))
    panels = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    titles = [axes.get_title(loc="left") for axes in panels]
    assert titles == ["$x^$ <b> 東京.wav", "", "half.wav", "", "$x^$ <b> 東京.wav minus half.wav", ""]
    assert len({axes.get_xlim() for axes in panels}) == 1
    assert len({axes.get_ylim() for axes in panels[::2]}) == 1
    pictures = [axes.images[0] for axes in panels[1::2]]
    assert len({picture.get_clim() for picture in pictures}) == 1
    first, second, between = (np.asarray(picture.get_array()).max() for picture in pictures)
    assert first - second == pytest.approx(6.02, abs=0.01)
    assert between == pytest.approx(second, abs=0.01)


@pytest.mark.filterwarnings("ignore:Glyph")
def test_long_names_lose_their_middle_and_stay_above_their_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    places = [Path(f"{sign * 60} take.wav") for sign in "e東"]
    for place in places:
        write_speech(place, 0.5)
    figure = plot_recordings(tracks_to_plot(places, difference=True))
    figure.draw_without_rendering()
    panels = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    titles = [
        next(text for text in axes.get_children() if isinstance(text, Text) and text.get_text())
        for axes in panels[::2]
    ]
    assert [title.get_text() for title in titles[:1]] == [places[0].name]
    assert "東…" in titles[1].get_text()
    assert titles[2].get_text().count("…") == 2
    assert " minus " in titles[2].get_text()
    assert all(title.get_text().endswith(" take.wav") for title in titles)
    ends = [title.get_window_extent().x1 for title in titles]
    assert max(ends) <= min(axes.get_window_extent().x1 for axes in panels)
    assert [axes.get_ylabel() for axes in panels[:2]] == ["amplitude", "kHz"]
    assert figure.axes[-1].get_ylabel() == "dBFS"


@pytest.mark.parametrize(("part", "count"), [("spectrogram", 1), ("waveform", 1), ("both", 2)])
def test_parts(pair: tuple[Path, Path], part: str, count: int) -> None:
    figure = plot_recordings(tracks_to_plot(pair[:1], difference=False), part)  # type: ignore[arg-type]
    assert len([axes for axes in figure.axes if axes.get_label() != "<colorbar>"]) == count


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("half.wav", "-o", "plot.jpg"), "a plot ends in .png, .svg or .pdf"),
        (("missing.wav", "-o", "plot.png"), "no such file"),
        (("hlaf.wav", "-o", "plot.png"), "no such file or folder; did you mean half.wav?"),
        (("half.wav", "-o", "plot.png", "--difference"), "a difference is that of two files"),
        (("half.wav", "short.wav", "-o", "plot.png", "--difference"), "of one form"),
        (("half.wav", "-o", "there.png"), "--overwrite"),
    ],
)
def test_mistakes_are_one_line(pair: tuple[Path, Path], words: tuple[str, ...], message: str) -> None:
    write_speech(Path("short.wav"), 1.0)
    Path("there.png").write_bytes(b"mine")
    done = run(*words)
    assert done.exit_code == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert Path("there.png").read_bytes() == b"mine"


def test_without_matplotlib_the_extra_is_named(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audiotool.extras.is_there", lambda module: module != "matplotlib")
    done = run("half.wav", "-o", "plot.png")
    assert done.exit_code == 2
    assert 'pip install "audiotool-speech[plots]"' in done.stderr


def scored(folder: Path, name: str, snr_db: float, score: float | None) -> Row:
    """A row whose input has so much noise."""
    voice = speech_like(0.5, 16000)
    noise = np.random.default_rng(0).standard_normal(voice.shape)
    noise *= np.sqrt((voice**2).sum() / (noise**2).sum() / 10 ** (snr_db / 10))
    for kind, waveform in (("clean", voice), ("noisy", voice + noise)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        soundfile.write(str(folder / kind / name), waveform.T, 16000, subtype="FLOAT")
    facts = {"reference": str(folder / "clean" / name), "noisy": str(folder / "noisy" / name)}
    return Row(name, {"pesq": Value(score)}, {"pesq": Value(1.5)}, facts)


def test_scores_over_the_snr_of_the_input(tmp_path: Path) -> None:
    rows = [scored(tmp_path, f"{snr}.wav", snr, 2 + snr / 10) for snr in (-5, 0, 10)]
    assert [input_snr_db(row).value for row in rows] == pytest.approx([-5, 0, 10], abs=0.01)
    figure = plot_by_snr([*rows, scored(tmp_path, "none.wav", 3, None), Row("unknown")])
    [axes] = figure.axes
    points = np.asarray(axes.collections[1].get_offsets())
    np.testing.assert_allclose(points, [(-5, 1.5), (0, 2.0), (10, 3.0)], atol=0.01)
    save(figure, tmp_path / "plot.png")


@pytest.mark.parametrize("kind", ["clean", "noisy"])
def test_the_snr_is_that_of_the_part_that_both_files_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("audiotool.report.tracks.BLOCK_SECONDS", 0.2)
    row = scored(tmp_path, "a.wav", 20, 2.0)
    path = tmp_path / kind / "a.wav"
    samples, rate = soundfile.read(str(path))
    soundfile.write(str(path), np.r_[samples, samples], rate, subtype="FLOAT")
    assert input_snr_db(row).value == pytest.approx(20, abs=0.01)


def test_inputs_without_an_snr_have_their_reason(tmp_path: Path) -> None:
    facts = scored(tmp_path, "a.wav", 0, 2.0).facts
    soundfile.write(str(tmp_path / "zero.wav"), np.zeros(8000, np.float32), 16000)
    soundfile.write(str(tmp_path / "other.wav"), np.zeros(8000, np.float32), 8000)
    cases = {
        "a noisy input and a reference that can be read are needed": {},
        "the noisy input equals the reference": {"noisy": facts["reference"]},
        "the reference has 16000 Hz in 1 channel, the noisy input 8000 Hz in 1 channel": {
            "noisy": str(tmp_path / "other.wav")
        },
        "the reference is silent": {"reference": str(tmp_path / "zero.wav")},
    }
    for reason, changed in cases.items():
        row = Row("a.wav", facts={**facts, **changed} if changed else {})
        with pytest.raises(InputError, match=f"no file's input has an SNR.*: {re.escape(reason)}$"):
            plot_by_snr([row])


def test_files_that_are_not_drawn_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [scored(tmp_path, f"{name}.wav", 0, 2.0) for name in ("whole", "damaged", "slow")]
    damaged = speech_like(0.5, 16000)[0]
    damaged[99] = np.inf
    soundfile.write(str(tmp_path / "noisy" / "damaged.wav"), damaged, 16000, subtype="FLOAT")
    write_speech(tmp_path / "noisy" / "slow.wav", 0.5, 8000)
    [axes] = plot_by_snr(rows).axes
    assert len(np.asarray(axes.collections[1].get_offsets())) == 1
    [said] = [record.getMessage() for record in caplog.records]
    assert said.startswith("2 of 3 files not drawn: damaged.wav: ")
    assert "slow.wav: the reference has 16000 Hz in 1 channel, the noisy input 8000 Hz" in said


def test_two_systems_file_by_file() -> None:
    others = [Row(name, {"lsd": Value(score)}) for name, score in (("a", 1.0), ("b", 2.0), ("c", 3.0))]
    rows = [Row(name, {"lsd": Value(score)}) for name, score in (("b.wav", 1.0), ("a.flac", 2.0), ("d", 3.0))]
    [axes] = plot_against(rows, others, "$other$.json").axes
    np.testing.assert_allclose(np.asarray(axes.collections[0].get_offsets()), [(2, 1), (1, 2)])
    assert axes.texts[0].get_text() == "better 1, worse 1 of 2"
    with pytest.raises(InputError, match="no file and metric in common"):
        plot_against(rows, [Row("x")], "other.json")


def test_narrow_band_and_wide_band_scores_are_not_one_point() -> None:
    rows, others = (
        [Row(str(n), {"pesq": Value(score)}, facts={REFERENCE_RATE: rate}) for n, rate in enumerate(rates)]
        for score, rates in ((2.0, (16000, 16000)), (3.0, (8000, 16000)))
    )
    [axes] = plot_against(rows, others, "other.json").axes
    np.testing.assert_allclose(np.asarray(axes.collections[0].get_offsets()), [(3, 2)])
    assert "1 left out: narrow-band against wide-band" in [text.get_text() for text in axes.texts]


def test_curves_of_a_run_and_of_one_that_has_just_begun(tmp_path: Path) -> None:
    text = "step,loss,rate,examples_per_second\n10,2.0,0.1,5\n20,1.0,,5\n"
    training = list(csv.DictReader(io.StringIO(text)))
    validation = [{"step": "20", "loss": "1.5", "pesq": "2.0"}]
    figure = plot_curves(training, validation)
    assert [axes.get_title() for axes in figure.axes] == ["loss", "learning rate", "pesq ↑ MOS"]
    assert [len(axes.lines) for axes in figure.axes] == [2, 1, 1]
    assert [axes.get_xlabel() for axes in figure.axes] == ["step"] * 3
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    assert figure.axes[0].get_xlim()[0] < 10 < 20 < figure.axes[0].get_xlim()[1]
    np.testing.assert_allclose(np.asarray(figure.axes[0].lines[0].get_xydata()), [(10, 2), (20, 1)])
    save(figure, tmp_path / "curves.png")
    save(plot_curves([], []), tmp_path / "empty.png")
    assert (tmp_path / "empty.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("ending", [".png", ".svg", ".pdf"])
@pytest.mark.parametrize("size", [100, 3000, 5000])
def test_a_full_disk_is_one_line(tmp_path: Path, ending: str, size: int) -> None:
    values = [{"step": str(step), "loss": str(1 / step)} for step in range(1, 200)]
    figure = plot_curves(values, [])
    with largest_file(size), pytest.raises(InputError, match="cannot write"):
        save(figure, tmp_path / f"plot{ending}")
    assert list(tmp_path.iterdir()) == []


def test_evaluate_draws_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for snr in (0, 10):
        scored(tmp_path, f"{snr}.wav", snr, None)
    words = ["evaluate", "--reference", "clean", "--estimate", "noisy", "--metrics", "si_sdr", "-q"]
    plain = ["--noisy", "noisy", "--plot", "snr.svg", "--plot", "snr.png", "--report", "other.json"]
    done = run_command(*words, *plain)
    assert done.exit_code == 0, done.output
    done = run_command(*words, "--against", "other.json", "--plot", "both.pdf")
    assert done.exit_code == 0, done.output
    assert Path("snr.svg").read_bytes().startswith(b"<?xml")
    assert Path("snr.png").read_bytes().startswith(b"\x89PNG")
    assert Path("both.pdf").read_bytes().startswith(b"%PDF")
    done = run_command(*words, "--against", "other.json")
    assert done.exit_code == 2
    assert "give --plot FILE" in done.stderr
    scored(tmp_path / "far", "elsewhere.wav", 0, None)
    far = ["evaluate", "--reference", "far/clean", "--estimate", "far/noisy", "--metrics", "si_sdr"]
    done = run_command(*far, "--against", "other.json", "--report", "far.json")
    assert done.exit_code == 2
    assert "other.json has none of these files" in done.stderr
    assert not Path("far.json").exists()
    wrong = [(("a.svg", "a.bmp"), "a plot ends in"), (("a.svg", "a.svg"), "two plots cannot be one file")]
    for (first, second), reason in [*wrong, (("a.svg", "snr.png"), "snr.png exists")]:
        done = run_command(*words, "--noisy", "noisy", "--plot", first, "--plot", second)
        assert done.exit_code == 2
        assert reason in done.stderr
        assert not Path("a.svg").exists()
    done = run_command(*words, "--noisy", "clean", "--plot", "a.svg", "--plot", "a.png")
    assert done.exit_code == 1
    assert done.stderr.count("no file's input has an SNR") == 1
    done = run_command(*words, "--plot", "late.svg")
    assert done.exit_code == 2
    assert "give --reference and --noisy" in done.stderr
    assert "si_sdr" not in done.stdout
