"""The speakers of a recording's channels, as masks: a bit for each of `NAMES`.

Reference: Microsoft, WAVEFORMATEXTENSIBLE (dwChannelMask).
"""

from __future__ import annotations

import struct

from audiotool.audio.vorbis_comments import comments

NAMES = (
    *("FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC", "BC", "SL", "SR"),
    *("TC", "TFL", "TFC", "TFR", "TBL", "TBC", "TBR"),
)
"""FFmpeg's names of speakers, by their bits."""

USUAL = {1: 0x4, 2: 0x3, 3: 0x7, 4: 0x33, 5: 0x37, 6: 0x3F, 7: 0x70F, 8: 0x63F}
"""Number of channels -> mask of their speakers where a file has none, as in FLAC."""

COMMENT = "WAVEFORMATEXTENSIBLE_CHANNEL_MASK"
"""Vorbis comment of a FLAC that has a mask all the same."""


def of_format_chunk(fmt: bytes) -> int:
    """Return the mask in the body of a WAV's "fmt " chunk; 0 without one."""
    is_extensible = len(fmt) >= 24 and fmt[:2] == b"\xfe\xff"
    return int(struct.unpack_from("<I", fmt, 20)[0]) if is_extensible else 0


def of_comments(data: bytes) -> int:
    """Return the mask in a block of Vorbis comments; 0 without one of 32 bits."""
    for key, value in comments(data):
        if key == COMMENT:
            try:
                mask = int(value, 0)
            except ValueError:
                return 0
            return mask if 0 <= mask < 1 << 32 else 0
    return 0


def of_layout(layout: str) -> int:
    """Return the mask of a layout, by FFmpeg's name of it; 0 where a mask has no bits for its speakers or
    another order."""
    import av

    names = [channel.name for channel in av.AudioLayout(layout).channels]
    bits = [NAMES.index(name) for name in names if name in NAMES]
    is_known = len(bits) == len(names) and bits == sorted(set(bits))
    return sum(1 << bit for bit in bits) if is_known else 0


def called(mask: int) -> str:
    """Return what messages call the speakers of a mask."""
    return f"the speakers of its channels ({mask:#x})"


def lost(mask: int, channels: int) -> list[str]:
    """Return the name of what is lost without a mask; nothing if it has the usual speakers of so many
    channels."""
    return [] if mask in (0, USUAL.get(channels)) else [called(mask)]
