"""One stream of audio through a model: any sample rate, any channels, any block sizes, aligned output.

    input ── to model rate ── fold channels ── streamer ── unfold ── back to the input's rate ── mix ── output

`feed` takes a block and returns the output that is ready; `flush` returns the tail. Blocks are numpy float32
(channels, time). A session that an exception has interrupted within a block, as Ctrl-C does, holds a part of
it, and goes on only after `reset` or `restore`. So does one that has refused a state: it may hold a part of
that.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import numbers
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from audiotool.arrays import Block
from audiotool.audio.channels import fold, unfold
from audiotool.engines.base import Engine
from audiotool.errors import StreamError
from audiotool.streaming.carried import DAMAGED, Carrier, Value
from audiotool.streaming.make import make_streamer
from audiotool.streaming.queue import SampleQueue
from audiotool.streaming.resample import StreamingResampler
from audiotool.streaming.shared_masks import SharedMasks, are_separated_together
from audiotool.streaming.streamer import CausalStreamer
from audiotool.streaming.upper_band import RemovalGain
from audiotool.value_types import quote

INTERRUPTED = (
    "this stream was interrupted within a block, or has refused a state: begin anew, or from the last state()"
)

LONGEST_CHUNK_SECONDS = 3600.0
"""Greatest `chunk_seconds`. Longer chunks are not faster and take more memory."""


@dataclass(frozen=True)
class Settings:
    """The options of a stream.

    Args:
        chunk_seconds: input of one model step in seconds; None is one hop for causal models.
        mix: 1 is the model's output alone, 0 the input alone, aligned.
        max_attenuation_db: greatest attenuation A in dB: the output is e + 10^(-A/20) (input - e), e the
            model's output.
        output_rate: Hz of the output, a whole number; None keeps the input's (but see `widens`).
        bandwidth_hz: bandwidth of the input in Hz, for models that extend it; if None, that of files and
            arrays is measured, and in live streams the model estimates it.
        upper_band: keep the input's frequencies above the model's band, with the gain that the model had on
            the frequencies below. A model of a higher rate than the input's has none above its band; the
            resampler removes what lies above 92 % of the input's own band.
        follow_removal: False keeps the whole upper band at gain 1, for models that remove nothing.
        warm_up: run the model over the recording's first seconds before its stream begins, if the model
            declares `warm_up_seconds`. Live streams and pipes never do.
        widens: the output may have a wider band than the input. Its rate is at least the model's. The
            input's frequencies are kept as they are, those up to 92 % of its band where the rate is higher.
    Raises:
        StreamError: a value is of another type, or out of range.
    """

    chunk_seconds: float | None = None
    mix: float = 1.0
    max_attenuation_db: float | None = None
    output_rate: int | None = None
    bandwidth_hz: float | None = None
    upper_band: bool = True
    follow_removal: bool = True
    warm_up: bool = True
    widens: bool = False

    def __post_init__(self) -> None:
        # As Python's own types: numpy's integers wrap around (-np.uint8(12) is 244), and JSON takes none.
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is None and field.default is None:
                continue
            if isinstance(field.default, bool):
                if not isinstance(value, bool | np.bool_):
                    raise StreamError(f"{field.name} is True or False, got {quote(value)}")
                object.__setattr__(self, field.name, bool(value))
                continue
            number = math.nan
            if isinstance(value, numbers.Real) and not isinstance(value, bool):
                with contextlib.suppress(OverflowError):
                    number = float(value)
            if not math.isfinite(number):
                raise StreamError(f"{field.name} is a number, got {quote(value)}")
            object.__setattr__(self, field.name, number)
        if not 0.0 <= self.mix <= 1.0:
            raise StreamError(f"mix is from 0 (input) to 1 (output), got {self.mix}")
        if (rate := self.output_rate) is not None:
            if rate < 1 or rate != int(rate):
                raise StreamError(f"output_rate is in Hz, a whole number above 0, got {rate:g}")
            object.__setattr__(self, "output_rate", int(rate))
        if self.bandwidth_hz is not None and not self.bandwidth_hz > 0:
            raise StreamError(f"a bandwidth is in Hz and above 0, got {self.bandwidth_hz}")
        if self.max_attenuation_db is not None and not self.max_attenuation_db >= 0.0:
            raise StreamError(
                f"the greatest attenuation is in dB and not negative, got {self.max_attenuation_db}"
            )
        if self.chunk_seconds is not None and not 0.0 < self.chunk_seconds <= LONGEST_CHUNK_SECONDS:
            raise StreamError(
                f"a chunk lasts longer than 0 s and at most {LONGEST_CHUNK_SECONDS:g} s,"
                f" got {self.chunk_seconds}"
            )

    @staticmethod
    def expect(value: object) -> None:
        """Check the type of settings that a caller gives.

        Raises:
            StreamError: they are no `Settings`.
        """
        if not isinstance(value, Settings):
            raise StreamError(f"settings are a Settings, got {quote(value)}")

    def rate_for(self, sample_rate: int, model_rate: int) -> int:
        """Return the output's sample rate in Hz for the input's and the model's."""
        kept = max(sample_rate, model_rate) if self.widens else sample_rate
        return self.output_rate or kept


CHANGEABLE = ("mix", "max_attenuation_db")
"""Settings that may change during a stream, numbers; `serve` takes them as parameters, without their unit."""

GLIDE_SECONDS = 0.02
"""Time in which the input's share of the output goes from 0 to 1 when settings change; smaller changes take
less."""


class Output(NamedTuple):
    """Output of a stream that is ready.

    Args:
        stems: (stems, channels, time), at the output's rate.
        dry: (channels, time), the input over the same time; empty where the output has another sample rate.
    """

    stems: Block
    dry: Block


class Session(Carrier):
    """One stream of audio through one model.

    Args:
        engine: runs the model.
        sample_rate: Hz of the input.
        channels: number of channels of the input.
        settings: chunking and mixing.
        conditions: arguments of `Engine.start`: results of a first pass, an enrolment.
    Raises:
        StreamError: the model takes features, or `mix` or `max_attenuation_db` is set and the output has
            another sample rate.
    """

    carries = (
        *("_fed", "_wet", "_dry", "_low", "_gain", "_share", "_shares", "_masks", "_down", "_up", "_back"),
        "streamer",
    )
    _within_block: bool

    def __init__(
        self,
        engine: Engine,
        sample_rate: int,
        channels: int,
        settings: Settings | None = None,
        **conditions: Any,
    ) -> None:
        if engine.upsampling != 1:
            raise StreamError(f"{engine.name} takes features, not a waveform: use make_streamer on them")
        self.engine = engine
        self.sample_rate = sample_rate
        self.channels = channels
        self._settings = settings or Settings()
        self.output_rate = self.settings.rate_for(sample_rate, engine.sample_rate)
        self.output_channels = 1 if engine.channels is None else channels
        chunk = self.settings.chunk_seconds
        items = None if chunk is None else max(1, round(chunk * engine.sample_rate))
        self.streamer = make_streamer(engine, items, **conditions)
        self._down = StreamingResampler(sample_rate, engine.sample_rate, channels)
        stems = len(engine.stems)
        self._up = StreamingResampler(engine.sample_rate, self.output_rate, stems * self.output_channels)
        self._keeps_rate = self.output_rate == sample_rate
        # A model that widens the band also restores the band's edge, which the two resamplers remove.
        has_other_band = sample_rate > engine.sample_rate or (
            self.settings.widens and sample_rate != engine.sample_rate
        )
        self._has_upper_band = self.settings.upper_band and self._keeps_rate and has_other_band
        self._back = StreamingResampler(engine.sample_rate, sample_rate, self.output_channels)
        self._check_mixing(self.settings)
        self._begin()

    @property
    def settings(self) -> Settings:
        """The stream's options. `mix` and `max_attenuation_db` may be changed, for the samples fed after it.

        A running stream moves to the new values within 20 ms, because a jump is a click.

        Raises:
            StreamError: another option is changed, or the output has another sample rate than the input.
        """
        return self._settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        Settings.expect(settings)
        for field in dataclasses.fields(Settings):
            changed = getattr(settings, field.name) != getattr(self._settings, field.name)
            if changed and field.name not in CHANGEABLE:
                raise StreamError(
                    f"{field.name} is settled when a stream begins: only {' and '.join(CHANGEABLE)} may"
                    " change later"
                )
        self._check_mixing(settings)
        self._settings = settings

    @property
    def latency(self) -> int:
        """Greatest lag of the output behind the input, in input samples: algorithm, hop, resampling and masks
        of shared channels together."""
        to_input = self.sample_rate / self.engine.sample_rate
        at_model = self._down.lag + self.streamer.latency + self._lag_of_masks
        return math.ceil(at_model * to_input + self._up.lag * self.sample_rate / self.output_rate)

    @property
    def _lag_of_masks(self) -> int:
        """Greatest lag that the masks of shared channels add, in samples at the model's rate."""
        if self._masks is None:
            return 0
        if isinstance(self.streamer, CausalStreamer):
            return self._masks.latency_behind(self.streamer.chunk, self.engine.lead - self.engine.delay)
        return self._masks.latency

    def _check_mixing(self, settings: Settings) -> None:
        mixes = settings.mix < 1.0 or settings.max_attenuation_db is not None
        if mixes and not self._keeps_rate:
            raise StreamError(
                f"mix and max_attenuation need an input of the output's sample rate, {self.output_rate} Hz:"
                " leave them out, or resample it"
            )

    @property
    def is_interrupted(self) -> bool:
        """Whether an exception has left a part of a block, or of another state, in the state."""
        return self._within_block

    def begin_block(self) -> None:
        """Call the stream interrupted until `end_block`, because its state changes in between.

        Raises:
            StreamError: it was interrupted before.
        """
        if self._within_block:
            raise StreamError(INTERRUPTED)
        self._within_block = True

    def end_block(self) -> None:
        """The state is that after a whole block."""
        self._within_block = False

    def state(self) -> Value:
        if self._within_block:
            raise StreamError(INTERRUPTED)
        return super().state()

    def restore(self, state: Value) -> None:
        """Continue from the state of a session with the same engine, sample rate, channels and settings.

        Raises:
            StreamError: the state is of another kind of session, or damaged.
        """
        self._within_block = True  # a state that is refused may have been taken in part
        try:
            super().restore(state)
            # One step checks a state from outside as a whole. Then the state is restored again.
            self._push(np.zeros((self.channels, self._step_length), np.float32))
            self._pull()
            super().restore(state)
        except StreamError:
            raise
        except Exception as error:  # a manipulated state may fail anywhere
            raise StreamError(DAMAGED) from error
        self.end_block()

    @property
    def model_shape(self) -> tuple[int, int]:
        """(batch, channels) of the model's input: a model of one channel has the stream's channels as rows of
        the batch, or their mix."""
        silence = np.zeros((1 if self._masks else self.channels, 1), np.float32)
        batch, channels, _ = fold(silence, self.engine.channels).shape
        return batch, channels

    @property
    def _step_length(self) -> int:
        """Input samples until a causal model's next step."""
        streamer = self.streamer
        items = streamer.step_length if isinstance(streamer, CausalStreamer) else self.engine.hop_length
        return math.ceil(items * self.sample_rate / self.engine.sample_rate)

    def reset(self) -> None:
        """Drop all state; the next `feed` begins a new stream."""
        for part in (self.streamer, self._down, self._up, self._back):
            part.reset()
        self._begin()

    def _begin(self) -> None:
        stems = len(self.engine.stems)
        self._within_block = False
        self._fed = 0
        self._wet = SampleQueue(stems, self.output_channels)
        self._dry = SampleQueue(self.output_channels)
        self._low = SampleQueue(self.output_channels)
        self._gain = RemovalGain(self.sample_rate, stems, self.output_channels)
        # The input's share of the last sample that was fed; None before the first. `_shares` has those of the
        # samples whose output is not ready yet.
        self._share: float | None = None
        self._shares = SampleQueue()
        together = are_separated_together(self.engine, self.channels)
        self._masks = SharedMasks(self.engine.sample_rate, stems, self.channels) if together else None

    def feed(self, block: Block) -> Output:
        """Consume (channels, time), any time >= 0, and return the output that is ready.

        Raises:
            StreamError: the channels differ from the session's, or the stream has ended or was interrupted.
        """
        self._accept(block)
        self._push(block)
        output = self._pull()
        self.end_block()
        return output

    def push(self, block: Block) -> None:
        """Consume a block as `feed` does; `pull` returns the output.

        Raises:
            StreamError: as `feed`.
        """
        self._accept(block)
        self._push(block)
        self.end_block()

    def _accept(self, block: Block) -> None:
        if block.ndim != 2 or block.shape[0] != self.channels:
            raise StreamError(f"this stream has blocks ({self.channels}, time), got {block.shape}")
        self.streamer.check_open()
        self.begin_block()

    def _push(self, block: Block) -> None:
        self._fed += block.shape[-1]
        if self._keeps_rate and block.shape[-1]:
            self._dry.push(np.array(self._reference(block), dtype=np.float32))
            self._shares.push(self._glide(_input_share(self.settings), block.shape[-1]))
        at_model = self._down.feed(block)
        if self._has_upper_band:
            self._low.push(self._back.feed(self._reference(at_model)))
        self._wet.push(self._resampled(self._through_model(at_model)))

    def receive(self, output: Block) -> None:
        """Add the output (B, stems * C, T) of a model step that another object has made, between
        `begin_block` and `end_block`."""
        self._wet.push(self._resampled(self._unfold(output)))

    def flush(self) -> Output:
        """End the stream and return its tail. All outputs together are as long as the input.

        Raises:
            StreamError: the stream has ended, or was interrupted.
        """
        self.streamer.check_open()
        self.begin_block()
        at_model = self._down.flush()
        wet = [self._through_model(at_model), self._unfold(self.streamer.flush())]
        if self._masks:
            wet.append(self._masks.flush())
        length = -(-self._fed * self.output_rate // self.sample_rate)
        if self._has_upper_band:
            self._low.push(self._back.feed(self._reference(at_model)))
            self._low.push(self._back.flush(length))
        for part in wet:
            self._wet.push(self._resampled(part))
        self._wet.push(self._by_stem(self._up.flush(length)))
        output = self._pull()
        self.end_block()
        return output

    def _through_model(self, at_model: Block) -> Block:
        # A copy: samples that do not fill a step wait here, and the caller may reuse the block's memory.
        block = np.array(at_model, dtype=np.float32, order="C")
        if self._masks:
            block = self._masks.mix(block)
        return self._unfold(self.streamer.feed(fold(block, self.engine.channels)))

    def _unfold(self, output: Block) -> Block:
        channels = 1 if self._masks else self.output_channels
        signals = unfold(output, len(self.engine.stems), channels).astype(np.float32, copy=False)
        return self._masks.feed(signals) if self._masks else signals

    def _resampled(self, wet: Block) -> Block:
        rows = len(wet) * self.output_channels
        return self._by_stem(self._up.feed(wet.reshape(rows, wet.shape[-1])))

    def _by_stem(self, rows: Block) -> Block:
        return rows.reshape(len(self.engine.stems), self.output_channels, rows.shape[-1])

    def _reference(self, block: Block) -> Block:
        """Return the input channels that correspond to the output's: of a microphone array the first."""
        return block[: self.output_channels]

    def pull(self) -> Output:
        """Return the output that is ready: as many samples as model, input and upper band all have.

        Raises:
            StreamError: the stream was interrupted.
        """
        self.begin_block()
        output = self._pull()
        self.end_block()
        return output

    def _pull(self) -> Output:
        length = min(self._wet.length, self._dry.length) if self._keeps_rate else self._wet.length
        if self._has_upper_band:
            length = min(length, self._low.length)
        wet = self._wet.pop(length)
        if not self._keeps_rate:
            return Output(wet, np.zeros((self.output_channels, 0), np.float32))
        dry, share = self._dry.pop(length), self._shares.pop(length)
        if not length:
            # Most blocks of a live stream complete no hop and should cost little.
            return Output(wet, dry)
        if self._has_upper_band:
            low = self._low.pop(length)
            if self.settings.follow_removal:
                wet = wet + self._gain.feed(low, wet) * (dry - low)
            else:
                # In this order the output is the input, to the bit, where the model changes nothing.
                wet = dry + (wet - low)
        if share.any():
            wet = (1 - share) * wet + share * dry
        return Output(wet, dry)

    def _glide(self, aim: float, length: int) -> Block:
        """Return the input's shares of the next samples, (length,), length > 0."""
        if (held := self._share) is None or held == aim:
            self._share = aim
            return np.full(length, aim, np.float32)
        away = np.arange(1, length + 1) / (GLIDE_SECONDS * self.sample_rate)
        path = np.clip(aim, held - away, held + away)
        self._share = float(path[-1])
        return path.astype(np.float32)


def _input_share(settings: Settings) -> float:
    """Return the share of the input in the output, 0 to 1, by `mix` and `max_attenuation_db`."""
    limit = settings.max_attenuation_db
    return 1.0 - settings.mix * (1.0 - (0.0 if limit is None else 10 ** (-limit / 20)))
