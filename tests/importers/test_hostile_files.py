"""Files that would run code, in every form of a checkpoint: every importer refuses them, and nothing runs.

A payload makes a folder where the test stands. What an importer answers is always a CheckpointError.
"""

from __future__ import annotations

import collections
import io
import pickle
import random
import re
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from audiotool.errors import CheckpointError
from audiotool.importers import deepfilternet3
from audiotool.importers.base import IMPORTERS, Options
from audiotool.importers.deepfilternet3 import DeepFilterNet3Importer
from audiotool.importers.hdf5 import read_array
from audiotool.importers.keras_file import read_keras
from audiotool.importers.legacy_modules import MAGIC, PROTOCOL, read_legacy_module
from audiotool.importers.torch_file import read_torch
from audiotool.importers.waveflow import read_paddle
from audiotool.importers.waveglow import STAND_INS

PROOF = "proof"
EMPTY_END_RECORD = b"PK\5\6" + bytes(18)


def text(value: str) -> bytes:
    """The pickle instruction that puts a string on the stack."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


CALLS = {
    "os.mkdir": b"\x80\x02cos\nmkdir\n" + text(PROOF) + b"\x85R.",
    "stack global": b"\x80\x04" + text("os") + text("mkdir") + b"\x93" + text(PROOF) + b"\x85R.",
    "dotted name": b"\x80\x04" + text("pathlib") + text("os.mkdir") + b"\x93" + text(PROOF) + b"\x85R.",
    "instance": b"(" + text(PROOF) + b"ios\nmkdir\n.",
    "object": b"(cos\nmkdir\n" + text(PROOF) + b"o.",
    "builtins.exec": b"\x80\x02cbuiltins\nexec\n" + text(f"import os; os.mkdir('{PROOF}')") + b"\x85R.",
    "python 2": b"\x80\x02c__builtin__\neval\n" + text(f"__import__('os').mkdir('{PROOF}')") + b"\x85R.",
    "torch.save": b"\x80\x02ctorch\nsave\n" + text("x") + text(PROOF) + b"\x86R.",
    "numpy.save": b"\x80\x02cnumpy\nsave\n" + text(PROOF) + text("x") + b"\x86R.",
    "torch.load": b"\x80\x02ctorch\nload\n" + text("inner.pt") + b"\x85R.",
    "new object": b"\x80\x02cpathlib\nPath\n" + text(PROOF) + b"\x85\x81.",
    "set state of the class": (
        b"\x80\x02cglow\nWaveGlow\n}" + text("__setstate__") + b"cos\nmkdir\nsb"
        b"cglow\nWaveGlow\n)\x81" + text(PROOF) + b"b."
    ),
    "attribute of a function": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}"
    + text("__code__")
    + b"Ns\x86b.",
}
"""Pickles that call something, each in another way."""


def as_zip(payload: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", payload)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    return file.getvalue()


def as_legacy(payload: bytes) -> bytes:
    facts = ({"little_endian": True, "protocol_version": PROTOCOL, "type_sizes": {}},)
    return b"".join(pickle.dumps(v, 2) for v in (MAGIC, PROTOCOL, *facts)) + payload + pickle.dumps([], 2)


def as_tar(payload: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in ("storages", "tensors", "pickle"):
            member = tarfile.TarInfo(name)
            member.size = len(payload)
            archive.addfile(member, io.BytesIO(payload))
    return file.getvalue()


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda payload: payload,
    "zip": as_zip,
    "zip and an empty end": lambda payload: as_zip(payload) + EMPTY_END_RECORD,
    "zip after a pickle": lambda payload: payload + as_zip(payload),
    "legacy": as_legacy,
    "legacy and a zip": lambda payload: as_legacy(payload) + as_zip(payload),
    "tar": as_tar,
}


def torchscript(folder: Path) -> bytes:
    """A program whose tensors are saved under another name when it is opened."""

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = torch.nn.Parameter(torch.zeros(3))
            self.training = False

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

        @torch.jit.export
        def __getstate__(self):  # type: ignore[no-untyped-def]
            return (self.w, self.training)

        @torch.jit.export
        def __setstate__(self, state: tuple[torch.Tensor, bool]):  # type: ignore[no-untyped-def]
            torch.save(state[0], "proof")
            self.w = state[0]  # type: ignore[assignment]
            self.training = state[1]

    torch.jit.script(Module()).save(str(folder / "script.pt"))
    return (folder / "script.pt").read_bytes()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(path: Path) -> None:
    """Every importer refuses the file, and it left nothing behind."""
    before = sorted(path.parent.iterdir())
    for importer in IMPORTERS.all().values():
        for ending in ("", ".pdparams", ".h5", ".safetensors"):
            named = path.rename(path.with_name(f"file{ending or path.suffix}"))
            with pytest.raises(CheckpointError):
                importer().load(named, None)
            named.rename(path)
    for read in (read_paddle, read_torch, lambda p: read_legacy_module(p, STAND_INS)):
        with pytest.raises(CheckpointError, match=r"refused|not a torch checkpoint|TorchScript"):
            read(path)
    assert sorted(path.parent.iterdir()) == before


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("call", CALLS)
def test_no_pickle_runs_code(here: Path, form: str, call: str) -> None:
    path = here / "evil.pt"
    path.write_bytes(FORMS[form](CALLS[call]))
    refused(path)


@pytest.mark.parametrize("end", [b"", EMPTY_END_RECORD, b"\n", bytes(30) + EMPTY_END_RECORD])
def test_no_torchscript_runs(here: Path, end: bytes) -> None:
    path = here / "evil.pt"
    path.write_bytes(torchscript(here) + end)
    refused(path)
    assert not (here / PROOF).exists()


def test_a_numpy_type_gives_no_addresses(here: Path) -> None:
    """An array of objects whose type denies it: numpy's own unpickling takes its bytes for pointers."""
    state = (3, "|", None, None, None, 8, 8, 0)
    array = np.zeros(1, object)
    reduced = list(array.__reduce__())
    version, shape, _, order, _ = reduced[2]

    class Type:
        def __reduce__(self) -> Any:
            return np.dtype, ("O8", False, True), state

    class Array:
        def __reduce__(self) -> Any:
            return reduced[0], reduced[1], (version, shape, Type(), order, b"\x41" * 8)

    path = here / "a.pdparams"
    path.write_bytes(pickle.dumps({"a": Array()}, 2))
    with pytest.raises(CheckpointError, match="'O8', which is not of numbers"):
        read_paddle(path)


def legacy_tensor(folder: Path, size: tuple[int, ...], stride: tuple[int, ...], offset: int) -> Path:
    """A file of one tensor of four values, described as the arguments say."""
    path = folder / "a.pt"
    torch.save(torch.arange(4.0), path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    good = rb"K\x00K\x04\x85(q.)K\x01\x85"  # offset 0, size (4,), stride (1,)

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"J" + struct.pack("<i", v) for v in values) + b"t"

    described = b"J" + struct.pack("<i", offset) + numbers(size) + numbers(stride)
    changed, count = re.subn(good, lambda _: described, whole, flags=re.DOTALL)
    assert count == 1
    path.write_bytes(changed)
    return path


def test_a_tensor_sees_its_storage_and_nothing_beyond(tmp_path: Path) -> None:
    assert read_legacy_module(legacy_tensor(tmp_path, (2,), (2,), 1), ()).tolist() == [1, 3]
    assert read_legacy_module(legacy_tensor(tmp_path, (0, 9), (1, 1), 0), ()).shape == (0, 9)
    for size, stride, offset in [((5,), (1,), 0), ((4,), (1,), 1), ((2,), (1,), -1), ((9,), (0,), 0)]:
        with pytest.raises(CheckpointError, match="a tensor"):
            read_legacy_module(legacy_tensor(tmp_path, size, stride, offset), ())


def test_tensors_do_not_unpack_to_more_than_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"a": torch.zeros(1).expand(10**9)}, path)
    with pytest.raises(CheckpointError, match="4000000000 bytes of weights"):
        read_torch(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**6))
    with pytest.raises(CheckpointError, match="would unpack to 1000000 bytes"):
        read_torch(path)


SIZED = {
    "an array of bytes": b"\x80\x02c__builtin__\nbytearray\nM\xe8\x03\x85R.",
    "digits of digits": b"\x80\x02c_codecs\nencode\n" + text("abc") + text("hex") + b"\x86R.",
    "a tensor of a size": b"\x80\x02ctorch\nTensor\nM\xe8\x03\x85R.",
    "a tensor of numbers": b"\x80\x02ctorch\nFloatTensor\n]M\xe8\x03a\x85R.",
    "a storage of a size": b"\x80\x02ctorch.storage\nUntypedStorage\nM\xe8\x03\x85R.",
}
"""Pickles that torch reads, and that make memory of the size that they name."""


@pytest.mark.parametrize("kind", SIZED)
def test_no_pickle_makes_memory_of_a_size(here: Path, kind: str) -> None:
    path = here / "large.pt"
    for form in ("zip", "legacy"):
        path.write_bytes(FORMS[form](SIZED[kind]))
        refused(path)
        with pytest.raises(CheckpointError, match=r"refers to .* could run code or fill the memory"):
            read_torch(path)


NESTED = b"K\x01" + b"2\x86" * 24
"""A tuple that holds another one twice, and so on, 24 levels deep."""

HASHED = {
    "a key": b"\x80\x02}" + NESTED + b"K\x01s.",
    "keys": b"\x80\x02}(" + NESTED + b"K\x01u.",
    "a set": b"\x80\x02c__builtin__\nset\n](" + NESTED + b"e\x85R.",
    "a dictionary of pairs": b"\x80\x02ccollections\nOrderedDict\n](" + NESTED + b"K\x01\x86e\x85R.",
    "by the memo": b"\x80\x02}K\x01" + b"q\x00h\x00\x86" * 24 + b"K\x01s.",
    "wide tuples": b"\x80\x02}K\x01" + (b"q\x00(" + b"h\x00" * 200 + b"t") * 2 + b"K\x01s.",
}
"""Pickles of a few bytes whose keys Python hashes in a time that doubles with each level."""


@pytest.mark.parametrize("kind", HASHED)
def test_no_key_takes_longer_than_its_file(here: Path, kind: str) -> None:
    path = here / "slow.pt"
    for form in ("plain", "zip", "legacy"):
        path.write_bytes(FORMS[form](HASHED[kind]))
        with pytest.raises(CheckpointError, match=r"more than 10000 values"):
            read_torch(path)
    path.write_bytes(FORMS["legacy"](HASHED[kind]))
    with pytest.raises(CheckpointError, match=r"more than 10000 values"):
        read_legacy_module(path, STAND_INS)
    path.write_bytes(HASHED[kind])
    with pytest.raises(CheckpointError, match=r"more than 10000 values"):
        read_paddle(path)


def shared_lists(levels: int) -> list[Any]:
    """A list that holds another one twice, and so on."""
    values: list[Any] = [1]
    for _ in range(levels):
        values = [values, values]
    return values


def test_lists_that_share_their_lists_are_counted(tmp_path: Path) -> None:
    circle: list[Any] = [1]
    circle.append(circle)
    for values in (shared_lists(24), circle, {"a": {"b": shared_lists(24)}}):
        torch.save({"kwargs": values}, tmp_path / "a.pt")
        with pytest.raises(CheckpointError, match="more than 1000000 values, or more than 50 levels"):
            read_torch(tmp_path / "a.pt")
    torch.save(shared_lists(12), tmp_path / "a.pt")
    assert read_torch(tmp_path / "a.pt") == shared_lists(12)


def test_messages_quote_no_more_than_a_line(tmp_path: Path) -> None:
    options = Options("network", taken=(), fixed={"depth": (5,)})
    for values in (shared_lists(12), {"depth": shared_lists(12)}):
        with pytest.raises(CheckpointError, match=r"a\.json: ") as refusal:
            options.check(values, "a.json")
        assert len(str(refusal.value)) < 300


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((1000, [1]), r"has the shape \(1000, \[1\]\)"),
        ([1 << 60] * 20_000, r"has the shape \[1152921504606846976, "),
        ((1 << 30, 7), r"of shape \(1073741824, 7\) and float32 holds another number"),
    ],
    ids=["a list", "many numbers", "large numbers"],
)
def test_the_shape_of_an_array_is_of_few_numbers(tmp_path: Path, shape: Any, said: str) -> None:
    """A number times a list is a list of that many copies; many numbers have a long product."""

    class Array:
        def __reduce__(self) -> Any:
            reduced = list(np.zeros(1, np.float32).__reduce__())
            version, _, kind, order, content = reduced[2]
            return reduced[0], reduced[1], (version, shape, kind, order, content)

    path = tmp_path / "a.pdparams"
    path.write_bytes(pickle.dumps({"a": Array()}, 2))
    with pytest.raises(CheckpointError, match=f"an array {said}") as refusal:
        read_paddle(path)
    assert len(str(refusal.value)) < 1000


class Spread:
    """Pickled as a call that takes a tensor apart, whose values all are one."""

    def __reduce__(self) -> Any:
        return collections.OrderedDict, ([torch.zeros(1).expand(10**6)],)


def test_arrays_that_share_their_bytes_are_counted(tmp_path: Path) -> None:
    array = np.ones(10_000, np.float32)
    (tmp_path / "a.pdparams").write_bytes(pickle.dumps({str(n): array for n in range(100)}, 2))
    with pytest.raises(CheckpointError, match="4000000 bytes of weights"):
        read_paddle(tmp_path / "a.pdparams")


def test_a_tensor_is_measured_before_it_is_used(tmp_path: Path) -> None:
    torch.save(Spread(), tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="4000000 bytes of weights"):
        read_torch(tmp_path / "a.pt")


def test_torch_reads_as_before_after_an_import(tmp_path: Path) -> None:
    values = {"a": torch.ones(3), "b": bytearray(3)}
    torch.save(values, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="refers to bytearray"):
        read_torch(tmp_path / "a.pt")
    assert torch.load(tmp_path / "a.pt", weights_only=True)["b"] == values["b"]


@pytest.mark.parametrize("as_zip_file", [True, False])
def test_what_training_writes_is_read(tmp_path: Path, as_zip_file: bool) -> None:
    """Weights of several types, and all else that a training keeps beside them."""
    layer = torch.nn.Linear(10, 10)
    optimiser = torch.optim.AdamW(layer.parameters())
    layer(torch.randn(3, 10)).sum().backward()
    optimiser.step()
    values = {
        **{str(kind): torch.randn(9).to(kind) for kind in (torch.half, torch.bfloat16, torch.complex64)},
        "optimiser": optimiser.state_dict(),
        "random": torch.get_rng_state(),
        "random of Python": random.getstate(),
        "parameter": layer.weight,
        "plain": [torch.float32, torch.device("cpu"), torch.Size([3]), {1}, 1j, collections.Counter("aab")],
    }
    torch.save(values, tmp_path / "a.pt", _use_new_zipfile_serialization=as_zip_file)
    assert str(read_torch(tmp_path / "a.pt")) == str(values)


COUNTED = {
    "a short text": b"\x80\x02U\x09ab.",
    "text": b"\x80\x02X\x00\x00\x00\x40ab.",
    "bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"ab.",
    "an array of bytes": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"ab.",
    "a number": b"\x80\x02\x8b\x00\x00\x00\x40ab.",
    "a frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b"ab.",
}
"""Pickles that announce more bytes than follow."""


@pytest.mark.parametrize("kind", COUNTED)
def test_pickles_are_no_longer_than_their_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "short.pdparams"
    path.write_bytes(COUNTED[kind])
    for read in (read_paddle, lambda p: read_legacy_module(p, STAND_INS)):
        with pytest.raises(CheckpointError, match=r"ends too early|refers to builtins\.bytearray"):
            read(path)


def test_hdf5_stays_within_its_file(tmp_path: Path) -> None:
    other, path = tmp_path / "secret.h5", tmp_path / "a.h5"
    (tmp_path / "secret.txt").write_bytes(bytes(64))
    with h5py.File(other, "w") as file:
        file["mean"] = np.zeros(4, np.float32)
    with h5py.File(path, "w") as file:
        file["linked"] = h5py.ExternalLink("secret.h5", "mean")
        file["renamed"] = h5py.SoftLink("good")
        file.create_dataset("stored", (16,), "f4", external=[(str(tmp_path / "secret.txt"), 0, 64)])
        layout = h5py.VirtualLayout((4,), "f4")
        layout[:] = h5py.VirtualSource(str(other), "mean", (4,))
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("empty", (10**9,), "f4", chunks=True)
        file["text"] = "abc"
        file["good"] = np.arange(3, dtype=np.float32)
    with h5py.File(path, "r") as file:
        for name in ("linked", "renamed", "stored", "virtual"):
            with pytest.raises(ValueError, match=f"'{name}' lies in another file"):
                read_array(file, name)
        with pytest.raises(ValueError, match="more than the file can hold"):
            read_array(file, "empty")
        with pytest.raises(ValueError, match="not numbers"):
            read_array(file, "text")
        assert read_array(file, "good").tolist() == [0, 1, 2]


def keras_layer(group: h5py.Group, names: list[str]) -> None:
    """A layer of Keras whose one array has a megabyte of zeros, under these names."""
    layer = group.create_group("layer")
    layer.create_dataset("w", (1 << 18,), "f4", chunks=True, compression="gzip")[:] = 0
    layer.attrs["weight_names"] = [name.encode() for name in names]


def test_keras_layers_lie_in_their_file(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        keras_layer(file.create_group("model_weights"), ["w"])
    for target, name in (
        ("other.h5", "model_weights"),
        ("other.h5", "layer"),
        ("missing.h5", "model_weights"),
    ):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file[name] = h5py.ExternalLink(target, "model_weights")
        with pytest.raises(CheckpointError, match=f"'{name}' lies in another file"):
            read_keras(tmp_path / "a.h5")


def test_arrays_of_keras_are_counted_together(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    for count, fits in ((2, True), (200, False)):
        with h5py.File(path, "w") as file:
            keras_layer(file, ["./" * n + "w" for n in range(count)])
        if fits:
            assert len(read_keras(path)["weights"]) == count
        else:
            with pytest.raises(CheckpointError, match="together are larger than the file can hold"):
                read_keras(path)


def test_an_archive_is_unpacked_to_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a name, and of a file that is skipped."""
    monkeypatch.setattr(deepfilternet3, "MAX_UNPACKED", 1 << 20)
    path = tmp_path / "a.tar.gz"
    for kind in (tarfile.GNUTYPE_LONGNAME, tarfile.REGTYPE):
        with tarfile.open(path, "w:gz") as archive:
            member = tarfile.TarInfo("skipped")
            member.type, member.size = kind, 4 << 20
            archive.addfile(member, io.BytesIO(bytes(4 << 20)))
        with pytest.raises(CheckpointError, match="not DeepFilterNet3's archive") as refusal:
            DeepFilterNet3Importer().read(path)
        assert "it unpacks to more than 1048576 bytes" in str(refusal.value.__cause__)
