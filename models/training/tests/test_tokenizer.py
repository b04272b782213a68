"""Claims about the tokenizer that is learned from the captions."""

import pytest
from transformers import CLIPTokenizer

from pochade_training import tokenizer
from pochade_world import Writer, batch


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> CLIPTokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.write(folder, tokenizer.learn_merges(tokenizer.words()))
    return CLIPTokenizer.from_pretrained(folder)


def test_every_word_of_every_caption_is_one_token(words):
    writer = Writer(11)
    for shown in batch(270, 8, 12).shows:
        for token in words.tokenize(writer.write(shown, noisy=0.0)):
            assert token.endswith("</w>"), token


def test_no_caption_is_longer_than_the_encoder_reads(words):
    writer = Writer(13)
    captions = [writer.write(shown, full=True) for shown in batch(450, 8, 14).shows]
    assert max(len(ids) for ids in words(captions).input_ids) <= tokenizer.LENGTH


def test_unknown_words_fall_to_pieces_and_never_fail(words):
    for text in ("a zorblax", "日本の海", "é ü ß", "🙂", "don't 42%", ""):
        ids = tokenizer.encode(words, [text])
        assert ids.shape == (1, tokenizer.LENGTH)
        assert ids[0, 0] == words.bos_token_id and ids[0, -1] == words.eos_token_id


def test_the_case_of_letters_does_not_matter(words):
    assert words.tokenize("A Red Sun") == words.tokenize("a red sun")
