"""The server's page in a browser whose microphone plays a file."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from kit.audio import write_speech
from kit.browser import Browser, program
from kit.patience import PATIENCE, wait_until

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")

from kit.server import Running

from audiotool.serve.service import Call, Service

pytestmark = pytest.mark.skipif(program() is None, reason="there is no Chromium here")

STATE = "document.querySelector('#state').textContent"
SO_FAR = "document.querySelector('#so-far').textContent"
FOCUSED = "document.activeElement.id"

NOTE_TIMES = """(() => {
  window.times = {};
  const [context] = running.contexts, close = context.close.bind(context);
  context.close = () => { times.closed = performance.now(); return close(); };
  const note = () => { if (!document.querySelector('#start').disabled) times.done ??= performance.now(); };
  new MutationObserver(note).observe(document.body, { attributes: true, subtree: true });
})()"""
"""Script that notes when the call is done and when its sound is switched off, in milliseconds."""

WAIT_LONG = "(set => { window.setTimeout = (f, ms) => set(f, ms < 3000 ? ms : 200 * ms); })(setTimeout)"
"""Script with which the page waits for the rest of a call from a busy server for minutes."""


def test_the_microphone_is_played_cleaned(tmp_path: Path) -> None:
    sound = write_speech(tmp_path / "speech.wav", 4.0, sample_rate=48000)
    options = (
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={sound}",
    )
    with Running() as running:
        assert running.service is not None
        with Browser(tmp_path / "profile", options=options) as browser:
            browser.visit(f"http://127.0.0.1:{running.port}/")
            browser.click("#start")
            browser.until(f"parseFloat({SO_FAR}) > 1")
            assert "the model lags by" in browser.run(SO_FAR)
            # A status is read aloud at every change.
            assert browser.run(STATE) == "Running."
            assert browser.run(FOCUSED) == "stop"
            assert len(running.service.calls) == 1
            (call,) = running.service.calls
            assert call.stream.settings.mix == 1.0
            # Speech goes in and comes out.
            browser.until("['before', 'after'].every(id => document.getElementById(id).value > -45)")
            browser.click("#bypass")
            browser.until("document.querySelector('#bypass').checked")
            wait_until(lambda: call.stream.settings.mix == 0.0)
            wait_until(lambda: 0 <= call.samples_in - call.samples_out < 3 * call.stream.session.sample_rate)
            browser.screenshot(tmp_path / "page.png")
            browser.run(NOTE_TIMES)
            browser.run(WAIT_LONG)
            browser.click("#stop")
            browser.until(f"{STATE}.startsWith('Done: ')")
            assert browser.run(FOCUSED) == "start"
            assert browser.run(SO_FAR) == ""
            browser.until("times.closed")
            # The player holds half a second at most, which is heard before the sound is switched off.
            assert browser.run("times.closed - times.done") > 500
            meters = "['before', 'after'].map((id) => document.getElementById(id).value)"
            assert browser.run(meters) == [-60, -60]
            others = [told for told in browser.complaints() if f"127.0.0.1:{running.port}/" not in told]
            assert not others
        running.wait_until_idle()
        assert (tmp_path / "page.png").stat().st_size > 1000


def test_an_output_of_another_rate_is_played_at_its_own_and_not_mixed(tmp_path: Path) -> None:
    options = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
    with Running(model="super-resolve-48k") as running:
        assert running.service is not None
        with Browser(tmp_path / "profile", options=options) as browser:
            browser.visit(f"http://127.0.0.1:{running.port}/")
            assert not browser.run("document.querySelector('#controls').hidden")
            browser.run(
                "(() => { const Usual = AudioContext; window.AudioContext = class extends Usual {"
                " constructor(options) { super({ sampleRate: 44100, ...options }); } }; })()"
            )
            browser.click("#start")
            browser.until(f"parseFloat({SO_FAR}) > 0.5 || {STATE}.startsWith('Ended')")
            assert browser.run(STATE) == "Running."
            (call,) = running.service.calls
            assert (call.raw.rate, call.answer.rate) == (44100, 48000)
            assert browser.run("running.player.context.sampleRate") == 48000
            assert browser.run("document.querySelector('#controls').hidden")
            browser.click("#stop")
            browser.until(f"{STATE}.startsWith('Done: ') || {STATE}.startsWith('Ended')")


def test_a_beginning_that_fails_releases_the_microphone(tmp_path: Path) -> None:
    options = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
    with Running() as running, Browser(tmp_path / "profile", options=options) as browser:
        for missing in (
            "window.AudioContext = class { constructor() { throw new Error('none'); } }",
            "AudioWorklet.prototype.addModule = async () => { throw new Error('none'); }",
        ):
            browser.visit(f"http://127.0.0.1:{running.port}/")
            browser.run(
                "(() => { const devices = navigator.mediaDevices;"
                " const open = devices.getUserMedia.bind(devices);"
                " devices.getUserMedia = async (wanted) => (window.taken = await open(wanted)); })()"
            )
            browser.run(missing)
            browser.click("#start")
            browser.until(f"{STATE} === 'No sound: none'")
            assert browser.run("taken.getTracks().map((track) => track.readyState)") == ["ended"]
            assert not browser.run("document.querySelector('#start').disabled")


def test_stop_releases_the_microphone_before_the_server_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
    may_answer, end = threading.Event(), Service.end

    def end_late(service: Service, call: Call) -> None:
        may_answer.wait(PATIENCE)
        end(service, call)

    monkeypatch.setattr(Service, "end", end_late)
    running = Running()
    try:
        with Browser(tmp_path / "profile", options=options) as browser:
            browser.visit(f"http://127.0.0.1:{running.port}/")
            browser.click("#start")
            browser.until(f"parseFloat({SO_FAR}) > 0.5")
            browser.run("window.tracks = running.media.getTracks()")
            browser.click("#stop")
            assert browser.run("tracks.map((track) => track.readyState)") == ["ended"]
            assert browser.run("document.querySelector('#stop').disabled")
            browser.until(f"{STATE}.startsWith('Ended: the server did not send the rest')")
            browser.screenshot(tmp_path / "page.png")
            # The first call's socket closes while the second call begins.
            browser.click("#start")
            browser.until("Boolean(running)")
            may_answer.set()
            browser.until(f"parseFloat({SO_FAR}) > 0.5 || {STATE}.includes('connection lost')")
            assert "cleaned" in browser.run(SO_FAR)
            browser.run(WAIT_LONG)
            browser.click("#stop")
            browser.until(f"{STATE}.startsWith('Done: ')")
        running.wait_until_idle()
    finally:
        may_answer.set()
        running.stop()


def test_a_microphone_that_is_gone_ends_the_call(tmp_path: Path) -> None:
    options = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
    unplug = "(([track]) => { track.stop(); track.dispatchEvent(new Event('ended')); })"
    with Running() as running, Browser(tmp_path / "profile", options=options) as browser:
        browser.visit(f"http://127.0.0.1:{running.port}/")
        browser.click("#start")
        browser.until(f"parseFloat({SO_FAR}) > 0.5")
        browser.run(f"{unplug}(running.media.getTracks())")
        browser.until("!document.querySelector('#start').disabled")
        assert browser.run(STATE) == "The microphone is gone."
        assert browser.run(FOCUSED) == "start"
        running.wait_until_idle()
        # Before the server has answered there is no call to end.
        browser.run("AudioWorklet.prototype.addModule = () => new Promise((go) => { window.go = go; })")
        browser.click("#start")
        browser.until("Boolean(window.go)")
        browser.run(f"{unplug}(running.media.getTracks())")
        assert browser.run(STATE) == "The microphone is gone."
        browser.run("go()")
        assert not browser.run("document.querySelector('#start').disabled")
        assert browser.run(STATE) == "The microphone is gone."
        assert running.service is not None
        assert not running.service.calls


def test_a_sound_that_the_system_takes_for_a_while_is_said(tmp_path: Path) -> None:
    options = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
    with Running() as running, Browser(tmp_path / "profile", options=options) as browser:
        browser.visit(f"http://127.0.0.1:{running.port}/")
        browser.click("#start")
        browser.until(f"{STATE} === 'Running.'")
        browser.run("running.contexts[0].suspend()")
        browser.until(f"{STATE} === 'The sound is suspended.'")
        browser.run(
            "(([track]) => { Object.defineProperty(track, 'muted', { value: true, configurable: true });"
            " track.dispatchEvent(new Event('mute')); })(running.media.getTracks())"
        )
        assert browser.run(STATE) == "The microphone is muted."
        browser.run("delete running.media.getTracks()[0].muted")
        browser.run("running.contexts[0].resume()")
        browser.until(f"{STATE} === 'Running.'")
        browser.run(WAIT_LONG)
        browser.click("#stop")
        browser.until(f"{STATE}.startsWith('Done: ')")


def test_a_microphone_that_is_muted_from_the_beginning_is_said(tmp_path: Path) -> None:
    options = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
    with Running() as running, Browser(tmp_path / "profile", options=options) as browser:
        browser.visit(f"http://127.0.0.1:{running.port}/")
        browser.run("Object.defineProperty(MediaStreamTrack.prototype, 'muted', { value: true }) && null")
        browser.click("#start")
        browser.until("!document.querySelector('#stop').disabled")
        assert browser.run(STATE) == "The microphone is muted."


def test_the_page_of_a_server_with_a_token_says_how_to_open_it(tmp_path: Path) -> None:
    options = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
    with Running(token="secret") as running, Browser(tmp_path / "profile", options=options) as browser:
        browser.visit(f"http://127.0.0.1:{running.port}/")
        browser.click("#start")
        browser.until(f"{STATE}.includes('open the page as /?token=TEXT')")
        browser.visit(f"http://127.0.0.1:{running.port}/?token=secret")
        browser.click("#start")
        browser.until(f"{STATE} === 'Running.'")


def test_a_browser_without_a_microphone_says_so(tmp_path: Path) -> None:
    with Running() as running, Browser(tmp_path / "profile") as browser:
        browser.visit(f"http://127.0.0.1:{running.port}/")
        browser.click("#start")
        browser.until(f"{STATE}.startsWith('No microphone: ')")
        assert not browser.run("document.querySelector('#start').disabled")


def test_over_plain_http_the_page_says_where_browsers_give_the_microphone(tmp_path: Path) -> None:
    with Running(hosts=["calls.example"]) as running:
        options = ("--host-resolver-rules=MAP calls.example 127.0.0.1",)
        with Browser(tmp_path / "profile", options=options) as browser:
            browser.visit(f"http://calls.example:{running.port}/")
            assert "only to https:// and to localhost" in browser.run(STATE)
            assert browser.run("document.querySelector('#start').disabled")


def test_every_control_has_a_name(tmp_path: Path) -> None:
    with Running() as running, Browser(tmp_path / "profile") as browser:
        browser.visit(f"http://127.0.0.1:{running.port}/")
        nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
        named = {(n["role"]["value"], n["name"]["value"]) for n in nodes if "role" in n and "name" in n}
        assert {
            ("button", "Start"),
            ("button", "Stop"),
            ("checkbox", "Bypass: hear the microphone as it is"),
            ("slider", "Remove at most"),
            ("meter", "Microphone"),
            ("meter", "Cleaned"),
        } <= named


def test_a_limit_that_the_browser_puts_back_is_shown(tmp_path: Path) -> None:
    options = ("--disable-features=BackForwardCache",)
    limit = "document.querySelector('#limit')"
    with Running() as running, Browser(tmp_path / "profile", options=options) as browser:
        browser.visit(f"http://127.0.0.1:{running.port}/")
        browser.run(f"(s => {{ s.value = 30; s.dispatchEvent(new Event('input')); }})({limit})")
        browser.visit(f"http://127.0.0.1:{running.port}/health")
        browser.back()
        browser.until(f"{limit}?.value === '30' && document.readyState === 'complete'")
        assert browser.run("document.querySelector('#limit-text').textContent") == "30"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_controls_follow_the_colours_of_the_system(tmp_path: Path, scheme: str) -> None:
    with Running() as running, Browser(tmp_path / "profile") as browser:
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.call("Emulation.setEmulatedMedia", features=[feature])
        browser.visit(f"http://127.0.0.1:{running.port}/")
        colour = browser.run("getComputedStyle(document.querySelector('#start')).color")
        assert (colour == "rgb(255, 255, 255)") == (scheme == "dark")
