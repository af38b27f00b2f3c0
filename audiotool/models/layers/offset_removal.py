"""A waveform without its constant offset, for analyses whose features would hear it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from audiotool.models.base import State
from audiotool.models.layers.levelled_spectrum import whole_hops
from audiotool.models.layers.running_mean import RunningMean

MEAN_SECONDS = 1.0
"""Time constant of the mean."""

LEAST_VARIANCE = 1e-10
"""Added to the variances of hops (-100 dB of full scale), by which their means are weighted."""

NO_WEIGHT = 1e-30
"""Weight below which nothing but digital silence has been heard."""


class OffsetRemoval(nn.Module):
    """Subtract the running mean of a waveform (B, T), over chunks of any length: (B, whole hops).

    The means of single hops are not 0 in speech. Each is weighted by the inverse of its hop's variance, so
    that pauses tell the offset, and pauses after speech get none. Hops of zeros, digital silence, do not
    count, and stay zeros.

    The mean m_n after hop n includes that hop, and has the bias of its start removed, so that nothing is left
    of an offset from the first sample on. Within hop n what is subtracted goes from m_{n-1} to m_n in a
    straight line, because steps have content at all frequencies.

    At the end of a stream zeros are appended, until all frames that begin before the end are complete.

    Args:
        n_fft, hop_length: samples of the frames that are analysed.
        sample_rate: Hz.

    State: (B, 2) the sum of the weighted means of hops, and that of their weights; and the samples of the hop
        that is not complete, if any.
    """

    line: Tensor

    def __init__(self, n_fft: int, hop_length: int, sample_rate: int) -> None:
        super().__init__()
        self.hop_length = hop_length
        self.n_fft = n_fft
        decay = math.exp(-hop_length / (MEAN_SECONDS * sample_rate))
        self.sums = RunningMean(decay, torch.zeros(2))
        self.register_buffer("line", torch.arange(1, hop_length + 1) / hop_length, persistent=False)

    def forward(self, x: Tensor, state: State = None, final: bool = False) -> tuple[Tensor, State]:
        sums, waiting = state or (x.new_zeros(x.shape[0], 2), None)
        x, waiting = whole_hops(x, waiting, self.n_fft, self.hop_length, final)
        if x.shape[-1]:
            x, sums = self._centred(x.reshape(x.shape[0], -1, self.hop_length), sums)
        return x, (sums, waiting)

    def _centred(self, hops: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
        """(B, n, hop_length) to a waveform (B, n * hop_length), and the sums after it."""
        heard = (hops.abs().amax(-1) > 0).to(hops.dtype)
        own = hops.mean(-1)
        weight = heard / ((hops - own[..., None]).square().mean(-1) + LEAST_VARIANCE)
        after, last = self.sums(torch.stack((own * weight, weight), dim=1), sums)
        before = torch.cat((sums[..., None], after[..., :-1]), dim=-1)
        end = after[:, 0] / after[:, 1].clamp(min=NO_WEIGHT)
        # Where nothing was heard before, the first mean holds from the hop's beginning on.
        begin = torch.where(before[:, 1] > NO_WEIGHT, before[:, 0] / before[:, 1].clamp(min=NO_WEIGHT), end)
        trend = begin[..., None] + (end - begin)[..., None] * self.line
        return ((hops - trend) * heard[..., None]).flatten(1), last
