"""Claims about the reader as files for `pochade eval`."""

import torch

from pochade_training import evaluate, judge, reader
from pochade_world import ATTRIBUTES, CLASSES


def test_every_logit_has_a_name(tmp_path):
    judge.write_names(tmp_path / "classes.tsv")
    lines = [line.split("\t") for line in (tmp_path / "classes.tsv").read_text().splitlines()]
    assert [line[0] for line in lines] == list(ATTRIBUTES)
    assert tuple(len(line) - 1 for line in lines) == CLASSES


def test_a_caption_asks_for_what_can_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "PICTURES", 30)
    judge.write_captions(tmp_path / "captions.tsv")
    text = (tmp_path / "captions.tsv").read_text()
    head, *lines = [line.split("\t") for line in text.splitlines()]
    test, captions = evaluate.questions(evaluate.SMALL)
    seen = reader.readable(test.attributes)
    assert [line[-1] for line in lines] == captions and len(head) == len(lines[0])
    for i, line in enumerate(lines):
        assert int(line[0]) == evaluate.FIRST_SEED + i
        for j, name in enumerate(line[1:-1]):
            wanted = judge.NAMES[j][test.attributes[i, j]] if seen[i, j] else "-"
            assert name == wanted


def test_the_exported_network_gives_what_the_reader_gives():
    net = reader.Reader().eval()
    picture = judge.pattern(64, 64, 3) / 255
    with torch.no_grad():
        features, logits = judge.Judge(net).eval()(picture)
        assert torch.equal(features, net.features(picture))
        assert torch.equal(logits, torch.cat(net(picture), 1))
