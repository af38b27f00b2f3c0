"""Why a file cannot be written is said in words."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from audiotool.writable import cause, obstacle


def test_a_read_only_disk_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert obstacle(tmp_path / "a.wav") == f"no permission to write in {tmp_path}"
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_flag=os.ST_RDONLY))
    assert obstacle(tmp_path / "a.wav") == f"the disk of {tmp_path} is read-only"
    assert cause(OSError(errno.EROFS, "Read-only file system")) == "the disk is read-only"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_reported_in_words() -> None:
    with pytest.raises(OSError, match="No space") as caught, open("/dev/full", "wb", buffering=0) as full:
        full.write(b"x")
    assert cause(caught.value) == "the disk is full"
