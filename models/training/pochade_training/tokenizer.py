"""Stage `tokenizer`: byte-pair encoding in CLIP's file format (Radford et al. 2021; Sennrich et al.
2016) over the world's own words.

256 byte symbols, the same 256 ending a word, merges until every caption word is one token, then
`<|startoftext|>` and `<|endoftext|>`, which also pads. Any other text falls to byte pieces, so no
prompt is ever refused.
"""

import json
import re
from collections import Counter
from pathlib import Path

from transformers import CLIPTokenizer

from pochade_world import Writer, batch
from pochade_world.captions import FILLERS

from .runs import Run

FOLDER = "tokenizer"
LENGTH = 32  # tokens in a prompt, start and end included
START, END = "<|startoftext|>", "<|endoftext|>"


def byte_symbols() -> list[str]:
    """The 256 printable characters that stand for bytes in GPT-2's and CLIP's files, in the files'
    order.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(others))]


def words() -> Counter:
    """Every word of many captions, with how often it occurs."""
    writer, count = Writer(0), Counter()
    for shown in batch(5100, 8, seed=0).shows:
        for _ in range(20):
            count.update(re.findall(r"[a-z]+", writer.write(shown, noisy=0.0)))
            count.update(re.findall(r"[a-z]+", writer.write(shown, full=True)))
    count.update(FILLERS)
    return count


def learn_merges(count: Counter) -> list[tuple[str, str]]:
    """Merges, most frequent pair first, until every word is one symbol."""
    pieces = {word: [*word[:-1], word[-1] + "</w>"] for word in count}
    merges = []
    while True:
        pairs = Counter()
        for word, symbols in pieces.items():
            for pair in zip(symbols, symbols[1:]):
                pairs[pair] += count[word]
        if not pairs:
            return merges
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        pieces = {word: _merge(symbols, best) for word, symbols in pieces.items()}


def _merge(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    merged, i = [], 0
    while i < len(symbols):
        whole = tuple(symbols[i : i + 2]) == pair
        merged.append("".join(pair) if whole else symbols[i])
        i += 2 if whole else 1
    return merged


def write(folder: Path, merges: list[tuple[str, str]]) -> None:
    """The four files of a CLIP tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    single = byte_symbols()
    vocabulary = single + [s + "</w>" for s in single] + ["".join(m) for m in merges] + [START, END]
    ids = {token: i for i, token in enumerate(vocabulary)}
    special = dict(bos_token=START, eos_token=END, unk_token=END, pad_token=END)
    config = dict(
        tokenizer_class="CLIPTokenizer", model_max_length=LENGTH, do_lower_case=True, **special
    )
    lines = ["#version: 0.2", *(" ".join(m) for m in merges)]
    (folder / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n")


def train(run: Run) -> None:
    write(run.path(FOLDER), learn_merges(words()))
    run.say(f"tokenizer: {len(load(run))} tokens")


def load(run: Run) -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(run.path(FOLDER))


def encode(tokenizer: CLIPTokenizer, captions: list[str]):
    """Ids `[B, 32]`, padded with the end token, as diffusers' pipeline does it."""
    return tokenizer(
        captions, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt"
    ).input_ids
