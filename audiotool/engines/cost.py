"""Count the multiply-accumulates of a model."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from audiotool.compat import fake_tensors
from audiotool.models.base import Model

logger = logging.getLogger(__name__)

COST_S = 2.0
"""Length of audio over which multiplications are counted."""


@torch.no_grad()
def count_macs(model: Model, seconds: float | None = None) -> float:
    """Count the multiply-accumulates of matrix products, convolutions, attention and recurrences for a second
    of audio.

    Fourier transforms, norms and other work on single elements are not counted. Models with attention over
    the whole segment cost more for a second the longer the segment is. Only shapes are computed, which takes
    no longer for large models. Models whose operations depend on values, and those of many small steps, are
    run.

    Args:
        seconds: of audio; None is two, or one input item for an autoregressive model.
    """
    if seconds is None:
        seconds = 1 / items_per_second(model) if model.autoregressive else COST_S
    noise = _noise(model, seconds)
    length_s = noise.shape[-1] / items_per_second(model)
    # Thousands of tiny steps take less time on real tensors than on the device "meta".
    recurrent = any(isinstance(m, torch.nn.RNNBase) for m in model.modules())
    if not (recurrent or model.sequential or model.autoregressive):
        try:
            with fake_tensors() as shapes:
                return _macs(model, shapes.from_tensor(noise)) / length_s
        except (RuntimeError, TypeError, NotImplementedError) as error:
            logger.debug("%s is run to count its multiplications: %s", model.name, error)
    return _macs(model, noise) / length_s


def _macs(model: Model, x: Tensor) -> float:
    from torch.nn.utils import parametrize
    from torch.utils.flop_counter import FlopCounterMode

    # The counter follows parametrised weights (weight norm) under no_grad, and not in inference mode.
    recurrent = {torch.ops.aten.mkldnn_rnn_layer: _rnn_flops, torch.ops.aten.addmm_: _addmm_flops}
    # It also waits for the gradient of a parameter that a module returns as it is: there must be none.
    trained = [p for p in model.parameters() if p.requires_grad]
    model.requires_grad_(False)
    try:
        with parametrize.cached(), FlopCounterMode(display=False, custom_mapping=recurrent) as counter:
            model.process(x)
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
    return counter.get_total_flops() / 2


def items_per_second(model: Model) -> float:
    """Return the number of input items (samples, or frames for a vocoder) in a second."""
    return model.sample_rate / model.upsampling


def _noise(model: Model, seconds: float) -> Tensor:
    """Return reproducible white noise (1, C, items) as the model's input."""
    generator = torch.Generator().manual_seed(0)
    shape = (1, model.input_channels, max(1, round(seconds * items_per_second(model))))
    return (0.1 * torch.randn(shape, generator=generator)).to(next(model.parameters()).device)


def _addmm_flops(held: Any, a: Sequence[int], b: Sequence[int], **_: Any) -> int:
    """Count the operations of a matrix product that is added in place, as in a step of our GRU."""
    return 2 * a[0] * a[1] * b[1]


def _rnn_flops(x: Sequence[int], *arguments: Any, out_shape: Any = None, **_: Any) -> int:
    """Count the operations of a fused LSTM layer, which multiplies input and hidden state in each step."""
    steps = math.prod(x[:2])
    return 2 * steps * sum(math.prod(shape) for shape in arguments[:2])
