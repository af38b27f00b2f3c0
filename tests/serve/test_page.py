"""The server's page in a browser whose microphone plays a file."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from kit.audio import write_speech
from kit.browser import Browser, program

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")

from kit.server import Running

from audiotool.serve.service import Call

pytestmark = pytest.mark.skipif(program() is None, reason="there is no Chromium here")

STATE = "document.querySelector('#state').textContent"


def seconds_cleaned(browser: Browser) -> float:
    return float(browser.run(f"parseFloat({STATE}) || 0"))


def test_the_microphone_is_played_cleaned(tmp_path: Path) -> None:
    sound = write_speech(tmp_path / "speech.wav", 4.0, sample_rate=48000)
    options = (
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={sound}",
    )
    running = Running()
    assert running.service is not None
    try:
        with Browser(tmp_path / "profile", options=options) as browser:
            browser.visit(f"http://127.0.0.1:{running.port}/")
            browser.click("#start")
            browser.until(f"parseFloat({STATE}) > 1")
            assert "the model lags by" in browser.run(STATE)
            assert len(running.service.calls) == 1
            (call,) = running.service.calls
            assert call.stream.settings.mix == 1.0
            loudest = -60.0
            for _ in range(60):
                levels = "['before', 'after'].map(id => document.getElementById(id).value)"
                before, after = browser.run(levels)
                loudest = max(loudest, min(before, after))
                time.sleep(0.05)
            assert loudest > -45  # speech goes in and comes out
            browser.click("#bypass")
            browser.until("document.querySelector('#bypass').checked")
            until_mix(call, 0.0)
            assert 0 <= call.samples_in - call.samples_out < 3 * call.stream.session.sample_rate
            browser.screenshot(tmp_path / "page.png")
            browser.click("#stop")
            browser.until(f"{STATE}.startsWith('Done: ')")
            others = [told for told in browser.complaints() if f"127.0.0.1:{running.port}/" not in told]
            assert not others
        assert not running.service.calls
        assert (tmp_path / "page.png").stat().st_size > 1000
    finally:
        running.stop()


def until_mix(call: Call, mix: float) -> None:
    for _ in range(300):
        if call.stream.settings.mix == mix:
            return
        time.sleep(0.05)
    raise AssertionError("the setting did not come")


def test_a_browser_without_a_microphone_says_so(tmp_path: Path) -> None:
    running = Running()
    try:
        with Browser(tmp_path / "profile") as browser:
            browser.visit(f"http://127.0.0.1:{running.port}/")
            browser.click("#start")
            browser.until(f"{STATE}.startsWith('No microphone: ')")
            assert not browser.run("document.querySelector('#start').disabled")
    finally:
        running.stop()
