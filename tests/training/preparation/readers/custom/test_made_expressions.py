# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Sentences that are made of classes, attributes and positions: each true of just what it means."""

import pytest

from ssp_sam.training.preparation.readers.custom.annotated import words_of_attributes
from ssp_sam.training.preparation.readers.custom.made_expressions import Thing, make_expressions, plural, readable


def thing(category, x, y=50, *attributes, crowd=False):
    return Thing(category, attributes, (x - 5, y - 5, x + 5, y + 5), crowd)


def said(*things, **options):
    """What is said, by the indices of the things that are meant."""
    made = make_expressions(things, (100, 100), **options)
    return {item.indices: item.expressions for item in made}


def test_one_two_and_more_of_a_class():
    assert said(thing("cup", 20)) == {(0,): ["the cup"]}
    assert said(thing("cup", 20), thing("cup", 80)) == {
        (0, 1): ["all cups"],
        (0,): ["the left cup"],
        (1,): ["the right cup"],
    }
    three = said(thing("cup", 50, 50), thing("cup", 20, 20), thing("cup", 80, 90))
    assert three[(1,)] == ["the leftmost cup", "the topmost cup"]
    assert three[(2,)] == ["the rightmost cup", "the bottommost cup"] and (0,) not in three


def test_positions_are_said_only_where_they_are_clear():
    assert said(thing("cup", 50, 20), thing("cup", 55, 80)) == {
        (0, 1): ["all cups"],
        (0,): ["the upper cup"],
        (1,): ["the lower cup"],
    }
    assert said(thing("cup", 50), thing("cup", 55)) == {(0, 1): ["all cups"]}
    # The leftmost one is clear, the rightmost is not.
    close = said(thing("cup", 10), thing("cup", 80), thing("cup", 85))
    assert close == {(0, 1, 2): ["all cups"], (0,): ["the leftmost cup"]}


def test_other_classes_do_not_matter():
    mixed = said(thing("cup", 80), thing("plate", 20))
    assert mixed == {(0,): ["the cup"], (1,): ["the plate"]}


def test_attributes_tell_objects_apart():
    red = said(thing("cup", 50, 50, "red"), thing("cup", 52, 50, "red", "open"), thing("cup", 54, 50, "blue"))
    assert red == {
        (0, 1, 2): ["all cups"],
        (0, 1): ["all red cups"],
        (1,): ["the open cup"],
        (2,): ["the blue cup"],
    }
    assert said(thing("cup", 50, 50, "red")) == {(0,): ["the cup", "the red cup"]}


def test_crowds_regions_incomplete_and_absent_classes():
    assert said(thing("cup", 20), thing("cup", 80, crowd=True)) == {(0, 1): ["all cups"]}
    assert said(thing("cup", 20), thing("cup", 80), incomplete=["cup"]) == {}
    assert said(thing("sky", 20), of_regions=True, absent="sea") == {(0,): ["sky"], (): ["sea"]}
    assert said(absent="tea_pot") == {(): ["the tea pot"]}


@pytest.mark.parametrize(
    "one, many",
    [
        ("cup", "cups"),
        ("traffic light", "traffic lights"),
        ("box", "boxes"),
        ("bus", "buses"),
        ("berry", "berries"),
        ("key", "keys"),
        ("glass", "glasses"),
        ("wine glass", "wine glasses"),
        ("person", "people"),
        ("Person", "people"),
        ("knife", "knives"),
        ("sheep", "sheep"),
        ("scissors", "scissors"),
        ("women", "women"),
    ],
)
def test_plurals(one, many):
    assert plural(one) == many


def test_names_and_attributes_become_words():
    assert readable("traffic_light") == "traffic light" and readable(" Traffic-Light ") == "Traffic Light"
    given = {"color": "red", "open": "true", "broken": "false", "occluded": "true", "age": "12", "id": "a"}
    given |= {
        "state": "__undefined__",
        "caption": "the red one",
        "note": "seen from the side",
        "lit": True,
        "wet": False,
    }
    assert words_of_attributes(given) == ("red", "open", "lit")
