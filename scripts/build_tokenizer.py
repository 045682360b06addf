# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Writes the word-level tokenizer of the scene generator's vocabulary into a folder."""

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from ssp_sam.training.scenes.tokenizer import build_word_tokenizer
from ssp_sam.training.scenes.words import VOCABULARY_WORDS


def main(argv: list[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", help="folder to write")
    parser.add_argument("--max-length", type=int, default=64, help="tokens that the text tower can read")
    args = parser.parse_args(argv)
    tokenizer = build_word_tokenizer(VOCABULARY_WORDS, args.max_length)
    tokenizer.save_pretrained(args.output)
    print(f"{len(tokenizer)} tokens in {args.output}")


if __name__ == "__main__":
    main()
