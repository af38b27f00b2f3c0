"""The outputs of a run while it trains: log, validations, exported checkpoints."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiotool import checkpoint
from audiotool.data.config import EvaluationConfig
from audiotool.data.dataset import make_dataset, render
from audiotool.models.base import Model
from audiotool.recipe.names import validated_metrics
from audiotool.tasks.base import TASKS
from audiotool.training.export import make_metadata, tensors_for_use
from audiotool.training.records import METRIC, SET, Listener, Records, table_row
from audiotool.training.run import Run
from audiotool.training.selection import Selection
from audiotool.training.validation import Pending, Validator

log = logging.getLogger(__name__)


class Watch:
    """Logs, validates and exports a run. In all processes but the first it does nothing.

    Args:
        run: the run, built.
        listener: receives the progress.
    Raises:
        RecipeError: the data does not exist.
        InputError: the data cannot be read, or the folder cannot be written.
    """

    def __init__(self, run: Run, listener: Listener) -> None:
        self.run = run
        self.listener = listener
        self.is_first = run.fabric.is_global_zero
        examples, fixed_set = self._fixed_set()
        self.selection = Selection.of(run.recipe, fixed_set)
        self.validator = Validator(
            examples,
            validated_metrics(run.recipe),
            run.recipe.audio.sample_rate,
            run.recipe.validation.workers,
            run.recipe.data.seed,
        )
        self._logged = (run.counters.step, time.perf_counter())
        self._warned: set[tuple[str, int]] = set()
        # The step of the newest weights that were exported.
        self._exported = -1
        if self.is_first:
            run.folder.write_recipe(run.kept_recipe)
            self.records = Records(run.folder, run.counters.step, run.recipe.logging.tensorboard)
            said = "validation: the %s has changed: its %d earlier validations choose no best checkpoint"
            for what in (SET, METRIC) if examples else ():
                others = self.selection.outdated(self.records.validation.rows, what)
                if others:
                    log.warning(said, what, others)

    def _fixed_set(self) -> tuple[list[dict[str, Tensor]], str]:
        """Return the examples of all validations, rendered once, and the set's name in the table; none in
        processes but the first."""
        recipe = self.run.recipe
        section, audio = recipe.validation, recipe.audio
        if not section.count or not self.is_first:
            return [], ""
        if section.seconds is not None:
            audio = audio.model_copy(update={"segment_seconds": section.seconds})
        kind = TASKS.get(recipe.task).example
        dataset = make_dataset(self.run.data, audio, kind, "valid", section.count, self.listener.decoding)
        rendered = list(render(dataset, range(len(dataset))))
        return [example for example, _ in rendered], _set_name(recipe.data.evaluation, rendered)

    def close(self) -> None:
        """Close the metric processes and the files."""
        self.validator.close()
        if self.is_first:
            self.records.close()

    @property
    def pending(self) -> list[Pending]:
        """The validations whose metrics are being computed."""
        return self.validator.pending

    def begin(self, lost: list[dict[str, Any]]) -> None:
        """Repeat lost validations, and report that training begins.

        Args:
            lost: {"step", "tensors", "facts"} of validations whose metrics had not arrived when the state was
                saved, as `Run.save` keeps them.
        """
        run = self.run
        facts = {"parameters": run.model.parameter_count, "device": str(run.fabric.device)}
        self.listener.started(run.counters.step, run.recipe.train.steps, facts)
        known = {int(row["step"]) for row in self.records.validation.rows} if self.is_first else set()
        for validation in lost if self.is_first else ():
            if validation["step"] not in known:
                model = copy.deepcopy(run.average.model)
                model.load_weights(validation["tensors"], "the saved state")
                self._validate(validation["step"], model, validation["facts"])
        self._logged = (run.counters.step, time.perf_counter())

    def log(self) -> None:
        """Log the means since the last line."""
        run, counters = self.run, self.run.counters
        step, since = self._logged
        steps_per_second = (counters.step - step) / (time.perf_counter() - since)
        means = {name: total / counters.summed[name] for name, total in counters.sums.items()}
        counters.sums, counters.summed = {}, {}
        if run.fabric.world_size > 1 and means:
            mean = run.fabric.all_reduce(torch.tensor(list(means.values()), device=run.fabric.device))
            assert isinstance(mean, Tensor)
            means = dict(zip(means, mean.tolist(), strict=True))
        if self.is_first:
            means["rate"] = run.optimiser.param_groups[0]["lr"]
            if run.adversary is not None and "discriminator" in means:
                means["discriminator_rate"] = run.adversary.optimiser.param_groups[0]["lr"]
            means["skipped"] = float(counters.skipped)
            means["examples_per_second"] = steps_per_second * run.examples_per_step
            if run.recipe.audio.segment_seconds is not None:
                seconds = means["examples_per_second"] * run.recipe.audio.segment_seconds
                means["audio_seconds_per_second"] = seconds
            self.records.log(counters.step, means)
            self.listener.logged(counters.step, means)
            self.collect()
        self._logged = (counters.step, time.perf_counter())

    def validate(self) -> None:
        """Enhance the fixed set with the averaged weights, export the weights, and start the scoring."""
        if self.is_first:
            self._validate(self.run.counters.step, self.run.average.model, self.run.facts())

    def _validate(self, step: int, model: Model, facts: dict[str, Any]) -> None:
        run = self.run
        estimates = self.validator.begin(step, model, run.objective, run.fabric.device, facts)
        for n, estimate in enumerate(estimates[: run.recipe.validation.samples]):
            self._listen(step, n, estimate)
        self._export(self.validator.pending[-1], {}, best=False)
        self.collect()

    def _listen(self, step: int, n: int, estimate: Tensor) -> None:
        """Record the sounds of an example: each stem of its estimate (stems * C, T) and, the first time, of
        its target, and its input."""
        rate, stems = self.run.recipe.audio.sample_rate, self.run.model.stems
        example, sounds = self.validator.examples[n], {"estimate": estimate}
        if not self.records.validation.rows:
            sounds["target"] = example["target"]
            # A mel is no sound.
            if example["input"].shape[-1] == example["target"].shape[-1]:
                self.records.listen(step, f"{n}/input", example["input"], rate)
        for name, waveforms in sounds.items():
            for stem, waveform in zip(stems, waveforms.chunk(len(stems)), strict=True):
                place = f"{n}/{stem}" if len(stems) > 1 else str(n)
                self.records.listen(step, f"{place}/{name}", waveform, rate)

    def collect(self, wait: bool = False) -> None:
        """Record the validations whose metrics are complete, and export the best; `wait` blocks until all
        are."""
        # When the run is stopped, pending validations are saved in the state first.
        if not self.is_first or (self.run.stopping and not wait):
            return
        for pending in self.validator.poll(wait):
            # A signal to all processes has killed the metric processes too. Resuming repeats the validations.
            if not self.validator.examples or (self.run.stopping and pending.killed):
                continue
            values = pending.values()
            rows = [*self.records.validation.rows, table_row(pending.step, values)]
            best = self.selection.best(rows)
            self._warn(pending, by_loss=best is not None and best[1] == "loss")
            # The weights come first: a resumed run does not repeat validations that are in the table.
            self._export(pending, values, best is not None and best[0] == pending.step)
            self.records.validate(pending.step, values, self.selection.fixed_set, self.selection.metric)
            self.listener.validated(pending.step, values)

    def _warn(self, pending: Pending, by_loss: bool) -> None:
        """Say once which metrics recordings lack and why, and whether the loss chooses in place of one."""
        lines, total = [], len(pending.futures)
        for name, reason in pending.unscored().items():
            instead = by_loss and name == self.selection.metric
            chooses = "; the loss chooses the best checkpoint" if instead else ""
            lines.append(((name, total), f"no recording has {name}: {reason}{chooses}"))
        for name, (count, reason) in pending.incomplete().items():
            lines.append(((name, count), f"{count} of {total} recordings have no {name}: {reason}"))
        for key, line in lines:
            if key not in self._warned:
                log.warning("validation: %s", line)
            self._warned.add(key)

    def export(self) -> None:
        """Export the averaged weights as they are, unless a validation has done so, or they are untrained."""
        run = self.run
        trained = run.counters.step > run.counters.skipped or run.history is not None
        if self.is_first and trained and self._exported < run.counters.step:
            tensors = {key: value.cpu() for key, value in run.average.model.state_dict().items()}
            self._export(Pending(run.counters.step, tensors, {}, run.facts()), {}, best=False)

    def _export(self, pending: Pending, metrics: dict[str, float], best: bool) -> None:
        run = self.run
        known = {name: value for name, value in metrics.items() if not math.isnan(value)}
        metadata = make_metadata(
            run.recipe, run.average.model, run.sources, run.history, pending.facts, known
        )
        tensors = tensors_for_use(run.average.model, pending.tensors)
        # The scores of a validation may arrive after later weights.
        if pending.step >= self._exported:
            self._exported = pending.step
            checkpoint.save(run.folder.latest, tensors, metadata)
        if best:
            checkpoint.save(run.folder.best, tensors, metadata)

    def best(self) -> tuple[int, str, float] | None:
        """Return step, metric and value of the best validation so far, from the table."""
        return self.selection.best(self.records.validation.rows) if self.is_first else None


def _set_name(
    evaluation: EvaluationConfig, rendered: Sequence[tuple[dict[str, Tensor], dict[str, Any]]]
) -> str:
    """Return eight hexadecimal digits that change with a fixed set: its recordings, their lengths, and how
    they are mixed.

    They depend neither on the samples, which another processor rounds differently, nor on folders.
    """

    def names(value: Any) -> list[str]:
        return [Path(str(one)).name for one in ([value] if isinstance(value, str) else value)]

    told = [
        [[list(part.shape) for part in example.values()]]
        + [names(value) for value in facts.values() if isinstance(value, str | list)]
        for example, facts in rendered
    ]
    settings = evaluation.model_dump(mode="json", exclude_defaults=True)
    return hashlib.sha256(json.dumps([settings, told], sort_keys=True).encode()).hexdigest()[:8]
