"""Stage `text`: the caption encoder (CLIP's text transformer, Radford et al. 2021, made small), and
its warm-up.

Before the UNet sees a caption, the encoder learns to tell what the caption says: linear heads on
the mean token classify kind, style, time, colours, count and relation. The heads are thrown away.
It binds colours to things in a minute of work.
"""

import torch
import torch.nn.functional as F
from transformers import CLIPTextConfig, CLIPTextModel

from pochade_world import CLASSES

from . import latents, tokenizer
from .runs import CpuBudget, Run

WIDTH = 128
FILE = "text.pt"


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


def train(run: Run, minutes: float) -> None:
    torch.manual_seed(1)
    data = latents.load(run)
    ids, attributes = data["ids"], data["attributes"]
    net = build(len(tokenizer.load(run))).to(run.device)
    heads = torch.nn.Linear(WIDTH, sum(CLASSES)).to(run.device)
    optimiser = torch.optim.AdamW([*net.parameters(), *heads.parameters()], 2e-3, weight_decay=0.01)
    budget, step = CpuBudget(minutes, run), 0
    while budget.progress() < 1:
        pick = torch.randint(len(ids), (256,))
        caption = ids[pick, torch.randint(ids.shape[1], (256,))].long()
        said = heads(net(caption).last_hidden_state.mean(1)).split(CLASSES, 1)
        losses = [F.cross_entropy(s, attributes[pick, i]) for i, s in enumerate(said)]
        optimiser.zero_grad()
        sum(losses).backward()
        optimiser.step()
        step += 1
    right = [(s.argmax(1) == attributes[pick, i]).float().mean().item() for i, s in enumerate(said)]
    run.say(f"text: {step} steps, attributes told right {[round(r, 3) for r in right]}")
    run.save(FILE, net.state_dict())


def load(run: Run) -> CLIPTextModel:
    net = build(len(tokenizer.load(run)))
    net.load_state_dict(run.load(FILE))
    return net.to(run.device)
