"""Stage `unet`: the denoiser (Rombach et al. 2022, section 3.3), trained jointly with the caption
encoder.

Velocity prediction (Salimans and Ho 2022) on a cosine schedule with zero terminal signal (Lin et
al. 2024), at the integer timesteps and with the very table of the scheduler that the model ships
with.
"""

import copy
import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import CLIPTextModel

from . import latents, text, tokenizer
from .optim import Average, Pair
from .runs import Deadline, Run
from .workers import Workers

CHECKPOINT, FILE, START = "unet-checkpoint.pt", "unet.pt", "unet-start.pt"
TIMESTEPS = 1000
UNCAPTIONED = 0.1  # how often a caption is left out, for classifier-free guidance
# How often the caption's pooled vector is left out, so that attention has to tell what is where.
UNPOOLED = 0.3
WARM_UP = 80
HELD_OUT = 256
# With Muon, whose steps have one size, attention had come to rest on the first token.
ATTENTION = ("attn2.to_q", "attn2.to_k")
NOT_HIDDEN = ("conv_in", "conv_out", "time_embedding", "add_embedding", "embeddings", *ATTENTION)


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
    """The UNet and the caption encoder as one thing to train, with the scheduler's signal table."""

    def __init__(self, net: UNet2DConditionModel, words: CLIPTextModel):
        super().__init__()
        self.net, self.words = net, words
        self.register_buffer("signal", scheduler().alphas_cumprod.float(), persistent=False)
        net.add_embedding.register_forward_hook(self._leave_out_pooled)

    def _leave_out_pooled(self, _module, _inputs, pooled: Tensor) -> Tensor | None:
        """Zeroes the pooled vector `[B, D]` of some pictures while training."""
        if not self.training:
            return None
        return pooled * (torch.rand(len(pooled), 1, device=pooled.device) >= UNPOOLED)

    def loss(self, clean: Tensor, noise: Tensor, t: Tensor, ids: Tensor) -> Tensor:
        """Squared error of the velocity, one number per picture."""
        alpha = self.signal[t].sqrt().view(-1, 1, 1, 1)
        sigma = (1 - self.signal[t]).sqrt().view(-1, 1, 1, 1)
        caption = self.words(ids).last_hidden_state
        made = self.net(alpha * clean + sigma * noise, t, caption, return_dict=False)[0]
        return (made.float() - (alpha * noise - sigma * clean)).square().mean((1, 2, 3))


class Data:
    """Latents and ids on the training device; the last `HELD_OUT` pictures are for validation."""

    def __init__(self, run: Run):
        stored = latents.load(run)
        self.latents, self.ids = stored["latents"], stored["ids"]
        self.count = len(self.latents) - HELD_OUT
        self.empty = tokenizer.encode(tokenizer.load(run), [""]).to(run.device)
        chance = torch.Generator().manual_seed(5)
        self.noise = torch.randn(HELD_OUT, *self.latents.shape[1:], generator=chance).to(run.device)
        self.times = ((torch.arange(HELD_OUT) + 0.5) / HELD_OUT * TIMESTEPS).long().to(run.device)

    def sample(self, batch: int) -> tuple[Tensor, ...]:
        """Random clean latents, noise, timesteps and ids."""
        device = self.latents.device
        pick = torch.randint(self.count, (batch,), device=device)
        clean = self.latents[pick].float()
        ids = self.ids[pick, torch.randint(self.ids.shape[1], (batch,), device=device)].long()
        bare = torch.rand(batch, 1, device=device) < UNCAPTIONED
        t = torch.randint(TIMESTEPS, (batch,), device=device)
        return clean, torch.randn_like(clean), t, torch.where(bare, self.empty, ids)

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


@dataclass
class Plan:
    """How long to train, on how much at a time, with whom."""

    until: datetime
    tail: float = 0.25
    batch: int = 64
    workers: int = 1
    each_export: Callable[[Denoiser], None] | None = None


class Training:
    """A training under way: model, average, optimisers, and how far it has come."""

    def __init__(self, run: Run, batch: int, workers: Workers):
        self.run, self.batch, self.workers, self.data = run, batch, workers, Data(run)
        net = build()
        if run.path(START).exists():
            net.load_state_dict(run.load(START))
        self.model = Denoiser(net, text.load(run)).to(run.device)
        if run.cuda:
            self.model.net.to(memory_format=torch.channels_last)
        else:  # of attention over so few tokens, the fused kernel's backward pass is the slower one
            self.model.net.set_attn_processor(AttnProcessor())
        self.averaged = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.average = Average(0.998, 0.15)
        workers.agree([p.data for p in self.model.parameters()])
        self.pair = Pair(
            list(self.model.named_parameters()),
            NOT_HIDDEN,
            decay=0.01,
            workers=workers,
            half=run.half,
        )
        self.steps, self.samples, self.seconds = 0, 0, 0.0
        self.warm, self.running = 0, None
        if run.path(CHECKPOINT).exists():
            self.restore()

    def restore(self) -> None:
        saved = self.run.load(CHECKPOINT)
        self.model.load_state_dict(saved["model"])
        self.averaged.load_state_dict(saved["averaged"])
        self.pair.restore(saved["pair"])
        self.steps, self.samples = saved["steps"], saved["samples"]
        self.seconds = saved["seconds"]
        self.average.steps = self.warm = self.steps

    def save(self) -> None:
        self.run.save(
            CHECKPOINT,
            dict(
                model=self.model.state_dict(),
                averaged=self.averaged.state_dict(),
                pair=self.pair.state(),
                steps=self.steps,
                samples=self.samples,
                seconds=self.seconds,
            ),
        )

    def step(self, factor: float) -> None:
        with torch.autocast(self.run.device.type, torch.bfloat16, enabled=self.run.half):
            loss = self.model.loss(*self.data.sample(self.batch // self.workers.count)).mean()
        self.pair.step(loss, factor * min(1.0, (self.warm + 1) / WARM_UP))
        if self.workers.first:
            self.average.update(self.averaged, self.model)
        self.steps, self.warm = self.steps + 1, self.warm + 1
        self.samples += self.batch
        before = loss.item() if self.running is None else self.running
        self.running = 0.98 * before + 0.02 * loss.item()

    def report(self, factor: float) -> None:
        found = self.data.validate(self.averaged)
        row = dict(train_s=self.seconds, step=self.steps, samples=self.samples, rate=factor)
        self.run.record("unet.csv", row | dict(loss=self.running) | found)
        speed = self.samples / max(self.seconds, 1)
        self.run.say(
            f"unet: step {self.steps}, {speed:.0f} samples/s, "
            f"rate {factor:.2f}, loss {self.running:.4f}, held out {found['val']:.4f} "
            f"({found['val_low']:.4f} {found['val_middle']:.4f} {found['val_high']:.4f})"
        )


def train(run: Run, plan: Plan) -> None:
    """Trains until the deadline. SIGUSR1 starts the closing decay at once (six minutes of it)."""
    workers = Workers.join(plan.workers)
    torch.manual_seed(int(datetime.now().timestamp()) + workers.rank)
    work, deadline = Training(run, plan.batch, workers), Deadline(plan.until, plan.tail)
    signal.signal(signal.SIGUSR1, lambda *_: deadline.begin_tail(6))
    due, started = dict(report=0.0, save=180.0, export=60.0), deadline.last
    while True:
        before = deadline.last
        shared = torch.tensor([deadline.factor(), float(deadline.over())])
        work.seconds += min(deadline.last - before, Deadline.LONGEST_STEP)
        workers.agree([shared])
        factor, over = shared.tolist()
        if over:
            break
        work.step(factor)
        if workers.first:
            _attend(work, plan, due, deadline.last - started, factor)
    if workers.first:
        work.report(0.0)
        work.save()
        averaged = work.averaged
        run.save(FILE, dict(net=averaged.net.state_dict(), words=averaged.words.state_dict()))
    workers.leave()


def _attend(work: Training, plan: Plan, due: dict, elapsed: float, factor: float) -> None:
    """Whatever is due after `elapsed` seconds: a line in the log, a checkpoint, an early export."""
    if elapsed >= due["report"]:
        due["report"] = elapsed + 120
        work.report(factor)
    if elapsed >= due["save"]:
        due["save"] = elapsed + 180
        work.save()
    if plan.each_export and elapsed >= due["export"]:
        due["export"] = elapsed + 900
        plan.each_export(work.averaged)


def load(run: Run) -> tuple[UNet2DConditionModel, CLIPTextModel]:
    """The averaged UNet and caption encoder of a finished run."""
    saved, net = run.load(FILE), build()
    words = text.build(len(tokenizer.load(run)))
    net.load_state_dict(saved["net"])
    words.load_state_dict(saved["words"])
    return net, words
