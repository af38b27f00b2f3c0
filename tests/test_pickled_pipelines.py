"""A pipeline goes to other processes as what loads it again."""

from __future__ import annotations

import copy
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kit.audio import speech_like

import audiotool
from audiotool import checkpoint, named_checkpoints

NOISY = speech_like(0.2, 16000)[0]


def sent(pipeline: audiotool.Pipeline) -> audiotool.Pipeline:
    received = pickle.loads(pickle.dumps(pipeline))
    assert isinstance(received, audiotool.Pipeline)
    return received


def test_a_task_goes_with_its_settings_and_its_full_band() -> None:
    pipeline = audiotool.load("denoise", mix=0.5, threads=1)
    pipeline.settings = replace(pipeline.settings, max_attenuation_db=9.0)
    again = sent(pipeline)
    assert again.settings == pipeline.settings
    assert again.engine is not pipeline.engine
    np.testing.assert_array_equal(again(NOISY, 16000), pipeline(NOISY, 16000))
    assert again.at(48000).sample_rate == pipeline.at(48000).sample_rate == 48000
    # What was received is sent on.
    assert sent(again).checkpoint_sha256 == pipeline.checkpoint_sha256


def test_a_path_is_found_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in checkpoint.files_of(named_checkpoints.resolve("denoise-tiny-16k")):
        shutil.copy(file, tmp_path / f"mine{file.suffix}")
    monkeypatch.chdir(tmp_path)
    pickled = pickle.dumps(audiotool.load("mine.safetensors", "cpu", engine="torch"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = pickle.loads(pickled)
    assert (again.engine.kind, again.sample_rate) == ("torch", 16000)


def test_a_file_that_has_changed_since_is_refused(tmp_path: Path) -> None:
    mine = tmp_path / "mine.safetensors"
    shutil.copy(named_checkpoints.resolve("denoise-tiny-16k"), mine)
    pickled = pickle.dumps(audiotool.load(mine, "cpu", engine="torch"))
    assert pickle.loads(pickled).sample_rate == 16000
    shutil.copy(named_checkpoints.resolve("denoise-16k"), mine)
    with pytest.raises(audiotool.CheckpointError, match=r"mine\.safetensors is another checkpoint here"):
        pickle.loads(pickled)


def test_a_task_with_another_default_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pickled = pickle.dumps(audiotool.load("denoise"))
    other = named_checkpoints.resolve("denoise-tiny-16k")
    monkeypatch.setattr(named_checkpoints, "default_for", lambda *_: other)
    with pytest.raises(audiotool.CheckpointError, match="denoise is another checkpoint here"):
        pickle.loads(pickled)


def test_conditions_go_along() -> None:
    pipeline = audiotool.load("denoise-tiny-16k")
    pipeline.conditions = {"speaker": np.arange(3)}
    np.testing.assert_array_equal(sent(pipeline).conditions["speaker"], np.arange(3))


def test_the_result_of_a_file_is_sent_back(tmp_path: Path) -> None:
    audiotool.write(tmp_path / "in.wav", NOISY, 16000)
    result = audiotool.load("denoise-tiny-16k").process_file(tmp_path / "in.wav", tmp_path / "out.wav")
    assert pickle.loads(pickle.dumps(result)) == copy.deepcopy(result) == result


def test_an_engine_of_ones_own_is_not_sent() -> None:
    own = audiotool.Pipeline(audiotool.load("denoise-tiny-16k").engine, "denoise")
    with pytest.raises(audiotool.StreamError, match=r"multiprocessing\.Pool\(initializer=\.\.\.\)"):
        pickle.dumps(own)
