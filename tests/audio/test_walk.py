"""One walk for all commands: links followed once, hidden left out, special files named, never waited for."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kit.audio import write_speech

from audiotool.audio.formats import INSTALL_PYAV
from audiotool.audio.reader import probe
from audiotool.audio.walk import walk
from audiotool.batch.plan import Layout, make_plan
from audiotool.data.scan import scan
from audiotool.errors import InputError, PlanError
from audiotool.metrics.pairing import pair_files

EXPECTED = ["a.wav", "deep/b.wav", "linked/c.wav"]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three recordings, one of them behind a link, among all that is none."""
    folder = tmp_path / "in"
    for name in ("in/a.wav", "in/deep/b.wav", "other/c.wav", "in/.Trash/old.wav", "in/lost+found/d.wav"):
        write_speech(tmp_path / name, 0.1)
    (folder / "._a.wav").write_bytes(b"\0\5\x16\7" + bytes(100))
    (folder / "linked").symlink_to(tmp_path / "other")
    (folder / "again").symlink_to(folder / "deep")
    (folder / "deep" / "circle").symlink_to(folder)
    (tmp_path / "other" / "back").symlink_to(folder)
    (folder / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    os.mkfifo(folder / "pipe.wav")
    # The path of a socket may be no longer than 100 bytes.
    monkeypatch.chdir(folder)
    with socket.socket(socket.AF_UNIX) as place:
        place.bind("socket.wav")
    return folder


def test_every_command_finds_the_same(tree: Path, tmp_path: Path) -> None:
    plan = make_plan([str(tree)], Layout(output=str(tmp_path / "out")))
    assert sorted(job.name for job in plan.jobs) == EXPECTED
    assert [str(e.path.relative_to(tree)) for e in scan(tree).entries] == EXPECTED
    assert [pair.name for pair in pair_files(tree, tree)] == [name[:-4] for name in EXPECTED]


def test_skipped_files_are_named(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    walk(tree, lambda path: path.suffix == ".wav")
    [record] = caplog.records
    for name, kind in (("gone", "a link to nothing"), ("pipe", "a named pipe"), ("socket", "a socket")):
        assert f"{tree / name}.wav ({kind})" in record.getMessage()


def test_a_pattern_names_special_files(tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plan = make_plan([f"{tree}/*.wav"], Layout(output=str(tmp_path / "out")))
    assert [job.name for job in plan.jobs] == ["a.wav"]
    assert f"{tree}/pipe.wav (a named pipe)" in caplog.text
    folders = make_plan([f"{tree}/*/"], Layout(output=str(tmp_path / "out")))
    assert [job.name for job in folders.jobs if job.name.startswith("lost")] == []


def test_many_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for n in range(9):
        (tmp_path / f"{n}.wav").symlink_to(tmp_path / "nowhere")
    assert walk(tmp_path, lambda path: True) == []
    assert "and 6 more" in caplog.text


def test_a_folder_of_its_own_name_is_walked_though_hidden(tmp_path: Path) -> None:
    path = write_speech(tmp_path / ".cache" / "a.wav", 0.1)
    assert walk(tmp_path / ".cache", lambda path: True) == [path]


def test_recordings_that_need_an_extra_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("audiotool.extras.is_there", lambda module: False)
    write_speech(tmp_path / "in" / "a.wav", 0.1)
    for name in ("b.M4A", "c.mp4", "d.wv", "e.webm", "notes.docx", ".hidden.m4a"):
        (tmp_path / "in" / name).write_bytes(b"x")
    out = Layout(output=str(tmp_path / "out"))
    for find in (
        lambda: make_plan([f"{tmp_path}/in"], out),
        lambda: make_plan([f"{tmp_path}/in/*"], out),
        lambda: scan(tmp_path / "in"),
        lambda: pair_files(None, tmp_path / "in"),
    ):
        caplog.clear()
        find()
        [record] = caplog.records
        message = record.getMessage()
        assert f"left out: {tmp_path}/in/b.M4A, {tmp_path}/in/c.mp4, {tmp_path}/in/d.wv and 1 more" in message
        assert message.endswith(f"until `{INSTALL_PYAV}` lets them be read")


def test_a_folder_of_nothing_else_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("audiotool.extras.is_there", lambda module: False)
    (tmp_path / "a.m4a").write_bytes(b"x")
    for find in (scan, lambda folder: pair_files(None, folder)):
        with pytest.raises(InputError, match=r'are read after `pip install "audiotool-speech\[media\]"`'):
            find(tmp_path)
    assert not caplog.records


def _hidden_by_the_system(monkeypatch: pytest.MonkeyPatch, hidden: Path, number: int) -> None:
    """As in a folder without the x permission, or of a path that is too long, also for root."""

    def refusing(real: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def look(path: Any, *args: Any, **options: Any) -> os.stat_result:
            if isinstance(path, str | Path) and Path(path).parent == hidden:
                raise OSError(number, os.strerror(number), str(path))
            return real(path, *args, **options)

        return look

    for name in ("stat", "lstat"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))


@pytest.mark.parametrize(
    ("number", "words"), [(errno.EACCES, "no permission"), (errno.ENAMETOOLONG, "File name too long")]
)
def test_what_may_not_be_looked_at_is_named_and_stops_nothing(
    number: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("in/a.wav", "in/locked/b.wav"):
        write_speech(tmp_path / name, 0.1)
    monkeypatch.chdir(tmp_path)
    _hidden_by_the_system(monkeypatch, Path("in/locked"), number)
    locked = str(Path("in/locked/b.wav"))
    layout = Layout(output="out/")
    # Found in a folder it is an input, too, so that its job fails and nobody takes the batch for whole.
    for found in ("in", "in/*", "in/**/*.wav"):
        assert [job.name for job in make_plan([found], layout).jobs] == ["a.wav", "locked/b.wav"]
    assert not caplog.records
    # Named by the user, the file fails alone, or is refused if nothing else is to be done.
    jobs = make_plan(["in/a.wav", locked], layout).jobs
    assert [job.name for job in jobs] == ["a.wav", "b.wav"]
    with pytest.raises(InputError, match=f"b.wav: {words}"):
        probe(locked)
    with pytest.raises(PlanError, match=f"b.wav: {words}"):
        make_plan([locked], layout)
    with pytest.raises(PlanError, match=f"reference {locked}: {words}"):
        make_plan(["in/a.wav"], Layout(output="out/", reference=locked))
    with pytest.raises(InputError, match=f"estimate {locked}: {words}"):
        pair_files(None, Path(locked))
    # Where an output would be, the system's answer is left to the writing.
    assert make_plan(["in/a.wav"], Layout(output=locked, existing="overwrite")).jobs
