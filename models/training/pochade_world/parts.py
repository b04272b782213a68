"""What several scenes share: sky, sun or moon, clouds, water, mountains' outlines, trees."""

import torch
from torch import Tensor

from .canvas import Canvas, flag
from .palette import DUSK, NIGHT, SKY

TIME_WEIGHTS = (0.18, 0.25, 0.22, 0.17, 0.18)
STAR_CELLS = 9


def sky(canvas: Canvas, horizon: float, weights: tuple[float, ...] = TIME_WEIGHTS) -> None:
    """Paints the sky of a time of day drawn by `weights`; sets the canvas's time and haze."""
    table = torch.tensor(weights, device=canvas.device)
    canvas.time = torch.multinomial(table, canvas.count, True, generator=canvas.generator)
    stops = SKY.to(canvas.device)[canvas.time] + 0.05 * (canvas.random(canvas.count, 3, 3) * 2 - 1)
    top, middle, low = (stops[:, i].view(-1, 3, 1, 1) for i in range(3))
    t = (canvas.y / horizon).clamp(0, 1).unsqueeze(1)
    upper, lower = top + (middle - top) * t / 0.55, middle + (low - middle) * (t - 0.55) / 0.45
    canvas.colour, canvas.haze = torch.where(t < 0.55, upper, lower).clamp(0, 1), low.clamp(0, 1)
    stars(canvas, (canvas.time == NIGHT).float() + 0.4 * (canvas.time == DUSK).float(), horizon)


def stars(canvas: Canvas, brightness: Tensor, horizon: float) -> None:
    """One star at most in each cell of a grid; `brightness` is `[B]`."""
    n = STAR_CELLS
    table = canvas.random(canvas.count, 3, n * n)
    column, row = ((v * n).long().clamp(0, n - 1) for v in (canvas.x, canvas.y))
    cell = (row * n + column).view(canvas.count, 1, -1).expand(-1, 3, -1)
    at = table.gather(2, cell).view(canvas.count, 3, canvas.size, canvas.size)
    dx = canvas.x * n - column - 0.2 - 0.6 * at[:, 0]
    dy = canvas.y * n - row - 0.2 - 0.6 * at[:, 1]
    radius = 0.003 + 0.007 * at[:, 2] ** 4
    seen = (at[:, 2] > 0.45) & (canvas.y < horizon * 0.9)
    mask = canvas.coverage((dx * dx + dy * dy).sqrt() / n - radius) * seen
    canvas.over(mask * brightness.view(-1, 1, 1), canvas.tint((1.0, 0.97, 0.88)))


def sun(
    canvas: Canvas, low: float, high: float, small: float = 0.08, large: float = 0.14
) -> Tensor:
    """Sun, or at night a moon, with its glow; sets the first colour. Returns the half-moons,
    boolean `[B]`.
    """
    night = canvas.time == NIGHT
    moons = canvas.choose("white", "white", "yellow", "orange", "red")
    suns = canvas.choose("red", "red", "orange", "orange", "yellow", "yellow", "white", "pink")
    canvas.first = torch.where(night, moons, suns)
    colour, crescent = canvas.rgb(canvas.first), night & canvas.chance(0.4)
    x, y, radius = (
        canvas.uniform(0.18, 0.82),
        canvas.uniform(low, high),
        canvas.uniform(small, large),
    )
    distance = canvas.disc(x, y, radius)
    bite = canvas.coverage(canvas.disc(x + radius * 0.5, y - radius * 0.25, radius * 0.9)) * flag(
        crescent
    )
    canvas.over(torch.exp(-distance.clamp(min=0) * 9) * 0.40, colour)
    canvas.over(canvas.coverage(distance) * (1 - bite), colour, accent=True)
    canvas.sun_x, canvas.sun_radius, canvas.sun_colour = x, radius, colour
    return crescent


def clouds(
    canvas: Canvas, probability: float, count: int = 2, low: float = 0.08, high: float = 0.34
) -> Tensor:
    """A few flat-bottomed clouds, never at night. Returns where there are any, boolean `[B]`."""
    present = canvas.chance(probability) & (canvas.time != NIGHT)
    colour = canvas.lit(canvas.tint((1.0, 0.98, 0.96)), 0.35) * 0.85 + canvas.haze * 0.15
    for _ in range(count):
        x, y, width = (
            canvas.uniform(0.05, 0.95),
            canvas.uniform(low, high),
            canvas.uniform(0.07, 0.12),
        )
        shape = canvas.box(x, y, width * 1.2, width * 0.16) - width * 0.16
        for offset, size in ((-0.75, 0.45), (0.0, 0.7), (0.7, 0.5)):
            puff = canvas.disc(x + offset * width, y - 0.12 * width, width * size)
            shape = torch.minimum(shape, torch.maximum(puff, canvas.y - y - width * 0.3))
        canvas.over(canvas.coverage(shape) * 0.85 * flag(present), colour)
    return present


def mist(canvas: Canvas, probability: float, height: float) -> Tensor:
    """A band of haze lying at `height`. Returns where it lies, boolean `[B]`."""
    present = canvas.chance(probability)
    band = torch.exp(-(((canvas.y - height - 0.03 * canvas.noise(4)) / 0.11) ** 2))
    canvas.over(band * 0.8 * flag(present), canvas.haze * 0.75 + 0.22)
    return present


def water(canvas: Canvas, horizon: Tensor, colour: Tensor, where: Tensor) -> None:
    """Water from `horizon` down, hazy far away, with ripples and the sun's path; `where` is `[B, 1,
    1]`.
    """
    below = canvas.coverage(horizon - canvas.y) * where
    depth = ((canvas.y - horizon) / (1 - horizon)).clamp(0, 1)
    distant = canvas.haze * 0.45 + colour * 0.55
    canvas.over(below, distant + (colour - distant) * depth.unsqueeze(1) ** 0.6)
    bend = 2.0 * torch.sin(canvas.x * 9 + canvas.seed * 20) + canvas.x * 3
    ripple = torch.sin(canvas.y * 150 / (0.35 + depth * 2.2) + bend) > 0.80
    canvas.over(ripple * below * 0.18, canvas.haze)
    width = canvas.sun_radius * (0.55 + 0.8 * depth)
    edge = width * (0.5 + 0.5 * torch.sin(canvas.y * 61) ** 2)
    bars = (
        (canvas.y * canvas.uniform(20, 28) + 0.35 * torch.sin(canvas.x * 25 + canvas.y * 40)) % 1
    ) < 0.55
    path = canvas.coverage((canvas.x - canvas.sun_x).abs() - edge)
    canvas.over(path * bars * below * 0.75, canvas.sun_colour)


def peaks(
    canvas: Canvas, base: float, rise: float, count: int, slope: tuple[float, float]
) -> tuple[Tensor, ...]:
    """A range of `count` mountains: height of its line, which side of its own summit a pixel is on,
    and that summit's height, all `[B, S, S]`.
    """
    line = torch.full_like(canvas.x, 9.0)
    side, summit = torch.zeros_like(canvas.x), torch.zeros_like(canvas.x)
    for k in range(count):
        x = (k + 0.5) / count + canvas.uniform(-0.6, 0.6) / count
        top = base - rise * canvas.uniform(0.45, 1.0)
        flank = top + (canvas.x - x).abs() * canvas.uniform(*slope)
        mine = flank < line
        line = torch.where(mine, flank, line)
        lean = 0.5 * (canvas.y - top) * (canvas.seed - 0.5)
        side = torch.where(mine, canvas.x - x + lean, side)
        summit = torch.where(mine, top.expand_as(flank), summit)
    return line, side, summit


def pine(
    canvas: Canvas, x: Tensor, foot: Tensor, height: Tensor, colour: Tensor, where: Tensor | float
) -> None:
    """A fir of three tiers standing at `foot`."""
    t = (canvas.y - (foot - height)) / height
    tiers = 0.62 * t + 0.38 * ((t * 3.2) % 1) * t.clamp(min=0).sqrt()
    crown = torch.maximum(
        (canvas.x - x).abs() - height * 0.30 * tiers, torch.maximum(-t, t - 1) * height
    )
    trunk = canvas.box(x, foot + height * 0.04, height * 0.035, height * 0.07)
    canvas.over(torch.maximum(canvas.coverage(crown), canvas.coverage(trunk)) * where, colour)
