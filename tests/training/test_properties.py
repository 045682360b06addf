# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What holds for all run lengths, polygons, metrics, fields of annotations and lines of files, on generated ones."""

import json

import numpy as np
import pytest
from hypothesis import strategies as st

from ssp_sam.training.data import masks as run_lengths
from ssp_sam.training.evaluation.metrics import SegmentationMetrics, box_iou_xyxy, mask_areas, score_areas
from ssp_sam.training.preparation.readers.records import (
    BadRecord,
    box_from_xywh,
    identifier,
    sentences_of,
    shortened,
    size_of,
    whole_number,
    with_words,
)
from tests.helpers.properties import Property

SIDES = st.integers(1, 40)
SEEDS = st.integers(0, 2**31 - 1)
PIXELS = st.integers(-100, 140).map(lambda number: number / 2)
# Whatever JSON may hold.
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


def mask_of(height: int, width: int, number: int) -> np.ndarray:
    """A mask of blobs or of noise; at times empty or full."""
    generator = np.random.default_rng(number)
    return generator.random((height, width)) < generator.choice([0, 0.02, 0.5, 0.98, 1])


def run_lengths_come_back(height, width, number):
    mask = mask_of(height, width, number)
    packed = run_lengths.encode(mask)
    assert np.array_equal(run_lengths.decode(packed), mask)
    assert np.array_equal(run_lengths.decode(run_lengths.uncompressed(packed)), mask)
    assert run_lengths.area(packed) == mask.sum()
    box, (ys, xs) = run_lengths.bounding_box(packed), np.nonzero(mask)
    assert box == (None if not len(xs) else (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))


def run_lengths_are_added_as_masks_are(height, width, first, second):
    masks = [mask_of(height, width, number) for number in (first, second)]
    packed = [run_lengths.encode(mask) for mask in masks]
    assert np.array_equal(run_lengths.decode(run_lengths.union(packed)), masks[0] | masks[1])
    assert run_lengths.intersection_area(*packed) == (masks[0] & masks[1]).sum()


def changed_run_lengths_are_refused_or_fill_the_size(height, width, number, position, letter):
    packed = run_lengths.encode(mask_of(height, width, number))
    counts = packed["counts"]
    position %= len(counts)
    changed = {"size": packed["size"], "counts": counts[:position] + letter + counts[position + 1 :]}
    try:
        assert run_lengths.decode(changed).shape == (height, width)
    except ValueError as error:
        assert "\n" not in str(error)


def polygons_stay_in_the_image_and_in_their_box(height, width, corners):
    flat = [number for corner in corners for number in corner]
    drawn = run_lengths.decode(run_lengths.from_polygons([flat], height, width))
    ys, xs = np.nonzero(drawn)
    assert drawn.shape == (height, width)
    if len(xs):
        assert min(flat[::2]) - 1 <= xs.min() and xs.max() <= max(flat[::2]) + 1
        assert min(flat[1::2]) - 1 <= ys.min() and ys.max() <= max(flat[1::2]) + 1


def metrics_do_not_depend_on_order_or_parts(numbers, cut):
    pairs = [(mask_of(5, 7, number), mask_of(5, 7, number + 1)) for number in numbers]
    whole, turned, first, second = (SegmentationMetrics() for _ in range(4))
    for pair in pairs:
        whole.update(*pair)
    for pair in pairs[::-1]:
        turned.update(*pair)
    for index, pair in enumerate(pairs):
        (first if index < cut else second).update(*pair)
    assert whole.compute() == turned.compute() == first.merge(second.sums).compute()
    scores = [score_areas(*mask_areas(*pair)) for pair in pairs]
    assert whole.compute()["gIoU"] == pytest.approx(np.mean([score.iou for score in scores]))


def scores_are_fractions_and_equal_both_ways(first, second):
    forth, back = (score_areas(*mask_areas(*pair)) for pair in ((first, second), (second, first)))
    assert 0 <= forth.iou <= 1 and forth.union == back.union and forth.intersection == back.intersection
    assert score_areas(*mask_areas(first, first)).iou == 1


def boxes_overlap_by_a_fraction_that_is_equal_both_ways(first, second):
    boxes = [(min(x), min(y), max(x), max(y)) for x, y in (first, second)]
    overlap = box_iou_xyxy(*boxes)
    assert 0 <= overlap <= 1 and overlap == pytest.approx(box_iou_xyxy(*boxes[::-1]))


def any_field_is_read_or_refused_in_a_sentence(value):
    """Whatever stands in a field, its reader returns what it is for, or raises the error of one record."""
    readers = {
        identifier: str,
        box_from_xywh: tuple,
        lambda given: whole_number(given, "height"): int,
        lambda given: size_of({"height": given, "width": 4}): (tuple, type(None)),
        lambda given: with_words(sentences_of(given)): list,
    }
    for reader, kind in readers.items():
        try:
            assert isinstance(reader(value), kind)
        except BadRecord as error:
            assert "\n" not in error.reason and len(error.reason) < 1000
    assert len(shortened(value)) <= 80


def numbers_are_the_same_in_every_form(number):
    forms = [number, float(number), str(number)]
    assert {whole_number(form, "height") for form in forms} == {number}
    assert {identifier(form) for form in forms} == {str(number)}
    assert json.loads(json.dumps(number)) == number


_MASKS = st.builds(mask_of, st.just(4), st.just(6), SEEDS)
_TWO = st.tuples(st.tuples(PIXELS, PIXELS), st.tuples(PIXELS, PIXELS))
PROPERTIES = [
    Property(run_lengths_come_back, (SIDES, SIDES, SEEDS), many=5_000),
    Property(run_lengths_are_added_as_masks_are, (SIDES, SIDES, SEEDS, SEEDS), many=4_000),
    Property(
        changed_run_lengths_are_refused_or_fill_the_size,
        (SIDES, SIDES, SEEDS, SEEDS, st.characters(min_codepoint=32, max_codepoint=300)),
        many=5_000,
    ),
    Property(
        polygons_stay_in_the_image_and_in_their_box,
        (SIDES, SIDES, st.lists(st.tuples(PIXELS, PIXELS), min_size=3, max_size=9)),
        many=3_000,
    ),
    Property(
        metrics_do_not_depend_on_order_or_parts,
        (st.lists(SEEDS, min_size=1, max_size=8), st.integers(0, 8)),
        many=3_000,
    ),
    Property(scores_are_fractions_and_equal_both_ways, (_MASKS, _MASKS), many=3_000),
    Property(boxes_overlap_by_a_fraction_that_is_equal_both_ways, (_TWO, _TWO), many=2_000),
    Property(any_field_is_read_or_refused_in_a_sentence, (VALUES,), many=4_000),
    Property(numbers_are_the_same_in_every_form, (st.integers(0, 2**53),), many=1_000),
]
of_each = pytest.mark.parametrize("of", PROPERTIES, ids=lambda of: of.holds.__name__)


@of_each
def test_what_holds_for_every_input(of):
    assert of.check(30, number=0) > 0


@pytest.mark.long
@of_each
def test_what_holds_for_thousands_of_inputs(of):
    assert of.check_many() > of.many // 2
