# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Makes sentences of classes, attributes and positions, each true of just the objects that it means.

"The cup" is said where there is one, "the left cup" where one of two lies clearly to the left, "the leftmost cup" where
one of more does, "the red cup" where one is red, "all cups" and "all red cups" of several, and the name of a class that
the image lacks where nothing is to be found.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

CLEARLY = 0.1  # of the image's side, by which the centre of one lies farther out than that of the next
_IRREGULAR = {"person": "people", "man": "men", "woman": "women", "child": "children", "foot": "feet", "tooth": "teeth"}
_IRREGULAR |= {"mouse": "mice", "goose": "geese", "knife": "knives", "leaf": "leaves", "shelf": "shelves"}
_IRREGULAR |= {name: name for name in ("sheep", "fish", "deer", "aircraft", "people", "men", "women", "children")}
# Of two, and of more; for the lower and the higher coordinate across, then down.
_SIDES = {True: (("left", "right"), ("upper", "lower")), False: (("leftmost", "rightmost"), ("topmost", "bottommost"))}


class Thing(NamedTuple):
    """One object: its class, words that go before the name, (left, top, right, bottom), whether it is a crowd."""

    category: str
    attributes: tuple[str, ...]
    box_xyxy: tuple[float, float, float, float]
    is_crowd: bool = False


class Made(NamedTuple):
    """Sentences, the indices of the objects that each of them means, and the class."""

    indices: tuple[int, ...]
    expressions: list[str]
    category: str


def make_expressions(
    things: Sequence[Thing],
    size_hw: tuple[int, int],
    absent: str = "",
    incomplete: Collection[str] = (),
    of_regions: bool = False,
) -> Iterator[Made]:
    """
    Makes the sentences of one image.

    Args:
        absent: A class of which there is none in it, "" for no such sentence.
        incomplete: Classes of which there may be more than these; nothing is said of them.
        of_regions: Whether a thing is all that there is of its class, be it one or many.
    """
    by_class: dict[str, list[int]] = {}
    for index, thing in enumerate(things):
        by_class.setdefault(thing.category, []).append(index)
    for category, indices in by_class.items():
        noun = readable(category)
        if category in incomplete:
            continue
        if of_regions:
            yield Made(tuple(indices), [noun], category)
            continue
        found = _of_class(noun, indices, things, size_hw)
        yield from (Made(meant, expressions, category) for meant, expressions in found.items())
    if absent:
        yield Made((), [readable(absent) if of_regions else f"the {readable(absent)}"], absent)


def _of_class(
    noun: str, indices: list[int], things: Sequence[Thing], size_hw: tuple[int, int]
) -> dict[tuple[int, ...], list[str]]:
    """Sentences by the indices of the objects that they mean."""
    found: dict[tuple[int, ...], list[str]] = {}
    if any(things[index].is_crowd for index in indices):  # of how many, nobody counted
        return {tuple(indices): [f"all {plural(noun)}"]}
    groups = {"": indices}
    for word in dict.fromkeys(word for index in indices for word in things[index].attributes):
        groups[f"{readable(word)} "] = [index for index in indices if word in things[index].attributes]
    for words, group in groups.items():
        said = f"the {words}{noun}" if len(group) == 1 else f"all {words}{plural(noun)}"
        found.setdefault(tuple(group), []).append(said)
    if len(indices) > 1:
        for axis, sides in enumerate(_SIDES[len(indices) == 2]):
            centres = {index: sum(things[index].box_xyxy[axis::2]) / 2 for index in indices}
            ordered = sorted(indices, key=lambda index: centres[index])
            least = CLEARLY * size_hw[1 - axis]
            for word, outer, inner in ((sides[0], *ordered[:2]), (sides[1], *ordered[:-3:-1])):
                if abs(centres[outer] - centres[inner]) >= least:
                    found.setdefault((outer,), []).append(f"the {word} {noun}")
    return found


def readable(name: str) -> str:
    """Returns the name of a class as words: underscores and dashes are spaces."""
    return " ".join(name.replace("_", " ").replace("-", " ").split())


def plural(noun: str) -> str:
    """Returns the plural of a noun, of whose words the last changes."""
    rest, _, word = noun.rpartition(" ")
    lower = word.lower()
    if lower in _IRREGULAR:
        word = _IRREGULAR[lower]
    elif lower.endswith(("ss", "us", "x", "z", "ch", "sh")):
        word += "es"
    elif lower.endswith("y") and lower[-2:-1] not in "aeiou":
        word = f"{word[:-1]}ies"
    elif not lower.endswith("s"):  # scissors, jeans, and what is in the plural already
        word += "s"
    return f"{rest} {word}".strip()
