"""The base class of vocoders, whose configuration defines the mel and thereby rates and shapes."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from audiotool.dsp.mel import advice_for, mel_config
from audiotool.errors import CheckpointError, InputError
from audiotool.models.base import Model
from audiotool.models.layers.receptive_field import Span, context_of, latency_of


class Vocoder(Model):
    """A model from a mel (B, n_mels, frames) to a waveform (B, 1, frames * upsampling).

    Args:
        config: has a field `mel`, the definition of the input: a preset's name or plain values.

    Attributes:
        uses_f0: True if the channel after the mel is F0 in Hz, 0 where unvoiced.
        mel: definition of the input, a MelConfig; `sample_rate`, `upsampling` and `input_channels` follow
            from it.
    Raises:
        CheckpointError: the definition is unknown or malformed.
    """

    takes: ClassVar[tuple[str, ...]] = ("mel",)
    uses_f0: ClassVar[bool] = False
    causal = False
    hop_length = 1

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.mel = mel_config(config.mel)
        self.sample_rate = self.mel.sample_rate
        self.upsampling = self.mel.hop_length

    @property
    def input_channels(self) -> int:
        return self.mel.n_mels

    @property
    def delay(self) -> int:
        # Input frame f arrives as sample f * upsampling: frames are complete as they come.
        return self.latency

    def check_features(self, features: Tensor) -> None:
        """Check that an input is (B, input_channels, frames).

        Raises:
            InputError: it is not; the message names both shapes, and presets with that many bands.
        """
        if features.dim() != 3 or features.shape[1] != self.input_channels:
            advice = advice_for(features.shape[1]) if features.dim() == 3 else ""
            expected, found = f"(batch, {self.input_channels}, frames)", tuple(features.shape)
            raise InputError(f"{self.name} takes {expected}, got {found}{advice}")

    def check_upsampling(self, product: int) -> None:
        """Check that the layers output one hop a frame.

        Raises:
            CheckpointError: they do not; the message names both numbers.
        """
        if product != self.upsampling:
            raise CheckpointError(
                f"{self.name}: the upsampling layers give {product} samples a frame, the mel has hop_length"
                f" {self.upsampling}"
            )

    def input_span(self, span: Span) -> Span:
        """Return the frames (first, last) on which samples (first, last) of the output depend."""
        raise TypeError(f"{self.name} has no bounded receptive field")

    def declare_context(self) -> None:
        """Set `context` and `latency` from the layers: call it when all of them are there."""
        self.context = context_of(self.input_span((0, self.upsampling - 1)))
        self.latency = latency_of(self.input_span, self.upsampling)

    def process(self, x: Tensor, **conditions: Any) -> Tensor:
        """Vocode a mel (B, n_mels, frames) to (B, 1, output_length(frames)).

        Causal models do it by one `step`, the others by `forward`.

        Raises:
            InputError: x has another number of bands.
        """
        self.check_features(x)
        length = self.output_length(x.shape[-1])
        if length == 0:
            return x.new_zeros(x.shape[0], 1, 0)
        if self.causal:
            return super().process(x, **conditions)
        return self(x, **conditions)[..., :length]
