"""Read and write mel spectrograms: `.npy`, `.npz` (one array, or the one called "mel"), `.safetensors`.

A mel is (n_mels, frames) or (1, n_mels, frames) floats; its transpose is understood where the number of
bands leaves no doubt. Files are read and written a few frames at a time: memory does not grow with length.

The metadata of a safetensors file made here has the definition of the mel under "mel": the fields of
`dsp.mel.MelConfig` as JSON. numpy's files have no metadata.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from audiotool.atomic import Replacement
from audiotool.audio.formats import MEL_ENDINGS, is_mel_name
from audiotool.documents import DocumentError, read_json
from audiotool.dsp.mel import MelConfig, mel_config
from audiotool.errors import CheckpointError, InputError
from audiotool.extras import require
from audiotool.paths import absence, in_utf8
from audiotool.value_types import quote
from audiotool.writable import as_input_error, check_writable

NAME = "mel"
"""Name of the array in `.npz` and `.safetensors`."""

SCAN_FRAMES = 4096
Frames = NDArray[np.float32]


class Features:
    """Features, one row a band, read a few frames at a time.

    Args:
        array: (rows, frames) or (1, rows, frames), or transposed, of any floating type.
        rows: numbers of rows that fit, the likeliest first; they decide what a transposed array is.
        name: what messages call it.
    Attributes:
        definition: definition of the mel, None if it is not known.
        shape: (rows, frames), or the shape of the array if no number of rows fits.
    Raises:
        InputError: another number of axes.
    """

    definition: MelConfig | None = None

    def __init__(self, array: Any, rows: tuple[int, ...], name: str) -> None:
        self.name = name
        self._array = array
        self._turned = False
        shape = tuple(array.shape)
        self._batched = len(shape) == 3 and shape[0] == 1
        if len(shape) not in (2, 3) or (len(shape) == 3 and not self._batched):
            raise InputError(f"{self.name}: a mel is (n_mels, frames) or (1, n_mels, frames), got {shape}")
        bands, frames = shape[-2:]
        if bands not in rows and frames in rows:
            self._turned = True
            bands, frames = frames, bands
        self.shape: tuple[int, int] = (bands, frames)

    def blocks(self, frames: int) -> Iterator[Frames]:
        """Yield (rows, n) float32 with n <= frames until the end."""
        for start in range(0, self.shape[1], frames):
            yield self._read(start, min(start + frames, self.shape[1]))

    def range(self, rows: int) -> tuple[float, float]:
        """Return the smallest and the largest value of the first `rows` rows; all rows are checked.

        Raises:
            InputError: there are no frames, or one holds NaN or infinity.
        """
        low, high, position = np.inf, -np.inf, 0
        for block in self.blocks(SCAN_FRAMES):
            bad = np.argwhere(~np.isfinite(block))
            if len(bad):
                band, frame = bad[0]
                raise InputError(
                    f"{self.name} holds {block[band, frame]} in band {band} of frame {position + frame}:"
                    " a mel is finite"
                )
            low, high = min(low, float(block[:rows].min())), max(high, float(block[:rows].max()))
            position += block.shape[1]
        if not position:
            raise InputError(f"{self.name} holds no frames: its shape is {self.shape}")
        return low, high

    def _read(self, start: int, stop: int) -> Frames:
        places: tuple[Any, ...] = (slice(start, stop), slice(None))
        places = places if self._turned else places[::-1]
        part = self._array[(0, *places) if self._batched else places]
        if not isinstance(part, np.ndarray):
            part = part.float().numpy()
        return np.array(part.T if self._turned else part, dtype=np.float32, order="C")


class FeatureReader(Features):
    """An open file of features.

    Args:
        source: its path.
        rows: as of `Features`.
    Raises:
        InputError: missing, damaged, not numbers, of several arrays, or not (rows, frames).
    """

    def __init__(self, source: str | Path, rows: tuple[int, ...]) -> None:
        name = str(source)
        self._stack = contextlib.ExitStack()
        try:
            super().__init__(self._open(Path(source)), rows, name)
        except InputError:
            self.close()
            raise
        except Exception as error:  # a damaged file can fail in numpy, zipfile and zlib in any way
            self.close()
            raise InputError(f"{name} cannot be read as a mel: {_reason(error)}") from error

    def __enter__(self) -> FeatureReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._array = None
        self._stack.close()

    def _open(self, path: Path) -> Any:
        if not os.path.isfile(path):
            raise InputError(f"{path}: {absence(path) or 'no file'}")
        ending = path.suffix.lower()
        if ending == ".safetensors":
            return self._open_safetensors(path)
        if ending == ".npy":
            return _map(path)
        if ending != ".npz":
            raise InputError(f"{path}: a mel is in {', '.join(MEL_ENDINGS)}, not '{path.suffix}'")
        with zipfile.ZipFile(path) as archive:
            name = _only([n.removesuffix(".npy") for n in archive.namelist()], path)
            # It is unpacked to a temporary file, which is memory-mapped. Windows opens it only when it is
            # closed, and removes none that an error's traceback still maps.
            folder = self._stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            size, room = archive.getinfo(f"{name}.npy").file_size, shutil.disk_usage(folder).free
            with archive.open(f"{name}.npy") as packed:
                _check_header(packed, size)
            if size > room:
                raise InputError(f"{path} unpacks to {size} bytes, {tempfile.gettempdir()} has {room} left")
            unpacked = Path(folder) / "mel.npy"
            with archive.open(f"{name}.npy") as packed, unpacked.open("wb") as file:
                shutil.copyfileobj(packed, file)
        return _map(unpacked)

    def _open_safetensors(self, path: Path) -> _Slices:
        from safetensors import SafetensorError, safe_open

        try:
            place = self._stack.enter_context(in_utf8(path))
            file = self._stack.enter_context(safe_open(place, framework="np"))
            name = _only(list(file.keys()), path)
            if file.get_slice(name).get_dtype() == "BF16":
                # numpy has no bfloat16.
                require("torch", f"{path}, a mel in bfloat16,")
                file = self._stack.enter_context(safe_open(place, framework="pt"))
            array = _Slices(file.get_slice(name))
        except SafetensorError as error:
            raise ValueError(str(error)) from error
        text = (file.metadata() or {}).get(NAME)
        if text is not None:
            try:
                self.definition = mel_config(read_json(text))
            except (DocumentError, CheckpointError) as error:
                raise InputError(f"{path}: its metadata do not define a mel: {error}") from error
        return array


class _Slices:
    """A safetensors slice with a shape."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.shape = tuple(inner.get_shape())
        if inner.get_dtype() not in ("F16", "BF16", "F32", "F64"):
            raise ValueError(f"it holds {inner.get_dtype()}, not floating point")

    def __getitem__(self, places: Any) -> Any:
        return self._inner[places]


def _map(path: Path) -> NDArray[Any]:
    with path.open("rb") as file:
        _check_header(file, path.stat().st_size)
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _check_header(file: IO[bytes], size: int) -> None:
    """Read the header of an array in numpy's format, and check that `size` bytes can hold the array.

    Raises:
        ValueError: they cannot, the array is not of floating point, or there is no such header.
    """
    if not size:
        raise ValueError("the file is empty")
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        shape, _, dtype = read[np.lib.format.read_magic(file)](file)
    except Exception as error:  # numpy parses a header as Python, and quotes all of it
        raise ValueError("it does not begin as an array of numpy does") from error
    if not np.issubdtype(dtype, np.floating):
        raise ValueError(f"it holds {quote(str(dtype))[1:-1]}, not floating point")
    if any(length < 0 for length in shape) or file.tell() + math.prod(shape) * dtype.itemsize > size:
        raise ValueError(f"an array of shape {quote(shape)} does not fit into its {size} bytes")


def _reason(error: Exception) -> str:
    """Return the message of an exception on one line, or the name of its class without a message."""
    return " ".join(str(error).split()) or type(error).__name__


def _only(names: list[str], path: Path) -> str:
    if NAME in names:
        return NAME
    if len(names) != 1:
        raise InputError(
            f"{path} holds {len(names)} arrays ({', '.join(names[:3])}): one is expected, or '{NAME}'"
        )
    return names[0]


class MelWriter:
    """A mel file that grows by frames and appears when it is complete.

    Args:
        path: its ending decides the format; its folder is made when missing.
        definition: definition of the mel, which safetensors files keep.
    Raises:
        InputError: another ending, or the place cannot be written.
    """

    def __init__(self, path: str | Path, definition: MelConfig) -> None:
        self.path = Path(path)
        self.definition = definition
        self.frames = 0
        if not is_mel_name(self.path):
            raise InputError(f"{self.path}: a mel is written to {', '.join(MEL_ENDINGS)}")
        check_writable(self.path)
        with as_input_error(self.path), contextlib.ExitStack() as undone:
            self._replacement = Replacement(self.path)
            undone.callback(self._replacement.discard)
            # Frames come one after another, and a mel file has one band after another.
            self._raw = tempfile.TemporaryFile(dir=self.path.parent)  # noqa: SIM115
            undone.callback(_close, self._raw)
            self._stack = undone.pop_all()

    def write(self, mel: Frames) -> None:
        """Append (n_mels, n).

        Raises:
            InputError: the disk is full.
        """
        with as_input_error(self.path):
            self._raw.write(np.ascontiguousarray(mel.T, dtype="<f4").tobytes())
        self.frames += mel.shape[-1]

    def __enter__(self) -> MelWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        with self._stack, as_input_error(self.path):
            if kind is None:
                self._commit()

    def _commit(self) -> None:
        self._raw.flush()
        write = {".npy": self._write_npy, ".npz": self._write_npz}
        write.get(self.path.suffix.lower(), self._write_safetensors)(self._replacement.file)
        self._replacement.commit()

    def _write_npy(self, file: IO[bytes]) -> None:
        shape = (self.definition.n_mels, self.frames)
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        self._write_bands(file)

    def _write_npz(self, file: BinaryIO) -> None:
        entry = zipfile.ZipInfo(f"{NAME}.npy")
        entry.file_size = self._raw.tell()  # near enough to choose between the forms of a ZIP
        with zipfile.ZipFile(file, "w") as archive, archive.open(entry, "w") as packed:
            self._write_npy(packed)

    def _write_safetensors(self, file: BinaryIO) -> None:
        bands, frames = self.definition.n_mels, self.frames
        header = {
            "__metadata__": {NAME: json.dumps(dataclasses.asdict(self.definition))},
            NAME: {"dtype": "F32", "shape": [bands, frames], "data_offsets": [0, 4 * bands * frames]},
        }
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        file.write(len(text).to_bytes(8, "little") + text)
        self._write_bands(file)

    def _write_bands(self, file: IO[bytes]) -> None:
        if not self.frames:
            return
        mapped = np.memmap(self._raw, "<f4", "r", shape=(self.frames, self.definition.n_mels))
        for band in mapped.T:
            file.write(np.ascontiguousarray(band).tobytes())


def _close(file: IO[bytes]) -> None:
    # The output is discarded. Flushing its buffer may fail on a full disk.
    with contextlib.suppress(OSError):
        file.close()


def read_f0(source: str | Path, frames: int) -> Frames:
    """Read F0 in Hz, 0 where unvoiced: (frames,), or with axes of length one around it.

    Raises:
        InputError: unreadable, of another number of frames, negative or not finite.
    """
    path = Path(source)
    try:
        if not os.path.isfile(path):
            raise InputError(f"{path}: no such file of F0")
        if path.suffix.lower() != ".npy":
            raise InputError(f"{path}: F0 is read from .npy")
        values = _map(path)
    except InputError:
        raise
    except Exception as error:  # see above
        raise InputError(f"{path} cannot be read as F0: {_reason(error)}") from error
    return check_f0(values, frames, str(path))


def check_f0(values: NDArray[Any], frames: int, name: str) -> Frames:
    """Return F0 in Hz, 0 where unvoiced, as (1, frames) float32.

    Args:
        values: (frames,), or with axes of length one around it.
        name: what messages call it.
    Raises:
        InputError: not floating point, of another number of frames, negative or not finite.
    """
    if not np.issubdtype(values.dtype, np.floating):
        raise InputError(f"{name}: F0 is floating point, got {values.dtype}")
    values = np.asarray(values, np.float32)
    if values.size != max(values.shape, default=0):
        raise InputError(f"{name}: F0 is (frames,), got the shape {values.shape}")
    if values.size != frames:
        raise InputError(f"{name} holds F0 for {values.size} frames, the mel has {frames}")
    if not np.isfinite(values).all() or (values < 0).any():
        raise InputError(f"{name}: F0 is in Hz, 0 where unvoiced; it holds negative values or NaN")
    return values.reshape(1, frames)
