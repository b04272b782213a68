"""Makes one file of one workload: `python -m harness.make FORM WORKLOAD --models DIR`.

Each form is made in a process of its own, so that a network's memory is given back before the next.
Forms that start from another file say so in `NEEDS`; `run.py` makes those first.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from .workloads import WORKLOADS, Files

NEEDS = {
    "diffusers": None,
    "reference": "diffusers",
    "f32.onnx": "diffusers",
    "dynamic.onnx": "f32.onnx",
    "qdq.onnx": "f32.onnx",
    "openvino-f32.xml": "f32.onnx",
    "openvino-int8.xml": "openvino-f32.xml",
    "q8_0.gguf": "diffusers",
}


def path_of(files: Files, form: str) -> Path:
    """Where a form lies once made."""
    shared = {"diffusers": files.diffusers / "config.json", "reference": files.reference}
    shared["q8_0.gguf"] = files.models / "stable-diffusion.cpp" / "q8_0.gguf"
    return shared.get(form) or files.model(form)


def maker(form: str) -> Callable[[Files, Path], None]:
    """The function that writes a form; its heavy imports happen here."""
    if form in ("diffusers", "reference", "f32.onnx"):
        from . import export

        return {
            "diffusers": export.diffusers,
            "reference": export.reference,
            "f32.onnx": export.onnx,
        }[form]
    if form == "q8_0.gguf":
        from . import stable_diffusion_cpp

        return stable_diffusion_cpp.make
    from . import quantize

    return {
        "dynamic.onnx": quantize.dynamic_onnx,
        "qdq.onnx": quantize.static_onnx,
        "openvino-f32.xml": quantize.openvino_f32,
        "openvino-int8.xml": quantize.openvino_int8,
    }[form]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("form", choices=NEEDS)
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--models", type=Path, required=True)
    args = parser.parse_args()
    files = Files(args.models.resolve(), WORKLOADS[args.workload])
    files.folder.mkdir(parents=True, exist_ok=True)
    maker(args.form)(files, path_of(files, args.form))


if __name__ == "__main__":
    main()
