"""Files by POST: cleaned as by the command, refused where they are too much, too slow or no audio."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gzip
import io
import json
import select
import socket
from typing import Any

import numpy as np
import pytest
import soundfile
from kit.audio import speech_like
from kit.patience import PATIENCE, wait_until

import audiotool

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")

from kit.server import Running, drops_connections, file_of, post_head

from audiotool.serve import files
from audiotool.serve.app import Server
from audiotool.serve.service import Service
from audiotool.serve.sessions import Limits


def answer_with(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Let every recording become so many bytes."""

    async def process(*_: Any) -> files.Processed:
        return files.Processed(bytes(size), 16000, 1, 1)

    monkeypatch.setattr(files.Files, "process", process)


@drops_connections
def test_a_client_that_does_not_read_its_file_is_left_after_a_while(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answer_with(monkeypatch, 50_000_000)
    caplog.set_level("INFO", logger="audiotool.serve.sessions")
    limits = Limits(stall_seconds=0.5)
    with Running(limits=limits) as running, socket.create_connection(("127.0.0.1", running.port)) as client:
        client.sendall(post_head(1) + b"x")
        wait_until(lambda: select.select([client], [], [], 0.0)[0])
        running.wait_until_disconnected()
        wait_until(lambda: caplog.messages)
        why = "what was sent was not read"
        assert caplog.messages == [f"file, 16000 Hz, 1 channel, 0.0 s: {why} (408)"]
        metrics = running.request("GET", "/metrics")[1]
    assert b"audiotool_failed_total 1\n" in metrics
    assert b"audiotool_files_total 0\n" in metrics


def test_a_file_whose_client_leaves_during_its_answer_is_not_called_processed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answer_with(monkeypatch, 50_000_000)
    caplog.set_level("INFO", logger="audiotool.serve.sessions")
    with Running() as running:
        with socket.create_connection(("127.0.0.1", running.port), PATIENCE) as client:
            client.sendall(post_head(1) + b"x")
            assert client.recv(12) == b"HTTP/1.1 200"
        wait_until(lambda: caplog.messages)
        assert caplog.messages == ["file, 16000 Hz, 1 channel, 0.0 s: the client left"]
        metrics = running.request("GET", "/metrics")[1]
    assert b"audiotool_failed_total 0\n" in metrics
    assert b"audiotool_files_total 0\n" in metrics


@pytest.mark.parametrize(("form", "subtype"), [("WAV", "PCM_24"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")])
def test_a_file(server: Running, form: str, subtype: str) -> None:
    x = speech_like(0.6, 22050, 2)
    sent = file_of(x, 22050, form, subtype)
    status, body = server.request("POST", "/v1/denoise?max_attenuation=12", sent)
    assert status == 200
    found, rate = soundfile.read(io.BytesIO(body), dtype="float32")
    given = soundfile.read(io.BytesIO(sent), dtype="float32")[0].T
    expected = audiotool.load("denoise-tiny-16k", max_attenuation_db=12.0)(given, 22050)
    assert (found.shape, rate) == ((x.shape[1], 2), 22050)
    np.testing.assert_allclose(found.T, expected, atol=1e-4)


def is_last_line(caplog: pytest.LogCaptureFixture, end: str) -> bool:
    return caplog.messages[-1].endswith(end)


def test_what_is_wrong_with_a_recording_is_told(server: Running, caplog: pytest.LogCaptureFixture) -> None:
    whole = file_of(speech_like(0.5, 16000))
    caplog.set_level("INFO", logger="audiotool.serve.sessions")
    for body, warning in ((whole, None), (whole[:-4000], "is truncated"), (2 * whole, "another WAV")):
        told = server.answer("POST", "/v1/denoise", body)[0].getheader("Audiotool-Warnings")
        if warning is None:
            assert told is None
        else:
            assert told is not None
            assert warning in told
            wait_until(functools.partial(is_last_line, caplog, f"processed, {told}"))


def test_what_the_first_pass_finds_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """As by the command."""
    noise = 0.1 * np.random.default_rng(0).standard_normal((1, 24000))
    caplog.set_level("INFO", logger="audiotool.serve.sessions")
    wide, full = "holds sound up to 8.0 kHz", "holds sound up to 24.0 kHz: there is nothing to extend"
    with Running(model="super-resolve-48k") as running:
        for rate, told in ((16000, wide), (48000, full)):
            answer, wav = running.answer("POST", "/v1/super-resolve", file_of(noise, rate))
            assert answer.getheader("Audiotool-Warnings") == told
            assert soundfile.info(io.BytesIO(wav)).frames == 24000 * 48000 // rate
        wait_until(functools.partial(is_last_line, caplog, f"processed, {full}"))


def test_a_recording_keeps_its_place_until_its_answer_has_been_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer_with(monkeypatch, 20_000_000)
    with Running(limits=Limits(arrival_seconds=PATIENCE)) as running, contextlib.ExitStack() as stack:
        clients = []
        for _ in range(files.PLACES):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", running.port), PATIENCE))
            client.sendall(post_head(1) + b"x")
            assert client.recv(12) == b"HTTP/1.1 200"
            clients.append(client)
        assert running.request("POST", "/v1/denoise", b"x")[0] == 503
        first = clients[0].makefile("rb")
        assert len(first.read(20_000_000)) == 20_000_000  # with most of the head
        wait_until(lambda: running.request("POST", "/v1/denoise", b"x")[0] == 200)
        for client in clients:
            client.close()


def test_an_answer_that_is_read_too_slowly_is_cut(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answer_with(monkeypatch, 20_000_000)
    caplog.set_level("INFO", logger="audiotool.serve.sessions")
    with Running(limits=Limits(arrival_seconds=2.0)) as running:
        with socket.create_connection(("127.0.0.1", running.port), PATIENCE) as client:
            client.sendall(post_head(1) + b"x")
            wait_until(lambda: caplog.messages)
            assert len(client.makefile("rb").read()) < 20_000_000
        assert caplog.messages == ["file, 16000 Hz, 1 channel, 0.0 s: its answer was read too slowly (408)"]
        assert b"audiotool_failed_total 1\n" in running.request("GET", "/metrics")[1]


def test_a_refusal_reaches_a_client_that_still_sends(server: Running) -> None:
    """Also where the connection is closed after it, which with unread bytes would be reset."""
    size = 8_000_000
    for path, kind, status in (
        ("/v1/denoise", "multipart/form-data", b"415"),
        ("/v1/denoise?a=b", "audio/wav", b"400"),
        ("/v1/vocode", "audio/wav", b"404"),
    ):
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client:
            head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: {kind}\r\n"
            client.sendall(f"{head}Content-Length: {size}\r\n\r\n".encode() + bytes(size))
            answer = client.makefile("rb").read()
        assert answer.split()[1] == status
        assert b'{"error":' in answer


@pytest.mark.parametrize(("rate", "near"), [(191999, 192000), (44101, 44100), (16001, 16000)])
def test_a_rate_that_takes_too_long_to_resample_is_refused(server: Running, rate: int, near: int) -> None:
    status, answer = server.request("POST", "/v1/denoise", file_of(speech_like(0.1, 16000), rate))
    assert status == 400
    assert f"take {near} Hz" in json.loads(answer)["error"]


def test_samples_that_are_limited_are_told(server: Running) -> None:
    """As the command does; samples of floating point are kept."""
    x = 4 * speech_like(0.5, 16000)
    for subtype, form, told in (
        ("PCM_16", "FLAC", None),  # is limited before it comes
        ("VORBIS", "OGG", "samples beyond full scale were limited"),
        ("FLOAT", "WAV", None),
    ):
        found = server.answer("POST", "/v1/denoise?mix=0", file_of(x, 16000, form, subtype))[0]
        warned = found.getheader("Audiotool-Warnings")
        assert warned is None if told is None else warned is not None and told in warned


@pytest.mark.parametrize("subtype", ["ULAW", "ALAW", "IMA_ADPCM"])
def test_codings_of_telephones_stay_or_are_named(server: Running, subtype: str) -> None:
    x = speech_like(0.3, 8000)
    found, body = server.answer("POST", "/v1/denoise", file_of(x, 8000, "WAV", subtype))
    warned = found.getheader("Audiotool-Warnings")
    if subtype == "IMA_ADPCM":
        assert warned == "IMA_ADPCM cannot be streamed: PCM_16 is written"
    else:
        assert (warned, soundfile.info(io.BytesIO(body)).subtype) == (None, subtype)


@pytest.mark.parametrize(("form", "kept"), [("WAV", ["artist", "title"]), ("FLAC", [])])
def test_tags_are_kept_or_said_to_be_lost(server: Running, form: str, kept: list[str]) -> None:
    memory = io.BytesIO()
    with soundfile.SoundFile(memory, "w", 16000, 1, format=form) as file:
        file.title, file.artist = "A talk", "Somebody"
        file.write(speech_like(0.2, 16000)[0])
    answer, body = server.answer("POST", "/v1/denoise", memory.getvalue())
    warned = answer.getheader("Audiotool-Warnings")
    with soundfile.SoundFile(io.BytesIO(body)) as found:
        assert sorted(found.copy_metadata()) == kept
    lost = "tags and chunks that the output does not keep: title, artist"
    assert warned == (None if kept else lost)


def test_invalid_files(server: Running) -> None:
    for body, status in ((b"", 400), (b"no audio at all", 400), (b"RIFF\0\0\0\0WAVE", 400)):
        found, answer = server.request("POST", "/v1/denoise", body)
        assert found == status
        assert "standard input" not in json.loads(answer)["error"]
    assert server.request("POST", "/v1/denoise?path=/etc/passwd", b"x")[0] == 400


def test_a_form_is_refused_by_name(server: Running) -> None:
    kind = {"Content-Type": "Multipart/form-data; boundary=x"}
    found, answer = server.request("POST", "/v1/denoise", b"--x\r\n\r\n--x--", **kind)
    assert found == 415
    assert "as the body" in json.loads(answer)["error"]


def test_a_coding_is_refused_by_name(server: Running) -> None:
    body = file_of(speech_like(0.1, 16000))
    for coding in ("gzip", "x-unheard, br"):
        headers = {"Content-Encoding": coding}
        found, answer = server.request("POST", "/v1/denoise", gzip.compress(body), **headers)
        why = f"a body coded with {coding} is not taken: send the recording itself"
        assert (found, json.loads(answer)) == (415, {"error": why})
    for none in ("Identity", ""):
        assert server.request("POST", "/v1/denoise", body, **{"Content-Encoding": none})[0] == 200


def test_files_that_are_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusal(samples: int, channels: int, rate: int = 16000, form: str = "FLAC") -> str:
        body = file_of(np.zeros((channels, samples)), rate, form)
        status, answer = running.request("POST", "/v1/denoise", body)
        assert status == 400
        return json.loads(answer)["error"]

    with Running(limits=Limits(upload_bytes=100_000, upload_seconds=1.0)) as running:
        assert running.request("POST", "/v1/denoise", bytes(200_000))[0] == 413
        assert "at most 1 s" in refusal(32000, 1)
        monkeypatch.setattr(files, "MOST_SAMPLES", 20_000)
        assert "at most 20000 samples" in refusal(3000, 8)
        assert "at the model's 16000 Hz" in refusal(900, 2, 1000)  # 28,800 samples at 16 kHz
        assert refusal(10, 9, form="WAV") == "a recording has at most 8 channels here"


def test_files_that_come_too_slowly() -> None:
    with Running(limits=Limits(stall_seconds=0.3, arrival_seconds=0.6)) as running:
        for pause in (0.1, PATIENCE):  # a byte now and then, and nothing
            with socket.create_connection(("127.0.0.1", running.port), PATIENCE) as client:
                client.sendall(post_head(1000))
                while not select.select([client], [], [], pause)[0]:
                    # The answer may be on its way, and then the connection is closed.
                    with contextlib.suppress(ConnectionError):
                        client.sendall(b"x")
                assert b" 408 " in client.recv(1000).splitlines()[0]


def test_a_client_that_goes_while_it_sends_a_file() -> None:
    service = Service(audiotool.load("denoise-tiny-16k"), 1)
    app, sent = Server(service).app(), list[Any]()
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/denoise",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1")],
    }
    messages = [{"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 400
    assert service.counters.files == 0


def test_the_file_of_a_client_that_has_left_is_dropped_at_the_next_block(
    server: Running, held: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="audiotool.serve.sessions")
    body = file_of(speech_like(25.0, 16000))
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client:
        client.sendall(post_head(len(body)) + body)
        wait_until(lambda: held.fed)
    wait_until(lambda: "file: the client left" in caplog.messages)
    held.go_on.set()
    assert server.request("POST", "/v1/denoise", body[:32044])[0] == 200
    assert held.fed == [160000, 16000]
