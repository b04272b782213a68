"""stable-diffusion.cpp, which runs whole pipelines and not single networks.

A pipeline of the same random networks is made once; the seconds of a UNet step and of a decode are
read off its own callbacks. With guidance 1 a step is one forward at batch 1; what is decoded is
noise, without a step before it. Its answer to a given input cannot be had, so there is no accuracy.
"""

import argparse
import ctypes
import json
import os
import sys
from pathlib import Path

from .timing import Stopwatch, Timing, figures
from .workloads import WORKLOADS, Files, Workload

F16, Q8_0 = 1, 8  # ggml's numbers of the types
WARNING = 2  # and errors are 3, as it numbers its messages
MOST_STEPS = 50
NOISE = "14.6"  # a schedule of one level of noise has no step: what is decoded is the noise
PROMPT = "a red sun over blue mountains at dusk"
PIPELINE = "memory and file are of the whole pipeline"
NOTES = {
    "unet": f"a step at guidance 1, from one progress callback to the next; {PIPELINE}",
    "decoder": f"one decode between two lines of its log, without a warm-up; {PIPELINE}",
}
PARTS = {
    "unet/diffusion_pytorch_model.safetensors": "sd15",
    "vae/diffusion_pytorch_model.safetensors": "kl-f8",
}


def network(models: Path, arch: str) -> Path:
    """The weights of an architecture, made if no workload has made them yet."""
    folder = models / "diffusers" / arch
    if not (folder / "config.json").exists():
        from . import networks

        networks.build(arch).save_pretrained(folder)
    return folder / "diffusion_pytorch_model.safetensors"


def text_encoder(folder: Path) -> None:
    """CLIP ViT-L/14's text encoder with random weights.

    Its tensors are named `text_model.` as in published models, by which stable-diffusion.cpp tells
    Stable Diffusion 1 from others; transformers 5 saves them without.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
    )
    tensors = CLIPTextModel(config).state_dict()
    whole = {f"text_model.{name.removeprefix('text_model.')}": t for name, t in tensors.items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(whole, folder / "model.safetensors")


def make(files: Files, path: Path) -> None:
    """The pipeline as q8_0 GGUF: it quantises linear layers and leaves the rest as it finds it.

    It is therefore written as f16 first, as models for it are published.
    """
    pipeline = path.parent / "pipeline"
    for place, arch in PARTS.items():
        (pipeline / place).parent.mkdir(parents=True, exist_ok=True)
        if not (pipeline / place).exists():
            (pipeline / place).symlink_to(network(files.models, arch))
    text_encoder(pipeline / "text_encoder")
    half = path.with_name("f16.gguf")
    convert(pipeline, half, F16)
    convert(half, path, Q8_0)
    half.unlink()


def convert(source: Path, path: Path, kind: int) -> None:
    """stable-diffusion.cpp's own converter."""
    from stable_diffusion_cpp import stable_diffusion_cpp

    if not stable_diffusion_cpp.convert(
        str(source).encode(), b"", str(path).encode(), kind, b"", True
    ):
        sys.exit(f"stable-diffusion.cpp could not convert {source}")


class Watcher:
    """Listens to the pipeline, and ends this process once the work that is asked for is timed."""

    def __init__(self, work: Workload, seconds: float) -> None:
        self.part, self.seconds = work.part, seconds
        self.timing, self.total = Timing(), None
        self.watch, self.trouble = Stopwatch(), ""

    def step(self, step: int, _steps: int, _seconds: float) -> None:
        """A UNet step ended; step 0 says that the first begins. The first step is the warm-up."""
        if self.part != "unet":
            return
        if step > 1:
            self.timing.add(*self.watch.read())
        if step == 1:
            self.total = Stopwatch()
        if step > 1 and self.total.read()[0] >= self.seconds:
            self.finish()
        self.watch = Stopwatch()

    def log(self, level: int, text: bytes, _data: ctypes.c_void_p) -> None:
        """Decoding is told in the log. It happens once, so there is no warm-up."""
        if level >= WARNING:
            self.trouble = text.decode(errors="replace").strip()
        if self.part != "decoder":
            return
        if b"- decoding " in text:
            self.watch = Stopwatch()
        if b" decoded, taking" in text:
            self.timing.add(*self.watch.read())
            self.finish()

    def finish(self) -> None:
        row = {"relative_rmse": None, "note": NOTES[self.part], **figures(self.timing)}
        print(json.dumps(row), flush=True)
        os._exit(0)

    def give_up(self, error: Exception) -> None:
        """Ends without freeing a pipeline that was refused, at which 0.4.7 crashes."""
        print(f"{error}: {self.trouble}", file=sys.stderr, flush=True)
        os._exit(1)


def paint(files: Files, threads: int, watcher: Watcher) -> None:
    """Paints until the watcher has seen enough."""
    import stable_diffusion_cpp

    log = stable_diffusion_cpp.sd_log_callback(watcher.log)
    stable_diffusion_cpp.sd_set_log_callback(log, ctypes.c_void_p(0))
    tiny = network(files.models, "taesd")
    model = stable_diffusion_cpp.StableDiffusion(
        model_path=str(files.models / "stable-diffusion.cpp" / "q8_0.gguf"),
        taesd_path="" if files.work.arch == "kl-f8" else str(tiny),
        n_threads=threads,
        verbose=True,
    )
    side = files.work.side * 8
    model.generate_image(
        PROMPT,
        width=side,
        height=side,
        cfg_scale=1.0,
        sample_method="euler",
        sample_steps=MOST_STEPS,
        sigmas="" if files.work.part == "unet" else NOISE,
        seed=1,
        progress_callback=watcher.step,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    args = parser.parse_args()
    files = Files(args.models, WORKLOADS[args.workload])
    watcher = Watcher(files.work, args.seconds)
    try:
        paint(files, args.threads, watcher)
    except ValueError as error:
        watcher.give_up(error)
    sys.exit("stable-diffusion.cpp ended before the work was timed")


if __name__ == "__main__":
    main()
