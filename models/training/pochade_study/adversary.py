"""The decoder with and without the paper's adversarial term (Rombach et al. 2022, section 3.1).

Both sides go on from the default model's decoder, on the latents of its encoder, which is left
alone, so that latents keep their meaning. One of them must also please a patch discriminator (Isola
et al. 2017) with the hinge loss, weighted by the ratio of gradient norms (Esser et al. 2021,
equation 7). No pretrained network helps.
"""

import copy
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from torch import Tensor, nn

from pochade_training import autoencoder
from pochade_training.autoencoder import CROP, NOISE, colour_loss, reconstruction_loss
from pochade_training.runs import Run

from . import judging, learning
from .judging import Judge, Shard

BATCH, PICTURES, SHOWN = 16, 320, 4
WEIGHT = 0.3  # of the adversarial gradient, as a share of the reconstruction's
BEGINS = 0.15  # progress until which the discriminator only watches
ZOOM = 48


def discriminator(width: int = 32) -> nn.Sequential:
    """Pictures `[B, 3, 64, 64]` to whether each patch of 34 pixels is real, `[B, 1, 14, 14]`."""
    return nn.Sequential(
        nn.Conv2d(3, width, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False),
        nn.GroupNorm(8, 2 * width),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * width, 2 * width, 4, 1, 1, bias=False),
        nn.GroupNorm(8, 2 * width),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * width, 1, 4, 1, 1),
    )


def hinge(real: Tensor, made: Tensor) -> Tensor:
    return (F.relu(1 - real).mean() + F.relu(1 + made).mean()) / 2


def balance(reconstruction: Tensor, adversarial: Tensor, last: Tensor) -> Tensor:
    """What makes both losses' gradients on the weights `last` equally long."""
    norms = [
        torch.autograd.grad(loss, last, retain_graph=True)[0].norm()
        for loss in (reconstruction, adversarial)
    ]
    return (norms[0] / (norms[1] + 1e-4)).clamp(0, 1e4).detach()


class Data:
    """Pictures and their latents, cut alike."""

    def __init__(self, shards: list[Shard]):
        self.pictures = torch.cat([shard.pictures for shard in shards])
        self.latents = torch.cat([shard.latents for shard in shards])

    def batch(self) -> tuple[Tensor, Tensor]:
        """Crops `[B, 3, 64, 64]` in 0..1 and their places' latents `[B, 4, 8, 8]`, noisy."""
        pick, side = torch.randint(len(self.pictures), (BATCH,)), CROP // 8
        top, left = torch.randint(self.latents.shape[-1] - side + 1, (2,)).tolist()
        z = self.latents[pick, :, top : top + side, left : left + side]
        rows, columns = slice(8 * top, 8 * top + CROP), slice(8 * left, 8 * left + CROP)
        true = judging.unit(self.pictures[pick, :, rows, columns])
        return true, z + NOISE * torch.randn_like(z)


class Critic:
    """The discriminator and its optimiser."""

    def __init__(self):
        self.net = discriminator()
        self.optimiser = torch.optim.AdamW(self.net.parameters(), 1e-3, betas=(0.5, 0.99))

    def learn(self, run: Run, true: Tensor, made: Tensor) -> None:
        with learning.faster(run):
            real, fake = self.net(true), self.net(made.detach())
        self.optimiser.zero_grad()
        hinge(real.float(), fake.float()).backward()
        self.optimiser.step()

    def term(self, run: Run, made: Tensor, reconstruction: Tensor, last: Tensor) -> Tensor:
        """The weighted adversarial loss."""
        self.net.requires_grad_(False)
        with learning.faster(run):
            loss = -self.net(made).float().mean()
        self.net.requires_grad_(True)
        return WEIGHT * balance(reconstruction, loss, last) * loss


def train(
    run: Run, net: AutoencoderTiny, data: Data, minutes: float, critic: Critic | None
) -> tuple:
    """The averaged autoencoder, and how many steps it took."""
    net.requires_grad_(False).decoder.requires_grad_(True)
    learner = learning.Learner(net, learning.Rates(5e-4, 0.003, autoencoder.ends(net)))

    def advance(factor: float, progress: float) -> Tensor:
        true, z = data.batch()
        with learning.faster(run):
            made = autoencoder.decode(net, z).float()
        loss = reconstruction_loss(made, true) + colour_loss(made, true)
        whole = loss
        if critic and progress > BEGINS:
            whole = loss + critic.term(run, made, loss, net.decoder.layers[-1].weight)
        learner.step(whole, factor)
        if critic:
            critic.learn(run, true, made)
        return loss

    steps = learning.train(run, advance, learning.by_time(run, minutes))
    return learner.averaged, steps


def zoomed(pictures: Tensor) -> Tensor:
    """Whole pictures, and beside each the middle of it enlarged to the same size."""
    side = pictures.shape[-1]
    begin = (side - ZOOM) // 2
    middle = pictures[..., begin : begin + ZOOM, begin : begin + ZOOM]
    large = F.interpolate(middle, (side, side), mode="nearest")
    return torch.stack([pictures, large], 1).flatten(0, 1)


def write(net: AutoencoderTiny, folder: Path) -> None:
    """The diffusers folder of an autoencoder, in f16."""
    copy.deepcopy(net).half().save_pretrained(folder)


def answer(run: Run, minutes: float, path: Path) -> dict:
    judge = Judge(run)
    asked = judge.questions(PICTURES)
    true = judging.unit(asked.pictures)
    data, start = Data(judging.shards(run)), autoencoder.load(run)
    made = dict(before=judging.decoded(start, asked.latents))
    found = dict(pictures=len(true), originals=dict(frechet=judge.distance(true)))
    for name, critic in (("plain", None), ("adversarial", Critic())):
        torch.manual_seed(3)
        net, steps = train(run, copy.deepcopy(start), data, minutes, critic)
        made[name] = judging.decoded(net, asked.latents)
        found[name] = dict(steps=steps)
        write(net, run.path(f"study-{name}"))
    for name, pictures in made.items():
        found[name] = found.get(name, {}) | judge.copies(pictures, true)
    rows = [zoomed(pictures[:SHOWN]) for pictures in (true, *made.values())]
    judging.sheet(rows, path)
    return found
