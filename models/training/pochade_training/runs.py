"""A run's folder, clock and log: what makes training resumable and patient.

A run may be paused for minutes by the scheduler of a busy machine (or by SIGSTOP). So stages with a
fixed amount of work measure it in CPU time, and the long stage with a deadline re-plans its decay
at each step.
"""

import csv
import os
import time
from datetime import datetime, timedelta
from pathlib import Path

import torch


class Run:
    """The folder `root` of one training run, and the device it trains on."""

    def __init__(self, root: Path, device: str, threads: int):
        self.root, self.device = Path(root), torch.device(device)
        self.root.mkdir(parents=True, exist_ok=True)
        torch.set_num_threads(threads)

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def half(self) -> bool:
        """Whether products in bf16 are the faster ones: on an accelerator, and on a CPU with tiles
        for them.
        """
        return self.cuda or "amx_bf16" in _cpu_flags()

    def path(self, name: str) -> Path:
        return self.root / name

    def save(self, name: str, value: object) -> None:
        """Writes whole or not at all."""
        draft = self.path(name + ".part")
        torch.save(value, draft)
        os.replace(draft, self.path(name))

    def load(self, name: str) -> object:
        return torch.load(self.path(name), map_location=self.device, weights_only=True)

    def say(self, text: str) -> None:
        print(f"{datetime.now():%H:%M:%S} {text}", flush=True)

    def record(self, name: str, row: dict[str, float]) -> None:
        """Appends a row to a CSV file, with a header when the file is new."""
        path = self.path(name)
        new = not path.exists()
        with open(path, "a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if new:
                writer.writeheader()
            writer.writerow({k: f"{v:.6g}" for k, v in row.items()})


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return {flag for line in lines if line.startswith("flags") for flag in line.split()}


class CpuBudget:
    """Progress 0..1 through a budget of minutes: of CPU time on a CPU, of wall time on an
    accelerator.
    """

    def __init__(self, minutes: float, run: Run, spent: float = 0.0):
        self.clock = time.monotonic if run.cuda else time.process_time
        self.seconds, self.start = minutes * 60, self.clock() - spent

    def spent(self) -> float:
        return self.clock() - self.start

    def progress(self) -> float:
        return self.spent() / self.seconds


class Deadline:
    """Full speed until the tail before a deadline, then a linear decay that ends on it.

    `factor()` is called once a step. A pause does not skip the decay: what is left of it is spread
    over the time that is left, and one step never counts for more than `LONGEST_STEP` seconds.
    """

    LONGEST_STEP = 5.0

    def __init__(self, until: datetime, tail: float):
        now = datetime.now()
        self.end = time.time() + (until - now).total_seconds()
        self.tail_start = self.end - tail * (until - now).total_seconds()
        self.level, self.last = 1.0, time.time()

    @staticmethod
    def parse(text: str) -> datetime:
        """`HH:MM` (today or tomorrow) or a number of minutes from now."""
        now = datetime.now()
        if ":" not in text:
            return now + timedelta(minutes=float(text))
        hour, minute = map(int, text.split(":"))
        end = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
        return end if end > now else end + timedelta(days=1)

    def begin_tail(self, minutes: float) -> None:
        """Brings the end forward: the decay starts now and takes `minutes`."""
        self.tail_start, self.end = time.time(), time.time() + 60 * minutes

    def factor(self) -> float:
        now = time.time()
        step, self.last = min(now - self.last, self.LONGEST_STEP), now
        if now > self.tail_start:
            left = max(self.end - now, self.LONGEST_STEP)
            self.level -= self.level * min(step / left, 1.0)
        return self.level

    def over(self) -> bool:
        return self.level < 0.005 or time.time() > self.end + 60
