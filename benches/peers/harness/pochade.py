"""Pochade's own rows: figures from `pochade bench --json`, accuracy from its example `forward`."""

import json
import math
import subprocess
import sys
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

    The others compute the context's keys and values and the embedded time in every forward. Pochade
    does that once per prompt and once per schedule and tells it apart, so it is added here for equal
    work.
    """
    whole = max(json.loads(output)["results"], key=lambda entry: entry["gmac"])
    setup = whole["setup_seconds"] + whole["schedule_seconds"]
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


def folder_of(files: Files) -> Path:
    """The network as a model of one part, which is how Pochade opens it: links, no copies."""
    place, part = {"unet": ("unet", "UNet2DConditionModel"), "decoder": ("vae", "AutoencoderKL")}[
        files.work.part
    ]
    folder = files.models / "pochade" / files.work.arch
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / place).exists():
        (folder / place).symlink_to(files.diffusers, target_is_directory=True)
    index = {"_class_name": "StableDiffusionPipeline", place: ["diffusers", part]}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def model(files: Files, weights: str, quantize: Path) -> Path:
    """What the example opens: the folder itself, or the file made from it by this build."""
    folder = folder_of(files)
    path = folder.with_name(f"{folder.name}-{weights}.gguf")
    if weights == "f32":
        return folder
    if not path.exists() or path.stat().st_mtime < quantize.stat().st_mtime:
        words = [quantize, folder, "-o", path, "--weights", weights]
        subprocess.run(words, check=True, stdout=sys.stderr)
    return path


def relative_rmse(binary: Path, files: Files, weights: str) -> float | None:
    """Against torch f32, or nothing where the programs beside the binary have not been built."""
    quantize, forward = binary.with_name("pochade-quantize"), binary.parent / "examples/forward"
    if not (quantize.exists() and forward.exists() and files.reference.exists()):
        return None
    path = files.folder / f"pochade-{weights}.f32"
    subprocess.run([forward, model(files, weights, quantize), path, *files.inputs()], check=True)
    return distance(path, files.reference)


def distance(path: Path, reference: Path) -> float:
    """Root mean square of the difference over that of the reference; raw little-endian float32."""
    answer, true = (array("f", file.read_bytes()) for file in (path, reference))
    error = math.fsum((a - t) ** 2 for a, t in zip(answer, true, strict=True))
    return math.sqrt(error / math.fsum(t * t for t in true))
