"""Frames of a stream are those of the whole, and transforms with phase are undone by their inverse."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from audiotool.dsp.framing import Padding, StreamingFrames, check_frames, hann
from audiotool.dsp.magnitude_phase import MagnitudePhase, as_complex
from audiotool.dsp.windows import make_window

SAMPLES = np.random.default_rng(0).standard_normal((2, 333)).astype(np.float32)


@pytest.mark.parametrize("padding", ["causal", "center", "same", "none"])
@pytest.mark.parametrize("chunk", [1, 7, 40, 333])
def test_frames_do_not_depend_on_chunks(padding: Padding, chunk: int) -> None:
    frames = StreamingFrames(32, 8, padding)
    whole, _ = frames.step(SAMPLES, final=True)
    state, parts = None, []
    for start in range(0, SAMPLES.shape[1], chunk):
        part, state = frames.step(SAMPLES[:, start : start + chunk], state, start + chunk >= SAMPLES.shape[1])
        parts.append(part)
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_centred_frames_are_those_of_a_reflected_waveform() -> None:
    found, _ = StreamingFrames(32, 8, "center").step(SAMPLES, final=True)
    reflected = np.pad(SAMPLES, ((0, 0), (16, 16)), mode="reflect")
    expected = np.lib.stride_tricks.sliding_window_view(reflected, 32, axis=-1)[:, ::8]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("length", [1, 5])
def test_a_stream_shorter_than_its_edge_has_frames(length: int) -> None:
    found, _ = StreamingFrames(32, 8, "center").step(SAMPLES[:, :length], final=True)
    assert found.shape[1] >= 1
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((33, 8, 32), "must be even"),
        ((32, 8, 40), "must not exceed"),
        ((32, 20, 32), "at most half"),
        ((32, 12, 32), "must divide"),
    ],
)
def test_frames_that_do_not_add_up_are_refused(values: tuple[int, int, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_frames(*values)


def test_the_window_is_that_of_torch() -> None:
    np.testing.assert_allclose(hann(24, 32), make_window("hann", 32, 24).numpy(), atol=1e-6)


@pytest.mark.parametrize("offsets", [(0.0, (0.0, 0.0)), (1e-9, (1e-8, 1e-10))])
@pytest.mark.parametrize("length", [333, 20])
def test_magnitude_and_phase_give_the_waveform_back(
    offsets: tuple[float, tuple[float, float]], length: int
) -> None:
    transform = MagnitudePhase(64, 16, 64, 0.3, *offsets)
    waveform = torch.from_numpy(SAMPLES[:, :length])
    magnitude, phase = transform.analyse(waveform)
    torch.testing.assert_close(transform.synthesise(magnitude, phase, length), waveform, atol=1e-4, rtol=1e-3)
    both = as_complex(magnitude, phase)
    torch.testing.assert_close(both.square().sum(-1).sqrt(), magnitude)


def test_samples_without_a_frame_are_silent() -> None:
    transform = MagnitudePhase(64, 16, 64)
    magnitude, phase = transform.analyse(torch.from_numpy(SAMPLES[:, :100]))
    found = transform.synthesise(magnitude, phase, 500)
    assert found.shape == (2, 500)
    assert not found[:, 200:].any()
