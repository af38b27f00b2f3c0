"""GTCRN: grouped temporal convolutional recurrent network, 33 million multiplications a second of audio.

Rong, Sun, Zhang, Hu, Zhu, Lu: GTCRN: A Speech Enhancement Model Requiring Ultralow Computational Resources,
ICASSP 2024. The published layers use (time, frequency), these (frequency, time), and the decoder's transposed
convolutions of stride 1 are plain convolutions here. The importer converts the kernels.

Causal in time throughout; the intra-frame recurrences run over frequency. Latency is the STFT's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.compat import tree_map
from audiotool.configuration import Length, Rate, Width
from audiotool.dsp.erb import erb_filterbank
from audiotool.dsp.framing import check_frames
from audiotool.dsp.level import Level
from audiotool.dsp.stft import StreamingISTFT, StreamingSTFT, power_spectrum
from audiotool.errors import ExportError
from audiotool.models.base import BEYOND, Model, State, without_end
from audiotool.models.layers.conv import StreamingConv2d
from audiotool.models.layers.recurrent import StreamingGRU


@dataclass(frozen=True)
class GTCRNConfig:
    """Hyper-parameters; the defaults are the published network (23.7 k trained values).

    Args:
        sample_rate: Hz.
        n_fft, hop_length: samples; the window is the square root of a Hann.
        low_bins: bins below the ERB bands, kept as they are.
        erb_bands: bands above them.
        channels: features of each time-frequency point; a multiple of 4.
        dilations: over time, of the grouped temporal blocks.
    """

    sample_rate: Rate = 16000
    n_fft: Length = 512
    hop_length: Length = 256
    low_bins: Width = 65
    erb_bands: Width = 64
    channels: Width = 16
    dilations: tuple[Length, ...] = (1, 2, 5)

    def __post_init__(self) -> None:
        check_frames(self.n_fft, self.hop_length)
        if self.channels % 4:
            raise ValueError(f"channels must be a multiple of 4, found {self.channels}")
        bands = self.low_bins + self.erb_bands
        if bands % 4 != 1:
            raise ValueError(f"low_bins + erb_bands must be 1 more than a multiple of 4, found {bands}")


def neighbours(x: Tensor) -> Tensor:
    """Stack each bin with the ones below and above it (sub-band features): (B, C, F, T) -> (B, 3C, F, T)."""
    padded = F.pad(x, (0, 0, 1, 1))
    bins = x.shape[2]
    return torch.stack([padded[:, :, n : n + bins] for n in range(3)], dim=2).flatten(1, 2)


class TemporalRecurrentAttention(nn.Module):
    """Weight channels by a GRU over the frame energies. State: the GRU's."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.att_gru = StreamingGRU(channels, 2 * channels)
        self.att_fc = nn.Linear(2 * channels, channels)

    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        """(B, C, F, T) -> (B, C, F, T)."""
        recurrent, state = self.att_gru(x.square().mean(2), state)
        weights = self.att_fc(recurrent.transpose(1, 2)).sigmoid().transpose(1, 2)
        return x * weights[:, :, None], state


class GroupedTemporalBlock(nn.Module):
    """Apply a dilated depthwise block to half of the channels, then shuffle them with the other half."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        half = channels // 2
        self.point_conv1 = nn.Conv2d(3 * half, channels, 1)
        self.point_bn1 = nn.BatchNorm2d(channels)
        self.point_act = nn.PReLU()
        self.depth_conv = StreamingConv2d(
            channels, channels, (3, 3), dilation=(1, dilation), groups=channels, frequency_padding=1
        )
        self.depth_bn = nn.BatchNorm2d(channels)
        self.depth_act = nn.PReLU()
        self.point_conv2 = nn.Conv2d(channels, half, 1)
        self.point_bn2 = nn.BatchNorm2d(half)
        self.tra = TemporalRecurrentAttention(half)

    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        """(B, C, F, T) -> (B, C, F, T). State: the convolution's and the attention's."""
        conv_state, attention_state = (None, None) if state is None else state
        changed, kept = x.chunk(2, dim=1)
        h = self.point_act(self.point_bn1(self.point_conv1(neighbours(changed))))
        h, conv_state = self.depth_conv(h, conv_state)
        h = self.point_bn2(self.point_conv2(self.depth_act(self.depth_bn(h))))
        h, attention_state = self.tra(h, attention_state)
        return torch.stack((h, kept), dim=2).flatten(1, 2), (conv_state, attention_state)


class BandBlock(nn.Module):
    """A convolution over frequency alone that halves (or, transposed, doubles) the bands; no state."""

    def __init__(
        self, in_channels: int, out_channels: int, groups: int = 1, up: bool = False, last: bool = False
    ) -> None:
        super().__init__()
        layer = nn.ConvTranspose2d if up else nn.Conv2d
        self.conv = layer(in_channels, out_channels, (5, 1), (2, 1), (2, 0), groups=groups)
        self.bn = nn.BatchNorm2d(out_channels)
        self.act = nn.Tanh() if last else nn.PReLU()

    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        """(B, C, F, T) -> (B, C', F', T)."""
        return self.act(self.bn(self.conv(x))), None


class GroupedGRU(nn.Module):
    """Two GRUs, each over half of the features (B, T, D)."""

    def __init__(self, size: int, hidden_size: int, bidirectional: bool) -> None:
        super().__init__()
        self.rnn1 = nn.GRU(size // 2, hidden_size // 2, batch_first=True, bidirectional=bidirectional)
        self.rnn2 = nn.GRU(size // 2, hidden_size // 2, batch_first=True, bidirectional=bidirectional)

    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        first, second = x.chunk(2, dim=-1)
        state1, state2 = (None, None) if state is None else state
        y1, state1 = self.rnn1(first, state1)
        y2, state2 = self.rnn2(second, state2)
        return torch.cat((y1, y2), dim=-1), (state1, state2)


class DualPathRecurrence(nn.Module):
    """Recurrences over the bands of each frame (both ways), then over the frames of each band (forwards)."""

    def __init__(self, channels: int, bands: int) -> None:
        super().__init__()
        self.intra_rnn = GroupedGRU(channels, channels // 2, bidirectional=True)
        self.intra_fc = nn.Linear(channels, channels)
        self.intra_ln = nn.LayerNorm([bands, channels], eps=1e-8)
        self.inter_rnn = GroupedGRU(channels, channels, bidirectional=False)
        self.inter_fc = nn.Linear(channels, channels)
        self.inter_ln = nn.LayerNorm([bands, channels], eps=1e-8)

    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        """(B, C, F, T) -> (B, C, F, T). State: the inter-frame GRUs', (B, F, H) each."""
        x = x.permute(0, 3, 2, 1)
        batch, frames, bands, _ = x.shape
        intra, _ = self.intra_rnn(x.flatten(0, 1))
        x = x + self.intra_ln(self.intra_fc(intra).unflatten(0, (batch, frames)))
        if state is not None:
            state = [rows.flatten(0, 1)[None] for rows in state]
        inter, state = self.inter_rnn(x.transpose(1, 2).flatten(0, 1), state)
        inter = self.inter_fc(inter).unflatten(0, (batch, bands)).transpose(1, 2)
        state = [rows[0].unflatten(0, (batch, bands)) for rows in state]
        return (x + self.inter_ln(inter)).permute(0, 3, 2, 1), state


class GTCRN(Model):
    """Denoise a waveform (B, 1, T) -> (B, 1, T)."""

    name = "gtcrn"
    config_class = GTCRNConfig
    reference = "Rong et al., GTCRN, ICASSP 2024"
    drain_value = BEYOND
    state_meanings: ClassVar[dict[str, str]] = {
        "hops": "hops so far, those after the end included",
        "samples": "samples so far, without those after the end",
        "history": "the samples before the next hop, one more than a hop",
        "network": "frames that a convolution's next output needs, and the hidden states of the GRUs",
        "synthesis.0": "sums that the next frame still adds to",
        "synthesis.1": "the squared windows in these sums",
    }

    erb_filters: Tensor

    def __init__(self, config: GTCRNConfig) -> None:
        super().__init__(config)
        c = config
        self.sample_rate = c.sample_rate
        self.hop_length = c.hop_length
        self.latency = c.n_fft - 1
        self.analysis = StreamingSTFT(c.n_fft, c.hop_length, window="sqrt_hann", padding="center")
        self.synthesis = StreamingISTFT(c.n_fft, c.hop_length, window="sqrt_hann", padding="center")
        filters = erb_filterbank(c.low_bins, c.erb_bands, c.n_fft, c.sample_rate)
        self.register_buffer("erb_filters", filters)
        bands = c.low_bins + c.erb_bands
        inner_bands = ((bands + 1) // 2 + 1) // 2
        self.encoder = nn.ModuleList(
            [
                BandBlock(9, c.channels),
                BandBlock(c.channels, c.channels, groups=2),
                *(GroupedTemporalBlock(c.channels, d) for d in c.dilations),
            ]
        )
        self.recurrences = nn.ModuleList(DualPathRecurrence(c.channels, inner_bands) for _ in range(2))
        self.decoder = nn.ModuleList(
            [
                *(GroupedTemporalBlock(c.channels, d) for d in reversed(c.dilations)),
                BandBlock(c.channels, c.channels, groups=2, up=True),
                BandBlock(c.channels, 2, up=True, last=True),
            ]
        )

    def forward(self, spec: Tensor) -> Tensor:
        """Enhance whole specs (B, F, T, 2), real and imaginary last, as the official network."""
        enhanced, _ = self._network(torch.view_as_complex(spec.contiguous()), None)
        return torch.view_as_real(enhanced)

    def start(self, level: Level[Tensor] | None = None, **conditions: Any) -> State:
        return {"analysis": None, "network": None, "synthesis": None}

    def step(self, x: Tensor, state: State = None, final: bool = False) -> tuple[Tensor, State]:
        if torch.compiler.is_exporting():
            return self._exported(x, state)
        state = self.start() if state is None else state
        spec, analysis = self.analysis(x[:, 0], state["analysis"], final)
        network = state["network"]
        if spec.shape[-1]:
            spec, network = self._network(spec, network)
        y, synthesis = self.synthesis(spec, state["synthesis"], final)
        return y[:, None], {"analysis": analysis, "network": network, "synthesis": synthesis}

    def _network(self, spec: Tensor, state: State) -> tuple[Tensor, State]:
        """Mask complex (B, F, T), T > 0."""
        layers = [*self.encoder, *self.recurrences, *self.decoder]
        states = list(state or [None] * len(layers))
        magnitude = (power_spectrum(spec) + 1e-12).sqrt()
        features = torch.stack((magnitude, spec.real, spec.imag), dim=1)
        low, high = features.split((self.config.low_bins, spec.shape[1] - self.config.low_bins), dim=2)
        x = neighbours(torch.cat((low, self.erb_filters @ high), dim=2))
        skips: list[Tensor] = []
        first_decoder = len(layers) - len(self.decoder)
        for n, layer in enumerate(layers):
            if n >= first_decoder:
                x = x + skips.pop()
            x, states[n] = layer(x, states[n])
            if n < len(self.encoder):
                skips.append(x)
        low, high = x.split((self.config.low_bins, self.config.erb_bands), dim=2)
        mask = torch.cat((low, self.erb_filters.T @ high), dim=2)
        return spec * torch.complex(mask[:, 0], mask[:, 1]), states

    def graph_start(self, batch: int) -> State:
        """Zeros in the shapes that every hop leaves; the edges of a stream are found by counting."""
        hop = self.hop_length
        if self.config.n_fft != 2 * hop:
            raise ExportError(f"its frames reflect a stream's edges: hop_length must be n_fft / 2, not {hop}")
        silence = self.erb_filters.new_zeros(batch, 2 * self.config.n_fft)
        spec, _ = self.analysis(silence)
        _, network = self._network(spec, None)
        count = torch.zeros(batch, 1, dtype=torch.int64)
        return {
            "hops": count,
            "samples": count.clone(),
            "history": silence[:, : hop + 1].clone(),
            "network": tree_map(lambda x: torch.zeros_like(x) if isinstance(x, Tensor) else x, network),
            "synthesis": (silence[:, :hop].clone(), silence[:, :hop].clone(), 0),
        }

    def _exported(self, x: Tensor, state: dict[str, Any]) -> tuple[Tensor, State]:
        """Compute `step` of whole hops from the state of `graph_start`; samples after the end are `BEYOND`.

        Frame n is centred on sample n * hop_length, the frames at both edges are completed by reflection.
        Its first sample has the weight 0, so that the first frame needs the first hop alone.
        """
        hop, hops = self.hop_length, state["hops"]
        x, inside = without_end(x)
        x, samples = x[:, 0], state["samples"] + inside.sum(-1)
        before = F.pad(x[:, 1:hop].flip(-1), (2, 0))
        joined = torch.cat((torch.where(hops == 0, before, state["history"]), x), dim=-1)
        length = samples.clamp(min=hop + 1)
        spec = self._frames(joined, length, hops * hop - (hop + 1))
        spec, network = self._network(spec, state["network"])
        number = hops + torch.arange(spec.shape[-1], device=x.device)
        present = (number <= torch.div(length, hop, rounding_mode="trunc")).to(x.dtype)
        y, synthesis = self.synthesis(spec * present[:, None], state["synthesis"], present=present)
        state = {
            "hops": hops + spec.shape[-1],
            "samples": samples,
            "history": joined[:, -(hop + 1) :].clone(),
            "network": network,
            "synthesis": synthesis,
        }
        return y[:, None], state

    def _frames(self, joined: Tensor, length: Tensor, begin: Tensor) -> Tensor:
        """Complex (B, F, frames) of samples (B, T + hop_length + 1), those behind the stream's end reflected.

        Args:
            length: (B, 1) samples of the stream.
            begin: (B, 1) position of the first sample in the stream.
        """
        place = torch.arange(joined.shape[-1], device=joined.device)
        mirrored = 2 * (length - 1 - begin) - place
        source = torch.where(place < length - begin, place, mirrored).clamp(min=0)
        frames = joined.gather(-1, source)[:, 1:].unfold(-1, self.config.n_fft, self.hop_length)
        return torch.fft.rfft(frames * self.analysis.window).transpose(1, 2)
