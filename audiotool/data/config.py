"""Sections of a recipe: `audio` (the model's input) and `data` (the training data).

Units are in the names: `_db` decibels, `_dbfs` decibels relative to full scale, `_ms` milliseconds, `_hz`
hertz, `_seconds`; a `_probability` is 0 to 1, and a range is [least, most], drawn from uniformly.
"""

from __future__ import annotations

import os
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from audiotool.errors import RecipeError

Kind = Literal["speech", "noise", "rir", "pairs"]
Split = Literal["train", "valid", "test"]
SCAN_PAIRS = "audiotool data scan NOISY --targets CLEAN -o pairs.csv"
SyntheticKind = Literal[
    "coloured", "hum", "engine", "wind", "clicks", "texture", "bursts", "water", "calls", "notes"
]


# As in `value_types`: neither "16" nor true is a number, nor 16.0 an integer.
Integer = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True)]
Boolean = Annotated[bool, Field(strict=True)]
Probability = Annotated[Number, Field(ge=0, le=1)]


def _pair(value: Any) -> Any:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError("a range is [least, most]")
    return value


def _ascending(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError("a range is [least, most]")
    return value


# The limits of ranges are far beyond what is of use, and within what can be computed.
_Moderate = Annotated[Number, Field(ge=-200, le=200)]
_Positive = Annotated[Number, Field(ge=1e-3, le=1e6)]
_Factor = Annotated[Number, Field(ge=0.1, le=10)]
_Reach = Annotated[Number, Field(ge=0, le=40)]
_Few = Annotated[Integer, Field(ge=1, le=1000)]
_Depth = Annotated[Number, Field(ge=0, le=200)]
_Level = Annotated[Number, Field(ge=-200, le=0)]
_Hertz = Annotated[Number, Field(ge=20, le=1e6)]
_Part = Annotated[Number, Field(ge=0.1, le=1)]
_Decay = Annotated[Number, Field(ge=0.01, le=20)]
_Value = TypeVar("_Value", bound=float)
_Span = Annotated[tuple[_Value, _Value], BeforeValidator(_pair), AfterValidator(_ascending)]
Range = _Span[_Moderate]
PositiveRange = _Span[_Positive]
FactorRange = _Span[_Factor]
Count = _Span[_Few]

Seconds = Annotated[Number, Field(ge=0.01, le=3600)]
"""Length of a recording."""

Seed = Annotated[Integer, Field(ge=0, lt=2**63)]


class Section(BaseModel):
    """A section of a recipe: unknown keys are errors, values are finite and do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class AudioConfig(Section):
    """Input and output of the model, key `audio`."""

    sample_rate: Integer = Field(16000, ge=4000, le=192000, description="Hz of input and target")
    segment_seconds: Seconds | None = Field(
        4.0, description="length of a training example; null takes whole recordings (batch size 1)"
    )
    channels: Integer = Field(1, ge=1, le=16, description="audio channels of the input")
    mel: str | dict[str, Any] | None = Field(
        None, description="mel preset or its parameters, for examples whose input is a mel spectrogram"
    )


def _parts_of_one(*keys: str) -> Any:
    """Return a check of probabilities that one draw decides between: together they are at most 1.

    A first one of 1 is always, whatever the others are by default.
    """

    def check(section: BaseModel) -> BaseModel:
        values = [float(attrgetter(key)(section)) for key in keys]
        if values[0] < 1 < sum(values) - 1e-9:
            given = " and ".join(f"{key} {value:g}" for key, value in zip(keys, values, strict=True))
            raise ValueError(f"{given} are shares of one whole: together they are more than 1")
        return section

    return model_validator(mode="after")(check)


def _instead(section: type[Section], name: str, default: Any) -> Any:
    """Return a field that a section inherits, with another default."""
    return Field(default, description=section.model_fields[name].description)


class SyntheticConfig(Section):
    """Noises computed instead of recorded."""

    probability: Probability = Field(
        0.15, description="that a noise is synthetic, and not recorded or babble"
    )
    kinds: list[SyntheticKind] = Field(
        list(get_args(SyntheticKind)), min_length=1, description="drawn from equally"
    )


class MixingConfig(Section):
    """Mixing of speech, noise and rooms to one noisy recording. Lead-ins, islands, level jumps and clean
    recordings are of examples "noisy" alone; a training warns of keys that its examples do not use."""

    snr_db: Range = Field((-5.0, 30.0), description="active speech level over active noise level, decibels")
    noises: Count = Field((1, 3), description="noises at once")
    level_dbfs: _Span[_Level] = Field(
        (-45.0, -10.0),
        description="active level of the noisy recording, before the low-pass of `narrow_band`",
    )
    reverberation_probability: Probability = Field(
        0.4, description="that speech is heard in a room; needs rir"
    )
    reverberation_target: Literal["early", "reverberant", "dry"] = Field(
        "early", description="what the model is to return: direct sound and first reflections, all, or none"
    )
    early_ms: Number = Field(
        50.0, ge=0, le=500, description="reflections after the direct sound that are early; 0: none are"
    )
    noise_only_probability: Probability = Field(
        0.04, description="that there is no speech; the target is zero"
    )
    clean_only_probability: Probability = Field(
        0.06, description="that there is no noise; input equals target"
    )
    babble_probability: Probability = Field(0.1, description="that a noise is made of other speakers' speech")
    babble_voices: Count = Field((3, 9), description="voices in a babble")
    envelope_db: _Reach = Field(8.0, description="how far a noise's level wanders either way")
    noise_reverberation_probability: Probability = Field(
        0.0, description="that a recorded noise is heard in a room; needs rir"
    )
    lead_in_probability: Probability = Field(
        0.0, description="that a recording begins before anybody speaks, and most often quietly"
    )
    lead_in_seconds: PositiveRange = Field((0.5, 3.0), description="until somebody speaks")
    lead_in_db: _Span[_Depth] = Field(
        (0.0, 60.0), description="how far the noise lies lower until then; one in three is digital silence"
    )
    island_probability: Probability = Field(
        0.0,
        description="that words stand alone between digital silence, half of the time without noise",
    )
    island_seconds: PositiveRange = Field((0.15, 1.0), description="length of a word that stands alone")
    island_pause_seconds: PositiveRange = Field((0.3, 2.5), description="silence before each of them")
    level_jump_probability: Probability = Field(
        0.0, description="that the level of the whole recording changes once, at once"
    )
    level_jump_db: _Reach = Field(12.0, description="how far it jumps, either way")
    synthetic: SyntheticConfig = Field(
        default_factory=SyntheticConfig, description="noises that are computed"
    )

    _shares_of_examples = _parts_of_one("noise_only_probability", "clean_only_probability")
    _shares_of_noises = _parts_of_one("synthetic.probability", "babble_probability")


class EvaluationSyntheticConfig(SyntheticConfig):
    """Computed noises of validation and test examples: none, unless asked for."""

    probability: Probability = _instead(SyntheticConfig, "probability", 0.0)


class EvaluationConfig(MixingConfig):
    """Mixing of validation and test examples: speech and one recorded noise, without rooms."""

    snr_db: Range = _instead(MixingConfig, "snr_db", (0.0, 15.0))
    noises: Count = _instead(MixingConfig, "noises", (1, 1))
    level_dbfs: _Span[_Level] = _instead(MixingConfig, "level_dbfs", (-30.0, -20.0))
    reverberation_probability: Probability = _instead(MixingConfig, "reverberation_probability", 0.0)
    noise_only_probability: Probability = _instead(MixingConfig, "noise_only_probability", 0.0)
    clean_only_probability: Probability = _instead(MixingConfig, "clean_only_probability", 0.0)
    babble_probability: Probability = _instead(MixingConfig, "babble_probability", 0.0)
    envelope_db: _Reach = _instead(MixingConfig, "envelope_db", 0.0)
    synthetic: EvaluationSyntheticConfig = Field(
        default_factory=EvaluationSyntheticConfig, description="noises that are computed"
    )


class AugmentationConfig(Section):
    """Random changes of recordings, applied to the training split only. Band limits are of examples "noisy"
    alone; clipping, codecs and packet loss of "noisy" and "enrolment"."""

    speed_probability: Probability = Field(
        0.5, description="that speech is resampled; pitch moves with speed"
    )
    speed: FactorRange = Field((0.85, 1.18), description="factor of speed and pitch of speech")
    formant_probability: Probability = Field(
        0.0, description="that the resonances of a voice move while its pitch and pace stay"
    )
    formants: FactorRange = Field((0.85, 1.18), description="factor of the frequencies of its resonances")
    noise_speed: FactorRange = Field(
        (0.7, 1.4), description="factor of speed and pitch of noise, half the time"
    )
    equalisation_probability: Probability = Field(0.5, description="that speech, or a noise, is equalised")
    equalisation_db: Number = Field(
        8.0, ge=0, le=30, description="largest gain of a shelf or bell, either way"
    )
    band_limit_probability: Probability = Field(
        0.1, description="that noisy and target both pass a narrower microphone or line"
    )
    match_bandwidth: Boolean = Field(
        False,
        description="no noise above where a manifest's bandwidth_hz says that the speech ends",
    )
    low_pass_hz: _Span[_Hertz] = Field((3000.0, 7500.0), description="upper edge of a band limit")
    high_pass_hz: _Span[_Hertz] = Field((50.0, 300.0), description="lower edge of a band limit")
    clipping_probability: Probability = Field(0.03, description="that the noisy recording is overdriven")
    clipping_db: _Span[_Depth] = Field(
        (3.0, 12.0), description="how far its peak would go over the clipping point"
    )
    codec_probability: Probability = Field(0.05, description="that it went through a coarse codec")
    packet_loss_probability: Probability = Field(0.02, description="that it has gaps")
    packet_loss_ms: PositiveRange = Field((10.0, 60.0), description="length of a gap; 1 to 3 gaps a second")


class NarrowBandConfig(Section):
    """Input of super-resolution."""

    source_rate: Integer = Field(
        8000, ge=2000, description="Hz; half of it is the highest frequency of the input"
    )
    roll_off: _Span[_Part] = Field((0.85, 1.0), description="edge of the random low-pass, as part of that")
    bandwidth_hz: _Span[_Hertz] | None = Field(
        None,
        description="Hz; in place of half of source_rate each example draws its own, and the model is told",
    )
    noise_probability: Probability = Field(
        0.0, description="that an input of training is noisy, at mixing.snr_db; the target is not"
    )


class MixtureConfig(Section):
    """Several speakers at once, for separation."""

    speakers: Integer = Field(2, ge=2, le=5, description="voices in a mixture, all different")
    level_difference_db: Number = Field(
        5.0, ge=0, le=30, description="how far their levels differ, either way"
    )
    overlap: _Span[Probability] = Field(
        (0.6, 1.0), description="part of the segment in which each voice may speak"
    )
    noise_probability: Probability = Field(0.0, description="that noise is added, at mixing.snr_db")
    single_probability: Probability = Field(
        0.0, description="that the first voice speaks alone; the targets of the others are zero"
    )
    pause_probability: Probability = Field(0.0, description="that a voice is silent for a while midway")
    pause_seconds: PositiveRange = Field((0.5, 4.0), description="length of that pause")


class EnrolmentConfig(Section):
    """Examples of personalised denoising."""

    seconds: Seconds = Field(5.0, description="length of the enrolment recording")
    competitor_probability: Probability = Field(0.6, description="that somebody else speaks too")
    competitor_db: Range = Field((-5.0, 10.0), description="target speaker's level over the other's")


class ArrayConfig(Section):
    """A simulated microphone array."""

    radius: Number = Field(
        0.05, gt=0, le=1, description="metres from the centre to each of audio.channels microphones"
    )
    geometry: Literal["circle", "line"] = Field("circle", description="how the microphones stand")
    rt60_seconds: _Span[_Decay] = Field((0.15, 0.7), description="reverberation time of the rooms")


class DataConfig(Section):
    """Everything a recipe says about its data, key `data`.

    `speech`, `noise` and `rir` name manifests (CSV) or folders; the folders of a key are scanned, and split
    together by speaker or file. `pairs` names manifests, because a folder does not say which files are
    targets. One manifest may serve several keys: rows are chosen by their `kind`. Paths are looked up in
    `root` when it is given, else beside the recipe, else in the current folder.
    """

    root: Path | None = Field(
        None, description="folder that relative paths start from; in --set it starts from the current folder"
    )
    speech: list[Path] = Field([], description="manifests or folders of clean speech")
    noise: list[Path] = Field([], description="manifests or folders of noise and music")
    rir: list[Path] = Field([], description="manifests or folders of room impulse responses")
    pairs: list[Path] = Field(
        [],
        description="manifests of noisy recordings and targets (data scan --targets, data mix, data prepare)",
    )
    pairs_probability: Probability = Field(
        0.5, description="share of paired examples where speech is given too"
    )
    example: str | None = Field(
        None,
        description="kind of training pair; null: the task's own (enrolment and array are asked for here)",
    )
    exclude: list[str] = Field(
        [], description="rows left out: shell patterns of path, speaker, class, source or licence"
    )
    splits: dict[Split, list[str]] = Field(
        {"train": ["train"], "valid": ["valid"], "test": ["test"]},
        description="which values of a manifest's split column serve training, validation and test",
    )
    speech_minimum_rate: Integer | None = Field(
        None, ge=0, description="Hz; speech recorded at less is left out; null: audio.sample_rate"
    )
    noise_minimum_rate: Integer = Field(0, ge=0, description="Hz; noise recorded at less is left out")
    balance: Number = Field(
        0.5,
        ge=0,
        le=1,
        description="0: each hour of sound counts alike; 1: each speaker and noise class does",
    )
    mixing: MixingConfig = Field(default_factory=MixingConfig, description="of training examples")
    evaluation: EvaluationConfig = Field(
        default_factory=EvaluationConfig, description="of validation and test examples"
    )
    augmentation: AugmentationConfig = Field(
        default_factory=AugmentationConfig, description="random changes of training examples"
    )
    narrow_band: NarrowBandConfig = Field(
        default_factory=NarrowBandConfig, description="input of super-resolution"
    )
    mixture: MixtureConfig = Field(
        default_factory=MixtureConfig, description="several speakers at once, for separation"
    )
    enrolment: EnrolmentConfig = Field(
        default_factory=EnrolmentConfig, description="of personalised denoising"
    )
    array: ArrayConfig = Field(default_factory=ArrayConfig, description="a simulated microphone array")
    seed: Seed = Field(0, description="example i of a split is the same whenever seed and recipe are")
    workers: Integer = Field(1, ge=0, description="loader processes; 0 mixes in the training process")
    cache: Path | None = Field(
        None, description="folder of decoded audio; null: $XDG_CACHE_HOME/audiotool or ~/.cache/audiotool"
    )
    decode_once: Boolean = Field(
        True,
        description="keep decoded audio (115 MB an hour at 16 kHz); false reads files as they are needed",
    )

    def located(self, folder: Path) -> DataConfig:
        """Return the section with absolute paths, which do not depend on the current folder.

        Args:
            folder: folder of the recipe.
        Raises:
            RecipeError: a manifest or folder does not exist, or pairs are a folder; the message names its
                key.
        """
        root = (_first(Path(self.root), folder) or Path(self.root).resolve()) if self.root else None
        found: dict[str, Any] = {"root": root, "cache": cache_folder(self)}
        for key in get_args(Kind):
            found[key] = [self._find(path, key, i, root, folder) for i, path in enumerate(getattr(self, key))]
        return self.model_copy(update=found)

    def anchored(self, located: DataConfig) -> DataConfig:
        """Return the section for any current folder: with an absolute root, or absolute paths without one.

        Args:
            located: result of `located`.
        """
        keys = list(get_args(Kind)) if self.root is None else ["root"]
        if self.cache is not None:
            keys.append("cache")
        return self.model_copy(update={key: getattr(located, key) for key in keys})

    @staticmethod
    def _find(path: Path, key: str, index: int, root: Path | None, folder: Path) -> Path:
        path = path.expanduser()
        place = (root / path if (root / path).exists() else None) if root else _first(path, folder)
        if place is None:
            scan = SCAN_PAIRS if key == "pairs" else "audiotool data scan"
            where = root or f"{folder.resolve()} and {Path.cwd()}"
            raise RecipeError(
                f"data.{key}[{index}]: no manifest or folder '{path}' in {where}: correct the path, set"
                f" data.root, or make the manifest with `{scan}`"
            )
        if key == "pairs" and place.is_dir():
            raise RecipeError(
                f"data.pairs[{index}]: {path} is a folder, which does not say which files are targets:"
                f" make a manifest with `{SCAN_PAIRS}`"
            )
        return place.resolve()


def _first(path: Path, folder: Path) -> Path | None:
    return next((p.resolve() for p in (folder / path, path) if p.exists()), None)


def cache_folder(data: DataConfig) -> Path:
    """Return the folder of decoded audio."""
    if data.cache is not None:
        return Path(data.cache).expanduser().resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "audiotool"
