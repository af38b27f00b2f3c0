"""The page: complete by itself, of a bounded size, and not to be broken by what it shows."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from kit.audio import write_speech

from audiotool.errors import InputError
from audiotool.metrics.rows import Row
from audiotool.metrics.values import Value
from audiotool.report import page
from audiotool.report.markup import element, relative_url
from audiotool.report.media import make_media
from audiotool.report.page import files_folder, write_page
from audiotool.report.report import Report, Run

HOSTILE = [
    "\"quoted\" 'twice' <b>.wav",
    "<script>alert(1)</script>.wav",
    "</script><script>alert(1)</script>",
    "<!--<script>.wav",
    "new\nline\r.wav",
    "\u202egnp.wav",
    "Gäste 東京 🎤.wav",
    os.fsdecode(b"caf\xe9.wav"),
    "a&amp;b %41 #x ?y=1.wav",
    "javascript:alert(1).wav",
    '" onclick="alert(1)',
]


class Reader(HTMLParser):
    """The contents of a page for a browser."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.blocks: dict[str, Any] = {}
        self.scripts: list[str] = []
        self.styles = ""
        self._open: tuple[str, dict[str, str | None]] | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = (tag, dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        self._open = None

    def handle_data(self, data: str) -> None:
        tag, attributes = self._open or ("", {})
        if tag == "script" and attributes.get("type") == "application/json":
            self.blocks[str(attributes["id"])] = json.loads(data)
        elif tag == "script":
            self.scripts.append(data)
        else:
            self.texts.append(data)


def read_page(path: Path) -> Reader:
    return Reader(path.read_text(encoding="utf-8"))


@pytest.fixture
def shown(tmp_path: Path) -> Row:
    """A row with recordings and pictures."""
    paths = [str(write_speech(tmp_path / f"{name}.wav", 0.4)) for name in ("in", "out")]
    facts = {
        "status": "done",
        "input": paths[0],
        "output": paths[1],
        "settings": {"mix": 1.0},
        "seconds": 0.4,
        "peak": 0.5,
    }
    row = Row("a.wav", {"pesq": Value(2.5)}, {"pesq": Value(1.5)}, facts)
    row.media = make_media(row, sound=False)
    return row


def test_hostile_names_are_text_and_nothing_else(tmp_path: Path, shown: Row) -> None:
    rows = [dataclasses.replace(shown, name=name, notes=[name]) for name in HOSTILE]
    rows.append(Row(HOSTILE[1], facts={"status": "failed"}, notes=HOSTILE, failed=True))
    bad = HOSTILE[1]
    run = Run(HOSTILE[2], bad, 1.0, bad, "1", bad, bad, bad, {"<b>": bad})
    write_page(tmp_path / "page.html", Report(rows, run), "link")
    found = read_page(tmp_path / "page.html")
    kinds = [attributes.get("type") for tag, attributes in found.tags if tag == "script"]
    assert kinds == ["application/json"] * len(rows) + [None]
    assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on")]
    assert "alert(1)" not in found.scripts[0]
    assert [found.blocks[f"m{n}"]["notes"] for n in range(2)] == [[HOSTILE[0]], [HOSTILE[1]]]
    text = "".join(found.texts)
    assert "<script>alert(1)</script>.wav" in text
    assert "caf\\xe9.wav" in text
    assert "\\u202egnp.wav" in text
    assert "new line .wav" in text


def test_the_policy_lets_this_script_run_alone(tmp_path: Path, shown: Row) -> None:
    write_page(tmp_path / "page.html", Report([shown]), "none")
    found = read_page(tmp_path / "page.html")
    [policy] = [a["content"] for tag, a in found.tags if a.get("http-equiv") == "Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(found.scripts[-1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in str(policy)
    assert "default-src 'none'" in str(policy)
    text = (tmp_path / "page.html").read_text()
    assert not re.search(r"(?:src|href)=\"?https?:|url\(|@import", text)


@pytest.mark.parametrize("name", [name for name in HOSTILE if "/" not in name])
def test_addresses_are_percent_encoded_and_lead_to_the_file(tmp_path: Path, name: str) -> None:
    file = tmp_path / "sub folder" / name
    address = relative_url(file, tmp_path / "pages")
    assert re.fullmatch(r"[A-Za-z0-9._~/%-]+", address)
    assert ":" not in address
    there = os.path.normpath(os.fsencode(tmp_path / "pages") + b"/" + unquote_to_bytes(address))
    assert there == os.fsencode(file)


def test_attributes_are_escaped() -> None:
    made = element("td", "a<b", title="\"'><script>", data_v=1.5, hidden=True, class_=None, open=False)
    assert made == '<td title="&quot;&#x27;&gt;&lt;script&gt;" data-v="1.5" hidden>a&lt;b</td>'


def test_sound_in_the_page_in_the_files_or_nowhere(tmp_path: Path, shown: Row) -> None:
    path = tmp_path / "pages" / "page.html"
    embedded = dataclasses.replace(shown)
    embedded.media = make_media(shown, sound=True)
    write_page(path, Report([embedded]), "embed")
    first, second, removed = read_page(path).blocks["m0"]["clips"]
    assert (first["sound"], first["sum"], first["rate"]) == (None, True, 16000)
    assert second["sound"].startswith("data:audio/ogg;base64,T2dnUw")
    assert removed["sound"].startswith("data:audio/ogg")
    assert first["picture"].startswith("data:image/png;base64,")
    write_page(path, Report([shown]), "link")
    first, second, removed = read_page(path).blocks["m0"]["clips"]
    assert (first["sound"], second["sound"], removed["sound"]) == ("../in.wav", "../out.wav", None)
    write_page(path, Report([shown]), "none")
    assert [clip["sound"] for clip in read_page(path).blocks["m0"]["clips"]] == [None] * 3
    assert [p.name for p in path.parent.iterdir()] == ["page.html"]


def test_many_pictures_lie_beside_the_page_and_old_ones_go(
    tmp_path: Path, shown: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "EMBEDDED_PICTURES", 100)
    path = tmp_path / "my page.html"
    folder = files_folder(path)
    folder.mkdir()
    (folder / f"{'0' * 24}.png").write_bytes(b"of an earlier page")
    (folder / "mine.txt").write_text("a user's")
    write_page(path, Report([shown, shown]), "link")
    addresses = [clip["picture"] for clip in read_page(path).blocks["m1"]["clips"]]
    assert all(address.startswith("my%20page_files/") for address in addresses)
    pictures = {os.fsdecode(unquote_to_bytes(address)) for address in addresses}
    there = {str(p.relative_to(tmp_path)) for p in folder.iterdir()}
    assert there == {*pictures, "my page_files/mine.txt"}
    assert all((tmp_path / p).read_bytes().startswith(b"\x89PNG") for p in pictures)


def test_a_thousand_rows_stay_below_5_mb_without_sound(tmp_path: Path, shown: Row) -> None:
    scores = {name: Value(1.234567) for name in ("pesq", "stoi", "si_sdr", "estoi")}
    rows = [
        dataclasses.replace(shown, name=f"speaker {n % 7}/take {n:04d}.wav", values=scores, baseline=scores)
        for n in range(1000)
    ]
    for row in rows:
        row.media = shown.media
    path = tmp_path / "page.html"
    write_page(path, Report(rows), "link")
    assert path.stat().st_size < 5_000_000
    found = read_page(path)
    assert len(found.blocks) == 1000
    assert sum(tag == "tr" for tag, _ in found.tags) == 1001
    # A file that ends early would end here.
    assert path.read_text().endswith("</html>\n")


def test_no_files_and_failures_alone(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_page(path, Report([]), "embed")
    assert "No files." in "".join(read_page(path).texts)
    failed = [Row(f"{n}.wav", facts={"status": "failed"}, notes=[f"{n}.wav: it is empty"]) for n in "ab"]
    scored = Row("c.wav", {"pesq": Value(None, "no such file")}, failed=True)
    write_page(path, Report([*failed, scored]), "embed")
    text = "".join(read_page(path).texts)
    assert "3 of 3 failed" in text
    assert "a.wav it is empty" in text
    assert "c.wav no such file" in text


def test_a_failure_names_its_input_once(tmp_path: Path) -> None:
    def failed(name: str, note: str) -> Row:
        return Row(name, facts={"status": "failed", "input": f"/data/w/{name}"}, notes=[note], failed=True)

    rows = [
        failed("broken.wav", "w/broken.wav cannot be read as audio"),
        failed("b/empty.wav", "/data/w/b/empty.wav: it is empty"),
        failed("full.wav", "cannot write out/full.wav: the disk is full"),
        failed("cut.wav", "cut.wav.part cannot be renamed"),
        failed("", "nothing is known"),
    ]
    write_page(tmp_path / "page.html", Report(rows), "none")
    text = "".join(read_page(tmp_path / "page.html").texts)
    assert "broken.wav cannot be read as audio" in text
    assert "w/broken.wav cannot" not in text
    assert "b/empty.wav it is empty" in text
    assert "full.wav cannot write out/full.wav: the disk is full" in text
    assert "cut.wav cut.wav.part cannot be renamed" in text
    assert "nothing is known" in text


def test_worse_scores_have_more_than_a_colour(tmp_path: Path) -> None:
    row = Row("a", {"pesq": Value(1.5), "lsd": Value(2.0)}, {"pesq": Value(2.0), "lsd": Value(1.0)})
    better = Row("b", {"pesq": Value(2.5), "lsd": Value(0.5)}, {"pesq": Value(2.0), "lsd": Value(1.0)})
    write_page(tmp_path / "page.html", Report([row, better]), "none")
    found = read_page(tmp_path / "page.html")
    assert [text.strip() for text in found.texts if "▼" in text] == ["-0.500 ▼", "+1.000 ▼"]
    assert [text.strip() for text in found.texts if "▲" in text] == ["+0.500 ▲", "-0.500 ▲"]
    lines = [attributes for tag, attributes in found.tags if attributes.get("id") in ("r0", "r1")]
    assert ["data-worse" in line for line in lines] == [True, False]


def test_changes_have_the_digits_of_their_scores_and_no_minus_zero(tmp_path: Path) -> None:
    pairs = {"lost": (0.95, 0.9488), "same": (0.95, 0.9498), "beyond": (18.85, 19.1)}
    rows = [Row(name, {"stoi": Value(b)}, {"stoi": Value(a)}) for name, (a, b) in pairs.items()]
    write_page(tmp_path / "page.html", Report(rows), "none")
    texts = [text.strip() for text in read_page(tmp_path / "page.html").texts]
    assert {"-0.001 ▼", "+0.000", "+0.250 ▲", "19.100"} <= set(texts)
    assert not [text for text in texts if text.startswith("-0.000")]


def test_both_sides_of_means_are_over_the_same_files(tmp_path: Path) -> None:
    rows = [Row(f"{n}", {"pesq": Value(3.0)}, {"pesq": Value(3.0)}) for n in range(3)]
    rows.append(Row("muted", {"pesq": Value(None, "the estimate is silent")}, {"pesq": Value(1.0)}))
    write_page(tmp_path / "page.html", Report(rows), "none")
    text = "".join(read_page(tmp_path / "page.html").texts)
    assert "3.000from 3.000, 3 of 4" in text
    assert "mean 3.000 → 3.000, 3 of 4 files" in text


def test_only_what_was_processed_has_a_speed(tmp_path: Path) -> None:
    def texts(*facts: dict[str, object]) -> list[str]:
        rows = [Row(f"{n}", facts={"status": "done", **of_row}) for n, of_row in enumerate(facts)]
        write_page(tmp_path / "page.html", Report(rows, Run("audiotool", elapsed_s=1.5)), "none")
        return read_page(tmp_path / "page.html").texts

    scored = texts({"seconds": 3.0}, {"seconds": 9.0})
    assert scored[scored.index("took") + 1] == "1.5 s"
    assert "x real time" not in scored
    # 3 s took 0.5 s, and 9 s took 4.5 s; the run's time has the scores, too.
    made = texts({"seconds": 3.0, "real_time_factor": 6.0}, {"seconds": 9.0, "real_time_factor": 2.0})
    assert made[made.index("x real time") + 1] == "2.4"


def test_a_row_of_several_outputs_has_no_level_or_peak_of_its_own(tmp_path: Path, shown: Row) -> None:
    def heads(row: Row) -> set[str]:
        row.media = make_media(row, sound=False)
        write_page(tmp_path / "page.html", Report([row]), "none")
        return {text.strip() for text in read_page(tmp_path / "page.html").texts}

    places = {name: shown.facts[name] for name in ("input", "output")}
    assert {"level dB", "peak", "length"} <= heads(Row("a", facts=places))
    several = heads(Row("a", facts={**places, "output": [places["output"]] * 2}))
    assert {"level dB", "peak"}.isdisjoint(several)
    assert "length" in several


def test_peaks_are_those_before_limiting_and_have_digits_however_quiet(tmp_path: Path) -> None:
    rows = [Row("a", facts={"peak": 1.248, "limited": 7}), Row("b", facts={"peak": 0.000123})]
    write_page(tmp_path / "page.html", Report(rows), "none")
    found = read_page(tmp_path / "page.html")
    assert {"1.248", "0.000123"} <= {text.strip() for text in found.texts}
    titles = [attributes.get("title") for _, attributes in found.tags]
    assert "Greatest sample of the output before limiting; 1 is full scale" in titles


def test_a_failed_write_keeps_the_earlier_page(
    tmp_path: Path, shown: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "page.html"
    path.write_text("earlier")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match="the disk is full"):
        write_page(path, Report([shown]), "none")
    assert path.read_text() == "earlier"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "much", [1], {"a": 1}])
def test_facts_of_any_kind_make_a_page(tmp_path: Path, value: object) -> None:
    names = ("seconds", "sample_rate", "channels", "peak", "limited", "real_time_factor", "status", "input")
    write_page(tmp_path / "page.html", Report([Row("a", facts=dict.fromkeys(names, value))]), "none")
    assert read_page(tmp_path / "page.html").blocks["m0"] == {"notes": []}


@pytest.mark.parametrize(
    ("top_hz", "labels"),
    [
        (8000, ["500 Hz", "1 kHz", "2 kHz", "4 kHz"]),
        (24000, ["1 kHz", "2 kHz", "4 kHz", "8 kHz", "16 kHz"]),
        (48000, ["500 Hz", "2 kHz", "4 kHz", "8 kHz", "16 kHz", "32 kHz"]),
    ],
)
def test_labels_of_frequencies_do_not_overlap(top_hz: int, labels: list[str]) -> None:
    found = page._ticks(top_hz)
    assert [label for label, _ in found] == labels
    # Lowest spectrogram of page.css: 7.5 rem, of which 96 of 129 rows are the spectrogram.
    assert all(after - before >= 0.7 / (7.5 * 96 / 129) for (_, before), (_, after) in pairwise(found))
