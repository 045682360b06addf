# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Referring expressions with one target: by noun, attribute, position, relation and ordinal.

Each function draws one expression, checks with a margin that it fits its target alone, and returns None when in doubt.
"""

from __future__ import annotations

import math

from . import words
from .view import (
    RELATION_GAP,
    SIDES,
    Draft,
    Filter,
    View,
    draw_reference,
    filters_of,
    group_filter,
    noun_phrase,
    noun_word,
    ordinal_text,
)

PAIR_GAP = 0.10  # between the left and the right one of two, as a fraction of the image's shorter side


def draft_noun(view: View) -> Draft | None:
    """Drafts "the dog" for an object that is the only one of its noun."""
    index = int(view.rng.integers(view.count))
    chosen = Filter(view.objects[index].noun)
    if view.fits(chosen) != [index]:
        return None
    return Draft(noun_phrase(view, chosen), [index], (chosen,), article="a")


def draft_attribute(view: View) -> Draft | None:
    """Drafts "the small red car", by colour, size or both."""
    index = int(view.rng.integers(view.count))
    item = view.objects[index]
    options = [chosen for chosen in filters_of(view, index)[1:] if chosen.size is None or view.chance(0.7)]
    options += [Filter(None, None, item.size)] if view.chance(0.5) else []
    if item.colour and view.all_coloured and view.chance(0.5):
        options += [Filter(None, item.colour), Filter(None, item.colour, item.size)]
    options = [chosen for chosen in options if view.fits(chosen) == [index]]
    if not options:
        return None
    chosen = view.pick(options)
    same_noun = view.fits(Filter(chosen.noun))
    if chosen.size and not chosen.colour and len(same_noun) == 1 and view.chance(0.6):
        return None  # a size without a rival says little
    if chosen.size and not chosen.colour and len(same_noun) >= 2 and view.chance(0.3):
        table = words.COMPARATIVE if len(same_noun) == 2 and view.chance(0.6) else words.SUPERLATIVE
        text = view.pick(table[chosen.size]).format(n=noun_word(view, chosen.noun))
    elif chosen.colour and not chosen.size and view.chance(0.15):
        text = view.pick(words.COLOUR_AFTER).format(n=noun_word(view, chosen.noun), c=chosen.colour)
    elif chosen.size and view.chance(0.08):
        size_word = view.pick(words.SIZE_WORDS[chosen.size])
        text = view.pick(words.SIZE_AFTER).format(n=noun_phrase(view, chosen._replace(size=None)), s=size_word)
    else:
        text = noun_phrase(view, chosen)
    return Draft(text, [index], (chosen,))


def draft_position(view: View) -> Draft | None:
    """Drafts "the leftmost dog" or "the star at the top", by the position in the image."""
    index = int(view.rng.integers(view.count))
    chosen = group_filter(view, index, 2 if view.chance(0.75) else 1)
    if chosen is None:
        return None
    template = place_in_group(view, index, view.fits(chosen))
    if template is None:
        return None
    number = 2 if "{ns}" in template else 1
    phrase = noun_phrase(view, chosen, number)
    return Draft(template.format(n=phrase, ns=phrase), [index], (chosen,))


def place_in_group(view: View, index: int, group: list[int]) -> str | None:
    """Says in words around {n} or {ns} where one of a group is; None where that is not clear, or fits another too."""
    return view.pick((_extreme, _extreme, _side, _side, _centre, _corner, _pair))(view, index, group)


def _extreme(view: View, index: int, group: list[int]) -> str | None:
    side = view.pick(SIDES)
    ranked = view.order(side, group, 1)
    if len(group) < 2 or ranked is None or ranked[0] != index:
        return None
    far = view.fraction(side, index) < 0.4 and view.chance(0.25)
    return view.pick((words.FAR if far else words.EXTREME)[side])


def _side(view: View, index: int, group: list[int]) -> str | None:
    side = view.pick(SIDES)
    own = view.fraction(side, index)
    others = [view.fraction(side, other) for other in group if other != index]
    if own > (0.44 if others else 0.42) or any(other < 0.52 or other - own < 0.12 for other in others):
        return None
    return view.pick(words.SIDE[side])


def _centre(view: View, index: int, group: list[int]) -> str | None:
    off = {i: max(abs(view.fraction("left", i) - 0.5), abs(view.fraction("top", i) - 0.5)) for i in group}
    if off[index] > 0.13 or any(off[other] < 0.23 for other in group if other != index):
        return None
    return view.pick(words.CENTRE)


def _corner(view: View, index: int, group: list[int]) -> str | None:
    horizontal = "left" if view.fraction("left", index) < 0.5 else "right"
    vertical = "top" if view.fraction("top", index) < 0.5 else "bottom"
    if max(view.fraction(horizontal, index), view.fraction(vertical, index)) > 0.42:
        return None
    if any(max(view.fraction(horizontal, i), view.fraction(vertical, i)) < 0.54 for i in group if i != index):
        return None
    template = view.pick(words.CORNER).replace("{v}", view.pick(words.CORNER_VERTICAL[vertical]))
    return template.replace("{h}", horizontal)


def _pair(view: View, index: int, group: list[int]) -> str | None:
    if len(group) != 2:
        return None
    other = group[0] if group[1] == index else group[1]
    side = view.pick(SIDES)
    if view.along(side, other) - view.along(side, index) < PAIR_GAP * view.shorter:
        return None
    return view.pick(words.PAIR[side])


def _holds(view: View, side: str, index: int, anchor: int) -> bool | None:
    """Whether an object is on that side of an anchor; None when it is hard to say."""
    lead = view.along(side, anchor) - view.along(side, index)
    across = view.along("top" if side in ("left", "right") else "left", index)
    across -= view.along("top" if side in ("left", "right") else "left", anchor)
    if lead <= -0.04 * view.shorter:
        return False
    return True if lead >= max(RELATION_GAP * view.shorter, 0.35 * abs(across)) else None


def draft_relation(view: View) -> Draft | None:
    """Drafts "the dog left of the car", by the position among other objects."""
    index = int(view.rng.integers(view.count))
    reference = draw_reference(view, exclude=[index])
    chosen = group_filter(view, index, 1)
    if reference is None or chosen is None:
        return None
    anchor, anchor_filter, anchor_text = reference
    group = [i for i in view.fits(chosen) if i != anchor]
    named = (chosen, anchor_filter)
    draw = view.rng.random()
    if draw < 0.72:
        side = view.pick(SIDES)
        if any(_holds(view, side, i, anchor) is not (i == index) for i in group):
            return None
        text = view.pick(words.RELATION[side]).format(n=noun_phrase(view, chosen), a=anchor_text)
    elif draw < 0.87:
        others = [i for i in group if i != index]
        if any(view.distance(i, anchor) < 1.35 * view.distance(index, anchor) for i in others):
            return None
        close = view.gap(index, anchor) < 0.15 * view.shorter
        close = close and all(view.gap(i, anchor) > 0.28 * view.shorter for i in others)
        if not close and (not others or view.chance(0.3)):
            return None
        nearest = not close or (bool(others) and view.chance(0.3))
        template = view.pick(words.NEAREST if nearest else words.NEAR)
        text = template.format(n=noun_phrase(view, chosen), a=anchor_text)
    else:
        second = draw_reference(view, exclude=[index, anchor])
        if second is None or not _only_between(view, index, group, anchor, second[0]):
            return None
        named += (second[1],)
        text = view.pick(words.BETWEEN).format(n=noun_phrase(view, chosen), a=anchor_text, b=second[2])
    return Draft(text, [index], named)


def _only_between(view: View, index: int, group: list[int], first: int, second: int) -> bool:
    """Whether one object lies between two others, and the rest of its group clearly does not."""
    dx, dy = view.x[second] - view.x[first], view.y[second] - view.y[first]
    length = math.hypot(dx, dy)
    if length < 0.4 * view.shorter:
        return False
    for i in group:
        if i == second:
            continue
        px, py = view.x[i] - view.x[first], view.y[i] - view.y[first]
        along, off = (px * dx + py * dy) / length**2, abs(px * dy - py * dx) / length**2
        if i == index and not (0.2 < along < 0.8 and off < 0.25):
            return False
        if i != index and -0.05 < along < 1.05 and off < 0.5:
            return False
    return True


def draft_ordinal(view: View) -> Draft | None:
    """Drafts "the second star from the left"."""
    index = int(view.rng.integers(view.count))
    chosen = group_filter(view, index, 2)
    if chosen is None:
        return None
    side = view.pick(SIDES)
    group = view.fits(chosen)
    rank = 1 + sum(view.along(side, other) < view.along(side, index) for other in group)
    ranked = view.order(side, group, rank)
    if ranked is None or rank > 5 or (rank == 1 and view.chance(0.6)):
        return None
    return Draft(ordinal_text(view, chosen, rank, side), [index], (chosen,))
