"""Caption accuracy of what the program itself paints, with two models beside each other.

    python -m pochade_training.read --list captions.txt
    cargo run --release --example compare -- MODEL OTHER captions.txt 20 PICTURES
    python -m pochade_training.read --pictures PICTURES

Captions and seeds are those of stage `evaluate`, so that the figures are of the same pictures. The
example leaves the two pictures of each caption side by side.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from . import evaluate, reader
from .runs import Run

HERE = Path(__file__).resolve().parent.parent
MODELS = ("first", "second")


def write_list(path: Path) -> None:
    """A line for each picture: its seed and its caption."""
    _, captions = evaluate.questions(evaluate.SMALL)
    lines = [f"{evaluate.FIRST_SEED + i} {caption}\n" for i, caption in enumerate(captions)]
    path.write_text("".join(lines))


def halves(folder: Path) -> tuple[Tensor, Tensor]:
    """Both models' pictures `[N, 3, H, W]` in 0..1, in the order of the list: `000.png` onwards."""
    files = sorted(folder.glob("*.png"), key=lambda file: int(file.stem))
    both = np.stack([np.array(Image.open(file).convert("RGB")) for file in files])
    return torch.from_numpy(both).permute(0, 3, 1, 2).float().div(255).chunk(2, 3)


def table(net: reader.Reader, sets: tuple[Tensor, Tensor], attributes: Tensor) -> str:
    """Share of attributes read as asked, model by model, and their difference in points."""
    asked = attributes[: len(sets[0])]
    first, second = (reader.accuracy(net, pictures, asked) for pictures in sets)
    head = f"| {len(asked)} pictures | {' | '.join(MODELS)} | points |\n|---|---|---|---|"
    rows = [
        f"| {name} | {share:.3f} | {second[name]:.3f} | {100 * (second[name] - share):+.1f} |"
        for name, share in first.items()
    ]
    return "\n".join([head, *rows])


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "pochade_training.read", description=__doc__, formatter_class=form
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--list", type=Path, help="file to write the captions to")
    what.add_argument("--pictures", type=Path, help="folder of what was painted")
    parser.add_argument("--runs", type=Path, default=HERE / "runs", help="where the reader is")
    parser.add_argument("--reader-minutes", type=float, default=5, help="to train it, if it is not")
    parser.add_argument("--threads", type=int, default=2)
    a = parser.parse_args()
    if a.list:
        write_list(a.list)
        return
    run = Run(a.runs, "cpu", a.threads)
    test, _ = evaluate.questions(evaluate.SMALL)
    print(table(reader.trained(run, a.reader_minutes), halves(a.pictures), test.attributes))


if __name__ == "__main__":
    main()
