"""A causal vocoder that predicts F0 and the magnitude spectrum, and finds the phase by a few iterations.

    mel ── causal ConvNeXt ──┬── F0, voicing ── comb ──────┐          ┌── phase of F0's harmonics
                             ├── depth of the comb ────────┤          │   (noise where there are none)
                             └── correction ───────────────┴─ magnitude ── inversion ── waveform
    mel ── interpolated envelope ──────────────────────────┘

Only the magnitude is learned, by regression, and the phase is constructed. Training therefore takes minutes
and no discriminator. For bin k at f_k Hz and the nearest harmonic h,

    ln M[k] = envelope[k] + correction[k] + depth[k] . comb(f_k - h F0, f_k / F0)
    phase[k] = 2 pi h sum(F0 . hop / sample_rate) - pi k

where the comb is the log main lobe of the Hann window round each harmonic and a cosine of period F0, and
- pi k moves the phase from the frame's centre to its beginning. Finally M is scaled so that its mel equals
the given one; with `freedom`, each iteration does so too.

The inversion is fast Griffin-Lim (`dsp/griffin_lim.py`), of which each iteration adds a look-ahead of one
frame to the latency, or real-time spectrogram inversion (`dsp/spectrogram_inversion.py`), whose iterations
share one look-ahead; there each frame begins with the phases of the frame before, advanced by F0's harmonics.
Iterations also amplify rounding, and rounding may move F0 by a step of its grid: docs/vocoders.md says by how
much the output changes with other chunk sizes.

References: the source-filter idea of Wang, Takaki, Yamagishi, Neural Source-Filter Waveform Models, TASLP
2020, arXiv:1904.12088; the backbone of Siuzdak, Vocos, ICLR 2024, arXiv:2306.00814; Perraudin, Balazs,
Søndergaard, A fast Griffin-Lim algorithm, WASPAA 2013; Zhu, Beauregard, Wyse, Real-time signal estimation
from modified short-time Fourier transform magnitude spectra, TASLP 2007; pitch as classification from Kim et
al., CREPE, ICASSP 2018, arXiv:1802.06182. The combination is ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from audiotool.configuration import Depth, Extent, Fraction, Hertz, Seed, Width
from audiotool.dsp.framing import leading_samples
from audiotool.dsp.griffin_lim import MOMENTUM, StreamingGriffinLim, bin_shares
from audiotool.dsp.mel import filterbank
from audiotool.dsp.pitch import fundamental_frequency
from audiotool.dsp.spectrogram_inversion import StreamingSpectrogramInversion
from audiotool.dsp.stft import StreamingISTFT, StreamingSTFT, power_spectrum
from audiotool.errors import CheckpointError
from audiotool.models.base import State
from audiotool.models.layers import noise
from audiotool.models.layers.receptive_field import Span, conv_transpose_span, latency_of
from audiotool.models.vocoder import Vocoder
from audiotool.models.vocos import VocosBackbone, VocosConfig

MEL_MEAN, MEL_STD = -5.0, 2.5
"""Rough mean and standard deviation of natural-logarithm mels of speech, which normalise the input."""

LOBE = math.log(2)
"""Curvature of the logarithm of the Hann window's main lobe, nearly -LOBE d² at d bins from its centre."""

FLOOR = 4.0
"""Level of the lobe's edge in nepers below its peak."""

MATCHES = 2
"""Number of times that the magnitude is scaled to the given mel."""

GRID = 1e-3
"""Relative step of F0. Without a grid, rounding errors, which depend on how a stream is cut into chunks,
would add up in the phase."""


@dataclass(frozen=True)
class HarmonicVocoderConfig:
    """Hyper-parameters.

    Args:
        mel: definition of the input; natural logarithm, magnitudes.
        dim: width of the backbone.
        intermediate_dim: width inside a ConvNeXt block.
        num_layers: number of blocks.
        fmin, fmax: range of F0 in Hz.
        pitch_bins: number of classes of F0, equally spaced in its logarithm.
        inversion: how the phase is found: "griffin-lim" iterates all frames, one iteration after another;
            "real-time" iterates the few frames that are held whenever one comes in.
        iterations: number of iterations, in real time for each frame that comes in.
        lookahead: frames of look-ahead of an iteration, in real time of all of them together.
        momentum: momentum of the iterations.
        freedom: part of the magnitudes that an iteration may change as far as they have the given mel.
        seed: seed of the noise.
    """

    mel: str | Mapping[str, Any] = "hifigan-22k"
    dim: Width = 256
    intermediate_dim: Width = 512
    num_layers: Depth = 4
    fmin: Hertz = 60.0
    fmax: Hertz = 500.0
    pitch_bins: Width = 128
    inversion: Literal["griffin-lim", "real-time"] = "griffin-lim"
    iterations: Depth = 24
    lookahead: Extent = 1
    momentum: Fraction = MOMENTUM
    freedom: Fraction = 0.0
    seed: Seed = 0

    def __post_init__(self) -> None:
        if not 0 < self.fmin < self.fmax:
            raise ValueError(f"fmin {self.fmin} must be positive and below fmax {self.fmax}")


class MelEnvelope(nn.Module):
    """Conversion between a mel and magnitudes."""

    bank: Tensor
    spread: Tensor
    interpolation: Tensor
    height: Tensor

    def __init__(self, filters: NDArray[np.float32]) -> None:
        """Take the filterbank, (F, n_mels)."""
        super().__init__()
        bank = torch.from_numpy(filters)
        spread = bank / bank.sum(1, keepdim=True).clamp(min=1e-12)
        # Bins outside all bands (above the highest, and 0 Hz) take the nearest band's value.
        interpolation = torch.from_numpy(bin_shares(filters)).T.contiguous()
        self.register_buffer("bank", bank, persistent=False)
        self.register_buffer("spread", spread, persistent=False)
        self.register_buffer("interpolation", interpolation, persistent=False)
        self.register_buffer("height", bank.sum(0).clamp(min=1e-12).log()[:, None], persistent=False)

    def envelope(self, mel: Tensor) -> Tensor:
        """Log mel (B, n_mels, T) -> smooth log magnitudes (B, F, T)."""
        return self.interpolation @ (mel - self.height)

    def match(self, log_magnitude: Tensor, mel: Tensor) -> Tensor:
        """Scale log magnitudes (B, F, T), band by band, until their mel is nearly the given one."""
        for _ in range(MATCHES):
            found = (self.bank.T @ log_magnitude.exp()).clamp(min=1e-12).log()
            log_magnitude = log_magnitude + self.spread @ (mel - found)
        return log_magnitude


class HarmonicVocoder(Vocoder):
    """Mel (B, n_mels, frames) -> waveform (B, 1, frames * hop).

    Raises:
        CheckpointError: the mel is of another kind than natural logarithms of magnitudes.
    """

    name = "harmonic-vocoder"
    config_class = HarmonicVocoderConfig
    small: ClassVar[dict[str, Any]] = {"dim": 16, "intermediate_dim": 24, "num_layers": 1, "iterations": 2}
    reference = (
        "audiotool's own: predicted F0 and magnitude; fast Griffin-Lim (Perraudin et al., WASPAA 2013)"
        " or real-time inversion (Zhu et al., TASLP 2007)"
    )
    causal = True
    hop_length = 4
    """Frames of a live step: most of a step's time is the same for one frame as for four."""
    drain_value = -1000.0
    """Value of frames after the stream: a logarithm whose magnitude is 0."""
    rounding = 2e-2
    """That of most noise. Now and then rounding moves F0 by a step of its grid, or another phase fits as
    well: there the output of `harmonic-vocoder-24k` differs by 0.4 of the peak (docs/vocoders.md)."""
    state_meanings: ClassVar[dict[str, str]] = {
        "backbone": "features that a layer's next convolution needs",
        "phase.0": "cycles of F0 so far, without the whole ones",
        "phase.1": "F0 of the last frame in Hz, 0 before the first",
        "phase.2": "frames so far: where the noise is drawn from",
        "iterations": "an iteration's windowed segments, and the frames that wait for those ahead; in real"
        " time the last samples, and the frames that are held",
        "inverse.0": "sums that the next frame still adds to",
        "inverse.1": "the squared windows in these sums",
    }

    centres: Tensor

    def __init__(self, config: HarmonicVocoderConfig) -> None:
        super().__init__(config)
        c, mel = config, self.mel
        if mel.log != "natural" or mel.power != 1 or mel.win_length not in (None, mel.n_fft):
            raise CheckpointError(f"{self.name} needs natural logarithms of magnitudes, whole windows")
        self.bins = mel.n_fft // 2 + 1
        # The backbone's mel definition serves only for its sizes.
        self.backbone = VocosBackbone(
            mel.n_mels,
            VocosConfig(dim=c.dim, intermediate_dim=c.intermediate_dim, num_layers=c.num_layers, causal=True),
        )
        self.spectrum = nn.Linear(c.dim, 3 * self.bins)
        self.pitch = nn.Linear(c.dim, c.pitch_bins + 1)
        nn.init.zeros_(self.spectrum.weight)
        nn.init.zeros_(self.spectrum.bias)
        self.mel_envelope = MelEnvelope(filterbank(mel))
        centres = torch.linspace(math.log(c.fmin), math.log(c.fmax), c.pitch_bins)
        self.register_buffer("centres", centres, persistent=False)
        self.iterations = self._inversion()
        if c.inversion == "real-time":
            self.hop_length = 1
        self.inverse = StreamingISTFT(mel.n_fft, mel.hop_length, padding=mel.padding)
        self.latency = latency_of(self.input_span, self.upsampling)

    def _inversion(self) -> StreamingGriffinLim | StreamingSpectrogramInversion:
        c, sizes, bank = self.config, (self.mel.n_fft, self.mel.hop_length), filterbank(self.mel)
        if c.inversion == "griffin-lim":
            return StreamingGriffinLim(*sizes, c.iterations, c.lookahead, c.momentum, c.freedom, bank)
        try:
            return StreamingSpectrogramInversion(
                *sizes, bank, c.iterations, c.lookahead, c.momentum, c.freedom, self.mel.padding
            )
        except ValueError as error:
            raise CheckpointError(f"{self.name}: {error}") from error

    def step(self, x: Tensor, state: State = None, final: bool = False) -> tuple[Tensor, State]:
        """Vocode mel frames; return the samples that are complete.

        State: states of the backbone, the phase, the iterations and the inverse transform.
        """
        self.check_features(x)
        state = dict.fromkeys(("backbone", "phase", "iterations", "inverse")) if state is None else state
        prediction, backbone = self.predict(x, state["backbone"])
        spec, rotation, phase = self.initial(prediction, state["phase"])
        if isinstance(self.iterations, StreamingSpectrogramInversion):
            y, iterations = self.iterations(spec, x.exp(), rotation, state["iterations"], final)
            inverse = None
        else:
            spec, iterations = self.iterations(spec, state["iterations"], final, x.exp())
            # Only frames before and after the stream have magnitude 0 in all bands.
            present = (spec.abs().amax(1) > 0).to(x.dtype)
            y, inverse = self.inverse(spec, state["inverse"], final, present)
        state = {"backbone": backbone, "phase": phase, "iterations": iterations, "inverse": inverse}
        return y[:, None], state

    def predict(self, mel: Tensor, state: State = None) -> tuple[dict[str, Tensor], State]:
        """Predict F0, voicing and log magnitude of each frame.

        Returns:
            "pitch_logits" (B, pitch_bins, T), "voicing_logit" (B, T), "f0" (B, T) in Hz, unvoiced frames
            included, "log_magnitude" and "harmonicity" (B, F, T), the level of harmonics above the
            valleys between them in nepers; and the state.
        """
        hidden, state = self.backbone((mel - MEL_MEAN) / MEL_STD, None, state)
        logits, voicing = self.pitch(hidden).transpose(1, 2).split((self.config.pitch_bins, 1), dim=1)
        f0, voicing = self._f0(logits), voicing[:, 0]
        correction, lobe_depth, cosine_depth = self.spectrum(hidden).transpose(1, 2).chunk(3, dim=1)
        lobe, cosine = self._comb(f0.detach())
        voiced = torch.sigmoid(voicing.detach())[:, None]
        comb = voiced * (lobe_depth * lobe + cosine_depth * cosine)
        log_magnitude = self.mel_envelope.match(self.mel_envelope.envelope(mel) + correction + comb, mel)
        return {
            "pitch_logits": logits,
            "voicing_logit": voicing,
            "f0": f0,
            "log_magnitude": log_magnitude,
            "harmonicity": voiced * (lobe_depth + 2 * cosine_depth),
        }, state

    def _f0(self, logits: Tensor) -> Tensor:
        """Return F0 in Hz (B, T): the weighted mean of classes (B, P, T) near the most probable one."""
        best = logits.argmax(dim=1, keepdim=True)
        distance = torch.arange(logits.shape[1], device=logits.device)[None, :, None] - best
        weights = torch.softmax(logits.masked_fill(distance.abs() > 2, -torch.inf), dim=1)
        log_f0 = (weights * self.centres[None, :, None]).sum(1)
        # In float64, because differences in the last digit between runtimes' exp would add up in the phase.
        return (torch.round(log_f0 / GRID) * GRID).double().exp().to(log_f0.dtype)

    def _comb(self, f0: Tensor) -> tuple[Tensor, Tensor]:
        """Return lobes in [-1, 0] and cosines in [-1, 1] of the harmonics of F0 (B, T), each (B, F, T)."""
        harmonics = self._harmonics(f0)
        distance = (harmonics - harmonics.round().clamp(min=1)) * f0[:, None] / self._bin_hz
        lobe = (LOBE * distance.square()).clamp(max=FLOOR) / -FLOOR
        return lobe, torch.cos(2 * torch.pi * harmonics)

    def _harmonics(self, f0: Tensor) -> Tensor:
        """Return each bin's frequency in units of F0, (B, F, T)."""
        bins = torch.arange(self.bins, device=f0.device, dtype=f0.dtype)
        return bins[None, :, None] * self._bin_hz / f0[:, None]

    @property
    def _bin_hz(self) -> float:
        return self.sample_rate / self.mel.n_fft

    def initial(self, prediction: dict[str, Tensor], state: State = None) -> tuple[Tensor, Tensor, State]:
        """Return the predicted magnitudes with initial phases, what advances a frame's phases to the next
        one's, both complex (B, F, T), and the state.

        The advance is that of F0's harmonics, with the purity of the harmonic, 0 to 1, as absolute value.
        State: cycles of F0, last F0, and number of frames, each (B, 1).
        """
        f0 = prediction["f0"]
        frames = f0.shape[-1]
        if state is None:
            nothing = f0.new_zeros(f0.shape[0], 1, dtype=torch.float64)
            state = (nothing, nothing, nothing.long())
        cycles, last, position = state
        if frames == 0:
            nothing = torch.polar(prediction["log_magnitude"], prediction["log_magnitude"])
            return nothing, nothing, state
        f0_double = f0.double()
        track = torch.cat((torch.where(last > 0, last, f0_double[:, :1]), f0_double), dim=1)
        # F0 is interpolated linearly between frames.
        advance = (track[:, 1:] + track[:, :-1]) * (self.upsampling / (2 * self.sample_rate))
        cycles = cycles + advance.cumsum(-1)
        nearest = self._harmonics(f0).round().clamp(min=1)
        order = torch.arange(self.bins, device=f0.device)[None, :, None]
        harmonic = (nearest * cycles[:, None] - order / 2) % 1
        random = noise.uniform(self.config.seed, self.bins, position, frames, f0.device)
        purity = (prediction["harmonicity"] / 2).clamp(0, 1)
        angle = _turned(purity, harmonic.to(f0.dtype)) + _turned(1 - purity, random)
        magnitude = prediction["log_magnitude"].exp()
        spec = angle * (magnitude / angle.abs().clamp(min=1e-9))
        rotation = _turned(purity, (nearest * advance[:, None] % 1).to(f0.dtype))
        return spec, rotation, (cycles[:, -1:] % 1, track[:, -1:].clone(), position + frames)

    def training_outputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the prediction, and the target's F0 by YIN and log magnitude by the STFT.

        Returns:
            the outputs of `predict`, "target_log_magnitude" (B, F, T), "target_f0" (B, T) in Hz, 0 where
            unvoiced, "pitch_classes" (B, pitch_bins, T).
        """
        mel, target = batch["input"], batch["target"][:, 0]
        prediction, _ = self.predict(mel)
        frames = mel.shape[-1]
        with torch.no_grad():
            analysis = StreamingSTFT(self.mel.n_fft, self.mel.hop_length, padding=self.mel.padding)
            spec = analysis.to(target.device)(target, final=True)[0][..., :frames]
            power = power_spectrum(spec) + max(self.mel.power_offset, 1e-10)
            f0 = self._track(target)[:, :frames]
        return prediction | {
            "target_log_magnitude": 0.5 * power.log(),
            "target_f0": f0,
            "pitch_classes": self._pitch_classes(f0),
        }

    def _track(self, waveform: Tensor) -> Tensor:
        """Return F0 in Hz (B, frames), 0 where unvoiced, at the centres of the mel's frames of (B, T)."""
        hop = self.upsampling
        centre = self.mel.lookahead + 1 - self.mel.n_fft // 2
        # YIN costs half at half the rate, and F0 of voices lies far below its Nyquist frequency. Odd hops are
        # tracked at the full rate.
        step = math.gcd(2, hop, self.sample_rate)
        # After the padding, YIN's second frame has the centre of the mel's first.
        x = F.avg_pool1d(F.pad(waveform, (hop - centre, 0))[:, None], step)[:, 0]
        rate, fmin, fmax = self.sample_rate // step, self.config.fmin, self.config.fmax
        return fundamental_frequency(x, rate, hop // step, fmin, fmax)[:, 1:]

    def _pitch_classes(self, f0: Tensor) -> Tensor:
        """Return class probabilities (B, pitch_bins, T) whose mean is the logarithm of F0 (B, T) in Hz."""
        step = self.centres[1] - self.centres[0]
        position = (f0.clamp(min=self.config.fmin).log() - self.centres[0]) / step
        classes = torch.arange(len(self.centres), device=f0.device)[None, :, None]
        return (1 - (position[:, None] - classes).abs()).clamp(min=0)

    def input_span(self, span: Span) -> Span:
        """Return the frames on which samples depend; the phase depends on all earlier frames, too."""
        offset = leading_samples(self.mel.padding, self.mel.n_fft, self.upsampling)
        first, last = conv_transpose_span(span, self.mel.n_fft, self.upsampling, offset)
        if isinstance(self.iterations, StreamingSpectrogramInversion):
            return self.backbone.input_span((first, last + self.iterations.lookahead))
        ahead = self.config.iterations * self.iterations.lookahead
        return self.backbone.input_span((first - self.config.iterations * self.iterations.past, last + ahead))


def _turned(radius: Tensor, cycles: Tensor) -> Tensor:
    """Return complex numbers of an absolute value and an angle in cycles."""
    angle = 2 * torch.pi * cycles
    return torch.view_as_complex(torch.stack((radius * torch.cos(angle), radius * torch.sin(angle)), dim=-1))
