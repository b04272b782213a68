"""Claims about the networks and about what makes training resumable."""

import math
import time
from datetime import datetime, timedelta

import pytest
import torch
from transformers import CLIPTokenizer

from pochade_training import (
    autoencoder,
    distil,
    export,
    optim,
    reader,
    text,
    tokenizer,
    unet,
    upscaler,
)
from pochade_training.runs import Deadline, Run
from pochade_world import CLASSES


def test_the_autoencoder_makes_latents_an_eighth_as_wide():
    net = autoencoder.build()
    latents = autoencoder.encode(net, torch.rand(2, 3, 64, 64))
    assert latents.shape == (2, 4, 8, 8)
    assert autoencoder.decode(net, latents).shape == (2, 3, 64, 64)


def test_normalising_gives_every_latent_channel_mean_0_and_deviation_1():
    torch.manual_seed(0)
    net, pictures = autoencoder.build(), torch.randint(256, (40, 3, 64, 64)).byte()
    autoencoder.normalise(net, pictures)
    latents = autoencoder.encode(net, pictures.float() / 255)
    inner = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    assert torch.allclose(inner[0], torch.zeros(4), atol=1e-3)
    assert torch.allclose(inner[1], torch.ones(4), atol=1e-3)


def test_an_untrained_denoiser_predicts_nothing_so_its_loss_is_one():
    torch.manual_seed(0)
    words = text.build(600)
    model = unet.Denoiser(unet.build(), words, torch.nn.Linear(text.POOLED, sum(CLASSES)))
    clean, noise = torch.randn(2, 64, 4, 16, 16).unbind(0)
    ids = torch.randint(600, (64, 32))
    loss = model.loss(clean, noise, torch.randint(1000, (64,)), ids).mean().item()
    assert loss == pytest.approx(1, abs=0.05)


def test_a_caption_that_was_left_out_has_nothing_to_tell():
    torch.manual_seed(0)
    model = unet.Denoiser(
        unet.build(), text.build(600), torch.nn.Linear(text.POOLED, sum(CLASSES))
    ).train()
    clean, noise = torch.randn(2, 2, 4, 16, 16).unbind(0)
    t, ids = torch.tensor([3, 900]), torch.randint(600, (2, 32))
    attributes = torch.stack([torch.zeros(7), -torch.ones(7)]).long()
    plain = model.loss(clean, noise, t, ids)
    told = model.loss(clean, noise, t, ids, attributes)
    assert told[0] > plain[0] + 0.1 and told[1].isclose(plain[1])


def test_a_word_known_before_means_the_same_in_a_new_vocabulary(tmp_path):
    counts = (dict(sea=2, red=1), dict(sea=1, seafish=3, red=1))
    for name, count in zip(("before", "after"), counts):
        tokenizer.write(tmp_path / name, tokenizer.learn_merges(count))
    before, after = (CLIPTokenizer.from_pretrained(tmp_path / n) for n in ("before", "after"))
    words = text.build(len(before))
    renewed = export.translated(words, before, after)
    old, new = (w.get_input_embeddings().weight for w in (words, renewed))
    for token in ("sea</w>", "red</w>", tokenizer.END):
        row = new[after.get_vocab()[token]]
        assert torch.equal(row, old[before.get_vocab()[token]])
    pieces = before("seafish", add_special_tokens=False).input_ids
    assert len(pieces) > 1
    assert torch.allclose(new[after.get_vocab()["seafish</w>"]], old[pieces].mean(0))


def test_the_last_timestep_carries_no_signal():
    table = unet.scheduler().alphas_cumprod
    assert table[-1] == 0
    assert (table.diff() < 0).all()


def test_newton_schulz_gives_singular_values_near_one():
    torch.manual_seed(0)
    for shape in ((48, 432), (300, 64)):
        values = torch.linalg.svdvals(optim.orthogonal(torch.randn(shape)))
        assert values.min() > 0.5 and values.max() < 1.5


def test_the_average_follows_closely_at_first():
    module, averaged = torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)
    module.weight.data.fill_(1.0)
    averaged.weight.data.fill_(0.0)
    average = optim.Average(0.99, 0.2)
    for _ in range(20):
        average.update(averaged, module)
    assert averaged.weight.item() > 0.9


def test_a_pause_in_the_tail_does_not_skip_the_decay(monkeypatch):
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    deadline = Deadline(datetime.now() + timedelta(seconds=1000), tail=0.5)
    levels = []
    for second in range(0, 1000, 2):
        if second < 700 or second > 800:  # paused in between
            now = deadline.end - 1000 + second
            levels.append(deadline.factor())
    steps = [a - b for a, b in zip(levels, levels[1:])]
    assert max(steps) < 0.02
    assert levels[-1] < 0.02


def test_a_frechet_distance_is_zero_to_itself_and_grows_with_the_mean():
    torch.manual_seed(0)
    a = torch.randn(500, 128, dtype=torch.float64)
    assert math.isclose(reader.frechet(a, a), 0, abs_tol=1e-6)
    assert math.isclose(reader.frechet(a, a + 1), 128, rel_tol=1e-6)


def test_a_saved_file_is_whole_or_not_there(tmp_path):
    run = Run(tmp_path, "cpu", 1)
    run.save("x.pt", dict(value=torch.ones(3)))
    assert torch.equal(run.load("x.pt")["value"], torch.ones(3))
    assert [p.name for p in tmp_path.iterdir()] == ["x.pt"]


def test_the_velocity_of_a_lesson_leads_where_the_teacher_got():
    torch.manual_seed(0)
    x, reached = torch.randn(2, 8, 4, 4, 4).unbind(0)
    way = torch.tensor(distil.timesteps(4))
    segment = torch.arange(8) % 4
    now, then = way[segment], way[segment + 1]
    velocity = distil.velocity_between(x, reached, now, then)
    assert torch.allclose(distil.step(x, velocity, now, then), reached, atol=1e-4)


def test_a_step_is_the_schedulers_step():
    torch.manual_seed(0)
    x, velocity = torch.randn(2, 3, 4, 4, 4).unbind(0)
    steps = unet.scheduler()
    steps.set_timesteps(4)
    for now, then in zip(distil.timesteps(4), distil.timesteps(4)[1:]):
        wanted = steps.step(velocity, now, x).prev_sample
        made = distil.step(x, velocity, torch.full((3,), now), torch.full((3,), then))
        assert torch.allclose(made, wanted, atol=1e-5), now


def test_a_teachers_substeps_pass_the_students_timesteps():
    fine = distil.timesteps(distil.STEPS * distil.SUBSTEPS)
    assert fine[:: distil.SUBSTEPS] == distil.timesteps(distil.STEPS)


def test_an_upscaler_that_knows_the_velocity_paints_the_picture():
    """With the true velocity of a known latent, every way of steps ends at that latent."""
    torch.manual_seed(0)
    clean = torch.randn(1, 4, 8, 8)
    table = unet.scheduler().alphas_cumprod

    class Oracle:
        def __call__(self, seen, t, return_dict):
            x, alpha = seen[:, :4], table[t].sqrt()
            sigma = (1 - table[t]).sqrt()
            noise = (x - alpha * clean) / sigma
            return [alpha * noise - sigma * clean]

    made = upscaler.upscale(Oracle(), torch.randn(1, 4, 4, 4), torch.Generator().manual_seed(1))
    assert torch.allclose(made, clean, atol=1e-4)


def test_a_crop_of_a_pair_is_of_one_place(tmp_path):
    run = Run(tmp_path, "cpu", 1)
    small = torch.arange(200 * 4 * 16 * 16).view(200, 4, 16, 16).float() / 1e4
    large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    run.save(upscaler.name(0), dict(large=large, small=small))
    clean, noise, _, beside = upscaler.Pairs(run).sample(6)
    signal = unet.scheduler().alphas_cumprod[upscaler.CONDITION_TIMESTEP]
    error = (beside - signal.sqrt() * clean).std()
    assert clean.shape == beside.shape == noise.shape == (6, 4, 16, 16)
    assert error == pytest.approx((1 - signal).sqrt().item(), rel=0.1)
