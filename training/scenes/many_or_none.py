# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Referring expressions with several targets, and with none.

As for those with one target, each function returns None when the scene leaves room for doubt.
"""

from __future__ import annotations

from . import words
from .objects import COLOURS, NOUNS, colours_of
from .view import (
    RELATION_GAP,
    SIDES,
    Draft,
    Filter,
    View,
    draw_reference,
    filters_of,
    group_filter,
    group_text,
    noun_phrase,
    noun_word,
    ordinal_text,
)


def draft_plural(view: View) -> Draft | None:
    """Drafts an expression for several objects: a whole group or a part of it."""
    draft = view.pick((_group,) * 5 + (_several_extreme, _sided_group, draft_everything))
    return draft(view)


def draft_everything(view: View) -> Draft:
    """Drafts "everything", or everything of a colour; possible in every scene."""
    if view.all_coloured and view.chance(0.5):
        colours = [c for c in COLOURS if len(view.fits(Filter(None, c))) >= 2]
        if colours:
            chosen = Filter(None, view.pick(colours))
            text = view.pick(words.COLOUR_ALL).format(c=chosen.colour)
            return Draft(text, view.fits(chosen), (chosen,), article="")
    return Draft(view.pick(words.EVERYTHING), range(view.count), (), article="")


def _group(view: View) -> Draft | None:
    index = int(view.rng.integers(view.count))
    options = [*filters_of(view, index), Filter(None, None, view.objects[index].size), *view.classes_of(index)]
    options = [chosen for chosen in options if len(view.fits(chosen)) >= 2]
    if not options:
        return None
    chosen = view.pick(options)
    return Draft(group_text(view, chosen), view.fits(chosen), (chosen,), article="")


def _several_extreme(view: View) -> Draft | None:
    chosen = group_filter(view, int(view.rng.integers(view.count)), 3)
    if chosen is None:
        return None
    group, side = view.fits(chosen), view.pick(SIDES)
    number = int(view.rng.integers(2, len(group)))
    ranked = view.order(side, group, number)
    if ranked is None:
        return None
    count, extreme = view.pick(words.NUMBER_WORDS[number]), view.pick(words.K_EXTREME[side])
    phrase = noun_phrase(view, chosen, number)
    text = f"{count} {extreme} {phrase}" if view.chance(0.75) else f"{extreme} {count} {phrase}"
    return Draft(text, ranked[:number], (chosen,))


def _sided_group(view: View) -> Draft | None:
    chosen = group_filter(view, int(view.rng.integers(view.count)), 2)
    if chosen is None:
        return None
    group, side = view.fits(chosen), view.pick(SIDES)
    near = [index for index in group if view.fraction(side, index) < 0.44]
    if len(near) < 2 or any(0.44 <= view.fraction(side, index) < 0.56 for index in group):
        return None
    text = view.pick(words.SIDE[side][:6]).format(n=noun_phrase(view, chosen, len(near)))
    article = view.pick(("all the ", "the ", "the ", "all ", ""))
    return Draft(article + text, near, (chosen,), article="")


# --- no target --------------------------------------------------------------------------------------------------------


def draft_none(view: View) -> Draft | None:
    """Drafts an expression that fits nothing: an absent noun, colour, size or position."""
    draw = view.rng.random()
    if draw < 0.25:
        noun = view.pick(words.OUTSIDE_NOUNS)
        return _absent(view, Filter(noun), noun, words.plural(noun))
    if draw < 0.60:
        present = {item.noun for item in view.objects}
        noun = view.pick([noun for noun in NOUNS if noun not in present])
        return _absent(view, Filter(noun), noun_word(view, noun), noun_word(view, noun, 2))
    draft = view.pick((_absent_colour,) * 4 + (_absent_size, _absent_ordinal, _false_side) + (_false_relation,) * 2)
    return draft(view)


def _absent(view: View, chosen: Filter, single: str, several: str) -> Draft:
    """Words a phrase that fits nothing in one of the ways real objects are asked for."""
    colours = colours_of(chosen.noun or "") or (COLOURS if chosen.noun in words.OUTSIDE_NOUNS else ())
    if not chosen.colour and colours and view.chance(0.3):
        chosen = chosen._replace(colour=view.pick(colours))
        single, several = f"{chosen.colour} {single}", f"{chosen.colour} {several}"
    if view.chance(0.12):
        size = view.pick(words.SIZE_WORDS[view.pick(("small", "large"))])
        single, several = f"{size} {single}", f"{size} {several}"
    draw, side, named = view.rng.random(), view.pick(SIDES), (chosen,)
    if draw < 0.5:
        return Draft(single, [], named, article="the" if chosen.colour else "a")
    if draw < 0.66:
        template = view.pick(view.pick((words.SIDE, words.EXTREME))[side])
        return Draft(template.format(n=single, ns=several), [], named)
    if draw < 0.78:
        reference = draw_reference(view)
        if reference is None:
            return Draft(single, [], named)
        template = view.pick(words.RELATION[side] + words.NEAR[:2])
        return Draft(template.format(n=single, a=reference[2]), [], (chosen, reference[1]))
    if draw < 0.86:
        ordinal, origin = view.pick(words.ORDINAL_WORDS[view.pick((1, 2, 2, 3))]), view.pick(words.FROM[side])
        return Draft(view.pick(words.ORDINAL).format(o=ordinal, n=single, d=origin), [], named)
    template = view.pick(words.ALL_OF + words.BOTH_OF)
    return Draft(template.format(n=single, ns=several), [], named, article="")


def _absent_colour(view: View) -> Draft | None:
    if view.all_coloured and view.chance(0.15):
        shown = {item.colour for item in view.objects}
        chosen = Filter(None, view.pick([colour for colour in COLOURS if colour not in shown]))
        return _absent(view, chosen, noun_phrase(view, chosen), noun_phrase(view, chosen, 2))
    noun = view.objects[int(view.rng.integers(view.count))].noun
    shown = {item.colour for item in view.objects if item.noun == noun}
    absent = [colour for colour in colours_of(noun) if colour not in shown]
    if not absent or None in shown:
        return None
    chosen = Filter(noun, view.pick(absent))
    return _absent(view, chosen, noun_phrase(view, chosen), noun_phrase(view, chosen, 2))


def _absent_size(view: View) -> Draft | None:
    """A size that the object of that noun and colour has not, while a rival of the same noun has it."""
    item = view.objects[int(view.rng.integers(view.count))]
    chosen = Filter(item.noun, item.colour, "small" if item.size == "large" else "large")
    if item.colour is None or view.fits(chosen) or not view.fits(chosen._replace(colour=None)):
        return None
    return Draft(noun_phrase(view, chosen), [], (chosen,))


def _false_relation(view: View) -> Draft | None:
    index, side = int(view.rng.integers(view.count)), view.pick(SIDES)
    reference = draw_reference(view, exclude=[index])
    if reference is None:
        return None
    anchor, anchor_filter, anchor_text = reference
    chosen = view.pick(filters_of(view, index))
    group = view.fits(chosen)
    wrong = [view.along(side, i) - view.along(side, anchor) for i in group if i != anchor]
    if anchor in group or min(wrong) < RELATION_GAP * view.shorter:
        return None
    text = view.pick(words.RELATION[side]).format(n=noun_phrase(view, chosen), a=anchor_text)
    return Draft(text, [], (chosen, anchor_filter))


def _absent_ordinal(view: View) -> Draft | None:
    chosen = view.pick(filters_of(view, int(view.rng.integers(view.count))))
    rank = len(view.fits(chosen)) + int(view.rng.integers(1, 3))
    if not 2 <= rank <= 5:
        return None
    return Draft(ordinal_text(view, chosen, rank, view.pick(SIDES)), [], (chosen,))


def _false_side(view: View) -> Draft | None:
    chosen = view.pick(filters_of(view, int(view.rng.integers(view.count))))
    side = view.pick(SIDES)
    if any(view.fraction(side, index) < 0.62 for index in view.fits(chosen)):
        return None
    return Draft(view.pick(words.SIDE[side][:6]).format(n=noun_phrase(view, chosen)), [], (chosen,))
