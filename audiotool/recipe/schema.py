"""What a recipe may hold: one schema for all tasks.

    name, task             what it makes
    model                  a registered model and its configuration
    init, freeze           where its weights begin, and which of them stay
    audio, data            the sections of audiotool.data.config
    loss, adversarial      what is minimised
    optimiser, schedule    how
    train                  steps, batches, precision, weight averaging, seed
    validation, logging, checkpointing

Every key has a default but `task`, `model`, `data` and `loss`. A name (of a model, loss, discriminator) is
one from audiotool's own lists: a recipe never names a Python object.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from audiotool.data.config import AudioConfig, DataConfig, Probability, Section

Count = Annotated[int, Field(ge=1)]
"""A whole number of at least one."""

Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class ModelSection(Section):
    """The architecture.

    Args:
        name: as `audiotool models list` shows it.
        config: hyper-parameters that differ from the published ones.
    """

    name: str
    config: dict[str, Any] = Field(default={})


class InitSection(Section):
    """Weights to begin with (fine-tuning).

    Args:
        checkpoint: a file or a bundled checkpoint's name.
        skip: patterns (`decoder.*`) of tensors that are not taken from it and keep their random values.
    """

    checkpoint: str | None = None
    skip: list[str] = Field(default=[])


class LossTerm(Section):
    """One term of the sum that is minimised.

    Args:
        name: a loss; `audiotool recipes losses` lists them with their options.
        weight: factor in the sum.
        options: the loss's own arguments.
    """

    name: str
    weight: NotNegative = 1.0
    options: dict[str, Any] = Field(default={})


class AdamSection(Section):
    """Adam; weight decay is added to the gradient."""

    name: Literal["adam"]
    lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    eps: Positive = 1e-8
    weight_decay: NotNegative = 0.0


class AdamWSection(AdamSection):
    """Adam with weight decay apart from the gradient."""

    name: Literal["adamw"] = "adamw"  # type: ignore[assignment]
    weight_decay: NotNegative = 0.01


class MuonSection(AdamWSection):
    """Muon for matrices, AdamW at the same rate for the rest: fewer steps to the same loss."""

    name: Literal["muon"]  # type: ignore[assignment]


class RAdamSection(AdamSection):
    """Rectified Adam; eps as in Parallel WaveGAN."""

    name: Literal["radam"]  # type: ignore[assignment]
    eps: Positive = 1e-6


Optimiser = Annotated[AdamSection | AdamWSection | MuonSection | RAdamSection, Field(discriminator="name")]


class ConstantSchedule(Section):
    """The optimiser's rate throughout, after an optional linear warm-up."""

    name: Literal["constant"]
    warmup_steps: Whole = 0


class CosineSchedule(Section):
    """Linear warm-up from zero, then half a cosine down to `final` times the rate at the last step."""

    name: Literal["cosine"]
    warmup_steps: Whole = 0
    final: Fraction = 0.0


class TrapezoidSchedule(Section):
    """Linear warm-up, the full rate, and a linear fall to `final` times the rate over the last steps.

    A run can be made longer until the fall begins (`train.steps` may change on `--resume`).
    Reference: Hu et al., MiniCPM, COLM 2024, arXiv:2404.06395 (warm-up, stable, decay).

    Args:
        decay_steps: length of the fall.
    """

    name: Literal["trapezoid"]
    warmup_steps: Whole = 0
    decay_steps: Count
    final: Fraction = 0.0


class CleanUNetSchedule(Section):
    """CleanUNet's: linear from lr / divider, then cosine down to lr / divider / 10^4, then again.

    Args:
        warmup: part of a cycle that rises.
        divider: peak over starting rate.
        cycle_steps: length of a cycle; `train.steps` when null.
    """

    name: Literal["cleanunet"]
    warmup: Annotated[float, Field(gt=0, lt=1)] = 0.05
    divider: Positive = 25.0
    cycle_steps: Count | None = None


class ExponentialSchedule(Section):
    """Rate times `factor` after every `every` steps (an epoch's worth, or 1)."""

    name: Literal["exponential"]
    factor: Annotated[float, Field(gt=0, le=1)]
    every: Count = 1
    warmup_steps: Whole = 0


class StepSchedule(Section):
    """Rate times `factor` at each of the given steps, or after every `every` steps."""

    name: Literal["step"]
    factor: Annotated[float, Field(gt=0, le=1)] = 0.5
    every: Count | None = None
    at: list[Count] = Field(default=[])
    warmup_steps: Whole = 0


Schedule = Annotated[
    ConstantSchedule
    | CosineSchedule
    | TrapezoidSchedule
    | CleanUNetSchedule
    | ExponentialSchedule
    | StepSchedule,
    Field(discriminator="name"),
]


class DiscriminatorTerm(Section):
    """One discriminator of an adversarial training.

    Args:
        name: a registered discriminator.
        config: its arguments.
        weight: factor of its adversarial and feature matching terms.
    """

    name: str
    config: dict[str, Any] = Field(default={})
    weight: NotNegative = 1.0


class AdversarialSection(Section):
    """Training against discriminators.

    Args:
        kind: the adversarial loss; see audiotool.losses.adversarial.
        weight: factor of the generator's adversarial term.
        reduction: how sub-discriminators are put together.
        feature_layers: how the layers inside one are, for feature matching.
        feature_matching: factor of the feature matching term; 0 leaves it out.
        start: step at which the discriminators join.
        clip: largest gradient norm of the discriminators; null leaves it alone.
    """

    discriminators: Annotated[list[DiscriminatorTerm], Field(min_length=1)]
    kind: Literal["least-squares", "hinge", "hinge-linear"] = "least-squares"
    reduction: Literal["sum", "mean"] = "sum"
    feature_layers: Literal["sum", "mean"] = "sum"
    weight: NotNegative = 1.0
    feature_matching: NotNegative = 2.0
    start: Whole = 0
    optimiser: Optimiser = AdamWSection()
    schedule: Schedule = ConstantSchedule(name="constant")
    clip: Positive | None = None


class TrainSection(Section):
    """The loop.

    Args:
        steps: optimiser steps in all.
        batch_size: examples a process holds at once.
        accumulate: batches summed into one optimiser step.
        clip: largest gradient norm; null leaves it alone.
        precision: arithmetic of the model; losses and weights stay in fp32.
        ema: decay of the averaged weights that are validated and exported; 0 exports the weights themselves.
        warm_up_probability: that a batch begins with the memory of its own first seconds, as files do.
        seed: of the initial weights and of everything drawn in a step; the data has its own.
        max_skipped: steps in a row without a finite gradient after which training gives up.
    """

    steps: Count = 100_000
    batch_size: Count = 16
    accumulate: Count = 1
    clip: Positive | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    ema: Fraction = 0.999
    warm_up_probability: Probability = 0.0
    seed: Whole = 0
    max_skipped: Whole = 50


class ValidationSection(Section):
    """A fixed set, the same at every validation.

    Args:
        every: steps between validations; the last step always validates.
        count: recordings; 0 exports without validating.
        seconds: length of a recording; as in training when null.
        metrics: names of metrics; the task's own when null.
        metric: the one that chooses the best checkpoint ("loss" or a metric); the task's own when null.
        workers: processes that compute metrics while training goes on.
        samples: recordings written to TensorBoard, heard and as spectrograms.
    """

    every: Count = 5000
    count: Whole = 24
    seconds: Positive | None = None
    metrics: list[str] | None = None
    metric: str | None = None
    workers: Count = 1
    samples: Whole = 3


class LoggingSection(Section):
    """What is written while training.

    Args:
        every: steps between lines of the log; losses are averaged over them.
        tensorboard: write curves, sounds and spectrograms for TensorBoard beside the CSV files.
    """

    every: Count = 50
    tensorboard: bool = True


class CheckpointingSection(Section):
    """States to resume from.

    Args:
        every: steps between them; the last step always has one.
        keep: how many of the newest stay.
    """

    every: Count = 1000
    keep: Count = 2


class Recipe(Section):
    """A whole recipe.

    Args:
        name: of the run's folder and of the checkpoint.
        description: one line for `audiotool recipes list`.
        licence: of the weights, kept in the checkpoint.
        task: what the model is for; decides the training example and the metrics.
        model: the architecture and its configuration.
        init: weights to begin with.
        freeze: patterns (`encoder.*`) of weights that stay as they are.
        audio: what the model hears.
        data: what it is trained on.
        loss: terms of the sum that is minimised.
        adversarial: discriminators to train against; null for none.
        optimiser: how weights move.
        schedule: the learning rate as a function of the step.
        train: steps, batches, precision, weight averaging, seed.
        validation: the fixed set that chooses the best checkpoint.
        logging: what is written while training.
        checkpointing: states to resume from.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    description: str = ""
    licence: str = "unknown"
    task: str
    model: ModelSection
    init: InitSection = InitSection()
    freeze: list[str] = Field(default=[])
    audio: AudioConfig
    data: DataConfig
    loss: Annotated[list[LossTerm], Field(min_length=1)]
    adversarial: AdversarialSection | None = None
    optimiser: Optimiser = AdamWSection()
    schedule: Schedule = ConstantSchedule(name="constant")
    train: TrainSection = TrainSection()
    validation: ValidationSection = ValidationSection()
    logging: LoggingSection = LoggingSection()
    checkpointing: CheckpointingSection = CheckpointingSection()

    def plain(self) -> dict[str, Any]:
        """The whole recipe as plain values, defaults included: what checkpoints and run folders hold."""
        return self.model_dump(mode="json")
