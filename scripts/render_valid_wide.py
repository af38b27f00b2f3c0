r"""Render valid-wide: mixtures of voices, noises and rooms that are in no training data, in two halves.

    python scripts/render_valid_wide.py OUT --speech MANIFEST ... --noise MANIFEST ... --rir MANIFEST ...
        [--count 60] [--rate 16000] [--hiss 0]

Everything is of the manifests' split `valid`. OUT/first and OUT/second hold noisy/, clean/ and index.csv with
COUNT mixtures of 10 s each; no voice and no recording of noise is in both (rooms are). Weights are chosen by
the first half, and what was chosen is scored once on the second. Every class of noise is drawn as often, at
-5 to 20 dB; a third of the mixtures begins with 1 to 4 s of quiet or digital silence before anybody speaks,
a fifth is in a room, a tenth of the noises is babble. With --rate 48000 name a manifest of speech that has
content above 16 kHz, and noise that has: speech of a lower sample rate is left out. --hiss is the share of
noises that are computed, steady noise of every colour: what microphones and preamplifiers add.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

from plain_errors import run_script

from audiotool.data.config import AudioConfig, DataConfig, EvaluationConfig, EvaluationSyntheticConfig
from audiotool.data.dataset import make_dataset
from audiotool.data.entry import Entry
from audiotool.data.manifest import read_for, write_manifest
from audiotool.data.mixed_set import write_set

HALVES = ("first", "second")
SECONDS = 10.0
MIXING = EvaluationConfig(
    snr_db=(-5.0, 20.0),
    noises=(1, 1),
    level_dbfs=(-35.0, -18.0),
    reverberation_probability=0.2,
    reverberation_target="reverberant",
    noise_only_probability=0.0,
    clean_only_probability=0.0,
    babble_probability=0.1,
    envelope_db=0.0,
    lead_in_probability=1 / 3,
    lead_in_seconds=(1.0, 4.0),
    lead_in_db=(25.0, 60.0),
)


def half_of(entry: Entry) -> str:
    """Speech is parted by voice, noise by recording; by their names, so that more files change nothing."""
    name = entry.group if entry.kind == "speech" else entry.path.name
    return HALVES[hashlib.sha256(name.encode()).digest()[0] % 2]


def main() -> None:
    """Part the material, mix each half."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    for kind in ("speech", "noise", "rir"):
        parser.add_argument(f"--{kind}", type=Path, nargs="+", required=True, metavar="MANIFEST")
    parser.add_argument("--count", type=int, default=60, help="mixtures of a half")
    parser.add_argument("--rate", type=int, default=16000, help="Hz")
    parser.add_argument("--hiss", type=float, default=0.0, help="share of noises that are hiss")
    options = parser.parse_args()
    if options.out.exists() and any(options.out.iterdir()):
        sys.exit(f"{options.out} is not empty: choose another folder for the set")
    material = [
        entry
        for kind in ("speech", "noise")
        for entry in read_for(kind, getattr(options, kind))
        if entry.split == "valid"
    ]
    hiss = EvaluationSyntheticConfig(probability=options.hiss, kinds=["coloured"])
    mixing = MIXING.model_copy(update={"synthetic": hiss})
    audio = AudioConfig(sample_rate=options.rate, segment_seconds=SECONDS)
    for seed, half in enumerate(HALVES):
        manifest = options.out / half / "material.csv"
        write_manifest(manifest, [entry for entry in material if half_of(entry) == half])
        data = DataConfig(
            speech=[manifest], noise=[manifest], rir=options.rir, balance=1.0, evaluation=mixing, seed=seed
        )
        dataset = make_dataset(data, audio, "noisy", "valid", options.count)
        rows = write_set(dataset, options.out / half, range(options.count))
        voices, noises = len({row["speech"] for row in rows}), len({row["noise"] for row in rows})
        print(f"{options.out / half}: {len(rows)} mixtures, {voices} voices, {noises} classes of noise")


if __name__ == "__main__":
    run_script(main)
