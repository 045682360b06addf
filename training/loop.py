# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The training loop: schedule, step, log, evaluation, checkpoint."""

import json
import math
import time
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast

from .arguments import TrainingArguments
from .checkpointing import save_checkpoint
from .evaluation import evaluate, to_device

# All processes follow the main process's clock, which they read every so many steps.
CLOCK_STEPS = 5


class Schedule:
    """
    Linear warm-up, then a cosine over the run, whose length is a number of steps, of minutes, or whichever is first.

    Args:
        arguments: Learning rates, warm-up, `max_steps`, `max_minutes`, weights of the dense loss.
    """

    def __init__(self, arguments: TrainingArguments):
        self.arguments = arguments

    def progress(self, step: int, minutes: float) -> float:
        """Returns the share of the run that is over, in [0, 1]."""
        share = step / self.arguments.max_steps
        if self.arguments.max_minutes is not None:
            share = max(share, minutes / self.arguments.max_minutes)
        return min(1.0, share)

    def learning_rate(self, step: int, minutes: float) -> float:
        """Returns the learning rate of a step (from 0) that begins after so many minutes."""
        args = self.arguments
        cosine = 0.5 * (1 + math.cos(math.pi * self.progress(step, minutes)))
        warmup = min(1.0, (step + 1) / max(1, args.warmup_steps))
        return warmup * (args.final_learning_rate + (args.learning_rate - args.final_learning_rate) * cosine)

    def dense_loss_weight(self, step: int, minutes: float) -> float:
        """Returns the weight of the per-patch class loss."""
        first, last = self.arguments.dense_loss_weight, self.arguments.final_dense_loss_weight
        return first if last is None else first + (last - first) * self.progress(step, minutes)


class Trainer:
    """
    Runs the loop of one stage.

    Args:
        accelerator: The run's `Accelerator`.
        objective: Objective as the accelerator prepared it.
        optimizer: Optimizer as the accelerator prepared it.
        batches: Endless iterator over this process's batches, standing at `state["step"]`.
        eval_batches: Called for this process's evaluation batches.
        arguments: Settings of the run.
        processor: Saved with the model when given.
        state: `step`, `minutes` and `samples` to start from.
        average: Averaged weights of the checkpoint, if any.
    """

    def __init__(
        self,
        *,
        accelerator: Accelerator,
        objective,
        optimizer,
        batches,
        eval_batches,
        arguments: TrainingArguments,
        processor=None,
        state: dict | None = None,
        average: dict | None = None,
    ):
        self.accelerator, self.objective, self.optimizer = accelerator, objective, optimizer
        self.batches, self.eval_batches, self.arguments, self.processor = batches, eval_batches, arguments, processor
        self.plain = accelerator.unwrap_model(objective)
        self.schedule = Schedule(arguments)
        self.state = {"step": 0, "minutes": 0.0, "samples": 0} | (state or {})
        self.average = average
        if arguments.ema_decay and average is None:
            weights = self.plain.model.state_dict()
            self.average = {name: tensor.detach().clone() for name, tensor in weights.items()}
        self._window: dict[str, list[torch.Tensor]] = {}
        self._last_eval = self._last_save = self.state["minutes"]
        self._log_path = Path(arguments.output_dir) / "log.jsonl"

    def run(self) -> dict:
        """
        Trains to the end of the schedule.

        Returns:
            The last evaluation.

        Raises:
            FloatingPointError: A loss is not finite.
        """
        args, state = self.arguments, self.state
        self.objective.train()
        start = time.monotonic() - 60 * state["minutes"]
        self._mark = (time.monotonic(), state["samples"])
        while self.schedule.progress(state["step"], state["minutes"]) < 1:
            self._train_step(next(self.batches))
            state["step"] += 1
            if state["step"] % args.log_steps == 0:
                self._log_window()
            if state["step"] % CLOCK_STEPS == 0:
                state["minutes"] = self._shared_clock((time.monotonic() - start) / 60)
                self._at_times()
        state["minutes"] = self._shared_clock((time.monotonic() - start) / 60)
        result = self._evaluate()
        self._save()
        return result

    def _train_step(self, batch: dict):
        state, args = self.state, self.arguments
        learning_rate = self.schedule.learning_rate(state["step"], state["minutes"])
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group["lr_ratio"]
        batch = to_device(batch, self.accelerator.device)
        batch["predict_masks"] = state["step"] % args.mask_interval == 0
        loss, terms = self.objective(batch, self.schedule.dense_loss_weight(state["step"], state["minutes"]))
        if not torch.isfinite(loss):
            parts = {name: round(float(value), 4) for name, value in terms.items()}
            raise FloatingPointError(
                f"loss is {loss.item()} at step {state['step']} (learning rate {learning_rate:.2e}, parts {parts}, "
                f"scenes {batch['keys']}); lower learning_rate or max_grad_norm"
            )
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(self.objective.parameters(), args.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self._update_average()
        state["samples"] += batch["num_samples"] * self.accelerator.num_processes
        for name, value in (terms | {"loss": loss.detach(), "grad_norm": norm}).items():
            self._window.setdefault(name, []).append(torch.as_tensor(value, dtype=torch.float32))

    @torch.no_grad()
    def _update_average(self):
        average = self.average or {}
        for name, tensor in self.plain.model.state_dict().items():
            if tensor.is_floating_point():
                average[name].lerp_(tensor, 1 - self.arguments.ema_decay)

    def _shared_clock(self, minutes: float) -> float:
        if self.accelerator.num_processes == 1:
            return minutes
        return broadcast(torch.tensor([minutes], dtype=torch.float64, device=self.accelerator.device)).item()

    def _at_times(self):
        minutes, args = self.state["minutes"], self.arguments
        if self.schedule.progress(self.state["step"], minutes) >= 1:
            return
        if args.eval_minutes and minutes - self._last_eval >= args.eval_minutes:
            self._last_eval = minutes
            self._evaluate()
        if args.checkpoint_minutes and minutes - self._last_save >= args.checkpoint_minutes:
            self._last_save = minutes
            self._save()

    def _save(self):
        save_checkpoint(
            self.accelerator,
            self.arguments.output_dir,
            model=self.plain.model,
            processor=self.processor,
            head_state=self.plain.head_state(),
            optimizer=self.optimizer,
            state=self.state,
            average=self.average,
        )

    def _evaluate(self) -> dict:
        result = evaluate(self.plain, self.eval_batches(), self.accelerator.device)
        self._write({"event": "eval", "metrics": result})
        return result

    def _log_window(self):
        names = sorted(self._window)
        means = torch.stack([torch.stack(self._window[name]).mean() for name in names]).to(self.accelerator.device)
        means = torch.as_tensor(self.accelerator.reduce(means, reduction="mean")).tolist()
        self._window = {}
        now, (then, samples) = time.monotonic(), self._mark
        self._mark = (now, self.state["samples"])
        rate = (self.state["samples"] - samples) / max(1e-9, now - then)
        learning_rate = self.optimizer.param_groups[0]["lr"] / self.optimizer.param_groups[0]["lr_ratio"]
        terms = {name: round(value, 5) for name, value in zip(names, means, strict=True)}
        self._write({"event": "train", "lr": float(f"{learning_rate:.4g}"), "rate": round(rate, 1)} | terms)

    def _write(self, entry: dict):
        if not self.accelerator.is_main_process:
            return
        state = self.state
        place = {"step": state["step"], "minutes": round(state["minutes"], 2), "samples": state["samples"]}
        with open(self._log_path, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(place | entry) + "\n")
        print(_short_line(place | entry), flush=True)


def _short_line(entry: dict) -> str:
    """Shortens an entry of the log for the terminal."""
    head = f"[{entry['minutes']:6.1f} min] step {entry['step']:6d}"
    if entry["event"] == "eval":
        rows = {k: v for k, v in entry["metrics"].items() if isinstance(v, dict)}
        if not rows:
            return f"{head} eval " + " ".join(f"{name} {value:.3f}" for name, value in entry["metrics"].items())
        shown = ("gIoU", "Pr@0.5", "Pr@0.9", "N-acc", "T-acc", "box Acc@0.5")
        overall = " ".join(f"{name} {rows['all'][name]:.3f}" for name in shown if rows["all"][name] is not None)
        kinds = " ".join(f"{kind} {row['gIoU']:.2f}" for kind, row in rows.items() if kind != "all")
        return f"{head} eval {overall} | {kinds}"
    skipped = {"step", "minutes", "samples", "event", "lr", "rate"}
    parts = " ".join(f"{name} {value:.3f}" for name, value in entry.items() if name not in skipped)
    return f"{head} {entry['rate']:.0f}/s lr {entry['lr']:.1e} {parts}"
