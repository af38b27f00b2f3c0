"""The base class of MP-SENet and MambAttention, which enhance compressed magnitude and phase."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from audiotool.dsp.level import Level
from audiotool.dsp.magnitude_phase import MagnitudePhase, as_complex
from audiotool.models.base import Model, measure_level
from audiotool.models.layers.dense import DenseEncoder, MaskDecoder, PhaseDecoder


class MagnitudePhaseModel(Model):
    """Base of models whose network maps (magnitude, phase) to (magnitude, phase), each (B, F, T).

        magnitude, phase ── encoder ── blocks ──┬── mask decoder ── x magnitude
                                                └── phase decoder ── phase

    Level: the published models divide by the root mean square of the whole noisy utterance. Files get exactly
    that in a first pass (`process(..., level=...)`); without it each segment's own level is used.

    Instance attributes:
        dense_encoder, mask_decoder, phase_decoder: parts of the network, see `layers.dense`.
        blocks: name of the list of layers between them, each (B, C, T, F') -> the same, as in official files.
        transform: analysis of the input and synthesis of the output.
        reanalysis: analysis of the output in training, with the published model's offsets.
        couples_batch: True if the items of a batch influence each other; they are then enhanced one by one.
        scores_reanalysis: True if the metric discriminator scores the magnitude of the synthesised waveform,
            False if it scores the network's.
    """

    dense_encoder: DenseEncoder
    mask_decoder: MaskDecoder
    phase_decoder: PhaseDecoder
    blocks: ClassVar[str]
    transform: MagnitudePhase
    reanalysis: MagnitudePhase
    couples_batch = False
    scores_reanalysis = True
    causal = False
    uses_level = True

    def forward(self, mag: Tensor, phase: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Noisy magnitude and phase (B, F, T) -> enhanced ones, and the complex spectrum (B, F, T, 2)."""
        x = self.dense_encoder(torch.stack((mag, phase), dim=1).transpose(2, 3))
        for block in self.get_submodule(self.blocks).children():
            x = block(x)
        enhanced = mag * self.mask_decoder(x)
        phase = self.phase_decoder(x)
        return enhanced, phase, as_complex(enhanced, phase)

    def process(self, x: Tensor, level: Level[Tensor] | None = None, **conditions: Any) -> Tensor:
        """Enhance (B, 1, T) -> (B, 1, T), any T >= 0.

        Args:
            level: level of the whole recording; None takes that of x.
        """
        if x.shape[-1] == 0:
            return torch.zeros_like(x)
        gain = _gain(measure_level(x) if level is None else level)
        levelled = (x * gain)[:, 0]
        items = levelled.split(1) if self.couples_batch else (levelled,)
        enhanced = [self.transform.synthesise(*self._network(item), x.shape[-1]) for item in items]
        return torch.cat(enhanced)[:, None] / gain

    def _network(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        mag, phase, _ = self(*self.transform.analyse(waveform))
        return mag, phase

    def training_outputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the estimate, and both signals in the domain of the published losses.

        The latter end with the last whole hop, as the published synthesis does.

        Returns:
            "estimate" (B, 1, T) at the input's level; "levelled_estimate" and "levelled_target" (B, 1, T'),
            T' = T // hop * hop, the input scaled to a root mean square of one; "magnitude", "phase",
            "target_magnitude", "target_phase" (B, F, T); "reanalysis" (B, F, T, 2), the estimate's spectrum
            after synthesis; "scored_magnitude" (B, F, T), which the metric discriminator scores against
            "target_magnitude".
        """
        noisy, clean = batch["input"], batch["target"]
        gain = _gain(measure_level(noisy))
        clean = clean * gain
        mag, phase, _ = self(*self.transform.analyse((noisy * gain)[:, 0]))
        estimate = self.transform.synthesise(mag, phase, noisy.shape[-1])
        whole = noisy.shape[-1] // self.transform.hop_length * self.transform.hop_length
        synthesis_mag, synthesis_phase = self.reanalysis.analyse(estimate[..., :whole])
        target_mag, target_phase = self.transform.analyse(clean[:, 0])
        return {
            "estimate": estimate[:, None] / gain,
            "levelled_estimate": estimate[:, None, :whole],
            "levelled_target": clean[..., :whole],
            "magnitude": mag,
            "phase": phase,
            "target_magnitude": target_mag,
            "target_phase": target_phase,
            "reanalysis": as_complex(synthesis_mag, synthesis_phase),
            "scored_magnitude": synthesis_mag if self.scores_reanalysis else mag,
        }


def _gain(level: Level[Tensor]) -> Tensor:
    """Return the gain that scales a recording to a root mean square of one; silence stays silent."""
    return 1 / level.rms.clamp(min=1e-8)
