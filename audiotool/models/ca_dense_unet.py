"""Channel-attention dense U-Net: from a microphone array to speech at its first microphone.

Tolooshams, Giri, Song, Isik, Krishnaswamy: Channel-Attention Dense U-Net for Multichannel Speech Enhancement,
ICASSP 2020, arXiv:2001.11542. No official code or weights were published, and the paper does not give every
size. Outputs may therefore differ from the authors' network. Choices that the paper leaves open:

- attention compares channels bin by bin, over the frames pooled into `embedding` values;
- a complex ratio mask a microphone, unbounded, and the masked spectra summed (filter and sum);
- levels halve bins and frames by strided convolutions; skips are concatenated.

Not causal: kernels and attention look at the whole segment, which the overlap-add streamer cuts and fades.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.configuration import Depth, Length, Rate, Width
from audiotool.dsp.framing import check_frames
from audiotool.dsp.level import Level
from audiotool.dsp.windows import make_window
from audiotool.errors import InputError
from audiotool.models.base import Model, measure_level


@dataclass(frozen=True)
class CADenseUNetConfig:
    """Hyper-parameters.

    Args:
        sample_rate: Hz.
        microphones: channels of the input; any number, fixed for one set of weights.
        n_fft, hop_length: samples; Hann.
        channels: feature maps of each level, outermost first; the last number is the bottleneck's.
        growth: feature maps each layer of a dense block adds.
        dense_layers: layers of a dense block.
        embedding: values a channel's frames are pooled to before channels are compared.
        attention: channel attention after every level; False is the paper's dense U-Net ablation.
        mask: "complex" or "real" (the paper's ablation).
    """

    sample_rate: Rate = 16000
    microphones: Width = 6
    n_fft: Length = 1024
    hop_length: Length = 256
    channels: tuple[Width, ...] = (32, 64, 96, 128, 128)
    growth: Width = 32
    dense_layers: Depth = 4
    embedding: Width = 20
    attention: bool = True
    mask: Literal["complex", "real"] = "complex"

    def __post_init__(self) -> None:
        check_frames(self.n_fft, self.hop_length, whole_hops=False)


class ChannelAttention(nn.Module):
    """Weight feature maps by their similarity, for every bin separately: a beamformer on features.

    w[f] = softmax over source channels of q[f] k[f]^T / sqrt(embedding); the output w v joins the input
    through a pointwise convolution.
    """

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.embedding = embedding
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.join = nn.Conv2d(2 * channels, channels, 1)

    def weights(self, x: Tensor) -> Tensor:
        """(B, C, F, T) -> (B, F, C, C); each row, over the source channels, sums to one."""
        query, key = (
            F.adaptive_avg_pool2d(F.elu(conv(x)), (x.shape[2], self.embedding)).transpose(1, 2)
            for conv in (self.query, self.key)
        )
        return (query @ key.transpose(-1, -2) / self.embedding**0.5).softmax(dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        value = F.elu(self.value(x)).transpose(1, 2)
        attended = (self.weights(x) @ value).transpose(1, 2)
        return self.join(torch.cat((x, attended), dim=1))


class DenseBlock(nn.Module):
    """3x3 convolutions whose inputs are all earlier outputs, then a pointwise reduction (B, C, F, T)."""

    def __init__(self, in_channels: int, out_channels: int, growth: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(in_channels + n * growth, growth, 3, padding=1),
                nn.BatchNorm2d(growth),
                nn.LeakyReLU(0.2),
            )
            for n in range(layers)
        )
        self.reduce = nn.Conv2d(in_channels + layers * growth, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat((x, layer(x)), dim=1)
        return self.reduce(x)


class CADenseUNet(Model):
    """Array recording (B, microphones, T) to speech (B, 1, T)."""

    name = "ca-dense-unet"
    config_class = CADenseUNetConfig
    small: ClassVar[dict[str, Any]] = {
        "n_fft": 128,
        "hop_length": 32,
        "channels": [4, 4],
        "growth": 4,
        "dense_layers": 1,
        "embedding": 4,
    }
    reference = "Tolooshams et al., Channel-Attention Dense U-Net, ICASSP 2020, arXiv:2001.11542"
    causal = False
    channels = None
    uses_level = True

    window: Tensor

    def __init__(self, config: CADenseUNetConfig) -> None:
        super().__init__(config)
        c = config
        self.sample_rate = c.sample_rate
        self.hop_length = c.hop_length
        planes = 2 * c.microphones

        def level(inputs: int, outputs: int) -> nn.Sequential:
            block = DenseBlock(inputs, outputs, c.growth, c.dense_layers)
            attend = ChannelAttention(outputs, c.embedding) if c.attention else nn.Identity()
            return nn.Sequential(block, attend)

        self.input_attention = ChannelAttention(planes, c.embedding) if c.attention else nn.Identity()
        self.encoder = nn.ModuleList()
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        self.decoder = nn.ModuleList()
        inner = planes
        for width, deeper in zip(c.channels, c.channels[1:], strict=False):
            self.encoder.append(level(inner, width))
            self.down.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
            self.up.insert(0, nn.ConvTranspose2d(deeper, width, 4, stride=2, padding=1))
            self.decoder.insert(0, level(2 * width, width))
            inner = width
        self.bottleneck = level(inner, c.channels[-1])
        self.mask = nn.Conv2d(c.channels[0], planes if c.mask == "complex" else c.microphones, 1)
        self.register_buffer("window", make_window("hann", c.n_fft), persistent=False)

    @property
    def input_channels(self) -> int:
        return self.config.microphones

    def forward(self, mixture: Tensor) -> Tensor:
        """Enhance whole recordings (B, microphones, T) -> (B, T)."""
        return self.process(mixture)[:, 0]

    def process(self, x: Tensor, level: Level[Tensor] | None = None, **conditions: Any) -> Tensor:
        if x.shape[1] != self.config.microphones:
            raise InputError(
                f"this checkpoint was made for {self.config.microphones} microphones, the input has"
                f" {x.shape[1]} channels: use one trained for that array"
            )
        scale = (measure_level(x) if level is None else level).rms + 1e-5
        length = x.shape[-1]
        x = F.pad(x / scale, (0, max(0, self.config.n_fft - length)))
        spec = self._analyse(x)
        enhanced = (self.masks(spec) * spec).sum(1)
        y = torch.istft(enhanced, self.config.n_fft, self.hop_length, window=self.window, length=x.shape[-1])
        return y[:, None, :length] * scale

    def masks(self, spec: Tensor) -> Tensor:
        """Return complex ratio masks (B, microphones, F, T) for specs of the same shape."""
        planes = torch.cat((spec.real, spec.imag), dim=1)[:, :, :-1]
        multiple = 2 ** len(self.down)
        bins, frames = planes.shape[2:]
        padded = F.pad(planes, (0, -frames % multiple, 0, -bins % multiple))
        h = self.input_attention(padded)
        skips = []
        for encode, down in zip(self.encoder, self.down, strict=True):
            skips.append(encode(h))
            h = down(skips[-1])
        h = self.bottleneck(h)
        for up, decode in zip(self.up, self.decoder, strict=True):
            h = decode(torch.cat((up(h), skips.pop()), dim=1))
        # The Nyquist bin, left out of the U-Net, takes the mask of the bin below.
        mask = F.pad(self.mask(h)[:, :, :bins, :frames], (0, 0, 0, 1), mode="replicate")
        if self.config.mask == "real":
            return torch.complex(mask, torch.zeros_like(mask))
        real, imaginary = mask.chunk(2, dim=1)
        return torch.complex(real, imaginary)

    def _analyse(self, x: Tensor) -> Tensor:
        spec = torch.stft(
            x.flatten(0, 1), self.config.n_fft, self.hop_length, window=self.window, return_complex=True
        )
        return spec.unflatten(0, x.shape[:2])
