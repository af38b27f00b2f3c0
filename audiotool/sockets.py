"""Where `multiprocessing` makes its sockets: in the folder of temporary files, whose path may be too long."""

from __future__ import annotations

import os
import sys
import tempfile

from audiotool.errors import AudiotoolError

LONGEST = 70
"""Greatest length in bytes of a folder that holds sockets. A socket's path has at most 103 bytes (macOS), of
which multiprocessing needs 32."""

SHORT = "/tmp"
"""Folder of the sockets where the path of the usual one is too long."""


def place_sockets() -> None:
    """Let worker processes that this process starts be reached, however long the path in TMPDIR is.

    Where it is too long, the sockets get a folder of their own below `SHORT`, which only this user may enter,
    and which is removed when this process ends. All other temporary files stay where they were.

    Raises:
        AudiotoolError: TMPDIR is too long, and there cannot be such a folder.
    """
    from multiprocessing import util

    usual = tempfile.gettempdir()
    if sys.platform == "win32" or len(os.fsencode(usual)) <= LONGEST:
        return
    tempfile.tempdir = SHORT
    try:
        # Makes the folder at the first call; this process and its children use it from then on.
        util.get_temp_dir()
    except OSError as error:
        raise AudiotoolError(
            f"TMPDIR has more than {LONGEST} bytes, too many for the sockets of worker processes, and {SHORT}"
            f" cannot be used ({error.strerror}): set TMPDIR to a shorter path"
        ) from error
    finally:
        tempfile.tempdir = usual
