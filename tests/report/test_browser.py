"""The page in a browser: sort, filter, open, play, the other recording at the same place, keys."""

from __future__ import annotations

import base64
import dataclasses
import io
import os
import time
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from kit.audio import speech_like, write_speech
from kit.browser import Browser, program

from audiotool.metrics.rows import Row
from audiotool.metrics.values import Value
from audiotool.report.media import make_media
from audiotool.report.page import write_page
from audiotool.report.page_table import AT_FIRST
from audiotool.report.report import Report, Run

pytestmark = pytest.mark.skipif(program() is None, reason="there is no Chromium here")

NAMES = ["b 2.wav", "<img src=x onerror=document.title='broken'>.wav", "b 10.wav", "a.wav"]
SCORES = [1.5, 3.0, None, 2.0]
ORDER = "[...document.querySelectorAll('#files tbody tr[id]')].filter(r => !r.hidden).map(r => r.id).join()"
HEARD = "document.querySelector('.transport [aria-pressed=true]').dataset.role"
TIME = "parseFloat(document.querySelector('.seek').value)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module", params=["embed", "link"])
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four rows with six seconds of sound; one has no score, one failed."""
    folder = tmp_path_factory.mktemp("page # 1 %41")
    rows = []
    for n, (name, score) in enumerate(zip(NAMES, SCORES, strict=True)):
        paths = [str(write_speech(folder / f"{side} #{n}?.wav", 6.0)) for side in ("in", "out")]
        value = Value(score, None if score else "the reference is silent")
        facts = {"status": "done", "input": paths[0], "output": paths[1], "settings": {"mix": 1.0}}
        rows.append(Row(name, {"pesq": value}, {"pesq": Value(2.0)}, facts))
        rows[-1].media = make_media(rows[-1], request.param == "embed")
    rows.append(Row("bad.wav", facts={"status": "failed"}, notes=["bad.wav is empty"], failed=True))
    path = folder / "page.html"
    write_page(path, Report(rows, Run("audiotool denoise")), request.param)
    return path


@pytest.fixture
def opened(browser: Browser, page: Path) -> Browser:
    browser.open(page)
    return browser


def head(text: str) -> str:
    buttons = "[...document.querySelectorAll('thead button')]"
    return f"{buttons}.find(b => b.textContent.startsWith('{text}')).click()"


def test_sorting_puts_the_worst_first_and_missing_scores_last(opened: Browser) -> None:
    assert opened.run(ORDER) == "r0,r1,r2,r3,r4"
    opened.run(head("pesq"))
    assert opened.run(ORDER) == "r0,r3,r1,r2,r4"
    assert opened.run("document.querySelector('[aria-sort=ascending] button').textContent") == "pesq ↑ MOS"
    opened.run(head("pesq"))
    assert opened.run(ORDER) == "r1,r3,r0,r2,r4"
    opened.run(head("Δ"))
    assert opened.run(ORDER) == "r0,r3,r1,r2,r4"
    # Names count as people do: 2 before 10.
    opened.run(head("file"))
    order = opened.run(ORDER).split(",")
    assert order.index("r0") < order.index("r2")
    assert not opened.complaints()


def test_a_click_anywhere_on_a_row_opens_it(opened: Browser) -> None:
    is_open = "document.querySelector('#r1').classList.contains('opened')"
    opened.click("#r1")
    assert opened.run(is_open)
    opened.click("#r1 td:last-child")
    assert not opened.run(is_open)


def test_filtering(opened: Browser) -> None:
    opened.click("#filter")
    opened.call("Input.insertText", text="B 1")
    assert opened.run(ORDER) == "r2"
    assert opened.run("document.querySelector('#count').textContent") == "1 of 5 files"
    opened.press("Escape")
    assert opened.run(ORDER) == "r0,r1,r2,r3,r4"
    kinds = {"worse": "r0", "remarks": "r2", "failed": "r4", "done": "r0,r1,r2,r3", "": "r0,r1,r2,r3,r4"}
    for kind, found in kinds.items():
        show = f"(s => {{ s.value = '{kind}'; s.dispatchEvent(new Event('change')); }})"
        opened.run(f"{show}(document.querySelector('#show'))")
        assert opened.run(ORDER) == found


def test_a_row_that_the_filter_hides_is_closed_and_silent(opened: Browser) -> None:
    opened.run(
        "(play => { window.heard = []; Audio.prototype.play = function () {"
        " heard.push(this); return play.call(this); }; })(HTMLMediaElement.prototype.play)"
    )
    opened.click("#r1 .open")
    opened.until("document.querySelector('.transport [data-role=output]').disabled === false")
    opened.click(".play")
    opened.until(f"{TIME} > 0.1")
    opened.click("#filter")
    opened.call("Input.insertText", text="zzzz")
    assert opened.run("heard.length > 0 && heard.every((audio) => audio.paused)")
    assert opened.run("document.querySelector('tr.opened')") is None
    opened.press("Escape")
    opened.press("Escape")
    assert opened.run("document.activeElement.id") == "filter"
    assert opened.run("document.querySelector('tr.detail')") is None


def test_rows_that_are_asked_for_with_the_keyboard_get_the_focus(browser: Browser, tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", Report([Row(f"{n}.wav") for n in range(AT_FIRST + 5)]), "none")
    browser.open(tmp_path / "page.html")
    browser.run("document.querySelector('#all').focus()")
    browser.press("Enter")
    assert browser.run("document.activeElement.closest('tr').id") == f"r{AT_FIRST}"


def test_rows_with_remarks_are_marked(opened: Browser) -> None:
    marks = opened.run("[...document.querySelectorAll('td.status')].map(cell => cell.textContent)")
    assert marks == ["done", "done", "done, 1 remark", "done", "failed"]


def test_the_filter_finds_accents_however_they_are_written(browser: Browser, tmp_path: Path) -> None:
    names = [unicodedata.normalize(form, "émile.wav") for form in ("NFC", "NFD")]
    write_page(tmp_path / "page.html", Report([Row(name) for name in names]), "none")
    browser.open(tmp_path / "page.html")
    for name in names:
        browser.run("document.querySelector('#filter').value = ''")
        browser.click("#filter")
        browser.call("Input.insertText", text=name)
        assert browser.run(ORDER) == "r0,r1"


def test_playing_and_the_other_recording_at_the_same_place(opened: Browser) -> None:
    opened.click("#r1 .open")
    opened.until("[...document.querySelectorAll('.lane img')].length == 3")
    opened.until("[...document.querySelectorAll('.lane img')].every(i => i.complete && i.naturalWidth > 100)")
    assert opened.run(HEARD) == "output"
    opened.until("document.querySelector('.transport [data-role=input]').disabled === false")
    opened.click(".play")
    opened.until(f"{TIME} > 0.3")
    asked = time.monotonic()
    before = opened.run(TIME)
    opened.press("a")
    assert opened.run(HEARD) == "input"
    after = opened.run(TIME)
    # A player that goes on elsewhere begins within some hundredths of a second of the place.
    assert before - 0.1 <= after <= before + (time.monotonic() - asked) + 0.1
    opened.press("a")
    assert opened.run(HEARD) == "output"
    opened.press(" ")
    assert opened.run("document.querySelector('.play').textContent") == "Play"
    at = opened.run(TIME)
    opened.press("1")
    assert opened.run(HEARD) == "input"
    assert opened.run(TIME) == pytest.approx(at, abs=0.02)
    opened.press("ArrowRight")
    assert opened.run(TIME) == pytest.approx(min(at + 1, 6), abs=0.02)
    cursor = "document.querySelector('.cursor').getBoundingClientRect().x"
    view = "document.querySelector('.lane .view').getBoundingClientRect()"
    share = opened.run(f"({cursor} - {view}.x) / {view}.width")
    assert share == pytest.approx(opened.run(TIME) / 6, abs=0.02)
    assert not opened.complaints()
    assert opened.run("document.title") == "Denoise, 5 files"


def test_the_keys_are_the_same_after_the_slider(opened: Browser) -> None:
    opened.click("#r1 .open")
    opened.until("document.querySelector('.transport [data-role=output]').disabled === false")
    opened.click(".seek")
    assert opened.run("document.activeElement.className") == "seek"
    at = opened.run(TIME)
    opened.press("ArrowLeft")
    assert opened.run(TIME) == pytest.approx(at - 1, abs=0.02)
    opened.press(" ")
    assert opened.run("document.querySelector('.play').textContent") == "Pause"
    opened.run("document.querySelector('.alike').focus()")
    opened.press(" ")  # a box that is ticked with Space keeps the key
    assert opened.run("document.querySelector('.play').textContent") == "Pause"


def test_an_input_that_is_a_sum_is_the_input(browser: Browser, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    voice = speech_like(3.0, 16000, 2)
    noise = (0.05 * rng.standard_normal(voice.shape)).astype(np.float32)
    paths = [tmp_path / "in.wav", tmp_path / "out.wav"]
    for path, waveform in zip(paths, (voice + noise, voice), strict=True):
        soundfile.write(path, waveform.T, 16000, subtype="FLOAT")
    facts = {"input": str(paths[0]), "output": str(paths[1]), "settings": {"mix": 1.0}}
    row = Row("a", facts=facts)
    row.media = make_media(row, True)
    write_page(tmp_path / "page.html", Report([row], Run("audiotool denoise")), "embed")
    browser.open(tmp_path / "page.html")
    # What the page makes is caught where it gets its address.
    browser.run(
        "(make => { URL.createObjectURL = blob => {"
        " if (blob.type === 'audio/wav') window.made = blob;"
        " return make(blob); }; })(URL.createObjectURL.bind(URL))"
    )
    browser.click("#r0 .open")
    browser.until("document.querySelector('.transport [data-role=input]').disabled === false")
    encoded = browser.run(
        "window.made.arrayBuffer().then(b => btoa([...new Uint8Array(b)].map(c =>"
        " String.fromCharCode(c)).join('')))"
    )
    decoded, rate = soundfile.read(io.BytesIO(base64.b64decode(encoded)))
    assert rate == 16000
    assert decoded.shape[1] == 2
    assert len(decoded) == pytest.approx(48000, abs=200)
    # Browsers differ in a few samples of where a decoded file begins.
    for original, found in zip((voice + noise)[:, 1000:40000], decoded.T, strict=True):
        similarity = [np.corrcoef(found[1000 + n : 40000 + n], original)[0, 1] for n in range(-120, 121)]
        assert max(similarity) > 0.97
        assert found[1000:40000].std() == pytest.approx(original.std(), rel=0.1)
    browser.press("1")
    assert browser.run(HEARD) == "input"
    browser.click(".play")
    browser.until(f"{TIME} > 0.3")
    assert not browser.complaints()


def test_a_page_whose_recordings_are_gone_says_so(browser: Browser, tmp_path: Path) -> None:
    paths = [write_speech(tmp_path / f"{side}.wav", 1.0) for side in ("in", "out")]
    row = Row("a", facts={"input": str(paths[0]), "output": str(paths[1])})
    row.media = make_media(row, False)
    write_page(tmp_path / "page.html", Report([row]), "link")
    paths[1].unlink()
    browser.open(tmp_path / "page.html")
    browser.click("#r0 .open")
    trouble = "document.querySelector('.trouble').textContent"
    browser.until(f"{trouble}.includes('out.wav')")
    assert "in.wav" not in browser.run(trouble)
    assert "--report-audio embed" in browser.run(trouble)
    assert browser.run("document.querySelector('.play').disabled")
    assert browser.run("document.querySelector('.transport [data-role=output]').disabled")
    # The other one is there.
    browser.press("1")
    assert browser.run(HEARD) == "input"
    assert not browser.run("document.querySelector('.play').disabled")
    browser.click(".play")
    browser.until(f"{TIME} > 0.1")


@pytest.mark.parametrize(
    ("gains", "shown"), [((20.0, -40.0), ["0", "-40", "20"]), ((0.2, -20.0), ["0", "-20"])]
)
def test_the_gain_has_labels_where_they_do_not_touch(
    browser: Browser, tmp_path: Path, gains: tuple[float, ...], shown: list[str]
) -> None:
    path = str(write_speech(tmp_path / "in.wav", 1.0))
    row = Row("a", facts={"input": path, "output": path})
    media = make_media(row, False)
    assert media is not None
    row.media = dataclasses.replace(media, gain_db=gains)
    write_page(tmp_path / "page.html", Report([row]), "none")
    browser.open(tmp_path / "page.html")
    browser.click("#r0 .open")
    labels = "[...document.querySelectorAll('{} span')].map(each => each.textContent)"
    assert browser.run(labels.format(".lane.gain .ticks")) == shown
    assert browser.run(labels.format(".lane .ticks"))[:2] == ["500 Hz", "1 kHz"]
    assert browser.run(labels.format(".lane.times .view"))[1] == "0.2 s"
    assert "colours: 80 dB" in browser.run("document.querySelector('.lane.times').textContent")
    assert "dBFS" in browser.run("document.querySelector('.lane .name').textContent")


def test_a_click_into_a_picture_goes_there(opened: Browser) -> None:
    opened.click("#r0 .open")
    opened.until("document.querySelector('.transport [data-role=input]').disabled === false")
    opened.click(".lane:nth-child(1) .view")
    assert opened.run(TIME) == pytest.approx(3, abs=0.1)
    assert opened.run(HEARD) == "input"


def test_the_keyboard_alone(opened: Browser) -> None:
    opened.press("j")
    assert opened.run("document.querySelector('tr.opened').id") == "r0"
    opened.press("j")
    opened.press("j")
    opened.press("k")
    assert opened.run("document.querySelectorAll('tr.opened').length") == 1
    assert opened.run("document.querySelector('tr.opened').id") == "r1"
    opened.press("Escape")
    assert opened.run("document.querySelector('tr.detail')") is None
    assert opened.run("document.activeElement.closest('tr').id") == "r1"
    opened.press("Enter")
    assert opened.run("document.querySelector('#r1 .open').getAttribute('aria-expanded')") == "true"
    opened.press("/")
    assert opened.run("document.activeElement.id") == "filter"


def test_a_failed_row_has_its_reason(opened: Browser) -> None:
    opened.click("#r4 .open")
    assert "bad.wav is empty" in opened.run("document.querySelector('tr.detail').textContent")
    opened.click("#r2 .open")
    assert "the reference is silent" in opened.run("document.querySelector('tr.detail').textContent")


def test_every_control_has_a_name(opened: Browser) -> None:
    opened.click("#r0 .open")
    nodes = opened.call("Accessibility.getFullAXTree")["nodes"]
    kinds = {
        "button",
        "slider",
        "searchbox",
        "combobox",
        "checkbox",
        "img",
        "image",
        "columnheader",
        "rowheader",
    }
    named = [(n["role"]["value"], n.get("name", {}).get("value")) for n in nodes if "role" in n]
    assert not [role for role, name in named if role in kinds and not name]
    assert ("slider", "Position") in named


def test_print_has_every_column_and_every_reason(browser: Browser, tmp_path: Path) -> None:
    names = [f"a_long_name_of_a_score_{n}" for n in range(30)]
    scores = {name: Value(-12.345) for name in names}
    rows = [Row("a.wav", scores, scores, {"status": "done", "seconds": 3.0})]
    for n in range(12):
        rows.append(Row(f"{n}.wav", facts={"status": "failed"}, notes=[f"reason {n}"], failed=True))
    write_page(tmp_path / "page.html", Report(rows), "none")
    browser.open(tmp_path / "page.html")
    reason = "document.querySelector('.failures li:last-child')"
    assert not browser.run(f"{reason}.checkVisibility()")
    browser.call("Emulation.setEmulatedMedia", media="print")
    browser.resize(1000, 700)  # a page on its side, less the margins
    try:
        assert browser.run("document.documentElement.scrollWidth") == 1000
        assert browser.run(f"{reason}.checkVisibility()")
    finally:
        browser.call("Emulation.setEmulatedMedia", media="")
        browser.call("Emulation.clearDeviceMetricsOverride")


def test_it_prints_and_turns_dark(opened: Browser) -> None:
    assert opened.pdf().startswith(b"%PDF")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = opened.run(ground)
    opened.click("#theme")
    dark = opened.run(ground)
    # The switch is named after what it does: it is no state that is on or off.
    assert opened.run("document.querySelector('#theme').textContent") == "Light"
    assert opened.run("document.querySelector('#theme').ariaPressed") is None
    opened.click("#theme")
    assert opened.run(ground) == light
    assert sum(map(int, light[4:-1].split(","))) > 700
    assert sum(map(int, dark[4:-1].split(","))) < 100


def test_the_kit_ends_its_browser(tmp_path: Path) -> None:
    with Browser(tmp_path) as browser:
        process = browser._process
    assert process.returncode is not None
    with pytest.raises(OSError, match="No such process"):
        os.kill(process.pid, 0)


def test_hours_are_counted(browser: Browser, tmp_path: Path) -> None:
    row = Row("a", facts={"input": str(write_speech(tmp_path / "a.wav", 1.0))})
    media = make_media(row, False)
    assert media is not None
    for hours, ticks in ((0.5, "5:00"), (3, "1:00:00"), (20, "6:00:00"), (90, "24:00:00")):
        clips = tuple(replace(clip, seconds=hours * 3600.0) for clip in media.clips)
        row.media = replace(media, clips=clips)
        write_page(tmp_path / "page.html", Report([row], Run("audiotool denoise")), "none")
        browser.open(tmp_path / "page.html")
        browser.click("#r0 .open")
        found = browser.run("[...document.querySelectorAll('.times span')].map(e => e.textContent).join(' ')")
        assert found.split()[0] == "0:00"
        assert ticks in found.split()
