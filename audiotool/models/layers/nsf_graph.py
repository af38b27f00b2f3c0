"""The step of NSF vocoders in graphs: whole hops, and states of constant shapes.

`NSF.step` has branches for the edges of a recording. A graph computes every frame alike, also before the
first and after the last one. Each frame therefore has a flag, 1 inside the stream, and values outside are
replaced by the network's padding of a recording:

    backward LSTM                   its gates are closed: the state is 0 where the recording ends
    convolutions of the condition   zeros
    smoothing                       the first and the last frame again, or zeros (hn-nsf)
    cut-off                         the first and the last sample again
    sources and context             zeros before the recording; as no filter block has a bias, all stays 0
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from audiotool.models.base import State, without_end

NSF: TypeAlias = Any
"""`models.nsf.NSF`, which imports this module."""

AVERAGED = 4
"""Frames over which the cut-off is averaged, half of them after its own."""

MEANINGS = {
    "frames": "frames so far, those after the end included",
    "present": "for each of the last frames 1 if it is inside the recording, else 0",
    "recurrent.memory": "hidden (0) and cell state (1) of the forward LSTM",
    "recurrent.ahead": "outputs of the forward LSTM that wait for the backward one",
    "recurrent.waiting": "features that the backward LSTM still needs, and whether a frame is after the end",
    "convs": "frames that a convolution's next output needs",
    "f0": "F0 of frames that wait for the condition: normalised, and in Hz",
    "smooth": "the last two frames before smoothing",
    "cutoff": "cut-off of the samples that the next average still needs",
    "context": "context of the samples that wait for their cut-off",
    "waiting_f0": "F0 in Hz of the frames that wait for their cut-off",
    "phase": "cycles of F0 so far, without the whole ones",
    "blocks": "input that a convolution of a harmonic block still needs",
    "noise": "input that a convolution of the noise block still needs",
    "mix": "samples of both branches that the filters still need",
}


@dataclass(frozen=True)
class Lags:
    """Number of frames by which parts of the step lag behind its input.

    Args:
        condition: the hidden frames.
        smooth: the smooth signals.
        output: the waveform.
    """

    condition: int
    smooth: int
    output: int

    @classmethod
    def of(cls, model: NSF) -> Lags:
        """Return those of a model that is fed whole hops."""
        recurrent = model.condition.blstm
        condition = 0 if recurrent is None else recurrent.wait
        condition += sum(conv.lookahead for conv in model.condition.convs)
        return cls(condition, condition + 1, condition + 1 + (AVERAGED // 2 if model.has_cutoff else 0))

    @property
    def kept(self) -> int:
        """Number of flags that are carried from hop to hop."""
        return self.smooth + AVERAGED


class Flags:
    """Flags of the frames inside the recording, for parts that lag behind the input.

    Args:
        present: (B, 1, kept + T) of the frames before the chunk and of the chunk: 1 inside, else 0.
        before: (B, 1) number of frames before the chunk.
    """

    def __init__(self, present: Tensor, before: Tensor, kept: int) -> None:
        self.present = present
        self.before = before
        self.kept = kept

    def inside(self, lag: int, more: int = 0) -> Tensor:
        """Return flags (B, 1, more + T) of frames `lag` before the chunk's, and of `more` before them."""
        return self.present[..., self.kept - lag - more : self.present.shape[-1] - lag]

    def place(self, lag: int, more: int = 0) -> Tensor:
        """Return the indices (B, 1, more + T) of these frames in the stream, < 0 before its first frame."""
        length = self.present.shape[-1] - self.kept + more
        index = torch.arange(length, device=self.present.device)
        return self.before[..., None] + index - (lag + more)

    def is_last(self, lag: int, more: int = 0) -> Tensor:
        """Return (B, 1, more + T), True for the last frame of the recording; lag >= 1."""
        return (self.inside(lag, more) > 0) & (self.inside(lag - 1, more) == 0)


def start(model: NSF, batch: int) -> dict[str, Any]:
    """Return the state of `step` at the beginning of a stream: zeros."""
    c, hop, lags = model.config, model.upsampling, Lags.of(model)
    zeros = model.input_mean.new_zeros
    recurrent = model.condition.blstm
    state = {
        "frames": torch.zeros(batch, 1, dtype=torch.int64),
        "present": zeros(batch, 1, lags.kept),
        "convs": [zeros(batch, conv.in_channels, conv.span - 1) for conv in model.condition.convs],
        "f0": zeros(batch, 2, lags.condition),
        "smooth": zeros(batch, c.hidden_dim + 2, 2),
        "phase": zeros(batch, 1, dtype=torch.float64),
        "blocks": [_unfed(block, batch) for block in model.harmonic_blocks],
        "noise": _unfed(model.noise_block, batch),
        "mix": zeros(batch, 2, model.mix.history),
    }
    if recurrent is not None:
        state["recurrent"] = recurrent.graph_start(batch)
    if model.has_cutoff:
        state["cutoff"] = zeros(batch, 1, AVERAGED * hop)
        state["context"] = zeros(batch, c.hidden_dim, AVERAGED // 2 * hop)
        state["waiting_f0"] = zeros(batch, 1, AVERAGED // 2)
    return state


def _unfed(block: Any, batch: int) -> list[Tensor]:
    """Return the state of a filter block before its first sample."""
    return [conv.weight.new_zeros(batch, conv.in_channels, conv.left_padding) for conv in block.convs]


def step(model: NSF, x: Tensor, state: dict[str, Any]) -> tuple[Tensor, State]:
    """Compute `NSF.step` for whole hops, from the state of `start`; frames of `BEYOND` are after the end.

    Returns:
        (B, 1, T * upsampling): the samples of the frames `Lags.output` before, and the state.
    """
    lags, hop, state = Lags.of(model), model.upsampling, dict(state)
    x, inside = without_end(x)
    present = torch.cat((state["present"], inside.to(x.dtype)), dim=-1)
    flags = Flags(present, state["frames"], lags.kept)
    features = (x - model.input_mean[:, None]) / model.input_std[:, None] * flags.inside(0)
    hidden = _condition(model, features, flags, state)
    f0 = _delayed("f0", torch.cat((features[:, -1:], x[:, -1:]), dim=1), state)
    joined = torch.cat((state["smooth"], torch.cat((hidden, f0), dim=1)), dim=-1)
    state["smooth"] = joined[..., -2:].clone()
    first, last = flags.place(lags.smooth) == 0, flags.is_last(lags.smooth)
    f0 = joined[:, -1:, 1:-1]
    context, cutoff = model.context_and_cutoff(model.upsample.exported(joined, first, last), f0)
    if model.has_cutoff:
        cutoff = _averaged(cutoff, flags, lags, hop, state)
        context, f0 = _delayed("context", context, state), _delayed("waiting_f0", f0, state)
    place = flags.place(lags.output)
    begun = (place >= 0).to(x.dtype)
    samples = begun.repeat_interleave(hop, dim=-1)
    drawn = {"draws": None, "seed": model.config.seed, "position": place[:, 0, :1] * hop}
    draws = model.draws(drawn, x, x.shape[-1] * hop)
    y = model.synthesise(f0 * begun, context * samples, cutoff, draws, state, samples)
    state["frames"] = state["frames"] + x.shape[-1]
    state["present"] = present[..., present.shape[-1] - lags.kept :].clone()
    return y, state


def _condition(model: NSF, features: Tensor, flags: Flags, state: dict[str, Any]) -> Tensor:
    """Compute hidden frames (B, hidden_dim, T) of features (B, D, T); 0 outside the recording."""
    hidden, lag, recurrent = features, 0, model.condition.blstm
    if recurrent is not None:
        hidden, state["recurrent"] = recurrent.exported(features, flags.inside(0), state["recurrent"])
        lag = recurrent.wait
        hidden = hidden * flags.inside(lag)
    state["convs"] = list(state["convs"])
    for n, conv in enumerate(model.condition.convs):
        hidden, state["convs"][n] = conv(hidden, state["convs"][n])
        lag += conv.lookahead
        hidden = hidden * flags.inside(lag)
    return hidden


def _delayed(name: str, x: Tensor, state: dict[str, Any]) -> Tensor:
    """Delay (B, C, T) by the length of the state's item of that name."""
    length = state[name].shape[-1]
    joined = torch.cat((state[name], x), dim=-1)
    state[name] = joined[..., joined.shape[-1] - length :].clone()
    return joined[..., : joined.shape[-1] - length]


def _averaged(cutoff: Tensor, flags: Flags, lags: Lags, hop: int, state: dict[str, Any]) -> Tensor:
    """Return the moving average of a cut-off (B, 1, T * hop), two frames later, with edges replicated."""
    joined = torch.cat((state["cutoff"], cutoff), dim=-1)
    state["cutoff"] = joined[..., joined.shape[-1] - AVERAGED * hop :].clone()
    frames = joined.unflatten(-1, (-1, hop))
    place, inside = flags.place(lags.smooth, AVERAGED), flags.inside(lags.smooth, AVERAGED)
    last = flags.is_last(lags.smooth, AVERAGED)
    first_value = (frames[..., 0] * (place == 0)).sum(-1, keepdim=True)[..., None]
    last_value = (frames[..., -1] * last).sum(-1, keepdim=True)[..., None]
    filled = torch.where((inside == 0)[..., None], last_value, frames)
    filled = torch.where((place < 0)[..., None], first_value, filled).flatten(2)
    width = AVERAGED * hop
    return F.conv1d(filled[..., 1:], filled.new_full((1, 1, width), 1 / width))
