"""What both sides of every question share: the loop, the optimisers and the average."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pochade_training.optim import Average, Pair
from pochade_training.runs import CpuBudget, Run

WARM_UP, TAIL = 20, 0.5  # steps in which the rate rises; part of the training in which it falls

Progress = Callable[[int], float]  # steps done to progress, 0..1


def by_time(run: Run, minutes: float) -> Progress:
    budget = CpuBudget(minutes, run)
    return lambda _steps: budget.progress()


def by_steps(count: int) -> Progress:
    return lambda steps: steps / count


def factor(steps: int, progress: float) -> float:
    """What the learning rates are multiplied with."""
    return min(1.0, (steps + 1) / WARM_UP) * min(1.0, (1 - progress) / TAIL)


@dataclass
class Rates:
    """Learning rates, and which parameters are no hidden matrices (by parts of their names)."""

    adam: float
    muon: float
    not_hidden: tuple[str, ...]


class Learner:
    """A module that learns, beside the average of its weights."""

    def __init__(self, module: nn.Module, rates: Rates):
        self.module = module
        self.averaged = copy.deepcopy(module).requires_grad_(False).eval()
        learning = [(name, w) for name, w in module.named_parameters() if w.requires_grad]
        self.pair = Pair(learning, rates.not_hidden, adam=rates.adam, muon=rates.muon)
        self.average = Average(0.99, 0.2)

    def step(self, loss: Tensor, factor: float) -> None:
        self.pair.step(loss, factor)
        self.average.update(self.averaged, self.module)


def train(run: Run, advance: Callable[[float, float], Tensor], progress: Progress) -> int:
    """Calls `advance(factor, progress)`, which takes a step and returns its loss, until the end;
    returns the number of steps.
    """
    steps, running = 0, None
    while (now := progress(steps)) < 1:
        loss = advance(factor(steps, now), now).item()
        running = loss if running is None else 0.95 * running + 0.05 * loss
        steps += 1
        if steps % 100 == 0:
            run.say(f"step {steps}, {100 * now:.0f} %, loss {running:.4f}")
    run.say(f"{steps} steps, loss {running:.4f}")
    return steps


def faster(run: Run) -> torch.autocast:
    """Products in bf16, for which newer processors have tiles."""
    return torch.autocast(run.device.type, torch.bfloat16)
