"""Things looked at closely, or alone in the sky: flowers, a still life, a planet, balloons."""

import torch
from torch import Tensor

from .. import parts
from ..canvas import Canvas, Facts, flag
from ..palette import COLOUR_NAMES, NO_COLOUR

SUBJECTS = ("red", "pink", "yellow", "white", "purple", "blue", "orange")
WALLS = ("white", "green", "teal", "blue", "black", "gray", "yellow", "pink", "purple")
BLUE, WHITE = COLOUR_NAMES.index("blue"), COLOUR_NAMES.index("white")


def wall(c: Canvas, apart_from: Tensor) -> Tensor:
    """A plain wall, darker towards the corners, of another colour than `apart_from`, which it
    returns.
    """
    colour = c.choose(*WALLS)
    clash = colour == apart_from
    colour = torch.where(clash, torch.where(colour == WHITE, BLUE, WHITE), colour)
    vignette = ((c.paper_x - 0.5) ** 2 + (c.paper_y - 0.45) ** 2).unsqueeze(1)
    c.colour = (c.rgb(colour) * (1.02 - 0.35 * vignette)).clamp(0, 1)
    return colour


def flower(c: Canvas) -> Facts:
    """One to three large flowers before a plain wall."""
    c.first = c.choose(*SUBJECTS)
    c.second = wall(c, c.first)
    green, amount = c.rgb(c.choose("green", "teal")) * 0.72, c.several()
    radius = c.uniform(0.25, 0.31) / (1 + 0.42 * (amount - 1))
    heads = c.abreast(c.uniform(0.45, 0.55), amount, 0.31)
    for k, x in enumerate(heads):
        there, y = (amount > k).float(), c.uniform(0.34, 0.44)
        foot = 0.5 + (x - 0.5) * 0.6 + c.uniform(-0.05, 0.05)
        stem = c.stroke(x, y, foot, torch.full_like(y, 1.05), 0.020)
        c.over(c.coverage(stem) * there, green)
    for side in (-1, 1):
        a, b = 0.5 + side * 0.14, c.uniform(0.80, 0.88)
        leaf = torch.maximum(
            c.disc(a - 0.03 * side, b - 0.12, 0.17), c.disc(a + 0.06 * side, b + 0.11, 0.18)
        )
        c.over(c.coverage(leaf), green * (1.1 + 0.1 * side))
    core = c.rgb(c.choose("yellow", "brown", "black", "orange"))
    yellow = (c.first == COLOUR_NAMES.index("yellow")).view(-1, 1, 1, 1)
    core = torch.where(yellow, c.tint((0.45, 0.28, 0.16)), core)
    for k, x in enumerate(heads):
        _blossom(c, (x, c.uniform(0.32, 0.42), radius), core, (amount > k).float())
    return {}


def _blossom(c: Canvas, place: tuple[Tensor, ...], core: Tensor, where: Tensor) -> None:
    """Two whorls of five to eight petals around a core; `place` is x, y and radius."""
    x, y, radius = place
    colour, petals = c.rgb(c.first), c.whole(5, 8)
    dx, dy = c.x - x, c.y - y
    reach, angle = (dx * dx + dy * dy).sqrt(), torch.atan2(dy, dx) + c.seed * 6
    for whorl, scale in enumerate((1.0, 0.62)):
        wave = torch.cos((angle + whorl * 0.35) * petals / 2).abs()
        edge = radius * scale * (0.45 + 0.55 * wave**0.6)
        petal = colour * (1 - 0.2 * whorl) + 0.03 * whorl
        c.over(c.coverage((reach - edge) * 0.8) * where, petal, accent=True)
        seam = c.coverage((wave - 0.06) * reach) * c.coverage(reach - edge)
        c.shade(seam * where, 0.15)
    c.over(c.coverage(reach - radius * 0.26) * where, core, accent=True)


def still_life(c: Canvas) -> Facts:
    """A vase with a sprig in it on a table, and beside it one to three round fruit."""
    c.first = c.choose("red", "orange", "yellow", "green", "purple", "red", "orange")
    c.second = c.choose("blue", "white", "green", "teal", "red", "yellow", "black", "pink")
    c.second = torch.where(c.second == c.first, BLUE, c.second)
    wall(c, c.second)
    table = c.uniform(0.70, 0.76)
    wood = c.rgb(c.choose("brown", "brown", "gray", "white")) * 0.85
    c.over(c.coverage(table - c.y), wood)
    everywhere = torch.ones_like(c.first, dtype=torch.bool)
    side, amount, foot = c.side(everywhere), c.several(), table + 0.10
    _vase(c, 0.5 - side * c.uniform(0.18, 0.24), foot)
    radius = c.uniform(0.10, 0.12) / (1 + 0.16 * (amount - 1))
    for k, x in enumerate(c.abreast(0.5 + side * 0.20, amount, 0.17)):
        _fruit(c, (x, foot + 0.05 - radius, radius), (amount > k).float())
    return {}


def _vase(c: Canvas, x: Tensor, foot: Tensor) -> None:
    height, half = c.uniform(0.30, 0.36), c.uniform(0.10, 0.13)
    green = c.rgb(c.choose("green", "teal")) * 0.75
    for lean in (-0.13, 0.02, 0.14):
        tip_x, tip_y = x + lean, foot - height - c.uniform(0.18, 0.26)
        c.over(c.coverage(c.stroke(x, foot - height, tip_x, tip_y, 0.009)), green)
        c.over(c.coverage(c.disc(tip_x, tip_y, 0.05)), green * 1.15)
    t = (foot - c.y) / height
    belly = half * (0.55 + 0.5 * torch.sin((t.clamp(0, 1) * 0.85 + 0.1) * 3.1416))
    body = torch.maximum((c.x - x).abs() - belly, torch.maximum(-t, t - 1) * height)
    vase = c.coverage(body)
    c.over(vase, c.rgb(c.second))
    c.shade(vase * c.coverage(x + half * 0.2 - c.x) * 0.9, 0.2)


def _fruit(c: Canvas, place: tuple[Tensor, ...], where: Tensor) -> None:
    """A ball with a light and a stalk; `place` is x, y and radius."""
    x, y, radius = place
    c.shade(c.coverage(c.box(x, y + radius * 0.95, radius * 0.8, radius * 0.14)) * where, 0.3)
    c.over(c.coverage(c.disc(x, y, radius)) * where, c.rgb(c.first), accent=True)
    light = c.disc(x - radius * 0.35, y - radius * 0.35, radius * 0.25)
    c.over(c.coverage(light) * where * 0.5, c.tint((1.0, 1.0, 1.0)), accent=True)
    stalk = c.stroke(x, y - radius * 0.8, x + radius * 0.25, y - radius * 1.4, 0.012)
    c.over(c.coverage(stalk) * where, c.tint((0.30, 0.20, 0.12)))


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
    companion = c.disc(0.5 + c.side(moon) * c.uniform(0.26, 0.38), corner, c.uniform(0.05, 0.075))
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
    amount = c.several()
    radius = c.uniform(0.22, 0.26) / (1 + 0.5 * (amount - 1))
    for k, x in enumerate(c.abreast(c.uniform(0.45, 0.55), amount, 0.31)):
        _envelope(c, (x, c.uniform(0.30, 0.40), radius), (amount > k).float())
    return dict(clouds=clouds)


def _envelope(c: Canvas, place: tuple[Tensor, ...], where: Tensor) -> None:
    """The balloon itself: ropes, a basket, and a bag of five stripes rounded by shade; `place` is
    x, y and radius.
    """
    x, y, radius = place
    t = (c.y - y) / radius
    round_part = (1 - t.clamp(-1, 1) ** 2).clamp(min=0).sqrt()
    width = torch.where(t < 0.25, round_part, 0.968 - (t - 0.25) * 0.68)
    bag = torch.maximum((c.x - x).abs() - width * radius, torch.maximum(-t - 1, t - 1.2) * radius)
    dark = c.tint((0.20, 0.15, 0.13))
    for side in (-1, 1):
        above, below = x + side * radius * 0.26, x + side * radius * 0.17
        rope = c.stroke(above, y + radius, below, y + radius * 1.6, 0.005)
        c.over(c.coverage(rope) * where, dark)
    basket = c.coverage(c.box(x, y + radius * 1.66, radius * 0.24, radius * 0.17))
    c.over(basket * where, c.lit(c.tint((0.45, 0.28, 0.16)), 0.5), accent=True)
    across = ((c.x - x) / (width * radius + 1e-4)).clamp(-1, 1)
    stripe = ((torch.asin(across * 0.98) / 3.1416 + 0.5) * 5).floor() % 2
    cover = c.coverage(bag) * where
    c.over(cover, c.lit(c.rgb(c.first), 0.4), accent=True)
    c.over(cover * stripe, c.lit(c.rgb(c.second), 0.4), accent=True)
    c.accent = torch.maximum(c.accent, cover.unsqueeze(1))
    c.shade(cover * (across - 0.1).clamp(0, 1), 0.38)
