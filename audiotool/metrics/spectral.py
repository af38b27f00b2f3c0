"""Distances between spectra, computed over a stream: the memory does not depend on the length.

Frames at both ends are partly zeros, in place of the reflected samples of centred frames (torch.stft).

    n_fft 4, hop 2, samples 0 to 5:   0 0|0 1     0 1 2 3     2 3 4 5     4 5|0 0
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from audiotool.metrics.base import Metric, Pair, Unscorable

if TYPE_CHECKING:
    from torch import Tensor

RESOLUTIONS = ((512, 128), (1024, 256), (2048, 512))
"""(n_fft, hop_length) of the multi-resolution distance."""

POWER_FLOOR = 1e-10
"""Least power of a bin: 154 dB below a sine of full scale, whose bin has the power 512²."""

MAGNITUDE_FLOOR = 1e-5
"""Least magnitude of a bin or of a mel band."""


class LogSpectralDistance(Metric):
    """Root mean square over bins of log10 power ratios, mean over frames; n_fft 2048, hop 512, Hann.

    The definition of the super-resolution literature (Gray and Markel, IEEE TASSP 1976), in bels of power.
    Powers below `POWER_FLOOR` count as it: in a quieter recording the distance may be smaller.
    """

    name: ClassVar[str] = "lsd"
    unit = "log10"
    higher_is_better = False
    needs = ("torch",)

    def first_bin(self, pair: Pair) -> int:
        """Return the lowest of the 1025 bins that counts."""
        return 0

    def measure(self, pair: Pair) -> float:
        pair.require_sound()
        total, frames, first = 0.0, 0, self.first_bin(pair)
        for reference, estimate in _spectra(pair, 2048, 512):
            ratio = _log_power(reference[:, first:]) - _log_power(estimate[:, first:])
            total += float(ratio.square().mean(dim=1).sqrt().sum())
            frames += ratio.shape[-1]
        return total / _some(frames)


class HighBandLogSpectralDistance(LogSpectralDistance):
    """Log-spectral distance of the restored band: above the content of the unprocessed input.

    If the end of that content is not known, or near the Nyquist frequency, the band is the upper half of the
    spectrum, which a doubling of the sample rate restores.
    """

    name = "lsd_high"
    uses_edge = True

    def first_bin(self, pair: Pair) -> int:
        edge = None if pair.edge_hz is None else math.ceil(pair.edge_hz / pair.sample_rate * 2048)
        return 513 if edge is None or edge > 0.9 * 1024 else edge


class MelL1(Metric):
    """Mean absolute difference of natural-log mels: 80 bands up to half the rate, 46 ms every 12 ms.

    Bands below `MAGNITUDE_FLOOR` count as it: in a quieter recording the distance may be smaller.
    """

    name = "mel_l1"
    unit = "ln"
    higher_is_better = False
    needs = ("torch",)

    def measure(self, pair: Pair) -> float:
        from audiotool.dsp.mel import MelConfig
        from audiotool.dsp.mel_spectrogram import MelSpectrogram

        pair.require_sound()
        hop = round(pair.sample_rate * 256 / 22050)
        mel = MelSpectrogram(
            MelConfig(pair.sample_rate, 4 * hop, hop, 80, padding="causal", floor=MAGNITUDE_FLOOR)
        )
        total, values = 0.0, 0
        for reference, estimate in _analysed(pair, mel.step):
            total += float((reference - estimate).abs().double().sum())
            values += reference.numel()
        return total / _some(values)


class MultiResolutionStftDistance(Metric):
    """Spectral convergence plus mean |ln magnitude ratio|, averaged over three resolutions.

    Magnitudes below `MAGNITUDE_FLOOR` count as it, as in `MelL1`.
    Reference: Yamamoto et al., Parallel WaveGAN, ICASSP 2020, arXiv:1910.11480.
    """

    name = "mrstft"
    higher_is_better = False
    needs = ("torch",)

    def measure(self, pair: Pair) -> float:
        pair.require_sound()
        distances = []
        for n_fft, hop in RESOLUTIONS:
            error = energy = log_error = 0.0
            values = 0
            for reference, estimate in _spectra(pair, n_fft, hop):
                a, b = (spec.abs().clamp(min=MAGNITUDE_FLOOR) for spec in (reference, estimate))
                error += float((a - b).double().square().sum())
                energy += float(a.double().square().sum())
                log_error += float((a.log() - b.log()).abs().double().sum())
                values += a.numel()
            distances.append((error / _some(energy)) ** 0.5 + log_error / _some(values))
        return sum(distances) / len(distances)


def _spectra(pair: Pair, n_fft: int, hop_length: int) -> Iterator[tuple[Tensor, Tensor]]:
    from audiotool.dsp.stft import StreamingSTFT

    return _analysed(pair, StreamingSTFT(n_fft, hop_length, padding="causal"))


def _analysed(pair: Pair, analysis: Callable[..., tuple[Tensor, Any]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the frames of the reference and the estimate, block by block."""
    import torch

    states: list[Any] = [None, None]
    blocks = pair.blocks()
    both = next(blocks, None)
    while both is not None:
        following = next(blocks, None)
        frames = []
        for n, waveform in enumerate(both):
            block = torch.from_numpy(waveform.astype("float32"))[None]
            output, states[n] = analysis(block, states[n], following is None)
            frames.append(output)
        if frames[0].shape[-1]:
            yield frames[0], frames[1]
        both = following


def _log_power(spec: Tensor) -> Tensor:
    return (spec.real.square() + spec.imag.square()).clamp(min=POWER_FLOOR).log10()


def _some(amount: float) -> float:
    if not amount:
        raise Unscorable("too short for one frame")
    return amount
