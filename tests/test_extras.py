"""Optional packages that are missing or too old are named with the command that installs them."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

from audiotool import extras
from audiotool.audio.formats import format_for
from audiotool.audio.media import MediaFile
from audiotool.errors import DependencyError


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every optional package is there, in version 12.0.0; our metadata ask for 17 of some."""
    monkeypatch.setattr(extras, "is_there", lambda module: True)
    monkeypatch.setattr(extras, "version_of", lambda name: "12.0.0")
    accepted = dict.fromkeys(("av", "ray", "lightning-fabric"), ">=17,<18")
    monkeypatch.setattr(extras, "accepted_versions", lambda: accepted)


@pytest.mark.usefixtures("old")
def test_an_old_package_is_named_where_it_is_required() -> None:
    with pytest.raises(DependencyError) as refusal:
        extras.require("ray", "--cluster")
    assert str(refusal.value) == (
        '--cluster needs ray >=17,<18, 12.0.0 is installed: pip install "audiotool-speech[cluster]"'
    )
    with pytest.raises(DependencyError, match="training needs lightning_fabric >=17"):
        extras.require_extra("train", "training")
    extras.require_extra("serve", "a range that 12.0.0 lies in")


def test_one_command_installs_all_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "is_there", lambda module: module == "pip")
    with pytest.raises(DependencyError) as several:
        extras.require(("torch", "torchaudio", "soxr"), "a score")
    assert str(several.value) == (
        "a score needs torch, torchaudio, soxr, which are not installed:"
        ' pip install "audiotool-speech[torch,resampling]"'
    )
    with pytest.raises(DependencyError) as one:
        extras.require("torch", "recipes losses", "train")
    assert str(one.value) == (
        'recipes losses needs torch, which is not installed: pip install "audiotool-speech[train]"'
    )
    assert one.value.exit_code == 2


def test_an_environment_without_pip_is_one_of_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/home/me/my env/bin/python")
    monkeypatch.setattr(extras, "is_there", lambda module: True)
    assert extras.install("stoi") == 'pip install "audiotool-speech[stoi]"'
    monkeypatch.setattr(extras, "is_there", lambda module: module != "pip")
    assert extras.install("stoi") == (
        "uv pip install \"audiotool-speech[stoi]\" --python '/home/me/my env/bin/python'"
    )


@pytest.mark.usefixtures("old")
def test_a_name_that_an_old_package_lacks_is_explained() -> None:
    error = ImportError("cannot import name 'x' from 'av.stream'", name="av.stream")
    reason = extras.explained(error, "audiotool denoise")
    assert "audiotool denoise needs av >=17,<18, 12.0.0 is installed" in str(reason)
    assert extras.explained(ImportError("cannot import name 'x' from 'h5py'", name="h5py"), "") is None


@pytest.mark.usefixtures("old")
def test_an_old_pyav_neither_reads_nor_writes(tmp_path: Path) -> None:
    pytest.importorskip("av", reason=extras.install("media"))
    (tmp_path / "film.mp4").write_bytes(b"")
    film = (tmp_path / "film.mp4").open("rb")
    with pytest.raises(DependencyError, match=r"film\.mp4 needs av >=17"):
        MediaFile(film, "film.mp4")
    assert film.closed
    with pytest.raises(DependencyError, match=r"out\.mp4: \.mp4 needs av >=17"):
        format_for(tmp_path / "out.mp4", None)


@pytest.mark.parametrize(
    ("version", "accepted", "fits"),
    [
        ("17.0.0", ">=17", True),
        ("16.1.0", ">=17", False),
        ("2.11.0+cpu", ">=2.9", True),
        ("3.0", ">=2.40,<3", False),
        ("1.0", "", True),
    ],
)
def test_ranges(version: str, accepted: str, fits: bool) -> None:
    assert extras.satisfies(version, accepted) is fits


def test_a_version_is_looked_up_once_however_many_files_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def version(distribution: str) -> str:
        asked.append(distribution)
        return "17.0.0"

    monkeypatch.setattr(importlib.metadata, "version", version)
    extras.version_of.cache_clear()
    try:
        assert [extras.version_of("av") for _ in range(3)] == ["17.0.0"] * 3
    finally:
        extras.version_of.cache_clear()
    assert asked == ["av"]
