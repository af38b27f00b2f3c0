"""A graph does what its model does, however a stream is cut; what has no graph says why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kit.checkpoints import save_model

from audiotool import checkpoint
from audiotool.engines.onnx import OnnxEngine
from audiotool.errors import ExportError
from audiotool.exporting.export import export
from audiotool.exporting.real_pairs import ComplexPair, irfft, rfft
from audiotool.models.base import Model
from audiotool.models.registry import MODELS
from audiotool.tasks.base import served_by

BANDS = {"n_fft": 64, "hop_length": 32, "bands": [[4, 4], [2, 8]], "dim": 8, "layers": 1}
EXPORTED: dict[str, tuple[str, dict[str, Any]]] = {
    "denoiser": ("band-split-gru", {**BANDS, "learnt_start": True}),
    "separator": ("band-split-gru", {**BANDS, "memory": 6, "stems": ["speaker1", "speaker2"]}),
    "extender": (
        "spectral-convnext",
        {"n_fft": 64, "hop_length": 32, "head": "extend", "dim": 12, "blocks": 2},
    ),
    "source and filter": (
        "bandwidth-extension",
        {"n_fft": 64, "hop_length": 32, "bands": 8, "dim": 12, "layers": 2},
    ),
    "vocoder": (
        "harmonic-vocoder",
        {
            "mel": {"sample_rate": 8000, "n_fft": 128, "hop_length": 32, "n_mels": 12, "padding": "same"},
            "dim": 16,
            "intermediate_dim": 24,
            "num_layers": 1,
            "pitch_bins": 16,
            "iterations": 2,
        },
    ),
}
TASKS = {
    "denoiser": "denoise",
    "separator": "separate",
    "extender": "super-resolve",
    "source and filter": "super-resolve",
    "vocoder": "vocode",
}


def build(name: str) -> Model:
    """A small network of random weights, with something learnt at its beginning."""
    torch.manual_seed(0)
    architecture, config = EXPORTED[name]
    model = MODELS.get(architecture).from_config(config).eval()
    for key, value in model.named_parameters():
        if ".beginning." in key:
            torch.nn.init.normal_(value.data, std=0.3)
    return model


@pytest.fixture(scope="module", params=EXPORTED)
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Model, OnnxEngine]:
    """A model, and the engine of its graph."""
    folder: Path = tmp_path_factory.mktemp("graph")
    model = build(request.param)
    path = save_model(folder / "model.safetensors", model, TASKS[request.param])
    card, parity = export(path, folder / "model.onnx")
    assert parity.worst <= model.rounding
    assert card.delay + model.hop_length >= 1
    return model, OnnxEngine.open(folder / "model.onnx", path)


def sound(model: Model, items: int, batch: int = 1) -> torch.Tensor:
    x = 0.1 * torch.randn(batch, model.input_channels, items, generator=torch.Generator().manual_seed(3))
    return x if model.upsampling == 1 else 10 * x - 5


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 1000])
def test_whole_streams(exported: tuple[Model, OnnxEngine], length: int) -> None:
    model, engine = exported
    x = sound(model, length if model.upsampling == 1 else length // 8)
    with torch.inference_mode():
        expected = model.process(x).numpy()
    found = engine.process(x.numpy())
    assert found.shape == expected.shape
    assert np.abs(found - expected).max(initial=0) <= model.rounding * max(
        np.abs(expected).max(initial=0), 1e-3
    )


def test_batches_and_random_chunks(exported: tuple[Model, OnnxEngine]) -> None:
    model, engine = exported
    x = sound(model, 700 if model.upsampling == 1 else 90, batch=3)
    with torch.inference_mode():
        expected = model.process(x).numpy()
    rng = np.random.default_rng(0)
    state, parts, first = engine.start(), [], 0
    while first < x.shape[-1]:
        size = int(rng.integers(0, 4 * model.hop_length))
        output, state = engine.step(x[..., first : first + size].numpy(), state)
        parts.append(output)
        first += size
    parts.append(engine.step(x[..., :0].numpy(), state, final=True)[0])
    found = np.concatenate(parts, axis=-1)[..., : expected.shape[-1]]
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= model.rounding * np.abs(expected).max()


def test_what_a_recording_tells(exported: tuple[Model, OnnxEngine]) -> None:
    """Warm-ups and bandwidths are those of the model."""
    model, engine = exported
    x = sound(model, 900 if model.upsampling == 1 else 90)
    told: dict[str, Any] = {}
    found: dict[str, Any] = {}
    with torch.inference_mode():
        if model.warm_up_seconds:
            told["memory"], found["memory"] = (
                model.warm_up(x[..., :500]),
                engine.warm_up(x[..., :500].numpy()),
            )
        if model.extends_from_hz is not None:
            told["bandwidth_hz"] = found["bandwidth_hz"] = 5000.0
        expected = model.process(x, **told).numpy()
    assert (
        np.abs(engine.process(x.numpy(), **found) - expected).max() <= model.rounding * np.abs(expected).max()
    )


def test_states_are_not_changed_in_place(exported: tuple[Model, OnnxEngine]) -> None:
    model, engine = exported
    chunk = sound(model, 8 * model.hop_length).numpy()
    _, state = engine.step(chunk)
    first, _ = engine.step(chunk, state)
    second, _ = engine.step(chunk, state)
    assert np.array_equal(first, second)


def test_card_says_what_states_are(exported: tuple[Model, OnnxEngine]) -> None:
    model, engine = exported
    card = json.loads(engine._source.with_suffix(".json").read_text())
    assert card["sample_rate"] == model.sample_rate
    assert card["checkpoint_sha256"] == checkpoint.sha256(engine._source.with_suffix(".safetensors"))
    assert all(state["meaning"] for state in card["states"])
    assert {state["type"] for state in card["states"]} <= {"float32", "float64", "int64"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mp-senet", "looks ahead"),
        ("wavenet", "every sample from those before"),
        ("cleanunet", "grows or counts"),
    ],
)
def test_models_without_a_graph_say_why(name: str, reason: str, tmp_path: Path) -> None:
    model = MODELS.get(name).from_config(MODELS.get(name).small).eval()
    path = save_model(tmp_path / "model.safetensors", model, served_by(model)[0])
    with pytest.raises(ExportError, match=f"{name} cannot be exported: .*{reason}") as error:
        export(path, tmp_path / "model.onnx")
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("*.onnx"))


def test_fourier_transforms_in_real_numbers() -> None:
    x = torch.randn(2, 3, 64, dtype=torch.float32)
    spec = torch.fft.rfft(x)
    found = rfft(x)
    assert (torch.complex(found.real, found.imaginary) - spec).abs().max() < 1e-5
    assert (irfft(ComplexPair(spec.real, spec.imag)) - x).abs().max() < 1e-6
