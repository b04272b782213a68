"""KL against VQ regularisation of the autoencoder (Rombach et al. 2022, section 3.1).

The network, the start, the losses and the number of steps are those of the default model's
autoencoder. What differs is what stands between encoder and decoder.
"""

import copy
from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from torch import Tensor, nn

from pochade_training import autoencoder, world
from pochade_training.autoencoder import CHANNELS, LATENT, colour_loss, crops, reconstruction_loss
from pochade_training.runs import Run

from . import denoising, judging, learning
from .judging import Judge

BATCH, PICTURES, SHOWN = 16, 160, 8
KL_WEIGHT = 1e-6  # of the paper, for sums over a picture
CODES, COMMITMENT, KEPT = 1024, 0.25, 0.95
LONELY = 0.05  # uses a step below which a vector is put elsewhere
UNSURE = 0.1  # noise on latents, in deviations, that a painter's errors are stood in for by


class Regularised(nn.Module):
    """An autoencoder whose latents `[B, 4, H/8, W/8]` are regularised on the way."""

    def __init__(self, net: AutoencoderTiny):
        super().__init__()
        self.net = net

    def latents(self, pictures: Tensor) -> Tensor:
        """Pictures in 0..1 to what a diffusion model would learn."""
        return autoencoder.encode(self.net, pictures)

    def decode(self, latents: Tensor) -> Tensor:
        return autoencoder.decode(self.net, latents).float()

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstructions, and the regularisation's own loss."""
        raise NotImplementedError


class Kl(Regularised):
    """A normal distribution in every place: mean and logarithm of the variance from the encoder."""

    def __init__(self, net: AutoencoderTiny):
        super().__init__(net)
        means, moments = net.encoder.layers[-1], nn.Conv2d(CHANNELS, 2 * LATENT, 3, padding=1)
        with torch.no_grad():
            moments.weight[:LATENT], moments.bias[:LATENT] = means.weight, means.bias
            moments.weight[LATENT:], moments.bias[LATENT:] = 0, -6
        net.encoder.layers[-1] = moments

    def moments(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = autoencoder.encode(self.net, pictures).float().chunk(2, 1)
        return mean, log_variance.clamp(-30, 20)

    def latents(self, pictures: Tensor) -> Tensor:
        return self.moments(pictures)[0]

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.moments(pictures)
        drawn = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum() / 2
        return self.decode(drawn), KL_WEIGHT * divergence / pictures.numel()


class Codebook(nn.Module):
    """The nearest of some vectors (van den Oord et al. 2017, by its appendix's moving averages).

    A vector that nothing has been near to lately is put where a latent of the batch is.
    """

    def __init__(self, vectors: Tensor):
        super().__init__()
        self.register_buffer("vectors", vectors.clone())  # [K, 4]
        self.register_buffer("sums", vectors.clone())
        self.register_buffer("counts", torch.ones(len(vectors)))

    def nearest(self, latents: Tensor) -> Tensor:
        """Indices `[B, H, W]` of latents `[B, 4, H, W]`."""
        flat = latents.movedim(1, -1).float()
        return torch.cdist(flat.flatten(0, 2), self.vectors).argmin(1).view(flat.shape[:3])

    def look_up(self, indices: Tensor) -> Tensor:
        return self.vectors[indices].movedim(-1, 1)

    @torch.no_grad()
    def follow(self, latents: Tensor, indices: Tensor) -> None:
        flat, chosen = latents.movedim(1, -1).flatten(0, 2), indices.flatten()
        counts = torch.bincount(chosen, minlength=len(self.vectors)).float()
        sums = torch.zeros_like(self.sums).index_add_(0, chosen, flat)
        self.counts.lerp_(counts, 1 - KEPT)
        self.sums.lerp_(sums, 1 - KEPT)
        lonely = self.counts < LONELY
        self.sums[lonely] = flat[torch.randint(len(flat), (int(lonely.sum()),))]
        self.counts[lonely] = 1
        self.vectors.copy_(self.sums / self.counts[:, None])


class Vq(Regularised):
    """Every place becomes the nearest vector of a codebook; gradients go straight past it."""

    def __init__(self, net: AutoencoderTiny, vectors: Tensor):
        super().__init__(net)
        self.codebook = Codebook(vectors)

    def quantised(self, latents: Tensor) -> Tensor:
        return self.codebook.look_up(self.codebook.nearest(latents))

    def decode(self, latents: Tensor) -> Tensor:
        return super().decode(self.quantised(latents))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        latents = self.latents(pictures).float()
        indices = self.codebook.nearest(latents)
        chosen = self.codebook.look_up(indices)
        commitment = (latents - chosen).square().mean()
        if self.training:
            self.codebook.follow(latents.detach(), indices)
        return super().decode(latents + (chosen - latents).detach()), COMMITMENT * commitment


@torch.no_grad()
def first_vectors(net: AutoencoderTiny, pictures: Tensor) -> Tensor:
    """Latents of chance, one from each of as many pictures as there are codes."""
    pick = torch.randint(len(pictures), (CODES // 16,))
    latents = autoencoder.encode(net, judging.unit(pictures[pick])).movedim(1, -1).flatten(0, 2)
    return latents[torch.randperm(len(latents))[:CODES]]


def train(run: Run, module: Regularised, pictures: Tensor, progress: learning.Progress) -> tuple:
    """The averaged module, and how many steps it took."""
    rates = learning.Rates(1e-3, 0.007, tuple(f"net.{end}" for end in autoencoder.ends(module.net)))
    learner = learning.Learner(module.train(), rates)

    def advance(factor: float, _progress: float) -> Tensor:
        true = crops(pictures, BATCH)
        with learning.faster(run):
            made, own = module(true)
        loss = reconstruction_loss(made, true) + colour_loss(made, true) + own
        learner.step(loss, factor)
        return loss

    steps = learning.train(run, advance, progress)
    for kept, last in zip(learner.averaged.buffers(), module.buffers()):
        kept.copy_(last)
    return learner.averaged, steps


def correlations(latents: Tensor) -> dict[str, float]:
    """Between channels (mean size, off the diagonal) and between neighbouring places."""
    flat = latents.transpose(0, 1).flatten(1)
    table = torch.corrcoef(flat).abs()
    others = (table.sum() - table.trace()) / (table.numel() - len(table))
    centred = latents - latents.mean((0, 2, 3), keepdim=True)
    beside = (centred[..., 1:] * centred[..., :-1]).mean() / centred.square().mean()
    return dict(
        between_channels=round(others.item(), 3), between_neighbours=round(beside.item(), 3)
    )


@torch.no_grad()
def figures(judge: Judge, module: Regularised, true: Tensor) -> tuple[dict, Tensor]:
    """Figures of reconstructions and latents, and the reconstructions `[N, 3, 128, 128]`."""
    latents = torch.cat([module.latents(part).float() for part in true.split(16)])
    deviation = latents.std((0, 2, 3))
    unsure = latents + UNSURE * deviation.view(1, -1, 1, 1) * denoising.noise_of(latents.shape)
    made, shaken = (
        torch.cat([module.decode(part).clamp(0, 1) for part in z.split(16)])
        for z in (latents, unsure)
    )
    found = judge.copies(made, true) | correlations(latents)
    found["deviations"] = [round(d, 2) for d in deviation.tolist()]
    found["psnr_with_noise"] = judging.likeness(shaken, true)["psnr"]
    if isinstance(module, Vq):
        found["codebook"] = use(module.codebook, latents)
    return found, made


def use(codebook: Codebook, latents: Tensor) -> dict[str, float]:
    """How many codes occur, and how many equally frequent ones would say as much."""
    indices = torch.cat([codebook.nearest(part).flatten() for part in latents.split(16)])
    share = torch.bincount(indices, minlength=len(codebook.vectors)) / len(indices)
    entropy = -(share * share.clamp(min=1e-12).log()).sum()
    return dict(
        codes=len(share), used=int((share > 0).sum()), perplexity=round(entropy.exp().item(), 1)
    )


def answer(run: Run, minutes: float, path: Path) -> dict:
    judge = Judge(run)
    true = judging.unit(judge.questions(PICTURES).pictures)
    pictures = run.load(world.shard_name(0))["pictures"]
    torch.manual_seed(3)
    net = autoencoder.build()
    autoencoder.start_as_thumbnail(net, pictures[:500])
    sides = dict(kl=Kl(copy.deepcopy(net)), vq=Vq(copy.deepcopy(net), first_vectors(net, pictures)))
    progress, rows = learning.by_time(run, minutes), [true[:SHOWN]]
    found = dict(pictures=len(true), originals=dict(frechet=judge.distance(true)))
    for name, module in sides.items():
        torch.manual_seed(4)
        trained, steps = train(run, module, pictures, progress)
        progress = learning.by_steps(steps)
        figures_of, made = figures(judge, trained, true)
        found[name] = figures_of | dict(steps=steps)
        rows.append(made[:SHOWN])
    judging.sheet(rows, path)
    return found
