"""Stage `evaluate`: figures and a contact sheet of an exported folder, read back through diffusers'
own pipeline.

No pretrained network takes part. What a picture shows is told by the attribute reader; how close
the pictures are to the world as a whole, by a Frechet distance on its features, beside the distance
between two sets of real renders.
"""

import json
import shutil
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from torch import Tensor

from pochade_world import Batch, Writer, batch

from . import autoencoder, curve, reader
from .prompts import SHEET
from .runs import Run
from .world import SIZE

FIGURES, SHEET_FILE = "evaluation.json", "sheet.png"
STEPS, GUIDANCE = 20, 3.0
PICTURES, REFERENCE = 2000, 2000
TEST_SEED, OTHER_SEED = 900_001, 900_002
SMALL = 8  # pixels a side, where only the captions matter
FIRST_SEED = 10_000  # of the first caption's picture; the next ones count on


def load(folder: Path, device: torch.device) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline.from_pretrained(
        folder, safety_checker=None, dtype=torch.float32
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def paint(pipeline: StableDiffusionPipeline, prompts: list[str], seed: int = 0) -> Tensor:
    """One picture for each prompt, `[N, 3, 128, 128]` in 0..1; picture `i` has seed `seed + i`."""
    made = []
    for start in range(0, len(prompts), 40):
        part = prompts[start : start + 40]
        seeds = [torch.Generator("cpu").manual_seed(seed + start + i) for i in range(len(part))]
        made.append(
            pipeline(
                part,
                num_inference_steps=STEPS,
                guidance_scale=GUIDANCE,
                generator=seeds,
                output_type="pt",
            ).images.cpu()
        )
    return torch.cat(made)


def sheet(pictures: Tensor, path: Path, columns: int = 8) -> None:
    """A contact sheet with a thin dark grid."""
    framed = torch.nn.functional.pad(pictures.clamp(0, 1), (2, 2, 2, 2), value=0.13)
    rows = [torch.cat(list(row), 2) for row in framed.split(columns)]
    whole = (torch.cat(rows, 1).permute(1, 2, 0) * 255 + 0.5).byte().numpy()
    Image.fromarray(whole).save(path, optimize=True)


def questions(size: int = SIZE) -> tuple[Batch, list[str]]:
    """Fresh renders of combinations that training never sees, and for each a caption that names
    everything it shows. What they show does not depend on their size.
    """
    test = batch(PICTURES, size, TEST_SEED, unseen=True)
    return test, [Writer(i).write(shown, full=True) for i, shown in enumerate(test.shows)]


def real(made: Batch) -> Tensor:
    return made.pictures.float() / 255


@torch.no_grad()
def reconstruct(pipeline: StableDiffusionPipeline, pictures: Tensor) -> Tensor:
    net = pipeline.vae
    parts = [
        autoencoder.decode(net, autoencoder.encode(net, part.to(net.device))).clamp(0, 1).cpu()
        for part in pictures.split(32)
    ]
    return torch.cat(parts)


def evaluate(run: Run, folder: Path, reader_minutes: float) -> None:
    """Paints the sheets and writes every figure of the model card."""
    net = reader.trained(run, reader_minutes)
    pipeline = load(folder, run.device)
    sheet(paint(pipeline, SHEET, seed=1), folder / SHEET_FILE)
    keep_curve(run, folder)
    run.say("evaluate: sheet painted")

    test, captions = questions()
    sets = dict(renders=real(test))
    sets["reconstructions"] = reconstruct(pipeline, sets["renders"])
    sets["samples"] = paint(pipeline, captions, seed=FIRST_SEED)
    accuracy = {name: reader.accuracy(net, s, test.attributes) for name, s in sets.items()}
    reference = reader.features(net, real(batch(REFERENCE, SIZE, OTHER_SEED)))
    distance = {
        name: round(reader.frechet(reader.features(net, s), reference), 2)
        for name, s in sets.items()
    }
    fidelity = autoencoder.fidelity(pipeline.vae, test.pictures)
    figures = dict(
        pictures=PICTURES,
        sampler=f"DDIM, {STEPS} steps, guidance {GUIDANCE}",
        caption_accuracy=accuracy,
        frechet_distance=dict(reference=REFERENCE) | distance,
        autoencoder={name: round(value, 4) for name, value in fidelity.items()},
        parameters={
            name: sum(p.numel() for p in getattr(pipeline, name).parameters())
            for name in ("unet", "vae", "text_encoder")
        },
        training=training_figures(run),
    )
    (folder / FIGURES).write_text(json.dumps(figures, indent=2) + "\n")
    run.say(f"evaluate: {json.dumps(figures)}")


def keep_curve(run: Run, folder: Path) -> None:
    """The loss curve beside the model, as a table and as a picture."""
    table = run.path("unet.csv")
    if table.exists():
        shutil.copyfile(table, folder / "curve.csv")
        curve.plot(table, folder / "curve.png")


def training_figures(run: Run) -> dict[str, float]:
    """The last row of the UNet's loss curve."""
    if not run.path("unet.csv").exists():
        return {}
    lines = run.path("unet.csv").read_text().strip().splitlines()
    return {k: float(v) for k, v in zip(lines[0].split(","), lines[-1].split(","))}
