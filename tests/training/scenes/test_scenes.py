# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Generated scenes: the same every time, exact in their masks, and truthful in their expressions."""

import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from ssp_sam.training.scenes.expressions import KINDS
from ssp_sam.training.scenes.generator import SPLITS, draw_referrals, generate_scene
from ssp_sam.training.scenes.objects import (
    COLOURS,
    NOUNS,
    NOVEL_COMBINATIONS,
    SPRITES,
    colours_of,
    draw_object,
    sample_colour,
)
from ssp_sam.training.scenes.scene import Scene, SceneObject, flip_scene
from ssp_sam.training.scenes.words import GENERIC, OUTSIDE_NOUNS, SYNONYMS, VOCABULARY_WORDS, plural, words_of
from tests.helpers.processes import run_in_processes

SIZE_HW = (96, 96)
FIXTURE = Path(__file__).resolve().parents[2] / "fixtures" / "first_scenes.jsonl"


def hand_made_scene(*things):
    """A 100 x 100 scene of square objects; each thing is (noun, colour, size, centre x, centre y)."""
    instance_map = np.zeros((100, 100), np.uint8)
    objects = []
    for index, (noun, colour, size, x, y) in enumerate(things):
        half = 6 if size == "small" else 10
        instance_map[y - half : y + half, x - half : x + half] = index + 1
        box = (float(x - half), float(y - half), float(x + half), float(y + half))
        objects.append(SceneObject(noun, colour, size, box, (float(x), float(y)), (2 * half) ** 2))
    return Scene(np.zeros((100, 100, 3), np.uint8), instance_map, tuple(objects))


def ask(scene, count, seed=0, split="train"):
    return draw_referrals(scene, np.random.default_rng(seed), count, split)


def plain(expression):
    """Strip what carries no meaning: capitals, the period, the request and the articles."""
    text = expression.lower().rstrip(".")
    requests = "find|segment|please segment|please find|show me|select|highlight|point to|locate|mark|can you find|"
    requests += "where is|i want|outline|look for|pick"
    text = re.sub(rf"^({requests}) ", "", text)
    return re.sub(r"\b(the|a|an) ", "", text)


@pytest.fixture(scope="module")
def scenes():
    return {split: [generate_scene(seed, split, SIZE_HW) for seed in range(40)] for split in SPLITS}


@pytest.fixture(scope="module")
def referrals(scenes):
    return {
        split: [(scene, referral) for scene in scenes[split] for referral in ask(scene, 12, 7, split)]
        for split in SPLITS
    }


# --- a source of samples ----------------------------------------------------------------------------------------------


def fingerprint() -> str:
    scene = generate_scene(5, "validation")
    text = repr((scene.objects, draw_referrals(scene, np.random.default_rng(1), 6, "validation")))
    return hashlib.sha256(scene.image.tobytes() + scene.instance_map.tobytes() + text.encode()).hexdigest()


def print_fingerprint(words: list[str]):
    print(hash("a"), fingerprint())


def test_the_same_seed_gives_the_same_bytes_in_another_process(tmp_path):
    hashed, printed = run_in_processes(print_fingerprint, [], tmp_path).said().split()
    assert hashed != str(hash("a")) or "PYTHONHASHSEED" in os.environ  # so sets have another order there
    assert printed == fingerprint()


def test_no_two_splits_or_seeds_share_a_scene(scenes):
    prints = [hashlib.sha256(scene.image.tobytes()).hexdigest() for split in SPLITS for scene in scenes[split]]
    assert len(set(prints)) == len(prints)


def test_an_open_size_varies_and_a_given_size_is_kept():
    shapes = {generate_scene(seed).image.shape[:2] for seed in range(40)}
    assert len(shapes) > 8
    assert {max(shape) for shape in shapes} == {128, 160, 192, 256, 320}
    scene = generate_scene(0, size_hw=(100, 140))
    assert scene.image.shape == (100, 140, 3)
    assert scene.instance_map.shape == (100, 140)


def test_scenes_are_those_of_earlier_versions():
    """The fixture is of the generator's second version; pixels are compared by means, which rounding leaves alone."""
    for line in FIXTURE.read_text().splitlines():
        told = json.loads(line)
        scene = generate_scene(told["seed"], told["split"])
        assert list(scene.image.shape[:2]) == told["size_hw"]
        found = [[thing.noun, thing.colour, thing.size, *thing.box_xyxy, thing.area_px] for thing in scene.objects]
        assert found == told["objects"]
        assert scene.image.mean((0, 1)) == pytest.approx(told["mean_rgb"], abs=0.05)
        assert [[r.expression, r.kind, list(r.targets)] for r in ask(scene, 8, told["seed"], told["split"])] == told[
            "referrals"
        ]


def test_training_shows_every_noun_and_colour():
    shown = [item for seed in range(250) for item in generate_scene(seed, "train", (48, 48)).objects]
    assert {item.noun for item in shown} == set(NOUNS)
    assert {item.colour for item in shown} == {*COLOURS, None}


# --- pixels and geometry ----------------------------------------------------------------------------------------------


def test_objects_are_measured_on_their_visible_pixels(scenes):
    for scene in scenes["train"]:
        assert 2 <= len(scene.objects) <= 6
        assert scene.instance_map.max() == len(scene.objects)
        for index, item in enumerate(scene.objects):
            ys, xs = np.nonzero(scene.instance_map == index + 1)
            assert item.area_px == len(ys)
            assert item.box_xyxy == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
            assert item.center_xy == ((xs.min() + xs.max() + 1) / 2, (ys.min() + ys.max() + 1) / 2)


def test_later_objects_hide_earlier_ones_in_image_and_map():
    from ssp_sam.training.scenes.composition import _paste

    canvas, instance_map = np.zeros((20, 20, 3), np.float32), np.zeros((20, 20), np.uint8)
    red, blue = (np.zeros((10, 10, 4), np.uint8) for _ in range(2))
    red[..., [0, 3]] = 255
    blue[..., [2, 3]] = 255
    blue[:5, :, 3] = 0
    _paste(canvas, instance_map, red, (0, 0), 1)
    _paste(canvas, instance_map, blue, (0, 5), 2)
    assert (instance_map[:5, :10] == 1).all()
    assert (instance_map[5:10, 5:15] == 2).all()
    assert (instance_map[5:10, :5] == 1).all()
    assert np.array_equal(canvas[..., 0] == 255, instance_map == 1)
    assert np.array_equal(canvas[..., 2] == 255, instance_map == 2)


def test_small_and_large_objects_differ_clearly_in_size(scenes):
    extents = {"small": [], "large": []}
    for scene in scenes["train"]:
        for item in scene.objects:
            left, top, right, bottom = item.box_xyxy
            extents[item.size].append(max(right - left, bottom - top) / SIZE_HW[0])
    assert min(extents["small"]) > 0.15
    assert np.quantile(extents["small"], 0.99) < np.quantile(extents["large"], 0.01)


def test_masks_and_boxes_cover_all_targets(scenes):
    scene = scenes["train"][3]
    mask = scene.mask((0, 1))
    assert mask.dtype == bool
    assert mask.sum() == scene.objects[0].area_px + scene.objects[1].area_px
    ys, xs = np.nonzero(mask)
    assert scene.box_xyxy((0, 1)) == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
    assert not scene.mask(()).any()
    assert scene.box_xyxy(()) is None


def test_flipping_swaps_left_and_right_and_nothing_else(scenes):
    scene = scenes["train"][1]
    flipped = flip_scene(scene)
    assert np.array_equal(flipped.image, scene.image[:, ::-1])
    for index, item in enumerate(flipped.objects):
        ys, xs = np.nonzero(flipped.instance_map == index + 1)
        assert item.box_xyxy == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
        assert item.center_xy == (SIZE_HW[1] - scene.objects[index].center_xy[0], scene.objects[index].center_xy[1])
    assert flip_scene(flipped).objects == scene.objects
    pair = hand_made_scene(("dog", None, "small", 20, 50), ("cat", None, "small", 80, 50))
    found = {plain(r.expression): r.targets for seed in range(60) for r in ask(flip_scene(pair), 8, seed)}
    assert found["one on right"] == (0,)
    assert found["thing left of dog"] == (1,)


def test_every_noun_can_be_drawn_in_each_of_its_colours():
    rng = np.random.default_rng(0)
    for noun in NOUNS:
        for colour in colours_of(noun) or (None,):
            sprite = draw_object(noun, colour, 30, rng)
            assert sprite.dtype == np.uint8
            assert 24 <= max(sprite.shape[:2]) <= 34
            assert (sprite[..., 3] > 127).sum() > 60
    assert {sprite.noun for sprite in SPRITES} | set(NOUNS[32:]) == set(NOUNS)


def test_shades_of_different_colour_words_stay_apart():
    rng = np.random.default_rng(0)
    shades = {colour: np.array([sample_colour(colour, rng) for _ in range(200)]) for colour in COLOURS}
    for name, mine in shades.items():
        for other, theirs in shades.items():
            if name < other:
                assert np.linalg.norm(mine[:, None] - theirs[None], axis=-1).min() > 12, (name, other)


def test_tinted_sprites_show_mostly_their_colour():
    rng = np.random.default_rng(1)
    channel = {"red": 0, "green": 1, "blue": 2}
    for noun in ("car", "shirt", "fish", "heart", "balloon"):
        for colour, strongest in channel.items():
            for _ in range(8):
                sprite = draw_object(noun, colour, 40, rng).astype(int)
                mean = sprite[sprite[..., 3] > 127][:, :3].mean(0)
                assert mean.argmax() == strongest, (noun, colour, mean)


# --- the held-out combinations ----------------------------------------------------------------------------------------


def test_only_the_novel_split_shows_the_held_out_combinations(scenes):
    for split in SPLITS:
        for scene in scenes[split]:
            held_out = [item for item in scene.objects if (item.noun, item.colour) in NOVEL_COMBINATIONS]
            assert bool(held_out) == (split == "novel")


def test_only_the_novel_split_mentions_the_held_out_combinations(referrals):
    forbidden = []
    for noun, colour in NOVEL_COMBINATIONS:
        for single, several in ((noun, plural(noun)), *SYNONYMS.get(noun, ())):
            names = f"({single}|{several})"
            sized = r"((small|little|tiny|big|large|huge) )?"
            forbidden.append(rf"\b{colour} ([a-z]+ed )?{sized}{names}\b|\b{names} .*\b{colour}$")
    pattern = re.compile("|".join(forbidden))
    for split in ("train", "validation", "test"):
        named = [referral.expression for _, referral in referrals[split] if pattern.search(plain(referral.expression))]
        assert named == []
    assert any(pattern.search(plain(referral.expression)) for _, referral in referrals["novel"])


def test_half_of_the_novel_expressions_mean_a_held_out_combination(referrals):
    meant = 0
    for scene, referral in referrals["novel"]:
        meant += any((scene.objects[i].noun, scene.objects[i].colour) in NOVEL_COMBINATIONS for i in referral.targets)
    assert meant >= 0.5 * len(referrals["novel"])


def test_novel_combinations_leave_every_noun_other_colours_and_every_colour_other_nouns():
    assert len(NOVEL_COMBINATIONS) == 12
    for noun, colour in NOVEL_COMBINATIONS:
        assert colour in colours_of(noun)
        assert sum(pair[0] == noun for pair in NOVEL_COMBINATIONS) == 1
        assert sum(pair[1] == colour for pair in NOVEL_COMBINATIONS) <= 2


# --- words ------------------------------------------------------------------------------------------------------------


def test_expressions_use_the_listed_words_only(referrals):
    outside = {word for noun in OUTSIDE_NOUNS for word in (noun, plural(noun))}
    known = set(VOCABULARY_WORDS) | outside
    for split in SPLITS:
        for _, referral in referrals[split]:
            assert set(words_of(referral.expression)) <= known, referral.expression
    assert tuple(sorted(set(VOCABULARY_WORDS))) == VOCABULARY_WORDS
    assert not outside & {*NOUNS, *map(plural, NOUNS)}


def test_every_kind_has_its_share(referrals):
    kinds = [referral.kind for split in ("train", "validation", "test") for _, referral in referrals[split]]
    shares = {kind: kinds.count(kind) / len(kinds) for kind in KINDS}
    assert min(shares.values()) > 0.06
    assert 0.11 < shares["none"] < 0.19


def test_only_the_kind_none_has_no_target_and_only_three_kinds_have_several(referrals):
    for split in SPLITS:
        for _, referral in referrals[split]:
            assert (referral.kind == "none") == (not referral.targets)
            assert referral.kind in ("plural", "conjunction", "exception") or len(referral.targets) <= 1
            assert list(referral.targets) == sorted(set(referral.targets))
            assert list(referral.mentioned) == sorted(set(referral.mentioned))
            assert set(referral.targets) <= set(referral.mentioned)


def test_expressions_of_a_scene_do_not_repeat(scenes):
    for scene in scenes["train"]:
        expressions = [referral.expression.lower() for referral in ask(scene, 12)]
        assert len(set(expressions)) == len(expressions)


# --- truth ------------------------------------------------------------------------------------------------------------

# A row of stars, a dog above a car, and a cat between two of them:
#   star 0 (red, small, left)   star 1 (green, large, right of the middle)   star 2 (red, small, right)
HAND_MADE = hand_made_scene(
    ("star", "red", "small", 15, 80),
    ("star", "green", "large", 56, 80),
    ("star", "red", "small", 85, 80),
    ("dog", None, "large", 20, 15),
    ("car", "red", "small", 80, 20),
)

TRUE_OF_HAND_MADE = {
    "dog": (3,), "car": (4,), "green star": (1,), "small green star": (), "big star": (1,), "largest star": (1,),
    "leftmost star": (0,), "rightmost star": (2,), "star on left": (0,), "dog on left": (3,), "dog on right": (),
    "car on right": (4,), "dog left of car": (3,), "dog right of car": (), "car right of dog": (4,),
    "car above green star": (4,), "second star from left": (1,), "third star from left": (2,),
    "third star from right": (0,), "fourth star from left": (), "second red star from left": (2,),
    "all stars": (0, 1, 2), "both red stars": (0, 2), "two red stars": (0, 2), "three stars": (0, 1, 2),
    "stars": (0, 1, 2), "everything": (0, 1, 2, 3, 4), "dog and car": (3, 4), "two leftmost stars": (0, 1),
    "yellow star": (), "green car": (), "all small objects": (0, 2, 4),
}  # fmt: skip
SAYS_TOO_LITTLE = ("star", "red star", "small star", "both stars", "topmost star", "lowest star", "upper star")


def test_a_hand_made_scene_gets_the_expected_answers():
    found = {}
    for seed in range(160):
        for referral in ask(HAND_MADE, 16, seed):
            text = plain(referral.expression)
            assert found.setdefault(text, referral.targets) == referral.targets, text
    expected = {text: targets for text, targets in TRUE_OF_HAND_MADE.items() if text in found}
    assert len(expected) >= 0.75 * len(TRUE_OF_HAND_MADE)
    assert {text: found[text] for text in expected} == expected
    assert not found.keys() & set(SAYS_TOO_LITTLE)


def noun_of(words):
    """The filter (noun, colour, size) that a plain phrase describes, or None when it is of another form."""
    sizes = {"small": "small", "little": "small", "tiny": "small", "big": "large", "large": "large", "huge": "large"}
    noun = colour = size = None
    *adjectives, head = words.split(" ")
    for adjective in adjectives:
        if adjective in COLOURS:
            colour = adjective
        elif adjective in sizes:
            size = sizes[adjective]
        else:
            return None
    singular = {name: name for name in NOUNS} | {plural(name): name for name in NOUNS}
    if head in singular:
        noun = singular[head]
    elif head not in [word for pair in GENERIC for word in pair]:
        return None
    return noun, colour, size


def fitting(scene, words):
    wanted = noun_of(words)
    if wanted is None:
        return None
    return [
        index
        for index, item in enumerate(scene.objects)
        if all(want in (None, have) for want, have in zip(wanted, (item.noun, item.colour, item.size)))
    ]


AXES = {"left": (0, 1), "right": (0, -1), "top": (1, 1), "bottom": (1, -1)}
EXTREMES = {"leftmost": "left", "rightmost": "right", "topmost": "top", "highest": "top", "bottommost": "bottom",
            "lowest": "bottom"}  # fmt: skip
RELATIONS = {"to left of": "left", "left of": "left", "to right of": "right", "right of": "right", "above": "top",
             "over": "top", "below": "bottom", "under": "bottom", "beneath": "bottom"}  # fmt: skip
PLACES = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5}


def ranked(scene, group, side):
    axis, sign = AXES[side]
    return sorted(group, key=lambda index: sign * scene.objects[index].center_xy[axis])


def meaning(scene, text):
    """Read a plain expression anew and find its targets by bare comparison; None if it is of another form."""
    if match := re.fullmatch(r"(.+?) (?:except|but|except for|other than|apart from) (.+)", text):
        if match[1] in ("everything", "all objects", "all things"):
            group = list(range(len(scene.objects)))
        else:
            group = meaning(scene, match[1])
        left_out = None if group is None else within(scene, group, match[2])
        return None if left_out is None else [index for index in group if index not in left_out]
    if match := re.fullmatch(r"(.+) (?:that are|that is|which is|which are)? ?not (\w+)", text):
        group = meaning(scene, match[1])
        return None if group is None else [index for index in group if scene.objects[index].colour != match[2]]
    if match := re.fullmatch(r"(\w+) (.+) from (\w+)", text):
        place, group, side = PLACES.get(match[1]), fitting(scene, match[2]), match[3]
        if place is None or group is None or side not in AXES:
            return None
        return ranked(scene, group, side)[place - 1 : place]
    if match := re.fullmatch(r"(.+?) on (left|right)|(.+?) at (top|bottom)", text):
        group = fitting(scene, match[1] or match[3])
        return ranked(scene, group, match[2] or match[4])[:1] if group is not None else None
    if match := re.fullmatch(rf"(.+?) ({'|'.join(RELATIONS)}) (.+)", text):
        group, anchors = fitting(scene, match[1]), fitting(scene, match[3])
        if group is None or anchors is None:
            return None
        assert len(anchors) == 1, text
        side = RELATIONS[match[2]]
        return [i for i in group if i != anchors[0] and ranked(scene, [anchors[0], i], side)[0] == i]
    if match := re.fullmatch(r"(\w+most|highest|lowest) (.+)", text):
        group = fitting(scene, match[2])
        return ranked(scene, group, EXTREMES[match[1]])[:1] if group is not None and match[1] in EXTREMES else None
    if match := re.fullmatch(r"(?:all|every|each|both)(?: of)? (.+)", text):
        return fitting(scene, match[1])
    if match := re.fullmatch(r"(.+) and (.+)", text):
        parts = [fitting(scene, part) for part in match.groups()]
        return None if None in parts else sorted(parts[0] + parts[1])
    return fitting(scene, text)


def within(scene, group, words):
    """Who "leftmost one", "red one", "small one" or a full phrase means in a group; None if it is of another form."""
    if match := re.fullmatch(r"(\w+most|highest|lowest) \S.*", words):
        return ranked(scene, group, EXTREMES[match[1]])[:1] if match[1] in EXTREMES else None
    if re.search(r" (?:on|at|in|near|to|that|furthest|closest|nearest) |(?:left|right|top|upper|lower|bottom)", words):
        return None
    found = fitting(scene, words)
    return None if found is None else [index for index in found if index in group]


def test_every_expression_that_can_be_read_anew_means_the_same(referrals):
    read = {kind: 0 for kind in KINDS}
    for split in SPLITS:
        for scene, referral in referrals[split]:
            text = plain(referral.expression)
            placed = re.search(r"(left|right|top|bottom)$", text) and " from " not in text
            if placed and referral.kind != "position":  # groups on a side, and sides that are empty
                continue
            targets = meaning(scene, text)
            if targets is None:
                continue
            read[referral.kind] += 1
            assert tuple(sorted(targets)) == referral.targets, (text, scene.objects)
    assert min(read.values()) > 30, read


def test_objects_too_close_to_call_are_not_ordered():
    scene = hand_made_scene(("dog", None, "small", 50, 20), ("dog", None, "small", 53, 80))
    for referral in [referral for seed in range(60) for referral in ask(scene, 8, seed)]:
        assert not re.search(r"left|right", referral.expression.lower()) or referral.kind == "none", referral.expression


def test_absent_objects_are_never_in_the_scene(referrals):
    for split in SPLITS:
        for scene, referral in referrals[split]:
            if referral.kind == "none":
                assert not fitting(scene, plain(referral.expression)), referral.expression


# --- bad arguments ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: generate_scene(0, "dev"), r"one of train, validation, test, novel, got 'dev'"),
        (lambda: generate_scene(-3), r"seed of at least 0, got -3"),
        (lambda: generate_scene(0, size_hw=(20, 128)), r"at least 48 pixels a side, got \(20, 128\)"),
        (lambda: ask(HAND_MADE, 0), r"count of at least 1 expression, got 0"),
        (lambda: ask(HAND_MADE, 1, split="dev"), r"got 'dev'"),
    ],
)
def test_bad_arguments_are_named_with_their_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()
