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
    """The architecture."""

    name: str = Field(description="name in `audiotool models list`")
    config: dict[str, Any] = Field({}, description="hyper-parameters that differ from the published ones")


class InitSection(Section):
    """Weights to begin with (fine-tuning)."""

    checkpoint: str | None = Field(None, description="a file or a bundled checkpoint's name")
    skip: list[str] = Field(
        [],
        description="patterns (`decoder.*`) of tensors that are not taken from it and keep their random"
        " values",
    )


class LossTerm(Section):
    """One term of the sum that is minimised."""

    name: str = Field(description="a loss; `audiotool recipes losses` lists them with their options")
    weight: NotNegative = Field(1.0, description="factor in the sum")
    options: dict[str, Any] = Field({}, description="the loss's own arguments")


class AdamSection(Section):
    """Adam; weight decay is added to the gradient."""

    name: Literal["adam"] = Field(description="the optimiser")
    lr: Positive = Field(2e-4, description="learning rate, above 0, which the schedule multiplies")
    betas: tuple[Fraction, Fraction] = Field(
        (0.9, 0.999), description="decay a step of the means of the gradient and of its square, 0 to below 1"
    )
    eps: Positive = Field(1e-8, description="added to the root of the mean square, above 0")
    weight_decay: NotNegative = Field(
        0.0, description="part of a weight that is added to its gradient, 0 or more"
    )


class AdamWSection(AdamSection):
    """Adam with decoupled weight decay."""

    name: Literal["adamw"] = Field("adamw", description="the optimiser")  # type: ignore[assignment]
    weight_decay: NotNegative = Field(
        0.01, description="part of a weight, times the rate, that it loses in a step"
    )


class MuonSection(AdamWSection):
    """Muon for matrices, AdamW at the same rate for the rest: fewer steps to the same loss."""

    name: Literal["muon"] = Field(description="the optimiser")  # type: ignore[assignment]


class RAdamSection(AdamSection):
    """Rectified Adam; eps as in Parallel WaveGAN."""

    name: Literal["radam"] = Field(description="the optimiser")  # type: ignore[assignment]
    eps: Positive = Field(1e-6, description="added to the root of the mean square, above 0")


Optimiser = Annotated[AdamSection | AdamWSection | MuonSection | RAdamSection, Field(discriminator="name")]


class ConstantSchedule(Section):
    """A constant rate after an optional linear warm-up."""

    name: Literal["constant"] = Field(description="the schedule")
    warmup_steps: Whole = Field(
        0, description="steps in which the rate rises linearly; 0 begins with all of it"
    )


class CosineSchedule(Section):
    """Linear warm-up from zero, then half a cosine, which would be at `final` times the rate one step after
    the last."""

    name: Literal["cosine"] = Field(description="the schedule")
    warmup_steps: Whole = Field(
        0, description="steps in which the rate rises linearly; 0 begins with all of it"
    )
    final: Fraction = Field(
        0.0, description="rate one step after the last, as part of the full one; 0 to below 1"
    )


class TrapezoidSchedule(Section):
    """Linear warm-up, the full rate, and a linear fall over the last steps, which would be at `final` times
    the rate one step after the last.

    A run can be made longer until the fall begins (`train.steps` may change on `--resume`). In a run too
    short for both, the lower of rise and fall counts.
    Reference: Hu et al., MiniCPM, COLM 2024, arXiv:2404.06395 (warm-up, stable, decay).
    """

    name: Literal["trapezoid"] = Field(description="the schedule")
    warmup_steps: Whole = Field(
        0, description="steps in which the rate rises linearly; 0 begins with all of it"
    )
    decay_steps: Count = Field(description="length of the fall")
    final: Fraction = Field(
        0.0, description="rate one step after the last, as part of the full one; 0 to below 1"
    )


class CleanUNetSchedule(Section):
    """CleanUNet's schedule: linear from lr / divider, then cosine to lr / divider / 10^4, repeated."""

    name: Literal["cleanunet"] = Field(description="the schedule")
    warmup: Number = Field(0.05, gt=0, lt=1, description="rising share of a cycle")
    divider: Positive = Field(25.0, description="peak over starting rate")
    cycle_steps: Count | None = Field(None, description="length of a cycle; `train.steps` when null")


class ExponentialSchedule(Section):
    """Linear warm-up from zero; from its end on the rate is multiplied by `factor` after every `every` steps
    (an epoch's, or 1)."""

    name: Literal["exponential"] = Field(description="the schedule")
    factor: Annotated[Number, Field(gt=0, le=1)] = Field(description="of the rate, at each fall; 0 to 1")
    every: Count = Field(1, description="steps between falls")
    warmup_steps: Whole = Field(
        0, description="steps in which the rate rises linearly; 0 begins with all of it"
    )


class StepSchedule(Section):
    """Linear warm-up from zero. The rate is multiplied by `factor` at each of the given steps of the run, or
    after every `every` steps from the end of the warm-up on."""

    name: Literal["step"] = Field(description="the schedule")
    factor: Annotated[Number, Field(gt=0, le=1)] = Field(0.5, description="of the rate, at each fall; 0 to 1")
    every: Count | None = Field(None, description="steps between falls; null: none but those of `at`")
    at: list[Count] = Field([], description="steps of the falls, counted from the run's beginning")
    warmup_steps: Whole = Field(
        0, description="steps in which the rate rises linearly; 0 begins with all of it"
    )


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
    """One discriminator of an adversarial training."""

    name: str = Field(description="a registered discriminator")
    config: dict[str, Any] = Field({}, description="its arguments")
    weight: NotNegative = Field(1.0, description="factor of its adversarial and feature matching terms")


class AdversarialSection(Section):
    """Training against discriminators."""

    discriminators: list[DiscriminatorTerm] = Field(min_length=1, description="one or more, each a section")
    kind: Literal["least-squares", "hinge", "hinge-linear"] = Field(
        "least-squares", description="the adversarial loss; see audiotool.losses.adversarial"
    )
    reduction: Literal["sum", "mean"] = Field("sum", description="reduction over sub-discriminators")
    feature_layers: Literal["sum", "mean"] = Field(
        "sum", description="reduction over the layers of a sub-discriminator, for feature matching"
    )
    weight: NotNegative = Field(1.0, description="factor of the generator's adversarial term")
    feature_matching: NotNegative = Field(
        2.0, description="factor of the feature matching term; 0 leaves it out"
    )
    start: Whole = Field(0, description="first step with discriminators")
    optimiser: Optimiser = Field(AdamWSection(), description="of the discriminators")
    schedule: Schedule = Field(
        ConstantSchedule(name="constant"),
        description="learning rate of the discriminators; it begins at `start`, `at` counts the run's steps",
    )
    clip: Positive | None = Field(
        None, description="largest gradient norm of the discriminators; null does not clip"
    )


class TrainSection(Section):
    """The training loop."""

    steps: Count = Field(100_000, description="optimiser steps in all")
    batch_size: Count = Field(16, description="examples of a batch in each process")
    accumulate: Count = Field(
        1, description="batches of one optimiser step, whose loss is the mean of theirs"
    )
    clip: Positive | None = Field(None, description="largest gradient norm; null does not clip")
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32", description="arithmetic of the model; losses and weights stay in fp32"
    )
    ema: Fraction = Field(
        0.999,
        description="decay of the averaged weights that are validated and exported; 0 exports the weights"
        " themselves",
    )
    warm_up_probability: Probability = Field(
        0.0, description="share of batches with a warm-up over their first seconds, as files have"
    )
    seed: Seed = Field(
        0, description="seed of the initial weights and of the random numbers of steps; the data has its own"
    )
    max_skipped: Whole = Field(
        50, description="steps in a row without a finite gradient after which training gives up"
    )


class ValidationSection(Section):
    """A fixed set, the same at every validation."""

    every: Count = Field(5000, description="steps between validations; the last step always validates")
    count: Whole = Field(24, description="recordings; 0 exports without validating")
    seconds: Seconds | None = Field(None, description="length of a recording; as in training when null")
    metrics: list[str] | None = Field(
        None, description='names of metrics and of families ("dnsmos"); the task\'s own when null'
    )
    metric: str | None = Field(
        None,
        description='the one that chooses the best checkpoint ("loss" or a metric, of which more must be'
        " better or worse); when null, the task's own. Where that is not measured, or no recording has the"
        " metric, the loss does. A validation of which more estimates have no number, as silent ones, comes"
        " behind.",
    )
    workers: Count = Field(1, description="processes that compute metrics while training goes on")
    samples: Whole = Field(3, description="recordings written to TensorBoard, as sounds and spectrograms")


class LoggingSection(Section):
    """Logs of a training."""

    every: Count = Field(50, description="steps between lines of the log; losses are averaged over them")
    tensorboard: Boolean = Field(
        True, description="write curves, sounds and spectrograms for TensorBoard beside the CSV files"
    )


class CheckpointingSection(Section):
    """States to resume from."""

    every: Count = Field(1000, description="steps between states; the last step always has one")
    keep: Count = Field(2, description="number of the newest states that are kept")


class Recipe(Section):
    """A recipe."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="name of the run's folder and of the checkpoint"
    )
    description: str = Field("", description="one line for `audiotool recipes list`")
    licence: str = Field(
        "unknown",
        description="licence of the weights, kept in the checkpoint; that of the weights to begin with is"
        " added",
    )
    task: str = Field(description="task of the model; decides the training example and the metrics")
    model: ModelSection = Field(description="the architecture and its configuration")
    init: InitSection = Field(InitSection(), description="weights to begin with")
    freeze: list[str] = Field([], description="patterns (`encoder.*`) of weights that are not trained")
    audio: AudioConfig = Field(AudioConfig(), description="input and output of the model")
    data: DataConfig = Field(description="the training data")
    loss: list[LossTerm] = Field(min_length=1, description="terms of the sum that is minimised")
    adversarial: AdversarialSection | None = Field(
        None, description="discriminators to train against; null for none"
    )
    optimiser: Optimiser = Field(AdamWSection(), description="the optimiser and its options")
    schedule: Schedule = Field(
        ConstantSchedule(name="constant"), description="the learning rate as a function of the step"
    )
    train: TrainSection = Field(
        TrainSection(), description="steps, batches, precision, weight averaging, seed"
    )
    validation: ValidationSection = Field(
        ValidationSection(), description="the fixed set that chooses the best checkpoint"
    )
    logging: LoggingSection = Field(LoggingSection(), description="logs of the training")
    checkpointing: CheckpointingSection = Field(CheckpointingSection(), description="states to resume from")

    def plain(self) -> dict[str, Any]:
        """Return the whole recipe as plain values, defaults included, as checkpoints and runs hold it."""
        return self.model_dump(mode="json")
