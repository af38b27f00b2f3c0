"""Containers and sample formats, and the choice of an output's.

Plans need the endings of names; libsndfile is asked, and imported, where that does not answer.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

from audiotool import extras
from audiotool.errors import InputError
from audiotool.text import nearest

FORMATS = {
    ".wav": "WAV",
    ".wave": "WAV",
    ".flac": "FLAC",
    ".ogg": "OGG",
    ".oga": "OGG",
    ".opus": "OGG",
    ".mp3": "MP3",
    ".aif": "AIFF",
    ".aiff": "AIFF",
    ".aifc": "AIFF",
    ".w64": "W64",
    ".rf64": "RF64",
    ".caf": "CAF",
    ".au": "AU",
    ".snd": "AU",
    ".sph": "NIST",
    ".nist": "NIST",
    ".voc": "VOC",
}
"""File name endings -> libsndfile's names of their formats."""

BARE_ENDINGS = {
    ".ulaw": "mulaw",
    ".mulaw": "mulaw",
    ".ul": "mulaw",
    ".ulw": "mulaw",
    ".g711u": "mulaw",
    ".g711": "mulaw",
    ".alaw": "alaw",
    ".al": "alaw",
    ".alw": "alaw",
    ".g711a": "alaw",
    ".raw": "s16le",
    ".pcm": "s16le",
    ".s16": "s16le",
    ".sw": "s16le",
}
"""File name endings of bare samples -> the format that they most often have, see `audio.raw`."""

AMBIGUOUS_ENDINGS = (".raw", ".pcm", ".g711")
"""Those of them that are used for other formats, too."""

WAVES = {"WAV", "WAVEX", "RF64"}
"""libsndfile's names of formats that are all called WAV."""

MEL_ENDINGS = (".npy", ".npz", ".safetensors")
"""File name endings of mel spectrograms, see `audio.mel_file`."""

VIDEO_ENDINGS = (
    ".mp4",
    ".m4v",
    ".mov",
    ".3gp",
    ".mkv",
    ".webm",
    ".wmv",
    ".asf",
    ".avi",
    ".flv",
    ".mpg",
    ".mpeg",
)
"""File name endings of videos."""

MEDIA_ENDINGS = (
    *VIDEO_ENDINGS,
    ".m4a",
    ".m4b",
    ".mka",
    ".aac",
    ".wma",
    ".ac3",
    ".eac3",
    ".amr",
    ".ape",
    ".wv",
    ".tta",
)
"""File name endings of formats that PyAV reads if it is installed, see `audio.media`."""

INSTALL_PYAV = extras.install("media")
"""The command that installs PyAV."""

MUXERS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".m4a": "mp4",
    ".m4b": "mp4",
    ".mka": "matroska",
}
"""Those that PyAV writes, see `audio.media_writer` -> FFmpeg's names of their formats."""

CODINGS = {"mp4": "AAC", "mov": "AAC", "matroska": "AAC", "webm": "OPUS"}
"""FFmpeg's formats -> the coding of the sound that is written to them."""

SOUND_ALONE = (".m4a", ".m4b", ".mka")
"""Those into which no video is copied."""

INTEGER_BITS = {
    "PCM_S8": 8,
    "PCM_U8": 8,
    "PCM_16": 16,
    "PCM_24": 24,
    "PCM_32": 32,
    "ALAC_16": 16,
    "ALAC_24": 24,
}
"""Bits of the integer sample formats that are written exactly as quantised here."""

SAMPLE_BYTES = {
    "PCM_S8": 1,
    "PCM_U8": 1,
    "PCM_16": 2,
    "PCM_24": 3,
    "PCM_32": 4,
    "FLOAT": 4,
    "DOUBLE": 8,
    "ULAW": 1,
    "ALAW": 1,
}
"""Bytes of a sample of the sample formats of a fixed size."""

COMPANDED = (
    "ULAW",
    "ALAW",
    "IMA_ADPCM",
    "MS_ADPCM",
    "GSM610",
    "G721_32",
    "G723_24",
    "G723_40",
    "NMS_ADPCM_32",
)
"""Sample formats with a full scale that are not plain integers."""

UNLIMITED = ("MPEG_LAYER_III", "VORBIS", "OPUS")
"""Codings that keep samples beyond full scale, which decoders to integers limit."""

SPEECH_CODECS = ("GSM610", "G721_32", "G723_24", "G723_40", "NMS_ADPCM_32")
"""Those that are made for speech of one sample rate, mostly 8 kHz, and spoil any other."""

HEADERLESS = ("RAW", "SD2")
"""libsndfile's formats without a header; SD2 has its in a resource fork."""

MP3_BITRATES = {32000: (32, 320), 16000: (8, 160), 0: (8, 64)}
"""Least sample rate in Hz -> least and greatest bit rate in kbit/s of MPEG-1, 2 and 2.5 Layer III."""

OPUS_BITRATES = (6, 256)
"""Least and greatest bit rate of a channel in kbit/s that libsndfile sets."""

AAC_LEAST, AAC_FRAME_BITS = 8, 6144
"""Least bit rate of a channel in kbit/s, and greatest number of bits of a channel in a frame of 1024 samples
(ISO/IEC 14496-3)."""

OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
"""Sample rates in Hz that Opus has."""

MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
"""Sample rates in Hz of MPEG-2.5, 2 and 1 Layer III, ascending."""


def is_audio_name(path: Path) -> bool:
    """Whether the file name's ending is one that libsndfile reads."""
    return _ending(path) in FORMATS


def is_media_name(path: str | Path) -> bool:
    """Whether the file name's ending is one that PyAV reads."""
    return _ending(path) in MEDIA_ENDINGS


def is_bare_name(path: str | Path) -> bool:
    """Whether a file is named as one of bare samples."""
    return _ending(path) in BARE_ENDINGS


def has_pyav() -> bool:
    """Whether PyAV is installed."""
    return extras.is_there("av")


def needs_media(path: str | Path) -> bool:
    """Whether the file name's ending is one that PyAV would read, which is not installed."""
    return is_media_name(path) and not has_pyav()


def readable_endings() -> tuple[str, ...]:
    """File name endings of recordings that can be read here."""
    return (*FORMATS, *(MEDIA_ENDINGS if has_pyav() else ()))


def is_readable_name(path: Path) -> bool:
    """Whether the file name's ending is one of a recording that can be read here."""
    return is_audio_name(path) or (is_media_name(path) and has_pyav())


def is_mel_name(path: str | Path) -> bool:
    """Whether the file name's ending is one of a mel file's."""
    return _ending(path) in MEL_ENDINGS


def is_written_name(path: Path) -> bool:
    """Whether the file name's ending is one of a recording that can be written."""
    return is_audio_name(path) or _ending(path) in MUXERS


def is_output_name(path: Path) -> bool:
    """Whether the file name's ending is one of an output."""
    return is_written_name(path) or is_mel_name(path)


def muxer_for(path: Path, asked: str | None = None) -> str | None:
    """Return FFmpeg's name of the format of an output that PyAV writes; None where libsndfile does."""
    return MUXERS.get(chosen_ending(path, asked))


def shows_video(path: Path, asked: str | None = None) -> bool:
    """Whether an output has a video beside its sound, if its input has."""
    ending = chosen_ending(path, asked)
    return ending in MUXERS and ending not in SOUND_ALONE


NAME_IT = ", or name the format (--format, in Python format=)"
"""The way out where an ending names no format, and the user has an option for it."""


def format_for(path: Path, asked: str | None = None, hint: str = NAME_IT) -> str:
    """Return libsndfile's or FFmpeg's format for an output: that of the option, or of the name's ending.

    Args:
        path: the output.
        asked: `--format`.
        hint: ends the message about an ending that names no format.
    Raises:
        InputError: the name of the format or the ending is unknown, or PyAV is needed and not installed.
        DependencyError: PyAV is needed and too old.
    """
    ending = chosen_ending(path, asked)
    named = f"{path}: " if asked is None else ""
    if ending in MUXERS:
        if not has_pyav():
            raise InputError(f"{named}{ending} is written by PyAV, which is not installed: {INSTALL_PYAV}")
        extras.require("av", f"{named}{ending}")
        return MUXERS[ending]
    if ending in MEDIA_ENDINGS:
        written = ".mp4 or .mkv" if ending in VIDEO_ENDINGS else ".m4a, .wav, .flac or .mp3"
        raise InputError(f"{named}{ending} is read, and not written: write {written}")
    if asked is not None:
        name = FORMATS.get(ending, asked.upper())
        if name in HEADERLESS:
            raise InputError(f"{name} has no header that says what its samples are: use {_listed_endings()}")
        import soundfile

        if name not in soundfile.available_formats():
            raise InputError(
                f"there is no format '{asked}'{nearest(asked.lower(), [k[1:] for k in FORMATS | MUXERS])}"
            )
        return name
    if not is_audio_name(path):
        raise InputError(
            f"{path}: the ending '{path.suffix}' names no audio format; use one of {_listed_endings()}{hint}"
        )
    return FORMATS[ending]


def contradiction(path: Path, asked: str | None) -> str | None:
    """Return why a name does not fit the format that was asked for; None where it does, or says nothing."""
    if asked is None or not (is_audio_name(path) or is_media_name(path)):
        return None
    named, wanted = (FORMATS | MUXERS).get(_ending(path), ""), format_for(path, asked)
    is_alike = named == wanted or {named, wanted} <= WAVES
    if is_alike and shows_video(path) == shows_video(path, asked):
        return None
    ending = chosen_ending(path, asked)
    ending = ending if ending in FORMATS | MUXERS else ending_for(wanted)
    return f"{path} is named as another format than --format {asked}: end it in {ending}"


def chosen_ending(path: Path, asked: str | None = None) -> str:
    """Return the file name ending of the format, in small letters: that of the option, or the name's own."""
    return _ending(path) if asked is None else f".{asked.lower()}"


def ending_for(format_name: str) -> str:
    """Return the usual file name ending of a format ("WAV" -> ".wav")."""
    endings = (FORMATS | MUXERS).items()
    return next((k for k, v in endings if v == format_name), f".{format_name.lower()}")


@functools.cache
def subtypes_of(format_name: str) -> list[str]:
    """Return the sample formats of a libsndfile container; cached, because the query takes a millisecond."""
    import soundfile

    return list(soundfile.available_subtypes(format_name))


def subtype_for(format_name: str, ending: str, preferred: str, asked: str | None) -> str:
    """Return the sample format of an output.

    Args:
        format_name: libsndfile's container, or FFmpeg's.
        ending: as `chosen_ending`; ".opus" means Opus in Ogg.
        preferred: the input's subtype, kept where the container holds it.
        asked: `--subtype`.
    Raises:
        InputError: the asked subtype is unknown, or not possible in the container.
    """
    if format_name in CODINGS:
        if asked is not None and asked.upper() != CODINGS[format_name]:
            raise InputError(f"the sound of {ending} is written as {CODINGS[format_name]}, not {asked}")
        return CODINGS[format_name]
    if asked is not None:
        subtype, allowed = asked.upper(), subtypes_of(format_name)
        if subtype not in allowed:
            raise InputError(
                f"{format_name} holds no samples of type '{asked}'{nearest(subtype, allowed)}"
                f" It holds {', '.join(allowed)}."
            )
        return subtype
    return "OPUS" if ending == ".opus" else _closest(format_name, preferred)


def coding_for(path: Path, asked: str | None, preferred: str, asked_subtype: str | None) -> tuple[str, str]:
    """Return the format and the sample format of an output, see `format_for` and `subtype_for`.

    Raises:
        InputError: as both.
    """
    name = format_for(path, asked)
    return name, subtype_for(name, chosen_ending(path, asked), preferred, asked_subtype)


def preferred_subtype(subtype: str, sample_rate: int, output_rate: int) -> str:
    """Return the subtype that an output has if its container holds it: the input's, but for codecs of speech
    at another sample rate in Hz."""
    return "PCM_16" if subtype in SPEECH_CODECS and output_rate != sample_rate else subtype


def opus_rate(sample_rate: int) -> int:
    """Return the sample rate in Hz at which a recording of another is coded as Opus, which has five."""
    return sample_rate if sample_rate in OPUS_RATES else OPUS_RATES[-1]


def mp3_rate(sample_rate: int) -> int:
    """Return the sample rate in Hz at which a recording of another is coded as MP3: the next greater one, or
    the greatest."""
    return next((rate for rate in MP3_RATES if rate >= sample_rate), MP3_RATES[-1])


def has_bitrate(format_name: str, subtype: str) -> bool:
    """Whether the bit rate of a coding can be chosen."""
    return format_name == "MP3" or subtype in ("OPUS", "AAC")


def bitrate_range(format_name: str, subtype: str, sample_rate: int, channels: int) -> tuple[int, int]:
    """Return the least and the greatest bit rate in kbit/s of all channels; the coding is MP3, Opus or AAC.

    Args:
        sample_rate: Hz.
    """
    if format_name == "MP3":
        return next(found for least, found in MP3_BITRATES.items() if sample_rate >= least)
    low, high = OPUS_BITRATES if subtype == "OPUS" else (AAC_LEAST, AAC_FRAME_BITS * sample_rate // 1_024_000)
    return channels * low, channels * high


def check_any_bitrate(format_name: str, subtype: str, bitrate: float) -> None:
    """Check a bit rate in kbit/s of a recording whose sample rate and channels are not known yet.

    Raises:
        InputError: the coding, which is MP3, Opus or AAC, has it for no recording.
    """
    if format_name == "MP3":
        low, high = (
            min(low for low, _ in MP3_BITRATES.values()),
            max(high for _, high in MP3_BITRATES.values()),
        )
        if not low <= bitrate <= high:
            raise InputError(f"MP3 takes {low} to {high} kbit/s, not {bitrate:g}")
        return
    low = OPUS_BITRATES[0] if subtype == "OPUS" else AAC_LEAST
    if bitrate < low:
        raise InputError(f"{subtype} takes {low} kbit/s or more, not {bitrate:g}")


def check_bitrate(format_name: str, subtype: str, sample_rate: int, channels: int, bitrate: float) -> None:
    """Check a bit rate in kbit/s of all channels.

    Raises:
        InputError: the coding, which is MP3, Opus or AAC, has not this bit rate.
    """
    low, high = bitrate_range(format_name, subtype, sample_rate, channels)
    if not low <= bitrate <= high:
        coding = format_name if format_name == "MP3" else subtype
        sound = f"{channels} channel{'s' if channels > 1 else ''} at {sample_rate} Hz"
        raise InputError(f"{coding} of {sound} takes {low} to {high} kbit/s, not {bitrate:g}")


def compression_level(
    format_name: str, subtype: str, sample_rate: int, channels: int, bitrate: float
) -> float:
    """Return libsndfile's compression level, 0 to 1, that gives a bit rate.

    Args:
        sample_rate: Hz.
        bitrate: kbit/s of all channels.
    Raises:
        InputError: the coding, which is MP3 or Opus, has not this bit rate.
    """
    check_bitrate(format_name, subtype, sample_rate, channels, bitrate)
    low, high = bitrate_range(format_name, subtype, sample_rate, channels)
    # libsndfile refuses level 1 of some MP3.
    return min((high - bitrate) / (high - low), 0.999)


def _ending(path: str | Path) -> str:
    return os.path.splitext(path)[1].lower()


def _listed_endings() -> str:
    return ", ".join(FORMATS | (MUXERS if has_pyav() else {}))


def _closest(format_name: str, preferred: str) -> str:
    """Return the input's subtype, or the one that loses least. A codec (MP3 in a WAV) is only kept in its own
    container."""
    import soundfile

    default = soundfile.default_subtype(format_name) or subtypes_of(format_name)[0]
    bits = 24 if preferred in ("FLOAT", "DOUBLE") else INTEGER_BITS.get(preferred)
    is_kept = bits is not None or preferred in (*COMPANDED, default)
    if is_kept and soundfile.check_format(format_name, preferred):
        return preferred
    allowed = subtypes_of(format_name)
    integers = sorted((s for s in allowed if s in INTEGER_BITS), key=lambda s: INTEGER_BITS[s])
    if bits is None or not integers:
        return default
    return next((s for s in integers if INTEGER_BITS[s] >= bits), integers[-1])
