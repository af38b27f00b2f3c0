"""URLs of object stores as the reader and the writer see them; tests/batch has whole jobs."""

from __future__ import annotations

import http.server
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from audiotool import extras
from audiotool.audio import remote
from audiotool.errors import InputError
from audiotool.paths import is_url

fsspec = pytest.importorskip("fsspec", reason=extras.install("remote"))


@pytest.fixture
def store() -> Iterator[str]:
    """A folder in memory with two recordings, a hidden one and something else."""
    url = f"memory://{uuid.uuid4().hex}"
    for name in ("a.wav", "sub/b.FLAC", ".hidden.wav", "sub/.c.wav", "notes.txt"):
        with fsspec.open(f"{url}/{name}", "wb") as file:
            file.write(name.encode())
    yield url
    fsspec.filesystem("memory").rm(url, recursive=True)


@pytest.mark.parametrize("place", ["s3://bucket/a.wav", "GS://b/c", "memory://x"])
def test_urls_are_distinguished_from_paths(place: str) -> None:
    assert is_url(place)
    assert remote.name_of(place).name == place.rsplit("/", 1)[-1]


@pytest.mark.parametrize(
    "place", ["a.wav", "C:\\a.wav", "c://", "/a://b", "s3:/a", Path("s3://b/a.wav"), "-"]
)
def test_paths_are_no_urls(place: object) -> None:
    assert not is_url(place)


def test_the_name_of_a_signed_url_is_that_of_its_path() -> None:
    assert str(remote.name_of("https://host/sub/a.wav?X-Amz-Signature=1/2")) == "a.wav"


def test_a_folder_is_its_recordings_in_order(store: str) -> None:
    found = remote.find(store, (".wav", ".flac"))
    assert [(url, place.as_posix()) for url, place in found] == [
        (f"{store}/a.wav", "a.wav"),
        (f"{store}/sub/b.FLAC", "sub/b.FLAC"),
    ]
    assert remote.find(f"{store}/notes.txt", (".wav",)) == [
        (f"{store}/notes.txt", remote.name_of("notes.txt"))
    ]
    with pytest.raises(InputError, match="no recordings in"):
        remote.find(f"{store}/none", (".wav",))


def test_files_go_there_and_back(store: str, tmp_path: Path) -> None:
    remote.fetch(f"{store}/a.wav", tmp_path / "a.wav")
    assert (tmp_path / "a.wav").read_bytes() == b"a.wav"
    assert not remote.exists(f"{store}/new/b.wav")
    remote.send(tmp_path / "a.wav", f"{store}/new/b.wav")
    assert remote.exists(f"{store}/new/b.wav")
    with pytest.raises(InputError, match=f"{store}/none.wav: there is no such object"):
        remote.fetch(f"{store}/none.wav", tmp_path / "none.wav")


class Broken:
    """A store that can be named and not reached."""

    def __getattr__(self, name: str) -> object:
        def refuse(*_: object, **__: object) -> None:
            raise ConnectionError("no route")

        return refuse


def test_a_store_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("fsspec.core.url_to_fs", lambda url: (Broken(), url))
    place = tmp_path / "a.wav"
    for action in (
        lambda: remote.find("s3://b/a", ()),
        lambda: remote.exists("s3://b/a"),
        lambda: remote.fetch("s3://b/a", place),
        lambda: remote.send(place, "s3://b/a"),
    ):
        with pytest.raises(InputError, match="s3://b/a: no route"):
            action()
    with pytest.raises(InputError, match=r"^http://b/a: no route$"):
        remote.exists("http://jane:hunter2@b/a?token=1")


class Refusing(http.server.BaseHTTPRequestHandler):
    """Answers with the status that the path names."""

    def do_GET(self) -> None:
        self.send_error(int(self.path.split("/")[1]))

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Keep standard error quiet."""


def test_web_servers_that_refuse_or_are_not_there_say_so() -> None:
    pytest.importorskip("aiohttp", reason=extras.install("remote"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        host = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for status, reason in ((403, "Forbidden"), (404, "Not Found")):
            with pytest.raises(InputError, match=rf"^{host}/{status}/a\.flac: {status}.*{reason}"):
                remote.find(f"{host}/{status}/a.flac", (".flac",))
        server.shutdown()
    with pytest.raises(InputError, match=rf"^{host}/a\.flac: .*{server.server_port}"):
        remote.find(f"{host}/a.flac", (".flac",))


def test_objects_that_cannot_be_opened_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="Protocol not known"):
        remote.exists("nothing://bucket/a.wav")
    with pytest.raises(InputError, match="without '::'"):
        remote.exists("file://x::memory://y")

    def fail(url: str) -> None:
        raise RuntimeError("")

    monkeypatch.setattr("fsspec.core.url_to_fs", fail)
    with pytest.raises(InputError, match="s3://b/a: RuntimeError"):
        remote.exists("s3://b/a")
