"""Read files of `torch.save` without running what is in them."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiotool.audio.magic import ARRAY_BYTES, array_ending
from audiotool.compat import plain_weights
from audiotool.errors import CheckpointError
from audiotool.importers.endings import TORCH, ending_of_bytes
from audiotool.importers.pickles import Oversized, check_extent, check_tuples

RUNS_CODE = (
    "could run code or fill the memory when it is opened, so it is refused. If you trust it, open it once"
    " with the program that made it, save only the tensors with torch.save(model.state_dict(), 'weights.pt'),"
    " and import that file."
)

MAX_REPEATS = 8
"""Greatest ratio of the bytes of tensors to those of the file."""


class StandIn:
    """Base of the classes that stand for those of other programs: arguments are dropped, attributes kept."""

    def __init__(self, *_: Any) -> None:
        pass


def read_torch(path: Path | str, stand_ins: Sequence[str] = ()) -> Any:
    """Read a file of `torch.save` on the CPU without running any code in it.

    Args:
        path: zip or legacy torch file.
        stand_ins: dotted names of classes the file mentions and may keep: each becomes an empty class, and
            instances of it plain objects with the pickled attributes. No code of theirs runs.
    Raises:
        CheckpointError: missing, damaged, or it asks for code to be run; the message says what to do.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    if _head(path) == b"PK":
        _check_archive(path)
    allowed = [(type(name.rpartition(".")[2], (StandIn,), {}), name) for name in stand_ins]
    try:
        with (
            torch.serialization.safe_globals(allowed),  # type: ignore[arg-type]
            plain_weights(
                lambda tensor: check_size(tensor.numel() * tensor.element_size(), path), check_tuples
            ),
            warnings.catch_warnings(),
        ):
            # torch warns of pickle protocols that it does not write by default.
            warnings.simplefilter("ignore")
            official = torch.load(path, map_location="cpu", weights_only=True)
        check_extent(official)
    except CheckpointError:
        raise
    except Oversized as error:
        raise CheckpointError(f"{path} is no file of weights: {error}") from error
    except Exception as error:  # bytes that are no pickle can fail in the unpickler in any way
        found = re.search(r"GLOBAL (\S+)|unrecognized function (\S+)|allowlisted|TorchScript", str(error))
        refused = isinstance(error, pickle.UnpicklingError | RuntimeError) and found is not None
        if not refused and not _is_plain_pickle(path):
            kind = _other_kind(path)
            raise CheckpointError(
                f"{path} is not a torch checkpoint: {kind}"
                if kind is not None
                else f"{path} is not a torch checkpoint, or it is damaged. Audiotool's own files are not"
                " imported: give them to --checkpoint."
            ) from error
        wanted = (found.group(1) or found.group(2)) if found else None
        raise CheckpointError(
            f"{path} {f'refers to {wanted}' if wanted else 'is a plain pickle'}, which {RUNS_CODE}"
        ) from error
    # Tensors share storage no more often than tied and averaged weights do.
    check_size(sum(t.numel() * t.element_size() for _, t in _named_tensors(official, set())), path)
    return official


def _check_archive(path: Path) -> None:
    """Check that an archive does not unpack to more than its size: torch compresses nothing, and reads all of
    it."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [member.filename for member in archive.infolist()]
            unpacked = sum(member.file_size for member in archive.infolist())
    except Exception as error:  # a damaged archive can fail in any way
        raise CheckpointError(
            f"{path} is not a torch checkpoint, or it is damaged ({error}): get it again"
        ) from error
    if any(name.endswith("/constants.pkl") for name in names):
        raise CheckpointError(f"{path} is a TorchScript program, which {RUNS_CODE}")
    if unpacked > path.stat().st_size:
        raise CheckpointError(
            f"{path} is no archive of torch: it would unpack to {unpacked} bytes, its own size is"
            f" {path.stat().st_size}"
        )


def check_size(total: int, path: Path) -> None:
    """Check the number of bytes of a tensor, or of all, against those of the file.

    Raises:
        CheckpointError: they are more than weights that are shared make of it.
    """
    if total > MAX_REPEATS * path.stat().st_size:
        raise CheckpointError(
            f"{path} describes {total} bytes of weights in a file of {path.stat().st_size}: it is damaged"
        )


def tensor_names(official: Any) -> Iterator[str]:
    """Return the names of all tensors in nested dictionaries, as in their innermost dictionary."""
    for name, _ in _named_tensors(official, set()):
        yield name


def _named_tensors(values: Any, visited: set[int]) -> Iterator[tuple[str, Tensor]]:
    # A dictionary may hold another several times, and itself.
    if not isinstance(values, Mapping) or id(values) in visited:
        return
    visited.add(id(values))
    for key, value in values.items():
        if isinstance(value, Tensor):
            yield str(key), value
        else:
            yield from _named_tensors(value, visited)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(2)


def _other_kind(path: Path) -> str | None:
    """Return what a file of another kind is, in words, if its first bytes tell it."""
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        return "it is empty"
    ending = array_ending(start[:ARRAY_BYTES]) or ending_of_bytes(start)
    if ending not in (None, TORCH):
        return f"it is a {ending} file"
    if start[257:262] == b"ustar":
        return "it is a tar archive: give the file that is in it"
    if start.lstrip().startswith(b"{"):
        return "it is JSON, as an index of weights in several files: save them as one with torch.save"
    return None


def _is_plain_pickle(path: Path) -> bool:
    """Whether bytes are a pickle of protocol 2 or later."""
    head = _head(path)
    return len(head) == 2 and head[0] == 0x80 and 2 <= head[1] <= pickle.HIGHEST_PROTOCOL
