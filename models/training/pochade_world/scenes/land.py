"""Land: mountains, hills, a desert, a forest, a city."""

import torch
from torch import Tensor

from .. import parts
from ..canvas import Canvas, Facts, flag
from ..palette import DUSK, NO_COUNT

WINDOW = 0.13  # height of a storey, in picture widths


def mountains(c: Canvas) -> Facts:
    """Two ranges of a few broad peaks, lit from one side; sometimes a lake before them."""
    parts.sky(c, 0.8)
    crescent = parts.sun(c, 0.13, 0.34)
    clouds = parts.clouds(c, 0.35)
    c.second = c.choose(
        "blue", "blue", "purple", "green", "teal", "gray", "red", "brown", "pink", "white"
    )
    colour = c.lit(c.rgb(c.second), 0.8)
    lake, snow = c.chance(0.35), c.chance(0.5)
    for base, rise, count, distance, dark in (
        (0.68, 0.36, 3, 0.40, 1.0),
        (0.86, 0.42, 2, 0.0, 0.88),
    ):
        line, side, summit = parts.peaks(c, base, rise, count, (0.75, 1.15))
        rock = c.coverage(line - c.y)
        shadow = (side > 0).float() * rock
        c.over(rock, c.far(colour, distance) * dark)
        c.shade(shadow, 0.26)
        cap = c.coverage(c.y - summit - 0.085 - 0.02 * torch.sin(c.x * 60 + 6 * c.seed))
        white = c.lit(c.tint((0.97, 0.97, 1.0)), 0.6)
        c.over(cap * rock * flag(snow), white)
        c.shade(cap * shadow * flag(snow), 0.20)
    mist = parts.mist(c, 0.15, 0.66) & ~lake
    parts.water(c, torch.full_like(c.seed, 0.78), colour * 0.55 + c.haze * 0.25, flag(lake))
    meadow = c.ridge(0.90, 0.02)
    c.over(c.coverage(meadow - c.y) * (1 - flag(lake)), colour * 0.42 + 0.02)
    return dict(crescent=crescent, clouds=clouds, lake=lake, snow=snow, mist=mist)


def hills(c: Canvas) -> Facts:
    """Three rolling hills, sometimes a house, sometimes round trees on one side of it."""
    parts.sky(c, 0.75)
    crescent = parts.sun(c, 0.14, 0.34)
    clouds = parts.clouds(c, 0.45)
    c.second = c.choose(
        "green", "green", "green", "yellow", "orange", "purple", "teal", "pink", "red", "blue"
    )
    colour = c.lit(c.rgb(c.second), 0.8)
    house, trees = c.chance(0.45), c.chance(0.5)
    side = c.side(house & trees)
    for base, distance, bright in ((0.58, 0.40, 1.04), (0.69, 0.20, 0.94), (0.82, 0.0, 0.80)):
        c.over(c.coverage(c.ridge(base, 0.06, 0.4, 0.9, 2) - c.y), c.far(colour, distance) * bright)
        if distance == 0.20:
            _house(c, 0.5 + side * c.uniform(0.18, 0.26), flag(house))
    for k in range(3):
        _round_tree(c, 0.5 - side * (0.08 + 0.13 * k + c.uniform(0, 0.08)), flag(trees))
    mist = parts.mist(c, 0.12, 0.62)
    return dict(crescent=crescent, clouds=clouds, house=house, trees=trees, mist=mist)


def _house(c: Canvas, x: Tensor, where: Tensor) -> None:
    """White walls, a gable roof, a window lit in the evening, a door."""
    y, w = torch.full_like(c.seed, 0.68), c.uniform(0.10, 0.135)
    roof = c.lit(c.rgb(c.choose("red", "red", "brown")), 0.6)
    gable = c.polygon((x, y - w * 1.75), (x + w * 1.3, y - w * 0.6), (x - w * 1.3, y - w * 0.6))
    c.over(c.coverage(c.box(x, y, w, w * 0.72)) * where, c.lit(c.tint((0.96, 0.92, 0.84)), 0.6))
    c.over(c.coverage(gable) * where, roof, accent=True)
    evening = (c.time >= 3).view(-1, 1, 1, 1)
    glass = torch.where(evening, c.tint((1.0, 0.85, 0.4)), c.tint((0.35, 0.42, 0.5)))
    c.over(c.coverage(c.box(x - w * 0.42, y - w * 0.05, w * 0.26, w * 0.24)) * where, glass)
    door = c.box(x + w * 0.42, y + w * 0.22, w * 0.22, w * 0.50)
    c.over(c.coverage(door) * where, c.lit(c.tint((0.4, 0.25, 0.16))))


def _round_tree(c: Canvas, x: Tensor, where: Tensor) -> None:
    y, r = c.uniform(0.80, 0.90), c.uniform(0.065, 0.105)
    leaves = c.lit(c.rgb(c.choose("green", "green", "teal")), 0.8) * 0.72
    trunk = c.box(x, y + r * 0.4, r * 0.16, r)
    c.over(c.coverage(trunk) * where, c.lit(c.tint((0.34, 0.22, 0.15))))
    c.over(c.coverage(c.disc(x, y - r * 1.1, r)) * where, leaves)
    c.over(
        c.coverage(c.disc(x - r * 0.25, y - r * 1.3, r * 0.6)) * where * 0.25, leaves * 1.4 + 0.05
    )


def desert(c: Canvas) -> Facts:
    """Dunes, with pyramids, cacti, both or nothing on them."""
    parts.sky(c, 0.75)
    crescent = parts.sun(c, 0.14, 0.38, 0.09, 0.15)
    c.second = c.choose("orange", "orange", "yellow", "yellow", "red", "brown", "pink", "white")
    colour = c.lit(c.rgb(c.second), 0.7)
    pyramids, cactus = c.chance(0.4), c.chance(0.55)
    side, amount = c.side(pyramids & cactus), c.several()
    c.amount = torch.where(cactus, c.amount, NO_COUNT)
    _pyramids(c, 0.5 - side * 0.20, colour, flag(pyramids))
    for base, distance, bright in ((0.66, 0.30, 1.02), (0.76, 0.12, 0.95), (0.87, 0.0, 0.86)):
        dune = c.coverage(c.ridge(base, 0.05, 0.35, 0.8, 2) - c.y)
        c.over(dune, c.far(colour, distance) * bright)
        lee = c.coverage(base + 0.05 + 0.10 * (c.x - c.seed).abs() - c.y) * c.coverage(c.seed - c.x)
        c.shade(dune * lee, 0.12)
    middle = 0.5 + side * torch.where(flag(pyramids) > 0, 0.25, c.uniform(0, 0.2))
    for k, x in enumerate(c.abreast(middle, amount, 0.19)):
        _cactus(c, x, c.uniform(0.34, 0.42) - 0.06 * (amount - 1), flag(cactus) * (amount > k))
    return dict(crescent=crescent, pyramids=pyramids, cactus=cactus)


def _pyramids(c: Canvas, middle: Tensor, colour: Tensor, where: Tensor) -> None:
    """A small pyramid and a large one, lit from one side."""
    ground = torch.full_like(c.seed, 0.72)
    for offset, small, large in ((-0.16, 0.13, 0.18), (0.10, 0.20, 0.26)):
        x, w = middle + offset + c.uniform(-0.03, 0.03), c.uniform(small, large)
        top = (x, ground - w * 1.1)
        lit = c.polygon(top, (x + w, ground), (x - w, ground))
        dark = c.polygon(top, (x + w, ground), (x + w * 0.25, ground))
        c.over(c.coverage(lit) * where, colour * 0.85)
        c.over(c.coverage(dark) * where, colour * 0.58)


def _cactus(c: Canvas, x: Tensor, z: Tensor, where: Tensor) -> None:
    """A saguaro with two raised arms, `z` high."""
    y = c.uniform(0.86, 0.94)
    arms = (
        (0.0, 0.0, 0.0, 1.0, 0.12),
        (-0.34, 0.48, 0.0, 0.38, 0.08),
        (-0.34, 0.48, -0.34, 0.76, 0.08),
        (0.34, 0.60, 0.0, 0.50, 0.08),
        (0.34, 0.60, 0.34, 0.88, 0.08),
    )
    shape = None
    for ax, ay, bx, by, width in arms:
        limb = c.stroke(x + z * ax, y - z * ay, x + z * bx, y - z * by, z * width)
        shape = limb if shape is None else torch.minimum(shape, limb)
    green = c.lit(c.rgb(c.choose("green", "green", "teal")), 0.8) * 0.68
    c.over(c.coverage(shape) * where, green)


def forest(c: Canvas) -> Facts:
    """Three rows of firs, or firs far away and birches near; in winter all is white."""
    parts.sky(c, 0.9)
    crescent = parts.sun(c, 0.14, 0.34, 0.09, 0.15)
    c.second = c.choose(
        "green", "green", "green", "teal", "blue", "orange", "purple", "red", "black"
    )
    colour = c.lit(c.rgb(c.second), 0.8)
    birch, snow = c.chance(0.25), c.chance(0.25)
    white = c.lit(c.tint((0.93, 0.95, 1.0)), 0.6)
    for row, (distance, bright) in enumerate(((0.55, 1.0), (0.28, 0.85), (0.0, 0.6))):
        where = 1 - flag(birch) if row else 1.0
        firs = c.far(colour, distance) * bright
        for k in range(4):
            x = (k + c.uniform(-0.1, 1.1)) / 4
            foot, height = c.uniform(0.80, 0.85) + 0.06 * row, c.uniform(0.32, 0.46) + 0.03 * row
            parts.pine(c, x, foot, height, firs, where)
            frost = c.coverage(c.y - foot + height * 0.62) * flag(snow) * where
            parts.pine(c, x, foot, height, white * (0.8 + 0.1 * row), frost)
        floor = torch.where(snow.view(-1, 1, 1, 1), white * (0.85 + 0.07 * row), firs * 0.95)
        c.over(c.coverage(c.ridge(0.82 + 0.06 * row, 0.015) - c.y), floor)
    _birches(c, flag(birch))
    mist = parts.mist(c, 0.15, 0.74)
    return dict(crescent=crescent, birch=birch, snow=snow, mist=mist)


def _birches(c: Canvas, where: Tensor) -> None:
    """Four white trunks with dark marks, from the top of the picture to the ground."""
    bark, mark = c.lit(c.tint((0.93, 0.92, 0.88)), 0.6), c.tint((0.16, 0.15, 0.15))
    for k in range(4):
        x, width = (k + c.uniform(0.2, 0.8)) / 4, c.uniform(0.026, 0.042)
        bend = 0.02 * (c.seed - 0.5) * torch.sin(c.y * 4 + k)
        trunk = (c.x - x - bend).abs() - width * (0.7 + 0.4 * c.y)
        stem = c.coverage(torch.maximum(trunk, c.y - 0.94)) * where
        c.over(stem, bark)
        rings = (((c.y * 9 + k * 0.37 + c.seed) % 1) < 0.22) & (
            (c.x - x) * (k % 2 * 2 - 1) < width * 0.2
        )
        c.over(stem * rings, mark)


def city(c: Canvas) -> Facts:
    """Two rows of houses, the far one hazy, the near one with windows that are lit from dusk on."""
    parts.sky(c, 0.8)
    crescent = parts.sun(c, 0.12, 0.32)
    clouds = parts.clouds(c, 0.3)
    c.second = c.choose(
        "gray", "blue", "purple", "red", "brown", "teal", "pink", "white", "orange", "black"
    )
    colour = c.lit(c.rgb(c.second), 0.7)
    _houses(c, 8, 0.42, 0.66, c.far(colour, 0.55))
    windows = _houses(c, 5, 0.46, 0.74, colour * 0.92)
    lit = (c.time >= DUSK).view(-1, 1, 1, 1)
    c.over(windows, torch.where(lit, c.tint((1.0, 0.86, 0.45)), colour * 0.5))
    c.over(c.coverage(0.95 - c.y), colour * 0.4 + 0.02)
    return dict(crescent=crescent, clouds=clouds)


def _houses(c: Canvas, n: int, low: float, high: float, colour: Tensor) -> Tensor:
    """`n` houses abreast with roofs between `low` and `high`; returns their windows, two in a
    row.
    """
    at = (c.x.clamp(0, 0.999) + c.seed * 0.15) * n
    house = at.floor().long().clamp(0, n)
    roofs = low + (high - low) * c.random(c.count, n + 1)
    shades = 0.85 + 0.3 * c.random(c.count, n + 1)

    def of(table: Tensor) -> Tensor:
        return table.gather(1, house.flatten(1)).view_as(c.x)

    top = of(roofs)
    c.over(c.coverage(top - c.y), colour * of(shades).unsqueeze(1))
    across, down = ((at - house) * 2) % 1 - 0.5, ((c.y - top - 0.04) / WINDOW) % 1 - 0.5
    pane = torch.maximum((across.abs() - 0.24) / (2 * n), (down.abs() - 0.28) * WINDOW)
    return c.coverage(torch.maximum(pane, top + 0.03 - c.y))
