"""Two systems on the same files: paired differences, in every format that shows them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from audiotool.errors import InputError
from audiotool.metrics.rows import REFERENCE_RATE, Row, of_one_file
from audiotool.metrics.values import Value
from audiotool.report import comparison
from audiotool.report.comparison import bootstrap_interval, compare
from audiotool.report.json_document import read_json_report
from audiotool.report.report import Report
from audiotool.report.write import write_reports

pytestmark = pytest.mark.fast

OTHERS = [
    Row("a", {"pesq": Value(1.5), "lsd": Value(2.0), "loudness": Value(-20.0)}),
    Row("b.wav", {"pesq": Value(2.0), "lsd": Value(3.0), "loudness": Value(-21.0)}),
    Row("c", {"pesq": Value(None, "silent"), "lsd": Value(1.0)}),
    Row("only there", {"pesq": Value(4.5)}),
]
ROWS = [
    Row("b", {"pesq": Value(2.5), "lsd": Value(3.0001), "loudness": Value(-20.0), "stoi": Value(0.9)}),
    Row("a.wav", {"pesq": Value(1.0), "lsd": Value(1.0), "loudness": Value(-20.0), "stoi": Value(0.8)}),
    Row("c", {"pesq": Value(3.0), "lsd": Value(2.0)}),
    Row("d", {"pesq": Value(1.0)}),
    Row("e", {"pesq": Value(1.0)}),
]


def test_files_are_paired_by_their_names() -> None:
    found = compare(ROWS, OTHERS, "old/other.json")
    assert (found.against, found.files, found.only_this, found.only_other) == ("old/other.json", 3, 2, 1)
    assert list(found.metrics) == ["pesq", "lsd", "loudness"], "of stoi no file has two numbers"
    pesq, lsd, loudness = found.metrics.values()
    assert (pesq.n, pesq.mean_other, pesq.mean, pesq.difference) == (2, 1.75, 1.75, 0.0)
    assert (pesq.wins, pesq.losses) == (1, 1)
    assert lsd.n == 3
    assert lsd.difference == pytest.approx(0.0, abs=1e-4)
    assert (lsd.wins, lsd.losses) == (1, 1), "less is better, and three equal decimals are a tie"
    assert (loudness.n, loudness.difference, loudness.wins, loudness.losses) == (2, 0.5, None, None)


def test_names_that_differ_in_their_endings_are_paired_where_that_is_certain() -> None:
    def names(first: list[str], second: list[str]) -> list[tuple[str, str]]:
        pairs = of_one_file([Row(name) for name in first], [Row(name) for name in second])
        return [(other.name, row.name) for other, row in pairs]

    both = ["a.wav", "a.flac", "b.wav"]
    assert names(both, both) == [(name, name) for name in both]
    assert names(["a.wav", "b.wav"], ["a.flac", "b.wav"]) == [("a.wav", "a.flac"), ("b.wav", "b.wav")]
    assert names(["a.wav"], ["a.wav", "a.flac"]) == [("a.wav", "a.wav")]
    assert names(["a.wav", "a.flac"], ["a.ogg"]) == names(["a.ogg"], ["a.wav", "a.flac"]) == []


def stem(name: str, mixture: str, speaker: str, reference: str = "") -> Row:
    facts = {"mixture": mixture, "stem": speaker, **({"reference": reference} if reference else {})}
    return Row(name, facts=facts)


def paired(first: list[Row], second: list[Row]) -> list[tuple[str, str]]:
    return [(other.name, row.name) for other, row in of_one_file(first, second)]


def test_stems_are_paired_whatever_file_each_system_has_for_them() -> None:
    batch = [stem("m.wav: m.speaker2.wav", "m", "speaker1"), stem("m.wav: m.speaker1.wav", "m", "speaker2")]
    kept = [stem("m.speaker1", "m", "speaker1"), stem("m.speaker2", "m", "speaker2")]
    swapped = [
        stem("m.speaker1: m.speaker2.wav", "m", "speaker1"),
        stem("m.speaker2: m.speaker1.wav", "m", "speaker2"),
    ]
    for first in (batch, kept, swapped):
        for second in (batch, kept, swapped):
            found = of_one_file(first, second)
            assert [(a.facts["stem"], b.facts["stem"]) for a, b in found] == [
                ("speaker1",) * 2,
                ("speaker2",) * 2,
            ]
    # The names of a batch's rows say the output, which another run may have for the other speaker.
    other = [stem("m.wav: m.speaker1.wav", "m", "speaker1"), stem("m.wav: m.speaker2.wav", "m", "speaker2")]
    assert paired(batch, other) == [
        ("m.wav: m.speaker2.wav", "m.wav: m.speaker1.wav"),
        ("m.wav: m.speaker1.wav", "m.wav: m.speaker2.wav"),
    ]
    # Reports of 0.2 have no stems, but references.
    former = [Row(row.name, facts={"reference": f"clean/{row.facts['stem']}.wav"}) for row in batch]
    now = [stem(row.name, "m", row.facts["stem"], f"clean/{row.facts['stem']}.wav") for row in other]
    assert paired(former, now) == paired(batch, other)
    assert paired([Row("m.speaker1"), Row("m.speaker2")], kept) == [(row.name, row.name) for row in kept]


def test_files_of_other_names_are_paired_by_their_only_reference_or_input() -> None:
    def rows(folder: str, **facts: str) -> list[Row]:
        return [
            Row(f"{folder}/{name}.wav", facts={fact: f"{place}/{name}.wav" for fact, place in facts.items()})
            for name in ("a", "b")
        ]

    names = [("one/a.wav", "two/a.wav"), ("one/b.wav", "two/b.wav")]
    for facts in ({"reference": "clean"}, {"noisy": "in"}, {"reference": "clean", "noisy": "in"}):
        assert paired(rows("one", **facts), rows("two", **facts)) == names
    # A task's reports call the unprocessed version their input.
    assert paired(rows("one", input="in"), rows("two", noisy="in")) == names
    assert paired(rows("one", reference="clean"), rows("two", noisy="clean")) == []
    # One reference in two levels of noise, and two references of one mixture.
    assert (
        paired(rows("one", reference="clean", input="0dB"), rows("two", reference="clean", noisy="5dB")) == []
    )
    assert paired(rows("one", reference="left", noisy="in"), rows("two", reference="right", noisy="in")) == []
    twice = [Row(f"one/{level}.wav", facts={"reference": "clean.wav"}) for level in (0, 5)]
    assert paired(twice, [Row("two/0.wav", facts={"reference": "clean.wav"})]) == []


def test_paths_are_compared_however_they_are_spelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    first = [Row("x", facts={"reference": f"clean/{name}.wav"}) for name in "ab"]
    second = [
        Row("1", facts={"reference": str(tmp_path / "clean" / "b.wav")}),
        Row("2", facts={"reference": "link/clean/../clean/a.wav"}),
        Row("3", facts={"reference": "clean/\0.wav"}),
    ]
    assert of_one_file(first, second) == [(first[1], second[0]), (first[0], second[1])]


def test_the_interval_is_that_of_a_paired_bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).normal(0.3, 0.5, 200)
    interval = bootstrap_interval(values)
    assert interval is not None
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert interval == pytest.approx((values.mean() - half, values.mean() + half), abs=0.008)
    assert bootstrap_interval(values) == interval, "the seed is fixed"
    monkeypatch.setattr(comparison, "AT_ONCE", 1000)
    assert bootstrap_interval(values) == interval, "drawn in blocks"
    assert bootstrap_interval(values[:1]) is None
    assert bootstrap_interval(np.full(5, 0.25)) == (0.25, 0.25)


def test_every_format_shows_it_and_json_keeps_it(tmp_path: Path) -> None:
    found = compare(ROWS, OTHERS, "<b>|other|.json")
    report = Report(ROWS, comparison=found)
    write_reports([tmp_path / f"r.{ending}" for ending in ("json", "md", "html")], report)
    document = json.loads((tmp_path / "r.json").read_text())["comparison"]
    assert document["against"] == "<b>|other|.json"
    assert document["metrics"]["loudness"] == {
        "n": 2,
        "mean_other": -20.5,
        "mean": -20.0,
        "difference": 0.5,
        "interval_95": [0.0, 1.0],
        "wins": None,
        "losses": None,
    }
    assert read_json_report(tmp_path / "r.json").comparison == found
    text = (tmp_path / "r.md").read_text()
    assert "## This system against \\<b\\>\\|other\\|.json" in text
    assert "3 files in both reports, 2 only here, 1 only there." in text
    assert "| pesq ↑ MOS | 2 | 1.750 | 1.750 | +0.000 | -0.500 to +0.500 | 1 | 1 |" in text
    page = (tmp_path / "r.html").read_text()
    assert "This system against &lt;b&gt;|other|.json" in page
    assert "<td>-0.500 to +0.500</td>" in page


def test_narrow_band_and_wide_band_numbers_are_not_compared(tmp_path: Path) -> None:
    def rows(pesq: float, *rates: int) -> list[Row]:
        scores = {"pesq": Value(pesq), "stoi": Value(0.9)}
        return [Row(str(n), scores, facts={REFERENCE_RATE: rate}) for n, rate in enumerate(rates)]

    found = compare(rows(2.0, 16000, 16000), rows(3.0, 8000, 48000), "other.json")
    assert (found.metrics["pesq"].n, found.metrics["stoi"].n) == (1, 2)
    assert found.two_bands == {"pesq": 1}
    assert "narrow-band and one wide-band: pesq of 1. Difference" in found.remark
    write_reports([tmp_path / "r.json"], Report(ROWS, comparison=found))
    assert read_json_report(tmp_path / "r.json").comparison == found
    nothing = compare(rows(2.0, 16000), rows(3.0, 8000), "other.json")
    assert list(nothing.metrics) == ["stoi"]


def test_one_file_and_no_numbers_make_reports(tmp_path: Path) -> None:
    for rows in (ROWS[:1], [Row("a", {"pesq": Value(None, "silent")})]):
        found = compare(rows, OTHERS, "other.csv")
        write_reports([tmp_path / f"r.{e}" for e in ("json", "md", "html")], Report(rows, comparison=found))
        assert read_json_report(tmp_path / "r.json").comparison == found
        assert "1 file in both reports" in (tmp_path / "r.md").read_text()
    assert found.metrics == {}


@pytest.mark.parametrize("interval", ["[0.1]", "3", '["a", "b"]', "[NaN, 1]"])
def test_comparisons_that_are_none_are_refused(tmp_path: Path, interval: str) -> None:
    scores = f'{{"n": 1, "mean": 1, "mean_other": 1, "difference": 0, "interval_95": {interval}'
    metrics = f'{{"pesq": {scores}, "wins": 1, "losses": 0}}}}'
    counts = '"against": "x", "files": 1, "only_this": 0, "only_other": 0'
    document = f'{{"files": [], "summary": {{}}, "comparison": {{{counts}, "metrics": {metrics}}}}}'
    (tmp_path / "r.json").write_text(document)
    with pytest.raises(InputError, match="is no report"):
        read_json_report(tmp_path / "r.json")
    (tmp_path / "r.json").write_text(document.replace(interval, "[0, 1]"))
    assert read_json_report(tmp_path / "r.json").comparison is not None
