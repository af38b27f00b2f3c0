"""Nothing half-written: a file is the old one or the new one."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from audiotool import atomic
from audiotool.atomic import (
    PART,
    Replacement,
    claimed,
    is_being_written,
    remove_leftovers,
    replacing,
    write_text,
)
from audiotool.errors import InputError
from audiotool.writable import cause, obstacle


def test_a_file_appears_complete_in_folders_that_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    with replacing(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert [p.name for p in path.parent.iterdir()] == ["b.txt"]
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_failure_leaves_the_earlier_file_only(tmp_path: Path) -> None:
    path = tmp_path / "b.txt"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        fail()
    assert [p.name for p in tmp_path.iterdir()] == ["b.txt"]
    assert path.read_text() == "old"


def test_a_name_that_was_taken_is_free_again_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "full")

    (tmp_path / "b.txt").write_text("another's")
    begun = Replacement(tmp_path / "b.txt")
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="full"):
        begun.commit(replaces=False)
    begun.discard()
    assert [p.name for p in tmp_path.iterdir()] == ["b.txt"]
    assert (tmp_path / "b.txt").read_text() == "another's"


def test_text_keeps_its_line_ends_and_a_file_as_folder_is_reported(tmp_path: Path) -> None:
    write_text(tmp_path / "a.csv", "ä,b\r\n")
    assert (tmp_path / "a.csv").read_bytes() == "ä,b\r\n".encode()
    with pytest.raises(InputError, match="cannot write"):
        write_text(tmp_path / "a.csv" / "b.csv", "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in folders")
def test_a_pipe_or_device_is_never_replaced_even_behind_a_link(tmp_path: Path) -> None:
    # A named pipe stands for a device: only root makes those, and only root could replace /dev/null.
    pipe, link = tmp_path / "pipe", tmp_path / "link.md"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        with pytest.raises(InputError, match="it is a device or a pipe, not a file"):
            write_text(path, "text")
    assert pipe.is_fifo()
    assert sorted(tmp_path.iterdir()) == [link, pipe]


def test_the_longest_name_a_file_may_have(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 125 + ".wav")
    with replacing(path) as file:
        file.write(b"new")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert obstacle(path) is None
    assert "name" in str(obstacle(tmp_path / ("a" * 252 + ".wav")))


def test_the_file_is_new_whatever_has_its_name(tmp_path: Path) -> None:
    first = Replacement(tmp_path / "a.txt")
    [part] = tmp_path.iterdir()
    others = [Replacement(tmp_path / "a.txt") for _ in range(2)]
    assert len({path.name for path in tmp_path.iterdir() if PART.fullmatch(path.name)}) == 3
    for replacement in (first, *others):
        replacement.discard()
    victim = tmp_path / "victim"
    victim.write_text("precious")
    part.symlink_to(victim)
    write_text(tmp_path / "a.txt", "new")
    assert victim.read_text() == "precious"
    assert part.is_symlink()


def test_a_file_that_is_being_written_is_known(tmp_path: Path) -> None:
    path, link = tmp_path / "a.txt", tmp_path / "link"
    link.symlink_to(path)
    assert not is_being_written(path)
    replacement = Replacement(path)
    assert is_being_written(path)
    assert is_being_written(link)
    assert not is_being_written(tmp_path / "b.txt")
    replacement.commit()
    assert not is_being_written(path)
    left = killed_while_writing(path)
    assert not is_being_written(path)
    assert not left.exists()


def test_a_claimed_file_is_known_and_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    left = killed_while_writing(path)
    with claimed(path) as is_mine:
        assert is_mine
        assert left.exists(), "it has the name that others know"
        assert is_being_written(path)
        with claimed(path) as is_mine:
            assert not is_mine
        write_text(path, "new")
    assert not is_being_written(path)
    assert list(tmp_path.iterdir()) == [path]
    (tmp_path / "file").touch()
    with claimed(tmp_path / "file" / "b.txt") as is_mine:
        assert is_mine


def test_what_has_ended_removes_no_file_of_another(tmp_path: Path) -> None:
    first = Replacement(tmp_path / "a.txt")
    first.commit()
    second = Replacement(tmp_path / "a.txt")
    first.discard()
    second.commit()


@pytest.mark.parametrize("platform", ["linux", "win32"])
def test_a_discarded_file_is_removed_while_it_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    """Windows removes no open file."""
    replacement = Replacement(tmp_path / "a.txt")
    unlink = Path.unlink

    def removed(path: Path, missing_ok: bool = False) -> None:
        if replacement.file.closed != (platform == "win32"):
            raise PermissionError("in use, or without its lock")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", removed)
    monkeypatch.setattr(sys, "platform", platform)
    replacement.discard()
    assert not list(tmp_path.iterdir())


def test_a_link_put_in_the_place_of_the_unfinished_file_is_not_taken(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = tmp_path / "out" / "a.txt"

    def attacked() -> None:
        with replacing(path) as file:
            [part] = path.parent.iterdir()
            part.unlink()
            part.symlink_to(victim)
            file.write(b"new")

    with pytest.raises(OSError, match="another program"):
        attacked()
    assert victim.read_text() == "precious"
    assert not path.is_symlink()
    assert not list(path.parent.iterdir())


def test_a_private_file_stays_private_while_and_after_it_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for mode in (0o600, 0o640, 0o664, 0o444):
        path.write_text("old")
        path.chmod(mode)
        with replacing(path) as file:
            file.write(b"new")
            assert os.fstat(file.fileno()).st_mode & 0o777 == 0o600
        assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", mode)
        path.unlink()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_owner_and_group_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    os.chown(path, 1234, 4321)
    path.chmod(0o640)
    write_text(path, "new")
    found = path.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (1234, 4321, 0o640)


def test_a_group_that_cannot_be_kept_hands_its_rights_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(0o660)
    stat, changed = Path.stat, path.stat().st_gid + 1

    def of_another_group(place: Path, **words: bool) -> os.stat_result:
        found = list(stat(place, **words))
        found[5] = changed
        return os.stat_result(found)

    def forbidden(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "fchown", forbidden)
    monkeypatch.setattr(Path, "stat", of_another_group)
    write_text(path, "new")
    assert os.stat(path).st_mode & 0o777 == 0o600


def linked(folder: Path, mode: int) -> tuple[Path, Path]:
    """Return a file of a mode, and a link to it in another folder."""
    target, link = folder / "real" / "a.txt", folder / "out" / "b.txt"
    target.parent.mkdir()
    link.parent.mkdir()
    target.write_text("old")
    target.chmod(mode)
    link.symlink_to(Path("..") / "real" / "a.txt")
    return target, link


def test_behind_a_link_its_target_is_replaced(tmp_path: Path) -> None:
    target, link = linked(tmp_path, 0o640)
    write_text(link, "new")
    assert link.is_symlink()
    assert (target.read_text(), target.stat().st_mode & 0o777) == ("new", 0o640)
    target.unlink()
    write_text(link, "made")
    assert (link.is_symlink(), target.read_text()) == (True, "made")
    assert [p.name for folder in (link.parent, target.parent) for p in folder.iterdir()] == ["b.txt", "a.txt"]
    target.unlink()
    target.parent.rmdir()
    target.parent.write_text("no folder")
    assert str(obstacle(link)).endswith("is not a folder")


def test_a_link_to_a_file_that_nobody_may_write_is_itself_replaced(tmp_path: Path) -> None:
    """The file is one of a store that names it by its content, as that of DVC or git-annex."""
    stored, link = linked(tmp_path, 0o444)
    write_text(link, "new")
    assert (link.is_symlink(), link.read_text(), stored.read_text()) == (False, "new", "old")
    assert [p.name for folder in (link.parent, stored.parent) for p in folder.iterdir()] == ["b.txt", "a.txt"]


def test_a_link_in_a_circle_is_an_error(tmp_path: Path) -> None:
    link = tmp_path / "a.txt"
    link.symlink_to(link)
    assert obstacle(link) == os.strerror(errno.ELOOP)
    with pytest.raises(InputError, match="cannot write"):
        write_text(link, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def killed_while_writing(path: Path) -> Path:
    """The unfinished file of a process that was killed."""
    child = os.fork()
    if child == 0:
        Replacement(path).file.write(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    [part] = path.parent.glob(".*.part")
    return part


def test_leftovers_of_a_killed_process_are_removed_and_nothing_else(tmp_path: Path) -> None:
    left = killed_while_writing(tmp_path / "a.txt")
    others = [tmp_path / ".b.txt.1234.part", tmp_path / f"c.{'2' * 32}.part"]
    for other in others:
        other.write_text("somebody's")
    link = tmp_path / f".a.txt.{'0' * 32}.part"
    link.symlink_to(others[0])
    pipe = tmp_path / f".a.txt.{'1' * 32}.part"
    os.mkfifo(pipe)
    in_work = Replacement(tmp_path / "b.txt")
    remove_leftovers(str(tmp_path))
    assert not left.exists()
    assert link.is_symlink()
    assert all(p.exists() for p in (*others, pipe))
    in_work.file.write(b"new")
    in_work.commit()
    assert (tmp_path / "b.txt").read_text() == "new"


def test_a_file_that_is_just_taken_for_a_leftover_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, attempts = atomic._lock, []

    def first_held_by_a_cleaner(descriptor: int) -> None:
        attempts.append(descriptor)
        if len(attempts) == 1:
            raise BlockingIOError
        lock(descriptor)

    monkeypatch.setattr(atomic, "_lock", first_held_by_a_cleaner)
    with replacing(tmp_path / "a.txt") as file:
        [first] = [
            part for part in tmp_path.glob(".*.part") if part.stat().st_ino != os.fstat(file.fileno()).st_ino
        ]
        first.unlink()
        file.write(b"new")
    assert (tmp_path / "a.txt").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_the_first_file_written_into_a_folder_cleans_it(tmp_path: Path) -> None:
    left = killed_while_writing(tmp_path / "a.txt")
    write_text(tmp_path / "another.txt", "new")
    assert not left.exists()


def test_the_folder_is_removed_meanwhile(tmp_path: Path) -> None:
    def remove() -> None:
        with replacing(tmp_path / "out" / "a.txt") as file:
            shutil.rmtree(tmp_path / "out")
            file.write(b"new")

    with pytest.raises(FileNotFoundError) as caught:
        remove()
    assert cause(caught.value) == "its folder was removed while the file was written"
