# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""How long a run is, its learning rate at every step, and what is due when."""

import math

from .arguments import OptimizationArguments

# Numbers of epochs times steps per epoch are rarely whole; this much above a whole number is still that number.
ROUNDING = 1e-6


class Schedule:
    """
    Linear warm-up, then a cosine over the run, whose length is a number of steps or epochs, of minutes, or whichever is
    first; an epoch has `steps_per_epoch` optimiser steps, not rounded.

    Raises:
        ValueError: The warm-up is as long as the run.
    """

    def __init__(self, arguments: OptimizationArguments, steps_per_epoch: float = math.inf):
        self.arguments, self.steps_per_epoch = arguments, steps_per_epoch
        self.total_steps, self.warmup_steps = arguments.max_steps, float(arguments.warmup_steps)
        if arguments.num_epochs is not None:
            by_epochs = math.ceil(arguments.num_epochs * steps_per_epoch - ROUNDING)
            self.total_steps = max(1, arguments.min_steps, by_epochs)
        if arguments.warmup_epochs is not None:
            self.warmup_steps = arguments.warmup_epochs * steps_per_epoch
        elif arguments.warmup_steps < 1:
            self.warmup_steps = arguments.warmup_steps * self.total_steps
        if self.warmup_steps >= self.total_steps:
            raise ValueError(
                f"the warm-up ({self.warmup_steps:g} steps) must be shorter than the run ({self.total_steps} steps); "
                f"a warmup_steps below 1 is a fraction of the run"
            )

    def epoch(self, step: int) -> float:
        """Returns how many times the data was passed before a step."""
        return step / self.steps_per_epoch

    def progress(self, step: int, minutes: float) -> float:
        """Returns the fraction of the run that is over, in [0, 1]."""
        fraction = step / self.total_steps
        if self.arguments.max_minutes is not None:
            fraction = max(fraction, minutes / self.arguments.max_minutes)
        return min(1.0, fraction)

    def learning_rate(self, step: int, minutes: float) -> float:
        """Returns the learning rate of a step (from 0) that begins after so many minutes."""
        args, warmed = self.arguments, float(step + 1)
        if args.schedule_unit == "epoch":
            step = warmed = math.floor(self.epoch(step) + ROUNDING) * self.steps_per_epoch
        cosine = 0.5 * (1 + math.cos(math.pi * self.progress(step, minutes)))
        rate = args.final_learning_rate + (args.learning_rate - args.final_learning_rate) * cosine
        fraction = min(1.0, warmed / self.warmup_steps) if self.warmup_steps else 1.0
        return args.warmup_learning_rate + fraction * (rate - args.warmup_learning_rate)

    def dense_loss_weight(self, step: int, minutes: float) -> float:
        """Returns the weight of the per-patch class loss."""
        first, last = self.arguments.dense_loss_weight, self.arguments.final_dense_loss_weight
        return first if last is None else first + (last - first) * self.progress(step, minutes)

    def mask_decoder_is_frozen(self, step: int) -> bool:
        """Returns whether the mask decoder stays as it is in a step (from 0)."""
        return self.epoch(step) + ROUNDING < self.arguments.mask_decoder_frozen_epochs

    def is_due(self, steps_done: int, *, every_epochs: float = 0.0, every_steps: int = 0) -> bool:
        """Returns whether the last of so many steps completed another period of epochs or steps."""
        periods = [every_steps] if every_steps else []
        if every_epochs and self.steps_per_epoch < math.inf:
            periods.append(every_epochs * self.steps_per_epoch)
        return any(
            math.floor(steps_done / period + ROUNDING) > math.floor((steps_done - 1) / period + ROUNDING)
            for period in periods
        )
