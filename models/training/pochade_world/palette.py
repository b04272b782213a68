"""Colours and light: what the words of the world look like.

Every table is indexed by the position of a name in `COLOURS`, `TIMES`, `STYLES`, `COUNTS` or
`RELATIONS`. The index one
past the end means "this picture has none".
"""

import torch

COLOURS = {
    "red": (0.83, 0.20, 0.18),
    "orange": (0.95, 0.52, 0.17),
    "yellow": (0.97, 0.80, 0.27),
    "green": (0.30, 0.60, 0.33),
    "teal": (0.13, 0.57, 0.57),
    "blue": (0.17, 0.39, 0.76),
    "purple": (0.47, 0.28, 0.62),
    "pink": (0.94, 0.53, 0.65),
    "white": (0.96, 0.95, 0.92),
    "black": (0.11, 0.11, 0.14),
    "brown": (0.50, 0.33, 0.21),
    "gray": (0.55, 0.57, 0.60),
}
COLOUR_NAMES = list(COLOURS)
NO_COLOUR = len(COLOUR_NAMES)
COLOUR_TABLE = torch.tensor(list(COLOURS.values()))  # [12, 3]

TIMES = ["dawn", "day", "sunset", "dusk", "night"]
NO_TIME = len(TIMES)
DAY, DUSK, NIGHT = TIMES.index("day"), TIMES.index("dusk"), TIMES.index("night")

# Sky colours from the zenith over the middle to the horizon: [5, 3, 3].
SKY = torch.tensor(
    [
        [(0.42, 0.56, 0.82), (0.78, 0.76, 0.84), (1.00, 0.83, 0.66)],
        [(0.28, 0.58, 0.87), (0.56, 0.78, 0.93), (0.86, 0.94, 0.97)],
        [(0.33, 0.20, 0.48), (0.85, 0.38, 0.40), (0.99, 0.66, 0.34)],
        [(0.13, 0.14, 0.36), (0.38, 0.28, 0.52), (0.84, 0.50, 0.56)],
        [(0.02, 0.04, 0.14), (0.06, 0.10, 0.26), (0.15, 0.22, 0.42)],
    ]
)
# What ambient light multiplies a surface with; the last row is for scenes without a time: [6, 3].
AMBIENT = torch.tensor(
    [
        (0.90, 0.84, 0.84),
        (1.00, 1.00, 1.00),
        (0.82, 0.68, 0.66),
        (0.60, 0.54, 0.66),
        (0.42, 0.46, 0.62),
        (1.00, 1.00, 1.00),
    ]
)

STYLES = ["flat", "watercolour", "ink", "pastel", "pixel", "glass", "print"]
FLAT, WATERCOLOUR, INK, PASTEL, PIXEL, GLASS, PRINT = range(7)
STYLE_WEIGHTS = (0.26, 0.17, 0.13, 0.15, 0.10, 0.09, 0.10)
# Patterns have cells of their own, which pixels and panes would only cut up.
PATTERN_STYLE_WEIGHTS = (0.40, 0.17, 0.10, 0.17, 0.0, 0.0, 0.16)
PAPER = (0.97, 0.955, 0.92)
INK_BLACK = (0.10, 0.11, 0.13)

COUNTS = ["one", "two", "three"]
COUNT_WEIGHTS = (0.5, 0.3, 0.2)
NO_COUNT = len(COUNTS)
RELATIONS = ["left", "right"]
LEFT, RIGHT = range(2)
NO_RELATION = len(RELATIONS)
