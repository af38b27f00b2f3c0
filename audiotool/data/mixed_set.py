"""Fixed sets of examples on disk: the files depend on recipe, seed and indices alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from audiotool.atomic import write_text
from audiotool.audio.outputs import write
from audiotool.csv_documents import csv_text
from audiotool.data.dataset import ExampleDataset
from audiotool.errors import InputError
from audiotool.paths import path_from
from audiotool.text import csv_cell
from audiotool.writable import as_input_error, cause

COLUMNS = ("index", "seed", "split", "noisy", "clean", "snr_db", "level_dbfs", "speech", "noise", "room")
FILES = ("speech_files", "noise_files")
LISTS = (*FILES, "enrolment_files")
"""Facts that are lists of paths; the last ones are columns where an example has them."""


def write_set(
    dataset: ExampleDataset,
    folder: Path,
    indices: Iterable[int],
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
    stems: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Render examples to `noisy/00000.wav`, `clean/00000.wav` and so on, and list them in `index.csv`, which
    `data.pairs` of a recipe takes as a manifest.

    Inputs that are no waveform (mel frames) are `.npy` files. Several stems are `clean/00000.NAME.wav` each;
    each other array of an example is written to a folder of its name, a single number to a column. 16-bit,
    but floating point where a codec, a filter or a recording of a pair exceeds full scale.

    `snr_db` is the active level of the speech, with its reverberation, over that of the noise, and
    `level_dbfs` that of the mixture, before clipping, codecs, gaps and the low-pass of `narrow_band`. They
    are empty where what they measure is silent.

    Args:
        dataset: the examples.
        folder: created if needed; files of the same names are replaced.
        indices: indices of the examples.
        workers: number of processes; the result does not depend on it.
        progress: called with the number of examples done.
        stems: names of the target's rows if there are several, as of the model's outputs.
    Returns:
        The rows of `index.csv`.
    Raises:
        InputError: the folder cannot be written, or nothing can be read.
    """
    folder = Path(folder)
    processes = 0 if workers <= 1 else workers
    rows = []
    for row in DataLoader(
        _Writer(dataset, folder, indices, stems), None, num_workers=processes, collate_fn=_as_is
    ):
        if isinstance(row, InputError):
            raise row
        rows.append(row)
        if progress:
            progress(len(rows))
    _write_index(folder / "index.csv", rows)
    return rows


class _Writer(Dataset[Any]):
    """Data set that writes example i and returns its row; errors are returned, because loaders change the
    text of raised ones."""

    def __init__(
        self, dataset: ExampleDataset, folder: Path, indices: Iterable[int], stems: Sequence[str]
    ) -> None:
        self.dataset = dataset
        self.folder = folder
        self.indices = list(indices)
        self.stems = stems

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, i: int) -> dict[str, Any] | InputError:
        try:
            return _write_one(self.dataset, self.folder, self.indices[i], self.stems)
        except InputError as error:
            return error


def _as_is(row: Any) -> Any:
    return row


def _write_one(dataset: ExampleDataset, folder: Path, index: int, stems: Sequence[str]) -> dict[str, Any]:
    example, facts = dataset.with_facts(index)
    arrays = {k: v.numpy() for k, v in example.items()}
    rate = dataset.example.audio.sample_rate
    length = arrays["target"].shape[-1]
    row: dict[str, Any] = {"index": index, "seed": dataset.seed, "split": dataset.split}
    folders = {"input": "noisy", "target": "clean"}
    for name, array in arrays.items():
        place = folders.get(name, name)
        if array.size == 1 and name not in folders:
            row[name] = array.item()
            continue
        is_waveform = name != "input" or array.shape[-1] == length
        names = stems if name == "target" else ()
        row[place] = _write_array(folder, f"{place}/{index:05d}", array, rate, is_waveform, names)
    for key, value in facts.items():
        row[key] = _relative(value, folder) if key in LISTS else value
    return row


def _write_array(
    folder: Path, stem: str, array: np.ndarray, rate: int, is_waveform: bool, stems: Sequence[str]
) -> str:
    """Write one array; return its path, or the paths of its stems joined by "|", relative to the folder."""
    place = (folder / stem).parent
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {place}: {cause(error)}") from error
    if not is_waveform:
        path = folder / f"{stem}.npy"
        with as_input_error(path):
            np.save(path, array)
        return f"{stem}.npy"
    split = len(stems) > 1
    names = [f"{stem}.{name}.wav" for name in stems] if split else [f"{stem}.wav"]
    for name, waveform in zip(names, array[:, None] if split else array[None], strict=True):
        exceeds = np.abs(waveform).max(initial=0.0) > 1.0
        write(folder / name, waveform, rate, "FLOAT" if exceeds else "PCM_16")
    return "|".join(names)


def _relative(files: list[str], folder: Path) -> str:
    return "|".join(path_from(folder.resolve(), f).as_posix() for f in files)


def _write_index(path: Path, rows: list[dict[str, Any]]) -> None:
    extra = [k for row in rows for k in row if k not in COLUMNS and k not in FILES]
    columns = [*COLUMNS, *dict.fromkeys(extra), *FILES]
    lines = ([csv_cell(row.get(name, "")) for name in columns] for row in rows)
    write_text(path, csv_text([columns, *lines]))
