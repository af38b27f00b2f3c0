"""Feed audiotool damaged and hostile files of every kind for a given time, and report what it cannot answer.

    python scripts/fuzz.py --kind all --seconds 60 --seed 1 [--first 0] [--keep faults/]

A case is made from a good file of this repository by a random generator of (seed, kind, number) and given to
the code that users call. Four answers are faults: an exception that is no AudiotoolError or is told on many
lines, more than --limit seconds, more than --memory gigabytes, and files left behind by a call that failed.
Each is printed with the number that makes it again (--first), and its input is kept where --keep says. Cases
run in a child process, which is begun anew after a fault of time or memory.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import multiprocessing
import resource
import shutil
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from plain_errors import run_script

from audiotool.errors import AudiotoolError

ROOT = Path(__file__).resolve().parents[1]
PACKS = ROOT / "tests" / "data" / "parity"
CHECKPOINT = ROOT / "checkpoints" / "denoise-tiny-16k.safetensors"

IMPORTS = {
    "waveflow/h8_r8_bipartize_f6": "waveflow",
    "waveflow/parakeet_h8": "waveflow",
    "hybrid_demucs/spectrum_magnitude": "hybrid-demucs",
    "hifigan/v3_small": "hifigan",
    "gtcrn": "gtcrn",
    "nsf/hn_sinc_nsf_10_small": "nsf",
    "waveglow/group6": "waveglow",
    "parallel_wavegan/v1_small": "parallel-wavegan",
    "vocos/encodec_adanorm_same": "vocos",
    "afilm": "afilm",
    "mambattention": "mambattention",
    "mp_senet": "mp-senet",
    "periodwave/encodec_small": "periodwave",
    "cleanunet": "cleanunet",
}
"""Folders of official files, and their models."""

STRANGE: tuple[Any, ...] = (
    *(None, True, 0, -1, 1, 2, 3, 7, 100, 65_536, 100_000, 2**31, 2**63, 10**30, 0.5, -0.5, 1e-30, 1e308),
    *(
        float("nan"),
        float("inf"),
        "",
        "x",
        "16",
        "../x",
        "\0",
        "é" * 300,
        [],
        [1],
        [[1, 2], [3]],
        {},
        {"a": 1},
    ),
    *([1] * 1000, "hifigan-22k", {"preset": "hifigan-22k"}, ["speech"], ["a/b"]),
)
"""Values that replace a value of a document."""

Case = Callable[[np.random.Generator, Path], Callable[[], Any]]
"""Writes its input into a folder and returns the call that takes it."""


def mutate_bytes(rng: np.random.Generator, content: bytes) -> bytes:
    """Some changes of the kinds that bad disks, cut transfers and malice make."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 6))):
        if not data:
            break
        # Headers are at the beginning and, in zip files, at the end.
        reach = len(data) if rng.random() < 0.3 else min(len(data), 2000)
        at = int(rng.integers(reach))
        at = len(data) - 1 - at if rng.random() < 0.2 else at
        size = int(min(2 ** rng.integers(0, 12), len(data) - at))
        action = rng.integers(6)
        if action == 0:
            data[at] ^= 1 << int(rng.integers(8))
        elif action == 1:
            data[at : at + size] = rng.bytes(size)
        elif action == 2:
            del data[at : at + size]
        elif action == 3:
            data[at:at] = data[at : at + size]
        elif action == 4:
            value = int(rng.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 0xFFFF]))
            data[at : at + 4] = value.to_bytes(4, "little" if rng.random() < 0.5 else "big")
        else:
            del data[at:]
    return bytes(data)


def mutate_values(rng: np.random.Generator, values: Any) -> None:
    """Change, remove or add one value somewhere in nested dictionaries and lists."""
    places = list(_places(values))
    container, key = places[int(rng.integers(len(places)))]
    action = rng.random()
    if action < 0.1:
        del container[key]
    elif action < 0.2 and isinstance(container, dict):
        container[str(rng.choice(["x", "dim", "", "layers", "preset"]))] = _strange(rng)
    elif action < 0.4 and isinstance(container[key], int | float):
        container[key] *= [2, 3, 10, -1, 1000, 0.5][int(rng.integers(6))]
    else:
        container[key] = _strange(rng)


def _strange(rng: np.random.Generator) -> Any:
    return copy.deepcopy(STRANGE[int(rng.integers(len(STRANGE)))])


def _places(values: Any) -> Iterator[tuple[Any, Any]]:
    for key, inner in list(values.items() if isinstance(values, dict) else enumerate(values)):
        yield values, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


def mutate_text(rng: np.random.Generator, text: str) -> str:
    """Pieces of syntax put where they do not belong."""
    pieces = [
        "{{ x }}",
        "{[a]: b}",
        "!!int x",
        "[" * 900,
        "&a [*a]",
        "*x",
        "<<: *x",
        "\t",
        "\0",
        ": ",
        "- ",
        '"',
    ]
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(text) + 1))
        text = text[:at] + str(rng.choice(pieces)) + text[at + int(rng.integers(4)) :]
    return text


def audio(rng: np.random.Generator, folder: Path) -> Callable[[], Any]:
    import soundfile

    kinds = [("wav", "PCM_16"), ("wav", "FLOAT"), ("flac", "PCM_16"), ("ogg", "VORBIS"), ("ogg", "OPUS")]
    kinds += [
        ("mp3", "MPEG_LAYER_III"),
        ("aiff", "PCM_24"),
        ("caf", "ALAC_16"),
        ("w64", "PCM_16"),
        ("au", "ULAW"),
    ]
    ending, subtype = kinds[int(rng.integers(len(kinds)))]
    source = folder / f"in.{ending}"
    file = io.BytesIO()
    noise = 0.1 * rng.standard_normal((4000, int(rng.integers(1, 3))))
    soundfile.write(file, noise, 16000, format=ending.upper(), subtype=subtype)
    source.write_bytes(mutate_bytes(rng, file.getvalue()))
    return lambda: _pipeline().process_file(source, folder / f"out.{ending}")


def checkpoints(rng: np.random.Generator, folder: Path) -> Callable[[], Any]:
    path = folder / "in.safetensors"
    content = CHECKPOINT.read_bytes()
    if rng.random() < 0.3:
        path.write_bytes(mutate_bytes(rng, content))
    else:
        size = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + size])
        metadata = json.loads(header["__metadata__"]["audiotool"])
        # The recipe is only kept; what a model is built from comes first.
        part = metadata["model"] if rng.random() < 0.7 else metadata
        for _ in range(int(rng.integers(1, 4))):
            mutate_values(rng, part)
        header["__metadata__"]["audiotool"] = json.dumps(metadata)
        if rng.random() < 0.1:
            mutate_values(rng, header)
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size :])

    def use() -> None:
        from audiotool.tasks.load import load

        load(path, device="cpu")(np.zeros(4000, np.float32), 16000)

    return use


def imports(rng: np.random.Generator, folder: Path) -> Callable[[], Any]:
    from audiotool.importers.base import import_checkpoint, read_config

    pack, model = list(IMPORTS.items())[int(rng.integers(len(IMPORTS)))]
    files = [p for p in (PACKS / pack).iterdir() if not p.name.startswith(("io.", "NOTICE", "do_", "disc"))]
    for file in files:
        shutil.copy(file, folder)
    configs = [p for p in folder.iterdir() if p.suffix in (".json", ".yaml", ".yml")]
    others = [p for p in folder.iterdir() if p not in configs and p.suffix not in (".npy", ".npz")]
    official, config = sorted(others)[0], configs[0] if configs else None
    if config is not None and rng.random() < 0.5:
        if rng.random() < 0.3:
            config.write_text(mutate_text(rng, config.read_text()))
        else:
            values = read_config(config)
            mutate_values(rng, values)
            config.write_text(json.dumps(values))
    else:
        target = sorted([*others, *folder.glob("*.np*")])[int(rng.integers(len(others)))]
        target.write_bytes(mutate_bytes(rng, target.read_bytes()))
    return lambda: import_checkpoint(official, model, config)


def recipes(rng: np.random.Generator, folder: Path) -> Callable[[], Any]:
    import yaml

    from audiotool.recipe import load

    known = sorted((ROOT / "recipes").glob("*/*.yaml"))
    text = known[int(rng.integers(len(known)))].read_text()
    if rng.random() < 0.4:
        text = mutate_text(rng, text)
    else:
        values = yaml.safe_load(text)
        for _ in range(int(rng.integers(1, 4))):
            mutate_values(rng, values)
        text = yaml.safe_dump(values)
    path = folder / "in.yaml"
    path.write_text(text)
    return lambda: load(path).plain()


def mels(rng: np.random.Generator, folder: Path) -> Callable[[], Any]:
    from safetensors.numpy import save

    from audiotool.audio.mel_file import FeatureReader

    ending = str(rng.choice(["npy", "npz", "safetensors"]))
    mel = rng.standard_normal((80, 20)).astype(np.float32)
    file = io.BytesIO()
    if ending == "safetensors":
        definition = {"sample_rate": 22050, "n_fft": 1024, "hop_length": 256, "n_mels": 80}
        if rng.random() < 0.5:
            mutate_values(rng, definition)
        file.write(save({"mel": mel}, {"mel": json.dumps(definition)}))
    elif ending == "npz":
        np.savez(file, mel=mel)
    else:
        np.save(file, mel)
    path = folder / f"in.{ending}"
    path.write_bytes(mutate_bytes(rng, file.getvalue()))

    def use() -> None:
        with FeatureReader(path, (80,)) as reader:
            if reader.shape[0] == 80:
                reader.range(80)

    return use


def manifests(rng: np.random.Generator, folder: Path) -> Callable[[], Any]:
    from audiotool.data.manifest import read_manifest

    good = (
        b"path,kind,speaker_or_class,sample_rate,seconds,split\n" + b"a/b.wav,speech,x,16000,1.5,train\n" * 20
    )
    path = folder / "in.csv"
    path.write_bytes(mutate_bytes(rng, good))
    return lambda: [entry.path.exists() for entry in read_manifest(path)]


def rooms(rng: np.random.Generator, folder: Path) -> Callable[[], Any]:
    from audiotool.data.rooms import Rooms

    values: dict[str, Any] = {
        "rir": rng.standard_normal((3, 800)).astype(np.float32),
        "length": [800, 700, 600],
    }
    values |= {"sample_rate": 16000, "direct_sample": 40}
    file = io.BytesIO()
    if rng.random() < 0.5:
        values[str(rng.choice(list(values)))] = np.asarray(rng.integers(-5, 900, int(rng.integers(0, 5))))
        np.savez_compressed(file, **values)
        content = file.getvalue()
    else:
        np.savez_compressed(file, **values)
        content = mutate_bytes(rng, file.getvalue())
    path = folder / "in.npz"
    path.write_bytes(content)
    return lambda: Rooms([path], 8000)


KINDS: dict[str, Case] = {
    f.__name__: f for f in (audio, checkpoints, imports, recipes, mels, manifests, rooms)
}


def run_case(kind: str, seed: int, number: int, folder: Path) -> tuple[str | None, bool]:
    """Run one case in an empty folder: what is wrong with the answer, if anything, and whether it refuses."""
    rng = np.random.default_rng([seed, zlib.crc32(kind.encode()), number])
    call = KINDS[kind](rng, folder)
    before = sorted(folder.iterdir())
    try:
        call()
    except AudiotoolError as error:
        left = [path.name for path in folder.iterdir() if path not in before]
        if left:
            return f"left behind: {', '.join(left)} after: {error}", True
        return (f"told on several lines: {error}" if "\n" in str(error) else None), True
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})", True
    return None, False


def _pipeline() -> Any:
    global _shared
    if _shared is None:
        from audiotool.tasks.load import load

        _shared = load(CHECKPOINT, device="cpu")
    return _shared


_shared: Any = None


def _work(connection: Any, kind: str, seed: int, number: int, keep: Path | None) -> None:
    """Cases from `number` on, each announced and answered over the connection."""
    import torch

    torch.set_num_threads(1)
    while True:
        connection.send(number)
        with tempfile.TemporaryDirectory() as name:
            fault, refused = run_case(kind, seed, number, Path(name))
            if fault and keep:
                shutil.copytree(name, keep / f"{kind}-{seed}-{number}", dirs_exist_ok=True)
        connection.send((fault, refused, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20))
        number += 1


def fuzz(kind: str, options: argparse.Namespace) -> int:
    """Run cases of a kind until the time is over; the number of faults."""
    end, number, faults, refusals = time.monotonic() + options.seconds, options.first, 0, 0
    context = multiprocessing.get_context("spawn")
    while time.monotonic() < end:
        here, there = context.Pipe()
        child = context.Process(
            target=_work, args=(there, kind, options.seed, number, options.keep), daemon=True
        )
        child.start()
        there.close()
        highest: float | None = None
        with contextlib.suppress(EOFError):
            while time.monotonic() < end:
                number = here.recv()
                if not here.poll(options.limit):
                    faults += _report_fault(kind, number, f"takes more than {options.limit} s")
                    break
                fault, refused, memory = here.recv()
                refusals += refused
                faults += _report_fault(kind, number, fault) if fault else 0
                if highest is not None and memory > highest + options.memory:
                    faults += _report_fault(kind, number, f"takes {memory - highest:.1f} GiB")
                    break
                # The first case imports what all need.
                highest = memory if highest is None else highest
                number += 1
        child.join(1)
        if child.exitcode not in (None, 0):
            faults += _report_fault(kind, number, f"ends the process: {child.exitcode}")
        child.kill()
        child.join()
        number += 1
    print(f"{kind}: {number - options.first} cases, {refusals} refused, {faults} faults", flush=True)
    return faults


def _report_fault(kind: str, number: int, fault: str) -> int:
    print(f"FAULT {kind} --first {number}: {' '.join(fault.split())[:600]}", flush=True)
    return 1


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kind", choices=["all", *KINDS], default="all")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--limit", type=float, default=30.0, help="seconds for one case")
    parser.add_argument("--memory", type=float, default=1.5, help="gigabytes for one case")
    parser.add_argument("--keep", type=Path, help="folder that takes the inputs of faults")
    options = parser.parse_args()
    faults = sum(fuzz(kind, options) for kind in (KINDS if options.kind == "all" else [options.kind]))
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    run_script(main)
