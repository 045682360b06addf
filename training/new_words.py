# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Words of the data that the text tower can only spell: found before training, and given embeddings of their own."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import torch
from tokenizers import AddedToken
from torch import nn

# Half the spread of the known words tells new words apart and keeps them where the layers above expect words.
INITIAL_SPREAD = 0.5
MOST_SHOWN = 12


class NewWords(NamedTuple):
    """
    What training data and text tower have not in common.

    Args:
        counts: New words of the training data with the number of expressions that hold them, the most frequent first.
        num_expressions: Expressions of the training data in all, and with a new word.
        untrained: New words that the validation data alone has.
    """

    counts: dict[str, int]
    num_expressions: tuple[int, int]
    untrained: tuple[str, ...]


def find_new_words(processor: Any, training: Iterable[str], validation: Iterable[str] = ()) -> NewWords:
    """
    Returns the words of expressions that the tokenizer has no token for.

    Args:
        processor: The model's `SspSamProcessor`.
        training: Expressions that are trained on.
        validation: Expressions that are validated on.
    """
    counts: Counter[str] = Counter()
    total = affected = 0
    spelled: dict[str, bool] = {}
    for expression in training:
        found = {word for word in words_of(processor, expression) if _is_spelled(processor.tokenizer, word, spelled)}
        counts.update(found)
        total, affected = total + 1, affected + bool(found)
    others = {word for expression in validation for word in words_of(processor, expression)}
    others = {word for word in others if word not in counts and _is_spelled(processor.tokenizer, word, spelled)}
    ordered = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    return NewWords(ordered, (total, affected), tuple(sorted(others)))


def words_of(processor: Any, expression: str) -> list[str]:
    """Returns the words of an expression as the tokenizer divides and spells them, punctuation left out."""
    backend = processor.tokenizer.backend_tokenizer
    text = processor.format_expression(expression)
    if backend.normalizer is not None:
        text = backend.normalizer.normalize_str(text)
    if backend.pre_tokenizer is not None:
        words = [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(text)]
    else:
        words = text.split()
    return [word for word in words if any(character.isalnum() for character in word)]


def _is_spelled(tokenizer: Any, word: str, known: dict[str, bool]) -> bool:
    """Tells whether a word becomes the unknown token, or several tokens of one letter each."""
    if word not in known:
        pieces = tokenizer.tokenize(word)
        lengths = [len(piece.removeprefix("##")) for piece in pieces]
        known[word] = tokenizer.unk_token in pieces or (len(pieces) > 1 and max(lengths) == 1)
    return known[word]


@torch.no_grad()
def add_words(model: Any, processor: Any, words: Iterable[str], *, seed: int = 0) -> None:
    """
    Makes words whole tokens of a processor and gives each an embedding of its own in a model.

    An embedding starts at the mean of the words that the tower knows, moved at random by half their spread: what is
    not known yet then is neither like one known word nor like another new one, nor far from all words.

    Args:
        model: An `SspSamModel`.
        processor: Its processor; its tokenizer is changed.
        words: Words as `find_new_words` returns them.
        seed: Seed of the random part.
    """
    words = list(words)
    if not words:
        return
    tokenizer = processor.tokenizer
    # Sorted, since a vocabulary comes in any order and sums are rounded by theirs.
    known = torch.tensor(sorted(number for token, number in tokenizer.get_vocab().items() if _is_word(token)))
    tokenizer.add_tokens([AddedToken(word, single_word=True, normalized=True) for word in words])
    before = model.get_input_embeddings().weight
    mean, spread = before[known].mean(0), before[known].std(0)
    draws = torch.randn(len(words), before.shape[1], generator=torch.Generator().manual_seed(seed))
    rows = mean + INITIAL_SPREAD * spread * draws.to(before)
    embedding: nn.Embedding = model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    embedding.weight[tokenizer.convert_tokens_to_ids(words)] = rows


def _is_word(token: str) -> bool:
    return len(token) > 1 and token.removesuffix("</w>").isalpha()


def learn_words(
    model: Any,
    processor: Any,
    training: Iterable[str],
    validation: Iterable[str],
    *,
    mode: Literal["add", "spell"],
    seed: int,
) -> list[str]:
    """
    Finds the words that the text tower does not know and, where wanted and possible, adds them.

    Args:
        model: An `SspSamModel`.
        processor: Its processor.
        training: Expressions that are trained on.
        validation: Expressions that are validated on.
        mode: "add" gives each new word of the training data an embedding; "spell" leaves them as they are.
        seed: Seed of the new embeddings.

    Returns:
        What there is to tell, in sentences; none where every word is known.
    """
    found = find_new_words(processor, training, validation)
    said = []
    if found.counts:
        total, affected = found.num_expressions
        trains = model.get_input_embeddings().weight.requires_grad
        said.append(
            f"new to the text tower: {_listed(list(found.counts))}, in {affected:,} of {total:,} training expressions"
        )
        if mode == "add" and trains:
            add_words(model, processor, found.counts, seed=seed)
            said.append("each of them becomes a word of its own, and its embedding is learned")
        else:
            reason = "the text tower is frozen" if mode == "add" else "new_words is 'spell'"
            said.append(f"they stay spelled letter by letter, as {reason}; expressions that differ in them look alike")
    if found.untrained:
        said.append(f"no training expression has {_listed(found.untrained)}, which validation asks for")
    return said


def _listed(words) -> str:
    shown = ", ".join(words[:MOST_SHOWN])
    return shown if len(words) <= MOST_SHOWN else f"{shown} and {len(words) - MOST_SHOWN} more words"
