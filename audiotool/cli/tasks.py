"""The command of each task: options, plan, run, report and exit code."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import signal
import time
import typing
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from audiotool.audio import PIPE
from audiotool.batch.processes import prepare
from audiotool.cli import screen
from audiotool.cli.named_output import refuse_foreign
from audiotool.cli.progress import Events, batch_summary, make_watcher
from audiotool.cli.report_making import begin, page_sound
from audiotool.cli.screen import say, write
from audiotool.cli.unwritten import Unwritten
from audiotool.errors import CheckpointError, PlanError, UnknownCheckpoint, as_plan_error
from audiotool.signals import HANG_UP, RAISED, deferred
from audiotool.tasks.base import TASKS, Scoring, Task
from audiotool.tasks.options import ProgressKind, TaskOptions
from audiotool.text import one_line

if TYPE_CHECKING:
    from audiotool.batch.listing import Entry
    from audiotool.batch.plan import Layout, Plan
    from audiotool.batch.shards import Shard
    from audiotool.batch.work import Outcome
    from audiotool.files.kinds import Inputs
    from audiotool.report.gallery import Sound
    from audiotool.report.report import Report, Run
    from audiotool.report.resumed import FormerReport


def names() -> list[str]:
    """Return the names of the tasks; each is a command."""
    return list(TASKS.all())


def command_of(name: str) -> Any:
    """Return the command of a task, made of the fields of its options; its docstring is the help.

    Raises:
        RecipeError: it is a task of another package, and has options of which no command can be made.
    """
    task = TASKS.get(name)
    try:
        return typer.main.get_command(_typer_of(task))
    except Exception as error:
        if TASKS.package_of(name) is None:
            raise
        reason = one_line(f"{type(error).__name__}: {error}")
        raise TASKS.error(f"{TASKS.called(name)} is left out: {reason}") from error


def _typer_of(task: type[Task]) -> typer.Typer:
    app = typer.Typer(add_completion=False)

    def command(**values: Any) -> None:
        run_task(task, task.options_class(**values))

    parameters = _parameters(task.options_class)
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    app.command(task.name, help=inspect.cleandoc(task.__doc__ or task.name))(command)
    return app


def _parameters(options_class: type[TaskOptions]) -> list[inspect.Parameter]:
    """Return the fields of a dataclass as parameters of a function."""
    hints = typing.get_type_hints(options_class, include_extras=True)
    parameters = []
    for item in dataclasses.fields(options_class):
        default = inspect.Parameter.empty
        if item.default is not dataclasses.MISSING:
            default = item.default
        elif item.default_factory is not dataclasses.MISSING:
            default = item.default_factory()
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(item.name, kind, default=default, annotation=hints[item.name]))
    return parameters


def run_task(task_class: type[Task], options: TaskOptions) -> None:
    """Run a task's command.

    Raises:
        PlanError: options or files do not fit each other; no job was started.
        InputError: a report or standard output could not be written; everything else was.
        typer.Exit: with 1 when a job failed.
    """
    as_events = options.progress is ProgressKind.json
    began = time.monotonic()
    check_options(options)
    if options.cluster is None:
        prepare(options.jobs)
    # Worker processes import their modules at the same time.
    from audiotool.batch.plan import make_plan
    from audiotool.batch.run import rest, run
    from audiotool.batch.work import Work
    from audiotool.report.spool import Spool

    task = task_class(options)
    task.check()
    checkpoint = requested_checkpoint(options)
    layout = _layout(task, checkpoint)
    plan = make_plan(options.inputs, layout)
    refuse_foreign(report_paths(options), _files_of(plan, options), options.overwrite)
    scoring = _scoring(task, layout, plan)
    if options.dry_run:
        from audiotool.cli.dry_run import show_plan

        if not show_plan(plan, task.name, options):
            raise typer.Exit(1)
        return
    processor = task.processor(checkpoint)
    sound = started = None
    if options.report or options.as_json:
        sound = page_sound(options.report, options.report_audio, (job.source for job in plan.jobs))
        shard = None if layout.shard is None else str(layout.shard)
        planned = len(plan.jobs) + len(plan.skipped)
        started = begin(**processor.provenance(), shard=shard, planned=planned)
    work = Work(processor, scoring, sound=sound, settings=None if started is None else started.settings)
    outcomes: list[Outcome] = []
    unwritten = Unwritten()
    events = Events(task.name, len(plan.jobs) + len(plan.skipped), plan.jobs) if as_events else None
    with (
        _resumable(plan, outcomes, options),
        make_watcher(task.verb, plan, options.quiet, events) as watcher,
        contextlib.closing(run(plan, work, options.jobs, watcher, options.cluster)) as running,
        Spool(options.report[0].parent if options.report else Path()) as spool,
    ):

        def keep(outcome: Outcome) -> None:
            outcomes.append(outcome)
            for row in outcome.rows:
                spool.keep(row)

        try:
            for outcome in running:
                keep(outcome)
            report = _write_reports(plan, outcomes, task, started, sound, unwritten)
        except BaseException as error:
            # Finished files were scored. Their scores are kept, unless Ctrl-C comes again.
            with deferred(signal.SIGTERM, *HANG_UP):
                for outcome in rest(running, error):
                    keep(outcome)
                if outcomes or isinstance(error, RAISED):
                    _write_reports(plan, outcomes, task, started, sound, unwritten)
                    unwritten.say()
            raise
    to_stdout = any(str(s) == PIPE for job in plan.jobs for s in job.target.stems)
    with unwritten.held_back():
        if options.as_json and report is not None:
            from audiotool.report.json_document import to_json

            write(to_json(report), is_json=True)
        else:
            _print_scores(outcomes, options, to_stdout)
    failures = sum(o.status == "failed" for o in outcomes)
    if len(outcomes) != 1 and (failures or not options.quiet) and not as_events:
        # A report has the time before it was written.
        told = None if report is None else report.run.elapsed_s
        say(batch_summary(outcomes, told or time.monotonic() - began))
    unwritten.raise_any()
    if failures:
        raise typer.Exit(1)


def _files_of(plan: Plan, options: TaskOptions) -> Iterator[str | Path | None]:
    """Yield what a command reads and writes, but for its reports."""
    yield from (options.listed, options.checkpoint)
    for job in (*plan.jobs, *plan.skipped):
        yield from (*job.inputs, *job.references, *job.target.places)


@contextlib.contextmanager
def _resumable(plan: Plan, outcomes: Sequence[Outcome], options: TaskOptions) -> Iterator[None]:
    """Say how far a batch came that is stopped or fails, and how it goes on."""
    try:
        yield
    except BaseException as error:
        total = len(plan.jobs) + len(plan.skipped)
        is_worth = total > 1 and (outcomes or isinstance(error, RAISED))
        if is_worth and not screen.writes_json_events():
            # With --overwrite an output that is there may be an older one.
            is_over = options.overwrite or len(outcomes) == total
            again = "" if is_over else "; the same command with --skip-existing does the rest"
            # The terminal may be closed.
            with contextlib.suppress(OSError):
                say(f"{len(outcomes)} of {total} files are finished{again}")
        raise


def _scoring(task: Task, layout: Layout, plan: Plan) -> Scoring | None:
    """Return how the outputs are scored, None if they are not.

    Raises:
        PlanError: a metric is unknown, or needs references or files that are missing.
    """
    jobs = [*plan.jobs, *plan.skipped]
    has_reference = any(job.references or job.unscored for job in jobs)
    asked = task.options.metrics
    if asked is None:
        return task.scored(layout.outputs) if has_reference else None
    from audiotool.cli.metric_options import chosen_metrics

    scoring = task.scored(layout.outputs)
    references = [reference for job in jobs for reference in job.references]
    names = chosen_metrics(asked, scoring.metrics, has_reference, references)
    if any(PIPE in (str(job.source), *map(str, job.target.stems)) for job in jobs):
        raise PlanError("what comes from or goes to a pipe cannot be scored: name files")
    return scoring._replace(metrics=tuple(names))


def _layout(task: Task, checkpoint: str | None) -> Layout:
    """Return where the outputs of a task go."""
    from audiotool.batch.plan import Layout

    options = task.options
    listed: Sequence[Entry] = ()
    if options.listed is not None:
        from audiotool.batch.listing import read_list

        listed = read_list(options.listed)
    return Layout(
        listed=listed,
        shard=_shard(options),
        output=options.output,
        suffix=options.suffix,
        residual=options.residual_place,
        reference=None if options.reference is None else str(options.reference),
        format=options.format,
        subtype=options.subtype,
        bitrate=options.bitrate,
        existing="skip" if options.skip_existing else "overwrite" if options.overwrite else "refuse",
        inputs=task.inputs() if options.raw is None else _with_bare_samples(task.inputs()),
        outputs=task.outputs(checkpoint),
    )


def _with_bare_samples(inputs: Inputs) -> Inputs:
    """Return the kind of inputs, with files of bare samples."""
    from audiotool.audio.formats import BARE_ENDINGS

    return replace(inputs, endings=(*inputs.endings, *BARE_ENDINGS))


def check_options(options: TaskOptions) -> None:
    """Refuse options that exclude each other.

    Raises:
        PlanError: names the options.
    """
    if not options.inputs and options.listed is None:
        raise PlanError("say what to process: files, folders, a pattern, --list, or '-' for standard input")
    if options.as_json and options.writes_to_stdout:
        raise PlanError("--json and -o - both write to standard output: give -o FILE")
    if options.overwrite and options.skip_existing:
        raise PlanError("--overwrite and --skip-existing exclude each other")
    options.raw_samples()
    given = [n for n in ("model", "checkpoint", "recipe") if getattr(options, n) is not None]
    if len(given) > 1:
        raise PlanError(f"{' and '.join('--' + n for n in given)} exclude each other")
    if options.checkpoint is not None and not options.checkpoint.is_file():
        from audiotool.named_checkpoints import named

        is_name = str(options.checkpoint) in named()
        hint = f"; --model {options.checkpoint} is the one of that name" if is_name else ""
        raise PlanError(f"no such checkpoint: {options.checkpoint}{hint}")
    reports = report_paths(options)
    if reports:
        from audiotool.report.resumed import check_former
        from audiotool.report.write import check_paths

        with as_plan_error():
            check_paths(reports)
            for path in reports if options.skip_existing else ():
                check_former(path)


def _shard(options: TaskOptions) -> Shard | None:
    """Return the share of the jobs to do, None for all.

    Raises:
        PlanError: --shard is not of the form I/N.
    """
    if options.shard is None:
        return None
    from audiotool.batch.shards import Shard

    return Shard.parse(options.shard)


def report_paths(options: TaskOptions) -> list[Path]:
    """Return the paths of the reports; every shard writes its own.

    Raises:
        PlanError: --shard is not of the form I/N.
    """
    shard = _shard(options)
    return options.report if shard is None else [shard.report(path) for path in options.report]


def requested_checkpoint(options: TaskOptions) -> str | None:
    """Return the name or path of the chosen checkpoint, None for the task's default."""
    from audiotool.named_checkpoints import resolve

    if options.recipe is not None:
        return _made_by(options.recipe)
    if options.model is not None:
        try:
            resolve(options.model)
        except UnknownCheckpoint as error:
            from audiotool.model_facts import published

            if options.model not in {row["model"] for row in published()}:
                raise
            raise UnknownCheckpoint(
                f"{options.model} is an architecture, and needs weights: `audiotool models import` reads"
                " released ones; `audiotool models list` names the checkpoints"
            ) from error
    return str(options.checkpoint) if options.checkpoint is not None else options.model


def _made_by(recipe: str) -> str:
    """Return the checkpoint that was trained with a recipe: the best of its run here, or a bundled one."""
    from audiotool.checkpoint import read_metadata
    from audiotool.named_checkpoints import bundled
    from audiotool.recipe import load

    asked = load(recipe)
    name = asked.name
    run = Path("runs") / name
    trained = run / f"{name}-best.safetensors"
    if trained.is_file():
        say(f"using {trained}")
        return str(trained)
    if run.is_dir():
        raise CheckpointError(
            f"recipe '{recipe}' has a run in {run}, which has no best checkpoint yet: it makes one when it"
            " validates first; name other weights with --model or --checkpoint"
        )
    made = {bundled_name: read_metadata(path).recipe or {} for bundled_name, path in bundled().items()}
    same_name = [bundled_name for bundled_name, by in made.items() if by.get("name") == name]
    # A later recipe for the same network may have trained the weights further.
    same_network = [
        bundled_name
        for bundled_name, by in made.items()
        if (by.get("task"), by.get("model")) == (asked.task, asked.model.model_dump())
    ]
    found = next(iter([*same_name, *same_network]), None)
    if found is not None:
        say(f"using the bundled {found}: there is no {run}")
        return found
    raise CheckpointError(
        f"recipe '{recipe}' has made no checkpoint yet: there is no {trained}, and no bundled"
        f" checkpoint comes from it; train it with `audiotool train {recipe}`"
    )


def _write_reports(
    plan: Plan,
    outcomes: Sequence[Outcome],
    task: Task,
    run: Run | None,
    sound: Sound | None,
    unwritten: Unwritten,
) -> Report | None:
    """Write the reports; return the report, None if no option needs its rows."""
    if run is None:
        return None
    from audiotool.batch.provenance import describe
    from audiotool.report.report import Report
    from audiotool.report.resumed import FormerReport
    from audiotool.report.write import write_reports

    # A run that processed nothing does not replace an earlier report.
    paths = [path for path in report_paths(task.options) if outcomes or not path.exists()]
    for former in (FormerReport(path) for path in paths if path.suffix.lower() == ".json"):
        former.complete(row for outcome in outcomes for row in outcome.rows)
        outcomes = [*outcomes, *_not_reached(plan, outcomes, former)]
    outcomes = sorted(outcomes, key=lambda o: (o.job.name, o.job.key))
    for outcome in outcomes:
        describe(outcome, run)
    run = replace(run.ended(), finished=len(outcomes))
    report = Report([row for o in outcomes for row in o.rows], run, task.name)
    with unwritten.held_back():
        write_reports(paths, report, sound)
    return report


def _not_reached(plan: Plan, outcomes: Sequence[Outcome], former: FormerReport) -> Iterator[Outcome]:
    """Yield what an earlier report has of jobs that an interrupted batch has not come to."""
    from audiotool.batch.work import Outcome

    reached = {outcome.job.key for outcome in outcomes}
    for job in (*plan.skipped, *plan.jobs):
        if job.key not in reached:
            rows = former.rows_of(str(job.source), [str(stem) for stem in job.target.stems])
            if rows:
                yield Outcome(job, "skipped", rows)


def _print_scores(outcomes: Sequence[Outcome], options: TaskOptions, to_stdout: bool) -> None:
    ordered = sorted(outcomes, key=lambda o: (o.job.name, o.job.key))
    scored = [row for o in ordered for row in o.rows if row.values]
    if not scored or options.quiet:
        return
    from audiotool.cli.score_table import print_scores

    print_scores(scored, to_stdout)
