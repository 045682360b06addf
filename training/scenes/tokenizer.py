# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The small word-level tokenizer of models trained on generated scenes."""

import string
from collections.abc import Iterable

from transformers import BertTokenizer

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def build_word_tokenizer(words: Iterable[str], max_length: int = 64) -> BertTokenizer:
    """
    Builds a lower-casing BERT tokenizer that knows given words whole and spells every other word.

    Args:
        words: Words of the vocabulary, in any case.
        max_length: Tokens that the text tower can read.

    Returns:
        A tokenizer whose ids do not depend on the order of the words.
    """
    characters = string.ascii_lowercase + string.digits
    marks = ".,;:!?'\"()-&/"
    known = dict.fromkeys([*SPECIAL_TOKENS, *characters, *marks, *(f"##{c}" for c in characters)])
    known |= dict.fromkeys(sorted({word.lower() for word in words} - set(known)))
    vocabulary = {token: number for number, token in enumerate(known)}
    return BertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=max_length)
