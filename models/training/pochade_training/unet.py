"""Stage `unet`: the denoiser (Rombach et al. 2022, section 3.3), trained jointly with the caption
encoder.

Velocity prediction (Salimans and Ho 2022) on a cosine schedule with zero terminal signal (Lin et
al. 2024), at the integer timesteps and with the very table of the scheduler that the model ships
with.
"""

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import CLIPTextModel

from . import latents, text, tokenizer
from .runs import Run
from .training import Plan, Task
from .training import train as train_task

FILE, START = "unet.pt", "unet-start.pt"
TIMESTEPS = 1000
UNCAPTIONED = 0.1  # how often a caption is left out, for classifier-free guidance
# How often the caption's pooled vector is left out, so that attention has to tell what is where.
UNPOOLED = 0.3
TELLING = 0.02  # weight of the heads' mistakes beside the error of the velocity
HELD_OUT = 256
# With Muon, whose steps have one size, attention had come to rest on the first token.
ATTENTION = ("attn2.to_q", "attn2.to_k")
ENDS = ("conv_in", "conv_out", "time_embedding", "add_embedding", "embeddings", "heads")
NOT_HIDDEN = (*ENDS, *ATTENTION)


def build() -> UNet2DConditionModel:
    """Latents `[B, 4, 16, 16]`, timesteps `[B]` and captions `[B, 32, 128]` to velocities `[B, 4,
    16, 16]`.
    """
    net = UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(48, 96, 144),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        mid_block_type="UNetMidBlock2DCrossAttn",
        attention_head_dim=3,
        norm_num_groups=16,
        cross_attention_dim=text.WIDTH,
        encoder_hid_dim=None,
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
    )
    for name, weight in net.named_parameters():
        if ".conv2." in name or ".proj_out." in name or name.startswith("conv_out."):
            nn.init.zeros_(weight)
    return net


def scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        num_train_timesteps=TIMESTEPS,
        beta_schedule="squaredcos_cap_v2",
        rescale_betas_zero_snr=True,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,  # without effect on trailing spacing; diffusers warns of any other value
    )


class Denoiser(nn.Module):
    """The UNet and the caption encoder as one thing to train, with the scheduler's signal table and
    heads that tell from the pooled caption what it says.
    """

    def __init__(self, net: UNet2DConditionModel, words: CLIPTextModel, heads: nn.Linear):
        super().__init__()
        self.net, self.words, self.heads = net, words, heads
        self.register_buffer("signal", scheduler().alphas_cumprod.float(), persistent=False)
        net.add_embedding.register_forward_hook(self._leave_out_pooled)

    def _leave_out_pooled(self, _module, _inputs, pooled: Tensor) -> Tensor | None:
        """Zeroes the pooled vector `[B, D]` of some pictures while training."""
        if not self.training:
            return None
        self.pooled = pooled
        return pooled * (torch.rand(len(pooled), 1, device=pooled.device) >= UNPOOLED)

    def loss(
        self, clean: Tensor, noise: Tensor, t: Tensor, ids: Tensor, attributes: Tensor | None = None
    ) -> Tensor:
        """Squared error of the velocity, one number per picture, and with `attributes` `[B, 7]` a
        little of what the heads get wrong. Attributes of a caption that was left out are -1.
        """
        alpha = self.signal[t].sqrt().view(-1, 1, 1, 1)
        sigma = (1 - self.signal[t]).sqrt().view(-1, 1, 1, 1)
        caption = self.words(ids).last_hidden_state
        made = self.net(alpha * clean + sigma * noise, t, caption, return_dict=False)[0]
        error = (made.float() - (alpha * noise - sigma * clean)).square().mean((1, 2, 3))
        if attributes is None:
            return error
        said = text.mistakes(self.heads(self.pooled), attributes.clamp(min=0))
        return error + TELLING * said * (attributes[:, 0] >= 0)


class Data:
    """Latents and ids on the training device; the last `HELD_OUT` pictures are for validation."""

    def __init__(self, run: Run):
        stored = latents.load(run)
        self.latents, self.ids = stored["latents"], stored["ids"]
        self.attributes = stored["attributes"]
        self.count = len(self.latents) - HELD_OUT
        self.empty = tokenizer.encode(tokenizer.load(run), [""]).to(run.device)
        chance = torch.Generator().manual_seed(5)
        self.noise = torch.randn(HELD_OUT, *self.latents.shape[1:], generator=chance).to(run.device)
        self.times = ((torch.arange(HELD_OUT) + 0.5) / HELD_OUT * TIMESTEPS).long().to(run.device)

    def sample(self, batch: int, captioned: bool = False) -> tuple[Tensor, ...]:
        """Random clean latents, noise, timesteps, ids and attributes; some captions are left out,
        unless all are wanted.
        """
        device = self.latents.device
        pick = torch.randint(self.count, (batch,), device=device)
        clean = self.latents[pick].float()
        ids = self.ids[pick, torch.randint(self.ids.shape[1], (batch,), device=device)].long()
        bare = torch.rand(batch, 1, device=device) < (0 if captioned else UNCAPTIONED)
        t = torch.randint(TIMESTEPS, (batch,), device=device)
        ids = torch.where(bare, self.empty, ids)
        attributes = torch.where(bare, -1, self.attributes[pick])
        return clean, torch.randn_like(clean), t, ids, attributes

    @torch.no_grad()
    def validate(self, model: Denoiser) -> dict[str, float]:
        """Mean loss over held-out pictures at fixed noise, and its three thirds from clean to
        noisy.
        """
        clean, ids = self.latents[self.count :].float(), self.ids[self.count :, 0].long()
        parts = [
            model.loss(
                clean[i : i + 64], self.noise[i : i + 64], self.times[i : i + 64], ids[i : i + 64]
            )
            for i in range(0, HELD_OUT, 64)
        ]
        loss = torch.cat(parts)
        low, middle, high = (third.mean().item() for third in loss.tensor_split(3))
        return dict(val=loss.mean().item(), val_low=low, val_middle=middle, val_high=high)


def task(run: Run) -> Task:
    net = build()
    if run.path(START).exists():
        net.load_state_dict(run.load(START))
    told = text.load(run)
    net.add_embedding.load_state_dict(told.pool.state_dict())
    model = Denoiser(net, told.words, told.heads)
    hasten(run, net)
    data = Data(run)
    return Task("unet", model, NOT_HIDDEN, data.sample, data.validate)


def hasten(run: Run, net: UNet2DConditionModel) -> None:
    """Puts a UNet into the form that this device trains fastest."""
    if run.cuda:
        net.to(memory_format=torch.channels_last)
    else:  # of attention over so few tokens, the fused kernel's backward pass is the slower one
        net.set_attn_processor(AttnProcessor())


def train(run: Run, plan: Plan) -> None:
    averaged = train_task(run, lambda: task(run), plan)
    if averaged is not None:
        run.save(FILE, dict(net=averaged.net.state_dict(), words=averaged.words.state_dict()))


def load(run: Run, file: str = FILE) -> tuple[UNet2DConditionModel, CLIPTextModel]:
    """The averaged UNet and caption encoder of a finished run."""
    saved, net = run.load(file), build()
    words = text.build(len(tokenizer.load(run)))
    net.load_state_dict(saved["net"])
    words.load_state_dict(saved["words"])
    return net, words
