# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Settings that are described once: options of a command, their limits, and the words that give them again."""

import argparse
import shlex
from dataclasses import dataclass

import pytest

from ssp_sam.training.options import add_options, as_words, check_limits, defaults_of, option


@dataclass
class Settings:
    name: str | None = option(None, "what it is called", metavar="NAME")
    batch_size: int = option(8, "images at once", least=1)
    fraction: float | None = option(None, "of all", above=0)
    check: bool = option(True, "do not check")
    masks: bool = option(False, "write masks")
    splits: list[str] = option([], "splits", nargs="+")
    silent: bool = False

    def __post_init__(self):
        check_limits(self)


def parse(words: str, **choice) -> dict:
    parser = argparse.ArgumentParser()
    add_options(parser, Settings, **choice)
    return vars(parser.parse_args(shlex.split(words)))


def test_a_field_is_an_option_with_its_type_and_default():
    assert parse("") == {name: value for name, value in vars(Settings()).items() if name != "silent"}
    given = parse("--name a --batch-size 2 --fraction 0.5 --no-check --masks --splits train val")
    expected = {"name": "a", "batch_size": 2, "fraction": 0.5, "check": False, "masks": True}
    assert given == expected | {"splits": ["train", "val"]}
    assert set(parse("", names=("name", "masks"))) == {"name", "masks"} and "name" not in parse("", left_out=("name",))


def test_the_help_of_a_number_ends_with_its_default():
    parser = argparse.ArgumentParser()
    add_options(parser, Settings)
    assert "images at once (default: 8)" in " ".join(parser.format_help().split())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"fraction": 0.0}, "fraction must be above 0, got 0.0"),
    ],
)
def test_numbers_are_held_to_their_limits(values, message):
    with pytest.raises(ValueError, match=message):
        Settings(**values)


def test_words_give_the_options_again_that_differ_from_their_defaults():
    words = "--name 'a b' --batch-size 2 --masks --splits train val"
    assert as_words(parse(words), defaults_of(Settings)) == words
    assert (
        as_words(parse(words), defaults_of(Settings), left_out=("name", "masks")) == "--batch-size 2 --splits train val"
    )
    assert as_words(parse(""), defaults_of(Settings)) == ""
