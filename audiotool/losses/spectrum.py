"""Losses on one compressed spectrum."""

from __future__ import annotations

from torch import Tensor

from audiotool.configuration import Length
from audiotool.dsp.stft import power_spectrum, stft
from audiotool.dsp.windows import make_window
from audiotool.losses.base import Loss


class CompressedSpectrumLoss(Loss):
    """Mean squared difference of compressed magnitudes, and of the complex spectra that have them.

    With S_c = |S|^power e^{i arg S}, w the complex weight:
    w |S_c - T_c|^2 + (1 - w) (|S|^power - |T|^power)^2, averaged over bins and frames.

    Args:
        n_fft, hop_length, win_length: samples.
        power: 0 < power <= 1; 0.3 evens out loud and quiet parts.
        complex_weight: 0 (magnitudes alone) to 1 (complex spectra alone).
        asymmetry: weight of an extra term that counts only magnitudes below the target's: it protects speech
            from being removed. 0 leaves it out.
        floor: magnitude below which compression ends and the loss is quadratic. Waveforms at -25 dBFS have
            bins of about 1 during speech. With digital silence in targets the floor must be little below the
            audible level beside speech (0.03), or silence dominates the loss.
    Reference: Braun and Tashev, A consolidated view of loss functions for supervised deep learning-based
        speech enhancement, TSP 2021, arXiv:2009.12286; asymmetry: Wang et al., VoiceFilter-Lite, Interspeech
        2020, arXiv:2009.04323.
    """

    name = "compressed-spectrum"

    def __init__(
        self,
        n_fft: Length = 512,
        hop_length: Length = 128,
        win_length: Length | None = None,
        power: float = 0.3,
        complex_weight: float = 0.3,
        asymmetry: float = 0.0,
        floor: float = 1e-4,
    ) -> None:
        super().__init__()
        if not 0 < power <= 1:
            raise ValueError(f"power lies above 0 and up to 1, found {power}")
        if not 0 <= complex_weight <= 1:
            raise ValueError(f"complex_weight lies between 0 and 1, found {complex_weight}")
        if floor <= 0:
            raise ValueError(f"floor is a magnitude above 0, found {floor}")
        make_window("hann", n_fft, win_length)  # refuses a window beyond n_fft
        self.sizes = (n_fft, hop_length, win_length)
        self.power = power
        self.complex_weight = complex_weight
        self.asymmetry = asymmetry
        self.power_floor = floor**2

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        spec, target_spec = (stft(w, *self.sizes) for w in (outputs["estimate"], batch["target"]))
        gain, target_gain = self._gain(spec), self._gain(target_spec)
        magnitude = spec.abs() * gain
        target_magnitude = target_spec.abs() * target_gain
        difference = spec * gain - target_spec * target_gain
        complex_term = power_spectrum(difference).mean()
        shortfall = magnitude - target_magnitude
        loss = self.complex_weight * complex_term + (1 - self.complex_weight) * shortfall.square().mean()
        if self.asymmetry:
            loss = loss + self.asymmetry * shortfall.clamp(max=0).square().mean()
        return loss

    def _gain(self, spec: Tensor) -> Tensor:
        """Return the gains that compress magnitudes; the floor keeps their slope finite at silence."""
        power = power_spectrum(spec).clamp(min=self.power_floor)
        return power ** ((self.power - 1) / 2)
