"""Claims about the world's pictures and captions."""

import pytest
import torch

from pochade_world import CLASSES, KINDS, Writer, batch, held_out, render
from pochade_world.palette import COUNTS, LEFT, NIGHT, NO_RELATION, RIGHT


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
    first, again, other = (batch(34, 32, seed).pictures for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_every_kind_is_painted_equally_often():
    kinds = batch(170, 16, 1).attributes[:, 0]
    assert torch.bincount(kinds, minlength=len(KINDS)).tolist() == [10] * len(KINDS)


def test_attributes_stay_within_their_classes():
    attributes = batch(340, 16, 2).attributes
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
    for shown in batch(850, 8, 9).shows:
        caption = writer.write(shown)
        assert caption == " ".join(caption.split())


def test_a_red_sun_over_blue_mountains_at_dusk_is_something_the_world_says():
    made = render("mountains", 400, 8, torch.Generator().manual_seed(10))
    writer = Writer(2)
    said = {writer.write(shown, noisy=0.0) for _ in range(60) for shown in made.shows}
    assert "a red sun over blue mountains at dusk" in said


def test_training_and_testing_share_no_combination_of_scene_style_and_colours():
    seen, unseen = batch(340, 8, 11).attributes, batch(170, 8, 11, unseen=True).attributes
    columns = [0, 1, 3, 4]
    combinations = [set(map(tuple, rows[:, columns].tolist())) for rows in (seen, unseen)]
    assert combinations[0].isdisjoint(combinations[1])
    assert not held_out(seen).any() and held_out(unseen).all()


def test_every_scene_style_and_colour_that_is_asked_for_in_a_test_was_seen_in_training():
    seen, unseen = batch(850, 8, 12).attributes, batch(510, 8, 12, unseen=True).attributes
    for column in (0, 1, 3, 4):
        known, asked = (set(rows[:, column].tolist()) for rows in (seen, unseen))
        assert asked <= known
        assert len(asked) >= len(known) - 1


def test_what_a_picture_shows_does_not_depend_on_its_size():
    small, large = (batch(34, size, 17) for size in (8, 64))
    assert torch.equal(small.attributes, large.attributes)
    assert small.shows == large.shows


def _masses(pictures, colour, tolerance=0.12):
    """Which pixels `[B, S, S]` are about of a colour."""
    return (pictures - torch.tensor(colour).view(3, 1, 1)).abs().amax(1) < tolerance


def test_a_still_life_has_as_many_fruit_as_it_says_and_on_the_side_it_says():
    made = render("still life", 300, 64, torch.Generator().manual_seed(13))
    amount, relation = made.attributes[:, 5], made.attributes[:, 6]
    flat_red = (made.attributes[:, 1] == 0) & (made.attributes[:, 3] == 0)
    red = _masses(made.pictures, (0.83, 0.20, 0.18))[flat_red]
    assert len(red) > 5
    area = red.flatten(1).sum(1).float()
    place = (red.float() * torch.arange(64)).flatten(1).sum(1) / area
    side = torch.where(place < 32, LEFT, RIGHT)
    assert torch.equal(side, relation[flat_red])
    one, three = (area[amount[flat_red] == n].mean() for n in (0, 2))
    assert three > 1.3 * one


def test_a_full_caption_says_how_many_and_where():
    writer, told = Writer(14), 0
    for shown in batch(510, 8, 15).shows:
        caption = writer.write(shown, full=True)
        if shown.count in COUNTS[1:]:
            assert shown.count in caption, caption
        if shown.relation:
            told += 1
            assert f"{shown.relation} of" in caption, caption
    assert told > 50


def test_what_is_beside_nothing_has_no_side():
    made = render("desert", 200, 8, torch.Generator().manual_seed(16))
    for shown, row in zip(made.shows, made.attributes.tolist()):
        both = {"cactus", "pyramids"} <= shown.facts
        assert (row[6] != NO_RELATION) == both
