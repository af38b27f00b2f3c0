"""Requests of clients: check the parameters of a query, the rate, the token, the origin and the host. Texts
of answers that stand in frames and headers."""

from __future__ import annotations

import dataclasses
import hmac
import ipaddress
import math
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from audiotool.audio.raw import Raw
from audiotool.errors import AudiotoolError, InputError
from audiotool.streaming.session import CHANGEABLE, Settings
from audiotool.text import one_line

LOWEST_RATE, HIGHEST_RATE = 4000, 192000
MOST_CHANNELS = 8

LONGEST_PERIOD = 1280
"""Greatest number of samples, at either rate, after which the weights of a resampler repeat: those of 192000
to 22050 Hz. All weights take 2 MB then. Those of 44101 to 16000 Hz take more than a resampler keeps, and to
compute them again and again takes a tenth of a processor."""

SETTINGS_KEYS = {name.removesuffix("_db"): name for name in CHANGEABLE}
"""Parameters of queries and messages -> settings of the stream."""

STREAM_KEYS = ("task", "rate", "format", "channels", *SETTINGS_KEYS, "token")
FILE_KEYS = (*SETTINGS_KEYS, "token")

USUAL_PORTS = {"http": 80, "https": 443}
"""Scheme of an origin -> port that it has where it names none (RFC 6454, section 4)."""

NOT_ADMITTED = (
    "this server asks for a token: open the page as /?token=TEXT, or send Authorization: Bearer TEXT"
)
"""Refusal of a request without the server's token, see `is_admitted`."""


def check_keys(query: Mapping[str, str], known: tuple[str, ...]) -> None:
    """Check that all parameters of a query are known.

    Raises:
        InputError: a parameter is unknown.
    """
    for key in query:
        if key not in known:
            raise InputError(f"there is no parameter '{key[:40]}': {', '.join(known)}")


def raw_of(query: Mapping[str, str]) -> Raw:
    """Return the format of a stream's bytes from the parameters `format`, `rate` and `channels`.

    Raises:
        InputError: a value is malformed or out of range.
    """
    return Raw(
        query.get("format", "s16le"),
        whole(query, "rate", 16000, LOWEST_RATE, HIGHEST_RATE),
        whole(query, "channels", 1, 1, MOST_CHANNELS),
    )


def check_rate(sample_rate: int, model_rate: int) -> None:
    """Check that a client's rate and the model's, in Hz, have a ratio of small numbers.

    Raises:
        InputError: they have not; the message has the nearest rate that streams may have.
    """
    if _has_short_period(sample_rate, model_rate):
        return
    around = (sample_rate + sign * distance for distance in range(1, HIGHEST_RATE) for sign in (-1, 1))
    taken = (
        rate for rate in around if LOWEST_RATE <= rate <= HIGHEST_RATE and _has_short_period(rate, model_rate)
    )
    raise InputError(
        f"{sample_rate} Hz has no ratio of small numbers to the model's {model_rate} Hz:"
        f" take {next(taken, model_rate)} Hz"
    )


def _has_short_period(sample_rate: int, model_rate: int) -> bool:
    return max(sample_rate, model_rate) <= LONGEST_PERIOD * math.gcd(sample_rate, model_rate)


def settings_of(values: Mapping[str, object], settings: Settings) -> Settings:
    """Return settings with those of `SETTINGS_KEYS` that are given: `mix` (0 to 1), `max_attenuation` (dB).

    Args:
        values: parameters of a query or of a message.
        settings: the present settings.
    Raises:
        InputError: a value is not a finite number.
        StreamError: a value is out of range.
    """
    found: dict[str, float] = {}
    for key, name in SETTINGS_KEYS.items():
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
    """Return an integer parameter of a query.

    Args:
        key: name of the parameter.
        default: value if the query lacks it.
        least, most: range.
    Raises:
        InputError: the value is not an integer, or out of range.
    """
    text = query.get(key, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
        raise InputError(f"{key} is a whole number from {least} to {most}")
    return int(text)


def is_admitted(token: str | None, headers: Mapping[str, str], query: Mapping[str, str]) -> bool:
    """Return whether a request has the server's token.

    Args:
        token: of the server; None admits all requests.
        headers: of it, with "authorization": "Bearer TOKEN"; their bytes read as Latin-1, as servers do.
        query: parameters of it, with `token`, which is used where the header has none.
    """
    if token is None:
        return True
    scheme, _, given = headers.get("authorization", "").partition(" ")
    sent = given.encode("latin-1") if scheme.lower() == "bearer" else query.get("token", "").encode()
    return hmac.compare_digest(sent, token.encode(errors="surrogateescape"))


def is_of_this_page(origin: str | None, host: str | None) -> bool:
    """Return whether a request does not come from another site's page. Only browsers send an origin.

    A proxy may pass the host on with the port that browsers leave out of the origin: nginx does with
    `proxy_set_header Host $host:$server_port`.
    """
    if origin is None:
        return True
    try:
        page, here = urlsplit(origin), urlsplit(f"//{host or ''}")
        usual = USUAL_PORTS.get(page.scheme)
        is_same_port = (page.port or usual) == (here.port or usual)
        return bool(page.hostname) and page.hostname == here.hostname and is_same_port
    except ValueError:  # no address: a bracket without its other
        return False


def is_of_known_host(host: str | None, names: Collection[str]) -> bool:
    """Return whether a request's `Host` is an IP address, localhost or one of the given names.

    A site can let its own name resolve to this machine (DNS rebinding). Requests of its page then have that
    name as host and as origin.
    """
    try:
        name = urlsplit(f"//{host or ''}").hostname or ""
        if name == "localhost" or name in {known.lower() for known in names}:
            return True
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def header_text(text: str) -> str:
    """Return a text for the value of a header: one line of at most 1000 characters, ASCII alone."""
    return one_line(text).encode("ascii", "backslashreplace").decode()[:1000]


def reason(error: AudiotoolError | str) -> str:
    """Return a message for a closing frame: one line of at most 120 bytes in UTF-8."""
    return " ".join(str(error).split()).encode()[:120].decode(errors="ignore")
