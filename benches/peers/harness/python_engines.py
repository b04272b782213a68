"""Engines with a Python interface, one per process: `python -m harness.python_engines ENGINE ...`.

Prints one JSON object: seconds of loading and of every run, and the relative RMSE.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from . import timing
from .workloads import WORKLOADS, Files

Load = Callable[[Path, list[np.ndarray], int], Callable[[], np.ndarray]]


def torch(path: Path, inputs: list[np.ndarray], threads: int) -> Callable[[], np.ndarray]:
    import torch

    from . import networks

    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    work = WORKLOADS[path.parent.name]
    net = networks.load(Files(path.parent.parent, work))
    tensors = [torch.from_numpy(array) for array in inputs]

    def call() -> np.ndarray:
        with torch.inference_mode():
            return net(*tensors).numpy()

    return call


def onnxruntime(path: Path, inputs: list[np.ndarray], threads: int) -> Callable[[], np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {port.name: array for port, array in zip(session.get_inputs(), inputs, strict=True)}
    return lambda: session.run(None, feed)[0]


def openvino(path: Path, inputs: list[np.ndarray], threads: int) -> Callable[[], np.ndarray]:
    """What is left in float stays f32: bf16, its default on some processors, is another model."""
    import openvino

    core = openvino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = core.compile_model(path, "CPU", settings).create_infer_request()
    return lambda: request.infer(inputs, share_inputs=True)[0]


LOADERS: dict[str, Load] = {"torch": torch, "onnxruntime": onnxruntime, "openvino": openvino}


def read(file: Path, shape: tuple[int, ...] = (-1,)) -> np.ndarray:
    return np.fromfile(file, "<f4").reshape(shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=LOADERS)
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("form")
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    args = parser.parse_args()
    files = Files(args.models, WORKLOADS[args.workload])
    inputs = [read(*pair) for pair in zip(files.inputs(), files.work.inputs, strict=True)]
    watch = timing.Stopwatch()
    call = LOADERS[args.engine](files.model(args.form), inputs, args.threads)
    load = watch.read()
    times, answer = timing.measure(call, args.seconds)
    record = {"load_wall": load[0], "load_cpu": load[1], **timing.figures(times)}
    record["relative_rmse"] = timing.relative_rmse(answer, read(files.reference))
    print(json.dumps(record))


if __name__ == "__main__":
    main()
