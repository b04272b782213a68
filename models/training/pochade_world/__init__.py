"""A small painted world: procedural pictures with captions, for training and for measuring.

`render` paints a batch of one kind; `batch` a mixed one. Both are deterministic in their seed and
run on any torch device.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .canvas import Canvas
from .captions import Picture, Writer
from .palette import (
    NO_COLOUR,
    NO_COUNT,
    NO_RELATION,
    NO_TIME,
    PATTERN_STYLE_WEIGHTS,
    STYLE_WEIGHTS,
    STYLES,
)
from .scenes import PATTERNS, SCENES
from .styles import finish

__all__ = [
    "ATTRIBUTES",
    "CLASSES",
    "KINDS",
    "Batch",
    "Picture",
    "Writer",
    "batch",
    "held_out",
    "render",
]

KINDS = list(SCENES)
ATTRIBUTES = ("kind", "style", "time", "first colour", "second colour", "count", "relation")
CLASSES = (
    len(KINDS),
    len(STYLES),
    NO_TIME + 1,
    NO_COLOUR + 1,
    NO_COLOUR + 1,
    NO_COUNT + 1,
    NO_RELATION + 1,
)


@dataclass
class Batch:
    """Pictures `[B, 3, S, S]` in 0..1, their attributes `[B, 7]`, and what each shows."""

    pictures: Tensor
    attributes: Tensor
    shows: list[Picture]


def render(kind: str, count: int, size: int, generator: torch.Generator, device="cpu") -> Batch:
    """`count` pictures of one kind; `generator` lives on `device`."""
    weights = PATTERN_STYLE_WEIGHTS if kind in PATTERNS else STYLE_WEIGHTS
    weights = torch.tensor(weights, device=device)
    style = torch.multinomial(weights, count, True, generator=generator)
    canvas = Canvas(style, size, generator)
    facts = SCENES[kind](canvas)
    pictures = finish(canvas)
    which = torch.full_like(style, KINDS.index(kind))
    columns = [which, style, canvas.time, canvas.first, canvas.second]
    attributes = torch.stack([*columns, canvas.amount, canvas.relation], 1).cpu()
    truths = {name: value.cpu() for name, value in facts.items()}
    shows = [
        Picture.of(kind, row, {name for name, value in truths.items() if value[i]})
        for i, row in enumerate(attributes.tolist())
    ]
    return Batch(pictures, attributes, shows)


def held_out(attributes: Tensor) -> Tensor:
    """Which pictures `[B]` are of a combination of scene, style and colours that training never
    sees: one in ten, so that what is measured on them is composition and not recall.
    """
    kind, style, _, first, second = attributes.T[:5]
    return (3 * kind + 7 * style + first + 9 * second) % 10 == 0


def batch(
    count: int, size: int, seed: int, device="cpu", chunk: int = 16, unseen: bool = False
) -> Batch:
    """`count` pictures, every kind equally often, in an order shuffled by `seed`: of the
    combinations that training sees, or of the held-out ones (`unseen`, ten times the work).
    """
    generator = torch.Generator(device).manual_seed(seed)
    share = -(-count // len(KINDS))
    made = [_share(kind, share, size, generator, chunk, unseen) for kind in KINDS]
    order = torch.randperm(share * len(KINDS), generator=torch.Generator().manual_seed(seed))
    order = order[:count]
    shows = [shown for part in made for shown in part.shows]
    return Batch(
        torch.cat([part.pictures for part in made])[order.to(device)],
        torch.cat([part.attributes for part in made])[order],
        [shows[i] for i in order],
    )


def _share(kind: str, share: int, size: int, generator, chunk: int, unseen: bool) -> Batch:
    """`share` pictures of one kind as bytes."""
    pictures, attributes, shows = [], [], []
    while len(shows) < share:
        made = render(kind, chunk, size, generator, generator.device)
        keep = (held_out(made.attributes) == unseen).nonzero()[: share - len(shows), 0]
        pictures.append((made.pictures[keep.to(generator.device)] * 255 + 0.5).byte())
        attributes.append(made.attributes[keep])
        shows += [made.shows[i] for i in keep]
    return Batch(torch.cat(pictures), torch.cat(attributes), shows)
