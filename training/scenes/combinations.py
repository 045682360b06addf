# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Referring expressions that join phrases, "the cat and the red star", or leave some out, "all but the left one".

As for those with one target, each function returns None when the scene leaves room for doubt.
"""

from __future__ import annotations

from typing import NamedTuple

from . import words
from .objects import COLOURS
from .one_target import place_in_group
from .view import (
    SIDES,
    Draft,
    Filter,
    View,
    filters_of,
    group_filter,
    group_text,
    noun_phrase,
    ordinal_text,
    unique_filter,
)


class Part(NamedTuple):
    """A phrase with its article, the objects it means, and the noun phrases in it."""

    text: str
    targets: list[int]
    named: tuple[Filter, ...]


def draft_conjunction(view: View) -> Draft | None:
    """Drafts "the cat and the two stars", of two or three phrases that share no object."""
    parts: list[Part] = []
    article = "the " if view.chance(0.85) else ""
    for _ in range(3 if view.count > 3 and view.chance(0.15) else 2):
        part = _part(view, article)
        if part is None or any(set(part.targets) & set(other.targets) for other in parts):
            return None
        parts.append(part)
    if len({part.text for part in parts}) < len(parts):
        return None
    joint = view.pick((" and ",) * 8 + (" as well as ", " plus ", " and also "))
    text = ", ".join(part.text for part in parts[:-1]) + joint + parts[-1].text
    targets = [index for part in parts for index in part.targets]
    return Draft(text, targets, tuple(chosen for part in parts for chosen in part.named), article="")


def _part(view: View, article: str) -> Part | None:
    index = int(view.rng.integers(view.count))
    chosen = unique_filter(view, index)
    if chosen is not None:
        return Part(article + noun_phrase(view, chosen), [index], (chosen,))
    # One of several: all of them, or one by its place among them.
    chosen = view.pick(filters_of(view, index))
    group, side = view.fits(chosen), view.pick(SIDES)
    if view.chance(0.6):
        return Part(group_text(view, chosen), group, (chosen,))
    ranked = view.order(side, group, min(2, len(group)))
    if ranked is None:
        return None
    if view.chance(0.7):
        return Part(f"{article}{words.K_EXTREME[side][0]} {noun_phrase(view, chosen)}", ranked[:1], (chosen,))
    return Part(article + ordinal_text(view, chosen, 2, side), ranked[1:2], (chosen,))


def draft_exception(view: View) -> Draft | None:
    """Drafts "all the apples but the left one", "everything except the dog" or "the apples that are not red"."""
    draw = view.rng.random()
    if draw < 0.2:
        return _not_coloured(view)
    if draw < 0.4:
        return _everything_but(view)
    chosen = group_filter(view, int(view.rng.integers(view.count)), 2)
    if chosen is None:
        return None
    group = view.fits(chosen)
    left_out = _one_of(view, group, chosen)
    if left_out is None:
        return None
    text = view.pick(words.ALL_BUT)
    phrases = {"n": noun_phrase(view, chosen), "ns": noun_phrase(view, chosen, max(2, len(group)))}
    targets = [index for index in group if index not in left_out.targets]
    return Draft(text.format(x=left_out.text, **phrases), targets, (chosen, *left_out.named), article="")


def _one_of(view: View, group: list[int], chosen: Filter) -> Part | None:
    """Names one of a group by what sets it apart there: its colour, its size or its place."""
    index = view.pick(group)
    item = view.objects[index]
    options = []
    for name in ("noun", "colour", "size"):
        value = getattr(item, name)
        alike = [other for other in group if getattr(view.objects[other], name) == value]
        if value is not None and getattr(chosen, name) is None and alike == [index]:
            options.append(name)
    if options and view.chance(0.55):
        name = view.pick(options)
        own = chosen._replace(**{name: getattr(item, name)})
        if name == "noun" or view.chance(0.4):
            return Part("the " + noun_phrase(view, own), [index], (own,))
        word = item.colour if name == "colour" else view.pick(words.SIZE_WORDS[item.size])
        return Part(f"the {word} one", [index], (own,))
    template = place_in_group(view, index, group)
    if template is None or "{ns}" in template:
        return None
    return Part(
        "the " + template.format(n="one" if view.chance(0.65) else noun_phrase(view, chosen)), [index], (chosen,)
    )


def _everything_but(view: View) -> Draft | None:
    index = int(view.rng.integers(view.count))
    chosen = unique_filter(view, index)
    if chosen is not None:
        left_out = Part("the " + noun_phrase(view, chosen), [index], (chosen,))
    else:
        chosen = view.pick(filters_of(view, index))
        left_out = Part("the " + noun_phrase(view, chosen, 2), view.fits(chosen), (chosen,))
    targets = [other for other in range(view.count) if other not in left_out.targets]
    if not targets:
        return None
    text = view.pick(words.EVERYTHING_BUT).format(x=left_out.text)
    return Draft(text, targets, (Filter(), *left_out.named), article="")


def _not_coloured(view: View) -> Draft | None:
    noun = view.objects[int(view.rng.integers(view.count))].noun
    group = view.fits(Filter(noun))
    shown = [colour for colour in COLOURS if view.fits(Filter(noun, colour))]
    if len(shown) < 2 or any(view.objects[index].colour is None for index in group):
        return None
    colour = view.pick(shown)
    targets = [index for index in group if view.objects[index].colour != colour]
    chosen, number = Filter(noun), len(targets)
    template = view.pick(words.NOT_COLOURED if number == 1 else words.NOT_COLOURED_SEVERAL)
    text = template.format(n=noun_phrase(view, chosen), ns=noun_phrase(view, chosen, 2), c=colour)
    return Draft(text, targets, (chosen, Filter(noun, colour)), article="the" if number == 1 else "")
