"""Denoisers of the study: velocity prediction on the default model's schedule, and DDIM."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pochade_training.unet import TIMESTEPS, scheduler

from .learning import Rates

WIDTHS = (32, 64, 96)
RATES = Rates(
    1e-3, 0.02, ("conv_in", "conv_out", "time_embedding", "told", "attn2.to_q", "attn2.to_k")
)
STEPS = 12

Predict = Callable[[Tensor, Tensor], Tensor]  # noisy [B, C, H, W], timesteps [B] to velocities


def start_silent(net: nn.Module) -> None:
    """Every residual block and the output begin at zero."""
    for name, weight in net.named_parameters():
        if ".conv2." in name or ".proj_out." in name or name.startswith("conv_out."):
            nn.init.zeros_(weight)


def signal() -> Tensor:
    """The share of signal in the variance, for each timestep."""
    return scheduler().alphas_cumprod.float()


def velocity_error(predict: Predict, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Squared error of the velocity, one number per picture."""
    share = signal()[t].view(-1, 1, 1, 1)
    alpha, sigma = share.sqrt(), (1 - share).sqrt()
    made = predict(alpha * clean + sigma * noise, t).float()
    return (made - (alpha * noise - sigma * clean)).square().mean((1, 2, 3))


def sample_error(predict: Predict, clean: Tensor) -> Tensor:
    """The loss of one batch, at noise and timesteps of chance."""
    t = torch.randint(TIMESTEPS, (len(clean),))
    return velocity_error(predict, clean, torch.randn_like(clean), t).mean()


@torch.no_grad()
def held_out_error(predict: Callable[[slice], Predict], clean: Tensor, part: int = 64) -> float:
    """Mean error at fixed noise, timesteps spread evenly; `predict` is asked for each part."""
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(5))
    t = ((torch.arange(len(clean)) + 0.5) / len(clean) * TIMESTEPS).long()
    parts = [slice(i, i + part) for i in range(0, len(clean), part)]
    errors = [velocity_error(predict(s), clean[s], noise[s], t[s]) for s in parts]
    return round(torch.cat(errors).mean().item(), 4)


@torch.no_grad()
def paint(predict: Predict, noise: Tensor) -> Tensor:
    """DDIM without added noise."""
    schedule, x = scheduler(), noise
    schedule.set_timesteps(STEPS)
    for t in schedule.timesteps:
        x = schedule.step(predict(x, t.expand(len(x))).float(), t, x).prev_sample
    return x


def noise_of(shape: tuple[int, ...], seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
