"""Mels of official configurations: refused values have the file's name and the official key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from audiotool.errors import CheckpointError
from audiotool.importers.base import import_checkpoint

PACKS = Path(__file__).parents[1] / "data" / "parity"
VOCOS_MEL = ("feature_extractor", "init_args")


@pytest.mark.parametrize(
    ("model", "file", "sections", "key", "value", "message"),
    [
        ("hifigan", "hifigan/v1_small/g_00000001", (), "win_size", 0, "win_size: found 0, should be"),
        (
            *(
                "parallel-wavegan",
                "parallel_wavegan/v1_small/checkpoint-400000steps.pkl",
                (),
                "hop_size",
                None,
            ),
            "hop_size: found None, should be a valid integer",
        ),
        (
            *(
                "waveglow",
                "waveglow/small/waveglow_1_state_dict.pt",
                ("data_config",),
                "filter_length",
                "1024",
            ),
            "filter_length: found '1024', should be a valid integer",
        ),
        (
            *("waveflow", "waveflow/h8_r16/waveflow_5000", ("data_config",), "mel_fmax", 20000.0),
            r"mel: mel_fmin 0\.0 and mel_fmax 20000\.0 Hz do not fit below 11025\.0 Hz",
        ),
        (
            "waveflow",
            "waveflow/parakeet_h8/step-1.pdparams",
            ("data",),
            "fmin",
            -1,
            "fmin: found -1, should be",
        ),
        (
            *("periodwave", "periodwave/base_small/G_10000.pth", ("data",), "hop_length", 0.5),
            "hop_length: found 0.5, should be a valid integer",
        ),
        (
            *("vocos", "vocos/mel_istft_center/pytorch_model.bin", VOCOS_MEL, "mel_scale", "bark"),
            "mel_scale: found 'bark', should be 'slaney' or 'htk'",
        ),
    ],
)
def test_refused_values(
    tmp_path: Path, model: str, file: str, sections: tuple[str, ...], key: str, value: Any, message: str
) -> None:
    path = PACKS / file
    source = next(p for p in path.parent.iterdir() if p.name.startswith("config"))
    values = section = yaml.safe_load(source.read_text())
    for name in sections:
        section = section[name]
    section[key] = value
    config = tmp_path / source.name
    config.write_text(json.dumps(values) if source.suffix == ".json" else yaml.safe_dump(values))
    with pytest.raises(CheckpointError, match=rf"{config.name}: {message}"):
        import_checkpoint(path, model, config)
