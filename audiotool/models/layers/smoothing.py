"""Smooth upsampling of frames to samples, and moving averages, as streams."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.models.base import State


class SmoothUpsample(nn.Module):
    """Repeat frames `hop` times and take two moving averages over `hop` samples.

    Each output sample is a weighted sum of three frames: the one before, its own and the next. The weights
    (3, hop) are computed once.

    Args:
        hop: samples a frame.
        replicate: before each average the ends are replicated (hn-sinc-nsf), else zeros follow (hn-nsf).

    State: (last two frames, whether the first frame is done).
    """

    weights: Tensor

    def __init__(self, hop: int, replicate: bool) -> None:
        super().__init__()
        self.replicate = replicate
        sample = torch.arange(-hop, 2 * hop)
        distance = sample - sample[:, None]
        left = (hop - 1) // 2
        average = ((distance >= -left) & (distance < hop - left)).double() / hop
        # Between the averages, samples outside the signal are zero. There are four cases: a frame that is
        # neither the first nor the last one, the first, the last, or both.
        inside = [sample >= -hop, sample >= 0, sample < hop, (sample >= 0) & (sample < hop)]
        twice = torch.stack([(average * mask) @ average for mask in inside])[:, hop : 2 * hop]
        weights = twice.unflatten(-1, (3, hop)).sum(-1).transpose(1, 2)
        self.register_buffer("weights", weights.float().contiguous(), persistent=False)

    def forward(self, x: Tensor, state: State = None, final: bool = False) -> tuple[Tensor, Tensor, State]:
        """(B, C, frames) -> smoothed (B, C, samples), the frames it covers (B, C, frames done), state."""
        waiting, started = (None, False) if state is None else state
        if waiting is None and x.shape[-1]:
            waiting = x[..., :1] if self.replicate else torch.zeros_like(x[..., :1])
        if waiting is not None:
            x = torch.cat((waiting, x), dim=-1)
        if final:
            x = torch.cat((x, x[..., -1:] if self.replicate else torch.zeros_like(x[..., -1:])), dim=-1)
        done = x.shape[-1] - 2
        if done <= 0:
            return x[..., :0], x[..., :0], (x if x.shape[-1] else None, started)
        windows = x.unfold(-1, 3, 1)
        smooth = windows @ self.weights[0]
        if not self.replicate:
            both = final and not started and done == 1
            if not started:
                smooth[:, :, 0] = windows[:, :, 0] @ self.weights[3 if both else 1]
            if final and not both:
                smooth[:, :, -1] = windows[:, :, -1] @ self.weights[2]
        return smooth.flatten(2), x[..., 1:-1], (x[..., done:].clone(), True)

    def exported(self, x: Tensor, first: Tensor, last: Tensor) -> Tensor:
        """Smooth (B, C, T + 2) to (B, C, T * hop); the first and last frame serve only as neighbours.

        Args:
            first, last: boolean (B, 1, T), True for the first and for the last frame of a stream.
        """
        before, centre, after = x[..., :-2], x[..., 1:-1], x[..., 2:]
        edge = centre if self.replicate else torch.zeros_like(centre)
        before, after = torch.where(first, edge, before), torch.where(last, edge, after)
        windows = torch.stack((before, centre, after), dim=-1)
        smooth = windows @ self.weights[0]
        if not self.replicate:
            for n, case in enumerate((first & ~last, last & ~first, first & last), start=1):
                smooth = torch.where(case[..., None], windows @ self.weights[n], smooth)
        return smooth.flatten(2)


class MovingAverage(nn.Module):
    """Average over `width` samples of (B, 1, T), (width - 1) // 2 of them before, edges replicated."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.left = (width - 1) // 2

    def forward(
        self, x: Tensor, state: Tensor | None = None, final: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        if x.shape[-1]:
            before = x[..., :1].expand(*x.shape[:-1], self.left) if state is None else state
            x = torch.cat((before, x), dim=-1)
        elif state is not None:
            x = state
        if final and x.shape[-1]:
            x = F.pad(x, (0, self.width - 1 - self.left), mode="replicate")
        done = x.shape[-1] - self.width + 1
        if done <= 0:
            return x[..., :0], x if x.shape[-1] else state
        return F.conv1d(x, x.new_full((1, 1, self.width), 1 / self.width)), x[..., done:].clone()
