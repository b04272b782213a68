"""Stage `autoencoder`: pictures `[3, 128, 128]` to latents `[4, 16, 16]` and back (Rombach et al.
2022, section 3.1, with diffusers' tiny autoencoder as the network).

The loss is L1, plus L1 of the gradients at three scales, plus L1 of opponent colours, on a latent
blurred by noise and held near mean 0 and standard deviation 1 (the part of the KL term that
matters). The last fifth freezes the encoder, makes each channel's mean 0 and deviation 1 exactly by
its last convolution, and lets the decoder settle.
"""

import copy

import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from torch import Tensor, nn

from .optim import Average, Pair
from .runs import CpuBudget, Run
from .workers import Workers
from .world import shard_name

CHANNELS, LATENT = 48, 4
NOISE = 0.06
FROZEN_FROM = 0.8
CROP, BATCH = 64, 16
CHECKPOINT, FILE = "autoencoder-checkpoint.pt", "autoencoder.pt"


def build() -> AutoencoderTiny:
    """0.9 M parameters; no residual block at full resolution, where a CPU is bound by memory."""
    return AutoencoderTiny(
        latent_channels=LATENT,
        encoder_block_out_channels=(CHANNELS,) * 4,
        decoder_block_out_channels=(CHANNELS,) * 4,
        num_encoder_blocks=(0, 0, 2, 2),
        num_decoder_blocks=(3, 3, 2, 0),
        scaling_factor=1.0,
    )


@torch.no_grad()
def start_as_thumbnail(net: AutoencoderTiny, pictures: Tensor) -> None:
    """Sets the first three channels of every layer so that the untrained autoencoder already passes
    a thumbnail.

    Red, green and blue go straight through, averaged over 8 x 8 pixels, and three latent channels
    are their principal components, whitened. From a random start the training of this size tends to
    lose one axis of colour for good.
    """
    thumbnails = F.avg_pool2d(pictures.float() / 255, 8)
    mean = thumbnails.mean((0, 2, 3))
    centred = thumbnails.transpose(0, 1).flatten(1) - mean.view(3, 1)
    spread, axes = torch.linalg.eigh(centred @ centred.T / centred.shape[1])
    whiten, colour = axes.T / spread.sqrt().view(3, 1), axes * spread.sqrt()
    for half in (net.encoder, net.decoder):
        for layer in half.layers:
            if isinstance(layer, nn.Conv2d):
                _pass(layer, torch.eye(3), spread=layer.stride == (2, 2))
            elif hasattr(layer, "conv"):
                layer.conv[4].weight[:3], layer.conv[4].bias[:3] = 0, 0
                layer.conv[4].weight *= 0.3
    _pass(net.encoder.layers[-1], whiten, -whiten @ mean)
    _pass(net.decoder.layers[0], colour, mean)


def _pass(
    layer: nn.Conv2d, matrix: Tensor, bias: Tensor | None = None, spread: bool = False
) -> None:
    """Makes the first three outputs of a convolution `matrix` times its first three inputs."""
    layer.weight[:3] = 0
    if spread:
        layer.weight[:3, :3, 1:, 1:] = matrix.view(3, 3, 1, 1) / 4
    else:
        layer.weight[:3, :3, 1, 1] = matrix
    if layer.bias is not None:
        layer.bias[:3] = 0 if bias is None else bias


def encode(net: AutoencoderTiny, pictures: Tensor) -> Tensor:
    """Pictures `[B, 3, H, W]` in 0..1 to latents `[B, 4, H/8, W/8]`."""
    return net.encoder(pictures * 2 - 1)


def decode(net: AutoencoderTiny, latents: Tensor) -> Tensor:
    """Latents to pictures in 0..1, not clamped."""
    return net.decoder(latents) * 0.5 + 0.5


def gradients(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def reconstruction_loss(made: Tensor, true: Tensor) -> Tensor:
    loss = (made - true).abs().mean()
    for scale in range(3):
        for a, b in zip(gradients(made), gradients(true)):
            loss = loss + (a - b).abs().mean() / 3
        if scale < 2:
            made, true = F.avg_pool2d(made, 2), F.avg_pool2d(true, 2)
    return loss


def colour_loss(made: Tensor, true: Tensor) -> Tensor:
    """L1 of three opponent colours (red-green, yellow-blue, green-magenta) over 4 x 4 pixels.

    An eye minds a wrong hue more than the other terms do.
    """
    opponents = torch.tensor([[1, -1, 0], [0.5, 0.5, -1], [-0.5, 1, -0.5]], device=made.device)
    difference = F.avg_pool2d(made - true, 4)
    return torch.einsum("oc,bchw->bohw", opponents, difference).abs().mean()


def latent_penalty(latents: Tensor) -> Tensor:
    """How far the batch's channels are from mean 0 and deviation 1."""
    return latents.mean((0, 2, 3)).square().mean() + (latents.std((0, 2, 3)) - 1).square().mean()


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004) with a flat 7 x 7 window, one number per picture."""
    window = torch.ones(3, 1, 7, 7, device=a.device) / 49

    def mean(x: Tensor) -> Tensor:
        return F.conv2d(x, window, groups=3)

    ma, mb = mean(a), mean(b)
    va, vb, cov = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    top = (2 * ma * mb + 1e-4) * (2 * cov + 9e-4)
    return (top / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4))).mean((1, 2, 3))


@torch.no_grad()
def fidelity(net: AutoencoderTiny, pictures: Tensor) -> dict[str, float]:
    """Mean PSNR in dB and SSIM of reconstructions of `pictures` `[N, 3, H, W]` of bytes."""
    psnr, similar = [], []
    for part in pictures.split(16):
        true = part.to(next(net.parameters()).device).float() / 255
        made = decode(net, encode(net, true)).clamp(0, 1)
        psnr.append(-10 * ((made - true) ** 2).mean((1, 2, 3)).log10())
        similar.append(ssim(made, true))
    psnr, similar = torch.cat(psnr), torch.cat(similar)
    return dict(psnr=psnr.mean().item(), psnr_min=psnr.min().item(), ssim=similar.mean().item())


@torch.no_grad()
def normalise(net: AutoencoderTiny, pictures: Tensor) -> None:
    """Makes every latent channel mean 0, deviation 1 over `pictures`, inside the encoder's last
    convolution.
    """
    latents = torch.cat([encode(net, part.float() / 255) for part in pictures.split(32)])
    mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    last = net.encoder.layers[-1]
    last.weight.div_(deviation.view(-1, 1, 1, 1))
    last.bias.sub_(mean).div_(deviation)


def crops(pictures: Tensor, batch: int) -> Tensor:
    """Random squares `[batch, 3, 64, 64]` in 0..1, all at one place, half of them mirrored."""
    pick = torch.randint(len(pictures), (batch,))
    top, left = (torch.randint((pictures.shape[-1] - CROP) // 4 + 1, (2,)) * 4).tolist()
    part = pictures[pick, :, top : top + CROP, left : left + CROP].float() / 255
    return torch.where(
        (torch.rand(batch) < 0.5).view(-1, 1, 1, 1).to(part.device), part.flip(3), part
    )


def ends(net: AutoencoderTiny) -> tuple[str, ...]:
    """Names of the first and the last convolutions, which are no hidden matrices."""
    halves = dict(encoder=net.encoder, decoder=net.decoder)
    return tuple(
        f"{name}.layers.{i}." for name, half in halves.items() for i in (0, len(half.layers) - 1)
    )


class Training:
    """A training under way: network, average, optimisers, and how far it has come."""

    def __init__(self, run: Run, pictures: Tensor, workers: Workers):
        self.run, self.workers = run, workers
        self.held, self.pictures = pictures[:128], pictures[128:]
        self.net, self.average = build(), Average(0.99, 0.2)
        start_as_thumbnail(self.net, self.pictures[:500].cpu())
        self.net.to(run.device)
        workers.agree([p.data for p in self.net.parameters()])
        self.averaged = copy.deepcopy(self.net)
        self.step, self.spent, self.frozen = 0, 0.0, False
        if run.path(CHECKPOINT).exists():
            self.restore()
        named = list(self.net.named_parameters())
        self.pair = Pair(named, ends(self.net), adam=1e-3, muon=0.007, workers=workers)

    def restore(self) -> None:
        saved = self.run.load(CHECKPOINT)
        self.net.load_state_dict(saved["net"])
        self.averaged.load_state_dict(saved["averaged"])
        self.spent, self.step = saved["spent"], saved["step"]
        self.average.steps = self.step
        self.net.encoder.requires_grad_(not saved["frozen"])
        self.frozen = saved["frozen"]

    def freeze(self) -> None:
        """Keeps the averaged encoder, normalised, for good."""
        self.workers.agree([p.data for p in self.averaged.parameters()])
        self.net.load_state_dict(self.averaged.state_dict())
        normalise(self.net, self.pictures[:512])
        self.averaged.load_state_dict(self.net.state_dict())
        self.net.encoder.requires_grad_(False)
        self.net.encoder.zero_grad(set_to_none=True)
        self.frozen = True

    def advance(self, progress: float) -> float:
        """One step; returns its loss."""
        if progress > FROZEN_FROM and not self.frozen:
            self.freeze()
        true = crops(self.pictures, BATCH // self.workers.count)
        latents = encode(self.net, true)
        made = decode(self.net, latents + NOISE * torch.randn_like(latents))
        loss = reconstruction_loss(made, true) + colour_loss(made, true)
        loss = loss + 0.02 * latent_penalty(latents)
        self.pair.step(loss, min(1, (self.step + 1) / 100) * max(1 - progress**2, 0.01))
        self.average.update(self.averaged, self.net)
        self.step += 1
        return loss.item()

    def report(self, progress: float, spent: float, loss: float) -> None:
        found = fidelity(self.averaged, self.held)
        self.run.record("autoencoder.csv", dict(seconds=spent, step=self.step, loss=loss) | found)
        self.run.say(
            f"autoencoder: {100 * progress:.0f} %, step {self.step}, loss {loss:.4f}, "
            f"PSNR {found['psnr']:.2f} dB, SSIM {found['ssim']:.4f}"
        )
        state = dict(spent=spent, step=self.step, frozen=self.frozen)
        nets = dict(net=self.net.state_dict(), averaged=self.averaged.state_dict())
        self.run.save(CHECKPOINT, nets | state)


def train(run: Run, minutes: float, workers: int = 1, shards: int = 2) -> None:
    """Trains for `minutes` of the first worker's time and writes the averaged weights."""
    group = Workers.join(workers)
    torch.manual_seed(group.rank)
    pictures = torch.cat([run.load(shard_name(i))["pictures"] for i in range(shards)])
    work = Training(run, pictures, group)
    budget, due = CpuBudget(minutes, run, work.spent), work.spent
    while True:
        shared = torch.tensor([budget.progress()])
        group.agree([shared])
        progress = shared.item()
        if progress >= 1:
            break
        loss = work.advance(progress)
        if group.first and budget.spent() > due:
            due = budget.spent() + 60
            work.report(progress, budget.spent(), loss)
    if group.first:
        work.report(1.0, budget.spent(), loss)
        run.save(FILE, work.averaged.state_dict())
    group.leave()


def load(run: Run) -> AutoencoderTiny:
    net = build()
    net.load_state_dict(run.load(FILE))
    return net.to(run.device).eval().requires_grad_(False)
