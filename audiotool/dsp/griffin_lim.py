"""Griffin-Lim: a waveform whose mel is nearly the given one, without any training. What a vocoder must beat.

The mel's logarithm is undone, the filterbank is inverted by least squares, and phases are found by going
back and forth between spectrum and waveform (torchaudio's implementation, with momentum).

References: Griffin and Lim, Signal estimation from modified short-time Fourier transform, TASSP 1984;
Perraudin, Balazs, Søndergaard, A fast Griffin-Lim algorithm, WASPAA 2013.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from audiotool.dsp.mel import MelConfig

ITERATIONS = 60
MOMENTUM = 0.99


def griffin_lim(mel: Tensor, config: MelConfig, iterations: int = ITERATIONS, seed: int = 0) -> Tensor:
    """Return (B, frames * hop_length) for a mel (B, n_mels, frames), aligned with what was analysed.

    Args:
        config: the mel's definition.
        iterations: back and forth.
        seed: of the first phases.
    """
    from torchaudio.functional import griffinlim

    length = mel.shape[-1] * config.hop_length
    if mel.shape[-1] < 2:
        return mel.new_zeros(mel.shape[0], length)
    win_length = config.win_length or config.n_fft
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        waveform = griffinlim(
            magnitude_of(mel, config),
            window=torch.hann_window(win_length, device=mel.device),
            n_fft=config.n_fft,
            hop_length=config.hop_length,
            win_length=win_length,
            power=1.0,
            n_iter=iterations,
            momentum=MOMENTUM,
            length=None,
            rand_init=True,
        )
    # It takes frames to be centred on n * hop; ours are centred later by this much, or earlier.
    later = config.lookahead + 1 - config.n_fft // 2
    waveform = F.pad(waveform, (later, 0))
    return F.pad(waveform, (0, length - waveform.shape[-1]))


def magnitude_of(mel: Tensor, config: MelConfig) -> Tensor:
    """Magnitudes (B, n_fft // 2 + 1, frames) whose mel comes nearest to the given one; not negative."""
    from torchaudio.transforms import InverseMelScale

    if config.log != "none":
        mel = mel.exp() if config.log == "natural" else 10.0**mel
    inverse = InverseMelScale(
        config.n_fft // 2 + 1,
        config.n_mels,
        config.sample_rate,
        config.fmin,
        config.top,
        None if config.norm == "none" else config.norm,
        config.scale,
        # Narrow low bands may lie between two bins: the filterbank has not always full rank.
        driver="gelsd",
    ).to(mel.device)
    return inverse(mel) ** (1 / config.power)
