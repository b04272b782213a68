"""A training loop that resumes: average, optimisers, checkpoints and a curve for whatever a `Task`
says is to be learned.
"""

import copy
import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import torch
from torch import Tensor, nn

from .optim import Average, Pair
from .runs import Deadline, Run
from .workers import Workers

WARM_UP = 80


@dataclass
class Task:
    """What is learned: `model.loss(*sample(count))` is an error for each of `count` pictures.

    `name` begins the names of its files, `not_hidden` lists parts of parameters' names that AdamW
    and not Muon moves, and `validate` says how good a model is: numbers by name, `val` among them.
    """

    name: str
    model: nn.Module
    not_hidden: tuple[str, ...]
    sample: Callable[[int], tuple[Tensor, ...]]
    validate: Callable[[nn.Module], dict[str, float]]

    @property
    def checkpoint(self) -> str:
        return f"{self.name}-checkpoint.pt"

    @property
    def curve(self) -> str:
        return f"{self.name}.csv"


@dataclass
class Plan:
    """How long to train, on how much at a time, with whom, and how fast at most."""

    until: datetime
    tail: float = 0.25
    batch: int = 64
    workers: int = 1
    rate: float = 1.0
    each_export: Callable[[nn.Module], None] | None = None


class Training:
    """A training under way: model, average, optimisers, and how far it has come."""

    def __init__(self, run: Run, task: Task, plan: Plan, workers: Workers):
        self.run, self.task, self.plan, self.workers = run, task, plan, workers
        self.model = task.model.to(run.device)
        self.averaged = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.average = Average(0.998, 0.15)
        workers.agree([p.data for p in self.model.parameters()])
        self.pair = Pair(
            [(name, w) for name, w in self.model.named_parameters() if w.requires_grad],
            task.not_hidden,
            decay=0.01,
            workers=workers,
            half=run.half,
        )
        self.steps, self.samples, self.seconds = 0, 0, 0.0
        self.warm, self.running = 0, None
        if run.path(task.checkpoint).exists():
            self.restore()

    def restore(self) -> None:
        saved = self.run.load(self.task.checkpoint)
        self.model.load_state_dict(saved["model"])
        self.averaged.load_state_dict(saved["averaged"])
        self.pair.restore(saved["pair"])
        self.steps, self.samples = saved["steps"], saved["samples"]
        self.seconds = saved["seconds"]
        self.average.steps = self.warm = self.steps

    def save(self) -> None:
        state = dict(
            model=self.model.state_dict(),
            averaged=self.averaged.state_dict(),
            pair=self.pair.state(),
            steps=self.steps,
            samples=self.samples,
            seconds=self.seconds,
        )
        self.run.save(self.task.checkpoint, state)

    def step(self, factor: float) -> None:
        batch = self.plan.batch
        with torch.autocast(self.run.device.type, torch.bfloat16, enabled=self.run.half):
            loss = self.model.loss(*self.task.sample(batch // self.workers.count)).mean()
        self.pair.step(loss, factor * self.plan.rate * min(1.0, (self.warm + 1) / WARM_UP))
        if self.workers.first:
            self.average.update(self.averaged, self.model)
        self.steps, self.warm = self.steps + 1, self.warm + 1
        self.samples += batch
        before = loss.item() if self.running is None else self.running
        self.running = 0.98 * before + 0.02 * loss.item()

    def report(self, factor: float) -> None:
        found = self.task.validate(self.averaged)
        row = dict(train_s=self.seconds, step=self.steps, samples=self.samples, rate=factor)
        self.run.record(self.task.curve, row | dict(loss=self.running) | found)
        speed = self.samples / max(self.seconds, 1)
        thirds = " ".join(f"{value:.4f}" for name, value in found.items() if name != "val")
        self.run.say(
            f"{self.task.name}: step {self.steps}, {speed:.0f} samples/s, rate {factor:.2f}, "
            f"loss {self.running:.4f}, held out {found['val']:.4f} ({thirds})"
        )


def train(run: Run, task: Callable[[], Task], plan: Plan) -> nn.Module | None:
    """Trains until the deadline; returns the averaged model in the first process, and nothing in
    the others. SIGUSR1 starts the closing decay at once (six minutes of it).
    """
    workers = Workers.join(plan.workers)
    torch.manual_seed(int(datetime.now().timestamp()) + workers.rank)
    work, deadline = Training(run, task(), plan, workers), Deadline(plan.until, plan.tail)
    signal.signal(signal.SIGUSR1, lambda *_: deadline.begin_tail(6))
    due, started = dict(report=0.0, save=180.0, export=60.0), deadline.last
    while True:
        before = deadline.last
        shared = torch.tensor([deadline.factor(), float(deadline.over())])
        work.seconds += min(deadline.last - before, Deadline.LONGEST_STEP)
        workers.agree([shared])
        factor, over = shared.tolist()
        if over:
            break
        work.step(factor)
        if workers.first:
            _attend(work, due, deadline.last - started, factor)
    if workers.first:
        work.report(0.0)
        work.save()
    workers.leave()
    return work.averaged if workers.first else None


def _attend(work: Training, due: dict, elapsed: float, factor: float) -> None:
    """Whatever is due after `elapsed` seconds: a line in the log, a checkpoint, an early export."""
    if elapsed >= due["report"]:
        due["report"] = elapsed + 120
        work.report(factor)
    if elapsed >= due["save"]:
        due["save"] = elapsed + 180
        work.save()
    if work.plan.each_export and elapsed >= due["export"]:
        due["export"] = elapsed + 900
        work.plan.each_export(work.averaged)
