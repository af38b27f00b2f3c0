"""Mel spectrograms: their definition as data, the field's common ones by name, the analysis of a stream.

A mel is (B, n_mels, frames) float32:

    waveform -> STFT -> magnitude ** power -> filterbank -> max(., floor) -> log

Programs differ in each of these steps, and a vocoder that is fed another definition outputs noise. Therefore
each checkpoint contains its definition (`MelConfig`), and definitions can be compared.

`padding` aligns frames as in `audiotool.dsp.stft`: "center" (T // hop + 1 frames), "same" (T // hop),
"causal" (ceil(T / hop)) or "none".
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from audiotool.configuration import Bands, Hertz, Length, Positive, Rate, Real, build_config
from audiotool.dsp.framing import Padding, StreamingFrames, edge_length, hann
from audiotool.errors import CheckpointError, InputError
from audiotool.text import nearest
from audiotool.value_types import quote


@dataclass(frozen=True)
class MelConfig:
    """Definition of a mel spectrogram.

    Args:
        sample_rate: Hz of the analysed waveform.
        n_fft: samples in a frame.
        hop_length: samples between frames.
        win_length: samples of the periodic Hann window, centred in the frame; n_fft when None.
        n_mels: bands.
        fmin, fmax: Hz; fmax None is `nyquist`.
        scale: "slaney" (linear below 1 kHz, as librosa) or "htk".
        norm: "slaney" (bands of equal area) or "none" (bands of equal peak).
        power: exponent of the magnitude: 1 or 2.
        power_offset: added to the squared magnitude, under the root (1e-9 in HiFi-GAN and its kin).
        log: "natural", "log10" or "none".
        floor: bands are raised to it before the logarithm.
        padding: alignment of frames.
    """

    sample_rate: Rate
    n_fft: Length
    hop_length: Length
    n_mels: Bands
    win_length: Length | None = None
    fmin: Hertz = 0.0
    fmax: Hertz | None = None
    scale: Literal["slaney", "htk"] = "slaney"
    norm: Literal["slaney", "none"] = "slaney"
    power: Positive = 1.0
    power_offset: Real = 0.0
    log: Literal["natural", "log10", "none"] = "natural"
    floor: Real = 1e-5
    padding: Padding = "center"

    def __post_init__(self) -> None:
        if not 0 <= self.fmin < self.top <= self.sample_rate / 2:
            raise ValueError(
                f"fmin {self.fmin} and fmax {self.top} Hz do not fit below {self.sample_rate / 2} Hz"
            )
        if self.log != "none" and self.floor <= 0:
            raise ValueError(f"mel floor must be positive under a logarithm, got {self.floor}")

    @property
    def nyquist(self) -> float:
        """Frequency in Hz of the highest bin: half the sample rate, rounded down ("htk") as in torchaudio."""
        return self.sample_rate // 2 if self.scale == "htk" else self.sample_rate / 2

    @property
    def top(self) -> float:
        """Upper edge of the highest band in Hz."""
        return self.nyquist if self.fmax is None else self.fmax

    def frames(self, length: int) -> int:
        """Return the number of frames of a waveform of `length` samples."""
        if self.padding == "causal":
            return -(-length // self.hop_length)
        padded = length + 2 * edge_length(self.padding, self.n_fft, self.hop_length)
        return max(0, (padded - self.n_fft) // self.hop_length + 1)

    @property
    def shortest(self) -> int:
        """Length in samples of the shortest waveform that has a frame."""
        if self.padding == "causal":
            return 1
        return max(1, self.n_fft - 2 * edge_length(self.padding, self.n_fft, self.hop_length))

    @property
    def lookahead(self) -> int:
        """Samples after n * hop_length that frame n sees."""
        if self.padding == "causal":
            return self.hop_length - 1
        return self.n_fft - 1 - edge_length(self.padding, self.n_fft, self.hop_length)


_HIFIGAN = MelConfig(22050, 1024, 256, 80, fmax=8000.0, power_offset=1e-9, padding="same")
_BIGVGAN_24K = dataclasses.replace(_HIFIGAN, sample_rate=24000, n_mels=100, fmax=None)
_PARALLEL_WAVEGAN = MelConfig(22050, 1024, 256, 80, fmin=80.0, fmax=7600.0, log="log10", floor=1e-10)

PRESETS: dict[str, MelConfig] = {
    "hifigan-22k": _HIFIGAN,
    "hifigan-22k-full": dataclasses.replace(_HIFIGAN, fmax=None),
    "tacotron2": MelConfig(22050, 1024, 256, 80, fmax=8000.0),
    "vocos-24k": MelConfig(24000, 1024, 256, 100, scale="htk", norm="none", floor=1e-7),
    "bigvgan-22k-80": _HIFIGAN,
    "bigvgan-v2-22k-80": dataclasses.replace(_HIFIGAN, fmax=None),
    "bigvgan-24k-100": dataclasses.replace(_BIGVGAN_24K, fmax=12000.0),
    "bigvgan-v2-24k-100": _BIGVGAN_24K,
    "bigvgan-v2-44k-128": MelConfig(44100, 2048, 512, 128, power_offset=1e-9, padding="same"),
    "bigvgan-v2-44k-128-256x": MelConfig(44100, 1024, 256, 128, power_offset=1e-9, padding="same"),
    "parallel-wavegan-22k": _PARALLEL_WAVEGAN,
    "parallel-wavegan-24k": dataclasses.replace(
        _PARALLEL_WAVEGAN, sample_rate=24000, n_fft=2048, hop_length=300, win_length=1200
    ),
    "wavenet-24k": MelConfig(24000, 2048, 300, 80, win_length=1200, fmin=125.0, fmax=7600.0, floor=0.01),
}
"""Mel definitions of published vocoders and speech synthesisers, by name."""


def mel_config(definition: str | Mapping[str, Any] | MelConfig) -> MelConfig:
    """Return a definition from a preset's name or from plain values.

    Values may hold "preset", whose fields the others then replace.

    Raises:
        CheckpointError: unknown preset or key (the nearest is named), a missing or a refused value.
    """
    if isinstance(definition, MelConfig):
        return definition
    if not isinstance(definition, str | Mapping):
        raise CheckpointError(f"a mel is a preset's name or its values, found {quote(definition)}")
    if isinstance(definition, str):
        if definition not in PRESETS:
            raise CheckpointError(
                f"no mel preset is called {quote(definition)}{nearest(definition, list(PRESETS))}"
                f" Known: {', '.join(PRESETS)}."
            )
        return PRESETS[definition]
    values = dict(definition)
    base = dataclasses.asdict(mel_config(str(values.pop("preset")))) if "preset" in values else {}
    return build_config(MelConfig, base | values, "mel.")


def differences(found: MelConfig, expected: MelConfig) -> list[str]:
    """List the fields in which two definitions differ: ["n_mels 100 against 80", ...]."""
    pairs = [
        (f.name, getattr(found, f.name), getattr(expected, f.name))
        for f in dataclasses.fields(MelConfig)
        if f.name not in ("win_length", "fmax")
    ]
    pairs.append(("win_length", found.win_length or found.n_fft, expected.win_length or expected.n_fft))
    pairs.append(("fmax", found.top, expected.top))
    return [f"{name} {a} against {b}" for name, a, b in pairs if a != b]


def preset_names(config: MelConfig) -> list[str]:
    """Return the names of the presets equal to `config`."""
    return [name for name, preset in PRESETS.items() if not differences(preset, config)]


def plain_mel(mel: MelConfig) -> str | dict[str, Any]:
    """Return a definition as configurations hold it: the name of an equal preset, else its values."""
    names = preset_names(mel)
    return names[0] if names else dataclasses.asdict(mel)


class OtherMel(InputError):
    """A mel is of another definition than the checkpoint's.

    Args:
        message: the difference, and presets that fit.
        difference: the difference alone.
        found: definition of the mel, or its number of bands where nothing else is known.
    """

    def __init__(self, message: str, *, difference: str = "", found: MelConfig | int = 0) -> None:
        super().__init__(message)
        self.difference = difference
        self.found = found

    def fits(self, config: MelConfig) -> bool:
        """Return whether the mel may be of a definition."""
        if isinstance(self.found, int):
            return self.found == config.n_mels
        return not differences(self.found, config)


def check_definition(found: MelConfig, expected: MelConfig, source: str) -> None:
    """Check that a mel was made by the checkpoint's definition.

    Raises:
        OtherMel: it was not; the message names every field that differs and the presets that fit.
    """
    wrong = differences(found, expected)
    if wrong:
        fitting = preset_names(expected)
        advice = f"; preset {' or '.join(fitting)} would fit" if fitting else ""
        difference = f"{source}: its mel differs from the checkpoint's: {', '.join(wrong)}"
        raise OtherMel(difference + advice, difference=difference, found=found)


def value_range(config: MelConfig) -> tuple[float, float]:
    """Return the smallest and largest value of a band for a waveform in [-1, 1]."""
    taps = float(hann(config.win_length or config.n_fft, config.n_fft).sum(dtype=np.float64))
    column = float(filterbank(config).sum(axis=0).max())
    ceiling = column * (taps**2 + config.power_offset) ** (config.power / 2)
    if config.log == "none":
        return 0.0, ceiling
    log = math.log if config.log == "natural" else math.log10
    return log(config.floor), log(max(ceiling, config.floor))


def advice_for(bands: int) -> str:
    """Return the end of a message about a mel: the presets with this number of bands, or "" for none."""
    fitting = [name for name, preset in PRESETS.items() if preset.n_mels == bands]
    return f"; a checkpoint with preset {' or '.join(fitting)} would fit" if fitting else ""


def check_mel(shape: Sequence[int], low: float, high: float, config: MelConfig, source: str) -> None:
    """Check that an array can be a mel of this definition.

    Args:
        shape: (n_mels, frames), or with a batch before it.
        low, high: smallest and largest value of the array.
        source: name of the file in the message.
    Raises:
        InputError: it cannot; the message names the difference, and presets with that many bands.
            An `OtherMel` if the number of bands is another.
    """
    if len(shape) not in (2, 3):
        raise InputError(f"{source}: a mel is (n_mels, frames), got shape {tuple(shape)}")
    bands = shape[-2]
    if bands != config.n_mels:
        if shape[-1] == config.n_mels:
            raise InputError(
                f"{source}: shape {tuple(shape)} looks transposed: a mel is (n_mels, frames),"
                f" here ({config.n_mels}, …)"
            )
        difference = f"{source}: n_mels {bands} against {config.n_mels} of the checkpoint"
        raise OtherMel(difference + advice_for(bands), difference=difference, found=bands)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError(f"{source}: the mel holds values that are not finite")
    bottom, top = value_range(config)
    # Predicted mels lie slightly outside the range of analysed ones.
    margin = 0.1 * (top - bottom)
    if low < bottom - margin or high > top + margin:
        raise InputError(
            f"{source}: values from {low:.2f} to {high:.2f} do not fit this checkpoint's mel, which lies"
            f" between {bottom:.2f} and {top:.2f} (log {config.log}, floor {config.floor})"
        )
    if bottom < 0 <= low < high:
        raise InputError(
            f"{source}: values from {low:.2f} to {high:.2f}, none below 0, are a mel without its logarithm:"
            f" this checkpoint's is log {config.log} with the floor {config.floor}"
        )


def filterbank(config: MelConfig) -> NDArray[np.float32]:
    """Return triangular bands, (n_fft // 2 + 1, n_mels) float32, as librosa's, for "htk" as torchaudio's."""
    bins = _line(0.0, config.nyquist, config.n_fft // 2 + 1)
    low, high = _mels(config.fmin, config.scale), _mels(config.top, config.scale)
    edges = _hertz(_line(low, high, config.n_mels + 2), config.scale)
    width = np.diff(edges)
    slopes = edges - bins[:, None]
    bank = np.maximum(0, np.minimum(-slopes[:, :-2] / width[:-1], slopes[:, 2:] / width[1:]))
    if config.norm == "slaney":
        bank = bank * (np.float32(2.0) / (edges[2:] - edges[:-2]))
    result: NDArray[np.float32] = bank.astype(np.float32)
    return result


def _line(first: float, last: float, count: int) -> NDArray[np.float32]:
    """Return equally spaced float32 values that are computed from both ends, as by PyTorch."""
    begin, end = np.float32(first), np.float32(last)
    step = np.float64((end - begin) / np.float32(count - 1))
    index = np.arange(count)
    return np.where(index < count // 2, begin + step * index, end - step * index[::-1]).astype(np.float32)


LINEAR_HZ = 200.0 / 3
"""Hz per mel of the Slaney scale below 1 kHz; above it, 27 mels are a factor of 6.4."""

LOG_MELS, LOG_STEP = 1000.0 / LINEAR_HZ, math.log(6.4) / 27.0


def _mels(hz: float, scale: str) -> float:
    if scale == "htk":
        return 2595.0 * math.log10(1.0 + hz / 700.0)
    return hz / LINEAR_HZ if hz < 1000.0 else LOG_MELS + math.log(hz / 1000.0) / LOG_STEP


def _hertz(mels: NDArray[np.float32], scale: str) -> NDArray[np.float32]:
    single = np.float32
    if scale == "htk":
        power = np.power(10.0, mels / single(2595), dtype=np.float64).astype(np.float32)
        hz = single(700) * (power - single(1))
    else:
        exponent = single(LOG_STEP) * (mels - single(LOG_MELS))
        above = single(1000) * np.exp(exponent, dtype=np.float64).astype(np.float32)
        hz = np.where(mels >= single(LOG_MELS), above, single(LINEAR_HZ) * mels)
    result: NDArray[np.float32] = hz.astype(np.float32)
    return result


class StreamingMel:
    """Analyse a stream into a mel of one definition, without PyTorch; `dsp.mel_spectrogram` differentiates.

    Args:
        config: the definition, a preset's name or plain values.
    """

    def __init__(self, config: MelConfig | str | Mapping[str, Any]) -> None:
        self.config = mel_config(config)
        c = self.config
        self.frames = StreamingFrames(c.n_fft, c.hop_length, c.padding)
        self._window = hann(c.win_length or c.n_fft, c.n_fft)
        self._bank = np.ascontiguousarray(filterbank(c).T)

    def step(
        self, waveform: NDArray[np.float32], state: Any = None, final: bool = False
    ) -> tuple[NDArray[np.float32], Any]:
        """Consume a chunk of any length and return the frames that are complete.

        Args:
            waveform: (B, T) with T >= 0.
            state: from the previous step; None begins a stream.
            final: the stream ends with this chunk.
        Returns:
            (B, n_mels, frames) and the state: (frames' state, samples so far, frames so far).
        """
        inner, length, emitted = (None, 0, 0) if state is None else state
        length += waveform.shape[-1]
        frames, inner = self.frames.step(waveform, inner, final)
        if final:
            # The end of a very short stream is padded before it is reflected.
            frames = frames[:, : max(0, self.config.frames(length) - emitted)]
        return self._mel(frames), (inner, length, emitted + frames.shape[1])

    def _mel(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        c = self.config
        spec = np.fft.rfft(frames * self._window).astype(np.complex64, copy=False)
        power = np.square(spec.real) + np.square(spec.imag) + np.float32(c.power_offset)
        magnitude = power if c.power == 2 else np.sqrt(power) ** np.float32(c.power)
        mel = np.matmul(self._bank, magnitude.transpose(0, 2, 1))
        if c.log == "none":
            return mel
        mel = np.maximum(mel, np.float32(c.floor))
        logarithm: NDArray[np.float32] = np.log(mel) if c.log == "natural" else np.log10(mel)
        return logarithm
