"""Trains the default model, stage by stage: `python -m pochade_training --help`.

Each stage leaves its output in the run folder and is skipped when that output is there, so the same
command resumes after any interruption.
"""

import argparse
from pathlib import Path

import torch

from . import (
    autoencoder,
    distil,
    evaluate,
    export,
    latents,
    text,
    tokenizer,
    unet,
    upscaler,
    world,
)
from .runs import Deadline, Run
from .training import Plan
from .workers import is_first

STAGES = (
    "world",
    "tokenizer",
    "autoencoder",
    "latents",
    "text",
    "unet",
    "pairs",
    "upscaler",
    "lessons",
    "distil",
    "export",
    "evaluate",
)
HERE = Path(__file__).resolve().parent.parent


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("pochade_training", description=__doc__)
    add = parser.add_argument
    add("--runs", type=Path, default=HERE / "runs", help="folder of this run's files")
    add("--out", type=Path, default=HERE.parent / "default", help="where the model folder goes")
    add("--resume", type=Path, help="a model folder to continue from (for a new run folder)")
    add("--stage", choices=STAGES, help="only this stage, even when its output exists")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--threads", type=int, default=2)
    add("--shards", type=int, default=10, help="of 3000 pictures each")
    add("--seed", type=int, default=1, help="of the pictures; take a new one for each run")
    add("--autoencoder-minutes", type=float, default=15, help="CPU minutes (wall minutes on a GPU)")
    add("--text-minutes", type=float, default=2)
    add(
        "--until", default="60", help="end of the UNet's training: HH:MM, or minutes from its start"
    )
    add("--tail", type=float, default=0.25, help="part of the UNet's time in which its rate decays")
    add("--batch", type=int, default=64, help="of the UNet, over all workers")
    add("--workers", type=int, default=1, help="processes that train together")
    add("--pairs", type=int, default=8, help="shards of 750 pictures for the upscaler")
    add("--upscaler-until", default="15", help="as --until, for the upscaler")
    add("--lessons", type=int, default=20, help="shards of 1024 lessons for the student")
    add("--distil-until", default="20", help="as --until, for the student")
    add("--student", action="store_true", help="export the student, not what it learned from")
    add("--reader-minutes", type=float, default=5)
    add("--early", type=Path, help="a folder to export to every 15 minutes while training")
    return parser.parse_args()


def stages(run: Run, a: argparse.Namespace) -> dict:
    """What each stage does, and the file whose existence means that it is done."""
    early = (lambda m: export.write(run, m.net, m.words, a.early)) if a.early else None

    def plan(until: str, rate: float = 1.0, each=None) -> Plan:
        return Plan(Deadline.parse(until), a.tail, a.batch, a.workers, rate, each)

    shards = run.path(world.shard_name(a.shards - 1))
    return {
        "world": (shards, lambda: world.render(run, a.shards, a.seed)),
        "tokenizer": (run.path(tokenizer.FOLDER), lambda: tokenizer.train(run)),
        "autoencoder": (
            run.path(autoencoder.FILE),
            lambda: autoencoder.train(run, a.autoencoder_minutes, a.workers),
        ),
        "latents": (
            run.path(latents.name(a.shards - 1)),
            lambda: latents.encode(run, a.shards, a.workers),
        ),
        "text": (run.path(text.FILE), lambda: text.train(run, a.text_minutes)),
        "unet": (
            run.path(unet.FILE),
            lambda: unet.train(run, plan(a.until, each=early)),
        ),
        "pairs": (
            run.path(upscaler.name(a.pairs - 1)),
            lambda: upscaler.encode(run, a.pairs, a.seed, a.workers),
        ),
        "upscaler": (
            run.path(upscaler.FILE),
            lambda: upscaler.learn(run, plan(a.upscaler_until)),
        ),
        "lessons": (
            run.path(distil.name(a.lessons - 1)),
            lambda: distil.teach(run, a.lessons, a.workers),
        ),
        "distil": (
            run.path(distil.FILE),
            lambda: distil.learn(run, plan(a.distil_until, rate=distil.RATE)),
        ),
        "export": (a.out / "model_index.json", lambda: export.export(run, a.out, a.student)),
        "evaluate": (
            a.out / evaluate.FIGURES,
            lambda: evaluate.evaluate(run, a.out, a.reader_minutes),
        ),
    }


def main() -> None:
    a = arguments()
    run = Run(a.runs, a.device, a.threads)
    if a.resume and not run.path(unet.START).exists():
        export.adopt(run, a.resume)
    for name, (output, work) in stages(run, a).items():
        if a.stage == name or (a.stage is None and not output.exists()):
            work()
            if not is_first():
                return  # a helper of that stage only


if __name__ == "__main__":
    main()
