"""Stages `pairs` and `upscaler`: from a latent to one twice as wide (Rombach et al. 2022, section
4.4: super-resolution by concatenation; the noise on the condition after Ho et al. 2021).

The network sees the noisy large latent beside the small one, which is enlarged by repeating and has
some noise mixed in, always as much as the scheduler has at `CONDITION_TIMESTEP`. That noise hides
what the small picture's painter does not do well, and the network learns to paint over it. It knows
no words and has no attention, so that it can be trained on crops and paint any size.
"""

import torch
import torch.nn.functional as F
from diffusers import UNet2DModel
from torch import Tensor, nn

from pochade_world import batch

from . import autoencoder
from .runs import Run
from .training import Plan, Task, train
from .unet import TIMESTEPS, scheduler
from .workers import Workers

FILE = "upscaler.pt"
SIZE = 256
SHARD = 750
CONDITION_TIMESTEP = 250
STEPS = 4  # that suit it
CROP = 16  # places of the large latent, of 32
HELD_OUT = 128
NOT_HIDDEN = ("conv_in", "conv_out", "time_embedding")


def name(index: int) -> str:
    return f"pairs-{index:02}.pt"


@torch.no_grad()
def encode(run: Run, shards: int, seed: int, workers: int = 1) -> None:
    """For each shard: latents of 750 pictures of 256 x 256, `[N, 4, 32, 32]` in f16, and of the
    same pictures at half that size, `[N, 4, 16, 16]`.
    """
    group = Workers.join(workers)
    net = autoencoder.load(run)
    for index in range(group.rank, shards, group.count):
        if run.path(name(index)).exists():
            continue
        made = batch(SHARD, SIZE, 1000 * seed + 500 + index, run.device, chunk=6)
        parts = [part.float() / 255 for part in made.pictures.split(4)]
        large = torch.cat([autoencoder.encode(net, part).half() for part in parts])
        small = torch.cat([autoencoder.encode(net, F.avg_pool2d(p, 2)).half() for p in parts])
        run.save(name(index), dict(large=large, small=small))
        run.say(f"pairs: shard {index + 1} of {shards}")
    group.leave()


def build() -> UNet2DModel:
    """Latents and conditions `[B, 8, H, W]` and timesteps `[B]` to velocities `[B, 4, H, W]`."""
    net = UNet2DModel(
        sample_size=SIZE // 8,
        in_channels=8,
        out_channels=4,
        block_out_channels=(48, 96),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        add_attention=False,
        norm_num_groups=16,
    )
    for name, weight in net.named_parameters():
        if ".conv2." in name or name.startswith("conv_out."):
            nn.init.zeros_(weight)
    return net


def condition(small: Tensor, noise: Tensor) -> Tensor:
    """A small latent `[B, 4, h, w]` enlarged and blurred by `noise` `[B, 4, 2h, 2w]`."""
    signal = scheduler().alphas_cumprod[CONDITION_TIMESTEP].float()
    large = F.interpolate(small, scale_factor=2, mode="nearest")
    return signal.sqrt() * large + (1 - signal).sqrt() * noise


class Upscaler(nn.Module):
    """The UNet as a thing to train, with the scheduler's signal table."""

    def __init__(self, net: UNet2DModel):
        super().__init__()
        self.net = net
        self.register_buffer("signal", scheduler().alphas_cumprod.float(), persistent=False)

    def loss(self, clean: Tensor, noise: Tensor, t: Tensor, beside: Tensor) -> Tensor:
        """Squared error of the velocity, one number per picture."""
        alpha = self.signal[t].sqrt().view(-1, 1, 1, 1)
        sigma = (1 - self.signal[t]).sqrt().view(-1, 1, 1, 1)
        seen = torch.cat([alpha * clean + sigma * noise, beside], 1)
        made = self.net(seen, t, return_dict=False)[0]
        return (made.float() - (alpha * noise - sigma * clean)).square().mean((1, 2, 3))


class Pairs:
    """Large and small latents; the last `HELD_OUT` pictures are for validation."""

    def __init__(self, run: Run):
        shards = [run.load(path.name) for path in sorted(run.root.glob("pairs-*.pt"))]
        self.large, self.small = (torch.cat([s[key] for s in shards]) for key in ("large", "small"))
        self.count = len(self.large) - HELD_OUT
        chance = torch.Generator().manual_seed(5)
        shape = (2, HELD_OUT, *self.large.shape[1:])
        self.noise = torch.randn(*shape, generator=chance).to(run.device)
        self.times = ((torch.arange(HELD_OUT) + 0.5) / HELD_OUT * TIMESTEPS).long().to(run.device)

    def sample(self, batch: int) -> tuple[Tensor, ...]:
        """Crops of random pictures, all at one place, half of them mirrored."""
        pick = torch.randint(self.count, (batch,))
        top, left = torch.randint((self.large.shape[-1] - CROP) // 2 + 1, (2,)).tolist()
        large = self.large[pick, :, 2 * top : 2 * top + CROP, 2 * left : 2 * left + CROP].float()
        half = CROP // 2
        small = self.small[pick, :, top : top + half, left : left + half].float()
        t = torch.randint(TIMESTEPS, (batch,), device=large.device)
        beside = condition(small, torch.randn_like(large))
        return large, torch.randn_like(large), t, beside

    @torch.no_grad()
    def validate(self, model: Upscaler) -> dict[str, float]:
        """Mean loss over held-out pictures at fixed noise, and its three thirds from clean to
        noisy.
        """
        large, small = self.large[self.count :].float(), self.small[self.count :].float()
        beside = condition(small, self.noise[1])
        columns = (large, self.noise[0], self.times, beside)
        parts = zip(*(column.split(32) for column in columns))
        loss = torch.cat([model.loss(*part) for part in parts])
        low, middle, high = (third.mean().item() for third in loss.tensor_split(3))
        return dict(val=loss.mean().item(), val_low=low, val_middle=middle, val_high=high)


def task(run: Run) -> Task:
    net, pairs = build(), Pairs(run)
    return Task("upscaler", Upscaler(net), NOT_HIDDEN, pairs.sample, pairs.validate)


def learn(run: Run, plan: Plan) -> None:
    averaged = train(run, lambda: task(run), plan)
    if averaged is not None:
        run.save(FILE, averaged.net.state_dict())


def load(run: Run) -> UNet2DModel:
    net = build()
    net.load_state_dict(run.load(FILE))
    return net.eval().requires_grad_(False)


@torch.no_grad()
def upscale(net: UNet2DModel, small: Tensor, generator: torch.Generator) -> Tensor:
    """Small latents `[B, 4, h, w]` to large ones `[B, 4, 2h, 2w]`, as the program does it."""
    shape = (*small.shape[:2], 2 * small.shape[2], 2 * small.shape[3])
    beside = condition(small, torch.randn(shape, generator=generator))
    steps, x = scheduler(), torch.randn(shape, generator=generator)
    steps.set_timesteps(STEPS)
    for t in steps.timesteps:
        made = net(torch.cat([x, beside], 1), t, return_dict=False)[0]
        x = steps.step(made, t, x).prev_sample
    return x
