"""The live loop between devices that are not there: time, gaps, recordings, endings."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from kit.devices import BLOCK, FORM, RATE, FakeBackend, FakeStream, Loopback, drained
from kit.patience import PATIENCE, wait_until

import audiotool
from audiotool.audio.file_writer import FileWriter
from audiotool.cli import live as command
from audiotool.errors import AudiotoolError, DeviceError
from audiotool.live import loop as live_loop
from audiotool.live.loop import ATTEMPTS, LiveLoop
from audiotool.live.measure import round_trip
from audiotool.live.recorder import Recorder
from audiotool.live.ring import Ring
from audiotool.streaming.live_stream import LiveStream


@pytest.fixture(scope="module")
def pipeline() -> audiotool.Pipeline:
    return audiotool.load("denoise-tiny-16k", engine="onnx", threads=1)


def opened(stream: LiveStream, recorder: Recorder | None = None) -> tuple[LiveLoop, FakeStream]:
    """Return a loop that has not started, and the stream of its devices."""
    backend = FakeBackend()
    loop = LiveLoop(backend, FORM, stream, recorder)
    assert backend.stream is not None
    return loop, backend.stream


def call(loop: LiveLoop, fake: FakeStream, count: int) -> None:
    """Call a loop that keeps up."""
    for _ in range(count):
        fake.call()
        drained(loop)


def test_output_is_the_stream_s_at_the_declared_latency(pipeline: audiotool.Pipeline) -> None:
    """For a minute, in which nothing drifts: the last block is as late as the first."""
    stream, blocks = pipeline.live(RATE), 60 * RATE // BLOCK
    loop, fake = opened(stream)
    loop.start()
    call(loop, fake, blocks)
    loop.stop()
    played = np.concatenate(fake.played)
    delay = round((loop.latency_seconds - fake.latency_seconds) * RATE)
    assert delay == stream.latency + BLOCK
    captured = np.take(fake.sound, range(len(played)), mode="wrap")
    reference = pipeline.live(RATE)
    expected = np.concatenate([reference.feed(captured), np.asarray(reference.flush())])
    assert not played[:delay].any()
    np.testing.assert_allclose(played[delay:], expected[: len(played) - delay], atol=1e-5)
    assert (loop.underruns, loop.overruns, loop.callbacks) == (0, 0, blocks)
    assert loop.seconds == 60


def test_the_loop_holds_its_input_against_the_clock(
    pipeline: audiotool.Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(live_loop, "time", SimpleNamespace(monotonic=lambda: now[0]))
    loop, fake = opened(pipeline.live(RATE))
    for n in range(400):
        now[0] += BLOCK / RATE * (1 if n != 200 else 10)
        fake.call()
    assert loop.lost_seconds == pytest.approx(9 * BLOCK / RATE, abs=1e-3)
    assert "0.14 s of input lost" in command.meter_line(loop, 200)


def test_the_meter_fits_the_terminal_and_shows_the_keys_last(pipeline: audiotool.Pipeline) -> None:
    loop = opened(pipeline.live(RATE))[0]
    keys, gaps = "b bypass, q quit", "13 underruns, 0 overruns"
    loop.underruns = 13

    def drawn(width: int, ascii_only: bool = False) -> str:
        loop._before, loop._after = 0.1, 0.01
        return command.meter_line(loop, width, ascii_only)

    assert drawn(120) == f"in ████████···· -20 dB  out ████········ -40 dB  {keys}  {gaps}  68 ms"
    assert drawn(95) == f"in ████████···· -20 dB  out ████········ -40 dB  {keys}  {gaps}"
    assert drawn(80) == f"in ████·· -20 dB  out ██···· -40 dB  {keys}  {gaps}"
    assert drawn(70) == f"in -20 dB  out -40 dB  {keys}  {gaps}"
    assert drawn(60) == f"in ████·· -20 dB  out ██···· -40 dB  {keys}"
    assert drawn(40) == f"in -20 dB  out -40 dB  {keys}"
    assert drawn(30) == keys
    assert drawn(60, ascii_only=True) == f"in ####.. -20 dB  out ##.... -40 dB  {keys}"
    for width in range(16, 130):
        assert keys in drawn(width)
        assert len(drawn(width)) <= width
    loop.bypass = True
    assert drawn(30) == "BYPASS (b)"


@pytest.mark.parametrize(("delay", "noise", "gain"), [(700, 0.0, 1.0), (1801, 0.02, -0.2), (7000, 0.1, 1.0)])
def test_a_round_trip_is_measured(delay: int, noise: float, gain: float) -> None:
    assert round_trip(Loopback(delay, noise, gain), FORM) * RATE == pytest.approx(delay)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_a_round_trip_longer_than_the_bursts_are_apart(noise: float) -> None:
    for delay in (7999, 8000, 8001, 8080, 9600, 12345, 15999, 16000):
        assert round_trip(Loopback(delay, noise), FORM) * RATE == pytest.approx(delay)


@pytest.mark.parametrize("delay", [16001, 16400, 17600, 21000, 24000, 27000, 31000, 38000])
def test_a_round_trip_beyond_the_limit_is_refused(delay: int) -> None:
    with pytest.raises(DeviceError, match=r"(within|longer than) 1 s"):
        round_trip(Loopback(delay), FORM)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_an_input_that_does_not_hear_the_output(noise: float) -> None:
    with pytest.raises(DeviceError, match="does not receive the output"):
        round_trip(Loopback(700, noise, 0.0), FORM)


def test_the_measured_latency_is_the_path_s(pipeline: audiotool.Pipeline) -> None:
    """An impulse in a loop of cable and bypass comes back after the latency that is told."""
    delay = 1000
    devices = round_trip(Loopback(delay), FORM)
    backend = FakeBackend()
    loop = LiveLoop(backend, FORM, pipeline.live(RATE), device_seconds=devices)
    loop.bypass = True
    loop.start()
    line = np.zeros(delay, np.float32)
    line[BLOCK // 3] = 0.5
    captured = []
    for _ in range(30):
        came, wanted = line[:BLOCK].copy(), np.zeros((BLOCK, 2), np.float32)
        captured.append(came)
        loop._call(came[:, None], wanted, False, False)
        drained(loop)
        line = np.concatenate((line[BLOCK:], wanted[:, 0]))
    loop.stop()
    clicks = np.flatnonzero(np.abs(np.concatenate(captured)) > 0.4)
    assert set(np.diff(clicks)) == {round(loop.latency_seconds * RATE)}


def test_bypass_is_the_input_as_late(pipeline: audiotool.Pipeline) -> None:
    loop, fake = opened(pipeline.live(RATE))
    loop.bypass = True
    loop.start()
    call(loop, fake, 40)
    loop.stop()
    played, delay = np.concatenate(fake.played), loop._delay
    np.testing.assert_allclose(played[delay:], fake.sound[: len(played) - delay], atol=1e-6)
    levels = loop.levels()
    assert levels.before == pytest.approx(np.abs(fake.sound[: len(played)]).max(), abs=1e-6)
    assert loop.levels().before == 0.0


def test_late_output_is_a_gap_and_no_more_latency(pipeline: audiotool.Pipeline) -> None:
    loop, fake = opened(pipeline.live(RATE))
    loop.bypass = True
    for _ in range(20):  # the model has not begun
        fake.call()
    assert 0 < loop.underruns < 20
    loop.start()
    drained(loop)
    call(loop, fake, 20)
    loop.stop()
    played, delay = np.concatenate(fake.played), loop._delay
    end = 21 * BLOCK
    np.testing.assert_allclose(played[end:], fake.sound[end - delay : len(played) - delay], atol=1e-6)


def test_input_that_is_lost_is_counted(pipeline: audiotool.Pipeline, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "in.wav", tmp_path / "out.wav", RATE)
    loop, fake = opened(pipeline.live(RATE), recorder)
    for _ in range(RATE // BLOCK + 10):
        fake.call()
    assert loop.overruns == 10
    loop.start()
    loop.stop()
    recorder.commit()
    frames = {soundfile.info(str(tmp_path / name)).frames for name in ("in.wav", "out.wav")}
    assert frames == {(RATE // BLOCK + 10) * BLOCK}


def stalled(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Let models stand still: the first event is set when one does, the second lets it go on."""
    stands, goes_on, feed = threading.Event(), threading.Event(), LiveStream.feed

    def waiting(stream: LiveStream, samples: np.ndarray) -> np.ndarray:
        stands.set()
        goes_on.wait(PATIENCE)
        return feed(stream, samples)

    monkeypatch.setattr(LiveStream, "feed", waiting)
    return stands, goes_on


def test_a_model_that_stood_still_goes_on_in_time(
    pipeline: audiotool.Pipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """For 3 s: what the ring does not hold is silence in its place, and the latency stays."""
    _, goes_on = stalled(monkeypatch)
    places = (tmp_path / "in.wav", tmp_path / "out.wav")
    recorder = Recorder(*places, RATE)
    loop, fake = opened(pipeline.live(RATE), recorder)
    loop.bypass = True
    loop.start()
    stall = 3 * RATE // BLOCK
    for _ in range(stall):
        fake.call()
    goes_on.set()
    drained(loop)
    call(loop, fake, 20)
    loop.stop()
    recorder.commit()
    before, after = (soundfile.read(str(place), dtype="float32")[0] for place in places)
    assert len(before) == len(after) == (stall + 20) * BLOCK
    lost = slice(loop.processed - 20 * BLOCK, stall * BLOCK)
    assert lost.stop - lost.start == loop.overruns * BLOCK > 1.9 * RATE
    expected = fake.sound[: len(before)].copy()
    expected[lost] = 0.0
    np.testing.assert_allclose(before, expected, atol=2**-15)
    played, delay = np.concatenate(fake.played), loop._delay
    end = stall * BLOCK + delay
    np.testing.assert_allclose(played[end:], fake.sound[end - delay : len(played) - delay], atol=1e-6)


def test_input_that_is_lost_at_the_end_is_silence(
    pipeline: audiotool.Pipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The devices are released while the model still stands."""
    stands, goes_on = stalled(monkeypatch)
    places = (tmp_path / "in.wav", tmp_path / "out.wav")
    recorder = Recorder(*places, RATE)
    loop, fake = opened(pipeline.live(RATE), recorder)
    loop.start()
    fake.call()
    stands.wait(PATIENCE)
    for _ in range(3 * RATE // BLOCK):
        fake.call()
    monkeypatch.setattr(fake, "close", goes_on.set)
    loop.stop()
    recorder.commit()
    assert {soundfile.info(str(place)).frames for place in places} == {(3 * RATE // BLOCK + 1) * BLOCK}


def test_a_program_that_stood_still_has_its_devices(
    pipeline: audiotool.Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by SIGSTOP and SIGCONT; devices that give nothing while it runs are gone."""
    now = [0.0]
    monkeypatch.setattr(live_loop, "time", SimpleNamespace(monotonic=lambda: now[0]))
    loop, fake = opened(pipeline.live(RATE))
    fake.call()
    now[0] += 2 * live_loop.GONE_SECONDS
    loop.check()
    now[0] += 0.6 * live_loop.GONE_SECONDS
    loop.check()
    now[0] += 0.6 * live_loop.GONE_SECONDS
    with pytest.raises(DeviceError, match="was it unplugged"):
        loop.check()


def test_a_disk_that_is_too_slow_costs_samples_and_no_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    goes_on = threading.Event()
    write = FileWriter.write

    def stalled(writer: FileWriter, block: np.ndarray) -> None:
        goes_on.wait(PATIENCE)
        write(writer, block)

    monkeypatch.setattr(FileWriter, "write", stalled)
    monkeypatch.setattr("audiotool.live.recorder.QUEUE_BLOCKS", 5)
    places = (tmp_path / "in.wav", tmp_path / "out.wav")
    recorder = Recorder(*places, RATE)
    values = np.arange(1, 11, dtype=np.float32) / 16
    for value in values[:9]:
        for which in (0, 1):
            recorder.put(which, np.full(BLOCK, value))
    goes_on.set()
    wait_until(recorder._blocks.empty)
    recorder.put(0, np.full(BLOCK, values[9]))
    recorder.commit()
    assert recorder.lost > 0
    before, after = (soundfile.read(str(place), dtype="float32")[0].reshape(-1, BLOCK) for place in places)
    assert (len(before), len(after)) == (10, 9)
    for blocks in (before, after):
        assert ((blocks == values[: len(blocks), None]) | (blocks == 0)).all()
    assert (before[-1] == values[9]).all()
    assert not after[-1].any()


def test_a_ring_keeps_time() -> None:
    ring = Ring(8)
    assert ring.write(np.arange(5, dtype=np.float32))
    assert not ring.write(np.zeros(4, np.float32))
    assert ring.read(7)[0].tolist() == [0, 1, 2, 3, 4, 0, 0]
    assert ring.write(np.arange(5, 10, dtype=np.float32))
    taken, missing = ring.read(4)
    assert (taken.tolist(), missing) == ([7, 8, 9, 0], 1)


@pytest.mark.parametrize(("read", "written"), [(16, 13), (23, 28), (40, 33), (40, 48)])
def test_a_ring_drops_late_samples_of_any_number(read: int, written: int) -> None:
    """Nine more follow; the ring holds 16."""
    ring = Ring(16)
    ring.read(read)
    assert ring.write(np.arange(written, dtype=np.float32))
    assert ring.ready == max(0, written - read)
    for sample in range(written, written + 9):
        if ring.ready < 16:
            assert ring.write(np.array([sample], np.float32))
    held = range(read, min(max(read, written + 9), read + 16))
    taken = ring.read(len(held))[0]
    assert taken.tolist() == [float(sample) for sample in held]


def test_a_stream_that_ran_for_a_second_has_all_attempts_again(pipeline: audiotool.Pipeline) -> None:
    backend = FakeBackend(dies=[1] * 9)
    loop = LiveLoop(backend, FORM, pipeline.live(RATE), device_seconds=0.5)
    loop.start()
    measured = loop.latency_seconds
    for n in range(2 * ATTEMPTS):
        stream = backend.stream
        assert stream is not None
        for _ in range(RATE // BLOCK + 1 if n % ATTEMPTS == 0 else 1):
            stream.call()
        stream.active = False
        loop.check()
        assert loop.reopened == n + 1
    # The measured latency was of the first stream's buffers.
    assert backend.stream is not None
    assert measured - loop.latency_seconds == pytest.approx(0.5 - backend.stream.latency_seconds)
    backend.stream.active = False
    with pytest.raises(DeviceError, match="was it unplugged"):
        loop.check()
    loop.stop()


def test_invalid_samples(pipeline: audiotool.Pipeline) -> None:
    loop, fake = opened(pipeline.live(RATE))
    fake.sound = np.array([np.nan, np.inf, 1e30, -0.5], np.float32)
    loop.start()
    call(loop, fake, 20)
    loop.check()
    loop.stop()
    assert np.isfinite(fake.played).all()


def test_an_error_of_the_model_is_reported(pipeline: audiotool.Pipeline) -> None:
    stream = pipeline.live(RATE)
    loop, fake = opened(stream)
    stream.feed(np.zeros(BLOCK, np.float32))
    stream.flush()
    loop.start()
    fake.call()
    loop._worker.join(PATIENCE)
    for look in (loop.check, loop.stop):
        with pytest.raises(AudiotoolError, match="ended"):
            look()
    assert loop.levels().after == 0.0
