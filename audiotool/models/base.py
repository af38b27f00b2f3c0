"""The base class of all models: the facts that a model declares, and its methods.

Time is always the last axis. A waveform is (batch, channels, time); a vocoder's input is (batch, n_mels,
frames). Output is (batch, stems * channels, time), stems in the order of `Model.stems`.

A **causal** model implements `step`. It takes a chunk of any length and returns the output that is complete.
Everything that later steps need is in `state`, an explicit pytree (dicts, lists and tuples of tensors,
integers and None). `state=None` begins a stream. `final=True` ends it: the step also returns all output that
was still delayed. Whole-file inference and training are one call with one chunk, so a streamed result equals
a whole-file result by construction.

A **non-causal** model implements `process` on a whole segment and declares `context`, the input it needs on
either side of a sample; the overlap-add streamer does the rest.

`forward` is `process`. A published model may have its own, with the inputs and outputs of its publication,
for training and for comparison with it.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from audiotool.configuration import build_config
from audiotool.dsp.level import Level
from audiotool.errors import AudiotoolError, CheckpointError

State = Any
"""State of a causal model between chunks: a pytree of tensors, integers and None."""

MAX_PARAMETERS = 1_000_000_000
"""Greatest number of weights of a network: four times that of the largest published one here, 4 GB."""

_BUILDING = threading.RLock()
"""Lock of torch's default dtype, which is changed and restored while a model is built."""

BEYOND = 1e30
"""`drain_value` of a model whose graph has to know where a stream ends: no sample or feature is as great."""


@contextlib.contextmanager
def _making_float32() -> Iterator[None]:
    """Let torch make float32 where no dtype is named, whatever the caller's default is."""
    with _BUILDING:
        default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(default)


def without_end(x: Tensor) -> tuple[Tensor, Tensor]:
    """Replace the items of a chunk that follow the stream's end, which are `BEYOND`, by 0.

    Args:
        x: (B, C, T).
    Returns:
        (B, C, T), and a mask (B, 1, T), True for the items before the end.
    """
    inside = x[:, :1] < BEYOND / 2
    return torch.where(inside, x, 0.0), inside


def measure_level(waveform: Tensor) -> Level[Tensor]:
    """Measure the level of a whole waveform (batch, channels, time), each row by itself."""
    flat = waveform.flatten(1)
    std = flat.std(dim=1) if flat.shape[1] > 1 else flat.new_zeros(flat.shape[0])
    return Level(*(v.reshape(-1, 1, 1) for v in (std, flat.square().mean(1).sqrt(), flat.mean(1))))


class Model(nn.Module):
    """Base class of all architectures.

    Class attributes:
        name: the architecture's name in recipes and on the command line.
        takes: kinds of input: "waveform" or "mel", and "enrolment" where it keeps one speaker.
        gives: kinds of output it can be trained for, the main one first: "speech" (one cleaner or new
            recording), "stems" (several recordings), "wide-band" (a recording of wider band).
        config_class: a frozen dataclass with every hyper-parameter and its published default.
        reference: author, title, venue and year, arXiv number.
        state_meanings: meanings of the tensors of a state by their path: {"layers": "…"} describes all below
            `layers`.
        warmed_up: paths of the tensors that `warm_up` sets.
        small: configuration of a small network, for tests and first trials; overrides the defaults or a
            recipe's configuration.

    Instance attributes (set in `__init__`):
        sample_rate: Hz of the output, and of the input where that is a waveform.
        hop_length: input items (samples, or frames for a vocoder) that complete one step of the algorithm.
            Chunks may have any length.
        latency: samples; output sample t never depends on input after t + latency. A vocoder's input frame f
            counts as sample f * upsampling.
        delay: output samples that have not come out when whole hops have been fed. A stream that is fed
            single samples lags by delay + hop_length - 1, because a sample may wait for the rest of its hop.
        causal: True when `step` is implemented.
        upsampling: output samples per input item: 1 for waveforms, the mel hop for vocoders.
        channels: audio channels consumed together; 1 means that channels are processed independently,
            None means any number (a microphone array) mixed down to one.
        stems: names of the outputs; "speaker1", "speaker2", … say that they are interchangeable.
        context: for non-causal models, the receptive field as input items (before, after) an output item;
            None when it is unbounded, in which case the overlap-add streamer cross-fades.
        uses_level: True when the published model normalises by the whole recording's level. Files measure it
            in a first pass, live streams use a running estimate.
        extends_from_hz: lowest frequency in Hz at which the model adds content; None where it adds none.
            `start` then takes the condition `bandwidth_hz`, the recording's bandwidth. Files measure it in a
            first pass, live streams leave it out.
        warm_up_seconds: length of the warm-up, 0 for none: the model runs over so much of the recording's
            beginning before the stream starts. `start` then takes the condition `memory`, which `warm_up`
            returns. Files do this in a first pass, live streams leave it out.
        uses_position: True when `process` takes the condition `position`, the index of its segment's first
            input item in the stream: models that draw noise or follow a phase continue it from there.
        autoregressive: True when each output sample is computed from earlier ones, one after another.
        drain_value: value of the input items that are appended at a stream's end: 0 for waveforms.
        rounding: greatest difference that rounding makes between chunk sizes, relative to the output's peak.
        sequential: True when `process` consists of thousands of small operations (a scan, a loop over time).
    """

    name: ClassVar[str]
    takes: ClassVar[tuple[str, ...]] = ("waveform",)
    gives: ClassVar[tuple[str, ...]] = ("speech",)
    config_class: ClassVar[type]
    reference: ClassVar[str] = ""
    state_meanings: ClassVar[dict[str, str]] = {}
    warmed_up: ClassVar[tuple[str, ...]] = ()
    small: ClassVar[dict[str, Any]] = {}

    sample_rate: int
    hop_length: int
    latency: int = 0
    causal: bool = True
    upsampling: int = 1
    channels: int | None = 1
    stems: tuple[str, ...] = ("speech",)
    context: tuple[int, int] | None = None
    uses_level: bool = False
    extends_from_hz: float | None = None
    warm_up_seconds: float = 0.0
    uses_position: bool = False
    autoregressive: bool = False
    drain_value: float = 0.0
    rounding: float = 1e-5
    sequential: bool = False

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    @classmethod
    def from_config(
        cls,
        values: Mapping[str, Any] | None = None,
        shapes: Mapping[str, Sequence[int]] | None = None,
        source: str = "",
    ) -> Model:
        """Build the model from plain values, as recipes and checkpoints hold them.

        Its `outline` is built first, so that no memory is allocated for a configuration that is refused.

        Args and Raises: as `outline`.
        """
        config = cls.outline(values, shapes, source).config
        with _making_float32():
            return cls(config)

    @classmethod
    def outline(
        cls,
        values: Mapping[str, Any] | None = None,
        shapes: Mapping[str, Sequence[int]] | None = None,
        source: str = "",
    ) -> Model:
        """Build the model on the device "meta", without memory for its weights.

        Args:
            values: fields of the config class that differ from its defaults.
            shapes: shapes of the weights that will be loaded, by name; the network must have the same.
            source: name of the weights' file, for messages.
        Raises:
            CheckpointError: a key is unknown (the nearest valid one is named), missing or invalid; the values
                do not fit together; the shapes differ; the network has more than `MAX_PARAMETERS` weights.
        """
        config: Any = build_config(cls.config_class, values or {}, f"{cls.name}: ")
        try:
            with _making_float32(), torch.device("meta"):
                outline = cls(config)
        except AudiotoolError:
            raise
        except Exception as error:  # sizes that do not fit each other can fail anywhere in the constructor
            raise CheckpointError(f"{cls.name}: this configuration makes no network: {error}") from error
        for fact in ("sample_rate", "hop_length"):
            value = getattr(outline, fact, None)
            if not isinstance(value, int) or value < 1:
                raise CheckpointError(f"{cls.name}: its {fact} is no whole number above 0, but {value!r}")
        if shapes is not None:
            outline.check_shapes(shapes, source)
        if outline.parameter_count > MAX_PARAMETERS:
            raise CheckpointError(
                f"{cls.name}: this configuration makes a network of {outline.parameter_count} parameters,"
                f" at most {MAX_PARAMETERS} are allowed: take smaller sizes"
            )
        return outline

    def start(self, level: Level[Tensor] | None = None, **conditions: Any) -> State:
        """Return the state at the beginning of a stream.

        Args:
            level: level of the whole recording; None uses a running estimate.
            conditions: other conditions of the model (`bandwidth_hz`, `memory`, those that `enrol` returns).
        """
        return None

    def unknown_conditions(self) -> dict[str, Any]:
        """Return values of `start`'s conditions that mean "not known", for graphs, whose inputs cannot be
        left out."""
        return {}

    def beginning(self) -> State:
        """Return the parts of a stream's first state that are not 0, without a batch axis, where `start`
        returns None."""
        return {}

    def graph_start(self, batch: int) -> State | None:
        """Return the first state of a graph's streams if the exported `step` needs a special one.

        None stands for the state of a stream in its steady state.

        Raises:
            ExportError: this network's streams have no state of a fixed size.
        """
        return None

    def warm_up(self, beginning: Tensor) -> State:
        """Run over the beginning of a recording (B, C, T) and return the condition `memory` of `start`.

        Only models whose `warm_up_seconds` is not 0 have it.
        """
        raise TypeError(f"{self.name} has no warm-up")

    def forget(self, state: State, rows: Tensor, memory: State = None, share: float = 1.0) -> State:
        """Reset the parts of a state that `warm_up` sets to those of a stream's beginning, in the rows bool
        (B,).

        Args:
            memory: result of a warm-up, as for `start`; None resets to the beginning without one.
            share: of the beginning's in the new state, 0 to 1.
        """
        raise TypeError(f"{self.name} has no warm-up, and forgets nothing")

    def enrol(self, recording: Tensor) -> dict[str, Any]:
        """Encode an enrolment, the recording of the one speaker to keep, for any number of streams.

        Args:
            recording: (1, 1, T) at the model's sample rate.
        Returns:
            Conditions for `start`.
        Raises:
            CheckpointError: the model takes no enrolment.
        """
        raise CheckpointError(
            f"{self.name} takes no enrolment: give a checkpoint of a personalised model, or none"
        )

    def step(self, x: Tensor, state: State = None, final: bool = False) -> tuple[Tensor, State]:
        """Process one chunk; return the output that is complete, and the state for the next chunk.

        Args:
            x: (B, C, T) for any T >= 0.
            state: from `start` or the previous step; None begins a stream.
            final: the stream ends after x. The output includes everything that was delayed; the state is not
                to be used again.
        Returns:
            (B, stems * C, T') with T' >= 0, and the new state. Over a stream the outputs sum to at least
            `output_length(total input)`; the streamer cuts the excess.
        """
        raise TypeError(f"{self.name} looks ahead without bound and is streamed by overlap-add")

    @property
    def input_channels(self) -> int:
        """Return the size of the input's second axis: audio channels, or a vocoder's features."""
        return self.channels or 1

    def process(self, x: Tensor, **conditions: Any) -> Tensor:
        """Run a whole segment (B, C, T) -> (B, stems * C, output_length(T)).

        Conditions are those of `start`. Causal models need not override this.
        """
        y, _ = self.step(x, self.start(**conditions), final=True)
        return y[..., : self.output_length(x.shape[-1])]

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Run as `process`, unless the model has the inputs and outputs of its publication."""
        return self.process(*inputs, **options)

    def training_outputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the inputs of the losses for one training batch.

        Args:
            batch: "input" (B, C, T), "target" (B, stems * C, T'), and the other tensors of the task's
                examples.
        Returns:
            "estimate", shaped as the target, and what the model's published loss needs besides (spectra,
            log-determinants). Models whose training differs from inference override this.
        """
        return {"estimate": self.process(batch["input"], **self._measured(batch["input"]))}

    @property
    def warm_up_samples(self) -> int:
        """Length of the warm-up in samples at the model's sample rate."""
        return math.ceil(self.warm_up_seconds * self.sample_rate)

    def warmed_up_outputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return `training_outputs` of streams that begin with a warm-up, as files do.

        The warm-up itself has no gradient.
        """
        x = batch["input"]
        with torch.no_grad():
            memory = self.warm_up(x[..., : self.warm_up_samples])
        return {"estimate": self.process(x, memory=memory, **self._measured(x))}

    def _measured(self, x: Tensor) -> dict[str, Any]:
        return {"level": measure_level(x)} if self.uses_level else {}

    def output_length(self, length: int) -> int:
        """Return the number of output samples for `length` input items."""
        return length * self.upsampling

    @property
    def delay(self) -> int:
        """Output samples that have not come out when whole hops have been fed.

        This is for models of frames, whose output comes in whole hops: each complete frame completes one.
        """
        frames = -(-(self.latency + 1) // self.hop_length)
        return (frames - 1) * self.hop_length

    @property
    def parameter_count(self) -> int:
        """Number of trained values."""
        return sum(p.numel() for p in self.parameters())

    def load_weights(self, tensors: dict[str, Tensor], source: str) -> None:
        """Load a state dict strictly.

        Raises:
            CheckpointError: keys are missing or unexpected, a shape or the kind of number (real, complex,
                integer) differs, or values are not finite. The message names `source`.
        """
        self.check_shapes({key: tensor.shape for key, tensor in tensors.items()}, source)
        self._check_values(tensors, source)
        self.load_state_dict(tensors, strict=True)

    def _check_values(self, tensors: Mapping[str, Tensor], source: str) -> None:
        for key, expected in self.state_dict().items():
            found = tensors[key]
            if (found.is_floating_point(), found.is_complex()) != (
                expected.is_floating_point(),
                expected.is_complex(),
            ):
                raise CheckpointError(
                    f"{source}: the weight {key} holds {_numbers(found)} where {self.name} has"
                    f" {_numbers(expected)}: it is damaged; get it again"
                )
            if not found.to(expected.dtype).isfinite().all():
                raise CheckpointError(
                    f"{source}: the weight {key} holds NaN or infinity: it is damaged, or comes from a"
                    " training that failed; take an earlier one"
                )

    def check_shapes(self, shapes: Mapping[str, Sequence[int]], source: str) -> None:
        """Compare the shapes of weights with those of the network.

        Raises:
            CheckpointError: as `load_weights`.
        """
        expected = self.state_dict()
        missing = sorted(expected.keys() - shapes.keys())
        unexpected = sorted(shapes.keys() - expected.keys())
        wrong = [k for k in expected.keys() & shapes.keys() if tuple(expected[k].shape) != tuple(shapes[k])]
        problems = [
            f"{len(keys)} {word} ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})"
            for keys, word in (
                (missing, "missing"),
                (unexpected, "unexpected"),
                (sorted(wrong), "of another shape"),
            )
            if keys
        ]
        if problems:
            raise CheckpointError(
                f"{source}: the weights do not fit {self.name} in this configuration: {'; '.join(problems)}."
                " Check the model name and the configuration file that came with the weights."
            )


def _numbers(tensor: Tensor) -> str:
    """Return the dtype of a tensor as messages name it."""
    return str(tensor.dtype).removeprefix("torch.")
