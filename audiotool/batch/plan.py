"""Plan the jobs of a command line: find the inputs, name the outputs, check everything.

Nothing here reads audio or loads a model, so that errors are reported before anything slow begins.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from audiotool.audio import PIPE, STANDARD_INPUT, remote
from audiotool.audio.formats import is_output_name
from audiotool.audio.target import Target
from audiotool.batch.checks import apart, with_obstacles
from audiotool.batch.existing import is_done, part_kept, there
from audiotool.batch.inputs import Found, find_inputs, spelling
from audiotool.batch.job import Existing, Job
from audiotool.batch.references import References
from audiotool.errors import PlanError, as_plan_error
from audiotool.files.kinds import Inputs, Outputs
from audiotool.paths import (
    Folders,
    are_one,
    folded,
    is_fifo,
    is_url,
    refuse_url,
    storable,
    without_file_protocol,
)
from audiotool.text import listed, without_credentials

if TYPE_CHECKING:
    from audiotool.batch.listing import Entry
    from audiotool.batch.shards import Shard

log = logging.getLogger(__name__)

STANDARD_NAME = Path("stdin.wav")


class Plan(NamedTuple):
    """The jobs to do, those with an obstacle last, and those to skip.

    A job is skipped if all of its outputs exist, and none is older than the input.
    """

    jobs: list[Job]
    skipped: Sequence[Job] = ()


@dataclass(frozen=True, eq=False, repr=False)
class Layout:
    """The inputs, and where outputs go. As `TaskOptions`, nothing compares or prints it.

    Args:
        output: a file, a folder, or "-"; None puts each output beside its input.
        suffix: inserted between an output's name and its ending. If it is empty and outputs go beside their
            inputs, `outputs.done` is used.
        residual: path of input minus output: a file for one input, else a folder; None writes none.
        reference: place of the clean versions, see `References`; None computes no scores.
        format, subtype, bitrate: the options of the output's format.
        existing: policy for outputs that exist.
        inputs: the kind of the inputs.
        outputs: the outputs of one input.
        listed: inputs of a list, beside those of the command line.
        shard: share of the jobs that is planned; None plans all.
    """

    output: str | None = None
    suffix: str = ""
    residual: str | None = None
    reference: str | None = None
    format: str | None = None
    subtype: str | None = None
    bitrate: float | None = None
    existing: Existing = "refuse"
    inputs: Inputs = field(default_factory=Inputs)
    outputs: Outputs = field(default_factory=Outputs)
    listed: Sequence[Entry] = ()
    shard: Shard | None = None


@as_plan_error()
def make_plan(inputs: Sequence[str], layout: Layout) -> Plan:
    """Plan a run.

    Args:
        inputs: files, folders (with all folders below them), glob patterns, URLs, or "-" alone; empty where a
            list names all inputs.
    Raises:
        PlanError: inputs are missing, outputs clash with one another or with inputs, outputs exist already,
            or none can be written.
    """
    inputs = list(map(without_file_protocol, inputs))
    output, residual = (place and without_file_protocol(place) for place in (layout.output, layout.residual))
    layout = replace(layout, output=output, residual=residual)
    piped = PIPE in inputs
    if piped and (len(inputs) > 1 or layout.listed or layout.shard is not None):
        raise PlanError("standard input ('-') goes alone: give it, or files")
    if layout.output is None and piped:
        layout = replace(layout, output=PIPE)
    if {"/", "\0", os.sep} & set(layout.suffix):
        raise PlanError(f"--suffix goes into a file's name, and '{layout.suffix}' cannot: leave the '/' out")
    if layout.residual == PIPE:
        raise PlanError("standard output takes the outcome; what is removed needs a file: --residual FILE")
    jobs = [_pipe_job(layout)] if piped else _file_jobs(inputs, layout)
    folders = Folders()
    jobs = apart(jobs, folders)
    if layout.shard is not None:
        jobs = [jobs[n] for n in layout.shard.share([job.size for job in jobs])]
    jobs = with_obstacles(jobs)
    # An output that is there may be skipped where it could not be written.
    is_skipping = layout.existing == "skip"
    usable: list[Job] = []
    blocked: list[Job] = []
    for job in jobs:
        places = job.target.places
        may_be_done = is_skipping and bool(job.obstacle and places) and all(map(os.path.isfile, places))
        (blocked if job.obstacle and not may_be_done else usable).append(job)
    plan = _split_existing(usable, layout.existing, folders)
    plan = plan._replace(jobs=sorted([*plan.jobs, *blocked], key=lambda job: bool(job.obstacle)))
    if layout.shard is None and not plan.skipped and plan.jobs and plan.jobs[0].obstacle:
        raise PlanError(plan.jobs[0].obstacle)  # no job can be done: the command itself is wrong
    return plan


def _file_jobs(inputs: Sequence[str], layout: Layout) -> list[Job]:
    """Return the jobs of the command line's inputs, then those of the list."""
    places = [p for p in (layout.output, layout.residual) if p is not None and p != PIPE]
    found = find_inputs(inputs, places, layout.inputs) if inputs else []
    # A command line is valid whatever its folders hold: inputs count as they were given, in any spelling.
    several = bool(layout.listed) or len(set(map(spelling, inputs))) > 1 or any(not f.given for f in found)
    if layout.output == PIPE:
        if several:
            raise PlanError("standard output takes one recording: name one file, or give -o FOLDER")
        _check_standard_output(layout)
    elif layout.output is None and not layout.suffix:
        layout = replace(layout, suffix=f"_{layout.outputs.done}")
    closed = [Job(str(f.path), f.path, Target(()), obstacle=f.obstacle) for f in found if f.obstacle]
    found = [f for f in found if not f.obstacle]
    jobs = _found_jobs(found, layout, several) if found else []
    jobs = _with_listed(jobs, layout, several) if layout.listed else jobs
    if jobs and all(job.unscored and not job.references for job in jobs):
        # If no job has a reference, the place of the references is wrong.
        raise PlanError(jobs[0].unscored)
    return jobs + closed


def _found_jobs(found: list[Found], layout: Layout, several: bool) -> list[Job]:
    targets = {f: _target(f, layout, several) for f in found}
    found = _without_outputs(found, targets)
    counts = Counter(f.relative for f in found)
    jobs = [
        Job(
            _name(f, is_alone=counts[f.relative] == 1),
            f.path,
            targets[f],
            companions=layout.inputs.companions(storable(f.relative)),
        )
        for f in found
    ]
    if layout.reference is None:
        return jobs
    if any(is_fifo(f.path) for f in found):
        raise PlanError("a pipe cannot be scored: it is gone when it has been read; name a file")
    references = _references(Path(layout.reference), layout, several)
    return [_referenced(job, layout, partial(references.of, f)) for job, f in zip(jobs, found, strict=True)]


def _name(found: Found, is_alone: bool) -> str:
    """Return the name of an input's job: its path below the folder of inputs where that `is_alone`."""
    if is_url(found.path):
        return without_credentials(str(found.path))
    return str(found.relative if is_alone else found.path)


def _without_outputs(found: list[Found], targets: Mapping[Found, Target]) -> list[Found]:
    """Leave out what is the output of another input, because a second run would take it for an input.

    A recording that is its own output stays: nothing says that another input made it, and it must not be
    replaced, so that `apart` refuses it.
    """
    folders = Folders()
    own = {f: [folders.real(p) for p in target.places if p != PIPE] for f, target in targets.items()}
    makers = {real: f for f, reals in own.items() for real in reals}
    alike = {folded(real): real for real in makers}
    kept: list[Found] = []
    left_out: list[str] = []
    for f in found:
        real = folders.real(f.path)
        output = real if real in makers else alike.get(folded(real), "")
        if f.given or not are_one(real, output) or any(are_one(real, other) for other in own[f]):
            kept.append(f)
        else:
            left_out.append(f"{f.path} (of {makers[output].path})")
    if left_out:
        log.warning("left out, as outputs of other inputs: %s", listed(left_out))
    return kept


def _with_listed(jobs: list[Job], layout: Layout, several: bool) -> list[Job]:
    """Return the jobs, followed by those of a list; the listed files need not exist.

    A list may have a million entries. A job therefore holds strings, and paths are made when they are used.
    """
    from audiotool.batch.listing import place_below

    shared = None if layout.reference is None else _references(Path(layout.reference), layout, several)
    scored = shared is not None or any(entry.reference for entry in layout.listed)
    for entry in layout.listed:
        source = without_file_protocol(entry.input)
        found = Found(source if is_url(source) else Path(source), place_below(source), given=True)
        own = layout
        if entry.output is not None:
            own = replace(layout, output=without_file_protocol(entry.output))
        obstacle = ""
        try:
            remote.check_input(source)
            target = _target(found, own, several and entry.output is None)
        except PlanError as error:
            target, obstacle = Target(()), f"{entry.place}: {error}"
        target = replace(target, stems=tuple(map(str, target.stems)))
        companions = layout.inputs.companions(storable(found.relative))
        job = Job(without_credentials(source), source, target, companions=companions, obstacle=obstacle)
        if scored:
            job = _referenced(job, layout, partial(_listed_reference, entry, found, shared, layout))
        jobs.append(job)
    return jobs


def _listed_reference(
    entry: Entry, found: Found, shared: References | None, layout: Layout
) -> tuple[Path, ...]:
    """Return the reference of an output: the list's, or else the one of the command's options.

    Raises:
        PlanError: there is none.
    """
    if is_fifo(found.path):
        raise PlanError("a pipe cannot be scored: it is gone when it has been read; name a file")
    if entry.reference is not None:
        refuse_url(entry.reference, "a reference has a path")
        return _references(Path(entry.reference), layout, several=False).of(found)
    if shared is None:
        raise PlanError(f"{found.path} has no reference in its list")
    return shared.of(found)


def _references(place: Path, layout: Layout, several: bool) -> References:
    return References(place, layout.outputs.stems, several, layout.outputs.last_is_rest)


def _referenced(job: Job, layout: Layout, references: Callable[[], tuple[Path, ...]]) -> Job:
    """Return the job with its references, or with the reason why it has none. It is done in either case."""
    try:
        found = references()
    except PlanError as error:
        return job._replace(unscored=str(error))
    *_, last = stems = layout.outputs.stems
    rest = f"the {last} has no reference, and is not scored" if len(found) < len(stems) else ""
    return job._replace(references=found, unscored=rest)


def _pipe_job(layout: Layout) -> Job:
    """Return the job of standard input."""
    assert layout.output is not None
    if layout.output == PIPE:
        _check_standard_output(layout)
    if layout.reference is not None:
        raise PlanError("standard input cannot be scored: it is gone when it has been read; name a file")
    # Several stems go into a folder, under the name of their source.
    into_folder = len(layout.outputs.stems) > 1 and not is_output_name(Path(layout.output))
    for place in (None if into_folder else layout.output, layout.residual):
        if place is not None and os.path.isdir(place):
            raise PlanError(f"{place} is a folder, and standard input has no name: name a file")
    name = Path(layout.output if layout.output != PIPE else layout.residual or PIPE)
    name = STANDARD_NAME if into_folder else name
    target = _target(Found(name, name), layout, several=False)
    return Job(STANDARD_INPUT, PIPE, target, companions=layout.inputs.companions(name))


def _check_standard_output(layout: Layout) -> None:
    """Check that the outputs can go to standard output."""
    layout.outputs.check_pipe(layout.format, layout.subtype)
    if layout.reference is not None:
        raise PlanError("what goes to standard output cannot be scored: give -o FILE")


def _target(found: Found, layout: Layout, several: bool) -> Target:
    outputs: tuple[str | Path, ...] = (PIPE,)
    if layout.output != PIPE:
        outputs = tuple(_output(found, layout, layout.output, several, stem) for stem in layout.outputs.stems)
    residual = None if layout.residual is None else _output(found, layout, layout.residual, several, None)
    target = layout.outputs.target(outputs, residual, layout.format, layout.subtype, layout.bitrate)
    for place in target.places:
        if place != PIPE:
            path = Path(place.rpartition("/")[2] if is_url(place) else place)
            layout.outputs.check(path, layout.format, layout.subtype)
    if layout.bitrate is not None:
        for output in outputs:
            layout.outputs.check_bitrate(str(output), layout.format, layout.subtype, layout.bitrate)
    return target


def _output(found: Found, layout: Layout, place: str | None, several: bool, stem: str | None) -> str | Path:
    """Return the path or URL of one output; `stem` None is the residual."""
    name = found.relative
    if not name.name:
        raise PlanError(f"{found.path} names no file")
    label = f".{stem}" if stem is not None and len(layout.outputs.stems) > 1 else ""
    renamed = name.with_name(
        f"{name.stem}{layout.suffix}{label}{layout.outputs.ending(Path(name), layout.format)}"
    )
    if place is None:
        if is_url(found.path):
            return f"{str(found.path).rpartition('/')[0]}/{renamed.name}"
        return Path(found.path).with_name(renamed.name)
    if is_url(place):
        name_there = remote.name_of(place)
        if several or not name_there.name or not is_output_name(Path(name_there)):
            return f"{place.rstrip('/')}/{renamed.as_posix()}"
        return f"{place.removesuffix(name_there.name)}{name_there.stem}{label}{name_there.suffix}"
    path = Path(place)
    is_folder = place.endswith(("/", os.sep)) or os.path.isdir(path)
    is_folder = is_folder or (bool(label) and not is_output_name(path))
    if not several and not is_folder:
        if not path.suffix and layout.format is None and not os.path.lexists(path):
            ending = renamed.suffix if is_output_name(Path(renamed)) else ".wav"
            as_folder, as_file = f"{place}/", f"{place}{ending}"
            raise PlanError(f"{place}: for a folder write {as_folder}, else give an ending such as {as_file}")
        return path.with_name(f"{path.stem}{label}{path.suffix}")
    if not is_folder and (os.path.isfile(path) or is_output_name(path)):
        raise PlanError(
            f"several inputs need a folder for their outputs, and '{place}' is the name of a file"
        )
    return path / storable(renamed)


def _split_existing(jobs: list[Job], existing: Existing, folders: Folders) -> Plan:
    jobs = [job._replace(existing=existing) for job in jobs]
    if existing == "overwrite":
        return Plan(jobs)
    found = [there(job, folders) for job in jobs]
    names = [place for of_job in found for place in of_job]
    if not names:
        return Plan(jobs)
    if existing == "skip":
        left: list[Job] = []
        done: list[Job] = []
        for job, of_job in zip(jobs, found, strict=True):
            if is_done(job, of_job):
                done.append(job)
            else:
                left.append(job._replace(obstacle=job.obstacle or part_kept(job, of_job)))
        return Plan(left, done)
    them, verb = ("them", "exist") if len(names) > 1 else ("it", "exists")
    raise PlanError(
        f"{listed(names)} {verb} already: --overwrite replaces {them}, --skip-existing keeps what is not"
        " older than its input"
    )
