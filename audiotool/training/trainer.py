"""The training loop. A `Run` holds what it changes, a `Watch` logs, validates and exports."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from audiotool.compat import ending_loader
from audiotool.data.rows import split_warnings
from audiotool.errors import RecipeError
from audiotool.models.registry import MODELS
from audiotool.recipe.schema import Recipe
from audiotool.training.adversary import Adversary
from audiotool.training.draws import happens, seed_step, seeded
from audiotool.training.fabric import leave
from audiotool.training.memory import advise_on_memory
from audiotool.training.optimiser import clip_and_step, set_rate
from audiotool.training.records import Listener, SilentListener
from audiotool.training.run import Run
from audiotool.training.schedule import full_rate_problem, rate_factor, renewed_rate_problem
from audiotool.training.setup import as_option
from audiotool.training.watch import Watch

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Summary:
    """Result of a run.

    Args:
        step, steps: number of steps done, and of the recipe.
        best: step, metric and value of the best validation; None before the first.
        checkpoint: the exported file.
        interrupted: whether the run was stopped before its end.
    """

    step: int
    steps: int
    skipped: int
    seconds: float
    best: tuple[int, str, float] | None
    checkpoint: Path
    interrupted: bool


class Taken(NamedTuple):
    """A batch of a step, whether the model is warmed up for it, and the seed of what the model draws."""

    batch: dict[str, Tensor]
    warmed_up: bool
    seed: int


class Trainer:
    """Trains one recipe in one folder.

    Args:
        recipe: validated.
        folder: folder of the run.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        listener: receives the progress.
        beside: the recipe's folder, in which its data is looked for too.
    Raises:
        RecipeError: the data does not exist.
        DeviceError: the device does not exist.
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
        self.current = Run(recipe, folder, device, beside)
        # Only the first process reports progress.
        is_first = self.current.fabric.is_global_zero
        self.listener = listener if listener is not None and is_first else SilentListener()

    def stop(self) -> None:
        """Request a stop: `run` saves a state after the current step and returns. Safe in a signal
        handler."""
        self.current.stopping = True

    def run(self, resume: bool = False) -> Summary:
        """Train to the end, or until `stop`.

        Args:
            resume: continue from the newest state, or from the beginning where there is none.
        Raises:
            RecipeError: the folder holds a run and `resume` is not given; the run was made by another recipe,
                has more steps than the recipe, has lost its states, or is being trained by another process;
                training diverged.
            CheckpointError: a state or checkpoint cannot be read or written.
            InputError: the data cannot be read.
            DeviceError: memory ran out; the message names the keys to lower.
        """
        # The first process writes for all.
        first = self.current.fabric.is_global_zero
        with self.current.folder.held() if first else contextlib.nullcontext():
            return self._run(resume)

    def _run(self, resume: bool) -> Summary:
        run = self.current
        state = run.load_state(resume)
        try:
            self.listener.preparing("opening the data and the validation set")
            if run.fabric.is_global_zero:
                self._warn_of_schedules(state)
                for warning in split_warnings(run.data, run.recipe.audio):
                    log.warning(warning)
            run.build(state)
            if run.fabric.is_global_zero:
                self._warn_of_licence()
            lost = [] if state is None else state.get("pending", [])
            with (
                contextlib.closing(Watch(run, self.listener)) as watch,
                ending_loader(run.batches(self.listener.decoding)) as batches,
            ):
                summary = self._train(watch, batches, lost)
            leave(run.fabric)
            return summary
        except (RuntimeError, MemoryError) as error:
            advice = advise_on_memory(error, self.recipe)
            if advice is None:
                raise
            raise advice from error

    def _warn_of_licence(self) -> None:
        history, licence = self.current.history, self.recipe.licence
        both = licence if history is None else history.licence_with(licence)
        if history is not None and both != licence:
            log.warning(
                "the weights of %s have the licence '%s', the recipe says '%s': checkpoints will say '%s';"
                " %s takes theirs alone",
                *(history.training.get("checkpoint"), history.licence, licence, both),
                as_option("licence", history.licence),
            )

    def _warn_of_schedules(self, state: dict[str, Any] | None) -> None:
        """Warn of schedules that do not fit the number of steps, or the one before the run was resumed."""
        recipe, steps, other = self.recipe, self.recipe.train.steps, self.recipe.adversarial
        problems = [full_rate_problem(recipe.schedule, steps)]
        if state is not None:
            earlier, done = state["recipe"]["train"]["steps"], state["step"]
            problems.append(renewed_rate_problem(recipe.schedule, done, earlier, steps))
            if other is not None and done > other.start:
                problems.append(
                    renewed_rate_problem(
                        other.schedule, done, earlier, steps, "adversarial.schedule", other.start
                    )
                )
        if other is not None and other.start >= steps:
            beyond = f"adversarial.start ({other.start}) is beyond the run's {steps} steps"
            problems.append(f"{beyond}: no discriminator is trained")
        elif other is not None:
            problems.append(full_rate_problem(other.schedule, steps - other.start, "adversarial.schedule"))
        for problem in filter(None, problems):
            log.warning(problem)

    def _train(
        self, watch: Watch, batches: Iterator[dict[str, Tensor]], lost: list[dict[str, object]]
    ) -> Summary:
        """Repeat the validations that an interruption has lost, and train to the end."""
        run, recipe = self.current, self.recipe
        counters = run.counters
        watch.begin(lost)
        run.module.train()
        since = time.perf_counter()
        while not run.is_complete and not run.agree_to_stop():
            self._step(batches)
            now = time.perf_counter()
            counters.seconds += now - since
            since = now
            self.listener.stepped(counters.step)
            if run.is_due(recipe.logging.every):
                watch.log()
            if run.is_due(recipe.validation.every):
                watch.validate()
            if run.is_due(recipe.checkpointing.every):
                run.save(watch.pending)
        interrupted = not run.is_complete
        if interrupted:
            run.save(watch.pending)
            watch.export()
        # After an interruption too, so that the best is exported even if the run is never resumed. A second
        # interruption here loses nothing: the state has the pending validations.
        watch.collect(wait=True)
        return Summary(
            step=counters.step,
            steps=recipe.train.steps,
            skipped=counters.skipped,
            seconds=counters.seconds,
            best=watch.best(),
            checkpoint=run.folder.latest,
            interrupted=interrupted,
        )

    def _step(self, batches: Iterator[dict[str, Tensor]]) -> None:
        """Do one optimiser step over `accumulate` batches."""
        run, train = self.current, self.recipe.train
        counters, fabric = run.counters, run.fabric
        seed_step(train.seed, counters.step, fabric.global_rank)
        set_rate(
            run.optimiser,
            self.recipe.optimiser.lr * rate_factor(self.recipe.schedule, counters.step, train.steps),
        )
        taken: Iterable[Taken] = self._take(batches)
        adversary = self._active_adversary()
        sums: dict[str, Tensor] = {}
        known = None
        if adversary is not None:
            taken = list(taken)
            known = self._update_discriminators(adversary, taken, sums)
        for n, one in enumerate(taken, 1):
            batch, last = one.batch, n == train.accumulate
            with contextlib.nullcontext() if last else fabric.no_backward_sync(run.module):
                outputs = self._outputs(one) if known is None else known
                loss, terms = run.objective(outputs, batch)
                if adversary is not None:
                    adversarial, parts = adversary.generator_loss(outputs, batch["target"])
                    loss, terms = loss + adversarial, terms | parts
                fabric.backward(loss / train.accumulate)
            _add(sums, {"loss": loss.detach(), **terms}, 1 / train.accumulate)
        norm = clip_and_step(fabric, run.module, run.optimiser, train.clip)
        self._record(norm, sums, outputs)
        counters.step += 1
        counters.examples += run.examples_per_step

    def _take(self, batches: Iterator[dict[str, Tensor]]) -> Iterator[Taken]:
        """Take the batches of a step, one after the other."""
        train, fabric = self.recipe.train, self.current.fabric
        for _ in range(train.accumulate):
            batch = fabric.to_device(next(batches))
            yield Taken(batch, happens(train.warm_up_probability), int(torch.randint(2**62, ())))

    def _outputs(self, taken: Taken) -> dict[str, Tensor]:
        """Compute the model's outputs for a batch; they are the same each time."""
        run = self.current
        with seeded(taken.seed, 0, run.fabric.device):
            outputs: dict[str, Tensor] = run.module(taken.batch, taken.warmed_up)
        return outputs

    def _update_discriminators(
        self, adversary: Adversary, taken: list[Taken], sums: dict[str, Tensor]
    ) -> dict[str, Tensor] | None:
        """Update the discriminators with all batches of a step, and add their loss to `sums`.

        Returns:
            The outputs of a step's only batch, with their graph. None for several batches, whose graphs do
            not fit the memory of one: their outputs are computed again for the model's gradient.
        """
        only = len(taken) == 1
        # The second computation updates the running statistics.
        with contextlib.nullcontext() if only else _buffers_kept(self.current.model):
            for one in taken:
                with torch.set_grad_enabled(only):
                    outputs = self._outputs(one)
                loss = adversary.backward(outputs, one.batch["target"], 1 / len(taken))
                _add(sums, {"discriminator": loss}, 1 / len(taken))
        adversary.update(self.current.counters.step)
        return outputs if only else None

    def _active_adversary(self) -> Adversary | None:
        section = self.recipe.adversarial
        begun = section is not None and self.current.counters.step >= section.start
        return self.current.adversary if begun else None

    def _record(self, norm: Tensor, sums: dict[str, Tensor], outputs: dict[str, Tensor]) -> None:
        """Count a step, and average its weights; one whose gradient was not finite is skipped.

        Args:
            norm: of the gradient.
            sums: the loss terms.
            outputs: the model's, for the last batch.
        Raises:
            RecipeError: too many steps in a row had no finite gradient, or none of the whole training.
        """
        run, counters = self.current, self.current.counters
        if norm.isfinite():
            counters.skipped_in_a_row = 0
            run.average.update(counters.step)
            for name, value in {**sums, "gradient_norm": norm}.items():
                counters.sums[name] = counters.sums.get(name, 0.0) + float(value)
                counters.summed[name] = counters.summed.get(name, 0) + 1
            return
        counters.skipped += 1
        counters.skipped_in_a_row += 1
        log.warning("step %d skipped: its gradient is not finite", counters.step + 1)
        train = self.recipe.train
        has_learnt_nothing = counters.skipped > counters.step
        if counters.skipped_in_a_row > train.max_skipped or (
            has_learnt_nothing and counters.step + 1 == train.steps
        ):
            wrong = [name for name, value in {**outputs, **sums}.items() if not value.isfinite().all()]
            culprits = ", ".join(wrong) or "the backward pass alone"
            count = (
                f"{counters.skipped_in_a_row} steps in a row had no finite gradient (not finite: {culprits})"
            )
            if has_learnt_nothing:
                raise RecipeError(f"{MODELS.called(run.model.name)} has learnt nothing: the first {count}")
            raise RecipeError(
                f"training diverged at step {counters.step + 1}: {count}: lower optimiser.lr or train.clip"
            )


def _add(sums: dict[str, Tensor], terms: dict[str, Tensor], share: float) -> None:
    """Add terms, times `share`, to their sums."""
    for name, value in terms.items():
        sums[name] = sums.get(name, 0.0) + value * share


@contextlib.contextmanager
def _buffers_kept(module: nn.Module) -> Iterator[None]:
    """Put the buffers of a module, such as running statistics, back at the end of the `with` block."""
    kept = {name: buffer.clone() for name, buffer in module.named_buffers()}
    yield
    for name, buffer in module.named_buffers():
        if name in kept:
            buffer.copy_(kept[name])
