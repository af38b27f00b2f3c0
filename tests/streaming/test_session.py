"""A session: any rate, any channels, any blocks; aligned, of exact length, with mix, floor and upper band."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from kit.audio import speech_like
from kit.checkpoints import TINY
from torch import Tensor

from audiotool.engines.pytorch import TorchEngine
from audiotool.errors import StreamError
from audiotool.models.base import Model, State, measure_level
from audiotool.models.cleanunet import CleanUNet
from audiotool.streaming.first_pass import LevelMeter
from audiotool.streaming.session import Session, Settings


@dataclasses.dataclass(frozen=True)
class DelayConfig:
    """A model that multiplies and waits."""

    gain: float = 1.0
    wait: int = 100
    channels: int | None = 1
    stems: tuple[str, ...] = ("speech",)


class Delay(Model):
    """Causal model whose output is its input times a gain, known only `wait` samples later."""

    name = "delay"
    config_class = DelayConfig
    sample_rate = 16000
    hop_length = 16

    def __init__(self, config: DelayConfig) -> None:
        super().__init__(config)
        self.gain = torch.nn.Parameter(torch.tensor(config.gain))
        self.latency = config.wait
        self.channels = config.channels
        self.stems = config.stems

    @property
    def delay(self) -> int:
        # It does not wait for whole hops.
        return self.latency

    def step(self, x: Tensor, state: State = None, final: bool = False) -> tuple[Tensor, State]:
        held = x if state is None else torch.cat((state, x), dim=-1)
        if self.channels is None:
            held = held.mean(1, keepdim=True) if held.shape[1] > 1 else held
        ready = held.shape[-1] if final else max(0, held.shape[-1] - self.latency)
        y = held[..., :ready] * self.gain
        return torch.cat([y / (n + 1) for n in range(len(self.stems))], dim=1), held[..., ready:].clone()


class Mixdown(Delay):
    """A microphone array's model: any channels in, their mean out."""

    def step(self, x: Tensor, state: State = None, final: bool = False) -> tuple[Tensor, State]:
        return super().step(x.mean(1, keepdim=True), state, final)


def model(**config: Any) -> TorchEngine:
    return TorchEngine(Delay(DelayConfig(**config)).eval())


def run(session: Session, x: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Stems and dry of a stream in random blocks; checks the declared latency on the way."""
    rng = np.random.default_rng(seed)
    stems, dry, start, got = [], [], 0, 0
    while start < x.shape[1]:
        size = int(rng.integers(0, x.shape[1] // 7))
        out = session.feed(x[:, start : start + size])
        start = min(start + size, x.shape[1])
        got += out.stems.shape[-1]
        if session.output_rate == session.sample_rate:
            assert start - got <= session.latency
        stems.append(out.stems)
        dry.append(out.dry)
    out = session.flush()
    return np.concatenate([*stems, out.stems], axis=-1), np.concatenate([*dry, out.dry], axis=-1)


@pytest.mark.parametrize("rate", [16000, 16001, 22050, 44100, 48000, 96000, 192000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_a_model_that_changes_nothing_gives_back_the_input(rate: int, channels: int) -> None:
    x = speech_like(0.7, rate, channels)
    stems, dry = run(Session(model(), rate, channels), x)
    assert stems.shape == (1, channels, x.shape[1])
    np.testing.assert_allclose(stems[0], x, atol=1e-6)
    np.testing.assert_array_equal(dry, x)


@pytest.mark.parametrize("rate", [4000, 8000, 11025, 15999])
def test_nothing_passes_by_a_model_of_a_higher_rate(rate: int) -> None:
    """It hears all of the input, and its output is the whole answer; the resampler's pass band comes back."""
    x = speech_like(0.7, rate)
    assert not run(Session(model(gain=0.0), rate, 1), x)[0].any()
    spectrum = np.fft.rfft(x)
    spectrum[:, round(0.89 * spectrum.shape[1]) :] = 0
    low = (np.fft.irfft(spectrum, x.shape[1]) * np.hanning(x.shape[1])).astype(np.float32)
    stems, _ = run(Session(model(), rate, 1), low)
    np.testing.assert_allclose(stems[0], low, atol=1e-5)


@pytest.mark.parametrize("rate", [8000, 11025, 12000])
def test_the_top_of_a_lower_rates_band_is_lost_as_the_guide_says(rate: int) -> None:
    x = np.random.default_rng(0).normal(0, 0.1, (1, 4 * rate)).astype(np.float32)
    stems, _ = run(Session(model(), rate, 1), x)
    before, after = (np.square(np.abs(np.fft.rfft(y))) for y in (x[0], stems[0, 0]))
    removed = []
    for low, high in ((0.0, 0.92), (0.92, 0.94), (0.94, 0.96), (0.96, 1.0)):
        band = slice(round(low * (len(before) - 1)), round(high * (len(before) - 1)))
        removed.append(-10 * np.log10(after[band].sum() / before[band].sum()))
    assert removed[:3] == pytest.approx([0, 2, 10], abs=0.5)
    assert removed[3] > 30


def test_input_above_the_model_is_not_dulled() -> None:
    """A tone at 12 kHz passes a 16 kHz model as loud as the low band does."""
    t = np.arange(48000) / 48000
    x = (0.2 * np.sin(2 * np.pi * 1000 * t) + 0.1 * np.sin(2 * np.pi * 12000 * t))[None].astype(np.float32)
    bins = {1000: 0.2, 12000: 0.1}
    stems, _ = run(Session(model(gain=0.25), 48000, 1), x)
    middle = np.abs(np.fft.rfft(stems[0, 0, 24000:36000])) / 6000
    for hz, amplitude in bins.items():
        assert middle[hz // 4] == pytest.approx(0.25 * amplitude, rel=0.01)
    stems, _ = run(Session(model(gain=0.25), 48000, 1, Settings(upper_band=False)), x)
    assert np.abs(np.fft.rfft(stems[0, 0, 24000:36000]))[3000] / 6000 < 1e-4


@pytest.mark.parametrize("stems", [("speech",), ("speaker1", "speaker2")])
def test_the_upper_band_does_not_pass_where_sound_begins(stems: tuple[str, ...]) -> None:
    """Noise that the model removes, from the first sample and after digital silence."""
    x = np.random.default_rng(0).normal(0, 0.1, (1, 48000)).astype(np.float32)
    x[:, 12000:36000] = 0
    found, _ = run(Session(model(gain=0.01, stems=stems), 48000, 1), x)
    assert np.abs(found).max() < 0.02 * np.abs(x).max()


@pytest.mark.parametrize("rate", [16000, 44100])
def test_mix_is_aligned(rate: int) -> None:
    x = speech_like(0.5, rate)
    stems, _ = run(Session(model(gain=0.0), rate, 1, Settings(mix=0.25, upper_band=False)), x)
    np.testing.assert_allclose(stems[0], 0.75 * x, atol=1e-6)


def test_maximum_attenuation_is_a_floor() -> None:
    x = speech_like(0.5, 16000)
    stems, _ = run(Session(model(gain=0.0), 16000, 1, Settings(max_attenuation_db=20.0)), x)
    np.testing.assert_allclose(stems[0], 0.1 * x, atol=1e-6)
    stems, _ = run(Session(model(gain=0.0), 16000, 1, Settings(max_attenuation_db=0.0)), x)
    np.testing.assert_allclose(stems[0], x, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_stereo_models_take_channels_in_pairs(channels: int) -> None:
    x = speech_like(0.3, 16000, channels)
    stems, _ = run(Session(model(channels=2, stems=("a", "b")), 16000, channels), x)
    assert stems.shape == (2, channels, x.shape[1])
    np.testing.assert_allclose(stems[0], x, atol=1e-6)
    np.testing.assert_allclose(stems[1], x / 2, atol=1e-6)


def test_arrays_are_mixed_down() -> None:
    x = speech_like(0.3, 48000, 4)
    array = TorchEngine(Mixdown(DelayConfig(channels=None)).eval())
    stems, dry = run(Session(array, 48000, 4, Settings(upper_band=False)), x)
    assert stems.shape == (1, 1, x.shape[1])
    np.testing.assert_array_equal(dry, x[:1])


def test_output_rate_changes_the_length() -> None:
    x = speech_like(0.5, 8000)
    stems, _ = run(Session(model(), 8000, 1, Settings(output_rate=16000)), x)
    assert stems.shape[-1] == 2 * x.shape[1]
    with pytest.raises(StreamError, match="sample rate"):
        Session(model(), 8000, 1, Settings(output_rate=16000, mix=0.5))


@pytest.mark.parametrize("length", [0, 1, 2, 160])
@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_short_streams_keep_their_length(rate: int, length: int) -> None:
    session = Session(TorchEngine(CleanUNet(TINY).eval()), rate, 1)
    x = speech_like(1, rate)[:, :length]
    out = np.concatenate([session.feed(x).stems, session.flush().stems], axis=-1)
    assert out.shape == (1, 1, length)


def test_second_stream_equals_the_first() -> None:
    session = Session(TorchEngine(CleanUNet(TINY).eval()), 44100, 1)
    x = speech_like(0.5, 44100)
    first, _ = run(session, x)
    session.reset()
    second, _ = run(session, x, seed=1)
    np.testing.assert_allclose(first, second, atol=1e-5 * np.abs(first).max())


def test_latency_is_true_for_an_impulse() -> None:
    """Change the input from a sample on: output that was declared final stays as it was."""
    tiny = TorchEngine(CleanUNet(TINY).eval())
    x = speech_like(1.0, 16000)
    changed = x.copy()
    changed[:, 9000:] *= -1
    session = Session(tiny, 16000, 1)
    outputs = []
    for waveform in (x, changed):
        session.reset()
        outputs.append(run(session, waveform)[0])
    untouched = 9000 - tiny.latency
    np.testing.assert_array_equal(outputs[0][..., :untouched], outputs[1][..., :untouched])
    assert np.abs(outputs[0] - outputs[1])[..., untouched:].max() > 0


@pytest.mark.parametrize("rate", [16000, 22050, 44100, 48000, 96000])
def test_microphone_rates_cost_a_few_milliseconds(rate: int) -> None:
    """Declared and observed, fed sample by sample, against the model's own latency."""
    network = model()
    session = Session(network, rate, 1)
    network_latency = (network.latency + network.hop_length - 1) / network.sample_rate
    resampling = 0.0 if rate == 16000 else 2 * 0.0042
    assert session.latency / rate == pytest.approx(network_latency + resampling, abs=0.0002)
    x = speech_like(0.1, rate)
    got = most = 0
    for fed in range(1, x.shape[1] + 1):
        got += session.feed(x[:, fed - 1 : fed]).stems.shape[-1]
        most = max(most, fed - got)
    assert session.latency - 0.0005 * rate <= most <= session.latency


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("hop", "wait", "chunk_seconds"),
    [(256, 256, None), (256, 300, None), (80, 100, None), (16, 0, None), (16, 0, 0.03), (16, 16, 0.064)],
)
def test_speakers_of_shared_channels_come_as_late_as_is_declared(
    hop: int, wait: int, chunk_seconds: float | None, channels: int
) -> None:
    """The masks of shared channels have frames every 256 samples, which the model's steps meet or not."""
    network = Delay(DelayConfig(wait=wait, stems=("speaker1", "speaker2")))
    network.hop_length = hop
    session = Session(TorchEngine(network), 16000, channels, Settings(chunk_seconds=chunk_seconds))
    x = speech_like(0.5, 16000, channels)
    got = most = 0
    for fed in range(1, x.shape[1] + 1):
        got += session.feed(x[:, fed - 1 : fed]).stems.shape[-1]
        most = max(most, fed - got)
    assert most == session.latency


def test_level_meter_equals_the_whole() -> None:
    x = speech_like(1.0, 16000, 2)[:, None] + np.float32(0.05)
    meter = LevelMeter()
    assert meter.level() is None
    for begin in range(0, x.shape[-1], 777):
        meter.feed(x[..., begin : begin + 777])
    found, expected = meter.level(), measure_level(torch.from_numpy(x))
    assert found is not None
    for name in ("std", "rms", "mean"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mix": 1.5}, "mix"),
        ({"max_attenuation_db": -1.0}, "attenuation"),
        ({"chunk_seconds": 0.0}, "chunk"),
        ({"chunk_seconds": "1"}, "chunk_seconds is a number, got '1'"),
        ({"mix": float("nan")}, "mix is a number, got nan"),
        ({"mix": None}, "mix is a number, got None"),
        ({"mix": 10**400}, "mix is a number, got 1000"),
        ({"mix": np.zeros((2, 1))}, r"mix is a number, got array\(\[\[0\.\], \[0\.\]\]\)$"),
        ({"output_rate": "48000"}, "output_rate is a number"),
        ({"output_rate": True}, "output_rate is a number, got True"),
        ({"output_rate": 0}, "output_rate is in Hz, a whole number above 0, got 0"),
        ({"output_rate": -8000}, "above 0, got -8000"),
        ({"output_rate": 11025.5}, "a whole number above 0, got 11025.5"),
        ({"warm_up": "no"}, "warm_up is True or False, got 'no'"),
        ({"upper_band": None}, "upper_band is True or False"),
    ],
)
def test_invalid_settings_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(StreamError, match=message):
        Settings(**values)


def test_a_new_setting_is_checked_by_its_default() -> None:
    @dataclasses.dataclass(frozen=True)
    class More(Settings):
        gain_db: float = 0.0
        limit_hz: float | None = None
        loud: bool = False

    assert type(More(gain_db=np.uint8(3)).gain_db) is float
    for values in ({"gain_db": "3"}, {"gain_db": None}, {"limit_hz": math.inf}, {"loud": 1}):
        with pytest.raises(StreamError, match=f"{next(iter(values))} is "):
            More(**values)


def test_a_whole_output_rate_of_any_type_is_taken() -> None:
    for rate in (8000, 8000.0, np.int64(8000), np.float32(8000)):
        stems, _ = run(Session(model(), 16000, 1, Settings(output_rate=rate)), speech_like(0.2, 16000))  # type: ignore[arg-type]
        assert stems.shape[-1] == 1600


@pytest.mark.parametrize("kind", [int, np.uint8, np.int64, np.float32])
def test_settings_are_numbers_of_python_whatever_is_given(kind: Any) -> None:
    given = Settings(1, kind(1), kind(12), kind(8), kind(200), warm_up=np.bool_(False))  # type: ignore[arg-type]
    same = Settings(1.0, 1.0, 12.0, 8, 200.0, warm_up=False)
    assert json.dumps(dataclasses.asdict(given)) == json.dumps(dataclasses.asdict(same))
    x = speech_like(0.2, 16000)
    floor, expected = (
        run(Session(model(gain=0.0), 16000, 1, Settings(max_attenuation_db=depth)), x)[0]
        for depth in (kind(12), 12.0)
    )
    np.testing.assert_array_equal(floor, expected)


def test_vocoders_are_refused() -> None:
    vocoder = model()
    vocoder.upsampling = 256
    with pytest.raises(StreamError, match="takes features"):
        Session(vocoder, 16000, 1)


def test_blocks_of_other_channels_are_refused() -> None:
    with pytest.raises(StreamError, match="blocks"):
        Session(model(), 16000, 2).feed(np.zeros((1, 10), np.float32))


def test_a_block_has_one_mix_though_another_thread_changes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the settings finds others, as if they changed in between."""
    changing = [Settings(mix=0.25), Settings(mix=0.75)]

    def other(session: Session) -> Settings:
        changing.reverse()
        return changing[0]

    session = Session(model(gain=2.0, wait=0), 16000, 1)
    monkeypatch.setattr(Session, "settings", property(other))
    session.push(np.ones((1, 160), np.float32))
    found = session.pull().stems
    assert {float(value) for value in found.ravel()} in ({1.25}, {1.75})


CHANGES: list[dict[str, Any]] = [
    {},
    {"mix": 0.0},
    {"mix": 1.0, "max_attenuation_db": 6.0},
    {"mix": 0.3, "max_attenuation_db": None},
    {"mix": 0.9, "max_attenuation_db": 0.0},
]


@pytest.mark.parametrize("rate", [16000, 44100])
def test_settings_that_change_do_not_click(rate: int) -> None:
    """The input's share moves by 1 in 20 ms at most, whatever the blocks, and arrives."""
    x = np.full((1, rate), 0.5, np.float32)
    places = [rate // 8, rate // 2, rate // 2 + rate // 200, 3 * rate // 4]
    outputs = []
    for size in (1000, 7, rate):
        session = Session(model(gain=0.0, wait=0), rate, 1, Settings(upper_band=False))
        parts = []
        for begin, end, change in zip([0, *places], [*places, rate], CHANGES, strict=True):
            session.settings = dataclasses.replace(session.settings, **change)
            for first in range(begin, end, size):
                parts.append(session.feed(x[:, first : min(first + size, end)]).stems)
        outputs.append(np.concatenate([*parts, session.flush().stems], axis=-1)[0, 0] / 0.5)
    for output in outputs:
        assert np.abs(np.diff(output)).max() <= 1.001 / (0.02 * rate)
        np.testing.assert_allclose(output, outputs[0], atol=1e-6)
    before = outputs[0][[place - 1 for place in places]]
    np.testing.assert_allclose(before[[0, 1, 3]], [0.0, 1.0, 0.7], atol=1e-6)
    assert 10 ** (-6 / 20) < before[2] < 1.0  # the next change comes before it has arrived
    assert outputs[0][-1] == 1.0


def test_settings_before_the_first_block_count_at_once() -> None:
    session = Session(model(gain=0.0, wait=0), 16000, 1)
    session.settings = Settings(mix=0.25)
    np.testing.assert_allclose(session.feed(np.ones((1, 160), np.float32)).stems, 0.75)


def interrupt(session: Session, monkeypatch: pytest.MonkeyPatch, block: Any) -> None:
    """Feed a block, and interrupt the model within it."""

    def step(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(session.engine, "step", step)
        with pytest.raises(KeyboardInterrupt):
            session.feed(block)


def test_an_interrupted_session_goes_on_from_a_whole_block_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    x = speech_like(0.4, 16000)
    first, second = x[:, :3200], x[:, 3200:]
    session = Session(TorchEngine(Delay(DelayConfig())), 16000, 1, Settings(mix=0.5))
    session.feed(first)
    state = session.state()
    with pytest.raises(StreamError, match="blocks"):
        session.feed(x[0])  # refused before anything has changed
    expected = session.feed(second).stems

    session.restore(state)
    interrupt(session, monkeypatch, second)
    silence = np.zeros((1, 160), np.float32)
    calls: list[Callable[[], object]] = [
        lambda: session.feed(silence),
        lambda: session.push(silence),
        session.pull,
        session.flush,
        session.state,
    ]
    for call in calls:
        with pytest.raises(StreamError, match=r"interrupted within a block, .*: begin anew, or from"):
            call()
    session.restore(state)
    np.testing.assert_array_equal(session.feed(second).stems, expected)

    assert isinstance(state, dict)
    with pytest.raises(StreamError, match="damaged"):
        session.restore({**state, "_wet": None, "streamer": {}})
    with pytest.raises(StreamError, match="refused a state"):
        session.feed(second)
    session.restore(state)
    np.testing.assert_array_equal(session.feed(second).stems, expected)

    interrupt(session, monkeypatch, second)
    session.reset()
    assert not session.feed(np.zeros((1, 1600), np.float32)).stems.any()
