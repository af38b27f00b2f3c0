"""From what a user typed to jobs: which files, where outputs go, and all that is wrong with that at once.

Nothing here reads audio or loads a model, so that a mistake is told before anything slow begins.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from audiotool.audio import PIPE
from audiotool.audio.formats import FORMATS, MEL_ENDINGS, ending_for, format_for, is_audio_name, is_mel_name
from audiotool.audio.writer import Target
from audiotool.errors import PlanError

Existing = Literal["refuse", "overwrite", "skip"]

STANDARD_INPUT = "standard input"


@dataclass(frozen=True)
class Job:
    """One input and its outputs.

    Args:
        name: what progress and report call it: the input's path below the folder it was found in.
        source: a path, or "-".
        target: where outputs go.
        references: clean versions, one for each stem; empty when there are none.
    """

    name: str
    source: str | Path
    target: Target
    references: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Jobs to do, and jobs whose outputs are all there already."""

    jobs: list[Job]
    skipped: list[Job] = field(default_factory=list)


@dataclass(frozen=True)
class Layout:
    """How outputs are named.

    Args:
        output: a file, a folder, "-", or None for beside the input.
        suffix: put between an output's name and its ending.
        residual: where input minus output goes: a file for one input, else a folder; None for nowhere.
        reference: a clean file for one input, else a folder of them; None for no scores. For several stems a
            folder with NAME.STEM.wav or STEM/NAME.wav, or for one input STEM.wav.
        format, subtype: what the user asked for.
        stems: names of the outputs of one input; several go into a folder, as NAME.STEM.wav.
        last_is_rest: True when the last stem is what the others leave of the input.
        existing: what to do about outputs that exist.
        reads: name endings that are looked for in folders and patterns.
        writes_mel: outputs are mel files, not audio.
    """

    output: str | None = None
    suffix: str = ""
    residual: str | None = None
    reference: str | None = None
    format: str | None = None
    subtype: str | None = None
    stems: tuple[str, ...] = ("speech",)
    last_is_rest: bool = False
    existing: Existing = "refuse"
    reads: tuple[str, ...] = tuple(FORMATS)
    writes_mel: bool = False


@dataclass(frozen=True)
class Found:
    """An input file and its place below the folder it was found in."""

    path: Path
    relative: Path


def make_plan(inputs: Sequence[str], layout: Layout) -> Plan:
    """Plan a run.

    Args:
        inputs: files, folders (taken with all below them), glob patterns, or "-" alone.
    Raises:
        PlanError: inputs are missing, outputs clash with one another or with inputs, outputs exist already,
            or a folder cannot be written.
    """
    if layout.writes_mel and (layout.output == PIPE or (layout.output is None and PIPE in inputs)):
        raise PlanError("standard output takes WAV, and a mel is none: give -o FILE")
    if PIPE in inputs:
        return _pipe_plan(inputs, layout)
    found = find_inputs(inputs, layout.output, layout.reads)
    several = len(found) > 1 or not Path(inputs[0]).is_file()
    if layout.output == PIPE:
        if several:
            raise PlanError(f"standard output takes one recording, not {len(found)}: give -o FOLDER")
        _refuse_report_for_pipe(layout)
        return Plan([Job(str(found[0].path), found[0].path, _pipe_target(layout))])
    if layout.output is None and not layout.suffix:
        raise PlanError("say where the output goes: -o OUT, or --suffix to write beside the input")
    jobs = [_job(f, layout, several) for f in found]
    _check_clashes(jobs)
    _check_inputs_safe(jobs)
    _check_writable(jobs)
    return _split_existing(jobs, layout.existing)


def find_inputs(
    inputs: Sequence[str], output: str | None = None, reads: Sequence[str] = tuple(FORMATS)
) -> list[Found]:
    """Expand files, folders and patterns, in sorted order and without repeats.

    What lies below the output folder is left out, so that a second run does not take outputs for inputs.

    Raises:
        PlanError: inputs that do not exist, or none among them that ends as `reads` says.
    """
    found: list[Found] = []
    missing = []
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            found += _in_folder(path, output, reads)
        elif path.exists():
            found.append(Found(path, Path(path.name)))
        elif glob.has_magic(text):
            matches = _in_pattern(text, output, reads)
            found += matches
            missing += [] if matches else [text]
        else:
            missing.append(text)
    if missing:
        raise PlanError(f"no such input: {_listed(missing)}")
    if not found:
        kinds = "audio or mel files" if set(MEL_ENDINGS) & set(reads) else "audio files"
        raise PlanError(f"no {kinds} in {_listed(inputs)}")
    unique = {os.path.realpath(f.path): f for f in reversed(found)}
    return [f for f in found if unique[os.path.realpath(f.path)] is f]


def _in_folder(folder: Path, output: str | None, reads: Sequence[str]) -> list[Found]:
    excluded = None if output in (None, PIPE) else os.path.realpath(str(output))
    if excluded == os.path.realpath(folder):
        excluded = None
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(
            f for f in folders if not f.startswith(".") and os.path.realpath(Path(root, f)) != excluded
        )
        for name in sorted(names):
            path = Path(root, name)
            if path.suffix.lower() in reads and not name.startswith("."):
                found.append(Found(path, path.relative_to(folder)))
    return found


def _in_pattern(pattern: str, output: str | None, reads: Sequence[str]) -> list[Found]:
    fixed: list[str] = []
    for part in Path(pattern).parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    base = Path(*fixed) if fixed else Path()
    found = []
    for match in sorted(glob.glob(pattern, recursive=True)):
        path = Path(match)
        if path.is_dir():
            found += [
                Found(f.path, path.relative_to(base) / f.relative) for f in _in_folder(path, output, reads)
            ]
        elif path.suffix.lower() in reads:
            found.append(Found(path, path.relative_to(base)))
    return found


def _job(found: Found, layout: Layout, several: bool) -> Job:
    outputs = tuple(_output(found, layout, layout.output, several, stem) for stem in layout.stems)
    residual = None
    if layout.last_is_rest:
        *most, residual = outputs
        outputs = tuple(most)
    elif layout.residual is not None:
        residual = _output(found, layout, layout.residual, several, None)
    for path in (*outputs, *([] if residual is None else [residual])):
        _check_name(path, layout)
    target = Target(outputs, residual, layout.format, layout.subtype)
    return Job(str(found.relative), found.path, target, _references(found, layout, several))


def _check_name(path: Path, layout: Layout) -> None:
    """Refuse an output whose ending does not say what is written."""
    if not layout.writes_mel:
        format_for(path, layout.format)
    elif not is_mel_name(path):
        raise PlanError(f"{path}: a mel is written to {', '.join(MEL_ENDINGS)}")


def _ending(name: Path, layout: Layout) -> str:
    """Of the output of an input called `name`, where the user named none."""
    if layout.writes_mel:
        return MEL_ENDINGS[0] if layout.format is None else f".{layout.format.lower().lstrip('.')}"
    if layout.format is not None:
        return ending_for(format_for(name, layout.format))
    return ".wav" if is_mel_name(name) else name.suffix


def _output(found: Found, layout: Layout, place: str | None, several: bool, stem: str | None) -> Path:
    """Path of one output; `stem` None is the residual."""
    name = found.relative
    label = f".{stem}" if stem is not None and len(layout.stems) > 1 else ""
    renamed = name.with_name(f"{name.stem}{layout.suffix}{label}{_ending(name, layout)}")
    if place is None:
        return found.path.with_name(renamed.name)
    path = Path(place)
    is_folder = path.is_dir() or place.endswith(("/", os.sep)) or (bool(label) and not is_audio_name(path))
    if not several and not is_folder:
        return path.with_name(f"{path.stem}{label}{path.suffix}")
    if path.is_file() or ((is_audio_name(path) or is_mel_name(path)) and not is_folder):
        raise PlanError(
            f"several inputs need a folder for their outputs, and '{place}' is the name of a file"
        )
    return path / renamed


def _references(found: Found, layout: Layout, several: bool) -> tuple[Path, ...]:
    if layout.reference is None:
        return ()
    if len(layout.stems) > 1:
        return tuple(_stem_reference(found, Path(layout.reference), stem, several) for stem in layout.stems)
    return (_reference(found, Path(layout.reference), several),)


def _reference(found: Found, place: Path, several: bool) -> Path:
    if place.is_file():
        if several:
            raise PlanError(f"several inputs need a folder of references, and {place} is a file")
        return place
    if not place.exists():
        raise PlanError(f"no such reference: {place}")
    exact = place / found.relative
    same = _in_any_format(exact)
    if same is None:
        raise PlanError(f"{found.path} has no reference: {exact} does not exist, in any format")
    return same


def _stem_reference(found: Found, place: Path, stem: str, several: bool) -> Path:
    if not place.is_dir():
        raise PlanError(f"several stems need a folder of references, and {place} is none")
    name = found.relative
    tries = [place / name.with_name(f"{name.stem}.{stem}{name.suffix}"), place / stem / name]
    tries += [] if several else [place / f"{stem}{name.suffix}"]
    for path in tries:
        same = _in_any_format(path)
        if same is not None:
            return same
    raise PlanError(
        f"{found.path} has no reference for its {stem}: there is none of {', '.join(map(str, tries))},"
        " in any format"
    )


def _in_any_format(path: Path) -> Path | None:
    """The file of this name, or one that differs in its ending alone."""
    if path.is_file() and is_audio_name(path):
        return path
    same = sorted(p for p in path.parent.glob(f"{glob.escape(path.stem)}.*") if is_audio_name(p))
    return next((p for p in same if p.stem == path.stem), None)


def _pipe_plan(inputs: Sequence[str], layout: Layout) -> Plan:
    if len(inputs) > 1:
        raise PlanError("standard input ('-') goes alone: give it, or files")
    output = PIPE if layout.output is None else layout.output
    if output == PIPE:
        _refuse_report_for_pipe(layout)
        return Plan([Job(STANDARD_INPUT, PIPE, _pipe_target(layout))])
    if layout.reference is not None:
        raise PlanError("standard input cannot be scored: it is gone when it has been read; name a file")
    if Path(output).is_dir():
        raise PlanError(f"{output} is a folder, and standard input has no name: give -o FILE")
    place = Found(Path(output), Path(output))
    outputs = tuple(_output(place, layout, output, False, stem) for stem in layout.stems)
    residual = None if layout.residual is None else Path(layout.residual)
    if layout.last_is_rest:
        outputs, residual = outputs[:-1], outputs[-1]
    for path in (*outputs, *([] if residual is None else [residual])):
        _check_name(path, layout)
    jobs = [Job(STANDARD_INPUT, PIPE, Target(outputs, residual, layout.format, layout.subtype))]
    _check_clashes(jobs)
    _check_writable(jobs)
    return _split_existing(jobs, layout.existing)


def _pipe_target(layout: Layout) -> Target:
    if len(layout.stems) > 1:
        raise PlanError(f"standard output takes one of {len(layout.stems)} outputs: give -o FILE or FOLDER")
    return Target((PIPE,), layout.residual, layout.format, layout.subtype)


def _refuse_report_for_pipe(layout: Layout) -> None:
    if layout.reference is not None:
        raise PlanError("what goes to standard output cannot be scored: give -o FILE")


def _check_clashes(jobs: Iterable[Job]) -> None:
    """Two outputs of one name, also where only the case differs: some file systems see no difference."""
    owners: dict[str, Job] = {}
    clashes = []
    for job in jobs:
        for path in job.target.paths:
            key = os.path.realpath(path).casefold()
            if key in owners:
                clashes.append(f"{owners[key].source} and {job.source} (both to {path})")
            owners.setdefault(key, job)
    if clashes:
        raise PlanError(f"outputs of one name: {_listed(clashes)}; use --suffix, or run them apart")


def _check_inputs_safe(jobs: Sequence[Job]) -> None:
    inputs = {os.path.realpath(p) for job in jobs for p in (job.source, *job.references)}
    bad = [str(p) for job in jobs for p in job.target.paths if os.path.realpath(p) in inputs]
    if bad:
        raise PlanError(
            f"an output would replace its own input: {_listed(bad)}; choose another -o or --suffix"
        )


def _check_writable(jobs: Iterable[Job]) -> None:
    checked: set[Path] = set()
    for job in jobs:
        for path in job.target.paths:
            folder = path.parent
            if folder in checked:
                continue
            checked.add(folder)
            while not folder.exists():
                folder = folder.parent
            if not folder.is_dir():
                raise PlanError(f"cannot write {path}: {folder} is not a folder")
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PlanError(f"cannot write {path}: no permission to write in {folder}")


def _split_existing(jobs: list[Job], existing: Existing) -> Plan:
    there = [job for job in jobs if any(p.exists() for p in job.target.paths)]
    if existing == "overwrite" or not there:
        return Plan(jobs)
    if existing == "skip":
        complete = [job for job in there if all(p.exists() for p in job.target.paths)]
        return Plan([job for job in jobs if job not in complete], complete)
    names = [str(p) for job in there for p in job.target.paths if p.exists()]
    raise PlanError(f"{_listed(names)} exist already: --overwrite replaces, --skip-existing keeps them")


def _listed(names: Sequence[str]) -> str:
    """The first three, and how many more."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
