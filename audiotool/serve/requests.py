"""What a client asks for: checked values of a query, and who may ask."""

from __future__ import annotations

import dataclasses
import hmac
import ipaddress
import math
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from audiotool.audio.raw import Raw
from audiotool.errors import AudiotoolError, InputError
from audiotool.streaming.session import Settings

LOWEST_RATE, HIGHEST_RATE = 4000, 192000
MOST_CHANNELS = 8

STREAM_KEYS = ("task", "rate", "format", "channels", "mix", "max_attenuation", "token")
FILE_KEYS = ("mix", "max_attenuation", "token")


def check_keys(query: Mapping[str, str], known: tuple[str, ...]) -> None:
    """Refuse what would do nothing.

    Raises:
        InputError: a key is unknown.
    """
    for key in query:
        if key not in known:
            raise InputError(f"there is no parameter '{key[:40]}': {', '.join(known)}")


def raw_of(query: Mapping[str, str]) -> Raw:
    """What a stream's bytes are: `format`, `rate`, `channels`.

    Raises:
        InputError: a value is missing or out of range.
    """
    return Raw(
        query.get("format", "s16le"),
        whole(query, "rate", 16000, LOWEST_RATE, HIGHEST_RATE),
        whole(query, "channels", 1, 1, MOST_CHANNELS),
    )


def settings_of(values: Mapping[str, object], settings: Settings) -> Settings:
    """The settings with `mix` and `max_attenuation` (dB) as asked.

    Raises:
        AudiotoolError: they are no numbers, or out of range.
    """
    found: dict[str, float] = {}
    for key, name in (("mix", "mix"), ("max_attenuation", "max_attenuation_db")):
        if key not in values:
            continue
        try:
            number = float(str(values[key]))
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise InputError(f"{key} is a number")
        found[name] = number
    return dataclasses.replace(settings, **found)  # type: ignore[arg-type]


def whole(query: Mapping[str, str], key: str, default: int, least: int, most: int) -> int:
    """A whole number of a query.

    Raises:
        InputError: it is none, or out of range.
    """
    text = query.get(key, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
        raise InputError(f"{key} is a whole number from {least} to {most}")
    return int(text)


def is_admitted(token: str | None, header: str | None, query: str | None) -> bool:
    """Whether a request brings the server's token, as `Authorization: Bearer TOKEN` or in its query."""
    if token is None:
        return True
    scheme, _, given = (header or "").partition(" ")
    given = given if scheme.lower() == "bearer" else (query or "")
    return hmac.compare_digest(given.encode(), token.encode())


def is_of_this_page(origin: str | None, host: str | None) -> bool:
    """Whether a browser's request comes from the server's own page; programs name no origin."""
    return origin is None or (host is not None and urlsplit(origin).netloc == host)


def is_of_known_host(host: str | None, names: Collection[str]) -> bool:
    """Whether a request's `Host` is an address, localhost or one of some names.

    A site may let its own name point at this machine (DNS rebinding). Its page's requests then have that name
    as their host and as their origin.
    """
    try:
        name = urlsplit(f"//{host or ''}").hostname or ""
        if name == "localhost" or name in {known.lower() for known in names}:
            return True
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def reason(error: AudiotoolError | str) -> str:
    """A message as a closing frame holds it: one line of at most 123 bytes."""
    return " ".join(str(error).split()).encode()[:120].decode(errors="ignore")
