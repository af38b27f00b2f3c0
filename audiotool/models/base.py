"""The contract every model keeps: what it declares, and how it is called.

Time is always the last axis. A waveform is (batch, channels, time); a vocoder's input is (batch, n_mels,
frames). Output is (batch, stems * channels, time), stems in the order of `Model.stems`.

A **causal** model implements `step`: chunks of any length go in, whatever is complete comes out, and all it
must remember travels in `state`, an explicit pytree (dicts, lists and tuples of tensors, integers and None).
`state=None` begins a stream; `final=True` says that the stream ends with this chunk and everything still held
must come out. Whole-file inference and training are one call with one chunk, so a streamed result equals a
whole-file one by construction.

A **non-causal** model implements `process` on a whole segment and declares `context`, the input it needs on
either side of a sample; the overlap-add streamer does the rest.

`forward` takes and returns what the published model's does, and serves training and parity.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from audiotool.compat import tree_leaves
from audiotool.configuration import build_config
from audiotool.dsp.level import Level
from audiotool.errors import AudiotoolError, CheckpointError

State = Any
"""A pytree of tensors, integers and None: everything a causal model remembers between chunks."""

MAX_PARAMETERS = 1_000_000_000
"""Of a network: four times the largest published one's here, four gigabytes."""


def measure_level(waveform: Tensor) -> Level[Tensor]:
    """Measure the level of a whole waveform (batch, channels, time)."""
    flat = waveform.flatten(1)
    std = flat.std(dim=1) if flat.shape[1] > 1 else flat.new_zeros(flat.shape[0])
    return Level(*(v.reshape(-1, 1, 1) for v in (std, flat.square().mean(1).sqrt(), flat.mean(1))))


class Model(nn.Module):
    """Base of every published architecture.

    Class attributes:
        name: what recipes and the command line call it.
        takes: kinds of input: "waveform" or "mel", and "enrolment" where it keeps one speaker.
        gives: kinds of output that it can be trained to give, its main one first: "speech" (one cleaner or
            new recording), "stems" (several, which add up or not), "wide-band" (what the input lacks).
        config_class: a frozen dataclass with every hyper-parameter and its published default.
        reference: author, title, venue and year, arXiv number.
        remembers: what the tensors of a state hold, by their place in it: {"layers": "…"} for all under it.
        warmed_up: the places whose tensors `warm_up` carries over.
        small: configuration keys that make a small network of it, for tests and first trials; laid over the
            defaults or a recipe's configuration.

    Instance attributes (set in `__init__`):
        sample_rate: Hz of the output, and of the input where that is a waveform.
        hop_length: input items (samples, or frames for a vocoder) a step naturally consumes; chunks of any
            other length are allowed.
        latency: samples, the algorithm's own; output sample t never depends on input after t + latency. For a
            vocoder, input frame f is taken to arrive as sample f * upsampling.
        delay: samples; what is still inside when whole hops have been fed. A stream of one hop at a time lags
            by delay + hop_length - 1: what is there may have to wait for the rest of its hop.
        causal: True when `step` is implemented.
        upsampling: output samples per input item: 1 for waveforms, the mel hop for vocoders.
        channels: audio channels consumed together; 1 means that channels are processed independently,
            None means any number (a microphone array) mixed down to one.
        stems: names of the outputs; "speaker1", "speaker2", … say that they are interchangeable.
        context: for non-causal models, input items needed (before, after) an item for an exact answer; None
            when unbounded, and the overlap-add streamer cross-fades.
        uses_level: True when the published model normalises by the whole recording's level: files take a
            first pass, live streams a running estimate.
        extends_from_hz: lowest frequency in Hz at which the model adds what a recording lacks, None where it
            adds nothing. `start` then takes the condition `bandwidth_hz`, where the recording's content
            ends: files take a first pass, live streams do without.
        warm_up_seconds: of a recording's beginning, which the model does better to have heard once before.
            `start` then takes the condition `memory`, which `warm_up` gives: files take a first pass, live
            streams do without.
        uses_position: True when `process` takes the condition `position`, the stream's input item its segment
            begins with: models that draw noise or follow a phase continue it from there.
        autoregressive: True when output is computed from earlier output, step by step, whatever the length.
        drain_value: what an input item after a stream's end is, where one is needed: 0 for waveforms.
        rounding: greatest difference that another order of the same sums makes, over the output's peak.
        sequential: True when `process` is thousands of small operations (a scan, a loop over time).
    """

    name: ClassVar[str]
    takes: ClassVar[tuple[str, ...]] = ("waveform",)
    gives: ClassVar[tuple[str, ...]] = ("speech",)
    config_class: ClassVar[type]
    reference: ClassVar[str] = ""
    remembers: ClassVar[dict[str, str]] = {}
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

        Its `outline` is built first: nothing is allocated for a network that is not wanted.

        Args and Raises: as `outline`.
        """
        return cls(cls.outline(values, shapes, source).config)

    @classmethod
    def outline(
        cls,
        values: Mapping[str, Any] | None = None,
        shapes: Mapping[str, Sequence[int]] | None = None,
        source: str = "",
    ) -> Model:
        """Build the model without memory for its weights, to be looked at.

        Args:
            values: fields of the config class that differ from its defaults.
            shapes: of the weights that will be loaded, by name; the network has to have the same.
            source: of the weights, for messages.
        Raises:
            CheckpointError: a key is unknown (the nearest valid one is named), missing or refused, the values
                do not make a network, or one of other shapes or of more than `MAX_PARAMETERS`.
        """
        config: Any = build_config(cls.config_class, values or {}, f"{cls.name}: ")
        try:
            with torch.device("meta"):
                outline = cls(config)
        except AudiotoolError:
            raise
        except Exception as error:  # sizes that do not go together fail wherever they meet
            raise CheckpointError(f"{cls.name}: this configuration makes no network: {error}") from error
        if shapes is not None:
            outline.check_shapes(shapes, source)
        if outline.parameter_count > MAX_PARAMETERS:
            raise CheckpointError(
                f"{cls.name}: this configuration makes a network of {outline.parameter_count} parameters,"
                f" at most {MAX_PARAMETERS} are allowed: take smaller sizes"
            )
        return outline

    def start(self, level: Level[Tensor] | None = None, **conditions: Any) -> State:
        """State at the beginning of a stream.

        Args:
            level: the whole recording's level when it is known; None asks for a running estimate.
            conditions: what else a model may be conditioned on (`bandwidth_hz`, what `enrol` gave).
        """
        return None

    def unknown_conditions(self) -> dict[str, Any]:
        """Values of `start`'s conditions that are as good as none given, for what cannot leave one out."""
        return {}

    def beginning(self) -> State:
        """Those parts of a stream's first state that are not 0, where `start` has None; without a batch."""
        return {}

    def warm_up(self, beginning: Tensor) -> State:
        """What is remembered at the end of a recording's beginning, (B, C, T), for a stream of the recording.

        The condition `memory` of `start`; only where `warm_up_seconds` is not 0.
        """
        raise TypeError(f"{self.name} has no warm-up")

    def forget(self, state: State, rows: Tensor, memory: State = None) -> State:
        """The state with what `warm_up` carries over as it is at a stream's beginning, in rows bool (B,).

        Args:
            memory: of a warm-up, as for `start`; only where `warm_up_seconds` is not 0.
        """
        raise TypeError(f"{self.name} has no warm-up, and forgets nothing")

    def enrol(self, recording: Tensor) -> dict[str, Any]:
        """Encode a recording of the wanted speaker once, for any number of streams.

        Args:
            recording: (1, 1, T) at the model's rate.
        Returns:
            Conditions for `start`.
        Raises:
            CheckpointError: the model does not tell speakers apart by an enrolment.
        """
        raise CheckpointError(
            f"{self.name} takes no enrolment: give a checkpoint of a personalised model, or none"
        )

    def step(self, x: Tensor, state: State = None, final: bool = False) -> tuple[Tensor, State]:
        """Consume one chunk and return what is complete, with the state for the next one.

        Args:
            x: (B, C, T) for any T >= 0.
            state: from `start` or the previous step; None begins a stream.
            final: the stream ends after x; everything still held is emitted and the state is spent.
        Returns:
            (B, stems * C, T') with T' >= 0, and the new state. Over a stream the outputs sum to at least
            `output_length(total input)`; the streamer cuts what is beyond.
        """
        raise TypeError(f"{self.name} looks ahead without bound and is streamed by overlap-add")

    def drain(self, state: State) -> Tensor:
        """Return the tail that look-ahead and overlap still hold; the stream ends here."""
        return self.step(self.empty_input(state), state, final=True)[0]

    def empty_input(self, state: State) -> Tensor:
        """An input of length zero that fits `state`'s batch size, device and type."""
        reference = next(self.parameters())
        leaves = [t for t in tree_leaves(state) if isinstance(t, Tensor) and t.dim() > 0]
        batch = leaves[0].shape[0] if leaves else 1
        return reference.new_zeros(batch, self.input_channels, 0)

    @property
    def input_channels(self) -> int:
        """Size of the input's second axis: audio channels, or a vocoder's features."""
        return self.channels or 1

    def process(self, x: Tensor, **conditions: Any) -> Tensor:
        """Run a whole segment (B, C, T) -> (B, stems * C, output_length(T)).

        Conditions are those of `start`. Causal models need not override this.
        """
        y, _ = self.step(x, self.start(**conditions), final=True)
        return y[..., : self.output_length(x.shape[-1])]

    def training_outputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the losses look at for one training batch.

        Args:
            batch: "input" (B, C, T), "target" (B, stems * C, T'), and what else the task's examples hold.
        Returns:
            "estimate", shaped as the target, and whatever a model's own published loss needs beside it
            (spectra, log-determinants). Models whose training differs from inference override this.
        """
        return {"estimate": self.process(batch["input"], **self._measured(batch["input"]))}

    @property
    def warm_up_samples(self) -> int:
        """`warm_up_seconds` at the model's rate."""
        return math.ceil(self.warm_up_seconds * self.sample_rate)

    def warmed_up_outputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """As `training_outputs`, begun after a warm-up, as files are.

        Nothing is learnt from the warm-up itself, only from what is done with its memory.
        """
        x = batch["input"]
        with torch.no_grad():
            memory = self.warm_up(x[..., : self.warm_up_samples])
        return {"estimate": self.process(x, memory=memory, **self._measured(x))}

    def _measured(self, x: Tensor) -> dict[str, Any]:
        return {"level": measure_level(x)} if self.uses_level else {}

    def output_length(self, length: int) -> int:
        """Output samples that belong to `length` input items."""
        return length * self.upsampling

    @property
    def delay(self) -> int:
        """Output samples that are still inside when whole hops have been fed.

        A model of frames gives whole hops: the last frame that has ended completes one.
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
            CheckpointError: keys are missing or unexpected, a shape or the kind of number differs, or values
                are not finite; `source` is named.
        """
        self.check_shapes({key: tensor.shape for key, tensor in tensors.items()}, source)
        self._check_values(tensors, source)
        self.load_state_dict(tensors, strict=True)

    def _check_values(self, tensors: Mapping[str, Tensor], source: str) -> None:
        for key, own in self.state_dict().items():
            found = tensors[key]
            if (found.is_floating_point(), found.is_complex()) != (own.is_floating_point(), own.is_complex()):
                raise CheckpointError(
                    f"{source}: the weight {key} holds {_numbers(found)} where {self.name} has"
                    f" {_numbers(own)}: it is damaged; get it again"
                )
            if not found.to(own.dtype).isfinite().all():
                raise CheckpointError(
                    f"{source}: the weight {key} holds NaN or infinity: it is damaged, or comes from a"
                    " training that failed; take an earlier one"
                )

    def check_shapes(self, shapes: Mapping[str, Sequence[int]], source: str) -> None:
        """Compare the shapes of weights with the network's own.

        Raises:
            CheckpointError: as `load_weights`.
        """
        own = self.state_dict()
        missing = sorted(own.keys() - shapes.keys())
        unexpected = sorted(shapes.keys() - own.keys())
        wrong = [k for k in own.keys() & shapes.keys() if tuple(own[k].shape) != tuple(shapes[k])]
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
    """The type of a tensor's numbers, as messages name it."""
    return str(tensor.dtype).removeprefix("torch.")
