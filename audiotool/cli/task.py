"""What the task commands have in common: plan, run, report, exit code."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from audiotool.cli.options import TaskOptions
from audiotool.cli.progress import make_watcher
from audiotool.cli.screen import say
from audiotool.errors import CheckpointError, InputError, PlanError

if TYPE_CHECKING:
    from audiotool.batch.work import Outcome


def run_task(
    task: str,
    options: TaskOptions,
    residual: str | None = None,
    stems: tuple[str, ...] = ("speech",),
    layout_changes: Mapping[str, Any] | None = None,
    work_changes: Mapping[str, Any] | None = None,
) -> None:
    """Run one of the task commands.

    Args:
        task: its name.
        residual: where input minus output goes, for tasks that offer it.
        stems: names of the outputs.
        layout_changes, work_changes: fields of `batch.plan.Layout` and `batch.work.Work` that only this task
            sets.
    Raises:
        PlanError: the command line does not hold together; nothing was started.
        typer.Exit: with 1 when a job failed.
    """
    from audiotool.batch.plan import Layout, make_plan
    from audiotool.batch.provenance import provenance
    from audiotool.batch.run import run
    from audiotool.batch.work import Work
    from audiotool.tasks.base import TASKS

    check_options(options)
    checkpoint = asked_checkpoint(options)
    layout = Layout(
        output=options.output,
        suffix=options.suffix,
        residual=residual,
        reference=options.reference,
        format=options.format,
        subtype=options.subtype,
        stems=stems,
        existing="skip" if options.skip_existing else "overwrite" if options.overwrite else "refuse",
        **{"done": TASKS.get(task).done, **(layout_changes or {})},
    )
    plan = make_plan(options.inputs, layout)
    description = TASKS.get(task)
    work = Work(
        task=task,
        checkpoint=checkpoint,
        device=options.device,
        engine=options.engine.value,
        settings=options.settings(),
        metrics=description.metrics if options.reference is not None else (),
    )
    work = replace(work, **(work_changes or {}))
    facts = provenance(work) if options.report is not None else {}
    outcomes: list[Outcome] = []
    with (
        make_watcher(description.verb, plan, options.quiet) as watcher,
        contextlib.closing(run(plan, work, options.jobs, watcher)) as running,
    ):
        try:
            outcomes.extend(running)
        except (KeyboardInterrupt, SystemExit):
            # What was finished was scored: it is not to be done again.
            _write_report(outcomes, options, facts)
            raise
    outcomes.sort(key=lambda o: o.job.name)
    to_stdout = any(str(s) == "-" for job in plan.jobs for s in job.target.stems)
    _write_report(outcomes, options, facts)
    _print_scores(outcomes, options, to_stdout)
    failures = sum(o.status == "failed" for o in outcomes)
    if failures:
        if len(outcomes) > 1:
            say(f"{failures} of {len(outcomes)} files failed")
        raise typer.Exit(1)


def check_options(options: TaskOptions) -> None:
    """Refuse options that do not go together.

    Raises:
        PlanError: which of them.
    """
    if not options.inputs:
        raise PlanError("say what to process: files, folders, a pattern, or '-' for standard input")
    if options.overwrite and options.skip_existing:
        raise PlanError("--overwrite and --skip-existing exclude each other")
    given = [n for n in ("model", "checkpoint", "recipe") if getattr(options, n) is not None]
    if len(given) > 1:
        raise PlanError(f"{' and '.join('--' + n for n in given)} exclude each other")
    if options.checkpoint is not None and not options.checkpoint.is_file():
        from audiotool.checkpoint import named

        is_name = str(options.checkpoint) in named()
        hint = f"; --model {options.checkpoint} is the one of that name" if is_name else ""
        raise PlanError(f"no such checkpoint: {options.checkpoint}{hint}")
    if options.report is not None:
        from audiotool.metrics.report import check_path

        try:
            check_path(options.report)
        except InputError as error:
            raise PlanError(str(error)) from error


def asked_checkpoint(options: TaskOptions) -> str | None:
    """The asked checkpoint's name or path; None for the task's default."""
    from audiotool.checkpoint import resolve

    if options.recipe is not None:
        return _made_by(options.recipe)
    if options.model is not None:
        try:
            resolve(options.model)
        except CheckpointError as error:
            raise PlanError(str(error)) from error
    return str(options.checkpoint) if options.checkpoint is not None else options.model


def _made_by(recipe: str) -> str:
    """The checkpoint that training with a recipe made: its run's best here, or a bundled one."""
    from audiotool.checkpoint import bundled, read_metadata
    from audiotool.recipe import load

    name = load(recipe).name
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
    for bundled_name, path in bundled().items():
        if (read_metadata(path).recipe or {}).get("name") == name:
            say(f"using the bundled {bundled_name}: there is no {run}")
            return bundled_name
    raise CheckpointError(
        f"recipe '{recipe}' has made no checkpoint yet: there is no {trained}, and no bundled"
        f" checkpoint comes from it; train it with `audiotool train {recipe}`"
    )


def _write_report(outcomes: Sequence[Outcome], options: TaskOptions, facts: dict[str, Any]) -> None:
    # Where nothing was done, an earlier report says more.
    if options.report is not None and (outcomes or not options.report.exists()):
        from audiotool.batch.provenance import describe
        from audiotool.metrics.report import write_report

        for outcome in outcomes:
            describe(outcome, facts)
        write_report(options.report, [row for o in outcomes for row in o.rows])


def _print_scores(outcomes: Sequence[Outcome], options: TaskOptions, to_stdout: bool) -> None:
    scored = [row for o in outcomes for row in o.rows if row.values]
    if not scored or options.quiet:
        return
    from audiotool.cli.score_table import print_scores

    print_scores(scored, to_stdout)
