"""Stage `text`: the caption encoder (CLIP's text transformer, Radford et al. 2021, made small) and
the pooling of its tokens into one vector, and their warm-up.

Before the UNet sees a caption, encoder and pooling learn to tell what the caption says: linear
heads on the pooled vector classify kind, style, time, colours, count and relation. What is not told
apart there, the UNet cannot paint apart: a linear probe of a pooled vector that was trained by
painting alone named five colours of six, and the pictures had two of three. So the heads stay while
the UNet trains, with a small weight, and are thrown away afterwards.
"""

import torch
import torch.nn.functional as F
from diffusers.models.embeddings import TextTimeEmbedding
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from pochade_world import CLASSES

from . import latents, tokenizer
from .runs import CpuBudget, Run

WIDTH = 128
POOLED = 192  # as wide as the UNet's time embedding
RATE = 2e-3
FILE, START = "text.pt", "text-start.pt"


def build(vocabulary: int) -> CLIPTextModel:
    """Ids `[B, 32]` to one vector of 128 for each token, `[B, 32, 128]`; 0.6 M parameters."""
    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.LENGTH,
        hidden_act="quick_gelu",
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
        projection_dim=WIDTH,
    )
    return CLIPTextModel(config)


class Reading(nn.Module):
    """Ids `[B, 32]` to the pooled vector `[B, 192]` of a caption and what its heads make of it."""

    def __init__(self, words: CLIPTextModel, pool: TextTimeEmbedding):
        super().__init__()
        self.words, self.pool = words, pool
        self.heads = nn.Linear(POOLED, sum(CLASSES))

    def forward(self, ids: Tensor) -> Tensor:
        """Logits of all attributes side by side."""
        return self.heads(self.pool(self.words(ids).last_hidden_state))


def pooling() -> TextTimeEmbedding:
    """What diffusers' UNet adds to its time embedding for a caption `[B, 32, 128]`: `[B, 192]`."""
    return TextTimeEmbedding(WIDTH, POOLED, num_heads=4)


def mistakes(logits: Tensor, attributes: Tensor) -> Tensor:
    """Cross-entropy of all attributes `[B, 7]` together, one number per caption."""
    parts = zip(logits.float().split(CLASSES, 1), attributes.T)
    return sum(F.cross_entropy(part, column, reduction="none") for part, column in parts)


def train(run: Run, minutes: float) -> None:
    """Goes on from the words that the run adopted, if it has any."""
    torch.manual_seed(1)
    data = latents.load(run)
    ids, attributes = data["ids"], data["attributes"]
    net = Reading(build(len(tokenizer.load(run))), pooling())
    if run.path(START).exists():
        adopted = run.load(START)
        net.words.load_state_dict(adopted["words"])
        net.pool.load_state_dict(adopted["pool"])
    net.to(run.device)
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=0.01)
    budget, step = CpuBudget(minutes, run), 0
    while (progress := budget.progress()) < 1:
        optimiser.param_groups[0]["lr"] = RATE * min(1, (step + 1) / 50) * (1.01 - progress)
        pick = torch.randint(len(ids), (256,))
        caption = ids[pick, torch.randint(ids.shape[1], (256,))].long()
        said = net(caption)
        optimiser.zero_grad()
        mistakes(said, attributes[pick]).mean().backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        step += 1
    told = torch.stack([part.argmax(1) for part in said.split(CLASSES, 1)], 1)
    right = (told == attributes[pick]).float().mean(0)
    run.say(f"text: {step} steps, attributes told right {[round(r, 3) for r in right.tolist()]}")
    run.save(FILE, net.state_dict())


def load(run: Run) -> Reading:
    """The warmed-up encoder with its pooling and heads."""
    net = Reading(build(len(tokenizer.load(run))), pooling())
    net.load_state_dict(run.load(FILE))
    return net.to(run.device)
