"""Pochade's own rows, from `pochade bench --json`."""

import json
import math
from array import array
from pathlib import Path

from . import child
from .workloads import Files, Workload

WEIGHTS = ("int8", "int4", "f32")


def command(binary: Path, work: Workload, weights: str, threads: int) -> list[str]:
    """The benchmark of one whole network."""
    network = ["--arch", work.arch, "--size", str(work.side), "--part", work.part]
    rest = ["--weights", weights, "--threads", str(threads), "--json"]
    return [str(binary), "bench", *network, *rest]


def figures(output: str, ended: child.Ended) -> dict:
    """A row's figures from what the benchmark printed: the whole network is its largest entry."""
    whole = max(json.loads(output), key=lambda entry: entry["gmac"])
    return {
        "wall_best": whole["seconds"],
        "wall_median": whole.get("seconds_median"),
        "cpu_best": whole.get("cpu_seconds"),
        "cpu_median": whole.get("cpu_seconds_median"),
        "percent_of_peak": whole.get("percent_of_peak"),
        "arena_bytes": whole.get("arena_bytes"),
        "file_bytes": whole["weight_bytes"],
        "peak_rss_bytes": whole.get("peak_rss_bytes") or ended.peak_rss_bytes,
    }


def has_bench(binary: Path) -> bool:
    """Whether the binary is there and knows the command."""
    return binary.exists() and child.run([str(binary), "bench", "--help"], 1).status == 0


def relative_rmse(files: Files, weights: str, answers: Path | None) -> float | None:
    """Against torch f32, of the answer somebody let Pochade write, or nothing.

    The answer is `WORKLOAD-WEIGHTS.f32` in the folder of answers: raw little-endian float32, from
    the network in `files.diffusers` and the inputs in `files.inputs()`.
    """
    path = answers and answers / f"{files.work.name}-{weights}.f32"
    if path is None or not path.exists():
        return None
    answer, reference = (array("f", file.read_bytes()) for file in (path, files.reference))
    error = math.fsum((a - r) ** 2 for a, r in zip(answer, reference, strict=True))
    return math.sqrt(error / math.fsum(r * r for r in reference))
