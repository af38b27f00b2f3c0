"""The schema of recipes, one for all tasks.

    name, task             the checkpoint and its task
    model                  a registered model and its configuration
    init, freeze           initial weights, and weights that are not trained
    audio, data            the sections of audiotool.data.config
    loss, adversarial      terms that are minimised
    optimiser, schedule    the optimiser and its learning rate
    train                  steps, batches, precision, weight averaging, seed
    validation, logging, checkpointing

Every key but `task`, `model`, `data` and `loss` has a default. Models, losses and discriminators are named by
their registered names: a recipe never names a Python object.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from audiotool.data.config import (
    AudioConfig,
    Boolean,
    DataConfig,
    Integer,
    Number,
    Probability,
    Seconds,
    Section,
    Seed,
)

Count = Annotated[Integer, Field(ge=1, lt=2**63)]
"""A whole number of at least one."""

Whole = Annotated[Integer, Field(ge=0, lt=2**63)]
Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]
Fraction = Annotated[Number, Field(ge=0, lt=1)]


class ModelSection(Section):
    """The architecture.

    Args:
        name: name in `audiotool models list`.
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
    """Adam with decoupled weight decay."""

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
    """A constant rate after an optional linear warm-up."""

    name: Literal["constant"]
    warmup_steps: Whole = 0


class CosineSchedule(Section):
    """Linear warm-up from zero, then half a cosine, which would be at `final` times the rate one step after
    the last."""

    name: Literal["cosine"]
    warmup_steps: Whole = 0
    final: Fraction = 0.0


class TrapezoidSchedule(Section):
    """Linear warm-up, the full rate, and a linear fall over the last steps, which would be at `final` times
    the rate one step after the last.

    A run can be made longer until the fall begins (`train.steps` may change on `--resume`). In a run too
    short for both, the lower of rise and fall counts.
    Reference: Hu et al., MiniCPM, COLM 2024, arXiv:2404.06395 (warm-up, stable, decay).

    Args:
        decay_steps: length of the fall.
    """

    name: Literal["trapezoid"]
    warmup_steps: Whole = 0
    decay_steps: Count
    final: Fraction = 0.0


class CleanUNetSchedule(Section):
    """CleanUNet's schedule: linear from lr / divider, then cosine to lr / divider / 10^4, repeated.

    Args:
        warmup: rising share of a cycle.
        divider: peak over starting rate.
        cycle_steps: length of a cycle; `train.steps` when null.
    """

    name: Literal["cleanunet"]
    warmup: Annotated[Number, Field(gt=0, lt=1)] = 0.05
    divider: Positive = 25.0
    cycle_steps: Count | None = None


class ExponentialSchedule(Section):
    """Linear warm-up from zero; from its end on the rate is multiplied by `factor` after every `every` steps
    (an epoch's, or 1)."""

    name: Literal["exponential"]
    factor: Annotated[Number, Field(gt=0, le=1)]
    every: Count = 1
    warmup_steps: Whole = 0


class StepSchedule(Section):
    """Linear warm-up from zero. The rate is multiplied by `factor` at each of the given steps of the run, or
    after every `every` steps from the end of the warm-up on."""

    name: Literal["step"]
    factor: Annotated[Number, Field(gt=0, le=1)] = 0.5
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
        reduction: reduction over sub-discriminators.
        feature_layers: reduction over the layers of a sub-discriminator, for feature matching.
        feature_matching: factor of the feature matching term; 0 leaves it out.
        start: first step with discriminators.
        clip: largest gradient norm of the discriminators; null does not clip.
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
    """The training loop.

    Args:
        steps: optimiser steps in all.
        batch_size: examples of a batch in each process.
        accumulate: batches of one optimiser step, whose loss is the mean of theirs.
        clip: largest gradient norm; null does not clip.
        precision: arithmetic of the model; losses and weights stay in fp32.
        ema: decay of the averaged weights that are validated and exported; 0 exports the weights themselves.
        warm_up_probability: share of batches with a warm-up over their first seconds, as files have.
        seed: seed of the initial weights and of the random numbers of steps; the data has its own.
        max_skipped: steps in a row without a finite gradient after which training gives up.
    """

    steps: Count = 100_000
    batch_size: Count = 16
    accumulate: Count = 1
    clip: Positive | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    ema: Fraction = 0.999
    warm_up_probability: Probability = 0.0
    seed: Seed = 0
    max_skipped: Whole = 50


class ValidationSection(Section):
    """A fixed set, the same at every validation.

    Args:
        every: steps between validations; the last step always validates.
        count: recordings; 0 exports without validating.
        seconds: length of a recording; as in training when null.
        metrics: names of metrics and of families ("dnsmos"); the task's own when null.
        metric: the one that chooses the best checkpoint ("loss" or a metric, of which more must be better or
            worse); when null, the task's own. Where that is not measured, or no recording has the metric, the
            loss does. A validation of which more estimates have no number, as silent ones, comes behind.
        workers: processes that compute metrics while training goes on.
        samples: recordings written to TensorBoard, as sounds and spectrograms.
    """

    every: Count = 5000
    count: Whole = 24
    seconds: Seconds | None = None
    metrics: list[str] | None = None
    metric: str | None = None
    workers: Count = 1
    samples: Whole = 3


class LoggingSection(Section):
    """Logs of a training.

    Args:
        every: steps between lines of the log; losses are averaged over them.
        tensorboard: write curves, sounds and spectrograms for TensorBoard beside the CSV files.
    """

    every: Count = 50
    tensorboard: Boolean = True


class CheckpointingSection(Section):
    """States to resume from.

    Args:
        every: steps between states; the last step always has one.
        keep: number of the newest states that are kept.
    """

    every: Count = 1000
    keep: Count = 2


class Recipe(Section):
    """A recipe.

    Args:
        name: name of the run's folder and of the checkpoint.
        description: one line for `audiotool recipes list`.
        licence: licence of the weights, kept in the checkpoint; that of the weights to begin with is added.
        task: task of the model; decides the training example and the metrics.
        model: the architecture and its configuration.
        init: weights to begin with.
        freeze: patterns (`encoder.*`) of weights that are not trained.
        audio: input and output of the model.
        data: the training data.
        loss: terms of the sum that is minimised.
        adversarial: discriminators to train against; null for none.
        optimiser: the optimiser and its options.
        schedule: the learning rate as a function of the step.
        train: steps, batches, precision, weight averaging, seed.
        validation: the fixed set that chooses the best checkpoint.
        logging: logs of the training.
        checkpointing: states to resume from.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    description: str = ""
    licence: str = "unknown"
    task: str
    model: ModelSection
    init: InitSection = InitSection()
    freeze: list[str] = Field(default=[])
    audio: AudioConfig = AudioConfig()
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
        """Return the whole recipe as plain values, defaults included, as checkpoints and runs hold it."""
        return self.model_dump(mode="json")
