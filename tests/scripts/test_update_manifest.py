"""scripts/update_manifest.py: cards and checksums of bundled checkpoints; graphs that are there are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import update_manifest

from audiotool import named_checkpoints
from audiotool.errors import CheckpointError


def test_update_manifest_refuses_a_name_that_is_not_there(
    run: Callable[..., str], tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named_checkpoints, "bundled_root", lambda what: tmp_path)
    (tmp_path / "tiny.safetensors").write_bytes(tiny_checkpoint.read_bytes())
    with pytest.raises(CheckpointError, match=r"no checkpoint 'tiney' in .*'tiny'"):
        run("update_manifest", "tiney")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.safetensors"]


def test_update_manifest_makes_nothing_again(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(named_checkpoints, "bundled_root", lambda what: tmp_path)
    (tmp_path / "tiny.safetensors").write_bytes(tiny_checkpoint.read_bytes())
    monkeypatch.setattr(update_manifest, "has_graph", lambda path: True)
    update_manifest.update()
    assert "tiny.md" in capsys.readouterr().out
    assert (tmp_path / named_checkpoints.MANIFEST).read_text().split()[1] == "tiny.safetensors"


def test_update_manifest_describes_the_graph_that_it_has_written(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named_checkpoints, "bundled_root", lambda what: tmp_path)
    (tmp_path / "tiny.safetensors").write_bytes(tiny_checkpoint.read_bytes())
    made = []

    def export(*_: Any, **__: Any) -> tuple[None, SimpleNamespace]:
        made.append("graph")
        return None, SimpleNamespace(worst=0.0)

    monkeypatch.setattr(update_manifest, "export", export)
    monkeypatch.setattr(update_manifest, "write_card", lambda path: made.append("card"))
    update_manifest.update(["tiny"])
    assert made == ["graph", "card"]
