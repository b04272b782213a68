"""Draws `plot.svg` from `results.json`: `python -m harness.plot FOLDER`."""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams |= {
    "svg.fonttype": "none",
    "svg.hashsalt": "peers",
}  # small, and the same again
from matplotlib import pyplot  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402

from .report import MB, MIB, is_timed  # noqa: E402
from .workloads import WORKLOADS  # noqa: E402

OURS, THEIRS = "#d1603d", "#7a8b99"


def elapsed(row: dict) -> float:
    """Processor seconds where they are known at one thread, wall seconds otherwise."""
    return (row["threads"] == 1 and row.get("cpu_best")) or row["wall_best"]


METRICS = {
    "seconds": elapsed,
    "peak RSS, MiB": lambda row: (row.get("peak_rss_bytes") or 0) / MIB,
    "file, MB": lambda row: (row.get("file_bytes") or 0) / MB,
}


def label(value: float) -> str:
    """Three digits, or all of those before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def bars(axes: Axes, rows: list[dict], title: str) -> None:
    """One engine a bar, from zero; a figure that is missing leaves its place empty."""
    values = [METRICS[title](row) for row in rows]
    places = range(len(rows))
    colours = [OURS if row["engine"] == "pochade" else THEIRS for row in rows]
    axes.barh(places, values, color=colours)
    axes.set_yticks(places, [f"{row['engine']} {row['weights']}" for row in rows])
    axes.invert_yaxis()
    axes.margins(x=0.15)
    for place, value in zip(places, values, strict=True):
        if value:
            axes.text(value, place, f" {label(value)}", va="center", fontsize=7)
    axes.tick_params(labelsize=8)
    axes.set_xticks([])
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def draw(content: dict, threads: int, path: Path) -> None:
    """A row of three panels for each workload, fastest first."""
    rows = [row for row in content["rows"] if is_timed(row) and row["threads"] == threads]
    works = [work for work in WORKLOADS.values() if any(r["workload"] == work.name for r in rows)]
    size = (15, 3.2 * len(works))
    figure, grid = pyplot.subplots(len(works), 3, figsize=size, squeeze=False, sharey="row")
    for work, line in zip(works, grid, strict=True):
        mine = sorted((row for row in rows if row["workload"] == work.name), key=elapsed)
        for axes, title in zip(line, METRICS, strict=True):
            bars(axes, mine, title)
            axes.set_title(f"{work.name}: {title}", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def main() -> None:
    folder = Path(sys.argv[1])
    content = json.loads((folder / "results.json").read_text())
    for threads in {row["threads"] for row in content["rows"] if is_timed(row)}:
        draw(content, threads, folder / ("plot.svg" if threads == 1 else f"plot-{threads}.svg"))


if __name__ == "__main__":
    main()
