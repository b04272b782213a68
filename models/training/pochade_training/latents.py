"""Stage `latents`: every picture of the world encoded once, every caption tokenised once."""

import torch
from torch import Tensor

from . import autoencoder, tokenizer
from .runs import Run
from .workers import Workers
from .world import shard_name


def name(index: int) -> str:
    return f"latents-{index:02}.pt"


@torch.no_grad()
def encode(run: Run, shards: int, workers: int = 1) -> None:
    """For each shard: latents `[N, 4, 16, 16]` in f16, attributes `[N, 7]`, ids `[N, 5, 32]`."""
    group = Workers.join(workers)
    net, words = autoencoder.load(run), tokenizer.load(run)
    for index in range(group.rank, shards, group.count):
        if run.path(name(index)).exists():
            continue
        shard = run.load(shard_name(index))
        parts = shard["pictures"].split(8)  # few at a time, to stay in cache
        z = torch.cat([autoencoder.encode(net, part.float() / 255).half() for part in parts])
        flat = [caption for captions in shard["captions"] for caption in captions]
        ids = tokenizer.encode(words, flat).view(len(z), -1, tokenizer.LENGTH).short()
        run.save(name(index), dict(latents=z, attributes=shard["attributes"], ids=ids))
        deviation = [round(d, 3) for d in z.float().std((0, 2, 3)).tolist()]
        run.say(f"latents: shard {index + 1}, deviation by channel {deviation}")
    group.leave()


def load(run: Run) -> dict[str, Tensor]:
    """Every encoded shard, joined."""
    found = sorted(run.root.glob("latents-*.pt"))
    if not found:
        raise FileNotFoundError(f"no latents in {run.root}: run the stage `latents` first")
    shards = [run.load(path.name) for path in found]
    return {key: torch.cat([shard[key] for shard in shards]) for key in shards[0]}
