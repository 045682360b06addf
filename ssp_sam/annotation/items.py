# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Rows of a source as items: one image, undecoded, with all that is looked for in it; and batches of them by size."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..processing.expressions import MAX_EXPRESSIONS, check_expression
from ..processing.image_inputs import open_image
from .sources import Source, UnreadableRest, columns_of


class Question(NamedTuple):
    """What is looked for in an image."""

    expression: str  # the words
    category: str  # name of the class, empty where the words alone say it
    ref_id: str  # of the reference that asks


@dataclass
class Item:
    """One image and what is looked for in it."""

    image_id: str  # its name in the source
    image: Any  # whatever `open_image` takes
    questions: list[Question]  # what is looked for
    source: str  # name of the collection
    licence: str = ""  # of the image, as far as it is known
    reason: str = ""  # why nothing can be looked for; empty where it can


@dataclass(frozen=True)
class Expressions:
    """What is looked for: expressions for every image, or those in a column of the source."""

    everywhere: tuple[tuple[str, str], ...] = ()  # pairs of an expression and the name of its class, which may be empty
    column: str | None = None  # column with an expression or a list of them; `None` for `everywhere`

    @classmethod
    def choose(
        cls,
        expressions: str | Sequence[str] | None = None,
        column: str | None = None,
        classes: Sequence[str] | None = None,
        template: str = "the {}",
    ) -> "Expressions":
        """
        Makes the expressions of one of three choices: expressions for every image, a column of the source, or class
        names that take the place of `{}` in a template; with none of them, they stand in the column "expressions".

        Raises:
            ValueError: Several were chosen, or an expression cannot be read.
        """
        chosen = {"expressions": expressions, "column": column, "classes": classes}
        named = [name for name, value in chosen.items() if value is not None]
        if len(named) > 1:
            raise ValueError(f"expected one of expressions, column and classes, got {' and '.join(named)}")
        if classes is not None and template.count("{}") != 1:
            raise ValueError(f"expected a template with {{}} for the class name, once, got {template!r}")
        if classes is not None:
            pairs = [(template.replace("{}", check_expression(name, "a class name")), name) for name in classes]
        else:
            given = [expressions] if isinstance(expressions, str) else list(expressions or ())
            pairs = [(expression, "") for expression in given]
        if named and column is None and not 0 < len(pairs) <= MAX_EXPRESSIONS:
            raise ValueError(f"expected 1 to {MAX_EXPRESSIONS} {named[0]}, got {len(pairs)}")
        for number, (expression, _) in enumerate(pairs, start=1):
            check_expression(expression, f"expression {number}")
        return cls(tuple(dict.fromkeys(pairs)), "expressions" if not named else column)

    def of(self, row: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Returns the pairs of one row of the source; raises `ValueError` for none, and for one that cannot be read."""
        if self.column is None:
            return list(self.everywhere)
        if self.column not in row:
            raise ValueError(f"expected expressions in a column {self.column!r}; there are {columns_of(row)}")
        found = row[self.column]
        found = [found] if isinstance(found, str) else list(found or ())
        if not 0 < len(found) <= MAX_EXPRESSIONS:
            raise ValueError(f"expected 1 to {MAX_EXPRESSIONS} expressions in {self.column!r}, got {len(found)}")
        category = row.get("category")
        return [(check_expression(one, self.column), category if isinstance(category, str) else "") for one in found]

    def item(self, row: Mapping[str, Any], name: str, source: str) -> Item:
        """
        Returns a row of the source, with `image` and `image_id`, as an item, with a reason where it cannot be used;
        `name` and `source` are in place of a `ref_id` and a `source` that it lacks.
        """
        named, licence, ref_id = row.get("source"), row.get("licence"), row.get("ref_id") or name
        item = Item(
            str(row["image_id"]),
            row["image"],
            [],
            named if isinstance(named, str) and named else source,
            licence if isinstance(licence, str) else "",
        )
        try:
            if item.image is None:
                raise ValueError(f"expected an image in the row, got the columns {columns_of(row)}")
            item.questions = [Question(*pair, f"{ref_id}-{number}") for number, pair in enumerate(self.of(row))]
        except ValueError as error:
            item.reason = str(error)
        return item


def read_items(source: Source, shard: int, expressions: Expressions) -> Iterator[Item]:
    """
    Yields the items of a shard; rows that follow each other and have one image are one item.

    What cannot be used is an item with a reason, as is what could not be read to its end.
    """
    last: Item | None = None
    for item in _rows_as_items(source, shard, expressions):
        if last is not None and _same_image(last, item):
            last.questions += item.questions
            continue
        if last is not None:
            yield last
        last = item
    if last is not None:
        yield last


def _same_image(first: Item, second: Item) -> bool:
    names = [(item.source, item.image_id, item.reason, item.image) for item in (first, second)]
    return names[0] == names[1] and not first.reason


def _rows_as_items(source: Source, shard: int, expressions: Expressions) -> Iterator[Item]:
    index = -1
    try:
        for index, row in enumerate(source.rows(shard)):
            yield expressions.item(row, f"{shard:05d}.{index:06d}", source.name)
    except UnreadableRest as error:
        yield Item(f"{shard:05d}/{index + 1:06d} and after", None, [], source.name, reason=str(error))


def in_batches(items: Iterable[Item], batch_size: int, max_pixels: float) -> Iterator[list[Item]]:
    """
    Yields items in lists that are bounded in images and in the pixels of their images, in one list of several, when
    they are decoded; at least one list, which may be empty.
    """
    batch: list[Item] = []
    pixels = 0
    number = 0
    for item in items:
        size = _pixels(item)
        if batch and (len(batch) == batch_size or pixels + size > max_pixels):
            yield batch
            batch, pixels, number = [], 0, number + 1
        batch.append(item)
        pixels += size
    if batch or not number:
        yield batch


def _pixels(item: Item) -> int:
    """Pixels by the image's header; 0 of an image that cannot be opened, which decoding it will tell."""
    if item.reason:
        return 0
    try:
        image = open_image(item.image)
    except ValueError:
        return 0
    return image.width * image.height
