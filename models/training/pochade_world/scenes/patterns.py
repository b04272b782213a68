"""Patterns and compositions that depict nothing: two named inks, cream, black, and two mixtures."""

import torch
from torch import Tensor

from ..canvas import Canvas, Facts
from ..palette import COLOUR_NAMES

CREAM, DARK, MIXED, DEEP = 2, 3, 4, 5  # after the first and the second ink
SIDE = 5  # of the tables that cells are looked up in


def inks(c: Canvas) -> Tensor:
    """The six inks of a picture, `[B, 6, 3]`; sets both named colours, which differ."""
    c.first = c.choose(*COLOUR_NAMES[:8])
    c.second = c.choose(*COLOUR_NAMES[:8])
    c.second = torch.where(c.second == c.first, (c.first + 3) % 8, c.second)
    white, black = (torch.full_like(c.first, COLOUR_NAMES.index(n)) for n in ("white", "black"))
    first, second, cream, dark = (c.rgb(i) for i in (c.first, c.second, white, black))
    mixed, deep = (first + cream) / 2, second * 0.6
    return torch.stack([first, second, cream, dark, mixed, deep], 1).flatten(2)


def look(c: Canvas, table: Tensor, index: Tensor) -> Tensor:
    """The inks `[B, 6, 3]` of the indices `[B, S, S]`, as `[B, 3, S, S]`."""
    flat = table.gather(1, index.view(c.count, -1, 1).expand(-1, -1, 3))
    return flat.transpose(1, 2).reshape(c.count, 3, *index.shape[1:])


def ink(table: Tensor, index: int) -> Tensor:
    """One ink of every picture, `[B, 3, 1, 1]`."""
    return table[:, index].view(-1, 3, 1, 1)


class Cells:
    """Every picture cut into `n` by `n` squares, `n` `[B, 1, 1]`."""

    def __init__(self, c: Canvas, n: Tensor):
        self.c, self.n = c, n
        column, row = ((v.clamp(0, 0.999) * n).floor() for v in (c.x, c.y))
        self.x, self.y = c.x * n - column - 0.5, c.y * n - row - 0.5  # -0.5 to 0.5 in a cell
        self.index = (row * SIDE + column).long()

    def draw(self, below: int) -> Tensor:
        """A whole number under `below` for every cell, `[B, S, S]`."""
        table = (self.c.random(self.c.count, SIDE * SIDE) * below).long().clamp(max=below - 1)
        return table.gather(1, self.index.flatten(1)).view_as(self.index)

    def coverage(self, distance: Tensor) -> Tensor:
        """Mask of a signed distance that is measured in cells."""
        return self.c.coverage(distance / self.n)


def circles(c: Canvas) -> Facts:
    """One to sixteen sets of rings around the middles of squares."""
    table, cells = inks(c), Cells(c, c.whole(1, 4))
    c.colour = look(c, table, torch.where(cells.draw(2) > 0, CREAM, cells.draw(6)))
    reach, before = (cells.x**2 + cells.y**2).sqrt(), cells.draw(6)
    for ring in range(4):
        here = (before + 1 + cells.draw(5)) % 6
        c.over(cells.coverage(reach - 0.47 + 0.11 * ring), look(c, table, here), accent=True)
        before = here
    return {}


def grid(c: Canvas) -> Facts:
    """Rectangles of a few colours between black lines, after Mondrian."""
    table = inks(c)
    across, down = (_lines(c) for _ in range(2))
    column = sum((c.x > line).long() for line in across)
    row = sum((c.y > line).long() for line in down)
    weights = torch.tensor((0.26, 0.24, 0.42, 0.08, 0.0, 0.0), device=c.device)
    drawn = torch.multinomial(weights, c.count * SIDE * SIDE, True, generator=c.generator)
    index = (row * SIDE + column).flatten(1)
    drawn = drawn.view(c.count, -1).gather(1, index).view_as(row)
    c.colour = look(c, table, drawn)
    c.accent = (drawn < CREAM).float().unsqueeze(1)
    width = c.uniform(0.010, 0.018)
    for place, lines in ((c.x, across), (c.y, down)):
        for line in lines:
            c.over(c.coverage((place - line).abs() - width), ink(table, DARK))
    return {}


def _lines(c: Canvas) -> list[Tensor]:
    """Three places between the edges of the picture, unevenly apart."""
    return [c.uniform(0.03, 0.22) + 0.27 * k + 0.06 for k in range(3)]


def bauhaus(c: Canvas) -> Facts:
    """Squares of quarter, half and whole discs, triangles and rings."""
    table, cells = inks(c), Cells(c, c.whole(2, 4))
    ground = cells.draw(6)
    figure = (ground + 1 + cells.draw(5)) % 6
    turn = cells.draw(4)
    x = torch.where(turn % 2 == 0, cells.x, -cells.x)
    y = torch.where(turn < 2, cells.y, -cells.y)
    reach = (x * x + y * y).sqrt()
    quarter = ((x + 0.5) ** 2 + (y + 0.5) ** 2).sqrt() - 1
    half, ring = torch.maximum(reach - 0.48, x), (reach - 0.32).abs() - 0.13
    shapes = (quarter, half, reach - 0.42, ring, (x + y) * 0.7)
    which = cells.draw(len(shapes))
    distance = torch.stack(shapes, 1).gather(1, which.unsqueeze(1))[:, 0]
    c.colour = look(c, table, ground)
    c.over(cells.coverage(distance), look(c, table, figure))
    c.accent = torch.ones_like(c.accent)
    return {}


def kandinsky(c: Canvas) -> Facts:
    """Triangles, discs within discs, and lines, strewn over cream paper."""
    table = inks(c)
    c.colour = (ink(table, CREAM) * (1 + 0.05 * c.noise(3).unsqueeze(1))).clamp(0, 1)

    def any_ink() -> Tensor:
        pick = (c.random(c.count, 1, 1) * 6).long().clamp(max=5).expand(-1, 1, 3)
        return table.gather(1, pick).view(-1, 3, 1, 1)

    for _ in range(2):
        x, y, reach = c.uniform(0.15, 0.85), c.uniform(0.15, 0.85), c.uniform(0.12, 0.22)
        turns = [c.seed * 6.28 + 2.1 * corner for corner in range(3)]
        corners = [(x + reach * turn.cos(), y + reach * turn.sin()) for turn in turns]
        c.over(c.coverage(c.polygon(*corners)) * 0.9, any_ink(), accent=True)
    for k in range(5):
        x, y = c.uniform(0.14, 0.86), c.uniform(0.14, 0.86)
        radius = c.uniform(0.14, 0.21) if k < 2 else c.uniform(0.05, 0.11)
        disc = c.disc(x, y, radius)
        c.over(c.coverage(disc), ink(table, k) if k < 2 else any_ink(), accent=True)
        c.over(c.coverage(disc + radius * 0.45), any_ink(), accent=True)
    for _ in range(4):
        x, y = c.uniform(0.2, 0.8), c.uniform(0.2, 0.8)
        turn, reach = c.uniform(0, 3.14), c.uniform(0.2, 0.45)
        dx, dy = reach * turn.cos(), reach * turn.sin()
        c.over(c.coverage(c.stroke(x - dx, y - dy, x + dx, y + dy, 0.007)), ink(table, DARK))
    return {}


def waves(c: Canvas) -> Facts:
    """Seigaiha: overlapping scales of concentric arcs, as on Japanese cloth."""
    table, rows = inks(c), c.whole(3, 4)
    dark = ink(table, DARK)
    c.colour = dark.expand(-1, -1, c.size, c.size).clone()
    y = c.y * rows * 2
    for offset in (-1.0, 0.0, 1.0, 2.0):  # back to front: a pixel sees only the rows that reach it
        row = y.floor() + offset
        x = (c.x * rows + 0.5 * (row % 2)) % 1 - 0.5
        distance = (x * x + ((y - row - 0.9) * 0.5) ** 2).sqrt()
        for ring, index in enumerate((CREAM, 0, CREAM, 1)):
            arc = c.coverage((distance - (0.5 - 0.12 * ring)) / rows)
            c.over(arc, ink(table, index), accent=index < CREAM)
        c.over(c.coverage(((distance - 0.5).abs() - 0.024) / rows), dark)
    return {}
