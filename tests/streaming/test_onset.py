"""Onsets are the same for any cut of the stream, and denoisers reset their state there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from audiotool.engines.base import Engine
from audiotool.engines.onnx import OnnxEngine
from audiotool.engines.pytorch import TorchEngine
from audiotool.exporting.export import export
from audiotool.models.band_split_gru import BandSplitGRU, BandSplitGRUConfig
from audiotool.streaming.onset import Onsets
from audiotool.streaming.streamer import CausalStreamer

HOP, RATE = 160, 16000
"""Hops of 10 ms: the gap has ten."""


def hiss(*parts: tuple[float, float]) -> np.ndarray:
    """(1, 1, T): seconds of white noise at each level in dB of full scale; -inf is digital silence."""
    rng = np.random.default_rng(0)
    noise = [rng.standard_normal(round(s * RATE)) * 10 ** (db / 20) for s, db in parts]
    return np.concatenate(noise).astype(np.float32)[None, None]


def found(x: np.ndarray, hops: int = 10**6) -> list[int]:
    """Hops in which something begins."""
    onsets, size = Onsets(HOP, RATE), hops * HOP
    begins = [onsets.find(x[..., n : n + size]) for n in range(0, x.shape[-1], size)]
    return np.flatnonzero(np.concatenate(begins, axis=1)[0]).tolist()


@pytest.mark.parametrize("hops", [1, 2, 7, 10**6])
def test_onsets_are_where_it_gets_12_db_louder_than_ever(hops: int) -> None:
    x = hiss((1, -60), (1, -30), (0.5, float("-inf")), (1, -30), (1, -5))
    assert found(x, hops) == [100, 350]
    assert found(x * np.float32(1e-2), hops) == [100, 350]


def test_a_beginning_is_no_onset_and_the_end_of_silence_is_one() -> None:
    assert found(hiss((2, -30))) == []
    assert found(hiss((0.05, -90), (1, -30))) == []
    assert found(hiss((1, float("-inf")), (1, -60))) == [100]
    assert found(hiss((1, -40), (1, -30))) == []
    assert found(hiss((1, -40), (1, -26))) == [100]


def test_a_sound_that_swells_begins_once() -> None:
    swell = tuple((0.02, -60.0 + 5 * n) for n in range(9))
    assert len(found(hiss((1, -60), *swell, (1, -20)))) == 1


def test_a_chunk_is_parted_where_any_row_begins() -> None:
    both = np.concatenate((hiss((1, -60), (1, -20)), hiss((0.5, -60), (1.5, -20))))
    runs = Onsets(HOP, RATE).runs(both[..., :-7])
    assert [(first, end) for first, end, _ in runs] == [(0, 8000), (8000, 16000), (16000, 31993)]
    assert [None if rows is None else rows.tolist() for *_, rows in runs] == [
        None,
        [False, True],
        [True, False],
    ]
    assert Onsets(HOP, RATE).runs(both[..., :0]) == [(0, 0, None)]


@pytest.fixture(scope="module", params=["torch", "onnx"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    torch.manual_seed(0)
    model = BandSplitGRU(BandSplitGRUConfig(dim=8, layers=2, memory=8, learnt_start=True)).eval()
    for part in (*model.layers, *model.memories):
        torch.nn.init.normal_(part.beginning.values)
    if request.param == "torch":
        return TorchEngine(model)
    return exported(model, tmp_path_factory.mktemp("graph"))


def exported(model: BandSplitGRU, folder: Path) -> Engine:
    from audiotool import checkpoint

    path = folder / "small.safetensors"
    described = checkpoint.Metadata(
        task="denoise", model=checkpoint.describe_model(model), sample_rate=model.sample_rate
    )
    checkpoint.save(path, model.state_dict(), described)
    export(path, folder / "small.onnx")
    return OnnxEngine.open(folder / "small.onnx")


def streamed(engine: Engine, x: np.ndarray, size: int, memory: object = None) -> np.ndarray:
    streamer = CausalStreamer(engine, memory=memory)
    parts = [streamer.feed(x[..., n : n + size]) for n in range(0, x.shape[-1], size)]
    return np.concatenate([*parts, streamer.flush()], axis=-1)


@pytest.mark.parametrize("size", [256, 1000, 10**6])
def test_a_quiet_lead_in_is_forgotten(engine: Engine, size: int) -> None:
    """What follows sounds as if the stream had begun there; so it does after a warm-up on the quiet."""
    hop = engine.hop_length
    lead, sound = hiss((engine.warm_up_samples / RATE, -60)), hiss((1, -20))
    x = np.concatenate((np.concatenate((lead, sound), axis=2), np.concatenate((lead, sound), axis=2) * 0.5))
    plain = streamed(engine, sound, 10**6)
    for memory in (None, engine.warm_up(x[..., : engine.warm_up_samples])):
        y = streamed(engine, x, size, memory)[..., lead.shape[-1] :]
        # The first frame still holds the end of the quiet.
        np.testing.assert_allclose(y[:1, :, 2 * hop :], plain[..., 2 * hop :], atol=1e-3)


def test_the_state_of_a_warm_up_on_sound_is_kept(engine: Engine) -> None:
    hop = engine.hop_length
    lead, sound = hiss((50 * hop / RATE, -60)), hiss((2, -20))
    x = np.concatenate((lead, sound), axis=2)
    memory = engine.warm_up(x[..., : engine.warm_up_samples])
    y = streamed(engine, x, 1000, memory)[..., lead.shape[-1] :]
    warmed_up = streamed(engine, sound, 1000, memory)
    np.testing.assert_allclose(y[..., 2 * hop :], warmed_up[..., 2 * hop :], atol=1e-3)


def test_separators_are_not_reset() -> None:
    model = BandSplitGRU(BandSplitGRUConfig(dim=8, layers=1, stems=("one", "two"))).eval()
    assert not TorchEngine(model).forgets_quiet
