"""Memory of the process that trains."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# A page is cleared when it is first touched: a fault that the system counts.
PROGRAM = """
import resource, sys
from audiotool.training.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def tensor(): bytearray(48 << 20)
tensor()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    tensor()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    """Pages that the system cleared while 48 MB were taken and given back eight times."""
    command = [sys.executable, "-c", PROGRAM, how]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")
def test_freed_memory_is_kept_for_the_next_step() -> None:
    assert faults("keep") < 0.1 * faults("leave")
