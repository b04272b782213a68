"""The loss curve of the UNet's training, as a picture."""

import csv
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402  (the backend comes first)


def plot(table: Path, picture: Path) -> None:
    """Reads `unet.csv` and draws held-out loss against samples seen, whole and by noise level."""
    with open(table, newline="") as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    rows = [row for row in rows if row["step"] > 50]
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for column, label in (
        ("val", "all timesteps"),
        ("val_low", "little noise"),
        ("val_middle", "half noise"),
        ("val_high", "mostly noise"),
    ):
        axes.plot([r["samples"] / 1000 for r in rows], [r[column] for r in rows], label=label)
    axes.set(
        xlabel="pictures seen (thousands)", ylabel="held-out velocity error (averaged weights)"
    )
    axes.set_yscale("log")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(picture, dpi=110)
