"""Examples for super-resolution: from narrow-band speech to wide-band speech."""

from __future__ import annotations

import numpy as np
import scipy.fft
import soxr

from audiotool.data.augment import chance, sometimes
from audiotool.data.clips import Samples
from audiotool.data.examples.base import NOISE, SPEECH, Example, Tensors
from audiotool.data.mixer import Facts
from audiotool.dsp.bandwidth import BandwidthMeter
from audiotool.errors import RecipeError

WIDEST = 0.9
"""Greatest bandwidth of an input, relative to that of its target; a wider one leaves nothing to learn."""


class NarrowBand(Example):
    """ "target" (1, T); "input" (1, T): the target without frequencies above a bandwidth, at the same sample
    rate.

    The bandwidth is half of `narrow_band.source_rate`, or drawn for each example, every octave equally often.
    Then "bandwidth_hz" (1, 1) is what a first pass would measure of the input, and "target_bandwidth_hz"
    (1, 1) the bandwidth of the target.

    The low-pass differs from example to example, as resamplers and lines do: soxr at one of its qualities, or
    Butterworth slopes of random order. None of them changes the phase, so the band that is kept stays
    aligned.
    """

    name = "narrow-band"
    needs = ("speech",)
    uses = (*SPEECH, "mixing.reverberation_probability", "narrow_band.*")
    uses_in_training = NOISE

    def check(self) -> None:
        super().check()
        narrow, rate = self.data.narrow_band, self.audio.sample_rate
        if narrow.bandwidth_hz is None and narrow.source_rate >= rate:
            raise RecipeError(
                f"data.narrow_band.source_rate is {narrow.source_rate} Hz: it must be less"
                f" than audio.sample_rate, {rate} Hz"
            )
        if narrow.bandwidth_hz is not None and narrow.bandwidth_hz[0] >= WIDEST * rate / 2:
            raise RecipeError(
                f"data.narrow_band.bandwidth_hz begins at {narrow.bandwidth_hz[0]:g} Hz: it must be less"
                f" than {WIDEST * rate / 2:g} Hz, {WIDEST:g} of half of audio.sample_rate"
            )

    def build(self, rng: np.random.Generator, index: int) -> tuple[Tensors, Facts]:
        narrow = self.data.narrow_band
        track = self.mixer.speech(rng, self.segment)
        wide, _, room = self.mixer.in_room(rng, track.samples)
        noisy = wide
        facts: Facts = {"speech": track.group, "speech_files": track.files, "room": room}
        if self.training and sometimes(rng, narrow.noise_probability):
            noise, of_noise = self.mixer.add_noise(rng, wide, avoid=[track.group])
            noisy, facts = wide + noise, facts | of_noise
        (noisy, wide), level = self.mixer.set_level(rng, noisy, wide)
        if narrow.bandwidth_hz is None:
            narrowed = self._narrowed(rng, noisy, narrow.source_rate)
            return {"input": narrowed[None], "target": wide[None]}, facts | level
        ends = min(track.bandwidth_hz, self.audio.sample_rate / 2)
        source_rate = 2 * round(self._bandwidth(rng, ends))
        narrowed = self._narrowed(rng, noisy, source_rate)
        meter = BandwidthMeter(self.audio.sample_rate)
        meter.feed(narrowed[None])
        # A recording that is too short to be measured has the bandwidth of the low-pass.
        measured = min(meter.bandwidth_hz() or source_rate / 2, source_rate / 2)
        example = {
            "input": narrowed[None],
            "target": wide[None],
            "bandwidth_hz": np.array([[measured]], np.float32),
            "target_bandwidth_hz": np.array([[ends]], np.float32),
        }
        return example, facts | level

    def _bandwidth(self, rng: np.random.Generator, ends: float) -> float:
        """Draw a bandwidth in Hz from the recipe's range, below that of the target."""
        assert self.data.narrow_band.bandwidth_hz is not None
        low, high = self.data.narrow_band.bandwidth_hz
        return float(np.exp(rng.uniform(np.log(low), np.log(max(low, min(high, WIDEST * ends))))))

    def _narrowed(self, rng: np.random.Generator, wide: Samples, source: int) -> Samples:
        rate = self.audio.sample_rate
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
        gain = 1 / np.sqrt(1 + np.minimum(frequency / edge, 2.0) ** (2 * order))
        gain[frequency >= source / 2] = 0
        return scipy.fft.irfft(scipy.fft.rfft(wide, size) * gain.astype(np.float32), size)[: len(wide)]
