# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Properties, tried on generated cases: few in the short checks, thousands in the long ones, whose seed is printed."""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import HealthCheck, given, seed, settings
from hypothesis.strategies import SearchStrategy, tuples


@dataclass(frozen=True)
class Property:
    """
    What holds for every input.

    Args:
        holds: Fails for an input for which it does not.
        strategies: Of its arguments.
        many: How many cases the long checks try: more where a case is cheap.
    """

    holds: Callable[..., None]
    strategies: tuple[SearchStrategy, ...]
    many: int

    def check(self, cases: int, number: int) -> int:
        """Tries it on generated cases, which a number decides; returns on how many."""
        tried = 0

        @seed(number)
        @settings(max_examples=cases, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(tuples(*self.strategies))
        def run(values):
            nonlocal tried
            tried += 1
            self.holds(*values)

        run()
        return tried

    def check_many(self) -> int:
        """Tries it on its many cases, from a number that is printed, or that the variable SEED names."""
        number = int(os.environ.get("SEED", random.SystemRandom().randrange(2**31)))
        tried = self.check(self.many, number)
        print(f"{self.holds.__name__}: {tried} cases, SEED={number}")
        return tried
