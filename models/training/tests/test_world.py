"""Claims about the world's pictures and captions."""

import pytest
import torch

from pochade_world import CLASSES, KINDS, Writer, batch, render
from pochade_world.palette import NIGHT


@pytest.mark.parametrize("kind", KINDS)
def test_every_pixel_is_a_colour(kind):
    made = render(kind, 24, 48, torch.Generator().manual_seed(3))
    assert made.pictures.shape == (24, 3, 48, 48)
    assert torch.isfinite(made.pictures).all()
    assert made.pictures.min() >= 0 and made.pictures.max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_no_picture_is_blank(kind):
    made = render(kind, 24, 48, torch.Generator().manual_seed(4))
    assert made.pictures.std((1, 2, 3)).min() > 0.02


def test_a_seed_gives_the_same_pictures_and_another_seed_others():
    first, again, other = (batch(18, 32, seed).pictures for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_every_kind_is_painted_equally_often():
    kinds = batch(90, 16, 1).attributes[:, 0]
    assert torch.bincount(kinds, minlength=len(KINDS)).tolist() == [10] * len(KINDS)


def test_attributes_stay_within_their_classes():
    attributes = batch(180, 16, 2).attributes
    assert (attributes >= 0).all()
    assert (attributes < torch.tensor(CLASSES)).all()


def test_clouds_never_hide_the_night():
    made = render("sea", 200, 16, torch.Generator().manual_seed(5))
    night = [shown for shown in made.shows if shown.time == "night"]
    assert night and not any("clouds" in shown.facts for shown in night)
    assert (made.attributes[:, 2] == NIGHT).sum() == len(night)


def test_a_full_caption_names_the_colours_the_time_and_the_style():
    made = render("mountains", 60, 16, torch.Generator().manual_seed(6))
    writer = Writer(0)
    for shown in made.shows:
        caption = writer.write(shown, full=True)
        assert shown.first in caption and shown.second in caption
        assert any(word in caption for word in ("sun", "moon"))


def test_captions_never_double_a_space_or_end_in_one():
    writer = Writer(1)
    for shown in batch(450, 8, 9).shows:
        caption = writer.write(shown)
        assert caption == " ".join(caption.split())


def test_a_red_sun_over_blue_mountains_at_dusk_is_something_the_world_says():
    made = render("mountains", 400, 8, torch.Generator().manual_seed(10))
    writer = Writer(2)
    said = {writer.write(shown, noisy=0.0) for _ in range(60) for shown in made.shows}
    assert "a red sun over blue mountains at dusk" in said
