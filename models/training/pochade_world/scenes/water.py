"""Water: the sea, a lighthouse, fish under water."""

import torch
from torch import Tensor

from .. import parts
from ..canvas import Canvas, Facts, flag
from ..palette import COLOUR_NAMES, DUSK, NO_COLOUR, NO_COUNT

WHITE = COLOUR_NAMES.index("white")


def sea(c: Canvas) -> Facts:
    """Open water under the sun, often with sailing boats, sometimes with an island beside them."""
    parts.sky(c, 0.6)
    crescent = parts.sun(c, 0.20, 0.44, 0.09, 0.15)
    clouds = parts.clouds(c, 0.35)
    island, boat, horizon = c.chance(0.3), c.chance(0.6), c.uniform(0.50, 0.58)
    side, amount = c.side(island & boat), c.several()
    c.amount = torch.where(boat, c.amount, NO_COUNT)
    line, _, _ = parts.peaks(c, 0.60, 0.20, 2, (0.5, 0.8))
    land = c.coverage(torch.maximum(line, horizon - 0.13) - c.y)
    land = land * c.coverage((c.x - 0.5 + side * c.uniform(0.2, 0.3)).abs() - 0.24)
    c.over(land * flag(island), c.haze * 0.45 + 0.08)
    _open_water(c, horizon)
    c.second = c.choose("white", "red", "orange", "yellow", "black", "blue", "pink", "red", "white")
    c.second = torch.where(boat, c.second, NO_COLOUR)
    middle = 0.5 + side * torch.where(flag(island) > 0, 0.20, c.uniform(0.0, 0.12))
    size = c.uniform(0.25, 0.31) / (1 + 0.42 * (amount - 1))
    for k, x in enumerate(c.abreast(middle, amount, 0.22)):
        _sailing_boat(c, x, horizon + c.uniform(0.10, 0.20), size, flag(boat) * (amount > k))
    return dict(crescent=crescent, clouds=clouds, island=island, boat=boat)


def _open_water(c: Canvas, horizon: Tensor) -> None:
    deep = c.lit(c.rgb(c.choose("blue", "teal", "blue")), 0.7) * 0.85
    parts.water(c, horizon, deep, torch.ones_like(c.seed))


def _sailing_boat(c: Canvas, x: Tensor, y: Tensor, z: Tensor, where: Tensor) -> None:
    """A dark hull and two sails of the second colour; `z` is the hull's length, about."""
    sail = c.lit(c.rgb(c.second), 0.35)
    hull = c.polygon(
        (x - z * 0.62, y),
        (x + z * 0.70, y),
        (x + z * 0.42, y + z * 0.26),
        (x - z * 0.42, y + z * 0.26),
    )
    main = c.polygon(
        (x + z * 0.03, y - z * 1.3), (x + z * 0.66, y - z * 0.08), (x + z * 0.03, y - z * 0.08)
    )
    jib = c.polygon(
        (x - z * 0.06, y - z * 1.1), (x - z * 0.06, y - z * 0.08), (x - z * 0.54, y - z * 0.08)
    )
    c.shade(c.coverage(c.box(x, y + z * 0.33, z * 0.5, z * 0.06)) * where, 0.35)
    c.over(c.coverage(hull) * where, c.lit(c.tint((0.34, 0.20, 0.14)), 0.5))
    c.over(c.coverage(main) * where, sail, accent=True)
    c.over(c.coverage(jib) * where, sail * 0.86, accent=True)


def lighthouse(c: Canvas) -> Facts:
    """A striped tower on a rock, with a beam of light from dusk on; sometimes a boat beside it."""
    parts.sky(c, 0.65)
    crescent = parts.sun(c, 0.16, 0.36, 0.08, 0.12)
    clouds = parts.clouds(c, 0.3)
    horizon = c.uniform(0.58, 0.66)
    _open_water(c, horizon)
    boat = c.chance(0.45)
    side = c.side(boat)
    c.second = c.choose("red", "red", "blue", "black", "green", "orange", "white")
    x, foot, height = 0.5 - side * c.uniform(0.16, 0.26), horizon + 0.10, c.uniform(0.46, 0.54)
    rock = c.disc(x, foot + 0.16, torch.full_like(x, 0.22))
    c.over(c.coverage(rock), c.lit(c.tint((0.36, 0.33, 0.32)), 0.6))
    _tower(c, x, foot, height)
    tower_colour, c.second = c.second, torch.full_like(c.second, WHITE)
    _sailing_boat(c, 0.5 + side * 0.24, horizon + 0.16, c.uniform(0.17, 0.21), flag(boat))
    c.second = tower_colour
    return dict(crescent=crescent, clouds=clouds, boat=boat)


def _tower(c: Canvas, x: Tensor, foot: Tensor, height: Tensor) -> None:
    """Bands of white and of the second colour that taper towards a lantern."""
    t = ((foot - c.y) / height).clamp(0, 1)
    wall = (c.x - x).abs() - (0.085 - 0.035 * t)
    tower = c.coverage(torch.maximum(wall, (c.y - foot + height / 2).abs() - height / 2))
    paint = c.lit(c.rgb(c.second), 0.4)
    c.over(tower, c.lit(c.tint((0.96, 0.94, 0.90)), 0.5), accent=True)
    c.over(tower * ((t * 5) % 2 < 1), paint, accent=True)
    c.shade(tower * c.coverage(x - c.x), 0.18)
    top, dark = foot - height, (c.time >= DUSK).view(-1, 1, 1)
    away = (c.x - x).abs()
    beam = c.coverage((c.y - top + 0.035).abs() - 0.16 * away) * torch.exp(-3 * away)
    c.over(beam * dark * 0.6, c.tint((1.0, 0.93, 0.65)))
    lamp = torch.where(dark.unsqueeze(1), c.tint((1.0, 0.92, 0.55)), c.tint((0.75, 0.85, 0.9)))
    c.over(c.coverage(c.box(x, top - 0.035, 0.036, 0.035)), lamp)
    roof = c.polygon((x, top - 0.14), (x + 0.06, top - 0.06), (x - 0.06, top - 0.06))
    c.over(c.coverage(roof), paint * 0.8, accent=True)


def fish(c: Canvas) -> Facts:
    """One to three fish under water, between weeds, over sand."""
    c.second = c.choose("teal", "blue", "green", "purple", "black", "teal", "blue")
    c.first = c.choose("red", "orange", "yellow", "white", "pink", "orange", "blue", "purple")
    c.first = torch.where(c.first == c.second, WHITE, c.first)
    depth = c.y.unsqueeze(1)
    c.colour = (c.rgb(c.second) * (1.18 - 0.62 * depth)).clamp(0, 1)
    c.over(c.coverage(c.ridge(0.88, 0.02) - c.y), c.tint((0.86, 0.76, 0.55)) * 0.8)
    weed = c.rgb(c.choose("green", "teal", "purple")) * 0.75
    for left, right in ((0.04, 0.2), (0.8, 0.96)):
        sway = 0.025 * torch.sin(c.y * 22 + c.seed * 9)
        stem = (c.x - c.uniform(left, right) - sway).abs() - 0.022
        c.over(c.coverage(torch.maximum(stem, c.uniform(0.45, 0.65) - c.y)), weed)
    amount, way = c.several(), c.whole(0, 1) * 2 - 1
    size = c.uniform(0.21, 0.25) / (1 + 0.32 * (amount - 1))
    places = c.abreast(torch.full_like(size, 0.46), amount, 0.21)
    for k, y in enumerate(places):
        x = c.uniform(0.4, 0.6) - 0.10 * (amount - 1) * (k - 1) * way
        _fish(c, (x, y, size, way), (amount > k).float())
    bubble = c.disc(c.uniform(0.3, 0.7), c.uniform(0.06, 0.12), c.uniform(0.018, 0.03))
    c.over(c.coverage(bubble) * 0.6, c.tint((0.9, 0.97, 1.0)))
    return {}


def _fish(c: Canvas, place: tuple[Tensor, ...], where: Tensor) -> None:
    """A body, a tail, a band across and an eye; `place` is x, y, half the length, and its way."""
    x, y, z, way = place
    colour = c.rgb(c.first)
    ahead, up = (c.x - x) * way, c.y - y
    body = ((ahead / 1.0) ** 2 + (up / 0.58) ** 2).sqrt() - z
    tail = torch.maximum(up.abs() + (ahead + z * 0.75) * 0.85, -ahead - z * 1.55)
    c.over(c.coverage(tail * 0.8) * where, colour * 0.85, accent=True)
    c.over(c.coverage(body) * where, colour, accent=True)
    band = torch.maximum(body, (ahead - z * 0.12).abs() - z * 0.14)
    c.over(c.coverage(band) * where * 0.8, colour * 0.45 + 0.5, accent=True)
    eye = (((ahead - z * 0.62) ** 2 + (up + z * 0.12) ** 2).sqrt()) - z * 0.11
    c.over(c.coverage(eye) * where, c.tint((0.08, 0.08, 0.1)), accent=True)
