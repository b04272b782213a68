"""Quantised and converted forms of a workload's f32 ONNX file, by the rivals' own tools."""

import shutil
import tempfile
from pathlib import Path

import nncf
import numpy as np
import openvino
from onnxruntime import quantization as ort

from . import networks
from .export import NAMES, PROTOBUF_LIMIT
from .workloads import Files, Workload

PRODUCTS = ["Conv", "MatMul", "Gemm"]


def feeds(work: Workload) -> list[dict[str, np.ndarray]]:
    """The calibration inputs by name."""
    return [
        {name: tensor.numpy() for name, tensor in zip(NAMES, tensors, strict=False)}
        for tensors in networks.calibration(work)
    ]


class Calibration(ort.CalibrationDataReader):
    """onnxruntime's way to be given calibration inputs."""

    def __init__(self, work: Workload) -> None:
        self.rest = iter(feeds(work))

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.rest, None)


def is_large(path: Path) -> bool:
    """Whether a model with its external data is beyond what one protobuf holds."""
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*")) >= PROTOBUF_LIMIT


def dynamic_onnx(files: Files, path: Path) -> None:
    """int8 weights, activations quantised as they come; linear layers only.

    onnxruntime has no fast int8 convolution with dynamic ranges, so convolutions stay f32.
    """
    source = files.model("f32.onnx")
    ort.quantize_dynamic(
        source,
        path,
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        weight_type=ort.QuantType.QInt8,
        use_external_data_format=is_large(source),
    )


def static_onnx(files: Files, path: Path) -> None:
    """QDQ: int8 weights per channel, uint8 activations with ranges from the calibration inputs."""
    source = files.model("f32.onnx")
    large = is_large(source)
    with tempfile.TemporaryDirectory(dir=files.folder) as scratch:
        prepared = Path(scratch) / "prepared.onnx"
        ort.shape_inference.quant_pre_process(
            source,
            prepared,
            skip_symbolic_shape=True,
            skip_optimization=large,
            save_as_external_data=large,
        )
        ort.quantize_static(
            prepared,
            path,
            Calibration(files.work),
            quant_format=ort.QuantFormat.QDQ,
            op_types_to_quantize=PRODUCTS,
            per_channel=True,
            activation_type=ort.QuantType.QUInt8,
            weight_type=ort.QuantType.QInt8,
            use_external_data_format=large,
        )


def openvino_f32(files: Files, path: Path) -> None:
    """OpenVINO's own format, so that its peak memory does not count the reading of ONNX."""
    model = openvino.convert_model(files.model("f32.onnx"))
    openvino.save_model(model, path, compress_to_fp16=False)


def openvino_int8(files: Files, path: Path) -> None:
    """nncf's post-training quantisation of weights and activations.

    UNets are declared transformers, which brings nncf's SmoothQuant: 5.1 % of error and not 8.9 %
    on the small one. Bias correction takes very long on large networks and is left out there.
    """
    model = openvino.Core().read_model(files.model("openvino-f32.xml"))
    inputs = feeds(files.work)
    kind = nncf.ModelType.TRANSFORMER if files.work.part == "unet" else None
    advanced = nncf.AdvancedQuantizationParameters(disable_bias_correction=files.work.is_large)
    quantized = nncf.quantize(
        model,
        nncf.Dataset(inputs),
        subset_size=len(inputs),
        model_type=kind,
        advanced_parameters=advanced,
    )
    with tempfile.TemporaryDirectory(dir=files.folder) as scratch:
        made = Path(scratch) / path.name
        openvino.save_model(quantized, made, compress_to_fp16=False)
        for file in (made.with_suffix(".bin"), made):
            shutil.move(file, path.parent / file.name)
