"""A run: everything that a training changes, and its state in the run's folder.

The random numbers of step n depend on (seed, n, process) alone, examples are numbered (see `order`), and
learning rates are functions of the step. A state is therefore the weights, their average, the optimisers'
states and a few counters. A run that was killed and resumed ends with the same weights as one that was not.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from audiotool.data.dataset import make_dataset
from audiotool.errors import RecipeError
from audiotool.progress import Progress
from audiotool.recipe.schema import InitSection, Recipe
from audiotool.signals import leave_to_parent
from audiotool.sockets import place_sockets
from audiotool.tasks.base import TASKS
from audiotool.training.adversary import Adversary
from audiotool.training.average import WeightAverage
from audiotool.training.export import data_sources, training_facts
from audiotool.training.fabric import make_fabric
from audiotool.training.folder import RunFolder, check_same_recipe
from audiotool.training.history import History, joined_sources
from audiotool.training.objective import Objective
from audiotool.training.optimiser import build_optimiser
from audiotool.training.order import GlobalOrder
from audiotool.training.setup import TrainingOutputs, anchored, begin_from, build_model
from audiotool.training.validation import Pending

log = logging.getLogger(__name__)


@dataclass
class Counters:
    """Counters of a run, saved in its states.

    Args:
        step: number of optimiser steps done.
        examples: number of examples so far, of all processes; the number of the next one.
        skipped: number of steps without a finite gradient.
        skipped_in_a_row: how many of the last steps were skipped.
        seconds: time of training.
        sums, summed: sum of each loss since the last line of the log, and its number of steps: the
            discriminators' begin on the way.
    """

    step: int = 0
    examples: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    summed: dict[str, int] = field(default_factory=dict)


class Run:
    """One recipe in one folder.

    Args:
        recipe: validated.
        folder: folder of the run.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        beside: the recipe's folder, in which its data is looked for too.
    Attributes:
        model, module: the network, and the module around it that the loop calls.
        average, optimiser, adversary, objective: the other objects of a step.
        history: history of the initial weights; None for random ones.
        sources: sources and licences of all data so far, of earlier resumes and trainings too.
        stopping: whether this process has received a request to stop.
    Raises:
        RecipeError: the data does not exist.
        DeviceError: the device does not exist.
    """

    def __init__(self, recipe: Recipe, folder: Path | str, device: str, beside: Path | None) -> None:
        self.recipe = recipe
        self.data = recipe.data.located(beside or Path())
        self.kept_recipe = recipe.model_copy(
            update={"data": recipe.data.anchored(self.data), "init": anchored(recipe.init)}
        )
        self.folder = RunFolder(folder, recipe.name)
        self.fabric = make_fabric(device, recipe.train.precision)
        self.counters = Counters()
        self.stopping = False

    def load_state(self, resume: bool) -> dict[str, Any] | None:
        """Load the newest state of a resumed run; return None where there is none, or where the run is new.

        Raises:
            RecipeError: the folder holds a run and `resume` is not given; the run was made by another recipe,
                has more steps than the recipe, or has lost its states.
            CheckpointError: the state cannot be read.
        """
        recipe, folder = self.recipe, self.folder
        state = folder.load_state() if resume else None
        if state is None:
            if resume:
                folder.check_stateless()
                if self.fabric.is_global_zero:
                    log.warning("%s holds no state: training begins anew", folder.path)
            else:
                folder.check_new()
            folder.forget_states()
        else:
            # States of earlier versions have the path as it was given.
            begun_from = anchored(InitSection(**state["recipe"]["init"]))
            before = state["recipe"] | {"init": begun_from.model_dump()}
            check_same_recipe(before, self.kept_recipe, folder.path)
            if state["step"] > recipe.train.steps:
                raise RecipeError(
                    f"train.steps: {folder.path} is at step {state['step']}, beyond {recipe.train.steps}"
                )
        return state

    def build(self, state: dict[str, Any] | None) -> None:
        """Build the model and the other objects of a step, from a state if there is one.

        Raises:
            RecipeError: the model cannot be built.
            CheckpointError: the initial weights do not fit.
        """
        recipe, fabric = self.recipe, self.fabric
        self.model = build_model(recipe)
        self.history = self._begin(state)
        # The data may have changed since; states of earlier versions have no sources.
        earlier = [] if state is None else state.get("sources", [])
        self.sources = joined_sources(earlier, data_sources(recipe, self.data, self.history))
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
        """Load the initial weights and their history, unless a state has later ones."""
        # States of earlier versions have no history.
        if state is None or "history" not in state:
            return begin_from(self.model, self.recipe.init, self.fabric.is_global_zero)
        return None if state["history"] is None else History(**state["history"])

    def _restore(self, state: dict[str, Any]) -> None:
        self.model.load_weights(state["model"], "the saved state")
        self.average.model.load_weights(state["average"], "the saved state")
        self.optimiser.load_state_dict(state["optimiser"])
        self.fabric.strategy.precision.load_state_dict(state["scaler"])
        if self.adversary is not None:
            self.adversary.load_state_dict(state["adversary"])
        self.counters = Counters(**state["progress"])
        if isinstance(self.counters.summed, int):  # in states of earlier versions all have one number
            self.counters.summed = dict.fromkeys(self.counters.sums, self.counters.summed)

    def save(self, pending: Sequence[Pending]) -> None:
        """Write a state.

        Args:
            pending: validations whose metrics are being computed.
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
            "sources": self.sources,
            "pending": [{"step": p.step, "tensors": p.tensors, "facts": p.facts} for p in pending],
            "recipe": self.kept_recipe.plain(),
        }
        self.folder.save_state(state, self.recipe.checkpointing.keep)

    def batches(self, decoding: Progress) -> Iterator[dict[str, Tensor]]:
        """Return the batches from the next example to the last step's.

        Args:
            decoding: called while recordings are decoded for the first time.
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
        if workers:
            # They pass tensors through sockets.
            place_sockets()
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
        """Whether an action of every so many steps, which also follows the last step, is due now."""
        return self.counters.step % every == 0 or self.is_complete

    def agree_to_stop(self) -> bool:
        """Whether any process has received a request to stop. All stop together, because the others would
        fail without one."""
        if self.fabric.world_size > 1:
            requested = torch.tensor(float(self.stopping), device=self.fabric.device)
            self.stopping = bool(self.fabric.all_reduce(requested, reduce_op="sum"))
        return self.stopping

    def facts(self) -> dict[str, Any]:
        """Return the facts of the training so far, for a checkpoint."""
        counters = self.counters
        return training_facts(
            self.recipe, self.fabric, counters.step, counters.examples, counters.seconds, self.history
        )


def _outlive_signals(worker: int) -> None:
    """Ignore Ctrl-C in a loader process. It reaches all processes, and the loop ends the loader after saving
    a state."""
    leave_to_parent(terminate=True)
