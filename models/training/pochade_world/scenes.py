"""The nine scenes. Each paints a whole canvas and says what it put there.

A scene sets the canvas's time and named colours, and returns its facts: boolean `[B]` tensors by
name, which the captions may mention. Shapes are few and large on purpose: a picture is 128 pixels
wide and its latent 16.
"""

import torch
from torch import Tensor

from . import parts
from .canvas import Canvas, flag
from .palette import COLOUR_NAMES, NO_COLOUR

Facts = dict[str, Tensor]
SUBJECTS = ("red", "pink", "yellow", "white", "purple", "blue", "orange")


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


def sea(c: Canvas) -> Facts:
    """Open water under the sun, often one sailing boat, sometimes an island."""
    parts.sky(c, 0.6)
    crescent = parts.sun(c, 0.20, 0.44, 0.09, 0.15)
    clouds = parts.clouds(c, 0.35)
    island, horizon = c.chance(0.25), c.uniform(0.50, 0.58)
    line, _, _ = parts.peaks(c, 0.60, 0.20, 2, (0.5, 0.8))
    land = c.coverage(torch.maximum(line, horizon - 0.13) - c.y)
    land = land * c.coverage((c.x - c.seed).abs() - 0.28)
    c.over(land * flag(island), c.haze * 0.45 + 0.08)
    deep = c.lit(c.rgb(c.choose("blue", "teal", "blue")), 0.7) * 0.85
    parts.water(c, horizon, deep, torch.ones_like(c.seed))
    boat = c.chance(0.55)
    c.second = c.choose("white", "red", "orange", "yellow", "black", "blue", "pink", "red", "white")
    c.second = torch.where(boat, c.second, NO_COLOUR)
    _sailing_boat(c, horizon, flag(boat))
    return dict(crescent=crescent, clouds=clouds, island=island, boat=boat)


def _sailing_boat(c: Canvas, horizon: Tensor, where: Tensor) -> None:
    """A dark hull and two sails of the second colour."""
    sail = c.lit(c.rgb(c.second), 0.35)
    x, y, z = c.uniform(0.30, 0.70), horizon + c.uniform(0.12, 0.22), c.uniform(0.24, 0.32)
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


def hills(c: Canvas) -> Facts:
    """Three rolling hills, sometimes a house, sometimes round trees."""
    parts.sky(c, 0.75)
    crescent = parts.sun(c, 0.14, 0.34)
    clouds = parts.clouds(c, 0.45)
    c.second = c.choose(
        "green", "green", "green", "yellow", "orange", "purple", "teal", "pink", "red", "blue"
    )
    colour = c.lit(c.rgb(c.second), 0.8)
    house, trees = c.chance(0.4), c.chance(0.5)
    for base, distance, bright in ((0.58, 0.40, 1.04), (0.69, 0.20, 0.94), (0.82, 0.0, 0.80)):
        c.over(c.coverage(c.ridge(base, 0.06, 0.4, 0.9, 2) - c.y), c.far(colour, distance) * bright)
        if distance == 0.20:
            _house(c, flag(house))
    for _ in range(3):
        _round_tree(c, flag(trees))
    mist = parts.mist(c, 0.12, 0.62)
    return dict(crescent=crescent, clouds=clouds, house=house, trees=trees, mist=mist)


def _house(c: Canvas, where: Tensor) -> None:
    """White walls, a gable roof, a window lit in the evening, a door."""
    x, y, w = c.uniform(0.25, 0.75), torch.full_like(c.seed, 0.68), c.uniform(0.10, 0.135)
    roof = c.lit(c.rgb(c.choose("red", "red", "brown")), 0.6)
    gable = c.polygon((x, y - w * 1.75), (x + w * 1.3, y - w * 0.6), (x - w * 1.3, y - w * 0.6))
    c.over(c.coverage(c.box(x, y, w, w * 0.72)) * where, c.lit(c.tint((0.96, 0.92, 0.84)), 0.6))
    c.over(c.coverage(gable) * where, roof, accent=True)
    evening = (c.time >= 3).view(-1, 1, 1, 1)
    glass = torch.where(evening, c.tint((1.0, 0.85, 0.4)), c.tint((0.35, 0.42, 0.5)))
    c.over(c.coverage(c.box(x - w * 0.42, y - w * 0.05, w * 0.26, w * 0.24)) * where, glass)
    door = c.box(x + w * 0.42, y + w * 0.22, w * 0.22, w * 0.50)
    c.over(c.coverage(door) * where, c.lit(c.tint((0.4, 0.25, 0.16))))


def _round_tree(c: Canvas, where: Tensor) -> None:
    x, y, r = c.uniform(0.06, 0.94), c.uniform(0.80, 0.90), c.uniform(0.065, 0.105)
    leaves = c.lit(c.rgb(c.choose("green", "green", "teal")), 0.8) * 0.72
    trunk = c.box(x, y + r * 0.4, r * 0.16, r)
    c.over(c.coverage(trunk) * where, c.lit(c.tint((0.34, 0.22, 0.15))))
    c.over(c.coverage(c.disc(x, y - r * 1.1, r)) * where, leaves)
    c.over(
        c.coverage(c.disc(x - r * 0.25, y - r * 1.3, r * 0.6)) * where * 0.25, leaves * 1.4 + 0.05
    )


def desert(c: Canvas) -> Facts:
    """Dunes, with pyramids or a cactus or nothing on them."""
    parts.sky(c, 0.75)
    crescent = parts.sun(c, 0.14, 0.38, 0.09, 0.15)
    c.second = c.choose("orange", "orange", "yellow", "yellow", "red", "brown", "pink", "white")
    colour = c.lit(c.rgb(c.second), 0.7)
    pyramids = c.chance(0.35)
    cactus = c.chance(0.5) & ~pyramids
    ground = torch.full_like(c.seed, 0.72)
    for low, high, small, large in ((0.15, 0.45, 0.16, 0.22), (0.50, 0.85, 0.22, 0.32)):
        x, w = c.uniform(low, high), c.uniform(small, large)
        top = (x, ground - w * 1.1)
        lit = c.polygon(top, (x + w, ground), (x - w, ground))
        dark = c.polygon(top, (x + w, ground), (x + w * 0.25, ground))
        c.over(c.coverage(lit) * flag(pyramids), colour * 0.85)
        c.over(c.coverage(dark) * flag(pyramids), colour * 0.58)
    for base, distance, bright in ((0.66, 0.30, 1.02), (0.76, 0.12, 0.95), (0.87, 0.0, 0.86)):
        dune = c.coverage(c.ridge(base, 0.05, 0.35, 0.8, 2) - c.y)
        c.over(dune, c.far(colour, distance) * bright)
        lee = c.coverage(base + 0.05 + 0.10 * (c.x - c.seed).abs() - c.y) * c.coverage(c.seed - c.x)
        c.shade(dune * lee, 0.12)
    _cactus(c, flag(cactus))
    return dict(crescent=crescent, pyramids=pyramids, cactus=cactus)


def _cactus(c: Canvas, where: Tensor) -> None:
    """A saguaro with two raised arms."""
    x, y, z = c.uniform(0.2, 0.8), c.uniform(0.86, 0.94), c.uniform(0.30, 0.42)
    arms = (
        (0.0, 0.0, 0.0, 1.0, 0.12),
        (-0.34, 0.48, 0.0, 0.38, 0.08),
        (-0.34, 0.48, -0.34, 0.76, 0.08),
    )
    arms += ((0.34, 0.60, 0.0, 0.50, 0.08), (0.34, 0.60, 0.34, 0.88, 0.08))
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


def flower(c: Canvas) -> Facts:
    """One large flower before a plain wall."""
    wall = c.choose("white", "green", "teal", "blue", "black", "gray", "yellow", "pink", "purple")
    petals = c.choose(*SUBJECTS)
    clash = petals == wall
    white = COLOUR_NAMES.index("white")
    c.second = torch.where(clash & (wall == white), COLOUR_NAMES.index("blue"), wall)
    c.second = torch.where(clash & (wall != white), white, c.second)
    c.first = petals
    vignette = ((c.paper_x - 0.5) ** 2 + (c.paper_y - 0.45) ** 2).unsqueeze(1)
    c.colour = (c.rgb(c.second) * (1.02 - 0.35 * vignette)).clamp(0, 1)
    green = c.rgb(c.choose("green", "teal")) * 0.72
    x, y, radius = c.uniform(0.42, 0.58), c.uniform(0.34, 0.44), c.uniform(0.25, 0.32)
    foot = x + c.uniform(-0.1, 0.1)
    c.over(c.coverage(c.stroke(x, y, foot, torch.full_like(y, 1.05), 0.022)), green)
    for side in (-1, 1):
        a, b = x + side * 0.14, c.uniform(0.78, 0.86)
        leaf = torch.maximum(
            c.disc(a - 0.03 * side, b - 0.12, 0.17), c.disc(a + 0.06 * side, b + 0.11, 0.18)
        )
        c.over(c.coverage(leaf), green * (1.1 + 0.1 * side))
    _blossom(c, x, y, radius)
    return {}


def _blossom(c: Canvas, x: Tensor, y: Tensor, radius: Tensor) -> None:
    """Two whorls of five to eight petals around a core."""
    colour, petals = c.rgb(c.first), c.whole(5, 8)
    dx, dy = c.x - x, c.y - y
    reach, angle = (dx * dx + dy * dy).sqrt(), torch.atan2(dy, dx) + c.seed * 6
    for whorl, scale in enumerate((1.0, 0.62)):
        wave = torch.cos((angle + whorl * 0.35) * petals / 2).abs()
        edge = radius * scale * (0.45 + 0.55 * wave**0.6)
        c.over(
            c.coverage((reach - edge) * 0.8), colour * (1 - 0.2 * whorl) + 0.03 * whorl, accent=True
        )
        seam = c.coverage((wave - 0.06) * reach) * c.coverage(reach - edge)
        c.shade(seam, 0.15)
    core = c.rgb(c.choose("yellow", "brown", "black", "orange"))
    core = torch.where((c.first == 2).view(-1, 1, 1, 1), c.tint((0.45, 0.28, 0.16)), core)
    c.over(c.coverage(reach - radius * 0.26), core, accent=True)


def planet(c: Canvas) -> Facts:
    """One planet among stars, often ringed, sometimes with a moon."""
    parts.sky(c, 1.0, (0.0, 0.0, 0.0, 0.0, 1.0))
    nebula = c.rgb(c.choose("purple", "blue", "teal", "pink", "red"))
    c.colour = c.colour * 0.75 + nebula * (c.noise(3, octaves=2).unsqueeze(1) * 0.35).clamp(0, 0.5)
    c.time = torch.full_like(c.time, 5)
    c.first = c.choose(
        "red", "orange", "yellow", "green", "teal", "blue", "purple", "pink", "white"
    )
    ring, moon = c.chance(0.5), c.chance(0.35)
    ring_colour = c.choose("white", "yellow", "pink", "orange", "teal", "purple")
    c.second = torch.where(ring, ring_colour, NO_COLOUR)
    x, y, radius = c.uniform(0.42, 0.58), c.uniform(0.42, 0.58), c.uniform(0.19, 0.27)
    tilt = c.uniform(-0.5, 0.5)
    dx, dy = c.x - x, c.y - y
    along, across = dx * tilt.cos() + dy * tilt.sin(), dy * tilt.cos() - dx * tilt.sin()
    ellipse = (along**2 + (across * 3.4) ** 2).sqrt()
    band = c.coverage((ellipse - radius * 1.62).abs() - radius * 0.22) * flag(ring)
    c.over(band * (across < 0), c.rgb(c.second))
    _globe(c, x, y, radius, along, across)
    c.over(band * (across >= 0), c.rgb(c.second))
    corner = torch.where(c.seed > 0.5, c.uniform(0.10, 0.18), c.uniform(0.82, 0.90))
    companion = c.disc(c.uniform(0.10, 0.90), corner, c.uniform(0.05, 0.075))
    c.over(c.coverage(companion) * flag(moon), c.tint((0.85, 0.84, 0.80)))
    return dict(ring=ring, moon=moon)


def _globe(c: Canvas, x: Tensor, y: Tensor, radius: Tensor, along: Tensor, across: Tensor) -> None:
    """A glowing ball with bands of weather and a night side."""
    colour, distance = c.rgb(c.first), c.disc(x, y, radius)
    ball = c.coverage(distance)
    c.over(torch.exp(-distance.clamp(min=0) * 16) * 0.30, colour)
    c.over(ball, colour, accent=True)
    wave = across / radius * c.uniform(2.5, 5) + 0.25 * torch.sin(along / radius * 3 + c.seed * 9)
    c.over(ball * (torch.sin(wave * 3.14) > 0.2) * 0.35, colour * 0.62 + 0.12, accent=True)
    day_side = c.disc(x - radius * 0.35, y - radius * 0.35, radius * 1.02)
    c.accent = torch.maximum(c.accent, ball.unsqueeze(1))
    c.shade(ball * c.coverage(-day_side), 0.55)


def balloon(c: Canvas) -> Facts:
    """A hot air balloon, large and striped, over hills."""
    parts.sky(c, 0.85, (0.2, 0.38, 0.2, 0.12, 0.10))
    clouds = parts.clouds(c, 0.45)
    ground = c.lit(c.rgb(c.choose("green", "green", "teal", "blue", "purple")), 0.8)
    c.over(c.coverage(c.ridge(0.82, 0.04, 0.4, 1.0, 2) - c.y), c.far(ground * 0.85, 0.35))
    c.over(c.coverage(c.ridge(0.90, 0.04, 0.4, 0.9, 2) - c.y), ground * 0.8)
    c.first = c.choose("red", "red", "orange", "yellow", "blue", "purple", "pink", "teal", "green")
    c.second = c.choose("white", "white", "yellow", "orange", "red", "blue")
    c.second = torch.where(c.first == c.second, COLOUR_NAMES.index("white"), c.second)
    x, y, radius = c.uniform(0.36, 0.64), c.uniform(0.32, 0.38), c.uniform(0.22, 0.27)
    _envelope(c, x, y, radius)
    return dict(clouds=clouds)


def _envelope(c: Canvas, x: Tensor, y: Tensor, radius: Tensor) -> None:
    """The balloon itself: ropes, a basket, and a bag of five stripes rounded by shade."""
    t = (c.y - y) / radius
    width = torch.where(
        t < 0.25, (1 - t.clamp(-1, 1) ** 2).clamp(min=0).sqrt(), 0.968 - (t - 0.25) * 0.68
    )
    bag = torch.maximum((c.x - x).abs() - width * radius, torch.maximum(-t - 1, t - 1.2) * radius)
    dark = c.tint((0.20, 0.15, 0.13))
    for side in (-1, 1):
        rope = c.stroke(
            x + side * radius * 0.26, y + radius, x + side * radius * 0.17, y + radius * 1.6, 0.005
        )
        c.over(c.coverage(rope), dark)
    basket = c.box(x, y + radius * 1.66, radius * 0.24, radius * 0.17)
    c.over(c.coverage(basket), c.lit(c.tint((0.45, 0.28, 0.16)), 0.5), accent=True)
    across = ((c.x - x) / (width * radius + 1e-4)).clamp(-1, 1)
    stripe = ((torch.asin(across * 0.98) / 3.1416 + 0.5) * 5).floor() % 2
    cover = c.coverage(bag)
    c.over(cover, c.lit(c.rgb(c.first), 0.4), accent=True)
    c.over(cover * stripe, c.lit(c.rgb(c.second), 0.4), accent=True)
    c.accent = torch.maximum(c.accent, cover.unsqueeze(1))
    c.shade(cover * (across - 0.1).clamp(0, 1), 0.38)


def waves(c: Canvas) -> Facts:
    """Seigaiha: overlapping scales of concentric arcs, as on Japanese cloth."""
    c.first = c.choose(*COLOUR_NAMES[:8])
    c.second = c.choose(*COLOUR_NAMES[:8])
    c.second = torch.where(c.second == c.first, (c.first + 3) % 8, c.second)
    first, second = c.rgb(c.first), c.rgb(c.second)
    cream = c.rgb(torch.full_like(c.first, COLOUR_NAMES.index("white")))
    dark = c.rgb(torch.full_like(c.first, COLOUR_NAMES.index("black")))
    rows = c.whole(3, 4)
    c.colour = dark.expand(-1, -1, c.size, c.size).clone()
    y = c.y * rows * 2
    for offset in (
        -1.0,
        0.0,
        1.0,
        2.0,
    ):  # from back to front: a pixel sees only the rows that can reach it
        row = y.floor() + offset
        x = (c.x * rows + 0.5 * (row % 2)) % 1 - 0.5
        distance = (x * x + ((y - row - 0.9) * 0.5) ** 2).sqrt()
        for ring, (colour, accent) in enumerate(
            ((cream, False), (first, True), (cream, False), (second, True))
        ):
            c.over(c.coverage((distance - (0.5 - 0.12 * ring)) / rows), colour, accent)
        c.over(c.coverage(((distance - 0.5).abs() - 0.024) / rows), dark)
    return {}


SCENES = {
    "mountains": mountains,
    "sea": sea,
    "hills": hills,
    "desert": desert,
    "forest": forest,
    "flower": flower,
    "planet": planet,
    "balloon": balloon,
    "waves": waves,
}
