"""Referring expressions for generated scenes: what they mean, and that they mean it without doubt.

The words are in `scene_words`. Here each kind of expression is drawn, checked against the geometry of the scene with a
margin, and given up when in doubt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import scene_words as words
from .scene_objects import COLOURS, NOUNS, NOVEL_COMBINATIONS, colours_of
from .scene_words import VOCABULARY_WORDS

if TYPE_CHECKING:
    from .scenes import Scene

__all__ = ["KINDS", "VOCABULARY_WORDS", "Referral", "refer"]

KINDS = ("noun", "attribute", "position", "relation", "ordinal", "plural", "none")
SIDES = ("left", "right", "top", "bottom")

_SHARES = np.array([0.15, 0.20, 0.17, 0.16, 0.11, 0.12, 0.16])  # of the kinds, before some prove impossible
_SHARES /= _SHARES.sum()
_TRIES = 40
# Distances as a share of the image's shorter side, unless said otherwise.
_ORDER_GAP = 0.06  # between neighbours in an order from left to right or top to bottom
_RELATION_GAP = 0.10  # between an object and the one it is beside or above
_PAIR_GAP = 0.10


@dataclass(frozen=True)
class Referral:
    """An expression and what it means in its scene.

    Args:
        expression: the words.
        kind: a member of `KINDS`.
        targets: indices into the scene's objects, ascending; empty for the kind "none".
    """

    expression: str
    kind: str
    targets: tuple[int, ...]


class _Filter(NamedTuple):
    """Which objects a noun phrase fits; None leaves a property open."""

    noun: str | None = None
    colour: str | None = None
    size: str | None = None


class _Draft(NamedTuple):
    """An expression before its article, prefix and punctuation, its targets, and the noun-colour pairs it names."""

    text: str
    targets: Sequence[int]
    named: tuple[_Filter, ...]
    article: str = "the"  # "the", "a" (any article of a lone noun) or "" when the text brings its own


def refer(scene: Scene, rng: np.random.Generator, count: int, novel: bool) -> list[Referral]:
    """Draw expressions for a scene.

    Args:
        scene: the scene to talk about.
        rng: source of every choice.
        count: how many expressions.
        novel: whether combinations that training never shows may be named, and are to be preferred.

    Returns:
        `count` referrals, without repetition as far as possible.
    """
    view = _View(scene, rng, novel)
    referrals: list[Referral] = []
    seen: set[str] = set()
    for _ in range(count):
        wanted = view.novel_objects if novel and rng.random() < 0.75 else frozenset()
        kinds = [str(kind) for kind in rng.choice(KINDS, size=len(KINDS), replace=False, p=_SHARES)]
        if kinds[0] != "none":  # falling back to "none" would make it too frequent
            kinds = [kind for kind in kinds if kind != "none"]
        referral = next(_drafts(view, kinds, wanted, seen), None)
        if referral is None:
            referral = Referral(_dress(view, _everything(view)), "plural", tuple(range(view.count)))
        seen.add(referral.expression.lower())
        referrals.append(referral)
    return referrals


def _drafts(view: _View, kinds: list[str], wanted: frozenset[int], seen: set[str]):
    """Yield acceptable referrals of the first kind that allows one, then of the next."""
    for kind in kinds:
        for _ in range(_TRIES):
            draft = _GRAMMAR[kind](view)
            if draft is None or not view.may_name(draft.named):
                continue
            targets = tuple(sorted({int(index) for index in draft.targets}))
            if wanted and kind != "none" and not wanted.intersection(targets):
                continue
            expression = _dress(view, draft)
            if expression.lower() not in seen:
                yield Referral(expression, kind, targets)


class _View:
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

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def pick(self, options: Sequence):
        return options[int(self.rng.integers(len(options)))]

    def fits(self, chosen: _Filter) -> list[int]:
        noun, colour, size = chosen
        return [
            index
            for index, item in enumerate(self.objects)
            if (noun in (None, item.noun) or item.noun in words.CLASSES.get(noun, ()))
            and colour in (None, item.colour)
            and size in (None, item.size)
        ]

    def classes_of(self, index: int) -> list[_Filter]:
        """The words for several nouns, such as "animal", that fit an object."""
        unclear = "shape" if any(item.noun == "heart" for item in self.objects) else ""
        noun = self.objects[index].noun
        return [_Filter(name) for name, nouns in words.CLASSES.items() if noun in nouns and name != unclear]

    def may_name(self, named: Sequence[_Filter]) -> bool:
        return self.novel or not any((item.noun, item.colour) in NOVEL_COMBINATIONS for item in named)

    def along(self, side: str, index: int) -> float:
        """Distance from a side of the image, in pixels, growing away from it."""
        value = self.x[index] if side in ("left", "right") else self.y[index]
        return value if side in ("left", "top") else (self.width if side == "right" else self.height) - value

    def share(self, side: str, index: int) -> float:
        """The same distance as a share of the image's width or height."""
        return self.along(side, index) / (self.width if side in ("left", "right") else self.height)

    def order(self, side: str, group: Sequence[int], checked: int) -> list[int] | None:
        """Sort a group away from a side; None unless its first `checked` members stand clearly apart from the next."""
        ranked = sorted(group, key=lambda index: self.along(side, index))
        for near, far in zip(ranked[:checked], ranked[1:]):
            if self.along(side, far) - self.along(side, near) < _ORDER_GAP * self.shorter:
                return None
        return ranked

    def gap(self, first: int, second: int) -> float:
        """Distance between the boxes of two objects, in pixels; 0 where they touch."""
        a, b = self.objects[first].box_xyxy, self.objects[second].box_xyxy
        return math.hypot(max(a[0] - b[2], b[0] - a[2], 0.0), max(a[1] - b[3], b[1] - a[3], 0.0))

    def distance(self, first: int, second: int) -> float:
        return math.hypot(self.x[first] - self.x[second], self.y[first] - self.y[second])


# --- noun phrases -----------------------------------------------------------------------------------------------------


def _noun_word(view: _View, noun: str | None, number: int = 1, alone: bool = False) -> str:
    if noun is None:
        return view.pick(words.GENERIC_ALONE if alone else words.GENERIC)[number > 1]
    if noun in words.SYNONYMS and view.chance(0.14):
        return view.pick(words.SYNONYMS[noun])[number > 1]
    return noun if number == 1 else words.plural(noun)


def _phrase(view: _View, chosen: _Filter, number: int = 1) -> str:
    """Word a noun phrase without its article, adjectives first."""
    adjectives = [view.pick(words.SIZE_WORDS[chosen.size])] if chosen.size else []
    if chosen.colour:
        adjectives.insert(len(adjectives) if view.chance(0.9) else 0, chosen.colour)
    return " ".join([*adjectives, _noun_word(view, chosen.noun, number, alone=number > 1 and not adjectives)])


def _filters_of(view: _View, index: int) -> list[_Filter]:
    """The noun phrases that fit one object, from plain to full."""
    item = view.objects[index]
    filters = [_Filter(item.noun), _Filter(item.noun, None, item.size)]
    if item.colour:
        filters += [_Filter(item.noun, item.colour), _Filter(item.noun, item.colour, item.size)]
    return filters


def _unique_filter(view: _View, index: int) -> _Filter | None:
    """A noun phrase that fits this object alone, mostly a short one."""
    found = [chosen for chosen in _filters_of(view, index) if view.fits(chosen) == [index]]
    if not found:
        return None
    return found[0] if view.chance(0.5) else view.pick(found)


def _group_filter(view: _View, index: int, minimum: int) -> _Filter | None:
    """A noun phrase that fits this object and at least `minimum` objects in all."""
    options = [*_filters_of(view, index), _Filter(), _Filter()]
    item = view.objects[index]
    if item.colour and view.all_coloured:
        options.append(_Filter(None, item.colour))
    if view.chance(0.2):
        options += view.classes_of(index)
    options = [chosen for chosen in options if len(view.fits(chosen)) >= minimum]
    return view.pick(options) if options else None


def _reference(view: _View, exclude: Sequence[int] = ()) -> tuple[int, _Filter, str] | None:
    """An object to refer by, its filter and its words with an article."""
    index = int(view.rng.integers(view.count))
    chosen = None if index in exclude else _unique_filter(view, index)
    return None if chosen is None else (index, chosen, "the " + _phrase(view, chosen))


# --- one target -------------------------------------------------------------------------------------------------------


def _noun(view: _View) -> _Draft | None:
    index = int(view.rng.integers(view.count))
    chosen = _Filter(view.objects[index].noun)
    if view.fits(chosen) != [index]:
        return None
    return _Draft(_phrase(view, chosen), [index], (chosen,), article="a")


def _attribute(view: _View) -> _Draft | None:
    index = int(view.rng.integers(view.count))
    item = view.objects[index]
    options = [chosen for chosen in _filters_of(view, index)[1:] if chosen.size is None or view.chance(0.7)]
    options += [_Filter(None, None, item.size)] if view.chance(0.5) else []
    if item.colour and view.all_coloured and view.chance(0.5):
        options += [_Filter(None, item.colour), _Filter(None, item.colour, item.size)]
    options = [chosen for chosen in options if view.fits(chosen) == [index]]
    if not options:
        return None
    chosen = view.pick(options)
    same_noun = view.fits(_Filter(chosen.noun))
    if chosen.size and not chosen.colour and len(same_noun) == 1 and view.chance(0.6):
        return None  # a size without a rival says little
    if chosen.size and not chosen.colour and len(same_noun) >= 2 and view.chance(0.3):
        table = words.COMPARATIVE if len(same_noun) == 2 and view.chance(0.6) else words.SUPERLATIVE
        text = view.pick(table[chosen.size]).format(n=_noun_word(view, chosen.noun))
    elif chosen.colour and not chosen.size and view.chance(0.15):
        text = view.pick(words.COLOUR_AFTER).format(n=_noun_word(view, chosen.noun), c=chosen.colour)
    elif chosen.size and view.chance(0.08):
        size_word = view.pick(words.SIZE_WORDS[chosen.size])
        text = view.pick(words.SIZE_AFTER).format(n=_phrase(view, chosen._replace(size=None)), s=size_word)
    else:
        text = _phrase(view, chosen)
    return _Draft(text, [index], (chosen,))


def _position(view: _View) -> _Draft | None:
    index = int(view.rng.integers(view.count))
    chosen = _group_filter(view, index, 2 if view.chance(0.75) else 1)
    if chosen is None:
        return None
    group = view.fits(chosen)
    template = view.pick((_extreme, _extreme, _side, _side, _centre, _corner, _pair))(view, index, group)
    if template is None:
        return None
    number = 2 if "{ns}" in template else 1
    phrase = _phrase(view, chosen, number)
    return _Draft(template.format(n=phrase, ns=phrase), [index], (chosen,))


def _extreme(view: _View, index: int, group: list[int]) -> str | None:
    side = view.pick(SIDES)
    ranked = view.order(side, group, 1)
    if len(group) < 2 or ranked is None or ranked[0] != index:
        return None
    far = view.share(side, index) < 0.4 and view.chance(0.25)
    return view.pick((words.FAR if far else words.EXTREME)[side])


def _side(view: _View, index: int, group: list[int]) -> str | None:
    side = view.pick(SIDES)
    own = view.share(side, index)
    others = [view.share(side, other) for other in group if other != index]
    if own > (0.44 if others else 0.42) or any(other < 0.52 or other - own < 0.12 for other in others):
        return None
    return view.pick(words.SIDE[side])


def _centre(view: _View, index: int, group: list[int]) -> str | None:
    off = {i: max(abs(view.share("left", i) - 0.5), abs(view.share("top", i) - 0.5)) for i in group}
    if off[index] > 0.13 or any(off[other] < 0.23 for other in group if other != index):
        return None
    return view.pick(words.CENTRE)


def _corner(view: _View, index: int, group: list[int]) -> str | None:
    horizontal = "left" if view.share("left", index) < 0.5 else "right"
    vertical = "top" if view.share("top", index) < 0.5 else "bottom"
    if max(view.share(horizontal, index), view.share(vertical, index)) > 0.42:
        return None
    if any(max(view.share(horizontal, i), view.share(vertical, i)) < 0.54 for i in group if i != index):
        return None
    template = view.pick(words.CORNER).replace("{v}", view.pick(words.CORNER_VERTICAL[vertical]))
    return template.replace("{h}", horizontal)


def _pair(view: _View, index: int, group: list[int]) -> str | None:
    if len(group) != 2:
        return None
    other = group[0] if group[1] == index else group[1]
    side = view.pick(SIDES)
    if view.along(side, other) - view.along(side, index) < _PAIR_GAP * view.shorter:
        return None
    return view.pick(words.PAIR[side])


def _holds(view: _View, side: str, index: int, anchor: int) -> bool | None:
    """Whether an object is on that side of an anchor; None when it is hard to say."""
    lead = view.along(side, anchor) - view.along(side, index)
    across = view.along("top" if side in ("left", "right") else "left", index)
    across -= view.along("top" if side in ("left", "right") else "left", anchor)
    if lead <= -0.04 * view.shorter:
        return False
    return True if lead >= max(_RELATION_GAP * view.shorter, 0.35 * abs(across)) else None


def _relation(view: _View) -> _Draft | None:
    index = int(view.rng.integers(view.count))
    reference = _reference(view, exclude=[index])
    chosen = _group_filter(view, index, 1)
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
        text = view.pick(words.RELATION[side]).format(n=_phrase(view, chosen), a=anchor_text)
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
        text = template.format(n=_phrase(view, chosen), a=anchor_text)
    else:
        second = _reference(view, exclude=[index, anchor])
        if second is None or not _only_between(view, index, group, anchor, second[0]):
            return None
        named += (second[1],)
        text = view.pick(words.BETWEEN).format(n=_phrase(view, chosen), a=anchor_text, b=second[2])
    return _Draft(text, [index], named)


def _only_between(view: _View, index: int, group: list[int], first: int, second: int) -> bool:
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


def _ordinal(view: _View) -> _Draft | None:
    index = int(view.rng.integers(view.count))
    chosen = _group_filter(view, index, 2)
    if chosen is None:
        return None
    side = view.pick(SIDES)
    group = view.fits(chosen)
    place = 1 + sum(view.along(side, other) < view.along(side, index) for other in group)
    ranked = view.order(side, group, place)
    if ranked is None or place > 5 or (place == 1 and view.chance(0.6)):
        return None
    return _Draft(_ordinal_text(view, chosen, place, side), [index], (chosen,))


def _ordinal_text(view: _View, chosen: _Filter, place: int, side: str) -> str:
    ordinal, origin = view.pick(words.ORDINAL_WORDS[place]), view.pick(words.FROM[side])
    if chosen == _Filter():
        return view.pick(words.ORDINAL_ALONE).format(o=ordinal, d=origin)
    return view.pick(words.ORDINAL).format(o=ordinal, n=_phrase(view, chosen), d=origin)


# --- several targets --------------------------------------------------------------------------------------------------


def _plural(view: _View) -> _Draft | None:
    draft = view.pick((_group,) * 3 + (_conjunction,) * 2 + (_several_extreme, _sided_group, _everything))
    return draft(view)


def _everything(view: _View) -> _Draft:
    if view.all_coloured and view.chance(0.5):
        colours = [c for c in COLOURS if len(view.fits(_Filter(None, c))) >= 2]
        if colours:
            chosen = _Filter(None, view.pick(colours))
            text = view.pick(words.COLOUR_ALL).format(c=chosen.colour)
            return _Draft(text, view.fits(chosen), (chosen,), article="")
    return _Draft(view.pick(words.EVERYTHING), range(view.count), (), article="")


def _group(view: _View) -> _Draft | None:
    index = int(view.rng.integers(view.count))
    options = [*_filters_of(view, index), _Filter(None, None, view.objects[index].size), *view.classes_of(index)]
    options = [chosen for chosen in options if len(view.fits(chosen)) >= 2]
    if not options:
        return None
    chosen = view.pick(options)
    group = view.fits(chosen)
    draw = view.rng.random()
    if draw < 0.25:
        template = view.pick(words.COUNT_OF).replace("{k}", view.pick(words.NUMBER_WORDS[len(group)]))
    elif draw < 0.55 and len(group) == 2:
        template = view.pick(words.BOTH_OF)
    else:
        template = view.pick(words.ALL_OF)
    text = template.format(n=_phrase(view, chosen), ns=_phrase(view, chosen, len(group)))
    return _Draft(text, group, (chosen,), article="")


def _conjunction(view: _View) -> _Draft | None:
    parts, targets, named = [], [], []
    for _ in range(3 if view.count > 3 and view.chance(0.12) else 2):
        index = int(view.rng.integers(view.count))
        if index in targets:
            return None
        chosen = _unique_filter(view, index)
        if chosen is not None:
            phrase, group = _phrase(view, chosen), [index]
        else:  # one of several: either all of them, or the outermost
            chosen = view.pick(_filters_of(view, index))
            group = view.fits(chosen)
            side = view.pick(SIDES)
            if view.chance(0.6):
                phrase = _phrase(view, chosen, len(group))
            elif (ranked := view.order(side, group, 1)) is not None:
                phrase, group = f"{words.K_EXTREME[side][0]} {_phrase(view, chosen)}", [ranked[0]]
            else:
                return None
            if set(group) & set(targets):
                return None
        parts.append(phrase)
        targets += group
        named.append(chosen)
    article = "the " if view.chance(0.75) else ""
    parts = [article + part for part in parts]
    joint = view.pick((" and ",) * 8 + (" as well as ", " plus ", " and also "))
    return _Draft(", ".join(parts[:-1]) + joint + parts[-1], targets, tuple(named), article="")


def _several_extreme(view: _View) -> _Draft | None:
    chosen = _group_filter(view, int(view.rng.integers(view.count)), 3)
    if chosen is None:
        return None
    group, side = view.fits(chosen), view.pick(SIDES)
    number = int(view.rng.integers(2, len(group)))
    ranked = view.order(side, group, number)
    if ranked is None:
        return None
    count, extreme = view.pick(words.NUMBER_WORDS[number]), view.pick(words.K_EXTREME[side])
    phrase = _phrase(view, chosen, number)
    text = f"{count} {extreme} {phrase}" if view.chance(0.75) else f"{extreme} {count} {phrase}"
    return _Draft(text, ranked[:number], (chosen,))


def _sided_group(view: _View) -> _Draft | None:
    chosen = _group_filter(view, int(view.rng.integers(view.count)), 2)
    if chosen is None:
        return None
    group, side = view.fits(chosen), view.pick(SIDES)
    near = [index for index in group if view.share(side, index) < 0.44]
    if len(near) < 2 or any(0.44 <= view.share(side, index) < 0.56 for index in group):
        return None
    text = view.pick(words.SIDE[side][:6]).format(n=_phrase(view, chosen, len(near)))
    article = view.pick(("all the ", "the ", "the ", "all ", ""))
    return _Draft(article + text, near, (chosen,), article="")


# --- no target --------------------------------------------------------------------------------------------------------


def _none(view: _View) -> _Draft | None:
    draw = view.rng.random()
    if draw < 0.25:
        noun = view.pick(words.OUTSIDE_NOUNS)
        return _absent(view, _Filter(noun), noun, words.plural(noun))
    if draw < 0.60:
        present = {item.noun for item in view.objects}
        noun = view.pick([noun for noun in NOUNS if noun not in present])
        return _absent(view, _Filter(noun), _noun_word(view, noun), _noun_word(view, noun, 2))
    return view.pick((_absent_colour, _absent_colour, _false_relation, _absent_ordinal, _false_side))(view)


def _absent(view: _View, chosen: _Filter, single: str, several: str) -> _Draft:
    """Word a phrase that fits nothing in one of the ways real objects are asked for."""
    colours = colours_of(chosen.noun or "") or (COLOURS if chosen.noun in words.OUTSIDE_NOUNS else ())
    if not chosen.colour and colours and view.chance(0.3):
        chosen = chosen._replace(colour=view.pick(colours))
        single, several = f"{chosen.colour} {single}", f"{chosen.colour} {several}"
    if view.chance(0.12):
        size = view.pick(words.SIZE_WORDS[view.pick(("small", "large"))])
        single, several = f"{size} {single}", f"{size} {several}"
    draw, side, named = view.rng.random(), view.pick(SIDES), (chosen,)
    if draw < 0.5:
        return _Draft(single, [], named, article="the" if chosen.colour else "a")
    if draw < 0.66:
        template = view.pick(view.pick((words.SIDE, words.EXTREME))[side])
        return _Draft(template.format(n=single, ns=several), [], named)
    if draw < 0.78:
        reference = _reference(view)
        if reference is None:
            return _Draft(single, [], named)
        template = view.pick(words.RELATION[side] + words.NEAR[:2])
        return _Draft(template.format(n=single, a=reference[2]), [], (chosen, reference[1]))
    if draw < 0.86:
        ordinal, origin = view.pick(words.ORDINAL_WORDS[view.pick((1, 2, 2, 3))]), view.pick(words.FROM[side])
        return _Draft(view.pick(words.ORDINAL).format(o=ordinal, n=single, d=origin), [], named)
    template = view.pick(words.ALL_OF + words.BOTH_OF)
    return _Draft(template.format(n=single, ns=several), [], named, article="")


def _absent_colour(view: _View) -> _Draft | None:
    noun = view.objects[int(view.rng.integers(view.count))].noun
    shown = {item.colour for item in view.objects if item.noun == noun}
    absent = [colour for colour in colours_of(noun) if colour not in shown]
    if not absent:
        return None
    chosen = _Filter(noun, view.pick(absent))
    return _absent(view, chosen, _phrase(view, chosen), _phrase(view, chosen, 2))


def _false_relation(view: _View) -> _Draft | None:
    index, side = int(view.rng.integers(view.count)), view.pick(SIDES)
    reference = _reference(view, exclude=[index])
    if reference is None:
        return None
    anchor, anchor_filter, anchor_text = reference
    chosen = view.pick(_filters_of(view, index))
    group = view.fits(chosen)
    wrong = [view.along(side, i) - view.along(side, anchor) for i in group if i != anchor]
    if anchor in group or min(wrong) < _RELATION_GAP * view.shorter:
        return None
    text = view.pick(words.RELATION[side]).format(n=_phrase(view, chosen), a=anchor_text)
    return _Draft(text, [], (chosen, anchor_filter))


def _absent_ordinal(view: _View) -> _Draft | None:
    chosen = view.pick(_filters_of(view, int(view.rng.integers(view.count))))
    place = len(view.fits(chosen)) + int(view.rng.integers(1, 3))
    if not 2 <= place <= 5:
        return None
    return _Draft(_ordinal_text(view, chosen, place, view.pick(SIDES)), [], (chosen,))


def _false_side(view: _View) -> _Draft | None:
    chosen = view.pick(_filters_of(view, int(view.rng.integers(view.count))))
    side = view.pick(SIDES)
    if any(view.share(side, index) < 0.62 for index in view.fits(chosen)):
        return None
    return _Draft(view.pick(words.SIDE[side][:6]).format(n=_phrase(view, chosen)), [], (chosen,))


# --- surface ----------------------------------------------------------------------------------------------------------


def _dress(view: _View, draft: _Draft) -> str:
    """Add the article, and sometimes a request before it, capitals or a final period."""
    text = draft.text
    if draft.article == "a":
        article = view.pick(words.NOUN_ARTICLES)
        text = ("an " if article == "a " and text[0] in "aeiou" else article) + text
    elif draft.article == "the" and view.chance(0.72):
        text = f"the {text}"
    if view.chance(0.12):
        text = view.pick(words.PREFIXES) + text
    if view.chance(0.06):
        text = text[0].upper() + text[1:]
    elif view.chance(0.02):
        text = text.upper()
    return text + "." if view.chance(0.08) else text


_GRAMMAR: dict[str, Callable[[_View], _Draft | None]] = {
    "noun": _noun, "attribute": _attribute, "position": _position, "relation": _relation, "ordinal": _ordinal,
    "plural": _plural, "none": _none,
}  # fmt: skip
