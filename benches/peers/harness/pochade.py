"""Pochade's own rows, from `pochade bench --json`."""

import json
import math
from array import array
from pathlib import Path

from . import child
from .workloads import Files, Workload

WEIGHTS = ("int8", "int4", "f32")


def command(binary: Path, work: Workload, weights: str, flags: list[str]) -> list[str]:
    """The benchmark of one whole network; its size is the picture's, in pixels."""
    network = ["--arch", work.arch, "--size", str(8 * work.side), "--part", work.part]
    return [str(binary), "bench", *network, "--weights", weights, *flags, "--json"]


def figures(output: str, ended: child.Ended) -> dict:
    """A row's figures from what the benchmark printed: the whole network is its largest result.

    The others compute the context's keys and values in every forward. Pochade does that once per
    prompt and tells it apart, so it is added here for equal work.
    """
    whole = max(json.loads(output)["results"], key=lambda entry: entry["gmac"])
    setup = whole["setup_seconds"]
    return {
        "wall_best": whole["seconds"] + setup,
        "wall_median": whole["median_seconds"] + setup,
        "setup_seconds": setup,
        "percent_of_peak": whole["percent_of_peak"],
        "arena_bytes": whole["arena_bytes"],
        "file_bytes": whole["weight_bytes"],
        "peak_rss_bytes": whole["peak_rss_bytes"] or ended.peak_rss_bytes,
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
