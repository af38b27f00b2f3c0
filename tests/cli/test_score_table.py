"""Scores on a screen: every number whole, at most two lines of heading, as wide as the screen."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from audiotool.cli.score_table import print_comparison, print_scores
from audiotool.metrics.rows import REFERENCE_RATE, Row
from audiotool.metrics.values import Value
from audiotool.report.comparison import HEADINGS, compare

pytestmark = pytest.mark.fast

METRICS = ("pesq", "pesq_nb", "stoi", "estoi", "si_sdr", "lsd", "snr")


def rows_of(name: str, count: int = 2) -> list[Row]:
    values = {metric: Value(100.0 + n) for n, metric in enumerate(METRICS)}
    return [Row(f"{name}{n}", values, {metric: Value(-1.5) for metric in METRICS}) for n in range(count)]


def printed(rows: list[Row], columns: int, capsys: pytest.CaptureFixture[str]) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        print_scores(rows)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("columns", [20, 40, 80, 132, 250])
@pytest.mark.parametrize("name", ["a", "a rather long name of a recording that somebody made in 2026 [x] "])
def test_every_number_is_whole(columns: int, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(rows_of(name), columns, capsys)
    text = "\n".join(lines)
    for n, metric in enumerate(METRICS):
        assert text.count(f"-1.500 → {100 + n}.000") == 3, "two rows and the mean"
        assert f"{metric} ↑" in text or f"{metric} ↓" in text
    assert "…" not in text
    if columns >= 40:
        assert max(map(cell_len, lines)) <= columns


def test_on_a_wide_screen_a_file_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(rows_of("a"), 250, capsys)
    assert len(lines) == 2 + 2 + 1
    assert lines[0].split()[:3] == ["file", "pesq", "↑"]


def test_nulls_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [Row("a", {"stoi": Value(0.5)}), Row("b", {"stoi": Value(None, "the reference is silent")})]
    print_scores(rows)
    out, err = capsys.readouterr()
    assert "(1 of 2)" in out
    assert "null" in out.splitlines()[2]
    assert "b: no stoi: the reference is silent" in err


def test_both_sides_of_a_mean_are_over_the_same_files(capsys: pytest.CaptureFixture[str]) -> None:
    """A model that mutes the hardest file and leaves the others as they are has gained nothing."""
    silent = Value(None, "the estimate is silent")
    pairs = {"hard": (-6.0, silent), "easy": (14.0, Value(14.0)), "clean": (26.0, Value(26.0))}
    rows = [Row(name, {"si_sdr": after}, {"si_sdr": Value(x)}) for name, (x, after) in pairs.items()]
    assert " ".join(" ".join(printed(rows, 80, capsys)).split()).endswith("mean 20.000 → 20.000 (2 of 3)")
    nothing = [Row(name, {"si_sdr": silent}, {"si_sdr": Value(x)}) for name, (x, _) in pairs.items()]
    assert " ".join(" ".join(printed(nothing, 80, capsys)).split()).endswith("mean 11.333 → null (0 of 3)")


def test_a_mean_over_both_bands_has_a_remark(capsys: pytest.CaptureFixture[str]) -> None:
    rates = (8000, 16000)
    print_scores([Row(str(rate), {"covl": Value(3.0)}, facts={REFERENCE_RATE: rate}) for rate in rates])
    assert "covl: the mean is over narrow-band and wide-band numbers" in capsys.readouterr().err


def test_two_systems_are_a_line_a_metric(capsys: pytest.CaptureFixture[str]) -> None:
    others = [
        Row(name, {"pesq": Value(score), "stoi": Value(0.5)}) for name, score in (("a", 1.5), ("b", 2.0))
    ]
    rows = [Row(f"{name}.wav", {"pesq": Value(2.5), "si_sdr": Value(9.0)}) for name in ("b", "a", "c")]
    print_comparison(compare(rows, others, "old/other.json"))
    out = capsys.readouterr().out
    lines = out.strip().splitlines()
    assert lines[0] == "This system against old/other.json"
    assert lines[1].split() == " ".join(HEADINGS).split()
    assert " ".join(lines[2].split()) == "pesq ↑ MOS 2 1.750 2.500 +0.750 +0.500 to +1.000 2 0"
    assert lines[3].startswith("2 files in both reports, 1 only here.")
    assert len(lines) == 4
    assert "→" not in out, "that is what a model does to its input"
