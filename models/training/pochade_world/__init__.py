"""A small painted world: procedural pictures with captions, for training and for measuring.

`render` paints a batch of one kind; `batch` a mixed one. Both are deterministic in their seed and
run on any torch device.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .canvas import Canvas
from .captions import Picture, Writer
from .palette import NO_COLOUR, NO_TIME, STYLE_WEIGHTS, STYLES
from .scenes import SCENES
from .styles import finish

__all__ = ["ATTRIBUTES", "CLASSES", "KINDS", "Batch", "Picture", "Writer", "batch", "render"]

KINDS = list(SCENES)
ATTRIBUTES = ("kind", "style", "time", "first colour", "second colour")
CLASSES = (len(KINDS), len(STYLES), NO_TIME + 1, NO_COLOUR + 1, NO_COLOUR + 1)


@dataclass
class Batch:
    """Pictures `[B, 3, S, S]` in 0..1, their attributes `[B, 5]`, and what each shows."""

    pictures: Tensor
    attributes: Tensor
    shows: list[Picture]


def render(kind: str, count: int, size: int, generator: torch.Generator, device="cpu") -> Batch:
    """`count` pictures of one kind; `generator` lives on `device`."""
    weights = torch.tensor(STYLE_WEIGHTS, device=device)
    style = torch.multinomial(weights, count, True, generator=generator)
    canvas = Canvas(style, size, generator)
    facts = SCENES[kind](canvas)
    pictures = finish(canvas)
    which = torch.full_like(style, KINDS.index(kind))
    attributes = torch.stack([which, style, canvas.time, canvas.first, canvas.second], 1).cpu()
    truths = {name: value.cpu() for name, value in facts.items()}
    shows = [
        Picture.of(kind, row, {name for name, value in truths.items() if value[i]})
        for i, row in enumerate(attributes.tolist())
    ]
    return Batch(pictures, attributes, shows)


def batch(count: int, size: int, seed: int, device="cpu", chunk: int = 16) -> Batch:
    """`count` pictures, every kind equally often, in an order shuffled by `seed`."""
    generator = torch.Generator(device).manual_seed(seed)
    share = -(-count // len(KINDS))
    made = []
    for kind in KINDS:
        sizes = [chunk] * (share // chunk) + ([share % chunk] if share % chunk else [])
        made += [render(kind, n, size, generator, device) for n in sizes]
    order = torch.randperm(share * len(KINDS), generator=torch.Generator().manual_seed(seed))[
        :count
    ]
    pictures = torch.cat([(b.pictures * 255 + 0.5).byte() for b in made])[order.to(device)]
    shows = [s for b in made for s in b.shows]
    return Batch(
        pictures, torch.cat([b.attributes for b in made])[order], [shows[i] for i in order]
    )
