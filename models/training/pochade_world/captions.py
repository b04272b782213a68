"""Captions: what a person might type to get a given picture.

A caption names the scene, and most of the time its colours, its parts, its time of day and its
style, in varying words and order. `full=True` names everything, in the same grammar, for measuring.
`noisy` slips in a word the world does not know, so that a stray word in a prompt is harmless.
"""

import random as _random
from dataclasses import dataclass, field

from .palette import (
    COLOUR_NAMES,
    COUNTS,
    NO_COLOUR,
    NO_COUNT,
    NO_RELATION,
    NO_TIME,
    RELATIONS,
    STYLES,
    TIMES,
)

COLOUR_WORDS = {
    "red": ("red", "red", "red", "crimson", "scarlet"),
    "orange": ("orange", "orange", "orange", "amber"),
    "yellow": ("yellow", "yellow", "golden", "gold"),
    "green": ("green", "green", "green", "emerald"),
    "teal": ("teal", "turquoise", "cyan"),
    "blue": ("blue", "blue", "blue", "azure", "cobalt"),
    "purple": ("purple", "purple", "violet"),
    "pink": ("pink", "pink", "rose"),
    "white": ("white", "white", "ivory"),
    "black": ("black", "black", "dark"),
    "brown": ("brown", "brown", "ochre"),
    "gray": ("gray", "grey", "silver"),
}
TIME_PHRASES = {
    "dawn": ("at dawn", "at dawn", "in the morning", "at sunrise", "early in the morning"),
    "day": ("by day", "in daylight", "at noon", "on a sunny day", "during the day", "in summer"),
    "sunset": ("at sunset", "at sunset", "in the evening", "at sundown"),
    "dusk": ("at dusk", "at dusk", "at twilight", "after sunset"),
    "night": ("at night", "at night", "under a starry sky", "by night", "in the moonlight"),
}
# "a sunset over blue mountains": the light itself is the subject.
LIGHTS = {
    "dawn": ("dawn", "a sunrise", "sunrise"),
    "day": ("a clear sky", "a blue sky"),
    "sunset": ("sunset", "a sunset", "a beautiful sunset"),
    "dusk": ("dusk", "twilight"),
    "night": ("a starry sky", "a night sky", "moonlight"),
}
STYLE_WORDS = {
    "flat": ("flat style", "flat design", "flat", "vector art", "minimalist"),
    "watercolour": ("watercolor", "watercolour", "watercolor painting"),
    "ink": ("ink wash", "sumi-e", "ink painting", "ink"),
    "pastel": ("pastel", "soft pastel", "pastel drawing", "chalk"),
    "pixel": ("pixel art", "pixel art", "8-bit"),
    "glass": ("stained glass", "stained glass", "a church window", "glass mosaic"),
    "print": ("screen print", "risograph", "linocut", "woodblock print"),
}
ADJECTIVES = ("flat", "minimalist", "8-bit")  # "a linocut of waves", but not "a flat of waves"
PICTURES = ("a painting of", "a picture of", "painting of", "an image of", "a drawing of")
PLAIN = {
    "mountains": ("mountains", "a mountain", "mountain landscape", "the alps", "peaks"),
    "sea": ("the sea", "the ocean", "a seascape", "sea", "ocean"),
    "hills": ("hills", "a landscape", "rolling hills", "countryside", "a meadow", "fields"),
    "desert": ("a desert", "dunes", "the sahara", "sand", "desert"),
    "forest": ("a forest", "woods", "trees", "the woods", "forest"),
    "flower": ("a flower", "flower", "a blossom", "a daisy"),
    "planet": ("a planet", "planet", "outer space", "a world in space"),
    "balloon": ("a balloon", "a hot air balloon", "balloon", "hot air balloon"),
    "waves": ("waves", "a wave pattern", "japanese waves", "seigaiha", "a pattern"),
    "city": ("a city", "a skyline", "city", "a town", "skyscrapers"),
    "lighthouse": ("a lighthouse", "lighthouse", "a lighthouse by the sea"),
    "fish": ("a fish", "fish", "under water", "an aquarium"),
    "still life": ("a still life", "still life", "fruit and a vase", "a vase"),
    "circles": ("circles", "concentric circles", "rings"),
    "grid": ("a grid", "mondrian", "a mondrian composition", "rectangles"),
    "bauhaus": ("bauhaus", "geometric shapes", "a bauhaus pattern"),
    "kandinsky": ("kandinsky", "an abstract painting", "an abstract composition"),
}
FILLERS = (
    "very nice lovely old little big cute cool my please paint some and with the tiny great "
    "detailed magic happy quiet one"
).split()
LETTERS = "abcdefghijklmnoprstuvwyz"


@dataclass
class Picture:
    """What one picture shows: names for its attributes, and the facts that are true of it."""

    kind: str
    style: str
    time: str | None
    first: str | None
    second: str | None
    count: str | None = None
    relation: str | None = None
    facts: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, kind: str, row: list[int], facts: set[str]) -> "Picture":
        """From one row of attributes: kind, style, time, two colours, count, relation."""
        _, style, time, first, second, count, relation = row
        return cls(
            kind,
            STYLES[style],
            None if time >= NO_TIME else TIMES[time],
            None if first >= NO_COLOUR else COLOUR_NAMES[first],
            None if second >= NO_COLOUR else COLOUR_NAMES[second],
            None if count >= NO_COUNT else COUNTS[count],
            None if relation >= NO_RELATION else RELATIONS[relation],
            facts,
        )


class Writer:
    """Writes captions with its own source of chance."""

    def __init__(self, seed: int):
        self.random = _random.Random(seed)

    def write(self, picture: Picture, full: bool = False, noisy: float = 0.07) -> str:
        self.full = full
        if not full and self.random.random() < 0.08:
            text = self.pick(*PLAIN[picture.kind])
        else:
            text = self.scene(picture)
        text = self.style(" ".join(text.split()), picture)
        return self.stray(text) if not full and self.random.random() < noisy else text

    # -- words ---------------------------------------------------------------------------------

    def pick(self, *options: str) -> str:
        return self.random.choice(options)

    def says(self, probability: float = 0.75) -> bool:
        """Whether to mention something: always in a full caption."""
        return self.full or self.random.random() < probability

    def colour(self, name: str | None, probability: float = 0.85) -> str:
        if name is None or not self.says(probability):
            return ""
        return (name if self.full else self.pick(*COLOUR_WORDS[name])) + " "

    def a(self, noun: str) -> str:
        return ("an " if noun[:1] in "aeio" else "a ") + noun

    def some(self, p: Picture, colour: str, *nouns: str) -> str:
        """A boat, a red boat, two red boats, by the picture's count."""
        noun = self.pick(*nouns)
        if p.count in (None, "one"):
            return self.a(colour + noun)
        return f"{p.count} {colour}{noun if noun == 'fish' else noun + 's'}"

    def beside(self, p: Picture, other: str) -> str:
        """To the left of `other`, in some words, or nothing."""
        if p.relation is None or not self.says(0.85):
            return ""
        return self.pick(" ", " to the ", " ") + f"{p.relation} of {other}"

    # -- sentences -----------------------------------------------------------------------------

    def scene(self, p: Picture) -> str:
        """The picture without its style."""
        if p.time is None:
            return getattr(self, p.kind.replace(" ", "_"))(p)
        ground = getattr(self, p.kind)(p)
        if p.kind == "balloon":
            return f"{ground} {self.when(p, 0.85)}"
        if not self.full and self.random.random() < 0.12:
            return f"{self.pick(*LIGHTS[p.time])} over {self.pick('', 'the ')}{ground}"
        if not self.full and self.random.random() < 0.12:
            return f"{ground} {self.when(p, 0.85)}"
        light = self.sun(p)
        text = self.pick(
            f"{light} over {ground}", f"{light} over {ground}", f"{ground} under {light}"
        )
        if "clouds" in p.facts and self.says(0.3):
            text += self.pick(" with clouds", " and clouds")
        if "mist" in p.facts and self.says(0.7):
            text += self.pick(" in the mist", " in fog", " with mist")
        return f"{text} {self.when(p, 0.8)}"

    def when(self, p: Picture, probability: float) -> str:
        return self.pick(*TIME_PHRASES[p.time]) if p.time and self.says(probability) else ""

    def sun(self, p: Picture) -> str:
        if p.time != "night":
            return self.a(self.colour(p.first) + "sun")
        return self.a(self.colour(p.first) + ("crescent moon" if "crescent" in p.facts else "moon"))

    def mountains(self, p: Picture) -> str:
        snow = "snowy " if "snow" in p.facts and self.says(0.7) else ""
        text = snow + self.colour(p.second)
        text += self.pick("mountains", "mountains", "mountains", "peaks", "mountain peaks")
        if "lake" in p.facts and self.says():
            text += self.pick(" with a lake", " and a lake", " by a lake", " reflected in a lake")
        return text

    def sea(self, p: Picture) -> str:
        water = self.pick("the sea", "the ocean", "the sea", "calm water", "the water")
        land = self.pick(" with an island", " near an island")
        land = land if "island" in p.facts and self.says() else ""
        if "boat" not in p.facts or not self.says(0.9):
            return water + land
        boat = self.some(p, self.colour(p.second), "sailboat", "sailing boat", "boat", "ship")
        beside = self.beside(p, "an island")
        if beside:
            return self.pick(f"{boat}{beside} on {water}", f"{water} with {boat}{beside}")
        return self.pick(f"{boat} on {water}", f"{water} with {boat}") + land

    def lighthouse(self, p: Picture) -> str:
        text = self.a(self.colour(p.second) + self.pick("lighthouse", "lighthouse", "light tower"))
        if "boat" in p.facts and self.says():
            beside = self.beside(p, self.pick("it", "the lighthouse"))
            text += self.pick(" with a boat", " and a boat") + beside
        return text + self.pick("", " by the sea", " on a rock")

    def hills(self, p: Picture) -> str:
        text = self.colour(p.second) + self.pick(
            "hills", "hills", "rolling hills", "fields", "meadows"
        )
        house = self.a(self.pick("house", "house", "cottage", "small house"))
        beside = self.beside(p, self.pick("trees", "the trees"))
        if beside:
            return f"{text} with {house}{beside}"
        extras = [house] if "house" in p.facts and self.says() else []
        if "trees" in p.facts and self.says():
            extras.append("trees")
        return text + (" with " + " and ".join(extras) if extras else "")

    def desert(self, p: Picture) -> str:
        colour = self.colour(p.second)
        text = self.pick(
            f"a {colour}desert", f"the {colour}desert", f"{colour}sand dunes", f"{colour}dunes"
        )
        text = text.replace("a orange", "an orange").replace("a amber", "an amber")
        text = text.replace("a ivory", "an ivory").replace("a ochre", "an ochre")
        beside = self.beside(p, self.pick("pyramids", "the pyramids"))
        if beside:
            return f"{text} with {self.some(p, '', 'cactus').replace('cactuss', 'cacti')}{beside}"
        if "cactus" in p.facts and self.says(0.85):
            text += f" with {self.some(p, '', 'cactus').replace('cactuss', 'cacti')}"
            return text + (" and pyramids" if "pyramids" in p.facts and self.says(0.85) else "")
        if "pyramids" in p.facts and self.says(0.85):
            return text + self.pick(" with pyramids", " and pyramids")
        return text

    def city(self, p: Picture) -> str:
        colour = self.colour(p.second)
        return self.pick(
            self.a(f"{colour}city"),
            self.a(f"{colour}city skyline"),
            f"{colour}skyscrapers",
            f"{colour}houses of a city",
        )

    def forest(self, p: Picture) -> str:
        snow = self.pick("snowy ", "winter ") if "snow" in p.facts and self.says(0.85) else ""
        if "birch" in p.facts:
            wood = self.pick("birch forest", "birch trees", "forest of birch trees")
        else:
            wood = self.pick("forest", "forest", "pine forest", "woods", "pine trees")
        text = snow + self.colour(p.second) + wood
        return text if wood.endswith("s") and "of" not in wood else self.a(text)

    def flower(self, p: Picture) -> str:
        text = self.some(p, self.colour(p.first), "flower", "flower", "blossom")
        if not self.says(0.8):
            return self.pick("", "", "a close-up of ") + text
        wall = self.colour(p.second, 0.95)
        return f"{text} on {self.a(wall + self.pick('background', 'background', 'wall'))}"

    def still_life(self, p: Picture) -> str:
        fruit = self.some(p, self.colour(p.first), "apple", "apple", "fruit")
        vase = self.a(self.colour(p.second) + self.pick("vase", "vase", "jug"))
        beside = self.beside(p, vase)
        return fruit + beside if beside else f"{fruit} and {vase}"

    def fish(self, p: Picture) -> str:
        text = self.some(p, self.colour(p.first), "fish")
        if self.says(0.75):
            return f"{text} in {self.colour(p.second)}water"
        return text + self.pick("", " under water", " swimming")

    def planet(self, p: Picture) -> str:
        text = self.a(self.colour(p.first) + "planet")
        if "ring" in p.facts and self.says(0.9):
            text += " with " + self.colour(p.second) + "rings"
        if "moon" in p.facts and self.says():
            text += " and a moon" + self.beside(p, self.pick("it", "the planet"))
        return text + self.pick("", " in space", " among the stars", " in outer space")

    def balloon(self, p: Picture) -> str:
        text = self.some(p, self.colour(p.first), "hot air balloon", "hot air balloon", "balloon")
        if self.says(0.5):
            text += " with " + self.colour(p.second, 1.0) + "stripes"
        return text + self.pick(
            " over hills", " in the sky", " over the hills", " flying over hills"
        )

    def waves(self, p: Picture) -> str:
        return self.inks(p, "waves", "seigaiha waves", "wave pattern", "japanese waves")

    def circles(self, p: Picture) -> str:
        return self.inks(p, "circles", "concentric circles", "rings")

    def grid(self, p: Picture) -> str:
        return self.inks(p, "mondrian composition", "mondrian grid", "rectangles with black lines")

    def bauhaus(self, p: Picture) -> str:
        return self.inks(p, "bauhaus pattern", "bauhaus composition", "geometric shapes")

    def kandinsky(self, p: Picture) -> str:
        return self.inks(p, "kandinsky composition", "abstract composition", "abstract circles")

    def inks(self, p: Picture, *names: str) -> str:
        """A composition and its two colours."""
        what = self.pick(*names)
        if not self.says(0.85):
            return what
        first, second = self.colour(p.first, 1.0).strip(), self.colour(p.second, 1.0).strip()
        return self.pick(f"{first} and {second} {what}", f"{what} in {first} and {second}")

    # -- style and noise -----------------------------------------------------------------------

    def style(self, text: str, p: Picture) -> str:
        mentions = self.says(0.3 if p.style == "flat" else 0.85)
        if not mentions:
            return f"{self.pick(*PICTURES)} {text}" if self.random.random() < 0.08 else text
        word = self.pick(*STYLE_WORDS[p.style])
        options = [f"{text}, {word}", f"{text}, {word}", f"{text} {word}"]
        if "style" not in word and word not in ADJECTIVES:
            options += [f"{word} of {text}", f"{text} in {word} style", f"{self.a(word)} of {text}"]
        return self.pick(*options)

    def stray(self, text: str) -> str:
        """The caption with one word in it that means nothing to the world."""
        made_up = "".join(self.random.choices(LETTERS, k=self.random.randint(3, 8)))
        word = self.pick(*FILLERS) if self.random.random() < 0.5 else made_up
        words = text.split()
        words.insert(self.random.randint(0, len(words)), word)
        return " ".join(words)
