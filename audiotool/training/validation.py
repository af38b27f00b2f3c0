"""Validation on a fixed set, whose metrics are computed in other processes while training continues.

A validation enhances the set with the averaged weights, sends the results to the metric processes and returns
at once; `poll` returns the metrics later.
"""

from __future__ import annotations

import functools
import logging
import math
import os
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiotool.metrics.values import Value
from audiotool.models.base import Model
from audiotool.signals import follow_parent
from audiotool.training.draws import seeded
from audiotool.training.objective import Objective

log = logging.getLogger(__name__)

Row = dict[str, Value]
"""The metrics of one recording."""

UNSCORED = "_unscored"
"""Ending of the name of a metric's number of recordings that lack it, see `Pending.incomplete`."""


@dataclass
class Pending:
    """A validation whose metrics are being computed.

    Args:
        step: step of the weights.
        tensors: these weights, for export if the metrics are the best.
        losses: means of the loss terms, known at once.
        facts: facts of the training so far.
        futures: the metrics of each recording.
    """

    step: int
    tensors: dict[str, Tensor]
    losses: dict[str, float]
    facts: dict[str, Any]
    futures: list[Future[Row]] = field(default_factory=list)

    @property
    def done(self) -> bool:
        return all(future.done() for future in self.futures)

    @property
    def killed(self) -> bool:
        """Whether a metric process ended without a result; waits for the others."""
        return any(isinstance(future.exception(), BrokenExecutor) for future in self.futures)

    def values(self) -> dict[str, float]:
        """Return the loss terms, the mean of each metric over the recordings that could be scored, and where
        others lack it, their number as NAME_unscored."""
        means = {name: _mean(column) for name, column in self.columns.items()}
        lost = {f"{name}{UNSCORED}": float(count) for name, (count, _) in self.incomplete().items()}
        return self.losses | means | lost

    def unscored(self) -> dict[str, str]:
        """Return the metrics that no recording has, with the first reason of each."""
        return {
            name: str(column[0].reason)
            for name, column in self.columns.items()
            if all(value.value is None for value in column)
        }

    def incomplete(self) -> dict[str, tuple[int, str]]:
        """Return the metrics that only some recordings have: how many lack it, and the first reason.

        A recording whose reference has nothing to measure is not missing: no estimate has a number there.
        """
        found = {}
        for name, column in self.columns.items():
            counted = sum(value.value is not None or value.of_reference for value in column)
            if counted < len(self.futures) and name not in self.unscored():
                faults = (str(v.reason) for v in column if v.value is None and not v.of_reference)
                found[name] = (len(self.futures) - counted, next(faults, "its scoring failed"))
        return found

    @functools.cached_property
    def columns(self) -> dict[str, list[Value]]:
        """Each metric of the recordings; waits for them."""
        rows = [row for future in self.futures if (row := _result(future)) is not None]
        names = dict.fromkeys(name for row in rows for name in row)
        return {name: [row[name] for row in rows if name in row] for name in names}


class Validator:
    """Enhances a fixed set and scores it.

    Args:
        examples: single examples (C, T), as the data set returns them.
        metrics: names for audiotool.metrics.
        sample_rate: Hz.
        workers: number of metric processes.
        seed: of the random numbers that models draw.
    """

    def __init__(
        self,
        examples: Sequence[dict[str, Tensor]],
        metrics: Sequence[str],
        sample_rate: int,
        workers: int,
        seed: int = 0,
    ) -> None:
        self.examples = list(examples)
        self.metrics = list(metrics)
        self.sample_rate = sample_rate
        self.workers = workers
        self.seed = seed
        self.pending: list[Pending] = []
        self._pool: ProcessPoolExecutor | None = None

    @torch.no_grad()
    def begin(
        self, step: int, model: Model, objective: Objective, device: torch.device, facts: dict[str, Any]
    ) -> list[Tensor]:
        """Enhance the set and start its scoring.

        Args:
            model: the averaged weights, in eval mode.
            facts: facts of the training so far, kept with the result.
        Returns:
            The estimates (C, T), on the CPU.
        """
        sums: dict[str, float] = {}
        estimates = []
        for n, example in enumerate(self.examples):
            batch = {key: value[None].to(device) for key, value in example.items()}
            # Some models draw noise, which is the same at every validation.
            with seeded(self.seed, n, device):
                outputs = model.training_outputs(batch)
                loss, terms = objective(outputs, batch)
                estimate = outputs["estimate"] if "estimate" in outputs else model.process(batch["input"])
            for name, value in {"loss": loss, **terms}.items():
                sums[name] = sums.get(name, 0.0) + float(value)
            estimate = objective.align(estimate, batch["target"])
            estimates.append(estimate[0].float().cpu())
        losses = {name: total / max(len(self.examples), 1) for name, total in sums.items()}
        tensors = {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}
        pending = Pending(step, tensors, losses, facts)
        if self.metrics:
            pending.futures = [
                self._submit(example["target"].numpy(), estimate.numpy(), _noisy(example), len(model.stems))
                for example, estimate in zip(self.examples, estimates, strict=True)
            ]
        self.pending.append(pending)
        return estimates

    def poll(self, wait: bool = False) -> list[Pending]:
        """Return the validations that are complete, in order; `wait` blocks until all are."""
        finished = []
        while self.pending and (wait or self.pending[0].done):
            finished.append(self.pending.pop(0))
        return finished

    def close(self) -> None:
        """Cancel unfinished validations and wait for the processes to end, because nothing waits for them at
        exit."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def _submit(
        self, reference: NDArray[Any], estimate: NDArray[Any], noisy: NDArray[Any] | None, stems: int
    ) -> Future[Row]:
        # Spawned, not forked: torch's threads and a GPU's context do not survive a fork.
        if self._pool is None or getattr(self._pool, "_broken", False):
            spawn = get_context("spawn")
            self._pool = ProcessPoolExecutor(self.workers, spawn, initializer=_yield_to_training)
        return self._pool.submit(_score, reference, estimate, self.sample_rate, self.metrics, noisy, stems)


def _yield_to_training() -> None:
    """Lower the priority of a metric process, and let it use one thread."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    if hasattr(os, "nice"):
        os.nice(5)
    follow_parent()


def _noisy(example: dict[str, Tensor]) -> NDArray[Any] | None:
    """Return the unprocessed input (C, T) of an example; None where it is no waveform, as a mel."""
    noisy, target = example["input"], example["target"]
    return noisy.numpy() if noisy.shape[-1] == target.shape[-1] else None


def _score(
    reference: NDArray[Any],
    estimate: NDArray[Any],
    sample_rate: int,
    metrics: list[str],
    noisy: NDArray[Any] | None = None,
    stems: int = 1,
) -> Row:
    """Return the metrics of one recording, averaged over its rows. They get what `evaluate` gives them.

    Args:
        reference, estimate: (stems * C, T), the channels of each stem together.
        sample_rate: Hz.
        metrics: their names.
        noisy: the unprocessed input (C or more, T), whose first channels count; None where it is no waveform.
        stems: number of stems.
    """
    from audiotool.dsp.bandwidth import BandwidthMeter
    from audiotool.metrics.base import METRICS
    from audiotool.metrics.score import score_channels

    asked = [METRICS.get(name) for name in metrics]
    edge, others = None, list[NDArray[Any]]()
    if any(metric.uses_edge for metric in asked) and noisy is not None:
        meter = BandwidthMeter(sample_rate)
        meter.feed(noisy)
        edge = meter.bandwidth_hz()
    if any(metric.uses_interferers for metric in asked):
        if stems > 1:
            # Row n of the k-th is a channel of the k-th stem before its own.
            others = [np.roll(reference, k * len(reference) // stems, axis=0) for k in range(1, stems)]
        elif noisy is not None:
            others = [noisy[: len(reference)] - reference]
    return score_channels(reference, estimate, sample_rate, metrics, edge, others).values


def _result(future: Future[Row]) -> Row | None:
    try:
        return future.result()
    except Exception as error:
        log.warning("a validation recording could not be scored: %s", error)
        return None


def _mean(values: list[Value]) -> float:
    known = [v.value for v in values if v.value is not None]
    return float(np.mean(known)) if known else math.nan
