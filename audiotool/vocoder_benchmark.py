"""Measure the speed of every vocoder at its published configuration, with random weights, on one core.

for row in measure_all(seconds=1.0):
    row.name, row.real_time_factor
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from audiotool.models.base import Model

SLOW = 0.5
"""Real-time factor below which only a tenth of a second is measured."""

F0_HZ = 150.0


@dataclass(frozen=True)
class VocoderSpeed:
    """Speed of one vocoder on one core.

    Args:
        macs_per_second: multiply-accumulates for a second of sound.
        real_time_factor: seconds of sound made in a second of processor time, so that other programs on the
            machine show little.
        latency_ms: declared latency of the model; None for unbounded look-ahead.
        streams_by: "state", "exact context, A + B frames" or "cross-fade".
    """

    name: str
    sample_rate: int
    parameters: int
    macs_per_second: float
    real_time_factor: float
    latency_ms: float | None
    streams_by: str


def vocoders() -> list[str]:
    """Return the names of the architectures that synthesise a waveform from a mel."""
    from audiotool.models.registry import MODELS

    return [name for name, model in MODELS.all().items() if "mel" in model.takes]


def measure_all(names: Sequence[str], seconds: float) -> Iterator[VocoderSpeed]:
    """Measure vocoders lazily, one after another.

    Args:
        names: names from `vocoders`.
        seconds: duration of the sound; a tenth of a second for vocoders slower than `SLOW`.
    """
    import torch

    torch.set_num_threads(1)
    for name in names:
        with torch.inference_mode():
            yield measure(published(name), seconds)


def published(name: str) -> Model:
    """Build a model of the default configuration, with folded weights, for inference."""
    import torch

    from audiotool.models.registry import MODELS

    torch.manual_seed(0)
    model_class = MODELS.get(name)
    fields = {field.name for field in dataclasses.fields(model_class.config_class)}
    return model_class.from_config({"weight_norm": False} if "weight_norm" in fields else {}).eval()


def measure(model: Model, seconds: float) -> VocoderSpeed:
    """Measure one vocoder."""
    from audiotool.engines.cost import count_macs

    quick = real_time_factor(model, 0.1)
    bounded = model.causal or model.context is not None
    return VocoderSpeed(
        name=model.name,
        sample_rate=model.sample_rate,
        parameters=model.parameter_count,
        macs_per_second=count_macs(model, None if model.autoregressive else 1.0),
        real_time_factor=quick if quick < SLOW else real_time_factor(model, seconds),
        latency_ms=1000 * model.latency / model.sample_rate if bounded else None,
        streams_by=streams_by(model),
    )


def real_time_factor(model: Model, seconds: float) -> float:
    """Return the seconds of sound per second of this process's processor time."""
    x = features(model, seconds)
    begin = time.process_time()
    model.process(x)
    return x.shape[-1] * model.upsampling / model.sample_rate / (time.process_time() - begin)


def features(model: Model, seconds: float) -> Tensor:
    """Return random features (1, features, frames) of that duration; a channel after the mel is F0 in Hz."""
    import torch

    frames = max(1, round(seconds * model.sample_rate / model.upsampling))
    x = torch.randn(1, model.input_channels, frames) - 4.0
    bands = getattr(model, "mel", None)
    if bands is not None and model.input_channels > bands.n_mels:
        x[:, bands.n_mels :] = F0_HZ
    elif bands is None:
        x[:, -1] = F0_HZ
    return x


def streams_by(model: Model) -> str:
    """Return the mechanism by which the output of a stream equals that of a whole file."""
    if model.causal:
        return "state"
    if model.context is not None:
        return f"exact context, {model.context[0]} + {model.context[1]} frames"
    return "cross-fade"
