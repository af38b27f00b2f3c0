"""C++ of this package, compiled on the user's machine for its processor when it is first used.

The compiler is $CXX, else c++. The result stays in the user's cache folder, under a hash of the source, the
compiler, its flags and the processor. Without a compiler, callers have another way.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import platformdirs

log = logging.getLogger(__name__)

# Not -ffast-math: it would flush denormal numbers to zero in the whole process.
FLAGS = ("-std=gnu++17", "-O3", "-march=native", "-fno-math-errno", "-Wno-psabi", "-shared", "-fPIC")
PATIENCE = 120.0
"""Seconds that the compiler may take."""


@functools.cache
def library(source: Path) -> ctypes.CDLL | None:
    """Return a compiled C++ file, or None where it cannot be compiled."""
    compiler = shlex.split(os.environ.get("CXX", "")) or ["c++"]
    if shutil.which(compiler[0]) is None:
        log.info("there is no C++ compiler: recurrent layers train more slowly")
        return None
    try:
        target = _cache() / f"{source.stem}-{_hash(source, compiler)}.so"
        if not target.is_file():
            _compile(source, compiler, target)
        return ctypes.CDLL(str(target))
    except (OSError, subprocess.SubprocessError) as error:
        log.info("%s cannot be compiled, recurrent layers train more slowly: %s", source.name, error)
        return None


def _cache() -> Path:
    """Return the folder of compiled libraries, to which nobody else may write.

    Raises:
        PermissionError: somebody else can.
    """
    folder = Path(platformdirs.user_cache_dir("audiotool", appauthor=False)) / "compiled"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if sys.platform != "win32":
        found = folder.stat()
        if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PermissionError(f"others can write to {folder}")
    return folder


def _hash(source: Path, compiler: list[str]) -> str:
    described = [*compiler, *FLAGS, platform.machine(), _processor()]
    return hashlib.sha256(source.read_bytes() + "\0".join(described).encode()).hexdigest()[:32]


def _processor() -> str:
    """Return the instruction sets of the processor, as far as the system tells."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next((line for line in file if line.startswith(("flags", "Features"))), "")
    except OSError:
        return platform.processor()


def _compile(source: Path, compiler: list[str], target: Path) -> None:
    """Compile a file; the library appears when it is complete, also if several processes do so at once.

    Raises:
        subprocess.SubprocessError: the compiler failed, or took too long.
        OSError: it cannot be started, or the library cannot be written.
    """
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / target.name
        command = [*compiler, *FLAGS, str(source), "-o", str(made)]
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=PATIENCE
        )
        made.replace(target)
