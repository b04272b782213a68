"""Claims about what the study's answers rest on."""

import json
import math

import pytest
import torch

from pochade_study import __main__ as command
from pochade_study import adversary, denoising, judging, learning, pixels, regularisation, switch
from pochade_training import autoencoder, latents, reader, world
from pochade_training.runs import Run
from pochade_world import CLASSES
from pochade_world.palette import COLOUR_TABLE


def test_patches_of_pixels_and_the_way_back_lose_only_what_shrinking_loses():
    pictures = torch.randint(256, (2, 3, 128, 128)).byte()
    cut = pixels.patches(pictures)
    assert cut.shape == (2, 12, 32, 32)
    back = torch.nn.functional.pixel_shuffle(cut, pixels.PATCH)
    assert torch.allclose(back[0, 1, 3, 5], pictures[0, 1, 6:8, 10:12].float().mean() / 255)


def test_guidance_goes_on_from_what_is_painted_untold():
    def net(noisy, t, attributes):
        silent = (attributes == pixels.untold(1)).all(1)
        return torch.where(silent, 1.0, 4.0).view(-1, 1, 1, 1).expand_as(noisy)

    told = torch.zeros(3, len(CLASSES)).long()
    made = pixels.guided(net, told)(torch.zeros(3, 4, 2, 2), torch.zeros(3).long())
    assert made.shape == (3, 4, 2, 2)
    assert (made == 1 + pixels.GUIDANCE * 3).all()


def test_ddim_with_the_true_velocity_ends_at_the_picture():
    clean, share = torch.randn(2, 4, 8, 8), denoising.signal()

    def predict(noisy, t):
        alpha, sigma = (s.sqrt().view(-1, 1, 1, 1) for s in (share[t], 1 - share[t]))
        return (alpha * noisy - clean) / sigma

    assert torch.allclose(denoising.paint(predict, torch.randn_like(clean)), clean, atol=1e-3)


def test_a_denoiser_that_says_nothing_has_an_error_of_one():
    clean = torch.randn(64, 4, 16, 16)
    error = denoising.held_out_error(lambda _part: lambda x, t: torch.zeros_like(x), clean)
    assert error == pytest.approx(1, abs=0.05)


def test_rates_rise_stay_and_fall_to_nothing():
    levels = [learning.factor(step, step / 100) for step in range(100)]
    assert levels[0] < 0.1 and levels[30] == 1 and levels[99] < 0.03


def test_the_kl_side_begins_as_the_plain_autoencoder_with_a_weak_pull():
    torch.manual_seed(0)
    net, pictures = autoencoder.build(), torch.rand(2, 3, 64, 64)
    before = autoencoder.encode(net, pictures)
    side = regularisation.Kl(net)
    assert torch.allclose(side.latents(pictures), before, atol=1e-5)
    made, own = side(pictures)
    assert made.shape == pictures.shape
    assert 0 < own.item() < 1e-5


def test_a_codebook_follows_what_it_is_shown_and_leaves_no_vector_alone():
    torch.manual_seed(0)
    codebook = regularisation.Codebook(torch.tensor([[1.0] * 4, [-1.0] * 4, [90.0] * 4]))
    latents = torch.where(torch.rand(1, 1, 8, 8) < 0.5, 2.0, -2.0).expand(4, 4, 8, 8)
    for _ in range(200):
        codebook.follow(latents, codebook.nearest(latents))
    assert codebook.vectors.abs().sub(2).abs().max() < 0.05
    assert torch.allclose(codebook.look_up(codebook.nearest(latents)), latents, atol=0.05)


def test_gradients_go_straight_past_the_codebook():
    torch.manual_seed(0)
    side = regularisation.Vq(autoencoder.build(), torch.randn(16, 4)).eval()
    side(torch.rand(1, 3, 64, 64))[0].sum().backward()
    assert side.net.encoder.layers[-1].weight.grad.abs().sum() > 0


def test_perplexity_counts_equally_frequent_codes():
    codebook = regularisation.Codebook(torch.arange(8.0).view(8, 1).expand(8, 4))
    latents = torch.arange(4.0).view(1, 1, 2, 2).expand(5, 4, 2, 2)
    assert regularisation.use(codebook, latents) == dict(codes=8, used=4, perplexity=4.0)


def test_crops_of_pictures_and_latents_are_of_one_place():
    pictures = torch.arange(256).view(1, 1, 16, 16).byte()
    large = judging.enlarged(pictures, 8).expand(1, 3, 128, 128)
    latents = pictures.float().expand(1, 4, 16, 16)
    true, z = adversary.Data([judging.Shard(large, latents, torch.zeros(1, len(CLASSES)))]).batch()
    assert (true[:, :1, ::8, ::8] * 255 - z[:, :1]).abs().max() < 0.5


def test_the_balanced_adversarial_gradient_is_as_long_as_the_reconstructions():
    last = torch.randn(5, requires_grad=True)
    first, second = (last**2).sum(), 1000 * last.sum()
    weight = adversary.balance(first, second, last)
    lengths = [torch.autograd.grad(x, last)[0].norm() for x in (first, weight * second)]
    assert torch.allclose(*lengths, rtol=1e-3)


def test_the_discriminator_answers_for_every_patch():
    assert adversary.discriminator()(torch.rand(2, 3, 64, 64)).shape == (2, 1, 14, 14)


def test_blurred_pictures_are_less_sharp():
    pictures = torch.rand(2, 3, 32, 32)
    blurred = torch.nn.functional.avg_pool2d(pictures, 3, 1, 1)
    assert judging.sharpness(pictures, pictures) == 1
    assert judging.sharpness(blurred, pictures) < 0.5


def test_a_layout_painted_as_a_mosaic_has_that_layout():
    names = torch.randint(len(COLOUR_TABLE), (3, 8, 8))
    assert torch.equal(switch.layout(switch.mosaic(names, 128)), names)
    assert switch.kept(switch.mosaic(names, 64), names) == 1


@pytest.mark.parametrize("side", [switch.Concatenated, switch.Attended])
def test_a_layout_matters_on_either_side_of_the_switch(side):
    torch.manual_seed(0)
    net = side().eval()
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.2)  # the output begins at zero otherwise
    names, noisy = torch.zeros(1, 8, 8).long(), torch.randn(1, 4, 16, 16)
    t = torch.tensor([500])
    with torch.no_grad():
        assert not torch.allclose(net(noisy, t, names), net(noisy, t, names + 1), atol=1e-3)


def test_a_run_without_a_shard_to_hold_out_is_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="latents"):
        judging.count(Run(tmp_path, "cpu", 1))


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory):
    """A run of two shards of sixteen patterns, with an untrained autoencoder and reader."""
    torch.manual_seed(0)
    run, net = Run(tmp_path_factory.mktemp("run"), "cpu", 1), autoencoder.build()
    run.save(autoencoder.FILE, net.state_dict())
    run.save(reader.FILE, reader.Reader().state_dict())
    for i in range(2):
        pictures, attributes = (
            torch.randint(256, (16, 3, 128, 128)).byte(),
            torch.zeros(16, len(CLASSES)),
        )
        encoded = dict(latents=torch.randn(16, 4, 16, 16).half(), attributes=attributes.long())
        run.save(world.shard_name(i), dict(pictures=pictures, attributes=attributes.long()))
        run.save(latents.name(i), encoded)
    return run


@pytest.mark.parametrize(
    "name, sides",
    [
        ("pixels", ("latents", "pixels")),
        ("regularisation", ("kl", "vq")),
        ("adversary", ("plain", "adversarial")),
        ("switch", ("concatenation", "attention")),
    ],
)
def test_every_question_is_answered_with_figures_of_both_sides_and_a_sheet(
    name, sides, tiny_run, tmp_path, monkeypatch
):
    for question in (pixels, regularisation, adversary, switch):
        monkeypatch.setattr(question, "SHOWN", 1)
        monkeypatch.setattr(question, "BATCH", 2)
    monkeypatch.setattr(judging, "REFERENCE", 12)
    monkeypatch.setattr(denoising, "STEPS", 2)
    monkeypatch.setattr(regularisation, "CODES", 32)
    found = command.QUESTIONS[name](tiny_run, 0.002, tmp_path / "sheet.png")
    assert all(found[side]["steps"] >= 1 for side in sides)
    assert all(math.isfinite(found[side]["frechet"]) for side in sides)
    assert (tmp_path / "sheet.png").stat().st_size > 1000


def test_one_questions_figures_leave_the_others_alone(tmp_path):
    table = tmp_path / "study.json"
    command.note(table, "pixels", dict(a=1))
    command.note(table, "switch", dict(b=2))
    command.note(table, "pixels", dict(a=3))
    assert json.loads(table.read_text()) == dict(pixels=dict(a=3), switch=dict(b=2))
