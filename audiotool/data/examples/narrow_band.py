"""Examples for super-resolution: narrow-band speech in, wide-band speech out."""

from __future__ import annotations

import numpy as np
import scipy.fft
import soxr

from audiotool.data.augment import chance
from audiotool.data.clips import Samples
from audiotool.data.examples.base import Example, Tensors
from audiotool.data.mixer import Facts
from audiotool.errors import RecipeError


class NarrowBand(Example):
    """ "target" (1, T); "input" (1, T): the target without frequencies above `narrow_band.source_rate` / 2,
    at the same sample rate.

    The low-pass differs from example to example, as resamplers and lines do: soxr at one of its qualities, or
    Butterworth slopes of random order. None of them changes the phase, so the band that is kept stays
    aligned.
    """

    name = "narrow-band"
    needs = ("speech",)

    def check(self) -> None:
        super().check()
        if self.data.narrow_band.source_rate >= self.audio.sample_rate:
            raise RecipeError(
                f"data.narrow_band.source_rate is {self.data.narrow_band.source_rate} Hz: it must be less"
                f" than audio.sample_rate, {self.audio.sample_rate} Hz"
            )

    def build(self, rng: np.random.Generator, index: int) -> tuple[Tensors, Facts]:
        track = self.mixer.speech(rng, self.frames(rng))
        wide, _, room = self.mixer.in_room(rng, track.samples)
        (wide,), level = self.mixer.set_level(rng, wide)
        facts = {"speech": track.group, "speech_files": track.files, "room": room}
        return {"input": self._narrowed(rng, wide)[None], "target": wide[None]}, facts | level

    def _narrowed(self, rng: np.random.Generator, wide: Samples) -> Samples:
        rate, source = self.audio.sample_rate, self.data.narrow_band.source_rate
        # Evaluation always uses a good resampler.
        if not self.training or chance(rng, 0.5):
            quality = str(rng.choice(["LQ", "MQ", "HQ", "VHQ"])) if self.training else "HQ"
            narrow = soxr.resample(wide, rate, source, quality=quality)
            back = soxr.resample(narrow, source, rate)[: len(wide)]
            return np.pad(back, (0, len(wide) - len(back))).astype(np.float32)
        edge = rng.uniform(*self.data.narrow_band.roll_off) * source / 2
        order = int(rng.integers(6, 40))
        size = scipy.fft.next_fast_len(len(wide) + rate // 10, real=True)
        frequency = np.linspace(0, rate / 2, size // 2 + 1, dtype=np.float32)
        gain = 1 / np.sqrt(1 + np.minimum(frequency / edge, 4.0) ** (2 * order))
        gain[frequency >= source / 2] = 0
        return scipy.fft.irfft(scipy.fft.rfft(wide, size) * gain.astype(np.float32), size)[: len(wide)]
