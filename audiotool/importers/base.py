"""Import official checkpoints of published models safely.

There is one file with one class for each official format:

    class CleanUNetImporter(Importer):
        name = "cleanunet"                                # the model's registered name
        origin = "NVIDIA/CleanUNet"
        licence = "MIT"
        signature = ("encoder.0.0.weight", "tsfm_conv1")  # in every file of this model, in no other's

        def weights(self, official):                      # what `read` returned -> the model's own names
            return state_dict(official, "model_state_dict")

        def configuration(self, config, official):        # -> values of the model's config class
            return {...}

Folding of weight norm, renaming and reshaping belong to `weights`; files that are not torch's (Keras, Paddle)
override `read`.
"""

from __future__ import annotations

import functools
import importlib.metadata
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from audiotool.checkpoint import Metadata, describe_model, read_metadata, refuse_state, sha256
from audiotool.discovery import Catalogue
from audiotool.documents import DocumentError, read_json, read_text
from audiotool.errors import AudiotoolError, CheckpointError, DependencyError
from audiotool.importers.torch_file import read_torch, tensor_names
from audiotool.models.base import Model
from audiotool.models.registry import MODELS
from audiotool.text import nearest
from audiotool.value_types import quote
from audiotool.yaml_documents import read_yaml

WRAPPERS = ("module.", "_orig_mod.", "generator.", "model.", "net.")
"""What stands before the names of a network's tensors where the network was a part of another module: of a
training on several devices, of a compiled one, of a user's own class."""


@dataclass(frozen=True)
class Options:
    """The options of one section of an official configuration; docs/models.md lists them.

    Args:
        section: name of the section.
        taken: options that are converted.
        fixed: options that change the network -> the values that are supported.
        unused: options without influence on a trained network's output.
        closed: unknown options are errors, as in the official program; False where the section has settings
            of training too.
    """

    section: str
    taken: tuple[str, ...]
    fixed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    closed: bool = True

    def check(self, values: Any, source: str) -> None:
        """Check that no option would be ignored.

        Raises:
            CheckpointError: an option is unknown, or its value makes an unsupported network.
        """
        if not isinstance(values, Mapping):
            raise CheckpointError(f"{source}: {self.section} are names with values, not {quote(values)}")
        for key, allowed in self.fixed.items():
            if key in values and not any(values[key] == value for value in allowed):
                raise CheckpointError(
                    f"{source}: the official option {key}={quote(values[key])} is not supported, only"
                    f" {' or '.join(map(repr, allowed))}"
                )
        known = {*self.taken, *self.fixed, *self.unused}
        unknown = sorted(str(key) for key in values if key not in known) if self.closed else []
        if unknown:
            hint = nearest(unknown[0], sorted(known))
            raise CheckpointError(f"{source}: unknown official options: {', '.join(unknown)}{hint}")


@dataclass(frozen=True)
class Packaged:
    """Released weights in a Python package.

    Args:
        package: name of the distribution.
        path: path of the file, relative to the folder of installed packages.
        install: command that installs the package.
    """

    package: str
    path: str
    install: str

    def find(self) -> Path:
        """Return the path of the file in the installed package, whose code is not run.

        Raises:
            DependencyError: the package is not installed, or another version of it, without that file.
        """
        try:
            distribution = importlib.metadata.distribution(self.package)
        except importlib.metadata.PackageNotFoundError:
            raise DependencyError(
                f"the released weights come in the package {self.package}, which is not installed:"
                f" `{self.install}`, or give a file"
            ) from None
        path = Path(str(distribution.locate_file(self.path)))
        if not path.is_file():
            raise DependencyError(
                f"{self.package} {distribution.version} has no {self.path}: another version of it may have,"
                " or give a file"
            )
        return path


class Importer:
    """Base class of all importers.

    Class attributes:
        name: registered name of the model it builds.
        origin: repository or page that publishes the files.
        licence: licence of the published weights.
        task: name of the task that the published weights were trained for.
        signature: parts of tensor names; a file in which each of them occurs is recognised as this model's.
        options: options of the official configuration, by section.
        packaged: released weights in an installed package, which `models import NAME` finds.
        reads_config: whether `configuration` may read a file of its own.
    """

    name: ClassVar[str]
    origin: ClassVar[str] = ""
    licence: ClassVar[str] = "unknown: see the publisher's terms"
    task: ClassVar[str] = "denoise"
    signature: ClassVar[tuple[str, ...]] = ()
    options: ClassVar[tuple[Options, ...]] = ()
    packaged: ClassVar[Packaged | None] = None
    reads_config: ClassVar[bool] = True

    def read(self, path: Path) -> Any:
        """Return the contents of the official file; torch's format unless overridden."""
        return read_torch(path)

    def files(self, path: Path) -> list[Path]:
        """Return the paths of the files that `read` opens for the file that was given."""
        return [path]

    def weights(self, official: Any) -> dict[str, Tensor]:
        """Return the tensors with the names of audiotool's model.

        Args:
            official: result of `read`.
        Raises:
            CheckpointError: the file lacks contents of this model's files.
        """
        raise TypeError(f"{type(self).__name__} does not say where the weights are")

    def configuration(self, config: Path | None, official: Any) -> dict[str, Any]:
        """Return the values of the model's config class.

        Args:
            config: the official configuration file, None when the user gave none.
            official: what `read` returned.
        Raises:
            CheckpointError: no configuration was given and the format needs one (see `require`), or an entry
                is missing.
        """
        raise TypeError(f"{type(self).__name__} does not say what the configuration is")

    def load(
        self, path: Path, config: Path | None, overrides: Mapping[str, Any] | None = None
    ) -> tuple[Model, Metadata]:
        """Build the model with the official weights, in eval mode, and say where they come from.

        Args:
            path: official checkpoint.
            config: official configuration file, where the format has one.
            overrides: configuration values that replace the official ones.
        Raises:
            CheckpointError: the file is refused, or is of another model or configuration; the message names
                the keys and the model that the file looks like.
        """
        official = None
        try:
            official = self.read(path)
            values = {**self.configuration(config, official), **(overrides or {})}
            weights = self.weights(official)
            shapes = {key: tensor.shape for key, tensor in weights.items()}
            model = MODELS.get(self.name).from_config(values, shapes, str(path))
            model.load_weights(weights, source=str(path))
        except CheckpointError as error:
            advice = self._resemblance(path, official)
            raise CheckpointError(f"{str(error).rstrip('.')}.{advice}" if advice else str(error)) from error
        except AudiotoolError:
            raise
        except Exception as error:  # a file of another format can fail in any way
            raise CheckpointError(
                f"{path} does not hold what {self.name} files of {self.origin} hold"
                f" ({type(error).__name__}: {error}).{self._resemblance(path, official)}"
            ) from error
        files = " and ".join(_described(file) for file in self.files(path))
        configured = "" if config is None else f" Its configuration is {_described(config)}."
        metadata = Metadata(
            task=self.task,
            model=describe_model(model),
            sample_rate=model.sample_rate,
            licence=self.licence,
            notes=f"Imported from {files}, published at {self.origin}.{configured}",
        )
        return model.eval(), metadata

    def _resemblance(self, path: Path, official: Any) -> str:
        alike = recognise(official) or recognise_file(path)
        # Names after the model's own are less specific matches.
        alike = alike[: alike.index(self.name)] if self.name in alike else alike
        return f" The file looks like {' or '.join(alike)}: try --model {alike[0]}." if alike else ""


def _described(file: Path) -> str:
    return f"{file.name} (SHA-256 {sha256(file)})"


IMPORTERS: Catalogue[Importer] = Catalogue("audiotool.importers", Importer, "importer", CheckpointError)


def import_checkpoint(
    path: Path | str,
    model_name: str,
    config: Path | str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> tuple[Model, Metadata]:
    """Read an official checkpoint of the model `model_name`; see `Importer.load`."""
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder: give the file in it")
    if not path.exists():
        raise CheckpointError(f"{path}: no such file")
    refuse_state(path)
    _refuse_audiotool_checkpoint(path)
    importer = IMPORTERS.get(model_name)()
    if config is not None and not Path(config).is_file():
        raise CheckpointError(f"{config}: no such file")
    if config is not None and not importer.reads_config:
        raise CheckpointError(f"{model_name} is imported without a configuration file: leave --config out")
    return importer.load(path, None if config is None else Path(config), overrides)


def _refuse_audiotool_checkpoint(path: Path) -> None:
    if path.suffix.lower() != ".safetensors":
        return
    try:
        read_metadata(path)
    except CheckpointError:
        return
    raise CheckpointError(f"{path} is a checkpoint of audiotool already: give it to --checkpoint")


def released_file(name: str) -> Path:
    """Return the path of a model's released weights in an installed package.

    Raises:
        DependencyError: the package is not installed, or lacks them.
        CheckpointError: no model has that name, or no package has its weights.
    """
    importers = IMPORTERS.all()
    if name not in importers:
        carried = [n for n, importer in importers.items() if importer.packaged]
        raise CheckpointError(
            f"{name}: no such file, and no package has weights of that name, only of {', '.join(carried)}"
        )
    importer = importers[name]
    if importer.packaged is None:
        raise CheckpointError(
            f"no package carries weights of {name}: give a file that {importer.origin} publishes, with"
            f" --model {name}"
        )
    return importer.packaged.find()


def recognise(official: Any) -> list[str]:
    """Return the names of the models whose signature the contents of an official file have, the most specific
    first."""
    keys = list(tensor_names(official))
    found = [
        importer
        for importer in IMPORTERS.all().values()
        if importer.signature and all(any(piece in key for key in keys) for piece in importer.signature)
    ]
    return [i.name for i in sorted(found, key=lambda i: -len(i.signature))]


def recognise_file(path: Path) -> list[str]:
    """Return the names of the models that a file of any format fits, by trying the `read` of each
    importer."""
    facts = path.stat()
    return _recognise_file(path, facts.st_mtime_ns, facts.st_size)


@functools.lru_cache(maxsize=8)
def _recognise_file(path: Path, *_: int) -> list[str]:
    # Cached: a user may try one model's name after another on the same file.
    readers = {importer.read: importer for importer in IMPORTERS.all().values()}
    for importer in readers.values():
        try:
            found = recognise(importer().read(path))
        except Exception:  # a file of another format can fail in any way
            continue
        if found:
            return found
    return []


def read_config(path: Path) -> dict[str, Any]:
    """Read an official JSON or YAML configuration, the suffix deciding which.

    Raises:
        CheckpointError: missing, of another suffix, malformed (line named), or not a mapping.
    """
    try:
        text = read_text(path)
    except DocumentError as error:
        raise CheckpointError(f"cannot read the configuration {path}: {error}") from error
    suffix = path.suffix.lower()
    try:
        if suffix == ".json":
            values = read_json(text)
        elif suffix in (".yaml", ".yml"):
            values = read_yaml(text, unique_keys=False)
        else:
            raise CheckpointError(f"{path}: a configuration is .json, .yaml or .yml, not '{path.suffix}'")
    except DocumentError as error:
        kind, where = "JSON" if suffix == ".json" else "YAML", f", line {error.line}" if error.line else ""
        raise CheckpointError(f"{path} is not valid {kind}{where}: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: a configuration is a mapping of names to values")
    return values


def require(config: Path | None, example: str) -> Path:
    """Return the configuration path.

    Args:
        example: what the official file is called ("config.json").
    Raises:
        CheckpointError: none was given.
    """
    if config is None:
        raise CheckpointError(
            f"this format needs its official configuration: give it with --config {example}."
        )
    return config


def entry(values: Any, *keys: str, source: str = "the checkpoint") -> Any:
    """Return `values[keys[0]][keys[1]]…`.

    Raises:
        CheckpointError: a key is absent; those that are there are listed.
    """
    for key in keys:
        if not isinstance(values, Mapping) or key not in values:
            found = [str(k) for k in values] if isinstance(values, Mapping) else []
            listing = ", ".join(found[:5]) + (", …" if len(found) > 5 else "")
            raise CheckpointError(f"{source} has no '{key}': it has {listing or 'no keys'}.")
        values = values[key]
    return values


def entries(values: Any, names: Mapping[str, str], source: str = "the checkpoint") -> dict[str, Any]:
    """Return {name here: `values[official key]`} for each official key -> name here, errors as of `entry`."""
    return {name: entry(values, key, source=source) for key, name in names.items()}


def state_dict(official: Any, *keys: str) -> dict[str, Tensor]:
    """Return the state dict of a file, without `WRAPPERS` in its names.

    It is `official[keys[0]][keys[1]]…`, or else what the file has under "state_dict", or the file itself, or
    what it has under the keys one level deeper: users save the tensors alone, or in a dictionary of theirs.

    Raises:
        CheckpointError: there is none; the keys that are there are listed.
    """
    deeper = [(key, *keys) for key in official] if isinstance(official, Mapping) and keys else []
    places = (keys, ("state_dict",), (), *deeper)
    found = next((tensors for place in places if (tensors := _tensors_at(official, place))), None)
    return unwrapped(entry(official, *keys) if found is None else found)


def unwrapped(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state dict without those `WRAPPERS` with which the names of all its tensors begin.

    Single numbers need not: torch's averaged models have the count `n_averaged` beside "module.".
    """
    names = [str(key) for key, value in tensors.items() if isinstance(value, Tensor) and value.ndim]
    for prefix in WRAPPERS:
        if names and all(name.startswith(prefix) for name in names):
            return unwrapped(without_prefix(tensors, prefix))
    return dict(tensors)


def _tensors_at(values: Any, keys: Sequence[str]) -> Mapping[str, Tensor] | None:
    """Return `values[keys[0]][keys[1]]…` if it holds tensors, else None."""
    for key in keys:
        values = values.get(key) if isinstance(values, Mapping) else None
    holds = isinstance(values, Mapping) and any(isinstance(value, Tensor) for value in values.values())
    return values if holds else None


def count(names: Iterable[str], pattern: str) -> int:
    """Return how many names match a regular expression as a whole."""
    return sum(re.fullmatch(pattern, name) is not None for name in names)


def renamed(tensors: Mapping[str, Tensor], names: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    """Return the tensors with each (pattern, replacement) applied to their names, one after the other."""
    result = {}
    for key, value in tensors.items():
        for pattern, replacement in names:
            key = re.sub(pattern, replacement, key)
        result[key] = value
    return result


def without_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Drop `prefix` ("module.", "generator.") from names; those without it are left out if any has it."""
    if not any(key.startswith(prefix) for key in tensors):
        return dict(tensors)
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
