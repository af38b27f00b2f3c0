"""The bundled vocoders say the demo recording again, better than Griffin-Lim, streamed as whole."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kit.streams import stream

import audiotool
from audiotool import checkpoint, named_checkpoints
from audiotool.audio.reader import read
from audiotool.dsp.griffin_lim import griffin_lim
from audiotool.dsp.mel_spectrogram import MelSpectrogram
from audiotool.dsp.pitch import fundamental_frequency
from audiotool.metrics.score import score
from audiotool.models.vocoder import Vocoder
from audiotool.streaming.live_stream import LiveStream
from audiotool.streaming.resample import StreamingResampler

DEMO = Path(__file__).parent / "data" / "audio" / "demo" / "clean.flac"


FAST = "harmonic-vocoder-22k"
NAMES = ("harmonic-vocoder-24k", FAST)


def load(name: str | Path) -> Vocoder:
    model = audiotool.load_model(name)
    assert isinstance(model, Vocoder)
    return model


@pytest.fixture(scope="module", params=NAMES)
def vocoder(request: pytest.FixtureRequest) -> Vocoder:
    return load(request.param)


def demo(rate: int) -> torch.Tensor:
    """Four seconds of the demo at a sample rate, (1, T)."""
    waveform, native = read(DEMO)
    resampler = StreamingResampler(native, rate, 1)
    parts = resampler.feed(waveform[:, : 4 * native]), resampler.flush()
    return torch.from_numpy(np.concatenate(parts, axis=1))


@pytest.fixture(scope="module")
def speech(vocoder: Vocoder) -> torch.Tensor:
    return demo(vocoder.sample_rate)


def scores(speech: torch.Tensor, spoken: torch.Tensor, rate: int) -> dict[str, float]:
    found = score(speech[0].numpy(), spoken.flatten().numpy(), rate, ["pesq", "stoi"])
    return {name: value.value for name, value in found.items() if value.value is not None}


@torch.inference_mode()
def test_the_fast_one_scores_better_than_griffin_lim() -> None:
    vocoder = load(FAST)
    speech = demo(vocoder.sample_rate)
    mel = MelSpectrogram(vocoder.mel)(speech)
    ours = scores(speech, vocoder.process(mel), vocoder.sample_rate)
    theirs = scores(speech, griffin_lim(mel, vocoder.mel), vocoder.sample_rate)
    assert ours["pesq"] > theirs["pesq"] + 0.1
    assert ours["stoi"] > theirs["stoi"]


@torch.inference_mode()
def test_the_default_scores_better_than_the_fast_one() -> None:
    """Both at 16 kHz, where neither is at home."""
    reference, found = demo(16000), []
    assert named_checkpoints.default_for("vocode").stem == NAMES[0]
    for name in NAMES:
        spoken = audiotool.load(name)(reference[0].numpy(), 16000)
        found.append(scores(reference, torch.from_numpy(spoken), 16000))
    assert found[0]["pesq"] > found[1]["pesq"]
    assert found[0]["stoi"] > found[1]["stoi"]


@torch.inference_mode()
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-7), (torch.float32, 1e-3)])
def test_streamed_equals_whole(
    vocoder: Vocoder, speech: torch.Tensor, dtype: torch.dtype, tolerance: float
) -> None:
    """Exactly so; the phase's iterations amplify what single precision rounds, each CPU in its own way."""
    mel = MelSpectrogram(vocoder.mel)(speech).to(dtype)
    vocoder = copy.deepcopy(vocoder).to(dtype)
    assert vocoder.latency / vocoder.sample_rate < 0.3
    whole = vocoder.process(mel)
    streamed = stream(vocoder).process(mel, 17)
    assert (streamed - whole).norm() <= tolerance * whole.norm()


def test_the_default_lags_80_ms() -> None:
    engine, metadata = checkpoint.open_engine(named_checkpoints.default_for("vocode"))
    assert engine.kind == "onnx"
    assert engine.latency / metadata.sample_rate == 0.08
    # A live step is one frame.
    assert engine.hop_length * engine.upsampling == 256


@pytest.mark.parametrize("engine", ["onnx", "torch"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("together", [False, True])
def test_the_declared_lag_of_live_streams_is_reached(name: str, engine: Any, together: bool) -> None:
    """Fed a few samples at a time, alone and among streams that are stepped together."""
    pipeline = audiotool.load(name, engine=engine)
    rate, x = pipeline.sample_rate, np.zeros(15000, np.float32)
    streams = pipeline.streams(1)
    live = streams.join(rate) if together else pipeline.live(rate)
    got = most = 0
    for fed in range(8, len(x) + 1, 8):
        block = x[fed - 8 : fed]
        if isinstance(live, LiveStream):
            got += len(live.feed(block))
        else:
            live.push(block)
            while streams.step():
                pass
            got += len(live.pull())
        most = max(most, fed - got)
    assert live.latency - 8 < most <= live.latency


FORMANTS = {"singer": (700.0, 1220.0, 2600.0), "child": (1030.0, 1560.0, 3300.0)}
"""Hz, of an open vowel."""

PITCHES = {
    "glissando": ("singer", 150.0, 600.0),
    "vibrato": ("singer", 330.0, 330.0),
    "child": ("child", 420.0, 290.0),
}
"""Speaker, and F0 in Hz at the beginning and at the end."""


def vowel(name: str, rate: int) -> np.ndarray:
    """Two seconds of a vowel, (T,): harmonics weighed by three resonances."""
    speaker, first, last = PITCHES[name]
    time = np.arange(2 * rate) / rate
    f0 = first * (last / first) ** (time / 2)
    if name != "child":
        f0 *= 2 ** (np.sin(2 * np.pi * 5.5 * time) * 50 / 1200)
    cycles, sound = np.cumsum(f0) / rate, np.zeros(len(time))
    for harmonic in range(1, int(8000 / f0.min())):
        hz = harmonic * f0
        gain = sum(1 / (1 + ((hz - formant) / 90) ** 2) for formant in FORMANTS[speaker])
        sound += np.where(hz < 8000, (gain + 0.01) / harmonic**0.5, 0.0) * np.sin(
            2 * np.pi * harmonic * cycles
        )
    sound *= 0.3 / np.abs(sound).max()
    return sound.astype(np.float32)


@torch.inference_mode()
@pytest.mark.parametrize("name", PITCHES)
def test_singing_and_children_keep_pitch_level_and_quality(name: str) -> None:
    model = audiotool.load_model("harmonic-vocoder-24k")
    assert isinstance(model, Vocoder)
    rate = model.sample_rate
    sound = vowel(name, rate)
    mel = MelSpectrogram(model.mel)(torch.from_numpy(sound)[None])
    spoken = model.process(mel)[0, 0]
    tracks = (
        fundamental_frequency(x[None], rate, 240, 60, 900)[0] for x in (torch.from_numpy(sound), spoken)
    )
    expected, found = (track.numpy()[10:190] for track in tracks)
    assert np.mean(found > 0) > 0.95
    both = (found > 0) & (expected > 0)
    assert np.median(np.abs(np.log2(found[both] / expected[both]))) < 15 / 1200
    cut = slice(rate // 10, len(sound) - rate // 10)
    level = 10 * np.log10(np.mean(spoken.numpy()[cut] ** 2) / np.mean(sound[cut] ** 2))
    assert abs(level) < 1.0
