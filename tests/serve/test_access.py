"""Who may use the server: tokens, pages of other sites, names that point here, and its addresses."""

from __future__ import annotations

import json
import socket
from urllib.parse import quote

import pytest
from kit.command import run_command
from kit.patience import PATIENCE

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")

import uvicorn
from kit.server import UPGRADE, Running, refusal

WHY = "this server asks for a token: open the page as /?token=TEXT, or send Authorization: Bearer TEXT"


def test_a_token_is_asked_for() -> None:
    with Running(token="secret") as running:
        with running.stream() as stream:
            assert refusal(stream) == (1008, WHY)
        with running.stream("?token=wrong") as stream:
            assert refusal(stream)[0] == 1008
        for options in (
            {"query": "?token=secret"},
            {"additional_headers": {"Authorization": "Bearer secret"}},
        ):
            with running.stream(**options) as stream:
                assert json.loads(stream.recv(PATIENCE))["type"] == "hello"
        status, answer = running.request("POST", "/v1/denoise", b"x")
        assert (status, json.loads(answer)) == (401, {"error": WHY})
        assert running.request("GET", "/metrics")[0] == 401
        assert running.request("GET", "/metrics", Authorization="Bearer secret")[0] == 200
        assert running.request("GET", "/health")[0] == 200


def test_a_token_may_have_any_letters() -> None:
    token = "schlüssel"
    with Running(token=token) as running:
        assert running.request("GET", f"/metrics?token={quote(token)}")[0] == 200
        for header, status in ((token.encode(), 200), (b"schl\xfcssel", 401), (b"schlussel", 401)):
            with socket.create_connection(("127.0.0.1", running.port), PATIENCE) as client:
                head = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                client.sendall(head + b"Authorization: Bearer " + header + b"\r\n\r\n")
                assert client.makefile("rb").readline().split()[1] == str(status).encode()


@pytest.mark.parametrize(
    ("words", "variable"),
    [(["--token", ""], None), ([], ""), ([], "secret\n"), (["--token", " secret"], None)],
)
def test_a_token_that_admits_all_or_nobody_is_refused(
    monkeypatch: pytest.MonkeyPatch, words: list[str], variable: str | None
) -> None:
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: sockets[0].close())
    if variable is not None:
        monkeypatch.setenv("AUDIOTOOL_TOKEN", variable)
    done = run_command("serve", "--port", "0", "--model", "denoise-tiny-16k", *words)
    assert done.exit_code == 2
    assert "AUDIOTOOL_TOKEN" in done.stderr


@pytest.mark.parametrize(
    "name",
    ["calls.example.org:8443", "https://calls.example.org", "a.example/", "*.example.org", "é.example", ""],
)
def test_a_name_that_no_request_can_have_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: sockets[0].close())
    words = ["serve", "--port", "0", "--model", "denoise-tiny-16k", "--allow-host", "calls.example.org"]
    assert run_command(*words).exit_code == 0
    done = run_command(*words, "--allow-host", name)
    assert done.exit_code == 2
    why = "--allow-host is a name of a-z, 0-9, - and ., without https:// and port"
    assert f"{why}, got '{name}'" in done.stderr


def test_other_sites_pages_are_refused(server: Running) -> None:
    with server.stream(origin="http://evil.example") as stream:
        assert refusal(stream)[0] == 1008
    with server.stream(origin=f"http://127.0.0.1:{server.port}") as stream:
        assert json.loads(stream.recv(PATIENCE))["type"] == "hello"
    assert server.request("POST", "/v1/denoise", b"x", Origin="http://evil.example")[0] == 403


def test_an_origin_that_is_no_address_is_refused(server: Running) -> None:
    with server.stream(origin="http://[::1") as stream:
        assert refusal(stream) == (1008, "requests of other sites' pages are not taken")
    assert server.request("POST", "/v1/denoise", b"x", Origin="http://[::1")[0] == 403


def upgrade(server: Running, host: str, path: str = "/v1/stream") -> tuple[int, bytes]:
    """Answer to a WebSocket's opening handshake that names a host, its page's origin being that host."""
    return server.request("GET", path, b"", Host=host, Origin=f"http://{host}", **UPGRADE)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8321", "localhost.evil.example", "[", "", "127.0.0.1.evil.example"]
)
def test_names_that_a_site_lets_point_here_are_refused(server: Running, host: str) -> None:
    for path in ("/", "/health", "/metrics"):
        status, answer = server.request("GET", path, Host=host, Origin=f"http://{host}")
        assert status == 421
        assert "--allow-host" in json.loads(answer)["error"]
    assert server.request("POST", "/v1/denoise", b"x", Host=host, Origin=f"http://{host}")[0] == 421
    assert upgrade(server, host)[0] in (403, 421)


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost:99", "127.0.0.1:8321", "[::1]:8321", "192.168.1.7", "studio.example:80"]
)
def test_names_of_the_server_are_taken(server: Running, host: str) -> None:
    assert server.request("GET", "/health", Host=host)[0] == 200
    assert upgrade(server, host)[0] == 101


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/vocode", 404),
        ("POST", "/v1/denoise/", 404),
        ("GET", "/health/", 404),
        ("GET", "/v1/denoise", 405),
        ("OPTIONS", "/v1/denoise", 405),
        ("GET", "/v1/stream", 404),
        ("GET", "/../../etc/passwd", 404),
        ("DELETE", "/health", 405),
    ],
)
def test_other_addresses_are_answered_with_the_right_ones(
    server: Running, method: str, path: str, status: int
) -> None:
    found, answer = server.request(method, path)
    assert found == status
    assert "POST /v1/denoise, WebSocket /v1/stream" in json.loads(answer)["error"]


@pytest.mark.parametrize("path", ["/", "/v1/stream/", "/v1/streams", "/v1/denoise", "/health"])
def test_streams_at_other_addresses_are_answered_with_the_right_one(server: Running, path: str) -> None:
    status, answer = upgrade(server, "localhost", path)
    assert status == 404
    assert "WebSocket /v1/stream" in json.loads(answer)["error"]
