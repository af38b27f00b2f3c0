"""The inverse MDCT equals the official one, and chunks change nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from kit.parity import relative_error
from safetensors.torch import load_file

from audiotool.dsp.framing import Padding
from audiotool.dsp.mdct import StreamingIMDCT
from audiotool.dsp.stft import StreamingISTFT

PACK = Path(__file__).parents[1] / "data" / "parity" / "vocos" / "mel_istft_center"


@pytest.mark.parametrize("padding", ["center", "same"])
def test_parity(padding: Padding) -> None:
    tensors = load_file(PACK / "io.safetensors")
    coefficients = tensors[f"mdct.{padding}.coef"].transpose(1, 2)
    expected = tensors[f"mdct.{padding}.roundtrip"]
    found, state = StreamingIMDCT(256, padding)(coefficients, final=True)
    found = found[:, : expected.shape[-1]]
    assert state is None
    assert relative_error(found, expected) <= 1e-4


def test_inverse_stft_with_the_same_alignment() -> None:
    tensors = load_file(PACK / "io.safetensors")
    spec, expected = torch.view_as_complex(tensors["istft_same.spec"]), tensors["istft_same.out"]
    n_fft = 2 * (spec.shape[1] - 1)
    found, _ = StreamingISTFT(n_fft, expected.shape[-1] // spec.shape[-1], padding="same")(spec, final=True)
    found = found[:, : expected.shape[-1]]
    assert relative_error(found, expected) <= 1e-4


@pytest.mark.parametrize("padding", ["center", "same", "causal"])
def test_streamed_equals_whole(padding: Padding) -> None:
    inverse, coefficients = StreamingIMDCT(64, padding), torch.randn(2, 32, 40)
    whole, _ = inverse(coefficients, final=True)
    state, parts = None, []
    for size in (1, 0, 7, 20, 12):
        part, state = inverse(coefficients[..., :size], state)
        coefficients = coefficients[..., size:]
        parts.append(part)
    parts.append(inverse(coefficients, state, final=True)[0])
    torch.testing.assert_close(torch.cat(parts, dim=-1), whole, rtol=0, atol=1e-5)


def test_an_odd_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="even number"):
        StreamingIMDCT(255)
