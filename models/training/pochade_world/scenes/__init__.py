"""The scenes. Each paints a whole canvas and says what it put there.

A scene sets the canvas's time, named colours, amount and relation as far as it has them, and
returns its facts, which the captions may mention. Shapes are few and large on purpose: a picture is
128 pixels wide and its latent 16.
"""

from collections.abc import Callable

from ..canvas import Canvas, Facts
from .land import city, desert, forest, hills, mountains
from .patterns import bauhaus, circles, grid, kandinsky, waves
from .things import balloon, flower, planet, still_life
from .water import fish, lighthouse, sea

SCENES: dict[str, Callable[[Canvas], Facts]] = {
    "mountains": mountains,
    "sea": sea,
    "hills": hills,
    "desert": desert,
    "forest": forest,
    "flower": flower,
    "planet": planet,
    "balloon": balloon,
    "waves": waves,
    "city": city,
    "lighthouse": lighthouse,
    "fish": fish,
    "still life": still_life,
    "circles": circles,
    "grid": grid,
    "bauhaus": bauhaus,
    "kandinsky": kandinsky,
}
PATTERNS = ("waves", "circles", "grid", "bauhaus", "kandinsky")
