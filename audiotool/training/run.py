"""A run: what training changes, kept in its folder, and gone on from.

Everything drawn in step n comes from (seed, n, process), examples are numbered (see `order`), and learning
rates are functions of the step: a state is weights, their average, the optimisers and a few counters, and a
run that was killed goes on exactly as if it had not been.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from audiotool.data.dataset import make_dataset
from audiotool.progress import Progress
from audiotool.recipe.schema import Recipe
from audiotool.signals import leave_to_parent
from audiotool.tasks.base import TASKS
from audiotool.training.adversary import Adversary
from audiotool.training.average import WeightAverage
from audiotool.training.export import training_facts
from audiotool.training.fabric import make_fabric
from audiotool.training.folder import RunFolder, check_same_recipe
from audiotool.training.history import History
from audiotool.training.objective import Objective
from audiotool.training.optimiser import build_optimiser
from audiotool.training.order import GlobalOrder
from audiotool.training.setup import TrainingOutputs, begin_from, build_model
from audiotool.training.validation import Pending


@dataclass
class Counters:
    """How far a run is; saved with it.

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


class Run:
    """One recipe in one folder.

    Args:
        recipe: validated.
        folder: of the run.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        beside: folder that holds the recipe, where its data is looked for too.
    Attributes:
        model, module: the network, and what the loop calls.
        average, optimiser, adversary, objective: the rest of what a step uses.
        history: of the weights it began with; None for random ones.
        stopping: whether this process was told to stop.
    Raises:
        RecipeError: the data is not there.
        DeviceError: the device is not.
    """

    def __init__(self, recipe: Recipe, folder: Path | str, device: str, beside: Path | None) -> None:
        self.recipe = recipe
        self.data = recipe.data.located(beside or Path())
        self.kept_recipe = recipe.model_copy(update={"data": recipe.data.anchored(self.data)})
        self.folder = RunFolder(folder, recipe.name)
        self.fabric = make_fabric(device, recipe.train.precision)
        self.counters = Counters()
        self.stopping = False

    def load_state(self, resume: bool) -> dict[str, Any] | None:
        """The newest state of a run that is resumed; None where there is none, or another run begins.

        Raises:
            RecipeError: the folder holds a run and `resume` is not given, or it was made by another recipe.
            CheckpointError: the state cannot be read.
        """
        if not resume:
            self.folder.check_new()
            return None
        state = self.folder.load_state()
        if state is not None:
            check_same_recipe(state["recipe"], self.recipe, self.folder.path)
        return state

    def build(self, state: dict[str, Any] | None) -> None:
        """Make the model and all that a step uses, as a state left them.

        Raises:
            RecipeError: the recipe makes no model.
            CheckpointError: the weights to begin with do not fit.
        """
        recipe, fabric = self.recipe, self.fabric
        self.model = build_model(recipe)
        self.history = self._begin(state)
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

    def _begin(self, state: dict[str, Any] | None) -> History | None:
        """Load the weights to begin with, unless the state has later ones, and the history of them."""
        # States of earlier versions have no history.
        if state is None or "history" not in state:
            return begin_from(self.model, self.recipe.init)
        return None if state["history"] is None else History(**state["history"])

    def _restore(self, state: dict[str, Any]) -> None:
        self.model.load_weights(state["model"], "the saved state")
        self.average.model.load_weights(state["average"], "the saved state")
        self.optimiser.load_state_dict(state["optimiser"])
        self.fabric.strategy.precision.load_state_dict(state["scaler"])
        if self.adversary is not None:
            self.adversary.load_state_dict(state["adversary"])
        self.counters = Counters(**state["progress"])

    def save(self, pending: Sequence[Pending]) -> None:
        """Write a state.

        Args:
            pending: validations whose metrics are still computed.
        Raises:
            CheckpointError: the disk is full or the folder cannot be written.
        """
        if not self.fabric.is_global_zero:
            return
        state = {
            "step": self.counters.step,
            "progress": vars(self.counters),
            "model": self.model.state_dict(),
            "average": self.average.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "adversary": None if self.adversary is None else self.adversary.state_dict(),
            "scaler": self.fabric.strategy.precision.state_dict(),
            "history": None if self.history is None else vars(self.history),
            "pending": [{"step": p.step, "tensors": p.tensors, "facts": p.facts} for p in pending],
            "recipe": self.recipe.plain(),
        }
        self.folder.save_state(state, self.recipe.checkpointing.keep)

    def batches(self, decoding: Progress) -> Iterator[dict[str, Tensor]]:
        """Batches from the next example to the last step's.

        Args:
            decoding: told while recordings are decoded for the first time.
        """
        recipe, fabric, train = self.recipe, self.fabric, self.recipe.train
        if self.is_complete:
            return iter(())
        steps = train.steps - self.counters.step
        length = self.counters.examples + steps * self.examples_per_step
        dataset = make_dataset(
            self.data, recipe.audio, TASKS.get(recipe.task).example, "train", length, decoding
        )
        order = GlobalOrder(
            self.counters.examples,
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

    @property
    def is_complete(self) -> bool:
        return self.counters.step >= self.recipe.train.steps

    def is_due(self, every: int) -> bool:
        """Whether what is done every so many steps, and after the last one, is to be done now."""
        return self.counters.step % every == 0 or self.is_complete

    def agree_to_stop(self) -> bool:
        """True when any process was told to stop: one that left alone would take the others down."""
        if self.fabric.world_size > 1:
            told = torch.tensor(float(self.stopping), device=self.fabric.device)
            self.stopping = bool(self.fabric.all_reduce(told, reduce_op="sum"))
        return self.stopping

    def facts(self) -> dict[str, Any]:
        """What a checkpoint says of its training so far."""
        counters = self.counters
        return training_facts(
            self.recipe, self.fabric, counters.step, counters.examples, counters.seconds, self.history
        )


def _outlive_signals(worker: int) -> None:
    """Keep a loader process alive through Ctrl-C, which goes to all: the loop ends it after saving."""
    leave_to_parent(terminate=True)
