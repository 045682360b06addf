# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The wordings of generated referring expressions, and the closed list of words they are made of.

Templates hold `{n}` for a noun phrase and `{a}`, `{b}` for reference objects. Repeating a template makes it likelier.
"""

from __future__ import annotations

import re

from .objects import COLOURS, EMOJI_NOUNS, NOUNS, SHAPE_NOUNS

# Other words for a noun: singular, plural.
SYNONYMS: dict[str, tuple[tuple[str, str], ...]] = {
    "dog": (("puppy", "puppies"), ("pup", "pups"), ("doggy", "doggies")),
    "cat": (("kitty", "kitties"), ("kitten", "kittens")),
    "rabbit": (("bunny", "bunnies"), ("bunny rabbit", "bunny rabbits")),
    "panda": (("panda bear", "panda bears"),),
    "pig": (("piggy", "piggies"), ("piglet", "piglets")),
    "turtle": (("tortoise", "tortoises"),),
    "bee": (("bumblebee", "bumblebees"), ("honeybee", "honeybees")),
    "pizza": (("slice of pizza", "slices of pizza"), ("pizza slice", "pizza slices")),
    "donut": (("doughnut", "doughnuts"), ("doughnut", "doughnuts")),
    "watermelon": (("melon", "melons"), ("slice of watermelon", "slices of watermelon")),
    "rocket": (("rocket ship", "rocket ships"), ("spaceship", "spaceships")),
    "car": (("automobile", "automobiles"), ("auto", "autos")),
    "shirt": (("t-shirt", "t-shirts"), ("tee shirt", "tee shirts"), ("tee", "tees")),
    "circle": (("disc", "discs"), ("disk", "disks")),
    "diamond": (("rhombus", "rhombuses"),),
}
IRREGULAR_PLURALS = {
    "fish": "fish",
    "butterfly": "butterflies",
    "strawberry": "strawberries",
    "cross": "crosses",
    "octopus": "octopuses",
}
GENERIC = (("object", "objects"), ("thing", "things"), ("item", "items"), ("one", "ones"))
# Words for several nouns at once. "shape" is left out of scenes with a heart, which may or may not be one.
CLASSES = {
    "animal": EMOJI_NOUNS[:14] + ("fish", "butterfly"),
    "fruit": ("banana", "strawberry", "watermelon", "apple"),
    "shape": SHAPE_NOUNS,
}
GENERIC_ALONE = GENERIC[:3]  # "one" needs something before or after it

SIZE_WORDS = {
    "small": ("small", "small", "small", "little", "tiny"),
    "large": ("big", "big", "large", "large", "huge"),
}

NOUN_ARTICLES = ("the ", "the ", "the ", "", "", "a ")
PREFIXES = (
    "find ", "segment ", "please segment ", "please find ", "show me ", "select ", "highlight ", "point to ", "locate ",
    "mark ", "can you find ", "where is ", "i want ", "outline ", "look for ", "pick ",
)  # fmt: skip

# Attribute wordings with the adjective after the noun; {c} is the colour, {s} a size word.
COLOUR_AFTER = (
    "{n} that is {c}", "{c} coloured {n}", "{c} colored {n}", "{n} which is {c}", "{n} in {c}", "{c}-colored {n}",
    "{n} of {c} color", "{n} colored {c}",
)  # fmt: skip
SIZE_AFTER = ("{n} that is {s}", "{n} which is {s}", "{s}-sized {n}")
COMPARATIVE = {"small": ("smaller {n}",), "large": ("bigger {n}", "larger {n}")}
SUPERLATIVE = {"small": ("smallest {n}",), "large": ("biggest {n}", "largest {n}")}

# The one nearest to an edge, wherever in the image.
EXTREME = {
    "left": ("leftmost {n}",) * 6 + ("{n} furthest to the left", "{n} farthest to the left", "left-most {n}",
             "{n} that is furthest left", "most left {n}", "leftmost of the {ns}"),
    "right": ("rightmost {n}",) * 6 + ("{n} furthest to the right", "{n} farthest to the right", "right-most {n}",
              "{n} that is furthest right", "most right {n}", "rightmost of the {ns}"),
    "top": ("topmost {n}",) * 4 + ("highest {n}",) * 3 + ("uppermost {n}", "top-most {n}", "{n} closest to the top",
            "{n} nearest to the top", "{n} that is highest"),
    "bottom": ("bottommost {n}",) * 4 + ("lowest {n}",) * 3 + ("lowermost {n}", "bottom-most {n}", "{n} that is lowest",
               "{n} closest to the bottom", "{n} nearest to the bottom"),
}  # fmt: skip
# The same, only for one that also lies in that part of the image.
FAR = {
    "left": ("{n} on the far left", "far left {n}", "{n} at the far left"),
    "right": ("{n} on the far right", "far right {n}", "{n} at the far right"),
    "top": ("{n} at the very top", "top {n}"),
    "bottom": ("{n} at the very bottom", "bottom {n}"),
}
SIDE = {
    "left": ("{n} on the left",) * 6 + ("left {n}",) * 2 + ("{n} on the left side", "{n} to the left",
             "{n} at the left", "{n} on the left of the image", "{n} on the left side of the picture",
             "{n} that is on the left", "{n} in the left half", "left-hand {n}", "{n} on the left-hand side",
             "{n} left"),
    "right": ("{n} on the right",) * 6 + ("right {n}",) * 2 + ("{n} on the right side", "{n} to the right",
              "{n} at the right", "{n} on the right of the image", "{n} on the right side of the picture",
              "{n} that is on the right", "{n} in the right half", "right-hand {n}", "{n} on the right-hand side",
              "{n} right"),
    "top": ("{n} at the top",) * 6 + ("upper {n}",) * 2 + ("top {n}", "{n} near the top", "{n} in the upper part",
            "{n} at the top of the image", "{n} at the top of the picture", "{n} that is at the top", "{n} on top",
            "{n} in the upper half", "{n} on the top"),
    "bottom": ("{n} at the bottom",) * 6 + ("lower {n}",) * 2 + ("bottom {n}", "{n} near the bottom",
               "{n} in the lower part", "{n} at the bottom of the image", "{n} at the bottom of the picture",
               "{n} that is at the bottom", "{n} in the lower half", "{n} on the bottom"),
}  # fmt: skip
CENTRE = ("{n} in the middle",) * 5 + ("{n} in the center",) * 3 + ("{n} in the centre",) * 2 + (
    "middle {n}", "central {n}", "center {n}", "{n} at the center", "{n} at the center of the image",
    "{n} in the middle of the scene", "{n} near the center", "{n} in the middle of the picture",
    "{n} in the middle of the image", "{n} that is in the middle",
)  # fmt: skip
CORNER = (
    "{n} in the {v} {h}", "{n} in the {v} {h}", "{n} at the {v} {h}", "{v} {h} {n}", "{v} {h} {n}",
    "{n} in the {v} {h} corner", "{n} in the {v}-{h} corner", "{v}-{h} {n}", "{n} on the {v} {h}",
    "{n} in the {v} {h} of the image", "{n} in the {v} {h} part of the photo", "{n} that is in the {v} {h}",
)  # fmt: skip
CORNER_VERTICAL = {"top": ("top", "top", "upper"), "bottom": ("bottom", "bottom", "lower")}
# One of exactly two.
PAIR = {
    "left": ("left {n}", "left {n}", "{n} more to the left"),
    "right": ("right {n}", "right {n}", "{n} more to the right"),
    "top": ("upper {n}", "higher {n}", "top {n}"),
    "bottom": ("lower {n}", "lower {n}", "bottom {n}"),
}

RELATION = {
    "left": ("{n} to the left of {a}",) * 5 + ("{n} left of {a}",) * 5 + ("{n} that is to the left of {a}",
             "{n} which is left of {a}", "{n} on the left of {a}", "{n} on the left side of {a}",
             "{n} that is left of {a}", "{n} located to the left of {a}", "{n} positioned left of {a}"),
    "right": ("{n} to the right of {a}",) * 5 + ("{n} right of {a}",) * 5 + ("{n} that is to the right of {a}",
              "{n} which is right of {a}", "{n} on the right of {a}", "{n} on the right side of {a}",
              "{n} that is right of {a}", "{n} located to the right of {a}", "{n} positioned right of {a}"),
    "top": ("{n} above {a}",) * 6 + ("{n} over {a}",) * 3 + ("{n} that is above {a}", "{n} which is above {a}",
            "{n} higher than {a}", "{n} located above {a}"),
    "bottom": ("{n} below {a}",) * 4 + ("{n} under {a}",) * 4 + ("{n} beneath {a}",) * 2 + ("{n} underneath {a}",
               "{n} that is below {a}", "{n} which is under {a}", "{n} lower than {a}", "{n} located below {a}"),
}  # fmt: skip
NEAR = ("{n} next to {a}",) * 3 + ("{n} beside {a}", "{n} near {a}", "{n} close to {a}", "{n} that is next to {a}",
        "{n} by {a}", "{n} adjacent to {a}", "{n} right next to {a}")  # fmt: skip
NEAREST = ("{n} closest to {a}", "{n} nearest to {a}", "{n} nearest {a}")
BETWEEN = ("{n} between {a} and {b}",) * 3 + ("{n} in between {a} and {b}", "{n} that is between {a} and {b}")

ORDINAL_WORDS = {1: ("first",), 2: ("second", "second", "second", "2nd"), 3: ("third", "third", "third", "3rd"),
                 4: ("fourth", "fourth", "4th"), 5: ("fifth", "5th")}  # fmt: skip
ORDINAL = ("{o} {n} from {d}",) * 5 + ("{n} {o} from {d}", "{n} that is {o} from {d}", "{n} which is {o} from {d}",
                                           "{o} {n} counting from {d}", "{o} {n} from {d} side")  # fmt: skip
ORDINAL_ALONE = ("{o} from {d}", "{o} one from {d}", "{o} object from {d}", "{o} thing from {d}", "{o} item from {d}")
FROM = {side: (f"the {side}",) * 5 + (side,) for side in ("left", "right", "top", "bottom")}

NUMBER_WORDS = {2: ("two", "two", "2"), 3: ("three", "three", "3"), 4: ("four", "4"), 5: ("five", "5"), 6: ("six", "6")}
ALL_OF = ("all the {ns}",) * 4 + ("all {ns}", "all {ns}", "every {n}", "every {n}", "each {n}", "the {ns}", "{ns}",
          "all of the {ns}", "every one of the {ns}", "every single {n}")  # fmt: skip
# All of a group but some of it, which {x} names.
ALL_BUT = ("all the {ns} except {x}",) * 3 + ("all the {ns} but {x}",) * 2 + ("all {ns} except {x}", "all {ns} but {x}",
          "every {n} except {x}", "every {n} but {x}", "each {n} except {x}", "the {ns} except {x}",
          "all the {ns} except for {x}", "all the {ns} apart from {x}", "all the {ns} other than {x}",
          "the {ns} other than {x}", "all of the {ns} except {x}", "all of the {ns} but {x}")  # fmt: skip
EVERYTHING_BUT = ("everything except {x}",) * 3 + ("everything but {x}",) * 3 + ("all objects except {x}",
                  "all the objects but {x}", "everything apart from {x}", "everything other than {x}",
                  "everything except for {x}", "all things except {x}")  # fmt: skip
NOT_COLOURED = ("{n} that is not {c}", "{n} which is not {c}", "{n} not {c}")
NOT_COLOURED_SEVERAL = ("{ns} that are not {c}",) * 3 + ("all the {ns} that are not {c}", "all {ns} which are not {c}",
                        "every {n} that is not {c}")  # fmt: skip
BOTH_OF = ("both {ns}", "both {ns}", "both the {ns}", "both of the {ns}", "the pair of {ns}")
COUNT_OF = ("the {k} {ns}", "the {k} {ns}", "{k} {ns}", "all {k} {ns}")
EVERYTHING = ("everything", "all objects", "all the objects", "every object", "all things", "all the things",
              "all items", "all of the objects", "each object", "every thing", "the objects", "everything in the image",
              "all objects in the picture")  # fmt: skip
COLOUR_ALL = ("everything {c}", "everything that is {c}", "all {c} objects", "all the {c} objects", "every {c} object",
              "all {c} things", "the {c} objects", "all the {c} ones")  # fmt: skip
K_EXTREME = {"left": ("leftmost",), "right": ("rightmost",), "top": ("topmost", "highest", "top"),
             "bottom": ("bottommost", "lowest", "bottom")}  # fmt: skip

# Nouns that no scene shows, not even as a part of an object or in the background of a photograph.
OUTSIDE_NOUNS = (
    "airplane", "anchor", "angel", "ant", "arrow", "axe", "backpack", "bag", "barn", "basket", "bathtub", "bed",
    "bicycle", "boat", "bone", "bottle", "box", "bridge", "broom", "bus", "cactus", "cake", "camel", "candle",
    "castle", "chair", "church", "cloud", "comb", "cookie", "corn", "cow", "crab", "crown", "dinosaur", "dragon",
    "drum", "duck", "eagle", "egg", "fence", "flower", "fork", "fox", "ghost", "giraffe", "goat", "grape", "guitar",
    "hammer", "hat", "helicopter", "horse", "house", "kangaroo", "key", "keyboard", "kite", "knife", "ladder",
    "lamp", "laptop", "lemon", "lobster", "map", "microphone", "mirror", "moon", "motorcycle", "mushroom", "pear",
    "pencil", "phone", "piano", "pillow", "pineapple", "potato", "printer", "pumpkin", "ruler", "sandwich",
    "scissors", "shark", "sheep", "shoe", "skateboard", "snail", "snake", "sofa", "spider", "suitcase", "sun",
    "sword", "telephone", "tent", "tomato", "toothbrush", "tractor", "train", "truck", "trumpet", "umbrella",
    "unicorn", "vase", "violin", "whale", "zebra",
)  # fmt: skip


def plural(word: str) -> str:
    """Returns the plural of a canonical or outside noun."""
    if word in IRREGULAR_PLURALS:
        return IRREGULAR_PLURALS[word]
    if word.endswith("y") and word[-2] not in "aeo":
        return word[:-1] + "ies"
    return word if word == "scissors" else word + ("es" if word.endswith(("s", "x", "ch", "sh")) else "s")


def words_of(text: str) -> list[str]:
    """Splits an expression or a template into lower-case words as a BERT tokenizer does, punctuation left out."""
    return re.findall(r"[a-z0-9]+", re.sub(r"{\w+}", " ", text.lower()))


def _all_texts() -> list[str]:
    texts = [*NOUNS, *map(plural, NOUNS), *COLOURS, *NOUN_ARTICLES, *PREFIXES, *COLOUR_AFTER, *SIZE_AFTER, *CENTRE,
             *CORNER, *NEAR, *NEAREST, *BETWEEN, *ORDINAL, *ORDINAL_ALONE, *ALL_OF, *BOTH_OF, *COUNT_OF, *EVERYTHING,
             *COLOUR_ALL, *ALL_BUT, *EVERYTHING_BUT, *NOT_COLOURED, *NOT_COLOURED_SEVERAL, *CLASSES,
             *map(plural, CLASSES), "an", "and", "also", "as well as", "plus"]  # fmt: skip
    for pairs in (*SYNONYMS.values(), GENERIC):
        texts.extend(word for pair in pairs for word in pair)
    for table in (SIZE_WORDS, COMPARATIVE, SUPERLATIVE, EXTREME, FAR, SIDE, CORNER_VERTICAL, PAIR, RELATION,
                  ORDINAL_WORDS, FROM, NUMBER_WORDS, K_EXTREME):  # fmt: skip
        texts.extend(text for wordings in table.values() for text in wordings)
    return texts


VOCABULARY_WORDS: tuple[str, ...] = tuple(sorted({word for text in _all_texts() for word in words_of(text)}))
