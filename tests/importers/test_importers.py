"""Official files are read without running code, and what does not fit is explained."""

from __future__ import annotations

import json
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from audiotool.checkpoint import sha256
from audiotool.errors import CheckpointError
from audiotool.importers.base import (
    IMPORTERS,
    entry,
    import_checkpoint,
    read_config,
    recognise,
    require,
    without_prefix,
)
from audiotool.importers.torch_file import read_torch
from audiotool.models.registry import MODELS

CLEANUNET = Path(__file__).parent.parent / "data" / "parity" / "cleanunet"


class RunsCode:
    """Pickles as a call that makes a folder: proof that it ran."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


class Holder:
    """A class of some other program, pickled by reference."""

    def __init__(self) -> None:
        self.width = 3


@pytest.mark.parametrize("form", ["zip", "legacy", "plain"])
def test_code_is_refused_and_does_not_run(tmp_path: Path, form: str) -> None:
    path, proof = tmp_path / "evil.pt", tmp_path / "proof"
    if form == "plain":
        path.write_bytes(pickle.dumps({"weights": RunsCode(proof)}, protocol=2))
    else:
        torch.save({"weights": RunsCode(proof)}, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(CheckpointError, match=r"run code.*refused.*torch\.save\(model\.state_dict"):
        read_torch(path)
    assert not proof.exists()


@pytest.mark.parametrize("content", [b"", b"RIFF\0\1\0\0WAVE", b"hello world " * 100, b"PK\3\4broken"])
def test_invalid_checkpoints(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match="not a torch checkpoint"):
        read_torch(tmp_path / "a.pt")


def test_other_kinds_of_files_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    (tmp_path / "empty.pt").touch()
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {}}')
    save_file({"a": torch.zeros(3)}, tmp_path / "renamed.pt")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(tmp_path / "a.npz", "a.npz")
    (tmp_path / "a.keras").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99))
    (tmp_path / "graph.pt").write_bytes(b"\x08\x07\x12\x07pytorch")
    for name, kind in (
        ("a.npz", r"a \.npz file"),
        ("a.keras", r"a \.h5 file"),
        ("graph.pt", r"a \.onnx file"),
        ("empty.pt", "empty"),
        ("model.safetensors.index.json", "JSON, as an index of weights in several files"),
        ("renamed.pt", r"a \.safetensors file"),
        ("a.tar", "a tar archive: give the file that is in it"),
    ):
        with pytest.raises(CheckpointError, match=rf"is not a torch checkpoint: it is {kind}"):
            read_torch(tmp_path / name)


def test_truncated_checkpoint(tmp_path: Path) -> None:
    whole = (CLEANUNET / "official_checkpoint.pkl").read_bytes()
    (tmp_path / "a.pkl").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="damaged"):
        read_torch(tmp_path / "a.pkl")


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        read_torch(tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="no such file"):
        import_checkpoint(tmp_path / "a.pt", "cleanunet")


def test_stand_ins_keep_attributes_and_nothing_else(tmp_path: Path) -> None:
    name = f"{Holder.__module__}.{Holder.__qualname__}"
    torch.save({"class": Holder, "object": Holder()}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=name):
        read_torch(tmp_path / "a.pt")
    found = read_torch(tmp_path / "a.pt", stand_ins=[name])
    assert found["class"] is not Holder
    assert found["object"].width == 3


def test_another_model_is_recognised(tmp_path: Path) -> None:
    official = CLEANUNET / "official_checkpoint.pkl"
    with pytest.raises(CheckpointError, match=r"looks like cleanunet: try --model cleanunet"):
        import_checkpoint(official, "hifigan", CLEANUNET / "config.json")
    assert recognise(read_torch(official)) == ["cleanunet"]


@pytest.mark.parametrize("stem", ["model_{}.onnx", "MODEL_{}.ONNX"])
@pytest.mark.parametrize("name", ["dtln", "fastenhancer", "gtcrn"])
def test_a_graph_of_another_model_is_recognised(tmp_path: Path, name: str, stem: str) -> None:
    """By every importer, whatever the form of its own files."""
    onnx = pytest.importorskip("onnx")
    stored = [onnx.numpy_helper.from_array(np.zeros(2), key) for key in IMPORTERS.get(name).signature]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "graph", [], [], stored)
    for stage in (1, 2):
        onnx.save(onnx.helper.make_model(graph), str(tmp_path / stem.format(stage)))
    for other in IMPORTERS.all():
        if other != name:
            with pytest.raises(CheckpointError, match=f"looks like {name}: try --model {name}"):
                import_checkpoint(tmp_path / stem.format(1), other)


@pytest.mark.parametrize("model", ["deepfilternet3", "dtln", "fastenhancer", "waveflow", "nsf"])
def test_a_file_of_torch_is_recognised_where_another_form_is_read(model: str) -> None:
    with pytest.raises(CheckpointError, match="looks like gtcrn: try --model gtcrn"):
        import_checkpoint(CLEANUNET.parent / "gtcrn" / "model_trained_on_dns3.tar", model)


def test_invalid_official_files(tmp_path: Path, tiny_checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="of audiotool already: give it to --checkpoint"):
        import_checkpoint(tiny_checkpoint, "dtln")
    with pytest.raises(CheckpointError, match="is a folder: give the file in it"):
        import_checkpoint(tmp_path, "dtln")


def test_another_configuration_names_the_keys(tmp_path: Path) -> None:
    values = json.loads((CLEANUNET / "config.json").read_text())
    values["network_config"]["tsfm_n_layers"] = 1
    values["network_config"]["channels_H"] = 8
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=r"unexpected \(tsfm_encoder.*of another shape") as caught:
        import_checkpoint(CLEANUNET / "official_checkpoint.pkl", "cleanunet", tmp_path / "config.json")
    assert "looks like" not in str(caught.value)


def test_weights_without_their_container(tmp_path: Path) -> None:
    torch.save({"encoder": {"weight": torch.zeros(1)}}, tmp_path / "a.pkl")
    with pytest.raises(CheckpointError, match="no 'model_state_dict': it has encoder"):
        import_checkpoint(tmp_path / "a.pkl", "cleanunet", CLEANUNET / "config.json")


def test_configuration_is_asked_for() -> None:
    with pytest.raises(CheckpointError, match=r"--config DNS-large-full\.json"):
        import_checkpoint(CLEANUNET / "official_checkpoint.pkl", "cleanunet")
    assert require(Path("a.json"), "b.json") == Path("a.json")


@pytest.mark.parametrize("name", ["gtcrn", "dtln", "deepfilternet3", "hybrid-demucs"])
def test_a_configuration_that_would_be_ignored_is_refused(tmp_path: Path, name: str) -> None:
    path = CLEANUNET.parent / {
        "gtcrn": "gtcrn/model_trained_on_dns3.tar",
        "hybrid-demucs": "hybrid_demucs/nfft1024_mono/official_checkpoint.th",
    }.get(name, "cleanunet/official_checkpoint.pkl")
    with pytest.raises(CheckpointError, match=r"nothing\.json: no such file"):
        import_checkpoint(path, name, tmp_path / "nothing.json")
    with pytest.raises(CheckpointError, match="leave --config out"):
        import_checkpoint(path, name, CLEANUNET / "config.json")


def test_unknown_override_names_the_nearest_key() -> None:
    with pytest.raises(CheckpointError, match="did you mean 'attention_window'"):
        import_checkpoint(
            CLEANUNET / "official_checkpoint.pkl",
            "cleanunet",
            CLEANUNET / "config.json",
            {"atention_window": 1},
        )


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{", "not valid JSON.*line 1"),
        ("a.yaml", "a: [", "not valid YAML.*line 1"),
        ("a.json", "[1]", "mapping"),
        ("a.toml", "a = 1", "not '.toml'"),
        ("a.yml", "a: !!python/object:os.system {}", "not valid YAML"),
    ],
)
def test_bad_configurations(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(CheckpointError, match=message):
        read_config(tmp_path / name)


def test_good_configurations(tmp_path: Path) -> None:
    values = {"a": {"b": [1, 2]}}
    (tmp_path / "a.json").write_text(json.dumps(values))
    (tmp_path / "a.yml").write_text(yaml.safe_dump(values))
    assert read_config(tmp_path / "a.json") == read_config(tmp_path / "a.yml") == values
    assert entry(values, "a", "b") == [1, 2]
    with pytest.raises(CheckpointError, match="cannot read the configuration"):
        read_config(tmp_path / "missing.json")


def test_entry_lists_the_keys() -> None:
    with pytest.raises(CheckpointError, match=r"config has no 'c': it has a, b\."):
        entry({"a": 1, "b": 2}, "c", source="config")
    with pytest.raises(CheckpointError, match="no keys"):
        entry([1], "c")


def test_prefixes() -> None:
    x = torch.zeros(1)
    assert set(without_prefix({"module.a": x, "other": x}, "module.")) == {"a"}
    assert set(without_prefix({"a": x}, "module.")) == {"a"}


def test_every_importer_names_a_model_and_its_source() -> None:
    models = MODELS.all()
    for name, importer in IMPORTERS.all().items():
        assert name in models
        assert importer.origin


FILES = [
    ("cleanunet/official_checkpoint.pkl", "cleanunet"),
    ("hifigan/v3_small/g_00000001", "hifigan"),
    ("bigvgan/v2_small/bigvgan_generator.pt", "bigvgan"),
    ("gtcrn/model_trained_on_dns3.tar", "gtcrn"),
    ("hybrid_demucs/torchaudio_nfft1024/official_checkpoint.pt", "hybrid-demucs"),
    ("mambattention/g_00000001.pth", "mambattention"),
    ("mp_senet/g_00000001", "mp-senet"),
    ("nsf/hn_nsf_small/trained_network.pt", "nsf"),
    ("parallel_wavegan/v1_small/checkpoint-400000steps.pkl", "parallel-wavegan"),
    ("periodwave/base_small/G_10000.pth", "periodwave"),
    ("vocos/mel_resnet/pytorch_model.bin", "vocos"),
    ("waveflow/h8_r16/waveflow_5000", "waveflow"),
    ("waveglow/small/waveglow_1_state_dict.pt", "waveglow"),
]
"""Files of `read_torch` as published, and their models."""


@pytest.mark.parametrize(("file", "name"), FILES)
def test_files_are_recognised_as_their_own_model(file: str, name: str) -> None:
    assert recognise(read_torch(CLEANUNET.parent / file))[0] == name


@pytest.mark.parametrize(("file", "name"), FILES)
def test_weights_are_taken_that_somebody_saved_alone(tmp_path: Path, file: str, name: str) -> None:
    """As the refusal of pickled modules advises, or with DistributedDataParallel around the network."""
    path = CLEANUNET.parent / file
    config = next((p for p in path.parent.iterdir() if p.name.startswith("config")), None)
    importer = IMPORTERS.get(name)()
    official = importer.read(path)
    expected = importer.weights(official), importer.configuration(config, official)
    inner = read_torch(path)
    for key in ("model_state_dict", "model", "state_dict", "generator"):
        inner = inner.get(key, inner)
    for prefix in ("", "module.", "module._orig_mod.", "net."):
        saved = {prefix + key: value for key, value in inner.items()}
        if prefix:
            saved["n_averaged"] = torch.tensor(1)
        for form in (saved, {"state_dict": saved, "epoch": 1}):
            torch.save(form, tmp_path / path.name)
            official = importer.read(tmp_path / path.name)
            found = importer.weights(official), importer.configuration(config, official)
            torch.testing.assert_close(found[0], expected[0], rtol=0, atol=0)
            assert found[1] == expected[1]


@pytest.mark.parametrize("prefix", ["_orig_mod.", "generator.", "model.", "net.module."])
def test_weights_of_a_network_that_was_a_part_of_another(tmp_path: Path, prefix: str) -> None:
    pack = CLEANUNET.parent / "hifigan" / "v3_small"
    inner = read_torch(pack / "g_00000001")["generator"]
    torch.save({"step": 1, "model": {"generator": {prefix + k: v for k, v in inner.items()}}}, tmp_path / "g")
    found, metadata = import_checkpoint(tmp_path / "g", "hifigan", pack / "config.json")
    expected, _ = import_checkpoint(pack / "g_00000001", "hifigan", pack / "config.json")
    torch.testing.assert_close(found.state_dict(), expected.state_dict(), rtol=0, atol=0)
    assert metadata.notes.endswith(
        f"Its configuration is config.json (SHA-256 {sha256(pack / 'config.json')})."
    )


def test_a_less_specific_resemblance_is_no_advice() -> None:
    """A BigVGAN file has all that a HiFi-GAN file is recognised by."""
    official = CLEANUNET.parent / "bigvgan/v2_small/bigvgan_generator.pt"
    assert recognise(read_torch(official)) == ["bigvgan", "hifigan"]
    config = CLEANUNET.parent / "hifigan/v3_small/config.json"
    with pytest.raises(CheckpointError) as caught:
        import_checkpoint(official, "bigvgan", config)
    assert "looks like" not in str(caught.value)
    with pytest.raises(CheckpointError, match="try --model bigvgan"):
        import_checkpoint(official, "hifigan", config)
