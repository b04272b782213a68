"""The attribute reader as files for `pochade eval`: its network as ONNX, the captions it is asked
about, and what its features of fresh renders look like.

    python -m pochade_training.judge --out ../eval --fixture ../../tests/fixtures/eval

Captions, seeds and renders are those of stage `evaluate`, so that the figures are the same ones.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pochade_world import ATTRIBUTES, KINDS, batch
from pochade_world.palette import COLOUR_NAMES, COUNTS, RELATIONS, STYLES, TIMES

from . import evaluate, reader
from .runs import Run
from .world import SIZE

HERE = Path(__file__).resolve().parent.parent
NONE = "none"
NAMES = (
    KINDS,
    list(STYLES),
    [*TIMES, NONE],
    [*COLOUR_NAMES, NONE],
    [*COLOUR_NAMES, NONE],
    [*COUNTS, NONE],
    [*RELATIONS, NONE],
)


class Judge(nn.Module):
    """One picture `[1, 3, 64, 64]` in 0..1 to features `[1, 128]` and all logits side by side."""

    def __init__(self, net: reader.Reader):
        super().__init__()
        self.net = net

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        features = self.net.features(picture)
        return features, self.net.heads(torch.relu(features))


def write_network(net: reader.Reader, path: Path) -> None:
    torch.onnx.export(
        Judge(net).eval(),
        (torch.zeros(1, 3, reader.SIDE, reader.SIDE),),
        path,
        input_names=["picture"],
        output_names=["features", "logits"],
        opset_version=17,
        dynamo=False,
    )


def write_names(path: Path) -> None:
    """A line for each attribute: its name, and those of its classes in the order of the logits."""
    rows = ["\t".join([name, *names]) for name, names in zip(ATTRIBUTES, NAMES)]
    path.write_text("\n".join(rows) + "\n")


def write_captions(path: Path) -> None:
    """A line for each picture: seed, what can be read of each attribute (`-`: nothing), caption."""
    test, captions = evaluate.questions(evaluate.SMALL)
    seen = reader.readable(test.attributes)
    lines = ["\t".join(["seed", *ATTRIBUTES, "caption"])]
    for i, caption in enumerate(captions):
        asked = [
            names[value] if can else "-"
            for names, value, can in zip(NAMES, test.attributes[i].tolist(), seen[i].tolist())
        ]
        lines.append("\t".join([str(evaluate.FIRST_SEED + i), *asked, caption]))
    path.write_text("\n".join(lines) + "\n")


def write_reference(net: reader.Reader, path: Path) -> None:
    """Mean `[128]` and covariance `[128, 128]` of the features of fresh renders."""
    renders = batch(evaluate.REFERENCE, SIZE, evaluate.OTHER_SEED)
    features = reader.features(net, evaluate.real(renders))
    parts = dict(mean=features.mean(0), covariance=torch.cov(features.T))
    save_file({name: part.float().contiguous() for name, part in parts.items()}, path)


def pattern(width: int, height: int, salt: int) -> Tensor:
    """A picture `[1, 3, H, W]` of bytes that is easily made again."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    planes = [(x * (3 + salt) + y * (5 + c) + x * y // 7 * c + 40 * salt) % 256 for c in range(3)]
    return torch.stack(planes)[None].float()


@torch.no_grad()
def write_fixture(net: reader.Reader, folder: Path) -> None:
    """What this reader makes of some patterns, and the distance of two made-up sets of features."""
    sizes = ((128, 128, 0), (128, 128, 9), (64, 64, 3), (100, 72, 5))
    readings = []
    for width, height, salt in sizes:
        features, logits = Judge(net).eval()(pattern(width, height, salt) / 255)
        numbers = dict(features=features[0].tolist(), logits=logits[0].tolist())
        readings.append(dict(width=width, height=height, salt=salt) | numbers)
    sets = [
        torch.tensor(
            [
                [(i * 37 + j * 101 + i * j % 17 * (13 + s)) % 97 / 97 for j in range(24)]
                for i in range(90)
            ],
            dtype=torch.float64,
        )
        for s in (0, 5)
    ]
    found = dict(readings=readings, frechet=reader.frechet(*sets))
    (folder / "readings.json").write_text(json.dumps(found) + "\n")


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "pochade_training.judge", description=__doc__, formatter_class=form
    )
    parser.add_argument("--out", type=Path, default=HERE.parent / "eval")
    parser.add_argument("--fixture", type=Path, help="folder for the tests' reference")
    parser.add_argument("--runs", type=Path, default=HERE / "runs", help="where the reader is")
    parser.add_argument("--reader-minutes", type=float, default=5, help="to train it, if it is not")
    parser.add_argument("--threads", type=int, default=2)
    a = parser.parse_args()
    net = reader.trained(Run(a.runs, "cpu", a.threads), a.reader_minutes)
    a.out.mkdir(parents=True, exist_ok=True)
    write_network(net, a.out / "reader.onnx")
    write_names(a.out / "classes.tsv")
    if a.fixture:
        write_fixture(net, a.fixture)
    write_captions(a.out / "captions.tsv")
    write_reference(net, a.out / "reference.safetensors")


if __name__ == "__main__":
    main()
