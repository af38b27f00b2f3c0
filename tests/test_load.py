"""`audiotool.load`: devices, threads, what is refused, and what of the process it leaves alone."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kit.audio import speech_like

import audiotool
from audiotool.errors import CheckpointError, DeviceError, StreamError


@pytest.mark.parametrize("engine", ["onnx", "torch"])
@pytest.mark.parametrize(
    "threads", [0, -1, 1.5, "2", True, 10**6, pytest.param(-(10**5000), id="huge"), np.zeros((9, 9))]
)
def test_a_number_of_threads_that_is_none_is_refused(engine: Any, threads: Any) -> None:
    with pytest.raises(StreamError, match=r"^threads is a whole number from 1 to 1024, got .{,100}$"):
        audiotool.load("denoise-tiny-16k", engine=engine, threads=threads)


def test_loading_leaves_random_numbers_alone(tiny_checkpoint: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: audiotool.load(tiny_checkpoint, device="cpu").live(16000), range(8)))
    torch.testing.assert_close(torch.rand(2), expected)


@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16])
def test_the_default_dtype_of_torch_does_not_count(
    pipeline: audiotool.Pipeline, tiny_checkpoint: Path, default: torch.dtype
) -> None:
    x = speech_like(0.2, 16000)
    expected = pipeline(x, 16000)
    torch.set_default_dtype(default)
    try:
        with ThreadPoolExecutor(4) as pool:
            pipelines = list(pool.map(lambda _: audiotool.load(tiny_checkpoint, device="cpu"), range(4)))
        assert torch.get_default_dtype() == default
        for loaded in pipelines:
            np.testing.assert_array_equal(loaded(x, 16000), expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_live_streams_of_several_threads_leave_warnings_alone(tiny_checkpoint: Path) -> None:
    before = list(warnings.filters)
    pipelines = [audiotool.load(tiny_checkpoint, device="cpu") for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda p: p.live(16000), pipelines))
    assert warnings.filters == before


def test_load_refuses(tiny_checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="neither a file nor one of"):
        audiotool.load("no-such-thing")
    with pytest.raises(CheckpointError, match="made to denoise, not to separate"):
        audiotool.load(tiny_checkpoint, task="separate")
    # Words torch knows too are no devices of ours.
    for device in ("nonsense", "meta", "fpga", "cuda:99", "cpu:3"):
        with pytest.raises(DeviceError, match=f"no device '{device}' here: try --device cpu"):
            audiotool.load(tiny_checkpoint, device=device)


def test_torchs_device_is_the_one_of_its_name() -> None:
    assert audiotool.load("denoise-tiny-16k", torch.device("cpu")).engine.kind == "onnx"
    assert audiotool.load("denoise-tiny-16k", torch.device("cpu"), engine="onnx").engine.kind == "onnx"
    assert next(audiotool.load_model("denoise-tiny-16k", torch.device("cpu")).parameters()).is_cpu
    with pytest.raises(DeviceError, match="no device 'meta' here"):
        audiotool.load("denoise-tiny-16k", torch.device("meta"))


@pytest.mark.parametrize("device", [None, 0, ["cpu"]])
def test_a_device_is_a_name_or_torchs(device: Any) -> None:
    for load in (audiotool.load, audiotool.load_model):
        with pytest.raises(DeviceError, match=r"a device is auto, cpu, .* or a torch\.device, got"):
            load("denoise-tiny-16k", device)
