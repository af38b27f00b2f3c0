"""The mel of an official configuration; a refusal names the file and the official key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from audiotool.dsp.mel import mel_config, plain_mel
from audiotool.errors import CheckpointError


def official_mel(fields: Mapping[str, Any], names: Mapping[str, str], source: str) -> str | dict[str, Any]:
    """Return the definition as `plain_mel`.

    Args:
        fields: values by their names in `MelConfig`, perhaps with "preset".
        names: official keys -> fields of `MelConfig`.
        source: path of the configuration, for messages.
    Raises:
        CheckpointError: a value is of another type or out of range, or values do not fit each other.
    """
    try:
        return plain_mel(mel_config(fields))
    except CheckpointError as error:
        official = {field: key for key, field in names.items()}
        pattern = rf"\b(?:mel\.)?({'|'.join(official)})\b"
        message = re.sub(pattern, lambda found: official[found[1]], str(error))
        raise CheckpointError(f"{source}: {message}") from error
