"""A batch of pictures being painted together, and the shapes to paint with.

A canvas holds `B` pictures of `S` x `S` pixels. Scene parameters are `[B, 1, 1]`, coordinate and
distance fields `[B, S, S]`, colours `[B, 3, 1, 1]`. Shapes are signed distances (negative inside,
in picture widths); `coverage` turns a distance into an anti-aliased mask. Nothing loops over pixels
or over pictures, and nothing leaves the device.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .palette import (
    AMBIENT,
    COLOUR_NAMES,
    COLOUR_TABLE,
    COUNT_WEIGHTS,
    GLASS,
    INK,
    LEFT,
    NO_COLOUR,
    NO_COUNT,
    NO_RELATION,
    NO_TIME,
    PASTEL,
    PIXEL,
    PRINT,
    RIGHT,
    WATERCOLOUR,
)

Facts = dict[str, Tensor]  # what is true of each picture, boolean `[B]`, by name
WARP = {
    WATERCOLOUR: 0.010,
    INK: 0.008,
    PASTEL: 0.003,
    PRINT: 0.003,
}  # how far a style's hand trembles, in picture widths
SOFT_EDGE = 2.2  # how much wider an edge is when painted wet
PIXELS = 32  # of pixel art, along a side
PANES = 13  # of stained glass, along a side
LEAD = 0.07  # half the width of the lead between panes, in panes


class Canvas:
    """`B` pictures under way, with what is known of each: style, time of day, two named colours."""

    def __init__(self, style: Tensor, size: int, generator: torch.Generator):
        self.count, self.size, self.style = len(style), size, style
        self.generator, self.device = generator, style.device
        axis = (torch.arange(size, device=self.device) + 0.5) / size
        self.paper_x = axis.view(1, 1, size).expand(self.count, size, size)
        self.paper_y = axis.view(1, size, 1).expand(self.count, size, size)
        self.colour = torch.zeros(self.count, 3, size, size, device=self.device)
        self.accent = torch.zeros(
            self.count, 1, size, size, device=self.device
        )  # what ink leaves coloured
        self.time = torch.full((self.count,), NO_TIME, device=self.device)
        self.first = torch.full((self.count,), NO_COLOUR, device=self.device)
        self.second = torch.full((self.count,), NO_COLOUR, device=self.device)
        self.amount = torch.full((self.count,), NO_COUNT, device=self.device)
        self.relation = torch.full((self.count,), NO_RELATION, device=self.device)
        self.haze = self.tint((1.0, 1.0, 1.0))
        self.seed = self.uniform()
        self.lead = torch.zeros_like(self.paper_x)
        self.x, self.y, self.pixel = self._hand()

    def _hand(self) -> tuple[Tensor, Tensor, Tensor]:
        """Coordinates `[B, S, S]` as the style's hand sees them, and the width of an edge `[B, 1,
        1]`.
        """
        reach = sum((self.style == s).float() * w for s, w in WARP.items()).view(-1, 1, 1)
        x = self.paper_x + reach * self.noise(9, octaves=2, on_paper=True)
        y = self.paper_y + reach * self.noise(9, octaves=2, on_paper=True)
        edge = torch.where(reach > 0, SOFT_EDGE, 1.0) / self.size
        for style, cut in ((PIXEL, self._pixels), (GLASS, self._panes)):
            mine = (self.style == style).view(-1, 1, 1)
            if mine.any():
                cut_x, cut_y, cut_edge = cut()
                x, y = torch.where(mine, cut_x, x), torch.where(mine, cut_y, y)
                edge = torch.where(mine, cut_edge, edge)
        return x, y, edge

    def _pixels(self) -> tuple[Tensor, Tensor, float]:
        """Every point of a large pixel sees what its middle sees."""
        x, y = (((v * PIXELS).floor() + 0.5) / PIXELS for v in (self.paper_x, self.paper_y))
        return x, y, 1 / (3 * PIXELS)

    def _panes(self) -> tuple[Tensor, Tensor, float]:
        """Every point of a pane sees what the pane's seed sees; sets where the lead runs.

        A pane is all that lies nearest to one of the points strewn over a grid (Voronoi 1908).
        """
        x, y, n = self.paper_x * PANES, self.paper_y * PANES, PANES + 2
        strewn = (self.random(self.count, 2, n * n) * 0.8 + 0.1).flatten(2)
        near, next_near = torch.full_like(x, 9.0), torch.full_like(x, 9.0)
        seed_x, seed_y = x, y
        for row, column in ((r, c) for r in (-1, 0, 1) for c in (-1, 0, 1)):
            left, top = x.floor() + column, y.floor() + row
            index = ((top + 1) * n + left + 1).long().view(self.count, 1, -1).expand(-1, 2, -1)
            inside = strewn.gather(2, index).view(self.count, 2, self.size, self.size)
            at_x, at_y = left + inside[:, 0], top + inside[:, 1]
            distance = ((at_x - x) ** 2 + (at_y - y) ** 2).sqrt()
            nearer = distance < near
            next_near = torch.where(nearer, near, torch.minimum(next_near, distance))
            seed_x, seed_y = torch.where(nearer, at_x, seed_x), torch.where(nearer, at_y, seed_y)
            near = torch.where(nearer, distance, near)
        glass = (self.style == GLASS).view(-1, 1, 1)
        width = self.size / PANES
        self.lead = ((LEAD - (next_near - near)) * width + 0.5).clamp(0, 1) * glass
        return seed_x / PANES, seed_y / PANES, 0.2 / PANES

    # -- chance --------------------------------------------------------------------------------

    def random(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator, device=self.device)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> Tensor:
        """One number per picture, `[B, 1, 1]`."""
        return low + (high - low) * self.random(self.count, 1, 1)

    def whole(self, low: int, high: int) -> Tensor:
        """One whole number per picture in `low..=high`, as a float `[B, 1, 1]`."""
        return self.uniform(low, high + 1).floor().clamp(max=high)

    def chance(self, probability: float) -> Tensor:
        """One coin per picture, boolean `[B]`."""
        return self.random(self.count) < probability

    def choose(self, *names: str) -> Tensor:
        """One colour index per picture out of the names (repeat a name to favour it), `[B]`."""
        table = torch.tensor([COLOUR_NAMES.index(n) for n in names], device=self.device)
        return table[(self.random(self.count) * len(names)).long().clamp(max=len(names) - 1)]

    def several(self) -> Tensor:
        """How many there are of the picture's main thing, 1 to 3, as `[B, 1, 1]`; sets the
        canvas's amount.
        """
        weights = torch.tensor(COUNT_WEIGHTS, device=self.device)
        self.amount = torch.multinomial(weights, self.count, True, generator=self.generator)
        return (self.amount + 1).view(-1, 1, 1)

    def abreast(self, middle: Tensor, amount: Tensor, gap: float) -> list[Tensor]:
        """Where up to three things stand side by side around `middle`, each `[B, 1, 1]`."""
        return [middle + (k - (amount - 1) / 2) * gap for k in range(len(COUNT_WEIGHTS))]

    def side(self, where: Tensor) -> Tensor:
        """Which side of another thing the main thing is on: -1 left, 1 right, `[B, 1, 1]`; sets the
        canvas's relation where both are there, boolean `[B]`.
        """
        right = self.chance(0.5)
        told = torch.where(right, RIGHT, LEFT)
        self.relation = torch.where(where, told, NO_RELATION)
        return flag(right) * 2 - 1

    def noise(self, cells: int, octaves: int = 1, on_paper: bool = False) -> Tensor:
        """Smooth value noise in about -1..1, `[B, S, S]`."""
        x, y = (self.paper_x, self.paper_y) if on_paper else (self.x, self.y)
        grid, total, weight = torch.stack([x * 2 - 1, y * 2 - 1], -1), 0.0, 1.0
        for _ in range(octaves):
            values = self.random(self.count, 1, cells + 1, cells + 1) * 2 - 1
            sample = F.grid_sample(values, grid, "bilinear", "border", align_corners=True)
            total, weight, cells = total + weight * sample[:, 0], weight / 2, cells * 2
        return total

    # -- colour --------------------------------------------------------------------------------

    def tint(self, rgb: tuple[float, float, float]) -> Tensor:
        """A fixed colour, `[1, 3, 1, 1]`."""
        return torch.tensor(rgb, device=self.device).view(1, 3, 1, 1)

    def rgb(self, index: Tensor, jitter: float = 0.05) -> Tensor:
        """The named colours `[B]` with a little variation, `[B, 3, 1, 1]`."""
        table = COLOUR_TABLE.to(self.device)[index.clamp(max=NO_COLOUR - 1)]
        return (table + jitter * (self.random(self.count, 3) * 2 - 1)).clamp(0, 1).view(-1, 3, 1, 1)

    def lit(self, colour: Tensor, strength: float = 1.0) -> Tensor:
        """A surface colour under the light of the picture's time of day."""
        ambient = AMBIENT.to(self.device)[self.time].view(-1, 3, 1, 1)
        return colour * (1 + (ambient - 1) * strength)

    def far(self, colour: Tensor, distance: float) -> Tensor:
        """A colour seen through air: `distance` 0 is near, 1 is all haze."""
        return colour * (1 - distance) + self.haze * distance

    # -- paint ---------------------------------------------------------------------------------

    def coverage(self, distance: Tensor) -> Tensor:
        """Anti-aliased mask `[B, S, S]` of a signed distance."""
        return (0.5 - distance / self.pixel).clamp(0, 1)

    def over(self, mask: Tensor, colour: Tensor, accent: bool = False) -> None:
        """Lays `colour` over the pictures where `mask` `[B, S, S]` says."""
        mask = mask.unsqueeze(1)
        self.colour = self.colour + (colour - self.colour) * mask
        self.accent = torch.maximum(self.accent, mask) if accent else self.accent * (1 - mask)

    def shade(self, mask: Tensor, darkness: float) -> None:
        """Darkens what is there without changing what it is."""
        self.colour = self.colour * (1 - darkness * mask.unsqueeze(1))

    # -- shapes: signed distances [B, S, S] ----------------------------------------------------

    def disc(self, x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
        return ((self.x - x) ** 2 + (self.y - y) ** 2).sqrt() - radius

    def box(self, x: Tensor, y: Tensor, half_width: Tensor, half_height: Tensor) -> Tensor:
        return torch.maximum((self.x - x).abs() - half_width, (self.y - y).abs() - half_height)

    def polygon(self, *points: tuple[Tensor, Tensor]) -> Tensor:
        """A convex polygon; the points go clockwise as seen."""
        distance = None
        for (ax, ay), (bx, by) in zip(points, points[1:] + points[:1]):
            ex, ey = bx - ax, by - ay
            side = ((self.x - ax) * ey - (self.y - ay) * ex) / ((ex * ex + ey * ey).sqrt() + 1e-6)
            distance = side if distance is None else torch.maximum(distance, side)
        return distance

    def stroke(
        self, ax: Tensor, ay: Tensor, bx: Tensor, by: Tensor, half_width: Tensor | float
    ) -> Tensor:
        """A round-ended line."""
        dx, dy = bx - ax, by - ay
        along = ((self.x - ax) * dx + (self.y - ay) * dy) / (dx * dx + dy * dy + 1e-6)
        along = along.clamp(0, 1)
        return (
            (self.x - ax - along * dx) ** 2 + (self.y - ay - along * dy) ** 2
        ).sqrt() - half_width

    def ridge(
        self, base: float, swing: float, low: float = 0.5, high: float = 1.6, waves: int = 3
    ) -> Tensor:
        """Height of a rolling line across the picture, `[B, S, S]`."""
        height = torch.full_like(self.x, base)
        for k in range(waves):
            turn = self.x * self.uniform(low, high) * (1 + 0.9 * k) + self.uniform()
            height = height + swing / (k + 1) * torch.sin(6.2832 * turn)
        return height


def flag(mask: Tensor) -> Tensor:
    """A boolean per picture `[B]` as a factor `[B, 1, 1]`."""
    return mask.float().view(-1, 1, 1)
