"""Times a function: one warm-up, then as many runs as fit in the seconds given."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from statistics import median

import numpy as np

MOST_RUNS = 50


@dataclass
class Timing:
    """Seconds of every run on the wall clock and of all this process's threads on the processor."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def add(self, wall: float, cpu: float) -> None:
        self.wall.append(wall)
        self.cpu.append(cpu)


class Stopwatch:
    """Wall and processor seconds since it was made."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        return time.perf_counter() - self.wall, time.process_time() - self.cpu


def measure(call: Callable[[], np.ndarray], seconds: float) -> tuple[Timing, np.ndarray]:
    """At least one run after the warm-up. Answers with the last output too."""
    call()
    timing, total = Timing(), Stopwatch()
    while True:
        watch = Stopwatch()
        answer = call()
        timing.add(*watch.read())
        if total.read()[0] >= seconds or len(timing.wall) >= MOST_RUNS:
            return timing, answer


def relative_rmse(answer: np.ndarray, reference: np.ndarray) -> float:
    """Root mean square of the difference over that of the reference."""
    answer, reference = (a.astype(np.float64).ravel() for a in (answer, reference))
    return float(np.sqrt(np.mean((answer - reference) ** 2) / np.mean(reference**2)))


def figures(timing: Timing) -> dict:
    """What is reported of the runs, together with the runs themselves."""
    return {
        "wall_best": min(timing.wall),
        "wall_median": median(timing.wall),
        "cpu_best": min(timing.cpu),
        "cpu_median": median(timing.cpu),
        "runs": asdict(timing),
    }
