"""Pixels against latents at equal cost (Rombach et al. 2022, section 4.1, made small).

Both sides are asked for the attributes of a picture and train for the same CPU time. Latents
are the default model's, 4 x 16 x 16. Pixels are those of 64 x 64 pictures, a quarter of what the
latents stand for: it is the size that the cosine schedule was made for, the size that the attribute
reader looks at, and as much as the time can pay. They come as 2 x 2 patches, 12 x 32 x 32, to the
same UNet with one more level on top.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import UNet2DModel
from torch import Tensor, nn

from pochade_training import autoencoder, reader
from pochade_training.runs import Run
from pochade_world import CLASSES

from . import denoising, judging, learning
from .judging import Judge, Shard

BATCH, UNTOLD, GUIDANCE = 64, 0.1, 2.0
PICTURES, SHOWN = 128, 8
PATCH = 2


class Told(nn.Module):
    """A UNet `[B, C, H, W]` that is told the attributes, added to its time embedding."""

    def __init__(self, channels: int, size: int, widths: tuple[int, ...]):
        super().__init__()
        levels = len(widths)
        self.net = UNet2DModel(
            sample_size=size,
            in_channels=channels,
            out_channels=channels,
            block_out_channels=widths,
            layers_per_block=1,
            norm_num_groups=16,
            down_block_types=("DownBlock2D",) * levels,
            up_block_types=("UpBlock2D",) * levels,
            add_attention=False,
            class_embed_type="identity",
        )
        denoising.start_silent(self.net)
        self.told = nn.ModuleList([nn.Embedding(n + 1, 4 * widths[0]) for n in CLASSES])

    def forward(self, noisy: Tensor, t: Tensor, attributes: Tensor) -> Tensor:
        """Attributes `[B, 7]`, or one past the last class where nothing is told."""
        vector = sum(table(column) for table, column in zip(self.told, attributes.T))
        return self.net(noisy, t, vector).sample


def untold(count: int) -> Tensor:
    return torch.tensor(CLASSES).expand(count, -1)


def guided(net: Told, attributes: Tensor) -> denoising.Predict:
    """Velocities by classifier-free guidance (Ho and Salimans 2022)."""

    def predict(noisy: Tensor, t: Tensor) -> Tensor:
        both = torch.cat([attributes, untold(len(attributes))])
        with_it, without = net(noisy.repeat(2, 1, 1, 1), t.repeat(2), both).chunk(2)
        return without + GUIDANCE * (with_it - without)

    return predict


@dataclass
class Side:
    """One side: its clean data, its network, and the way from its samples to pictures in 0..1."""

    clean: Tensor
    attributes: Tensor
    net: Told
    picture: Callable[[Tensor], Tensor]

    def batch(self) -> tuple[Tensor, Tensor]:
        pick = torch.randint(len(self.clean), (BATCH,))
        silent = torch.rand(BATCH, 1) < UNTOLD
        attributes = torch.where(silent, untold(BATCH), self.attributes[pick])
        return self.clean[pick].float(), attributes

    def train(self, run: Run, minutes: float) -> int:
        learner = learning.Learner(self.net, denoising.RATES)

        def advance(factor: float, _progress: float) -> Tensor:
            clean, attributes = self.batch()
            with learning.faster(run):
                loss = denoising.sample_error(lambda x, t: self.net(x, t, attributes), clean)
            learner.step(loss, factor)
            return loss

        steps = learning.train(run, advance, learning.by_time(run, minutes))
        self.net = learner.averaged
        return steps

    def paint(self, run: Run, attributes: Tensor) -> Tensor:
        """One picture for each row of attributes, noise from a fixed seed."""
        noise = denoising.noise_of((len(attributes), *self.clean.shape[1:]))
        with learning.faster(run):
            parts = [
                denoising.paint(guided(self.net, told), start)
                for told, start in zip(attributes.split(64), noise.split(64))
            ]
        return self.picture(torch.cat(parts)).clamp(0, 1)


def patches(pictures: Tensor) -> Tensor:
    """Bytes `[B, 3, 128, 128]` to patches of small pictures, `[B, 12, 32, 32]` in 0..1."""
    return F.pixel_unshuffle(reader.shrink(judging.unit(pictures)), PATCH)


def pixel_side(shards: list[Shard]) -> Side:
    parts = [part for shard in shards for part in shard.pictures.split(256)]
    clean = torch.cat([patches(part).half() for part in parts])
    some = clean[:1000].float()
    mean, deviation = some.mean(), some.std()
    attributes = torch.cat([shard.attributes for shard in shards])
    net = Told(clean.shape[1], clean.shape[2], (denoising.WIDTHS[0], *denoising.WIDTHS))
    clean = clean.sub_(mean).div_(deviation)
    return Side(clean, attributes, net, lambda x: F.pixel_shuffle(x * deviation + mean, PATCH))


def latent_side(run: Run, shards: list[Shard]) -> Side:
    decoder = autoencoder.load(run)
    clean = torch.cat([shard.latents for shard in shards])
    attributes = torch.cat([shard.attributes for shard in shards])
    return Side(
        clean, attributes, Told(4, 16, denoising.WIDTHS), lambda z: judging.decoded(decoder, z)
    )


def figures(judge: Judge, pictures: Tensor, asked: Tensor) -> dict:
    return dict(accuracy=judge.reads(pictures, asked), frechet=judge.distance(pictures))


def answer(run: Run, minutes: float, path: Path) -> dict:
    judge = Judge(run)
    asked = judge.questions(PICTURES)
    renders = judging.unit(asked.pictures)
    found = dict(pictures=len(renders), renders=figures(judge, renders, asked.attributes))
    shards = judging.shards(run)
    rows = [renders[:SHOWN]]
    sides = dict(latents=lambda: latent_side(run, shards), pixels=lambda: pixel_side(shards))
    for name, make in sides.items():
        torch.manual_seed(3)
        side = make()
        steps = side.train(run, minutes)
        before = time.process_time()
        made = side.paint(run, asked.attributes)
        spent = time.process_time() - before
        rows.append(judging.enlarged(made[:SHOWN], 128 // made.shape[-1]))
        found[name] = figures(judge, made, asked.attributes) | dict(
            steps=steps,
            seen=steps * BATCH,
            parameters=sum(p.numel() for p in side.net.parameters()),
            seconds_a_picture=round(spent / len(made), 4),
        )
    judging.sheet(rows, path)
    return found
