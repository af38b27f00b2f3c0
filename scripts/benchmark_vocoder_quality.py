"""Quality and speed of a vocoder's checkpoint beside Griffin-Lim, by copy synthesis, as Markdown.

    python scripts/benchmark_vocoder_quality.py CHECKPOINT FILE_OR_FOLDER... [--files 20] [--seconds 8]
        [--set iterations=24 lookahead=3]

Each recording is taken at the checkpoint's rate, its channels averaged, and analysed with the checkpoint's
mel; both methods speak the same frames. Scores are means over the recordings; speed is seconds of sound in a
second of processor time, so that other programs on the machine show little. `--set` changes hyper-parameters
of the checkpoint's model that its weights do not depend on.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from plain_errors import run_script
from torch import Tensor

from audiotool.audio.mono import to_mono
from audiotool.audio.reader import read
from audiotool.batch.inputs import find_inputs
from audiotool.dsp.griffin_lim import ITERATIONS, griffin_lim
from audiotool.dsp.mel_spectrogram import MelSpectrogram
from audiotool.engines.copy_synthesis import CopySynthesis, takes_mel
from audiotool.engines.pytorch import TorchEngine
from audiotool.files.kinds import Inputs
from audiotool.metrics.score import score
from audiotool.models.vocoder import Vocoder
from audiotool.named_checkpoints import default_for
from audiotool.streaming.resample import StreamingResampler
from audiotool.tasks.load import load_model
from audiotool.yaml_documents import parse_settings

METRICS = {
    "pesq": "PESQ",
    "stoi": "STOI",
    "mel_l1": "mel L1",
    "mrstft": "multi-resolution STFT",
    "f0_rmse": "F0 RMSE, Hz",
    "vuv_error": "V/UV error, %",
}
"""Names of `audiotool.metrics`, and of the table's columns."""

Method = Callable[[Tensor], Tensor]


def recording(path: str, sample_rate: int, seconds: float) -> NDArray[np.float32]:
    """The beginning of a file at `sample_rate`, (time,)."""
    waveform, rate = read(path)
    mono = to_mono(waveform[:, : round(seconds * rate)], path)[None]
    resampler = StreamingResampler(rate, sample_rate, 1)
    return np.concatenate((resampler.feed(mono), resampler.flush()), axis=1)[0]


def changed(vocoder: Vocoder, values: list[str]) -> Vocoder:
    """The same weights in a model with other hyper-parameters, each "key=value"."""
    other = type(vocoder)(dataclasses.replace(vocoder.config, **parse_settings(values))).eval()
    other.load_state_dict(vocoder.state_dict())
    return other


@torch.inference_mode()
def measure(method: Method, waveforms: list[NDArray[np.float32]], sample_rate: int) -> str:
    """Mean scores and speed, as the cells of a table's row."""
    scores: dict[str, list[float]] = {name: [] for name in METRICS}
    spent = 0.0
    for waveform in waveforms:
        begin = time.process_time()
        estimate = method(torch.from_numpy(waveform)[None, None])
        spent += time.process_time() - begin
        values = score(waveform, estimate.flatten().numpy(), sample_rate, list(METRICS))
        for name, found in values.items():
            if found.value is not None:
                scores[name].append(found.value)
    sound = sum(map(len, waveforms)) / sample_rate
    means = [f"{np.mean(scores[name]):.3f}" if scores[name] else "-" for name in METRICS]
    return " | ".join([*means, f"{sound / spent:.1f}x"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("inputs", nargs="+")
    parser.add_argument("--files", type=int, default=20, help="recordings at most, spread over the inputs")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each recording")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="of the model")
    options = parser.parse_args()
    torch.set_num_threads(1)
    vocoder = load_model(default_for("vocode") if options.checkpoint == "vocode" else options.checkpoint)
    if not isinstance(vocoder, Vocoder) or not takes_mel(TorchEngine(vocoder)):
        parser.error("this checkpoint takes no mel, of which Griffin-Lim could make a waveform")
    model = CopySynthesis(TorchEngine(changed(vocoder, options.set)))
    rate, analysis = model.sample_rate, MelSpectrogram(vocoder.mel)
    paths = [str(found.path) for found in find_inputs(options.inputs, (), Inputs())]
    paths = paths[:: -(-len(paths) // options.files)]
    waveforms = [recording(path, rate, options.seconds) for path in paths]

    def speak(x: Tensor) -> Tensor:
        return torch.from_numpy(model.process(x.numpy()))

    def iterate(x: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(x, (0, model.padded_length(x.shape[-1]) - x.shape[-1]))
        return griffin_lim(analysis(padded), vocoder.mel)[:, : x.shape[-1]]

    speak(torch.zeros(1, 1, rate))  # warms up
    sound = sum(map(len, waveforms)) / rate
    print(f"{len(waveforms)} recordings, {sound:.1f} s at {rate} Hz, one core\n")
    print(f"| method | {' | '.join(METRICS.values())} | speed |")
    print("| --- |" + " ---: |" * (len(METRICS) + 1))
    name = ", ".join([vocoder.name, *options.set])
    print(f"| {name} | {measure(speak, waveforms, rate)} |", flush=True)
    print(f"| Griffin-Lim, {ITERATIONS} iterations | {measure(iterate, waveforms, rate)} |")


if __name__ == "__main__":
    run_script(main)
