# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Batches of a training as a pure function of the step."""

import numpy as np
from torch.utils.data import Sampler


class StepBatchSampler(Sampler[list[tuple[int, int]]]):
    """
    Endless batches of (epoch, index), each a pure function of the step, so that resuming needs the step alone.

    Args:
        groups: (num_items,) int, the group of each item, from 0; items of a group follow each other. At random one by
            one when not given.
    """

    def __init__(self, *, num_items: int, batch_size: int, seed: int, rank=0, world_size=1, first_step=0, groups=None):
        self.num_items, self.batch_size, self.seed, self.groups = num_items, batch_size, seed, groups
        self.rank, self.world_size, self.first_step = rank, world_size, first_step
        self._order_epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def _key(self, position: int) -> tuple[int, int]:
        epoch, offset = divmod(position, self.num_items)
        if epoch != self._order_epoch:
            self._order = np.random.default_rng((self.seed, epoch)).permutation(self.num_items)
            if self.groups is not None:
                turn = np.random.default_rng((self.seed, epoch, 1)).permutation(int(self.groups.max()) + 1)
                self._order = self._order[np.argsort(turn[self.groups[self._order]], kind="stable")]
            self._order_epoch = epoch
        return epoch, int(self._order[offset])

    def __iter__(self):
        step = self.first_step
        while True:
            first = (step * self.world_size + self.rank) * self.batch_size
            yield [self._key(position) for position in range(first, first + self.batch_size)]
            step += 1
