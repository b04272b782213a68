"""Stable Diffusion 1.5 with seeded random weights: Pochade beside PyTorch, in one run.

    python benches/stable_diffusion.py make FOLDER          writes the model (4 GB, f32) through diffusers
    python benches/stable_diffusion.py compare FOLDER       paints 512x512 with both; --threads, --steps, --size

The architecture is the true one, the weights are noise: speed and memory are right, the picture says nothing. Seconds are
per UNet step of a guided picture (a batch of two), without loading; memory is the peak resident set of the whole process.
Needs torch, diffusers and transformers; `cargo build --release` first.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROMPT = "a red sun over blue mountains at dusk"


def make(folder: Path) -> None:
    """Writes the model. The tokenizer is the default model's, whose few tokens all fit CLIP's vocabulary."""
    import torch
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(ROOT / "models/default/tokenizer", model_max_length=77)
    levels = (320, 640, 1280, 1280)
    unet = UNet2DConditionModel(
        sample_size=64, block_out_channels=levels, cross_attention_dim=768, attention_head_dim=8
    )
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=768,
            intermediate_size=3072,
            num_hidden_layers=12,
            num_attention_heads=12,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    scheduler = PNDMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, skip_prk_steps=True, steps_offset=1
    )
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def run_torch(folder: Path, args: argparse.Namespace) -> None:
    """Paints with diffusers in this process and prints what it took."""
    import torch
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    torch.set_num_threads(args.threads)
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, torch_dtype=torch.float32)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    seconds = []
    forward = pipeline.unet.forward

    def timed(*arguments, **keywords):
        start = time.perf_counter()
        answer = forward(*arguments, **keywords)
        seconds.append(time.perf_counter() - start)
        return answer

    pipeline.unet.forward = timed
    generator = torch.Generator().manual_seed(1)
    pipeline(PROMPT, num_inference_steps=args.steps, height=args.size, width=args.size, generator=generator)
    report("PyTorch f32", min(seconds), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def run_pochade(folder: Path, args: argparse.Namespace, out: Path) -> None:
    """Paints with Pochade in a child process and prints what it took."""
    command = [ROOT / "target/release/pochade", "paint", PROMPT, "--model", folder, "--json", "-o", out]
    command += ["--steps", args.steps, "--size", f"{args.size}x{args.size}", "--seed", 1]
    command += ["--threads", args.threads, "--sampler", "ddim"]
    done = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE)
    record = json.loads(done.stdout)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    report("Pochade f32", record["step_seconds"], peak)


def report(name: str, seconds: float, kibibytes: int) -> None:
    print(f"{name:<12} {seconds:8.2f} s/step {kibibytes / 1024:8.0f} MiB", flush=True)


def compare(folder: Path, args: argparse.Namespace) -> None:
    """Runs both, each in a process of its own."""
    out = folder / "picture.png"
    out.unlink(missing_ok=True)
    run_pochade(folder, args, out)
    words = ["torch", folder, "--threads", args.threads, "--steps", args.steps, "--size", args.size]
    environment = dict(os.environ, OMP_NUM_THREADS=str(args.threads))
    subprocess.run([sys.executable, __file__, *map(str, words)], check=True, env=environment)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["make", "compare", "torch"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--size", type=int, default=512)
    args = parser.parse_args()
    if args.what == "make":
        make(args.folder)
    elif args.what == "torch":
        run_torch(args.folder, args)
    else:
        compare(args.folder, args)


if __name__ == "__main__":
    main()
