"""The server on loopback: streams equal a stream of its own, settings, places, health and the page."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import socket
import threading
from typing import Any

import numpy as np
import pytest
from kit.audio import speech_like
from kit.command import run_command
from kit.patience import PATIENCE, wait_until

import audiotool

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")

import uvicorn
from kit.server import Running, pcm, refusal, talk, until_bye
from websockets.exceptions import ConnectionClosed

from audiotool.errors import InputError
from audiotool.serve.app import Server
from audiotool.serve.listen import listen
from audiotool.serve.service import Service


@pytest.mark.parametrize(("rate", "channels", "size"), [(16000, 1, 512), (8000, 2, 999), (48000, 1, 20_000)])
def test_a_stream_equals_one_of_its_own(server: Running, rate: int, channels: int, size: int) -> None:
    x = pcm(0.6, rate, channels)
    with server.stream(f"?task=denoise&rate={rate}&channels={channels}&format=s16le") as stream:
        hello, answer, bye = talk(stream, x.tobytes(), size)
    live = audiotool.load("denoise-tiny-16k").live(rate, channels)
    expected = np.concatenate([live.feed(x.T), live.flush()], axis=1).T
    found = np.frombuffer(answer, "<i2").reshape(-1, channels)
    assert hello["latency_samples"] == live.latency
    assert (hello["rate"], hello["output_rate"], hello["output_channels"]) == (rate, rate, channels)
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert (bye["samples_in"], bye["samples_out"], bye["bytes_left_out"]) == (len(x), len(x), 0)


def test_no_output_is_later_than_the_hello_says(server: Running) -> None:
    """After each message all but the declared latency comes without another; and once no more than that."""
    x = pcm(0.6, 22050)[:, 0]
    with server.stream("?rate=22050") as stream:
        latency = json.loads(stream.recv(PATIENCE))["latency_samples"]
        got = sent = most = 0
        for size in np.random.default_rng(3).integers(1, 60, 200):
            stream.send(x[sent : sent + size].tobytes())
            sent += int(size)
            while got < sent - latency:
                got += len(stream.recv(PATIENCE)) // 2
            most = max(most, sent - got)
    assert latency - 60 <= most <= latency


def test_an_impulse_comes_out_where_it_went_in(server: Running) -> None:
    x = np.zeros(4000, "<i2")
    x[1234] = 20000
    with server.stream("?mix=0.5") as stream:
        answer = talk(stream, x.tobytes(), 320)[1]
    assert np.abs(np.frombuffer(answer, "<i2").astype(int)).argmax() == 1234


def test_many_at_once(server: Running) -> None:
    """Each gets the answer to its own recording."""
    voices = [(speech_like(0.5, 16000, seed=n)[0] / (1 + n) * 32767).astype("<i2") for n in range(4)]
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(server.stream()) for _ in voices]
        found: dict[int, bytes] = {}

        def one(n: int) -> None:
            found[n] = talk(streams[n], voices[n].tobytes(), 640 + n)[1]

        threads = [threading.Thread(target=one, args=(n,)) for n in range(len(voices))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    pipeline = audiotool.load("denoise-tiny-16k")
    for n, voice in enumerate(voices):
        live = pipeline.live(16000)
        expected = np.concatenate([live.feed(voice), live.flush()])
        assert np.abs(np.frombuffer(found[n], "<i2").astype(int) - expected).max() <= 1


def test_an_incomplete_sample_is_reported(server: Running) -> None:
    with server.stream() as stream:
        _, answer, bye = talk(stream, b"\0\0" * 500 + b"\1", 333)
    assert (len(answer), bye["bytes_left_out"]) == (1000, 1)


def test_settings_change_while_it_goes_on(server: Running) -> None:
    x = pcm(0.5)
    with server.stream() as stream:
        stream.recv(PATIENCE)
        stream.send(json.dumps({"type": "settings", "mix": 0}))
        stream.send(x.tobytes())
        stream.send(json.dumps({"type": "end"}))
        answer, _ = until_bye(stream)
    np.testing.assert_array_equal(np.frombuffer(answer, "<i2"), x[:, 0])


def test_settings_count_from_where_they_were_sent(server: Running) -> None:
    """However much audio still waits when they come."""
    x = pcm(1.5)[:, 0]
    pieces = ((0.5, x[:9000]), (0.25, x[9000:9001]), (1.0, x[:0]), (0.0, x[9001:]))
    with server.stream() as stream:
        stream.recv(PATIENCE)
        for mix, piece in pieces:
            stream.send(json.dumps({"type": "settings", "mix": mix}))
            stream.send(piece.tobytes())
        stream.send(json.dumps({"type": "end"}))
        answer, _ = until_bye(stream)
    live, expected = audiotool.load("denoise-tiny-16k").live(16000), list[Any]()
    for mix, piece in pieces:
        live.settings = dataclasses.replace(live.settings, mix=mix)
        expected.append(live.feed(piece))
    expected.append(live.flush())
    assert np.abs(np.frombuffer(answer, "<i2").astype(int) - np.concatenate(expected)).max() <= 1


@pytest.mark.parametrize(("taken", "left"), [(1, "3 of 4 are free"), (3, "1 of 4 is free")])
def test_a_stream_of_more_channels_than_places_are_free_is_told_both(
    server: Running, taken: int, left: str
) -> None:
    with server.stream(f"?channels={taken}") as first:
        first.recv(PATIENCE)
        with server.stream("?channels=4") as wide:
            why = f"4 channels take 4 places, and {left}: try again later"
            assert refusal(wide) == (1013, why)


def test_a_full_server_refuses_with_try_later() -> None:
    with Running(capacity=2) as running:
        with running.stream() as one, running.stream() as two:
            one.recv(PATIENCE), two.recv(PATIENCE)
            with running.stream() as three:
                assert refusal(three) == (1013, "all 2 places are taken: try again later")
            with running.stream("?channels=3") as wide:
                assert refusal(wide) == (1008, "3 channels take 3 places, and there are 2")
            one.close()
            wait_until(lambda: len(running.service.calls) == 1)  # type: ignore[union-attr]
            with running.stream() as four:
                assert json.loads(four.recv(PATIENCE))["type"] == "hello"
        text = running.request("GET", "/metrics")[1].decode()
        assert "audiotool_refused_total 1\n" in text
        assert "audiotool_streams_total 3\n" in text


def test_all_checkpoints_are_loaded_before_the_first_client() -> None:
    loaded = list[audiotool.Pipeline]()

    def full_band() -> audiotool.Pipeline:
        loaded.append(audiotool.load("denoise-48k"))
        return loaded[0]

    tiny = audiotool.load("denoise-tiny-16k")
    service = Service(audiotool.Pipeline(tiny.engine, tiny.task, full_band=full_band), 2)
    assert len(loaded) == 1
    batches = dict(service.streams._batches)
    for rate in (16000, 96000):
        service.streams.join(rate)
    assert service.streams._batches == batches
    assert len(loaded) == 1


def test_streams_of_a_round_that_fails_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    with Running() as running:
        assert running.service is not None

        def broken() -> bool:
            raise ZeroDivisionError

        monkeypatch.setattr(running.service.streams, "step", broken)
        with running.stream() as stream:
            stream.recv(PATIENCE)
            stream.send(bytes(2000))
            with pytest.raises(ConnectionClosed, match="internal error: ZeroDivisionError"):
                stream.recv(PATIENCE)
        assert b"audiotool_failed_total 1\n" in running.request("GET", "/metrics")[1]


def test_the_page_and_its_parts(server: Running) -> None:
    for path, part in (
        ("/", b"<title>audiotool"),
        ("/page.js", b"getUserMedia"),
        ("/worklet.js", b"registerProcessor"),
    ):
        status, body = server.request("GET", path)
        assert status == 200
        assert part in body


def test_health_has_the_number_of_streams(server: Running) -> None:
    with server.stream() as stream:
        stream.recv(PATIENCE)
        found = json.loads(server.request("GET", "/health")[1])
    assert (found["status"], found["streams"], found["capacity"]) == ("ok", 1, 4)


def test_load_is_counted_in_places_as_the_capacity_is(server: Running) -> None:
    with server.stream("?channels=3") as stream:
        stream.recv(PATIENCE)
        found = json.loads(server.request("GET", "/health")[1])
        metrics = server.request("GET", "/metrics")[1].decode()
    assert (found["streams"], found["places_taken"], found["capacity"]) == (1, 3, 4)
    assert "\naudiotool_places_taken 3\n" in metrics


def test_where_it_listens_for_scripts(monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: sockets[0].close())
    words = ["serve", "--port", "0", "--model", "denoise-tiny-16k", "--capacity", "3", "--json"]
    done = run_command(*words)
    found = json.loads(done.stdout)
    assert (found["command"], found["task"], found["capacity"]) == ("serve", "denoise", 3)
    assert found["address"].startswith("http://127.0.0.1:")


@pytest.mark.parametrize("host", ["", ".example"])
def test_a_host_without_an_address_is_told(host: str) -> None:
    with pytest.raises(InputError, match=f"cannot listen on '{host}', which has no address: .* --host"):
        listen(host, 0, 1.0)


def test_an_address_that_is_taken_is_told_once_with_what_to_do() -> None:
    with listen("127.0.0.1", 0, 1.0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError) as told:
            listen("127.0.0.1", port, 1.0)
    why = os.strerror(errno.EADDRINUSE)
    assert str(told.value) == f"cannot listen on 127.0.0.1, port {port}: {why}: give another --port"


def test_an_error_of_windows_sockets_is_told_in_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number is none of C's, so that `os.strerror` calls it unknown."""

    def taken(address: tuple[str, int], **_: Any) -> socket.socket:
        raise OSError(10048, f"Only one usage is permitted (while attempting to bind on address {address})")

    monkeypatch.setattr(socket, "create_server", taken)
    with pytest.raises(InputError, match=r"port 8321: Only one usage is permitted: give another --host$"):
        listen("127.0.0.1", 8321, 1.0)


def test_an_address_of_another_machine_is_told_with_what_to_do() -> None:
    with pytest.raises(InputError, match=r"cannot listen on 192\.0\.2\.1, port 0: .*: give another --host"):
        listen("192.0.2.1", 0, 1.0)


def test_limits_of_files_are_options(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    class Stopped:
        def __init__(self, server: Server) -> None:
            taken.append((server.limits.upload_bytes, server.limits.upload_seconds))

        def run(self, sockets: list[socket.socket]) -> None:
            sockets[0].close()

    monkeypatch.setattr("audiotool.serve.connections.Runner", Stopped)
    words = ["serve", "--port", "0", "--model", "denoise-tiny-16k"]
    for more in ([], ["--upload", "3", "--longest", "900"]):
        assert run_command(*words, *more).exit_code == 0
    assert taken == [(64_000_000, 600.0), (3_000_000, 900.0)]
