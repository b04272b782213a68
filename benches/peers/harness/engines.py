"""Who is compared, with which file, and by which command."""

from dataclasses import dataclass, field
from pathlib import Path

from . import install
from .workloads import Files

DECODERS = frozenset({"taesd-64", "kl-f8-64"})
LINEAR_ONLY = "only linear layers would be quantised, and a decoder has next to none"
KNOWN_NETWORKS = "it runs the networks it knows, and this is none of them"

# oneDNN, which does OpenVINO's products, may go no further than AVX-512 VNNI.
WITHOUT_AMX = (("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_VNNI"),)


@dataclass(frozen=True)
class Engine:
    """One engine with one kind of weights.

    `runner` is `python`, `rust` or `sdcpp`; `form` is the file it reads (see `make.NEEDS`);
    `without` names the workloads it is not run on, and why; `variables` are put in its environment.
    """

    name: str
    weights: str
    runner: str
    form: str
    without: frozenset[str] = field(default=frozenset())
    reason: str = ""
    variables: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        return f"{self.name} {self.weights}"


def _linear(name: str, runner: str) -> Engine:
    return Engine(name, "int8 dynamic", runner, "dynamic.onnx", DECODERS, LINEAR_ONLY)


ENGINES = [
    Engine("torch", "f32", "python", "diffusers"),
    Engine("onnxruntime", "f32", "python", "f32.onnx"),
    _linear("onnxruntime", "python"),
    Engine("onnxruntime", "int8 QDQ", "python", "qdq.onnx"),
    Engine("openvino", "f32", "python", "openvino-f32.xml"),
    Engine("openvino", "int8", "python", "openvino-int8.xml"),
    Engine("openvino", "int8 without AMX", "python", "openvino-int8.xml", variables=WITHOUT_AMX),
    Engine("tract", "f32", "rust", "f32.onnx"),
    Engine("tract", "int8 QDQ", "rust", "qdq.onnx"),
    Engine("rten", "f32", "rust", "f32.onnx"),
    _linear("rten", "rust"),
    Engine(
        "stable-diffusion.cpp",
        "q8_0",
        "sdcpp",
        "q8_0.gguf",
        frozenset({"small-unet-32"}),
        KNOWN_NETWORKS,
    ),
]


@dataclass(frozen=True)
class Settings:
    """What is the same for every engine of a run."""

    environment: Path
    threads: int
    seconds: float

    def flags(self) -> list[str]:
        return ["--threads", str(self.threads), "--seconds", str(self.seconds)]


def command(engine: Engine, files: Files, settings: Settings) -> list[str]:
    """The child that loads the model, times it and prints a JSON object."""
    work, flags = files.work.name, settings.flags()
    if engine.runner == "rust":
        model, folder = files.model(engine.form), files.folder
        return [
            str(install.rust_binary()),
            engine.name,
            str(model),
            "--folder",
            str(folder),
            *flags,
        ]
    python = [str(install.python(settings.environment)), "-W", "ignore", "-m"]
    models = ["--models", str(files.models)]
    if engine.runner == "sdcpp":
        return [*python, "harness.stable_diffusion_cpp", work, *models, *flags]
    return [*python, "harness.python_engines", engine.name, work, engine.form, *models, *flags]
