"""Styles, second half: what a style does to the finished painting. (The first half, how the hand
trembles while painting, is in `Canvas`.)
"""

import torch
from torch import Tensor

from .canvas import Canvas
from .palette import (
    FLAT,
    GLASS,
    INK,
    INK_BLACK,
    PAPER,
    PASTEL,
    PIXEL,
    PRINT,
    WATERCOLOUR,
)

LUMINANCE = (0.30, 0.55, 0.15)
PIXEL_LEVELS = 7
PRINT_LEVELS = 4


def finish(canvas: Canvas) -> Tensor:
    """The finished pictures `[B, 3, S, S]` in 0..1."""
    colour = canvas.colour.clamp(0, 1)
    grain = canvas.noise(14, octaves=2, on_paper=True).unsqueeze(1)
    painted = {
        FLAT: colour,
        WATERCOLOUR: _watercolour(canvas, colour, grain),
        INK: _ink(canvas, colour, grain),
        PASTEL: _pastel(colour, grain),
        PIXEL: (colour * PIXEL_LEVELS).round() / PIXEL_LEVELS,
        GLASS: _glass(canvas, colour, grain),
        PRINT: _print(canvas, colour, grain),
    }
    style = canvas.style.view(-1, 1, 1, 1)
    return sum(picture * (style == index) for index, picture in painted.items()).clamp(0, 1)


def _torn_edge(canvas: Canvas, grain: Tensor) -> Tensor:
    """1 on the painted area, 0 on the bare paper around it."""
    x, y = canvas.paper_x, canvas.paper_y
    edge = torch.minimum(torch.minimum(x, 1 - x), torch.minimum(y, 1 - y)).unsqueeze(1)
    return ((edge + 0.022 * grain - 0.035) * 28).clamp(0, 1)


def _watercolour(canvas: Canvas, colour: Tensor, grain: Tensor) -> Tensor:
    """Pigment thinned with water, thicker here, thinner there, inside a ragged border of paper."""
    paper = canvas.tint(PAPER)
    wash = colour * 0.88 + 0.12
    wash = wash + (paper - wash) * (0.10 + 0.13 * grain).clamp(0, 0.5)
    return paper + (wash - paper) * _torn_edge(canvas, grain)


def _ink(canvas: Canvas, colour: Tensor, grain: Tensor) -> Tensor:
    """Grey washes of ink; only the accents (sun, sail, flower) keep their colour."""
    paper, ink = canvas.tint(PAPER), canvas.tint(INK_BLACK)
    light = (colour * canvas.tint(LUMINANCE)).sum(1, keepdim=True)
    light = (light * 1.12 + 0.04 + 0.05 * grain).clamp(0, 1) ** 0.72
    wash = ink + (paper - ink) * light
    wash = wash + (colour - wash) * canvas.accent * 0.9
    return paper + (wash - paper) * _torn_edge(canvas, grain)


def _pastel(colour: Tensor, grain: Tensor) -> Tensor:
    """Chalk: pale, a little more saturated than its paleness, softly uneven."""
    chalk = colour * 0.58 + 0.40
    grey = chalk.mean(1, keepdim=True)
    return grey + (chalk - grey) * 1.12 + 0.018 * grain


def _glass(canvas: Canvas, colour: Tensor, grain: Tensor) -> Tensor:
    """Panes of strong colour, a little uneven, in dark lead."""
    grey = colour.mean(1, keepdim=True)
    pane = (grey + (colour - grey) * 1.3 + 0.03 * grain).clamp(0, 1)
    return pane + (canvas.tint(INK_BLACK) * 0.7 - pane) * canvas.lead.unsqueeze(1)


def _print(canvas: Canvas, colour: Tensor, grain: Tensor) -> Tensor:
    """A few flat inks on cream paper, with an even margin, worn a little."""
    paper = canvas.tint(PAPER)
    inks = ((colour * 0.9 + 0.05) * PRINT_LEVELS).round() / PRINT_LEVELS
    printed = paper * (0.08 + 0.92 * inks)
    printed = printed + (paper - printed) * (0.35 * grain - 0.12).clamp(0, 0.25)
    x, y = canvas.paper_x, canvas.paper_y
    edge = torch.minimum(torch.minimum(x, 1 - x), torch.minimum(y, 1 - y)).unsqueeze(1)
    return paper + (printed - paper) * ((edge - 0.04) * canvas.size + 0.5).clamp(0, 1)
