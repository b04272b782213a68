"""Claims about reading back what the program itself painted."""

import torch
import torch.nn.functional as F
from PIL import Image

from pochade_training import evaluate, read
from pochade_world import CLASSES


def test_the_list_asks_for_the_pictures_of_stage_evaluate(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "PICTURES", 3)
    path = tmp_path / "captions.txt"
    read.write_list(path)
    lines = [line.split(" ", 1) for line in path.read_text().splitlines()]
    assert [int(seed) for seed, _ in lines] == [10_000, 10_001, 10_002]
    assert [caption for _, caption in lines] == evaluate.questions(evaluate.SMALL)[1]


def test_the_halves_are_two_models_pictures_in_the_order_of_their_numbers(tmp_path):
    for number in (1000, 2, 10):
        both = Image.new("RGB", (8, 4), (number % 256, 0, 0))
        both.paste((0, 255, 0), (4, 0, 8, 4))
        both.save(tmp_path / f"{number:03}.png")
    first, second = read.halves(tmp_path)
    assert first.shape == second.shape == (3, 3, 4, 4)
    expected = torch.tensor([2, 10, 1000 % 256]) / 255
    assert torch.allclose(first[:, 0, 0, 0], expected)
    assert (second[:, 1] == 1).all() and (second[:, 0] == 0).all()


def test_the_difference_is_in_points_of_what_was_asked():
    def sees(pictures):
        """A reader to whom every attribute is 1 in a bright picture and 0 in a dark one."""
        bright = (pictures.mean((1, 2, 3)) > 0.5).long()
        return tuple(F.one_hot(bright, count).float() for count in CLASSES)

    bright, asked = torch.ones(4, 3, 64, 64), torch.ones(6, len(CLASSES)).long()
    half_dark = bright * torch.tensor([1, 1, 0, 0]).view(4, 1, 1, 1)
    lines = read.table(sees, (bright, half_dark), asked).splitlines()
    assert lines[0] == "| 4 pictures | first | second | points |"
    assert lines[2] == "| kind | 1.000 | 0.500 | -50.0 |"
    assert lines[-1] == "| all | 1.000 | 0.500 | -50.0 |"
