"""Adversarial training: discriminators learn to tell estimates from targets, and the model minimises their
success.

In every step the discriminators are updated first, on detached estimates of all its batches. The model's loss
is then computed with the updated discriminators.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from audiotool.configuration import constructor_arguments
from audiotool.errors import RecipeError
from audiotool.losses.adversarial import discriminator_loss, feature_matching_loss, generator_loss
from audiotool.losses.metric import metric_discriminator_loss, metric_generator_loss
from audiotool.models.discriminators.base import DISCRIMINATORS, Discriminator
from audiotool.models.discriminators.metric import MetricDiscriminator
from audiotool.recipe.schema import AdversarialSection, DiscriminatorTerm
from audiotool.training.objective import explained
from audiotool.training.optimiser import build_optimiser, clip_and_step, set_rate
from audiotool.training.schedule import rate_factor


class Discriminators(nn.Module):
    """All discriminators of a recipe. `forward` is their loss, as required where processes share
    gradients."""

    def __init__(self, section: AdversarialSection) -> None:
        super().__init__()
        self.section = section
        self.discriminators = nn.ModuleList(build_discriminator(d) for d in section.discriminators)
        self.weights = [d.weight for d in section.discriminators]

    @property
    def needs_scores(self) -> bool:
        """Whether a discriminator learns a metric and needs its values."""
        return any(isinstance(d, MetricDiscriminator) for d in self.discriminators)

    def forward(
        self, outputs: dict[str, Tensor], target: Tensor, scores: Sequence[float | None] = ()
    ) -> Tensor:
        """Return the loss of the discriminators.

        Args:
            outputs: the model's outputs, detached; "estimate" (B, C, T).
            target: (B, C, T).
            scores: PESQ of each estimate, when `needs_scores`.
        """
        losses = []
        for discriminator, weight in zip(self.discriminators, self.weights, strict=True):
            if isinstance(discriminator, MetricDiscriminator):
                losses.append(weight * metric_discriminator_loss(discriminator, outputs, scores))
                continue
            # One pass over both: several passes before one backward confuse processes that share gradients.
            real, fake = _logits_and_features(discriminator, target, outputs["estimate"])
            kind, reduction = self.section.kind, self.section.reduction
            losses.append(weight * discriminator_loss(real, fake, kind, reduction))
        return torch.stack(losses).sum()

    def generator_terms(self, outputs: dict[str, Tensor], target: Tensor) -> dict[str, Tensor]:
        """Return the model's losses "adversarial" and "feature-matching", summed over discriminators."""
        section = self.section
        adversarial: list[Tensor] = []
        matched: list[Tensor] = []
        for discriminator, weight in zip(self.discriminators, self.weights, strict=True):
            if isinstance(discriminator, MetricDiscriminator):
                adversarial.append(weight * metric_generator_loss(discriminator, outputs))
                continue
            real, fake = _logits_and_features(discriminator, target, outputs["estimate"])
            adversarial.append(weight * generator_loss(fake, section.kind, section.reduction))
            if section.feature_matching:
                distance = feature_matching_loss(real, fake, section.feature_layers, section.reduction)
                matched.append(weight * distance)
        terms = {"adversarial": adversarial, "feature-matching": matched}
        return {name: torch.stack(values).sum() for name, values in terms.items() if values}


class Adversary:
    """The discriminators with their optimiser and schedule.

    Args:
        steps: number of optimiser steps of the training.
        sample_rate: Hz.
        fused: see `build_optimiser`.
    """

    def __init__(
        self, section: AdversarialSection, steps: int, sample_rate: int, fabric: Fabric, fused: bool
    ) -> None:
        self.section = section
        self.steps = steps
        self.sample_rate = sample_rate
        self.fabric = fabric
        self.discriminators = Discriminators(section).to(fabric.device)
        optimiser = build_optimiser(section.optimiser, self.discriminators, fused)
        self.module, self.optimiser = fabric.setup(self.discriminators, optimiser)

    def backward(self, outputs: dict[str, Tensor], target: Tensor, share: float) -> Tensor:
        """Add the gradient of one batch, times `share`; return the discriminators' loss.

        Raises:
            RecipeError: a metric discriminator is used with a model that has no magnitudes.
        """
        detached = {key: value.detach() for key, value in outputs.items()}
        scores: Sequence[float | None] = ()
        if self.discriminators.needs_scores:
            if "scored_magnitude" not in outputs:
                raise RecipeError(
                    "adversarial.discriminators: metric judges magnitudes, which only the magnitude and phase"
                    " models (mp-senet, mambattention) have"
                )
            scores = _pesq(detached["estimate"], target, self.sample_rate)
        loss = self.module(detached, target, scores)
        self.fabric.backward(loss * share)
        return loss.detach()

    def update(self, step: int) -> None:
        """Update the discriminators' weights, unless their gradient is not finite."""
        section = self.section
        factor = rate_factor(section.schedule, step, self.steps, section.start)
        set_rate(self.optimiser, section.optimiser.lr * factor)
        clip_and_step(self.fabric, self.module, self.optimiser, section.clip)

    def generator_loss(self, outputs: dict[str, Tensor], target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the model's adversarial loss, a weighted sum, and each of its terms by name."""
        self.discriminators.requires_grad_(False)
        with self.fabric.autocast():
            terms = self.discriminators.generator_terms(outputs, target)
        self.discriminators.requires_grad_(True)
        total = self.section.weight * terms["adversarial"]
        if "feature-matching" in terms:
            total = total + self.section.feature_matching * terms["feature-matching"]
        return total, {name: value.detach() for name, value in terms.items()}

    # In states the key of the discriminators is "judges", their first name.

    def state_dict(self) -> dict[str, Any]:
        return {"judges": self.discriminators.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.discriminators.load_state_dict(state["judges"])
        self.optimiser.load_state_dict(state["optimiser"])


def build_discriminator(term: DiscriminatorTerm) -> Discriminator:
    """Make a discriminator from its name and arguments.

    Raises:
        RecipeError: the name, an argument or a value is not valid.
    """
    found = DISCRIMINATORS.get(term.name)
    arguments = constructor_arguments(found, term.config, term.name)
    try:
        return found(**arguments)
    except Exception as error:  # sizes that do not fit each other can fail anywhere in the constructor
        raise RecipeError(f"{term.name}: {error}") from error


def _logits_and_features(
    discriminator: nn.Module, target: Tensor, estimate: Tensor
) -> tuple[list[Any], list[Any]]:
    """Return (logits, features) of targets and estimates (B, C, T), each channel by itself.

    Raises:
        RecipeError: the discriminator returns something else, or cannot take them, as `explained` says.
    """
    both = torch.cat([w.flatten(0, 1)[:, None] for w in (target, estimate)])
    halves: tuple[list[Any], list[Any]] = ([], [])
    name = getattr(discriminator, "name", "")
    with explained(f"adversarial.discriminators: {name}", {"waveforms": both}):
        answers = discriminator(both)
    if not _is_discriminator_output(answers, len(both)):
        raise RecipeError(
            f"adversarial.discriminators: {name} has to return [(logits,"
            " [features, ...]), ...], a pair for each sub-discriminator, of tensors whose first axis is that"
            " of the waveforms"
        )
    for logits, features in answers:
        chunks = [t.float().chunk(2) for t in (logits, *features)]
        for half, results in enumerate(halves):
            results.append((chunks[0][half], [c[half] for c in chunks[1:]]))
    return halves


def _is_discriminator_output(found: Any, waveforms: int) -> bool:
    """Return whether this is a list of `DiscriminatorOutput` for a number of waveforms."""

    def is_one(pair: Any) -> bool:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not isinstance(pair[1], list | tuple):
            return False
        tensors = (pair[0], *pair[1])
        return all(isinstance(t, Tensor) and t.ndim and len(t) % waveforms == 0 for t in tensors)

    return isinstance(found, list | tuple) and bool(found) and all(map(is_one, found))


def _pesq(estimate: Tensor, target: Tensor, sample_rate: int) -> list[float | None]:
    """Return PESQ of estimates (B, C, T), computed in a child process; None where it finds no speech or
    fails."""
    from audiotool.metrics.score import score_channels

    pairs = zip(target.float().cpu().numpy(), estimate.float().cpu().numpy(), strict=True)
    return [score_channels(t, e, sample_rate, ["pesq"]).values["pesq"].value for t, e in pairs]
