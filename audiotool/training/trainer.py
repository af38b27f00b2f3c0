"""The training loop.

Everything drawn in step n comes from (seed, n, process), examples are numbered (see `order`), and learning
rates are functions of the step: a state is weights, their average, the optimisers and a few counters, and a
run that was killed goes on exactly as if it had not been.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from audiotool import checkpoint
from audiotool.data.dataset import make_dataset, render
from audiotool.errors import RecipeError
from audiotool.models.base import Model
from audiotool.recipe.schema import Recipe
from audiotool.signals import leave_to_parent
from audiotool.tasks.base import TASKS
from audiotool.training.adversary import Adversary
from audiotool.training.average import WeightAverage
from audiotool.training.draws import happens, seed_step
from audiotool.training.export import data_sources, make_metadata, tensors_for_use, training_facts
from audiotool.training.fabric import advise_on_memory, leave, make_fabric
from audiotool.training.folder import RunFolder, check_same_recipe
from audiotool.training.history import History
from audiotool.training.objective import Objective
from audiotool.training.optimiser import build_optimiser, set_rate
from audiotool.training.order import GlobalOrder
from audiotool.training.records import Listener, Records, Silent
from audiotool.training.schedule import rate_factor
from audiotool.training.setup import TrainingOutputs, begin_from, build_model
from audiotool.training.validation import Pending, Validator

log = logging.getLogger(__name__)


@dataclass
class Progress:
    """Counters of a run, saved with it.

    Args:
        step: optimiser steps done.
        examples: seen by all processes together: the number of the next one.
        skipped: steps without a finite gradient.
        skipped_in_a_row: the last of them.
        seconds: spent training.
        sums, summed: losses since the last line of the log, and over how many steps.
    """

    step: int = 0
    examples: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    summed: int = 0


@dataclass(frozen=True)
class Summary:
    """What a run came to.

    Args:
        step, steps: done, and asked for.
        best: step, metric and value of the best validation; None before the first.
        checkpoint: the exported file.
        interrupted: stopped before the end.
    """

    step: int
    steps: int
    skipped: int
    seconds: float
    best: tuple[int, str, float] | None
    checkpoint: Path
    interrupted: bool


class Trainer:
    """Trains one recipe in one folder.

    Args:
        recipe: validated.
        folder: of the run.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        listener: told how it goes.
        beside: folder that holds the recipe, where its data is looked for too.
    Raises:
        RecipeError: the data is not there.
        DeviceError: the device is not.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path | str,
        device: str = "auto",
        listener: Listener | None = None,
        beside: Path | None = None,
    ) -> None:
        self.recipe = recipe
        self.data = recipe.data.located(beside or Path())
        self.kept_data = recipe.data.anchored(self.data)
        self.folder = RunFolder(folder, recipe.name)
        self.fabric = make_fabric(device, recipe.train.precision)
        # One voice: the other processes work in silence.
        self.listener = listener if listener is not None and self.fabric.is_global_zero else Silent()
        self.progress = Progress()
        self._stopping = False

    def stop(self) -> None:
        """Save a state after the step in progress, and return; safe in a signal handler."""
        self._stopping = True

    def run(self, resume: bool = False) -> Summary:
        """Train to the end, or until `stop`.

        Args:
            resume: go on from the newest state; from the beginning where there is none.
        Raises:
            RecipeError: the folder holds a run and `resume` is not given, or it was made by another recipe;
                training diverged.
            CheckpointError: a state or checkpoint cannot be read or written.
            InputError: the data cannot be read.
            DeviceError: memory ran out; the message names the keys to lower.
        """
        state = self.folder.load_state() if resume else None
        if not resume:
            self.folder.check_new()
        if state is not None:
            check_same_recipe(state["recipe"], self.recipe, self.folder.path)
        try:
            self._build(state)
            summary = self._train([] if state is None else state.get("pending", []))
            leave(self.fabric)
            return summary
        except (RuntimeError, MemoryError) as error:
            advice = advise_on_memory(error, self.recipe)
            if advice is None:
                raise
            raise advice from error
        finally:
            if hasattr(self, "validator"):
                self.validator.close()
            if hasattr(self, "records"):
                self.records.close()

    # Building

    def _build(self, state: dict[str, Any] | None) -> None:
        recipe, fabric = self.recipe, self.fabric
        self.listener.preparing("opening the data and the validation set")
        self.model = build_model(recipe)
        self.history = self._begin(state)
        self.validator = self._make_validator()
        fused = recipe.train.precision != "fp16" and fabric.device.type in ("cpu", "cuda")
        # The optimiser must hold the parameters as they are on the device.
        self.model.to(fabric.device)
        optimiser = build_optimiser(recipe.optimiser, self.model, fused)
        self.module, self.optimiser = fabric.setup(TrainingOutputs(self.model), optimiser)
        self.average = WeightAverage(self.model, recipe.train.ema)
        self.adversary = None
        if recipe.adversarial is not None:
            self.adversary = Adversary(
                recipe.adversarial, recipe.train.steps, recipe.audio.sample_rate, fabric, fused
            )
        self.objective = Objective(recipe).to(fabric.device)
        if state is not None:
            self._restore(state)
        if fabric.is_global_zero:
            self.sources = data_sources(self.data, self.history)
            self.folder.write_recipe(recipe.model_copy(update={"data": self.kept_data}))
            self.records = Records(self.folder, self.progress.step, recipe.logging.tensorboard)

    def _begin(self, state: dict[str, Any] | None) -> History | None:
        """Load the weights to begin with, unless the state has later ones, and the history of them."""
        # States of earlier versions have no history.
        if state is None or "history" not in state:
            return begin_from(self.model, self.recipe.init)
        return None if state["history"] is None else History(**state["history"])

    def _make_validator(self) -> Validator:
        """The fixed set, rendered once; empty in all processes but the first."""
        recipe, task = self.recipe, TASKS.get(self.recipe.task)
        section = recipe.validation
        metrics = list(task.scoring.metrics if section.metrics is None else section.metrics)
        examples = []
        if section.count and self.fabric.is_global_zero:
            audio = recipe.audio
            if section.seconds is not None:
                audio = audio.model_copy(update={"segment_seconds": section.seconds})
            decoding = self.listener.decoding
            dataset = make_dataset(self.data, audio, task.example, "valid", section.count, decoding)
            examples = [example for example, _ in render(dataset, range(section.count))]
        return Validator(examples, metrics, recipe.audio.sample_rate, section.workers)

    def _loader(self) -> Iterator[dict[str, Tensor]]:
        """Batches from the next example on."""
        recipe, fabric, train = self.recipe, self.fabric, self.recipe.train
        steps = train.steps - self.progress.step
        length = self.progress.examples + steps * self.examples_per_step
        example, decoding = TASKS.get(recipe.task).example, self.listener.decoding
        dataset = make_dataset(self.data, recipe.audio, example, "train", length, decoding)
        order = GlobalOrder(
            self.progress.examples,
            steps,
            train.batch_size,
            train.accumulate,
            fabric.global_rank,
            fabric.world_size,
        )
        workers = recipe.data.workers
        return iter(
            DataLoader(
                dataset,
                batch_sampler=order,
                num_workers=workers,
                prefetch_factor=4 if workers else None,
                pin_memory=fabric.device.type == "cuda",
                worker_init_fn=_outlive_signals,
            )
        )

    @property
    def examples_per_step(self) -> int:
        train = self.recipe.train
        return train.batch_size * train.accumulate * self.fabric.world_size

    # State

    def _restore(self, state: dict[str, Any]) -> None:
        self.model.load_weights(state["model"], "the saved state")
        self.average.model.load_weights(state["average"], "the saved state")
        self.optimiser.load_state_dict(state["optimiser"])
        self.fabric.strategy.precision.load_state_dict(state["scaler"])
        if self.adversary is not None:
            self.adversary.load_state_dict(state["adversary"])
        self.progress = Progress(**state["progress"])

    def _save(self) -> None:
        if not self.fabric.is_global_zero:
            return
        state = {
            "step": self.progress.step,
            "progress": vars(self.progress),
            "model": self.model.state_dict(),
            "average": self.average.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "adversary": None if self.adversary is None else self.adversary.state_dict(),
            "scaler": self.fabric.strategy.precision.state_dict(),
            "history": None if self.history is None else vars(self.history),
            "pending": [
                {"step": p.step, "tensors": p.tensors, "facts": p.facts} for p in self.validator.pending
            ],
            "recipe": self.recipe.plain(),
        }
        self.folder.save_state(state, self.recipe.checkpointing.keep)

    # The loop

    def _train(self, lost: list[dict[str, Any]]) -> Summary:
        """Make up for the validations that an interruption lost, and go on to the end."""
        recipe, progress = self.recipe, self.progress
        steps = recipe.train.steps
        batches = self._loader() if progress.step < steps else iter(())
        facts = {"parameters": self.model.parameter_count, "device": str(self.fabric.device)}
        self.listener.started(progress.step, steps, facts)
        self._validate_again(lost)
        self.module.train()
        since = time.perf_counter()
        logged = (progress.step, since)
        while progress.step < steps and not self._agree_to_stop():
            self._step(batches)
            now = time.perf_counter()
            progress.seconds += now - since
            since = now
            step = progress.step
            self.listener.stepped(step)
            if self._due(recipe.logging.every):
                self._log((step - logged[0]) / (time.perf_counter() - logged[1]))
                logged = (step, time.perf_counter())
            if self._due(recipe.validation.every):
                self._validate(step, self.average.model, self._facts())
            if self._due(recipe.checkpointing.every):
                self._save()
        interrupted = progress.step < steps
        if interrupted:
            self._save()
            self._export_unvalidated()
        # After an interruption too: who never resumes still gets the best. A second one loses nothing that
        # the state does not make up for.
        self._collect(wait=True)
        return Summary(
            progress.step,
            steps,
            progress.skipped,
            progress.seconds,
            self._best(),
            self.folder.latest,
            interrupted,
        )

    def _agree_to_stop(self) -> bool:
        """True when any process was told to stop: one that left alone would take the others down."""
        if self.fabric.world_size > 1:
            told = torch.tensor(float(self._stopping), device=self.fabric.device)
            self._stopping = bool(self.fabric.all_reduce(told, reduce_op="sum"))
        return self._stopping

    def _due(self, every: int) -> bool:
        return self.progress.step % every == 0 or self.progress.step == self.recipe.train.steps

    def _step(self, batches: Iterator[dict[str, Tensor]]) -> None:
        """One optimiser step over `accumulate` batches."""
        train, progress, fabric = self.recipe.train, self.progress, self.fabric
        seed_step(train.seed, progress.step, fabric.global_rank)
        set_rate(
            self.optimiser,
            self.recipe.optimiser.lr * rate_factor(self.recipe.schedule, progress.step, train.steps),
        )
        adversary = self._active_adversary()
        sums: dict[str, Tensor] = {}
        for n in range(train.accumulate):
            batch = fabric.to_device(next(batches))
            last = n == train.accumulate - 1
            with contextlib.nullcontext() if last else fabric.no_backward_sync(self.module):
                outputs = self.module(batch, happens(train.warm_up_probability))
                loss, terms = self.objective(outputs, batch)
                if adversary is not None:
                    terms["discriminator"] = adversary.learn(outputs, batch["target"], 1 / train.accumulate)
                    if last:
                        adversary.update(progress.step)
                    contest, judged = adversary.judge(outputs, batch["target"])
                    loss, terms = loss + contest, terms | judged
                fabric.backward(loss / train.accumulate)
            for name, value in {"loss": loss.detach(), **terms}.items():
                sums[name] = sums.get(name, 0.0) + value / train.accumulate
        norm = fabric.clip_gradients(
            self.module, self.optimiser, max_norm=train.clip or math.inf, error_if_nonfinite=False
        )
        assert norm is not None
        self._update(norm, sums)
        progress.step += 1
        progress.examples += self.examples_per_step

    def _active_adversary(self) -> Adversary | None:
        section = self.recipe.adversarial
        return self.adversary if section is not None and self.progress.step >= section.start else None

    def _update(self, norm: Tensor, sums: dict[str, Tensor]) -> None:
        """Move the weights, unless the gradient is not finite."""
        progress = self.progress
        finite = bool(norm.isfinite())
        if finite or self.recipe.train.precision == "fp16":
            # The scaler of fp16 skips such a step itself, and lowers its scale.
            self.optimiser.step()
        self.optimiser.zero_grad()
        if finite:
            progress.skipped_in_a_row = 0
            self.average.update(progress.step)
            for name, value in {**sums, "gradient_norm": norm}.items():
                progress.sums[name] = progress.sums.get(name, 0.0) + float(value)
            progress.summed += 1
            return
        progress.skipped += 1
        progress.skipped_in_a_row += 1
        log.warning("step %d skipped: its gradient is not finite", progress.step + 1)
        if progress.skipped_in_a_row > self.recipe.train.max_skipped:
            wrong = [name for name, value in sums.items() if not value.isfinite()]
            culprits = ", ".join(wrong) or "the backward pass alone"
            raise RecipeError(
                f"training diverged at step {progress.step + 1}: {progress.skipped_in_a_row} steps in a row"
                f" had no finite gradient (not finite: {culprits}): lower optimiser.lr or train.clip"
            )

    # Telling

    def _log(self, steps_per_second: float) -> None:
        """Write the means since the last line."""
        progress, recipe = self.progress, self.recipe
        means = {name: total / max(progress.summed, 1) for name, total in progress.sums.items()}
        progress.sums, progress.summed = {}, 0
        if self.fabric.world_size > 1 and means:
            mean = self.fabric.all_reduce(torch.tensor(list(means.values()), device=self.fabric.device))
            assert isinstance(mean, Tensor)
            means = dict(zip(means, mean.tolist(), strict=True))
        if not self.fabric.is_global_zero:
            return
        means["rate"] = self.optimiser.param_groups[0]["lr"]
        means["skipped"] = float(progress.skipped)
        means["examples_per_second"] = steps_per_second * self.examples_per_step
        if recipe.audio.segment_seconds is not None:
            means["audio_seconds_per_second"] = means["examples_per_second"] * recipe.audio.segment_seconds
        self.records.log(progress.step, means)
        self.listener.logged(progress.step, means)
        self._collect()

    def _facts(self) -> dict[str, Any]:
        progress = self.progress
        return training_facts(
            self.recipe, self.fabric, progress.step, progress.examples, progress.seconds, self.history
        )

    def _validate(self, step: int, model: Model, facts: dict[str, Any]) -> None:
        """Enhance the fixed set with the averaged weights, export them, and have the set scored.

        Args:
            step: of the weights.
            model: the averaged weights.
            facts: of the training so far.
        """
        if not self.fabric.is_global_zero:
            return
        estimates = self.validator.begin(step, model, self.objective, self.fabric.device, facts)
        for n, estimate in enumerate(estimates[: self.recipe.validation.samples]):
            self.records.listen(step, f"{n}/estimate", estimate, self.recipe.audio.sample_rate)
            if not self.records.validation.rows:
                target = self.validator.examples[n]["target"]
                self.records.listen(step, f"{n}/target", target, self.recipe.audio.sample_rate)
        self._export(self.validator.pending[-1], {}, best=False)
        self._collect()

    def _validate_again(self, lost: list[dict[str, Any]]) -> None:
        """Make up for validations whose metrics had not arrived when the state was saved, nor did later.

        Args:
            lost: {"step", "tensors", "facts"} of each, as `_save` keeps them.
        """
        if not self.fabric.is_global_zero:
            return
        known = {int(row["step"]) for row in self.records.validation.rows}
        for validation in lost:
            if validation["step"] not in known:
                model = copy.deepcopy(self.average.model)
                model.load_weights(validation["tensors"], "the saved state")
                self._validate(validation["step"], model, validation["facts"])

    def _collect(self, wait: bool = False) -> None:
        """Take in the validations whose metrics have arrived."""
        # What has not arrived when the run is stopped goes into the state first.
        if not self.fabric.is_global_zero or (self._stopping and not wait):
            return
        for pending in self.validator.poll(wait):
            # A kill that went to all processes took the scores along: resuming makes up for them.
            if not self.validator.examples or (self._stopping and pending.killed):
                continue
            values = pending.values()
            self.records.validate(pending.step, values)
            self.listener.validated(pending.step, values)
            best = self._best()
            self._export(pending, values, best is not None and best[0] == pending.step)

    def _export_unvalidated(self) -> None:
        """Leave weights that can be used where none have been validated yet."""
        if self.fabric.is_global_zero and not self.folder.latest.exists():
            tensors = {key: value.cpu() for key, value in self.average.model.state_dict().items()}
            self._export(Pending(self.progress.step, tensors, {}, self._facts()), {}, best=False)

    def _export(self, pending: Pending, metrics: dict[str, float], best: bool) -> None:
        known = {name: value for name, value in metrics.items() if not math.isnan(value)}
        metadata = make_metadata(self.recipe, self.average.model, self.sources, pending.facts, known)
        tensors = tensors_for_use(self.average.model, pending.tensors)
        checkpoint.save(self.folder.latest, tensors, metadata)
        if best:
            checkpoint.save(self.folder.best, tensors, metadata)

    def _best(self) -> tuple[int, str, float] | None:
        """Step, metric and value of the best validation so far, from the table."""
        if not self.fabric.is_global_zero:
            return None
        name, upwards = self._selection()
        rows = self.records.validation.rows
        found = [(int(row["step"]), name, float(row[name])) for row in rows if row.get(name)]
        return max(found, key=lambda f: f[2] if upwards else -f[2], default=None)

    def _selection(self) -> tuple[str, bool]:
        """The metric that chooses, and whether more is better."""
        from audiotool.metrics.base import METRICS

        name = self.recipe.validation.metric
        if name is None:
            best = TASKS.get(self.recipe.task).scoring.best
            name = best if best in self.validator.metrics else "loss"
        return (name, False) if name == "loss" else (name, METRICS.get(name).higher_is_better)


def _outlive_signals(worker: int) -> None:
    """Keep a loader process alive through Ctrl-C, which goes to all: the loop ends it after saving."""
    leave_to_parent(terminate=True)
