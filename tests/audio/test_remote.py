"""URLs of object stores as the reader and the writer see them; tests/batch has whole jobs."""

from __future__ import annotations

import http.server
import threading
import traceback
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from kit.command import run_process

from audiotool import extras
from audiotool.audio import remote
from audiotool.batch.plan import Layout, make_plan
from audiotool.errors import InputError, PlanError
from audiotool.paths import is_url, without_file_protocol

fsspec = pytest.importorskip("fsspec", reason=extras.install("remote"))
from fsspec.implementations.memory import MemoryFileSystem  # noqa: E402


class Halving(MemoryFileSystem):  # type: ignore[misc]
    """A store that breaks off in a file, where it fails."""

    protocol = "halving"
    fails = False

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace(f"{cls.protocol}://", "memory://")))

    def put_file(self, lpath: str, rpath: str, **_: object) -> None:
        content = Path(lpath).read_bytes()
        self.pipe_file(rpath, content[:3] if self.fails else content)
        if self.fails:
            raise OSError("no room")


class KeepingNames(Halving):
    """One that renames, to names that are not taken."""

    protocol = "keepingnames"

    def mv(self, path1: str, path2: str, **_: object) -> None:
        if self.exists(path2):
            raise OSError("it exists")
        self.store[path2] = self.store.pop(path1)


class Prefixed(Halving):
    """One that lists keys by their beginning, as object stores do."""

    protocol = "prefixed"

    def find(self, path: str, **_: object) -> list[str]:
        return sorted(key for key in self.store if key.startswith(f"{self._strip_protocol(path)}/"))


class Buckets(Halving):
    """A store of objects, which caches its listings and makes a bucket on request."""

    protocol = "s3"
    known: ClassVar[list[str] | None] = None

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        pytest.fail("a bucket would be made")

    def put_file(self, lpath: str, rpath: str, **_: object) -> None:
        self.ls(self._parent(rpath))
        self.pipe_file(rpath, Path(lpath).read_bytes())

    def find(self, path: str, **_: object) -> list[str]:
        Buckets.known = super().find(path)
        return Buckets.known

    def exists(self, path: str, **_: object) -> bool:
        return bool(super().exists(path)) if self.known is None else path in self.known

    def invalidate_cache(self, path: str | None = None) -> None:
        Buckets.known = None


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


@pytest.mark.parametrize(
    ("place", "path"),
    [
        ("file:///a.wav", "/a.wav"),
        ("local://in/a.wav", "in/a.wav"),
        ("file://", "file://"),
        ("s3://b", "s3://b"),
    ],
)
def test_a_url_of_this_machine_is_a_path(place: str, path: str) -> None:
    """Without one it is no folder, which "" would be."""
    assert without_file_protocol(place) == path


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


def test_a_store_of_files_has_complete_ones_alone(store: str, tmp_path: Path) -> None:
    """Its files are written beside their names; earlier ones stay until the new ones are complete."""
    memory = fsspec.filesystem("memory")
    for kind in (Halving, KeepingNames):
        fsspec.register_implementation(kind.protocol, kind, clobber=True)
        url = store.replace("memory:", f"{kind.protocol}:")
        name = "one [two]*.wav" if kind is Halving else "one.wav"
        (tmp_path / "new.wav").write_bytes(b"new one")
        for earlier in (False, True):
            kind.fails = True
            with pytest.raises(InputError, match=f"^{kind.protocol}://.*one.*no room"):
                remote.send(tmp_path / "new.wav", f"{url}/{name}")
            assert memory.isfile(f"{store}/{name}") == earlier
            kind.fails = False
            remote.send(tmp_path / "new.wav", f"{url}/{name}")
            assert memory.cat_file(f"{store}/{name}") == b"new one"
        assert not [path for path in memory.find(store) if path.endswith(".part")]


def test_keys_are_text(store: str) -> None:
    """As paths these would be two; below a folder of this machine they are paths again."""
    keys = {
        "t.wav": "t.wav",
        "/t.wav": "t.wav",
        "./t.wav": "t.wav",
        "x/../t.wav": "t.wav",
        "../u.wav": "u.wav",
    }
    fsspec.register_implementation("prefixed", Prefixed, clobber=True)
    held = fsspec.filesystem("prefixed").store
    folder = f"/{store.removeprefix('memory://')}"
    placed = {f"{folder}/keys/{key}": held[f"{folder}/a.wav"] for key in keys}
    held.update(placed)
    try:
        url = store.replace("memory:", "prefixed:")
        found = remote.find(f"{url}/keys", (".wav",))
        assert {one: str(place) for one, place in found} == {f"{url}/keys/{k}": p for k, p in keys.items()}
    finally:
        for key in placed:
            del held[key]


def test_recordings_of_excluded_folders_are_no_inputs(store: str) -> None:
    found = remote.find(store, (".wav", ".flac"), [f"{store}/sub", f"{store}/a", "/sub"])
    assert [url for url, _ in found] == [f"{store}/a.wav"]


class Broken:
    """A store that can be named and not reached."""

    @staticmethod
    def _get_kwargs_from_urls(url: str) -> dict[str, str]:
        return {}

    @staticmethod
    def _strip_protocol(url: str) -> str:
        return url

    def __getattr__(self, name: str) -> object:
        def refuse(*_: object, **__: object) -> None:
            raise ConnectionError("no route")

        return refuse


def test_a_store_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("fsspec.get_filesystem_class", lambda protocol: Broken)
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


@pytest.mark.parametrize(
    ("url", "said", "shown"),
    [
        ("s3://KEY:hunter2@bkt/a", 'Invalid bucket name "KEY:hunter2@bkt"', 'Invalid bucket name "bkt"'),
        ("sftp://jane:hunter%322@host/a", "jane: hunter22 is wrong", "jane:  is wrong"),
        ("https://host/a?sig=hunter2", "GET /a?sig=hunter2: gone", "GET /a: gone"),
        (
            "s3://bkt/a",
            "Could not connect to 'https://host/b?sig=hunter2'",
            "Could not connect to 'https://host/b'",
        ),
    ],
)
def test_messages_of_libraries_are_shown_without_credentials(
    monkeypatch: pytest.MonkeyPatch, url: str, said: str, shown: str
) -> None:
    """Those of the address stand in them without it, and the traceback would show the whole message."""

    def fail(protocol: str) -> None:
        raise ValueError(said)

    monkeypatch.setattr("fsspec.get_filesystem_class", fail)
    with pytest.raises(InputError) as raised:
        remote.exists(url)
    assert str(raised.value).endswith(f"/a: {shown}")
    if "@" in url or "?" in url:
        assert "hunter" not in "".join(traceback.format_exception(raised.value))


def test_keys_may_hold_what_chains_stores(store: str, tmp_path: Path) -> None:
    """Such a key is one of its own store; nothing in it names another store."""
    (tmp_path / "secret").write_bytes(b"secret")
    for key in ("a::b.wav", "2026::file", "x::simplecache::y.wav", f"a::{tmp_path}/secret"):
        assert not remote.exists(f"{store}/{key}")
        remote.send(tmp_path / "secret", f"{store}/{key}")
        assert remote.exists(f"{store}/{key}")
        assert remote.modified(f"{store}/{key}") > 0
    assert remote.obstacle("s3://bucket/a::b.wav") is None
    assert remote.obstacle(f"s3://bucket/a::file://{tmp_path}/secret") is not None
    for url in (f"{store}/a::file://{tmp_path}/secret", f"simplecache://{store}", f"x::file://{tmp_path}"):
        with pytest.raises(InputError):
            remote.fetch(url, tmp_path / "taken")
    assert not (tmp_path / "taken").exists()


def test_buckets_are_not_made(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsspec.get_filesystem_class", lambda protocol: Buckets)
    url = store.replace("memory:", "s3:")
    (tmp_path / "a.wav").write_bytes(b"new")
    remote.send(tmp_path / "a.wav", f"{url}/b.wav")
    assert fsspec.filesystem("memory").cat_file(f"{store}/b.wav") == b"new"
    with pytest.raises(InputError, match=r"^s3://typo/b\.wav: s3://typo does not exist$") as raised:
        remote.send(tmp_path / "a.wav", "s3://typo/b.wav")
    assert raised.value.__cause__ is None, "the store's message names the address, with any credentials"
    (tmp_path / "in.wav").touch()
    with pytest.raises(PlanError, match=r"^cannot write s3://typo/out/in\.wav: s3://typo does not exist$"):
        make_plan([str(tmp_path / "in.wav")], Layout(output="s3://typo/out/"))
    assert remote.bucket_of("sftp://host/a.wav") is None
    assert not remote.is_missing(url)


def test_what_another_client_writes_after_a_listing_is_seen(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fsspec.get_filesystem_class", lambda protocol: Buckets)
    url = store.replace("memory:", "s3:")
    remote.find(url, (".wav",))
    fsspec.filesystem("memory").pipe_file(f"{store}/late.wav", b"late")
    assert remote.exists(f"{url}/late.wav")


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
        assert remote.obstacle(f"{host}/a.flac") == remote.obstacle("HTTPS://host/a.flac") is not None
    with pytest.raises(InputError, match=rf"^{host}/a\.flac: .*{server.server_port}"):
        remote.find(f"{host}/a.flac", (".flac",))


@pytest.mark.parametrize("workers", [None, 2])
def test_what_debug_prints_has_no_credentials(tmp_path: Path, workers: int | None) -> None:
    """It goes into reports of bugs: the log, of libraries too, and tracebacks of commands and workers."""
    pytest.importorskip("aiohttp", reason=extras.install("remote"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{server.server_port}"
        urls = [f"http://jane:hunter2@{host}/403/{name}.flac?sig=hunter2" for name in "ab"]
        (tmp_path / "list.txt").write_text("\n".join(urls))
        listed = ("--list", tmp_path / "list.txt", "--jobs", workers)
        words = listed if workers else urls[:1]
        shown = run_process(
            "denoise", *words, "-o", tmp_path, "--model", "denoise-tiny-16k", "--debug"
        ).stderr
        server.shutdown()
    assert "Traceback" in shown
    assert f"http://{host}/403/a.flac: 403" in shown
    assert "hunter" not in shown


@pytest.mark.parametrize("place", ["", "/", "/rec/", "/?list=all", "/rec/?a.wav"])
def test_folders_of_the_web_are_refused(place: str) -> None:
    with pytest.raises(
        PlanError, match=r"^http://host:18992\S*: folders of the web are not read; name a rec"
    ):
        remote.find(f"http://host:18992{place}", (".wav",))
    remote.check_input(f"http://host{place}/a.wav".replace("?", ""))


def test_objects_that_cannot_be_opened_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="Protocol not known"):
        remote.exists("nothing://bucket/a.wav")
    with pytest.raises(InputError, match="behind '::'"):
        remote.exists("file://x::memory://y")

    def fail(protocol: str) -> None:
        raise RuntimeError("")

    monkeypatch.setattr("fsspec.get_filesystem_class", fail)
    with pytest.raises(InputError, match="s3://b/a: RuntimeError"):
        remote.exists("s3://b/a")
