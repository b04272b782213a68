"""Runs one engine in a process of its own and learns that process's peak memory.

The parent must stay small: on Linux a child's peak starts from what its parent held when it was
started. That is why neither this file nor `run.py` imports anything but the standard library.
"""

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass

KIBIBYTE = 1 if sys.platform == "darwin" else 1024
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "RTEN_NUM_THREADS",
)


@dataclass(frozen=True)
class Ended:
    """What a child left behind."""

    status: int
    output: str
    errors: str
    peak_rss_bytes: int


def last_line(errors: str, status: int) -> str:
    """The last line of what a program wrote to stderr, which is where it says what went wrong."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return lines[-1] if lines else f"ended with status {status}"


def run(
    command: list[str],
    threads: int,
    folder: str | None = None,
    variables: tuple[tuple[str, str], ...] = (),
) -> Ended:
    """Runs to the end. The peak is the greatest resident set of the child or of its children."""
    count = {name: str(threads) for name in THREAD_VARIABLES}
    environment = {**os.environ, **count, **dict(variables)}
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, stdout=output, stderr=errors, env=environment, cwd=folder
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        peak = usage.ru_maxrss * KIBIBYTE
        return Ended(process.returncode, output.read(), errors.read(), peak)
