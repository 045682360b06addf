# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""A scene as its referring expressions see it: who fits a phrase, who is left of whom, and how phrases are worded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from . import words
from .objects import NOVEL_COMBINATIONS

if TYPE_CHECKING:
    from .scene import Scene

T = TypeVar("T")
SIDES = ("left", "right", "top", "bottom")
# Distances as fractions of the image's shorter side.
ORDER_GAP = 0.06  # between neighbours in an order from left to right or top to bottom
RELATION_GAP = 0.10  # between an object and the one it is beside or above


class Filter(NamedTuple):
    """Which objects a noun phrase fits; None leaves a property open."""

    noun: str | None = None
    colour: str | None = None
    size: str | None = None


class Draft(NamedTuple):
    """An expression before its article, prefix and punctuation, its targets, and the noun-colour pairs it names."""

    text: str
    targets: Sequence[int]
    named: tuple[Filter, ...]
    article: str = "the"  # "the", "a" (any article of a lone noun) or "" when the text brings its own


class View:
    """A scene's objects as short lists, with the random generator that talks about them."""

    def __init__(self, scene: Scene, rng: np.random.Generator, novel: bool) -> None:
        height, width = scene.instance_map.shape
        self.rng, self.novel = rng, novel
        self.objects = scene.objects
        self.count = len(scene.objects)
        self.width, self.height, self.shorter = float(width), float(height), float(min(height, width))
        self.x = [item.center_xy[0] for item in scene.objects]
        self.y = [item.center_xy[1] for item in scene.objects]
        self.all_coloured = all(item.colour is not None for item in scene.objects)
        self.novel_objects = frozenset(
            index for index, item in enumerate(scene.objects) if (item.noun, item.colour) in NOVEL_COMBINATIONS
        )

    def chance(self, fraction: float) -> bool:
        """Whether to take a way that is taken in this fraction of cases."""
        return self.rng.random() < fraction

    def pick(self, options: Sequence[T]) -> T:
        """One of several options, each as likely."""
        return options[int(self.rng.integers(len(options)))]

    def fits(self, chosen: Filter) -> list[int]:
        """The objects that a noun phrase fits."""
        noun, colour, size = chosen
        return [
            index
            for index, item in enumerate(self.objects)
            if (noun in (None, item.noun) or item.noun in words.CLASSES.get(noun, ()))
            and colour in (None, item.colour)
            and size in (None, item.size)
        ]

    def classes_of(self, index: int) -> list[Filter]:
        """The words for several nouns, such as "animal", that fit an object."""
        unclear = "shape" if any(item.noun == "heart" for item in self.objects) else ""
        noun = self.objects[index].noun
        return [Filter(name) for name, nouns in words.CLASSES.items() if noun in nouns and name != unclear]

    def may_name(self, named: Sequence[Filter]) -> bool:
        """Whether the split may mention these nouns and colours."""
        return self.novel or not any((item.noun, item.colour) in NOVEL_COMBINATIONS for item in named)

    def along(self, side: str, index: int) -> float:
        """Distance from a side of the image, in pixels, growing away from it."""
        value = self.x[index] if side in ("left", "right") else self.y[index]
        return value if side in ("left", "top") else (self.width if side == "right" else self.height) - value

    def fraction(self, side: str, index: int) -> float:
        """The same distance as a fraction of the image's width or height."""
        return self.along(side, index) / (self.width if side in ("left", "right") else self.height)

    def order(self, side: str, group: Sequence[int], checked: int) -> list[int] | None:
        """Sorts a group away from a side; None unless its first `checked` members stand clearly apart from the next."""
        ranked = sorted(group, key=lambda index: self.along(side, index))
        for near, far in zip(ranked[:checked], ranked[1:]):
            if self.along(side, far) - self.along(side, near) < ORDER_GAP * self.shorter:
                return None
        return ranked

    def gap(self, first: int, second: int) -> float:
        """Distance between the boxes of two objects, in pixels; 0 where they touch."""
        a, b = self.objects[first].box_xyxy, self.objects[second].box_xyxy
        return math.hypot(max(a[0] - b[2], b[0] - a[2], 0.0), max(a[1] - b[3], b[1] - a[3], 0.0))

    def distance(self, first: int, second: int) -> float:
        """Distance between the centres of two objects, in pixels."""
        return math.hypot(self.x[first] - self.x[second], self.y[first] - self.y[second])


def noun_word(view: View, noun: str | None, number: int = 1, alone: bool = False) -> str:
    """Words a noun, at times with a synonym; None is any object, which `alone` keeps from being called "one"."""
    if noun is None:
        return view.pick(words.GENERIC_ALONE if alone else words.GENERIC)[number > 1]
    if noun in words.SYNONYMS and view.chance(0.14):
        return view.pick(words.SYNONYMS[noun])[number > 1]
    return noun if number == 1 else words.plural(noun)


def noun_phrase(view: View, chosen: Filter, number: int = 1) -> str:
    """Words a noun phrase without its article, adjectives first."""
    adjectives = [view.pick(words.SIZE_WORDS[chosen.size])] if chosen.size else []
    if chosen.colour:
        adjectives.insert(len(adjectives) if view.chance(0.9) else 0, chosen.colour)
    return " ".join([*adjectives, noun_word(view, chosen.noun, number, alone=number > 1 and not adjectives)])


def filters_of(view: View, index: int) -> list[Filter]:
    """The noun phrases that fit one object, from plain to full."""
    item = view.objects[index]
    filters = [Filter(item.noun), Filter(item.noun, None, item.size)]
    if item.colour:
        filters += [Filter(item.noun, item.colour), Filter(item.noun, item.colour, item.size)]
    return filters


def unique_filter(view: View, index: int) -> Filter | None:
    """A noun phrase that fits this object alone, mostly a short one."""
    found = [chosen for chosen in filters_of(view, index) if view.fits(chosen) == [index]]
    if not found:
        return None
    return found[0] if view.chance(0.5) else view.pick(found)


def group_filter(view: View, index: int, minimum: int) -> Filter | None:
    """A noun phrase that fits this object and at least `minimum` objects in all."""
    options = [*filters_of(view, index), Filter(), Filter()]
    item = view.objects[index]
    if item.colour and view.all_coloured:
        options.append(Filter(None, item.colour))
    if view.chance(0.2):
        options += view.classes_of(index)
    options = [chosen for chosen in options if len(view.fits(chosen)) >= minimum]
    return view.pick(options) if options else None


def draw_reference(view: View, exclude: Sequence[int] = ()) -> tuple[int, Filter, str] | None:
    """An object to refer by, its filter and its words with an article."""
    index = int(view.rng.integers(view.count))
    chosen = None if index in exclude else unique_filter(view, index)
    return None if chosen is None else (index, chosen, "the " + noun_phrase(view, chosen))


def ordinal_text(view: View, chosen: Filter, rank: int, side: str) -> str:
    """Words an ordinal; `rank` counts from 1."""
    ordinal, origin = view.pick(words.ORDINAL_WORDS[rank]), view.pick(words.FROM[side])
    if chosen == Filter():
        return view.pick(words.ORDINAL_ALONE).format(o=ordinal, d=origin)
    return view.pick(words.ORDINAL).format(o=ordinal, n=noun_phrase(view, chosen), d=origin)


def group_text(view: View, chosen: Filter) -> str:
    """Words a whole group of at least two: "all the cats", "both cats", "the two cats"."""
    number, draw = len(view.fits(chosen)), view.rng.random()
    if draw < 0.28:
        template = view.pick(words.COUNT_OF).replace("{k}", view.pick(words.NUMBER_WORDS[number]))
    elif draw < 0.58 and number == 2:
        template = view.pick(words.BOTH_OF)
    else:
        template = view.pick(words.ALL_OF)
    return template.format(n=noun_phrase(view, chosen), ns=noun_phrase(view, chosen, number))
