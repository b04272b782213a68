"""A layout by concatenation against cross-attention (Rombach et al. 2022, figure 3).

The layout of a picture is 8 x 8 names of colours: its mean over cells of 16 x 16 pixels, as the
nearest of the twelve that captions know. It is all that either side is told. One side has the names
as planes beside the latent's channels, laid out like it; the other attends to 64 tokens, name and
place of each learned. Both UNets are the same, attention included, and both see coordinates beside
the latent, so that attention can know where it is.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn

from pochade_training import autoencoder
from pochade_training.runs import Run
from pochade_world.palette import COLOUR_TABLE

from . import denoising, judging, learning
from .judging import Judge, Shard

BATCH, PICTURES, SHOWN, HELD_OUT = 64, 160, 8, 256
SIDE, NAMES, WIDTH = 8, len(COLOUR_TABLE), 64


def layout(pictures: Tensor) -> Tensor:
    """Names `[B, 8, 8]` of the mean colours of pictures `[B, 3, H, W]` in 0..1."""
    cells = F.adaptive_avg_pool2d(pictures, SIDE).movedim(1, -1)
    return torch.cdist(cells.flatten(0, 2), COLOUR_TABLE).argmin(1).view(cells.shape[:3])


def mosaic(names: Tensor, size: int) -> Tensor:
    """Layouts as pictures `[B, 3, size, size]`."""
    return judging.enlarged(COLOUR_TABLE[names].movedim(-1, 1), size // SIDE)


def coordinates(like: Tensor) -> Tensor:
    """Two planes of -1..1, from the left and from the top."""
    axis = torch.linspace(-1, 1, like.shape[-1])
    planes = torch.stack(torch.meshgrid(axis, axis, indexing="xy"))
    return planes.expand(len(like), -1, -1, -1)


def unet(channels: int) -> UNet2DConditionModel:
    """`[B, channels, 16, 16]` and tokens `[B, T, 64]` to velocities `[B, 4, 16, 16]`."""
    net = UNet2DConditionModel(
        sample_size=16,
        in_channels=channels,
        out_channels=4,
        block_out_channels=denoising.WIDTHS,
        layers_per_block=1,
        norm_num_groups=16,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        mid_block_type="UNetMidBlock2D",
        attention_head_dim=2,
        cross_attention_dim=WIDTH,
    )
    denoising.start_silent(net)
    net.set_attn_processor(AttnProcessor())
    return net


class Concatenated(nn.Module):
    """The layout as twelve planes beside the latent; attention has one token, the same for all."""

    def __init__(self):
        super().__init__()
        self.net = unet(4 + 2 + NAMES)
        self.told = nn.Parameter(torch.randn(1, WIDTH))

    def forward(self, noisy: Tensor, t: Tensor, names: Tensor) -> Tensor:
        planes = F.one_hot(names, NAMES).movedim(-1, 1).float()
        planes = judging.enlarged(planes, noisy.shape[-1] // SIDE)
        whole = torch.cat([noisy, coordinates(noisy), planes], 1)
        return self.net(whole, t, self.told.expand(len(noisy), 1, -1)).sample


class Attended(nn.Module):
    """The layout as 64 tokens, name and place of each learned."""

    def __init__(self):
        super().__init__()
        self.net = unet(4 + 2)
        self.told = nn.Embedding(NAMES, WIDTH)
        self.told_place = nn.Parameter(torch.randn(SIDE * SIDE, WIDTH))

    def forward(self, noisy: Tensor, t: Tensor, names: Tensor) -> Tensor:
        tokens = self.told(names.flatten(1)) + self.told_place
        return self.net(torch.cat([noisy, coordinates(noisy)], 1), t, tokens).sample


def told(net: nn.Module, names: Tensor) -> denoising.Predict:
    return lambda noisy, t: net(noisy, t, names)


class Data:
    """Latents and layouts of many pictures."""

    def __init__(self, shards: list[Shard]):
        self.latents = torch.cat([shard.latents for shard in shards])
        self.names = torch.cat([layouts(shard.pictures) for shard in shards])

    def batch(self) -> tuple[Tensor, Tensor]:
        pick = torch.randint(len(self.latents), (BATCH,))
        return self.latents[pick], self.names[pick]


def layouts(pictures: Tensor) -> Tensor:
    """Layouts of bytes `[N, 3, 128, 128]`."""
    return torch.cat([layout(judging.unit(part)) for part in pictures.split(256)])


def train(run: Run, net: nn.Module, data: Data, progress: learning.Progress) -> tuple:
    """The averaged network, and how many steps it took."""
    learner = learning.Learner(net, denoising.RATES)

    def advance(factor: float, _progress: float) -> Tensor:
        clean, names = data.batch()
        with learning.faster(run):
            loss = denoising.sample_error(told(net, names), clean)
        learner.step(loss, factor)
        return loss

    steps = learning.train(run, advance, progress)
    return learner.averaged, steps


@torch.no_grad()
def paint(run: Run, net: nn.Module, names: Tensor) -> Tensor:
    """One picture `[3, 128, 128]` in 0..1 for each layout, noise from a fixed seed."""
    noise = denoising.noise_of((len(names), 4, 16, 16))
    with learning.faster(run):
        parts = [
            denoising.paint(told(net, some), start)
            for some, start in zip(names.split(64), noise.split(64))
        ]
    return judging.decoded(autoencoder.load(run), torch.cat(parts))


def kept(pictures: Tensor, names: Tensor) -> float:
    """Share of cells whose colour has the name that was asked for."""
    return round((layout(pictures) == names).float().mean().item(), 4)


def answer(run: Run, minutes: float, path: Path) -> dict:
    judge = Judge(run)
    asked, held = judge.questions(PICTURES), judge.held
    renders, names = judging.unit(asked.pictures), layouts(asked.pictures)
    copies = judging.decoded(autoencoder.load(run), asked.latents)
    found = dict(
        pictures=len(renders),
        autoencoded=dict(kept=kept(copies, names), frechet=judge.distance(copies)),
        chance=dict(kept=kept(renders.roll(1, 0), names)),
    )
    data = Data(judging.shards(run))
    progress, rows = learning.by_time(run, minutes), [renders[:SHOWN], mosaic(names[:SHOWN], 128)]
    held_names = layouts(held.pictures[:HELD_OUT])
    for name, side in (("concatenation", Concatenated), ("attention", Attended)):
        torch.manual_seed(3)
        net, steps = train(run, side(), data, progress)
        progress = learning.by_steps(steps)
        made = paint(run, net, names)
        rows.append(made[:SHOWN])
        found[name] = dict(
            steps=steps,
            parameters=sum(p.numel() for p in net.parameters()),
            held_out=denoising.held_out_error(
                lambda part: told(net, held_names[part]), held.latents[:HELD_OUT]
            ),
            kept=kept(made, names),
            frechet=judge.distance(made),
        )
    judging.sheet(rows, path)
    return found
