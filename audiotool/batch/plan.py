"""From what a user typed to jobs: which files, where outputs go, and all that is wrong with that at once.

Nothing here reads audio or loads a model, so that a mistake is told before anything slow begins.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from audiotool.atomic import obstacle
from audiotool.audio import PIPE
from audiotool.audio.formats import is_audio_name, is_output_name
from audiotool.audio.writer import Target
from audiotool.batch.inputs import Found, find_inputs, listed
from audiotool.batch.references import References
from audiotool.errors import PlanError
from audiotool.files.kinds import Inputs, Outputs
from audiotool.text import composed

Existing = Literal["refuse", "overwrite", "skip"]

STANDARD_INPUT = "standard input"
STANDARD_NAME = Path("stdin.wav")


@dataclass(frozen=True)
class Job:
    """One input and its outputs.

    Args:
        name: what progress and report call it: the input's path below the folder it was found in.
        source: a path, or "-".
        target: where outputs go.
        references: clean versions, one for each stem; empty when there are none.
        unscored: why there are none although other jobs have them; "" otherwise.
        companions: other files that are read with the source.
    """

    name: str
    source: str | Path
    target: Target
    references: tuple[Path, ...] = ()
    unscored: str = ""
    companions: tuple[Path, ...] = ()

    @property
    def inputs(self) -> tuple[str | Path, ...]:
        """All that is read: the source, and its companions."""
        return (self.source, *self.companions)


@dataclass(frozen=True)
class Plan:
    """Jobs to do, and jobs whose outputs are all there already."""

    jobs: list[Job]
    skipped: list[Job] = field(default_factory=list)


@dataclass(frozen=True)
class Layout:
    """What is read, and where outputs go.

    Args:
        output: a file, a folder, "-", or None for beside the input.
        suffix: put between an output's name and its ending; that of `outputs` where outputs go beside their
            inputs and this is empty.
        residual: where input minus output goes: a file for one input, else a folder; None for nowhere.
        reference: where clean versions are, see `References`; None for no scores.
        format, subtype: what the user asked for.
        existing: what to do about outputs that exist.
        inputs: what one input is.
        outputs: what one becomes.
    """

    output: str | None = None
    suffix: str = ""
    residual: str | None = None
    reference: str | None = None
    format: str | None = None
    subtype: str | None = None
    existing: Existing = "refuse"
    inputs: Inputs = field(default_factory=Inputs)
    outputs: Outputs = field(default_factory=Outputs)


def make_plan(inputs: Sequence[str], layout: Layout) -> Plan:
    """Plan a run.

    Args:
        inputs: files, folders (taken with all below them), glob patterns, or "-" alone.
    Raises:
        PlanError: inputs are missing, outputs clash with one another or with inputs, outputs exist already,
            or a folder cannot be written.
    """
    if PIPE in inputs and len(inputs) > 1:
        raise PlanError("standard input ('-') goes alone: give it, or files")
    if layout.output is None and inputs[0] == PIPE:
        layout = replace(layout, output=PIPE)
    if {"/", "\0", os.sep} & set(layout.suffix):
        raise PlanError(f"--suffix goes into a file's name, and '{layout.suffix}' cannot: leave the '/' out")
    if layout.residual == PIPE:
        raise PlanError("standard output takes the outcome; what is removed needs a file: --residual FILE")
    jobs = [_pipe_job(layout)] if inputs[0] == PIPE else _file_jobs(inputs, layout)
    _check_clashes(jobs)
    _check_inputs_safe(jobs)
    _check_writable(jobs)
    return _split_existing(jobs, layout.existing)


def _file_jobs(inputs: Sequence[str], layout: Layout) -> list[Job]:
    places = [p for p in (layout.output, layout.residual) if p is not None and p != PIPE]
    found = find_inputs(inputs, places, layout.inputs)
    several = len(found) > 1 or not found[0].given
    if layout.output == PIPE:
        if several:
            raise PlanError(f"standard output takes one recording, not {len(found)}: give -o FOLDER")
        _check_standard_output(layout)
    elif layout.output is None and not layout.suffix:
        layout = replace(layout, suffix=f"_{layout.outputs.done}")
    targets = {f: _target(f, layout, several) for f in found}
    # Beside the inputs, a second run finds the first one's outputs.
    makers = {os.path.realpath(path): f for f, target in targets.items() for path in target.paths}
    found = [f for f in found if f.given or makers.get(os.path.realpath(f.path), f) is f]
    counts = Counter(f.relative for f in found)
    jobs = [
        Job(
            str(f.relative if counts[f.relative] == 1 else f.path),
            f.path,
            targets[f],
            companions=layout.inputs.companions(f.relative),
        )
        for f in found
    ]
    if layout.reference is None:
        return jobs
    if any(f.path.is_fifo() for f in found):
        raise PlanError("a pipe cannot be scored: it is gone when it has been read; name a file")
    return _referenced(jobs, found, References(Path(layout.reference), layout.outputs.stems, several))


def _referenced(jobs: Sequence[Job], found: Sequence[Found], references: References) -> list[Job]:
    """The jobs with their references. One without is still done; where all are, the place is wrong.

    Raises:
        PlanError: no job has any.
    """
    result, errors = [], []
    for job, f in zip(jobs, found, strict=True):
        try:
            result.append(replace(job, references=references.of(f)))
        except PlanError as error:
            errors.append(error)
            result.append(replace(job, unscored=str(error)))
    if len(errors) == len(jobs):
        raise errors[0]
    return result


def _pipe_job(layout: Layout) -> Job:
    """The one of standard input."""
    assert layout.output is not None
    if layout.output == PIPE:
        _check_standard_output(layout)
    if layout.reference is not None:
        raise PlanError("standard input cannot be scored: it is gone when it has been read; name a file")
    # Several stems go into a folder, under the name of their source.
    into_folder = len(layout.outputs.stems) > 1 and not is_audio_name(Path(layout.output))
    for place in (None if into_folder else layout.output, layout.residual):
        if place is not None and Path(place).is_dir():
            raise PlanError(f"{place} is a folder, and standard input has no name: name a file")
    name = Path(layout.output if layout.output != PIPE else layout.residual or PIPE)
    name = STANDARD_NAME if into_folder else name
    target = _target(Found(name, name), layout, several=False)
    return Job(STANDARD_INPUT, PIPE, target, companions=layout.inputs.companions(name))


def _check_standard_output(layout: Layout) -> None:
    """Refuse what standard output cannot take."""
    layout.outputs.check_pipe()
    if layout.reference is not None:
        raise PlanError("what goes to standard output cannot be scored: give -o FILE")


def _target(found: Found, layout: Layout, several: bool) -> Target:
    outputs: tuple[str | Path, ...] = (PIPE,)
    if layout.output != PIPE:
        outputs = tuple(_output(found, layout, layout.output, several, stem) for stem in layout.outputs.stems)
    residual: str | Path | None = None
    if layout.outputs.last_is_rest:
        *most, residual = outputs
        outputs = tuple(most)
    elif layout.residual is not None:
        residual = _output(found, layout, layout.residual, several, None)
    target = Target(outputs, residual, layout.format, layout.subtype)
    for path in target.paths:
        layout.outputs.check(path, layout.format, layout.subtype)
    return target


def _output(found: Found, layout: Layout, place: str | None, several: bool, stem: str | None) -> Path:
    """Path of one output; `stem` None is the residual."""
    name = found.relative
    label = f".{stem}" if stem is not None and len(layout.outputs.stems) > 1 else ""
    renamed = name.with_name(f"{name.stem}{layout.suffix}{label}{layout.outputs.ending(name, layout.format)}")
    if place is None:
        return found.path.with_name(renamed.name)
    path = Path(place)
    is_folder = path.is_dir() or place.endswith(("/", os.sep)) or (bool(label) and not is_audio_name(path))
    if not several and not is_folder:
        return path.with_name(f"{path.stem}{label}{path.suffix}")
    if path.is_file() or (is_output_name(path) and not is_folder):
        raise PlanError(
            f"several inputs need a folder for their outputs, and '{place}' is the name of a file"
        )
    return path / renamed


def _check_clashes(jobs: Iterable[Job]) -> None:
    """Two outputs of one name; some file systems see no difference in case and in how accents are written."""
    owners: dict[str, Job] = {}
    clashes = []
    for job in jobs:
        for path in job.target.paths:
            key = composed(os.path.realpath(path)).casefold()
            if key in owners:
                clashes.append(f"{owners[key].source} and {job.source} (both to {path})")
            owners.setdefault(key, job)
    if clashes:
        raise PlanError(
            f"outputs of one name: {listed(clashes)}; run them apart, into folders of their own, for example"
            " by their ending: 'IN/*.wav'"
        )


def _check_inputs_safe(jobs: Sequence[Job]) -> None:
    inputs = {os.path.realpath(p) for job in jobs for p in (job.source, *job.references)}
    bad = [str(p) for job in jobs for p in job.target.paths if os.path.realpath(p) in inputs]
    if bad:
        raise PlanError(
            f"an output would replace its own input: {listed(bad)}; choose another -o or --suffix"
        )


def _check_writable(jobs: Iterable[Job]) -> None:
    for job in jobs:
        for path in job.target.paths:
            reason = obstacle(path)
            if reason is not None:
                raise PlanError(f"cannot write {path}: {reason}")


def _split_existing(jobs: list[Job], existing: Existing) -> Plan:
    there = [any(path.exists() for path in job.target.paths) for job in jobs]
    if existing == "overwrite" or not any(there):
        return Plan(jobs)
    if existing == "skip":
        complete = [_is_complete(job) for job in jobs]
        return Plan(
            [job for job, done in zip(jobs, complete, strict=True) if not done],
            [job for job, done in zip(jobs, complete, strict=True) if done],
        )
    names = [str(p) for job in jobs for p in job.target.paths if p.exists()]
    them, exist = ("them", "exist") if len(names) > 1 else ("it", "exists")
    raise PlanError(f"{listed(names)} {exist} already: --overwrite replaces, --skip-existing keeps {them}")


def _is_complete(job: Job) -> bool:
    """Whether all of its outputs are there; what went to standard output is gone."""
    return PIPE not in job.target.stems and all(path.exists() for path in job.target.paths)
