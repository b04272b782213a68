"""Cross-attention given a fresh start, for a UNet that has stopped looking at words.

    python -m pochade_training --runs RUNS --resume ../default --seed N --stage world
    python -m pochade_training.attention --runs RUNS
    python -m pochade_training --runs RUNS --seed N --until 120

Where nearly all attention rests on the first token, whose encoding is the same for every caption, a
block adds the same vector everywhere. That vector goes into the bias of the block's output, whose
weights begin at zero, so that the network paints as before; queries, keys and values begin at
random, and training may find another use for them.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from . import text, tokenizer, unet


@torch.no_grad()
def freshened(net: dict[str, Tensor], begin: Tensor) -> dict[str, Tensor]:
    """The weights `net` with new cross-attention; `begin` `[D]` is the first token's encoding."""
    net = dict(net)
    for name in [name for name in net if name.endswith("attn2.to_v.weight")]:
        block = name.removesuffix("to_v.weight")
        added = net[f"{block}to_out.0.weight"].float() @ (net[name].float() @ begin)
        net[f"{block}to_out.0.bias"] = net[f"{block}to_out.0.bias"] + added
        net[f"{block}to_out.0.weight"] = torch.zeros_like(net[f"{block}to_out.0.weight"])
        for part in ("to_q", "to_k", "to_v"):
            fresh = torch.empty_like(net[f"{block}{part}.weight"])
            torch.nn.init.kaiming_uniform_(fresh, a=5**0.5)
            net[f"{block}{part}.weight"] = fresh
    return net


@torch.no_grad()
def first_token(words: dict[str, Tensor]) -> Tensor:
    """The encoding of the token that every caption begins with, `[D]`."""
    tokens = next(v for k, v in words.items() if k.endswith("token_embedding.weight")).shape[0]
    encoder = text.build(tokens)
    encoder.load_state_dict(words)
    ids = torch.full((1, tokenizer.LENGTH), tokens - 1)
    ids[0, 0] = tokens - 2
    return encoder(ids).last_hidden_state[0, 0]


def main() -> None:
    parser = argparse.ArgumentParser(
        "pochade_training.attention", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--runs", type=Path, required=True, help="the run's folder")
    runs = parser.parse_args().runs
    torch.manual_seed(1)
    net, told = (torch.load(runs / name, weights_only=True) for name in (unet.START, text.START))
    torch.save(freshened(net, first_token(told["words"])), runs / unet.START)


if __name__ == "__main__":
    main()
