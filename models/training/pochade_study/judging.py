"""What answers are judged by: pictures that no side has seen, the attribute reader, sheets."""

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from PIL import Image
from torch import Tensor

from pochade_training import autoencoder, evaluate, latents, reader, world
from pochade_training.autoencoder import gradients, ssim
from pochade_training.runs import Run

REFERENCE = 2000  # held-out pictures that Frechet distances are taken to
TRAINED = 3  # shards that a side learns from, at most


@dataclass
class Shard:
    """Pictures `[N, 3, 128, 128]` of bytes, latents `[N, 4, 16, 16]`, attributes `[N, 7]`."""

    pictures: Tensor
    latents: Tensor
    attributes: Tensor

    @classmethod
    def load(cls, run: Run, index: int) -> "Shard":
        stored, encoded = run.load(world.shard_name(index)), run.load(latents.name(index))
        return cls(stored["pictures"], encoded["latents"].float(), stored["attributes"])


def count(run: Run) -> int:
    """How many shards there are. The last one is held out, and no side trains on it."""
    found = len(list(run.root.glob("latents-*.pt")))
    if found < 2:
        raise FileNotFoundError(
            f"{run.root} holds {found} encoded shards and this needs two: run the stages `world` "
            "and `latents` of pochade_training first"
        )
    return found


def shards(run: Run) -> list[Shard]:
    """What a side may learn from."""
    return [Shard.load(run, i) for i in range(min(TRAINED, count(run) - 1))]


class Judge:
    """The reader and the held-out shard; its last pictures are what distances are taken to."""

    def __init__(self, run: Run):
        self.net = reader.load(run)
        self.held = Shard.load(run, count(run) - 1)
        reference = self.held.pictures[-REFERENCE:].split(64)
        self.reference = torch.cat([reader.features(self.net, unit(part)) for part in reference])

    def questions(self, wanted: int) -> Shard:
        """The first held-out pictures, as many as are wanted and not among the reference."""
        end = min(wanted, max(len(self.held.pictures) - REFERENCE, 1))
        held = self.held
        return Shard(held.pictures[:end], held.latents[:end], held.attributes[:end])

    def distance(self, pictures: Tensor) -> float:
        """Frechet distance of pictures in 0..1 to the reference."""
        return round(reader.frechet(reader.features(self.net, pictures), self.reference), 2)

    def reads(self, pictures: Tensor, attributes: Tensor) -> dict[str, float]:
        return reader.accuracy(self.net, pictures, attributes)

    def copies(self, made: Tensor, true: Tensor) -> dict[str, float]:
        """How good reconstructions in 0..1 are."""
        return likeness(made, true) | dict(frechet=self.distance(made))


def unit(pictures: Tensor) -> Tensor:
    """Bytes to 0..1."""
    return pictures.float() / 255


@torch.no_grad()
def decoded(net: AutoencoderTiny, latents: Tensor) -> Tensor:
    """Latents `[N, 4, 16, 16]` to pictures `[N, 3, 128, 128]` in 0..1."""
    return torch.cat([autoencoder.decode(net, z).clamp(0, 1) for z in latents.split(16)])


def sharpness(made: Tensor, true: Tensor) -> float:
    """Gradient energy of pictures over that of the originals: less than 1 is blurred."""
    made, true = (sum(g.square().mean() for g in gradients(x)) for x in (made, true))
    return (made / true).item()


def likeness(made: Tensor, true: Tensor) -> dict[str, float]:
    """Mean PSNR in dB, mean SSIM, and sharpness."""
    psnr = -10 * (made - true).square().mean((1, 2, 3)).clamp(min=1e-10).log10()
    parts = zip(made.split(16), true.split(16))  # few at a time, to stay in cache
    similar = [ssim(a, b) for a, b in parts]
    return dict(
        psnr=round(psnr.mean().item(), 2),
        ssim=round(torch.cat(similar).mean().item(), 4),
        sharpness=round(sharpness(made, true), 3),
    )


def sheet(rows: list[Tensor], path: Path) -> None:
    """Rows of equally many pictures in 0..1 under each other, in 256 colours."""
    evaluate.sheet(torch.cat(rows), path, columns=len(rows[0]))
    with Image.open(path) as whole:
        small = whole.quantize(256, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def enlarged(pictures: Tensor, times: int) -> Tensor:
    """Every pixel as a square of `times` by `times`."""
    return pictures.repeat_interleave(times, 2).repeat_interleave(times, 3)
