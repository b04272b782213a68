"""Stages `lessons` and `distil`: a student that paints in four steps, without guidance, what the
UNet paints in many steps with it (guidance distillation after Meng et al. 2023, step distillation
after Salimans and Ho 2022).

A lesson is a noisy latent at one of the four timesteps that four trailing DDIM steps visit, a
caption, and the latent at the next of them as the teacher's guided way leads there. The student
learns the velocity with which one DDIM step gets to the same place. Lessons are worked out once and
gone through several times, because a teacher's way costs more than a student's step.
"""

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel

from . import tokenizer, unet
from .runs import Run
from .training import Plan, Task
from .training import train as train_task
from .workers import Workers

FILE = "distilled.pt"
STEPS = 4  # of the student
SUBSTEPS = 4  # of the teacher for one of the student's
GUIDANCE = 3.0
RATE = 0.3  # of the teacher's learning rate: the student begins as the teacher
SHARD = 1024
HELD_OUT = 256


def name(index: int) -> str:
    return f"lessons-{index:02}.pt"


def timesteps(count: int) -> list[int]:
    """The timesteps of `count` trailing DDIM steps, and -1 for the clean latent after them."""
    steps = unet.scheduler()
    steps.set_timesteps(count)
    return [*steps.timesteps.tolist(), -1]


def levels(t: Tensor) -> tuple[Tensor, Tensor]:
    """Signal and noise `[B, 1, 1, 1]` at timesteps `[B]`; -1 is clean."""
    table = torch.cat([unet.scheduler().alphas_cumprod, torch.ones(1)]).to(t.device)
    signal = table[t].view(-1, 1, 1, 1)
    return signal.sqrt(), (1 - signal).sqrt()


def step(x: Tensor, velocity: Tensor, now: Tensor, then: Tensor) -> Tensor:
    """One deterministic DDIM step from timesteps `now` `[B]` to `then` `[B]`."""
    (a, s), (b, r) = levels(now), levels(then)
    return b * (a * x - s * velocity) + r * (s * x + a * velocity)


def velocity_between(x: Tensor, reached: Tensor, now: Tensor, then: Tensor) -> Tensor:
    """The velocity with which one step from `x` gets to `reached`."""
    (a, s), (b, r) = levels(now), levels(then)
    return (reached - (b * a + r * s) * x) / (r * a - b * s)


class Teacher:
    """The trained UNet with guidance."""

    def __init__(self, run: Run):
        self.net, self.words = unet.load(run)
        unet.hasten(run, self.net)
        self.net.to(run.device).eval(), self.words.to(run.device).eval()
        self.empty = tokenizer.encode(tokenizer.load(run), [""]).to(run.device)

    def lead(self, x: Tensor, ids: Tensor, segment: Tensor) -> Tensor:
        """From the `segment`th `[B]` of the student's timesteps to the next one."""
        way = torch.tensor(timesteps(STEPS * SUBSTEPS), device=x.device)
        both = torch.cat([ids, self.empty.expand_as(ids)])
        caption = self.words(both).last_hidden_state
        for k in range(SUBSTEPS):
            now, then = (way[segment * SUBSTEPS + k + i] for i in (0, 1))
            made = self.net(x.repeat(2, 1, 1, 1), now.repeat(2), caption, return_dict=False)[0]
            told, untold = made.float().chunk(2)
            x = step(x, untold + GUIDANCE * (told - untold), now, then)
        return x


@torch.no_grad()
def teach(run: Run, shards: int, workers: int = 1, batch: int = 64) -> None:
    """For each shard: 1024 lessons as latents `from` and `to` in f16, ids and segments."""
    group = Workers.join(workers)
    torch.manual_seed(100 + group.rank)
    teacher, data = Teacher(run), unet.Data(run)
    starts = torch.tensor(timesteps(STEPS)[:-1])
    for index in range(group.rank, shards, group.count):
        if run.path(name(index)).exists():
            continue
        parts = []
        for _ in range(SHARD // batch):
            clean, noise, _, ids, _ = data.sample(batch, captioned=True)
            segment = torch.randint(STEPS, (batch,))
            a, s = levels(starts[segment])
            x = a * clean + s * noise
            with torch.autocast(run.device.type, torch.bfloat16, enabled=run.half):
                reached = teacher.lead(x, ids, segment)
            parts.append((x.half(), reached.half(), ids.short(), segment))
        x, reached, ids, segment = (torch.cat(column) for column in zip(*parts))
        run.save(name(index), {"from": x, "to": reached, "ids": ids, "segment": segment})
        run.say(f"lessons: shard {index + 1} of {shards}")
    group.leave()


class Student(nn.Module):
    """The UNet and the caption encoder, learning where a step has to lead."""

    def __init__(self, net: nn.Module, words: CLIPTextModel):
        super().__init__()
        self.net, self.words = net, words

    def loss(self, x: Tensor, velocity: Tensor, t: Tensor, ids: Tensor) -> Tensor:
        """Squared error of the velocity, one number per picture."""
        caption = self.words(ids).last_hidden_state
        made = self.net(x, t, caption, return_dict=False)[0]
        return (made.float() - velocity).square().mean((1, 2, 3))


class Lessons:
    """Every lesson; the last `HELD_OUT` are for validation."""

    def __init__(self, run: Run):
        shards = [run.load(path.name) for path in sorted(run.root.glob("lessons-*.pt"))]
        stored = {key: torch.cat([shard[key] for shard in shards]) for key in shards[0]}
        way = torch.tensor(timesteps(STEPS))
        self.x, self.ids, self.t = stored["from"], stored["ids"], way[stored["segment"]]
        then = way[stored["segment"] + 1]
        self.velocity = velocity_between(self.x.float(), stored["to"].float(), self.t, then)
        self.count = len(self.x) - HELD_OUT

    def at(self, pick: Tensor) -> tuple[Tensor, ...]:
        return self.x[pick].float(), self.velocity[pick], self.t[pick], self.ids[pick].long()

    def sample(self, batch: int) -> tuple[Tensor, ...]:
        return self.at(torch.randint(self.count, (batch,)))

    @torch.no_grad()
    def validate(self, model: Student) -> dict[str, float]:
        """Mean loss over held-out lessons, and that of each of the student's steps."""
        picks = torch.arange(self.count, len(self.x))
        loss = torch.cat([model.loss(*self.at(pick)) for pick in picks.split(64)])
        starts = timesteps(STEPS)[:-1]
        each = {f"val_{t}": loss[self.t[picks] == t].mean().item() for t in starts}
        return dict(val=loss.mean().item()) | each


def task(run: Run) -> Task:
    net, words = unet.load(run)
    unet.hasten(run, net)
    lessons = Lessons(run)
    return Task("distilled", Student(net, words), unet.NOT_HIDDEN, lessons.sample, lessons.validate)


def learn(run: Run, plan: Plan) -> None:
    """Trains the student from the teacher's weights."""
    averaged = train_task(run, lambda: task(run), plan)
    if averaged is not None:
        parts = dict(net=averaged.net.state_dict(), words=averaged.words.state_dict())
        run.save(FILE, parts)
