# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The training loop: accumulate, loss, backward, clip, step, and what follows a step: average, log, evaluate, save."""

import contextlib
import time
from collections.abc import Callable, Iterator

import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import broadcast
from torch.distributed.tensor import DTensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from .arguments import OptimizationArguments
from .checkpointing import SHARDED, save_checkpoint
from .evaluation.validation import to_device
from .rehearsal import REHEARSAL
from .run_log import RunLog
from .schedule import Schedule

# All processes follow the main process's clock, which they read every so many steps.
CLOCK_STEPS = 5
# Steps in a row whose gradients may be infinite or not a number before the run ends.
MOST_SKIPPED_STEPS = 10
NEW_RUN = {"step": 0, "minutes": 0.0, "samples": 0}


class TrainingLoop:
    """
    Runs the loop of one stage.

    Args:
        accelerator: The run's `Accelerator`, with `gradient_accumulation_steps` set.
        objective: Objective as the accelerator prepared it.
        optimizer: Optimizer as the accelerator prepared it.
        batches: Endless iterator over this process's batches, standing where `state` says.
        evaluate: Called with the objective; returns metrics, the same in every process, and drawings to show.
        schedule: Length and learning rates.
        arguments: Settings of the run.
        log: Where the run is written down.
        log_steps: Steps between two lines of it.
        processor: Saved with the model when given.
        state: Plain values to start from, `NEW_RUN` by default; what else it holds is kept in the checkpoints.
        average: Averaged weights of the checkpoint, if any.
    """

    def __init__(
        self,
        *,
        accelerator: Accelerator,
        objective,
        optimizer,
        batches: Iterator[dict],
        evaluate: Callable[..., tuple[dict, list]],
        schedule: Schedule,
        arguments: OptimizationArguments,
        log: RunLog,
        log_steps: int = 20,
        processor=None,
        state: dict | None = None,
        average: dict | None = None,
    ):
        self.accelerator, self.objective, self.optimizer = accelerator, objective, optimizer
        self.batches, self.schedule, self.arguments = batches, schedule, arguments
        self.log, self.log_steps, self.processor = log, log_steps, processor
        self.plain = accelerator.unwrap_model(objective)
        self.state = NEW_RUN | (state or {})
        self._skipped = 0  # steps in a row
        self.average = None
        if arguments.ema_decay or average is not None:
            weights = {name: tensor.detach() for name, tensor in self.plain.model.state_dict().items()}
            loaded = average or weights
            self.average = {name: loaded[name].to(tensor.device, copy=True) for name, tensor in weights.items()}
        self._evaluator = evaluate
        self._mask_decoder = [p for name, p in self.plain.named_parameters() if ".mask_decoder." in name]
        window = self.state.pop("window", {})  # values of the steps since the last line of the log
        self._window = {name: list(torch.tensor(values).to(accelerator.device)) for name, values in window.items()}
        self._last_eval = self._last_save = self.state["minutes"]

    def run(self) -> dict:
        """
        Trains to the end of the schedule.

        Returns:
            The last evaluation.

        Raises:
            FloatingPointError: A loss is not finite.
        """
        accelerator, optimizer, state = self.accelerator, self.optimizer, self.state
        start = time.monotonic() - 60 * state["minutes"]
        if self.arguments.eval_at_start and state["step"] == 0:
            self._evaluate()
        self.objective.train()
        while self.schedule.progress(state["step"], state["minutes"]) < 1:
            dense_loss_weight = self._begin_step()
            for _ in range(accelerator.gradient_accumulation_steps):
                batch = self._next_batch()
                with accelerator.accumulate(self.objective):
                    loss, terms = self.objective(batch, dense_loss_weight)
                    self._check_finite(loss, terms, batch)
                    accelerator.backward(loss)
                    if accelerator.sync_gradients:
                        self._drop_frozen_gradients()
                        norm = accelerator.clip_grad_norm_(self.objective.parameters(), self.arguments.max_grad_norm)
                        terms = terms | self._check_gradients(whole(norm), terms, batch)
                    optimizer.step()
                    optimizer.zero_grad(set_to_none=True)
                self._note(terms | {"loss": loss.detach()}, batch["num_samples"])
            state["step"] += 1
            self._update_average()
            if state["step"] % CLOCK_STEPS == 0:
                state["minutes"] = self._shared_clock((time.monotonic() - start) / 60)
            self._follow_up()
        if "metrics" in state:  # resumed from the end, which is evaluated and saved
            return {"all": state["metrics"]}
        state["minutes"] = self._shared_clock((time.monotonic() - start) / 60)
        result = self._evaluate()
        self._save()
        return result

    # ---- one step -------------------------------------------------------------------------------------------------

    def _begin_step(self) -> float:
        """Sets the learning rates of the step; returns the weight of the dense loss."""
        self.state.pop("metrics", None)  # of the step before
        position = (self.state["step"], self.state["minutes"])
        learning_rate = self.schedule.learning_rate(*position)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group["lr_ratio"]
        return self.schedule.dense_loss_weight(*position)

    def _next_batch(self) -> dict:
        batch = to_device(next(self.batches), self.accelerator.device)
        batch["predict_masks"] = self.state["step"] % self.arguments.mask_interval == 0
        return batch

    def _check_finite(self, loss: torch.Tensor, terms: dict, batch: dict):
        if not torch.isfinite(loss):
            self._fail(f"loss is {loss.item()}", terms, batch)

    def _fail(self, reason: str, terms: dict, batch: dict):
        parts = {name: round(float(value), 4) for name, value in terms.items()}
        seen = f"references {batch['names']}" if "names" in batch else f"scenes {batch['keys']}"
        learning_rate = self.schedule.learning_rate(self.state["step"], self.state["minutes"])
        raise FloatingPointError(
            f"{reason} at step {self.state['step']} (learning rate {learning_rate:.2e}, parts {parts}, "
            f"{seen}); lower learning_rate or max_grad_norm"
        )

    def _check_gradients(self, norm, terms: dict, batch: dict) -> dict[str, torch.Tensor]:
        """Leaves a step out whose gradients are not finite, as half precision has them at times; not many in a row."""
        norm = torch.as_tensor(norm)
        if torch.isfinite(norm) or self.accelerator.scaler is not None:  # a scaler of losses does the same
            self._skipped = 0
            return {"grad_norm": norm}
        self._skipped += 1
        if self._skipped > MOST_SKIPPED_STEPS:
            self._fail(f"the gradients were not finite {self._skipped} times in a row", terms, batch)
        for parameter in self.plain.parameters():
            parameter.grad = None
        return {}

    def _drop_frozen_gradients(self):
        """Leaves SAM's mask decoder as it is for its first epochs; without a gradient it is passed over."""
        if self.schedule.mask_decoder_is_frozen(self.state["step"]):
            for parameter in self._mask_decoder:
                parameter.grad = None

    @torch.no_grad()
    def _update_average(self):
        if self.average is not None:
            weights = {name: w for name, w in self.plain.model.state_dict().items() if w.is_floating_point()}
            update = get_ema_multi_avg_fn(self.arguments.ema_decay)
            update([self.average[name] for name in weights], list(weights.values()), 1)

    # ---- after a step ---------------------------------------------------------------------------------------------

    def _follow_up(self):
        """Logs, evaluates and saves what is due."""
        state, args, schedule = self.state, self.arguments, self.schedule
        self.log.step()
        if state["step"] % self.log_steps == 0:
            self._log_window()
        if schedule.progress(state["step"], state["minutes"]) >= 1:
            return  # evaluated and saved at the end anyway
        by_clock = state["minutes"] if state["step"] % CLOCK_STEPS == 0 else -1.0
        if schedule.is_due(state["step"], every_epochs=args.eval_epochs) or (
            args.eval_minutes and by_clock - self._last_eval >= args.eval_minutes
        ):
            self._last_eval = state["minutes"]
            self._evaluate()
        if schedule.is_due(state["step"], every_epochs=args.checkpoint_epochs, every_steps=args.checkpoint_steps) or (
            args.checkpoint_minutes and by_clock - self._last_save >= args.checkpoint_minutes
        ):
            self._last_save = state["minutes"]
            self._save()

    def _evaluate(self) -> dict:
        self.objective.eval()
        # Sharded weights come together in the wrapper alone; without it, processes need not wait for each other.
        sharded = self.accelerator.distributed_type in SHARDED
        with self._averaged_weights():
            result, drawings = self._evaluator(self.objective if sharded else self.plain)
        self.objective.train()
        self.state["metrics"] = result.get("all", result)
        measured = sorted(name for name, value in self.state["metrics"].items() if value is not None)
        if self.arguments.best_metric not in (None, *measured):
            raise ValueError(f"best_metric must be one of {measured}, got {self.arguments.best_metric!r}")
        if REHEARSAL in result:
            self.state.setdefault("rehearsed", {})["after" if self.state["step"] else "before"] = result[REHEARSAL]
        self.log.evaluation(self.state, result)
        self.log.drawings(self.state, drawings)
        return result

    @contextlib.contextmanager
    def _averaged_weights(self):
        """Puts the averaged weights, where there are any, into the model for a while."""
        if self.average is None:
            yield
            return
        trained = {name: tensor.detach().clone() for name, tensor in self.plain.model.state_dict().items()}
        self.plain.model.load_state_dict(self.average)
        try:
            yield
        finally:
            self.plain.model.load_state_dict(trained)

    def _save(self):
        args = self.arguments
        # Kept with the checkpoint, so that the next line of the log is a mean over all its steps.
        means = self._over_processes({name: torch.stack(values) for name, values in self._window.items()})
        self._window = {name: list(values) for name, values in means.items()}
        self.state["window"] = {name: values.tolist() for name, values in means.items()}
        save_checkpoint(
            self.accelerator,
            args.output_dir,
            objective=self.objective,
            processor=self.processor,
            state=self.state,
            average=self.average,
            keep=args.keep_checkpoints,
            metric=args.best_metric,
        )

    # ---- bookkeeping ----------------------------------------------------------------------------------------------

    def _note(self, terms: dict, num_samples: int):
        self.state["samples"] += num_samples * self.accelerator.num_processes
        self.state["epoch"] = round(self.schedule.epoch(self.state["step"] + 1), 4)
        for name, value in terms.items():
            value = torch.as_tensor(value, dtype=torch.float32, device=self.accelerator.device)
            self._window.setdefault(name, []).append(value)

    def _log_window(self):
        means = self._over_processes({name: torch.stack(values).mean() for name, values in self._window.items()})
        self._window = {}
        learning_rate = self.optimizer.param_groups[0]["lr"] / self.optimizer.param_groups[0]["lr_ratio"]
        terms = {name: round(value.item(), 5) for name, value in sorted(means.items())}
        progress = self.schedule.progress(self.state["step"], self.state["minutes"])
        self.log.train(self.state, progress, {"lr": float(f"{learning_rate:.4g}")} | terms)

    def _over_processes(self, values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Returns the means of tensors over all processes."""
        values = {name: values[name].to(self.accelerator.device) for name in sorted(values)}
        return {name: torch.as_tensor(self.accelerator.reduce(v, reduction="mean")) for name, v in values.items()}

    def _shared_clock(self, minutes: float) -> float:
        if self.accelerator.num_processes == 1:
            return minutes
        return broadcast(torch.tensor([minutes], dtype=torch.float64, device=self.accelerator.device)).item()


def whole(value: torch.Tensor | float) -> torch.Tensor | float:
    """Returns a number that FSDP 2 keeps divided over the processes as a plain tensor."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def check_distribution(accelerator: Accelerator, arguments: OptimizationArguments):
    """Raises a `ValueError` for settings that the way the weights are divided over processes does not allow."""
    way = accelerator.distributed_type
    if arguments.ema_decay and way in SHARDED:
        raise ValueError(
            f"ema_decay ({arguments.ema_decay}) needs whole weights in every process, got {way.value}; set it to 0"
        )
    if arguments.optimizer == "muon" and way in SHARDED:
        raise ValueError(f"optimizer ('muon') cannot be divided over processes, got {way.value}; use adamw")
    if arguments.mask_decoder_frozen_epochs and way == DistributedType.DEEPSPEED:
        raise ValueError(
            f"mask_decoder_frozen_epochs ({arguments.mask_decoder_frozen_epochs}) cannot be had under DeepSpeed, which "
            f"keeps the gradients to itself; use DDP or FSDP, or set it to 0"
        )
