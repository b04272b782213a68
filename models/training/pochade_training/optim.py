"""Optimisers: Muon for hidden matrices beside AdamW for the rest, and an exponential moving average
of weights.

Muon: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon: momentum, then the nearest
orthogonal matrix by a quintic Newton-Schulz iteration. Several processes share the iterations
between them.
"""

import torch
from torch import Tensor, nn

from .workers import Workers

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonal(gradient: Tensor, steps: int = 5, half: bool = False) -> Tensor:
    """About the closest semi-orthogonal matrix to `gradient` `[rows, columns]`; worked out in bf16
    if `half`.
    """
    a, b, c = NEWTON_SCHULZ
    tall = gradient.shape[0] > gradient.shape[1]
    x = gradient.T if tall else gradient
    x = x / (x.norm() + 1e-7)
    x = x.bfloat16() if half else x
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if tall else x).to(gradient.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum with orthogonalised updates; convolutions count as matrices of `[out, in * height *
    width]`.
    """

    def __init__(self, parameters, lr: float, weight_decay: float, workers: Workers, half: bool):
        super().__init__(parameters, dict(lr=lr, momentum=0.95, weight_decay=weight_decay))
        self.workers, self.half = workers, half

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            weights = [w for w in group["params"] if w.grad is not None]
            updates = [self._update(i, w, group["momentum"]) for i, w in enumerate(weights)]
            self.workers.sum(updates)
            for weight, update in zip(weights, updates):
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update.view_as(weight), alpha=-group["lr"])

    def _update(self, index: int, weight: Tensor, momentum: float) -> Tensor:
        """The step for one matrix; each process works out its share and leaves zeros for the
        others'.
        """
        moving = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
        moving.lerp_(weight.grad, 1 - momentum)
        update = weight.grad.lerp(moving, momentum).flatten(1)
        if index % self.workers.count != self.workers.rank:
            return torch.zeros_like(update)
        scale = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
        return orthogonal(update, half=self.half) * scale


class Pair:
    """Muon on the named matrices and AdamW on everything else, driven by one factor on both
    learning rates.
    """

    def __init__(
        self,
        named: list[tuple[str, Tensor]],
        not_hidden: tuple[str, ...],
        decay: float = 0.0,
        adam: float = 1e-3,
        muon: float = 0.02,
        workers: Workers = Workers(),
        half: bool = False,
    ):
        hidden, rest = [], []
        for name, weight in named:
            plain = weight.dim() < 2 or any(part in name for part in not_hidden)
            (rest if plain else hidden).append(weight)
        self.all, self.rest, self.workers = hidden + rest, rest, workers
        self.both = [
            torch.optim.AdamW(rest, adam, betas=(0.9, 0.99), weight_decay=decay),
            Muon(hidden, muon, decay, workers, half),
        ]
        self.rates = (adam, muon)

    def step(self, loss: Tensor, factor: float) -> None:
        for optimiser in self.both:
            optimiser.zero_grad(set_to_none=True)
        (loss / self.workers.count).backward()
        self.workers.sum([w.grad for w in self.all if w.grad is not None])
        nn.utils.clip_grad_norm_([w for w in self.rest if w.grad is not None], 1.0)
        for optimiser, rate in zip(self.both, self.rates):
            optimiser.param_groups[0]["lr"] = rate * factor
            optimiser.step()

    def state(self) -> list[dict]:
        return [optimiser.state_dict() for optimiser in self.both]

    def restore(self, state: list[dict]) -> None:
        for optimiser, saved in zip(self.both, state):
            optimiser.load_state_dict(saved)


class Average:
    """An exponential moving average of a module's weights, short at first and longer as training
    goes on.
    """

    def __init__(self, longest: float, ramp: float):
        self.longest, self.ramp, self.steps = longest, ramp, 0

    @torch.no_grad()
    def update(self, average: nn.Module, module: nn.Module) -> None:
        self.steps += 1
        keep = min(self.longest, 1 - 1 / (self.ramp * self.steps + 1))
        torch._foreach_lerp_(list(average.parameters()), list(module.parameters()), 1 - keep)
