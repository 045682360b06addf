# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Referring expressions for generated scenes: which kind to draw, and the finish of the sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from . import words
from .combinations import draft_conjunction, draft_exception
from .many_or_none import draft_everything, draft_none, draft_plural
from .one_target import draft_attribute, draft_noun, draft_ordinal, draft_position, draft_relation
from .view import Draft, View

if TYPE_CHECKING:
    from .scene import Scene

KINDS = ("noun", "attribute", "position", "relation", "ordinal", "plural", "conjunction", "exception", "none")

# Of the kinds, before some prove impossible.
_FREQUENCIES = np.array([0.18, 0.14, 0.12, 0.15, 0.13, 0.11, 0.12, 0.11, 0.16])
_FREQUENCIES /= _FREQUENCIES.sum()
_TRIES = 40


@dataclass(frozen=True)
class Referral:
    """An expression and what it means in its scene.

    Args:
        expression: the words.
        kind: a member of `KINDS`.
        targets: indices into the scene's objects, ascending; empty for the kind "none".
        mentioned: indices of all objects that fit one of the expression's noun phrases, ascending: in "the second star
            from the left" every star, in "the dog left of the car" every dog and the car.
    """

    expression: str
    kind: str
    targets: tuple[int, ...]
    mentioned: tuple[int, ...] = ()


def refer(scene: Scene, rng: np.random.Generator, count: int, novel: bool) -> list[Referral]:
    """
    Draws `count` expressions for a scene, without repetition as far as possible.

    `novel` says whether combinations that training never shows may be named, and are to be preferred.
    """
    view = View(scene, rng, novel)
    referrals: list[Referral] = []
    seen: set[str] = set()
    for _ in range(count):
        wanted = view.novel_objects if novel and rng.random() < 0.75 else frozenset()
        kinds = [str(kind) for kind in rng.choice(KINDS, size=len(KINDS), replace=False, p=_FREQUENCIES)]
        if kinds[0] != "none":  # falling back to "none" would make it too frequent
            kinds = [kind for kind in kinds if kind != "none"]
        referral = next(_drafts(view, kinds, wanted, seen), None)
        if referral is None:
            draft = draft_everything(view)
            referral = Referral(_dress(view, draft), "plural", tuple(draft.targets), _mentioned(view, draft))
        seen.add(referral.expression.lower())
        referrals.append(referral)
    return referrals


def _drafts(view: View, kinds: list[str], wanted: frozenset[int], seen: set[str]) -> Iterator[Referral]:
    """Yields acceptable referrals of the first kind that allows one, then of the next."""
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
                yield Referral(expression, kind, targets, _mentioned(view, draft))


def _mentioned(view: View, draft: Draft) -> tuple[int, ...]:
    named = {index for chosen in draft.named for index in view.fits(chosen)}
    return tuple(sorted(named.union(int(index) for index in draft.targets)))


def _dress(view: View, draft: Draft) -> str:
    """Adds the article, and sometimes a request before it, capitals or a final period."""
    text = draft.text
    if draft.article == "a":
        article = view.pick(words.NOUN_ARTICLES)
        vowel = text[0] in "aeiou" and not text.startswith("uni")
        text = ("an " if article == "a " and vowel else article) + text
    elif draft.article == "the" and view.chance(0.72):
        text = f"the {text}"
    if view.chance(0.12):
        text = view.pick(words.PREFIXES) + text
    if view.chance(0.06):
        text = text[0].upper() + text[1:]
    elif view.chance(0.02):
        text = text.upper()
    return text + "." if view.chance(0.08) else text


_GRAMMAR: dict[str, Callable[[View], Draft | None]] = {
    "noun": draft_noun,
    "attribute": draft_attribute,
    "position": draft_position,
    "relation": draft_relation,
    "ordinal": draft_ordinal,
    "plural": draft_plural,
    "conjunction": draft_conjunction,
    "exception": draft_exception,
    "none": draft_none,
}
