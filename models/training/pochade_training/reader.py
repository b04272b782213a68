"""The attribute reader: a small classifier that tells what a picture shows, trained on the renderer
alone.

It measures whether a sampled picture shows what its caption asked for, and its 128 features serve
the Frechet distance. It ships with nothing.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pochade_world import ATTRIBUTES, CLASSES
from pochade_world.palette import GLASS, INK, NO_COLOUR, NO_COUNT, NO_RELATION, NO_TIME

from .runs import CpuBudget, Run
from .world import shard_name

FILE = "reader.pt"
SIDE = 64
FEATURES = 128


class Reader(nn.Module):
    """Pictures `[B, 3, 64, 64]` in 0..1 to a set of logits for each attribute; 0.6 M
    parameters.
    """

    def __init__(self, widths: tuple[int, ...] = (24, 48, 96, 160)):
        super().__init__()
        layers, before = [], 3
        for width in widths:
            layers += [nn.Conv2d(before, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU()]
            layers += [nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU()]
            before = width
        self.body = nn.Sequential(*layers)
        self.feature = nn.Linear(2 * before, FEATURES)
        self.heads = nn.Linear(FEATURES, sum(CLASSES))

    def features(self, pictures: Tensor) -> Tensor:
        h = self.body(shrink(pictures) * 2 - 1)
        return self.feature(torch.cat([h.mean((2, 3)), h.amax((2, 3))], 1))

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        return self.heads(F.relu(self.features(pictures))).split(CLASSES, 1)


def shrink(pictures: Tensor) -> Tensor:
    if pictures.shape[-1] == SIDE:
        return pictures
    return F.interpolate(pictures, (SIDE, SIDE), mode="area")


def readable(attributes: Tensor) -> Tensor:
    """Which attributes `[B, 7]` can be told from the picture at all: ink has no hour and no second
    colour, and what is cut into panes of glass cannot be counted.
    """
    _, style, time, first, second, count, relation = attributes.T
    colourful, whole = style != INK, style != GLASS
    always = torch.ones_like(colourful)
    colours = [first < NO_COLOUR, (second < NO_COLOUR) & colourful]
    places = [(count < NO_COUNT) & whole, (relation < NO_RELATION) & whole]
    return torch.stack([always, always, (time < NO_TIME) & colourful, *colours, *places], 1)


def train(run: Run, minutes: float, shards: int = 8) -> Reader:
    """Learns from the first `shards` shards, or from as many as the run has."""
    torch.manual_seed(2)
    present = [shard_name(i) for i in range(shards) if run.path(shard_name(i)).exists()]
    stored = [run.load(name) for name in present]
    small = [shrink(part.float() / 255).half() for s in stored for part in s["pictures"].split(256)]
    pictures, attributes = torch.cat(small), torch.cat([s["attributes"] for s in stored])
    net = Reader().to(run.device)
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=0.02)
    budget, step = CpuBudget(minutes, run), 0
    while (progress := budget.progress()) < 1:
        optimiser.param_groups[0]["lr"] = 3e-3 * min(1, (step + 1) / 50) * (1 - progress) + 1e-5
        pick = torch.randint(len(pictures), (64,))
        x = pictures[pick].float()
        loss = _loss(net(x + 0.02 * torch.randn_like(x)), attributes[pick])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        step += 1
    run.save(FILE, net.state_dict())
    run.say(f"reader: {step} steps, loss {loss:.3f}")
    return net.eval()


def _loss(logits: tuple[Tensor, ...], attributes: Tensor) -> Tensor:
    seen, total = readable(attributes), 0.0
    for i, guess in enumerate(logits):
        each = F.cross_entropy(guess, attributes[:, i], reduction="none")
        total = total + (each * seen[:, i]).sum() / seen[:, i].sum().clamp(min=1)
    return total


def load(run: Run) -> Reader:
    net = Reader()
    net.load_state_dict(run.load(FILE))
    return net.to(run.device).eval()


def trained(run: Run, minutes: float) -> Reader:
    """The run's reader on the CPU, trained if it has none yet."""
    return (load(run) if run.path(FILE).exists() else train(run, minutes)).cpu()


@torch.no_grad()
def accuracy(net: Reader, pictures: Tensor, attributes: Tensor) -> dict[str, float]:
    """Share of readable attributes read as asked, each and all together; pictures `[N, 3, H, W]` in
    0..1.
    """
    parts = zip(*[net(part) for part in pictures.split(64)])
    guess = torch.stack([torch.cat(p).argmax(1) for p in parts], 1)
    seen, right = readable(attributes), guess == attributes

    def share(ok: Tensor, which: Tensor) -> float:
        return round((ok & which).sum().item() / which.sum().item(), 4)

    result = {name: share(right[:, i], seen[:, i]) for i, name in enumerate(ATTRIBUTES)}
    return result | {"all": share(right, seen)}


@torch.no_grad()
def features(net: Reader, pictures: Tensor) -> Tensor:
    return torch.cat([net.features(part) for part in pictures.split(64)]).double()


def frechet(a: Tensor, b: Tensor) -> float:
    """Frechet distance (Heusel et al. 2017) between two sets of features `[N, 128]`."""
    ca, cb = torch.cov(a.T), torch.cov(b.T)
    values, vectors = torch.linalg.eigh(ca)
    root = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cb @ root).clamp(min=0).sqrt().sum()
    mean = (a.mean(0) - b.mean(0)).square().sum()
    return (mean + ca.trace() + cb.trace() - 2 * cross).item()
