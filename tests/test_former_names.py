"""Names of earlier versions: options, recipe keys, cards and runs are read under both."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from kit.audio import write_speech
from kit.command import run_command

import audiotool
from audiotool import checkpoint, named_checkpoints, recipe
from audiotool.engines.card import Card
from audiotool.errors import RecipeError, StreamError
from audiotool.report.json_document import read_json_report
from audiotool.training.folder import check_same_recipe


def run(*words: str | Path) -> str:
    result = run_command(*words)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_option_of_before_is_hidden_and_means_the_same(tmp_path: Path) -> None:
    source = write_speech(tmp_path / "a.wav", 1.0)
    outputs = {}
    for option in ("--no-warm-up", "--no-rehearse", "--warm-up", "--rehearse"):
        target = tmp_path / f"{option}.wav"
        run("denoise", source, "-o", target, option, "--engine", "onnx")
        outputs[option] = soundfile.read(str(target))[0]
    np.testing.assert_array_equal(outputs["--no-warm-up"], outputs["--no-rehearse"])
    np.testing.assert_array_equal(outputs["--warm-up"], outputs["--rehearse"])
    assert not np.array_equal(outputs["--warm-up"], outputs["--no-warm-up"])
    text = run("denoise", "--help")
    assert "--no-warm-up" in text
    assert "rehearse" not in text


def test_reports_of_before_are_read(tmp_path: Path) -> None:
    source, report = write_speech(tmp_path / "a.wav"), tmp_path / "r.json"
    run("denoise", source, "-o", tmp_path / "o.wav", "--no-warm-up", "--engine", "onnx", "--report", report)
    values = json.loads(report.read_text())
    assert values["files"][0]["settings"] == values["run"]["settings"] == {"warm_up": False, "mix": 1.0}

    now = read_json_report(report)
    for entry in (values["files"][0], values["run"]):
        entry["settings"]["rehearse"] = entry["settings"].pop("warm_up")
    report.write_text(json.dumps(values))
    assert read_json_report(report) == now


def test_load_takes_both_names() -> None:
    assert audiotool.load("denoise", rehearse=False).settings.warm_up is False  # type: ignore[call-arg]
    assert audiotool.load("denoise", warm_up=False).settings.warm_up is False
    with pytest.raises(StreamError, match="'rehearse' is the former name of 'warm_up': give one of the two"):
        audiotool.load("denoise", warm_up=True, rehearse=False)  # type: ignore[call-arg]
    with pytest.raises(StreamError, match="did you mean 'warm_up'"):
        audiotool.load("denoise", warmup=False)  # type: ignore[call-arg]


def before(values: dict[str, Any]) -> dict[str, Any]:
    """Plain values of a recipe as an earlier version wrote them."""
    train = dict(values["train"])
    train["rehearsed_probability"] = train.pop("warm_up_probability")
    return {**values, "train": train}


def test_recipes_of_before_are_read() -> None:
    now = recipe.load("denoise")
    assert now.train.warm_up_probability
    assert recipe.parse(before(now.plain()), "old") == now
    changed = recipe.load("denoise", ["train.rehearsed_probability=0.25"])
    assert changed.train.warm_up_probability == 0.25
    both = now.plain()
    both["train"]["rehearsed_probability"] = 0.5
    with pytest.raises(RecipeError, match=r"mine: train\.warm_up_probability is given twice.*keep one"):
        recipe.parse(both, "mine")


def test_bundled_checkpoints_hold_recipes_of_both_kinds() -> None:
    for path in named_checkpoints.bundled().values():
        values = checkpoint.read_metadata(path).recipe
        if values is not None:
            assert recipe.parse(values, str(path)).name


def test_earlier_runs_continue_and_a_changed_key_is_reported(tmp_path: Path) -> None:
    now = recipe.load("denoise")
    check_same_recipe(before(now.plain()), now, tmp_path)
    other = recipe.load("denoise", ["train.warm_up_probability=0.25"])
    with pytest.raises(RecipeError, match=r"train\.warm_up_probability: 0\.5 became 0\.25"):
        check_same_recipe(before(now.plain()), other, tmp_path)


def test_cards_of_before_are_read(tmp_path: Path) -> None:
    path = named_checkpoints.bundled()["denoise-16k"].with_suffix(".json")
    values = json.loads(path.read_text())
    values["rehearses_seconds"] = values.pop("warm_up_seconds")
    values["rehearsed"] = values.pop("warmed_up")
    old = tmp_path / "old.json"
    old.write_text(json.dumps(values))
    assert values["rehearses_seconds"] == 8.0
    shutil.copy(path.with_suffix(".safetensors"), old.with_suffix(".safetensors"))
    found, now = Card.read(old), Card.read(path)
    assert found._replace(states=()) == now._replace(states=())
    assert [state.name for state in found.states] == [state.name for state in now.states]
