"""Real-time spectrogram inversion finds phases, with its look-ahead and no more, in chunks as at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from audiotool.dsp.mel import filterbank, mel_config
from audiotool.dsp.spectrogram_inversion import StreamingSpectrogramInversion
from audiotool.dsp.stft import StreamingISTFT, StreamingSTFT

N_FFT, HOP, RATE, FRAMES = 256, 64, 8000, 80
MEL = {"sample_rate": RATE, "n_fft": N_FFT, "hop_length": HOP, "n_mels": 40, "padding": "same"}
BANK = filterbank(mel_config(MEL))


def inversion(**changes: Any) -> StreamingSpectrogramInversion:
    settings = {"iterations": 6, "lookahead": 6, "momentum": 0.85, "freedom": 0.9, **changes}
    return StreamingSpectrogramInversion(N_FFT, HOP, BANK, **settings)


def analysed(waveform: Tensor) -> Tensor:
    return StreamingSTFT(N_FFT, HOP, padding="same")(waveform, final=True)[0][..., :FRAMES]


def mel_of(magnitude: Tensor) -> Tensor:
    return torch.from_numpy(BANK).T @ magnitude


def voice(hertz: float = 140.0) -> Tensor:
    """(B, F, FRAMES): the spec of a gliding tone with harmonics."""
    time = torch.arange(FRAMES * HOP) / RATE
    cycles = hertz * time * (1 + 0.1 * time)
    waveform = torch.zeros(FRAMES * HOP)
    for n in range(1, 20):
        waveform += torch.cos(2 * torch.pi * n * cycles + n * n) / n
    return analysed(waveform[None])


def noise(frames: int = FRAMES) -> tuple[Tensor, Tensor, Tensor]:
    """Spec and mel of white noise, and a rotation that says little, as where there are no harmonics."""
    generator = torch.Generator().manual_seed(0)
    waveform = torch.randn(2, frames * HOP, generator=generator)
    spec = StreamingSTFT(N_FFT, HOP, padding="same")(waveform, final=True)[0][..., :frames]
    random = torch.randn(spec.shape, dtype=torch.complex64, generator=generator)
    turned = torch.polar(spec.abs(), random.angle())
    return turned, mel_of(spec.abs()), 0.1 * random / (random.abs() + 1)


def synthesised(spec: Tensor) -> Tensor:
    return StreamingISTFT(N_FFT, HOP, padding="same")(spec, final=True)[0]


def error(waveform: Tensor, true: Tensor) -> float:
    """Spectral convergence of a waveform, away from its ends."""
    found = analysed(waveform[:, : FRAMES * HOP]).abs()[..., 8:-8]
    return float((found - true.abs()[..., 8:-8]).norm() / true[..., 8:-8].norm())


@torch.no_grad()
def test_iterations_make_phases_consistent() -> None:
    true = voice()
    random = torch.rand(true.shape, generator=torch.Generator().manual_seed(0))
    lost = torch.polar(true.abs(), 2 * torch.pi * random)
    nothing = torch.zeros_like(lost)
    found = [inversion(iterations=n)(lost, mel_of(true.abs()), nothing, None, True)[0] for n in (1, 6)]
    assert error(found[1], true) < 0.7 * error(found[0], true) < 0.7 * error(synthesised(lost), true)


@torch.no_grad()
def test_true_phases_stay_where_a_stream_begins_and_ends() -> None:
    """Frames outside the stream are not silent: nothing is known of them."""
    waveform = torch.randn(1, 40 * HOP, generator=torch.Generator().manual_seed(0))
    true = StreamingSTFT(N_FFT, HOP, padding="same")(waveform, final=True)[0]
    # One iteration, because the lowest bins alone are not quite the spec of a waveform.
    once = inversion(iterations=1, freedom=0.0)
    found, _ = once(true, mel_of(true.abs()), torch.zeros_like(true), None, True)
    difference = (found[:, : waveform.shape[1]] - waveform).unflatten(1, (-1, HOP)).norm(dim=-1)
    assert difference.max() < 0.05 * waveform.unflatten(1, (-1, HOP)).norm(dim=-1).mean()


@torch.no_grad()
def test_a_known_advance_is_a_better_beginning() -> None:
    true = voice()
    turn = true[..., 1:] * true[..., :-1].conj()
    rotation = torch.cat((torch.ones_like(turn[..., :1]), turn / turn.abs().clamp(min=1e-9)), dim=-1)
    random = torch.rand(true.shape, generator=torch.Generator().manual_seed(0))
    lost = torch.polar(true.abs(), 2 * torch.pi * random)
    mel = mel_of(true.abs())
    # The first phases of all would be random for ever.
    lost[..., 0] = true[..., 0]
    known, unknown = (inversion(iterations=2)(lost, mel, x, None, True)[0] for x in (rotation, 0 * rotation))
    assert error(known, true) < 0.3 * error(unknown, true)


@torch.no_grad()
@pytest.mark.parametrize("sizes", [[1] * FRAMES, [3, 0, 7, 70], [FRAMES, 0]])
def test_chunks_of_any_length_give_what_the_whole_gives(sizes: list[int]) -> None:
    # In double precision, because iterations amplify rounding.
    model = inversion().double()
    spec, mel, rotation = noise()
    inputs = (spec.to(torch.complex128), mel.double(), rotation.to(torch.complex128))
    whole, _ = model(*inputs, None, True)
    # The last frames reach beyond the recording.
    assert whole.shape == (2, FRAMES * HOP + (N_FFT - HOP) // 2)
    state, found = None, []
    for n, chunks in enumerate(zip(*(x.split(sizes, dim=-1) for x in inputs), strict=True)):
        output, state = model(*chunks, state, n == len(sizes) - 1)
        found.append(output)
    assert torch.allclose(torch.cat(found, dim=-1), whole, atol=1e-7 * float(whole.abs().max()))


@torch.no_grad()
def test_hops_join_smoothly() -> None:
    """Each comes of other iterations; steps between them would be heard where the recording has no sound."""
    time = torch.arange(FRAMES * HOP) / RATE
    true = analysed(torch.cos(2 * torch.pi * 300 * time)[None])
    random = torch.rand(true.shape, generator=torch.Generator().manual_seed(0))
    lost = torch.polar(true.abs(), 2 * torch.pi * random)
    found, _ = inversion()(lost, mel_of(true.abs()), torch.zeros_like(lost), None, True)
    high = analysed(found[:, : FRAMES * HOP]).abs()[:, 40:, 8:-8]
    assert high.square().mean().sqrt() < 5e-5 * true.abs().max()


@torch.no_grad()
def test_no_lookahead_is_possible() -> None:
    true = voice()
    found, _ = inversion(lookahead=0)(true, mel_of(true.abs()), torch.zeros_like(true), None, True)
    assert error(found, true) < 0.5


@torch.no_grad()
def test_samples_depend_on_their_lookahead_only() -> None:
    model, inputs = inversion(lookahead=3), noise(20)
    before, _ = model(*inputs, None, True)
    changed = [x.clone() for x in inputs]
    for x in changed:
        x[..., 12] *= 0.5
    after, _ = model(*changed, None, True)
    # Three frames later than a hop begins, the first frames half of what one reaches beyond its hop earlier.
    first = (12 - 3) * HOP - (N_FFT - HOP) // 2
    assert torch.equal(before[:, :first], after[:, :first])
    assert not torch.allclose(before[:, first : first + HOP], after[:, first : first + HOP])


@torch.no_grad()
def test_what_differs_by_rounding_stays_together() -> None:
    """With the settings that are bundled; what was given out decides what follows, and could amplify it."""
    spec, mel, rotation = noise(400)
    other = spec * (1 + 1e-6 * torch.randn(spec.shape, generator=torch.Generator().manual_seed(1)))
    found = [inversion()(x, mel, rotation, None, True)[0] for x in (spec, other)]
    difference = (found[0] - found[1]).abs().amax(0) / found[0].abs().max()
    assert difference[: 200 * HOP].median() < 1e-3
    assert difference[200 * HOP :].median() < 1e-3


@torch.no_grad()
def test_frames_are_aligned_as_the_transform_says() -> None:
    waveform = torch.randn(1, 40 * HOP, generator=torch.Generator().manual_seed(0))
    for padding in ("causal", "center", "none"):
        true = StreamingSTFT(N_FFT, HOP, padding=padding)(waveform, final=True)[0]
        model = StreamingSpectrogramInversion(N_FFT, HOP, BANK, 1, 2, 0.0, 0.0, padding)
        found, _ = model(true, mel_of(true.abs()), torch.zeros_like(true), None, True)
        inside = slice(N_FFT, 36 * HOP)
        assert (found[:, inside] - waveform[:, inside]).norm() < 0.05 * waveform[:, inside].norm()


def test_hops_must_divide_frames() -> None:
    with pytest.raises(ValueError, match="must divide"):
        StreamingSpectrogramInversion(N_FFT, 60, BANK, 1, 1, 0.5, 0.5)
    with pytest.raises(ValueError, match="4 the hop"):
        StreamingSpectrogramInversion(36, 18, BANK[:19], 1, 1, 0.5, 0.5)
