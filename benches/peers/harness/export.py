"""The models of one workload from diffusers: the folder, torch's answer, and the ONNX file."""

import tempfile
from pathlib import Path

import onnx as onnx_format
import torch

from . import networks
from .workloads import Files

OPSET = 17
NAMES = ("latent", "timestep", "context")
PROTOBUF_LIMIT = 2_000_000_000


def diffusers(files: Files, path: Path) -> None:
    """The network with its random weights, as every other form starts from it."""
    networks.build(files.work.arch).save_pretrained(path.parent)


def reference(files: Files, path: Path) -> None:
    """The judged input, and what torch f32 answers to it."""
    inputs = networks.test_input(files.work)
    for tensor, file in zip(inputs, files.inputs(), strict=True):
        tensor.numpy().astype("<f4").tofile(file)
    with torch.inference_mode():
        answer = networks.load(files)(*inputs)
    answer.numpy().astype("<f4").tofile(path)


def onnx(files: Files, path: Path) -> None:
    """One .onnx with fixed shapes, its weights in `f32.onnx.data` beside it when over 2 GB."""
    inputs = networks.test_input(files.work)
    with tempfile.TemporaryDirectory(dir=files.folder) as scratch:
        raw = Path(scratch) / "raw.onnx"
        with torch.inference_mode():
            torch.onnx.export(
                networks.load(files),
                tuple(inputs),
                str(raw),
                dynamo=False,
                opset_version=OPSET,
                input_names=list(NAMES[: len(inputs)]),
                output_names=["answer"],
            )
        large = sum(file.stat().st_size for file in raw.parent.iterdir()) >= PROTOBUF_LIMIT
        data = f"{path.name}.data"
        model = onnx_format.load(raw)
        onnx_format.save(model, path, save_as_external_data=large, location=data)
