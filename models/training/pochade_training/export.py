"""Stage `export`: the trained parts as a diffusers folder, all weights in f16; and the way back,
`adopt`.
"""

import copy
import json
import shutil
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from . import autoencoder, distil, text, tokenizer, unet, upscaler
from .runs import Run

GUIDED = dict(guidance=3.0, steps=20)
UNGUIDED = dict(guidance=1.0, steps=distil.STEPS)


def write(
    run: Run, net: nn.Module, words: nn.Module, folder: Path, advice: dict[str, float] = GUIDED
) -> None:
    """Writes the folder part by part, the upscaler too if the run has one; what is already there is
    replaced file by file.
    """
    draft = Path(f"{folder}.part")
    shutil.rmtree(draft, ignore_errors=True)
    parts = dict(vae=autoencoder.load(run), unet=net, text_encoder=words)
    halves = {name: _half(part) for name, part in parts.items()}
    pipeline = StableDiffusionPipeline(
        **halves,
        tokenizer=tokenizer.load(run),
        scheduler=unet.scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(draft)
    _advise(draft / "scheduler" / "scheduler_config.json", advice)
    if run.path(upscaler.FILE).exists():
        _half(upscaler.load(run)).save_pretrained(draft / "upscaler")
        _advise(
            draft / "upscaler" / "config.json",
            dict(steps=upscaler.STEPS, condition_timestep=upscaler.CONDITION_TIMESTEP),
        )
    shutil.rmtree(draft / "tokenizer")
    shutil.copytree(run.path(tokenizer.FOLDER), draft / "tokenizer")
    for source in sorted(p for p in draft.rglob("*") if p.is_file()):
        target = folder / source.relative_to(draft)
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
        target.chmod(0o644)
    shutil.rmtree(draft)


def _advise(file: Path, advice: dict[str, float]) -> None:
    """Says what suits the model, in a field that diffusers ignores."""
    config = json.loads(file.read_text())
    config["_pochade"] = advice
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _half(module: nn.Module) -> nn.Module:
    """A copy in f16 on the CPU."""
    return copy.deepcopy(module).cpu().half().eval()


def export(run: Run, folder: Path, student: bool = False) -> None:
    """Writes the trained UNet, or the student that paints in few steps without guidance."""
    net, words = unet.load(run, distil.FILE if student else unet.FILE)
    write(run, net, words, folder, UNGUIDED if student else GUIDED)
    sizes = {p.relative_to(folder): p.stat().st_size for p in folder.rglob("*.safetensors")}
    run.say("export: " + ", ".join(f"{p} {n / 1e6:.2f} MB" for p, n in sizes.items()))


def adopt(run: Run, folder: Path) -> None:
    """Makes a fresh run continue from an exported folder: the autoencoder stays as it is, the UNet
    and the caption encoder start from its weights, the optimisers start anew. So does the tokenizer
    stay, unless the run has one of its own already.
    """
    pipeline = StableDiffusionPipeline.from_pretrained(
        folder, safety_checker=None, dtype=torch.float32
    )
    if run.path(tokenizer.FOLDER).exists():
        words = translated(pipeline.text_encoder, pipeline.tokenizer, tokenizer.load(run))
    else:
        shutil.copytree(Path(folder) / "tokenizer", run.path(tokenizer.FOLDER))
        words = pipeline.text_encoder
    run.save(autoencoder.FILE, pipeline.vae.state_dict())
    pool = pipeline.unet.add_embedding.state_dict()
    run.save(text.START, dict(words=words.state_dict(), pool=pool))
    run.save(unet.START, pipeline.unet.state_dict())


@torch.no_grad()
def translated(words: CLIPTextModel, before: CLIPTokenizer, after: CLIPTokenizer) -> CLIPTextModel:
    """The caption encoder for another vocabulary: a token that was known keeps its vector, another
    one begins with the mean of its pieces.
    """
    old = words.get_input_embeddings().weight
    encoder = text.build(len(after))
    known = before.get_vocab()
    rows = [old[_pieces(token, known, before)].mean(0) for token in _in_order(after)]
    state = words.state_dict()
    (name,) = [name for name in state if name.endswith("token_embedding.weight")]
    encoder.load_state_dict(state | {name: torch.stack(rows)})
    return encoder


def _in_order(words: CLIPTokenizer) -> list[str]:
    vocabulary = words.get_vocab()
    return sorted(vocabulary, key=vocabulary.get)


def _pieces(token: str, known: dict[str, int], before: CLIPTokenizer) -> list[int]:
    if token in known:
        return [known[token]]
    plain = token.removesuffix("</w>")
    return before(plain, add_special_tokens=False).input_ids or [known[tokenizer.END]]
