"""The five pieces of work every engine does, and where their files lie.

Sizes in GMAC are torch's own count (`FlopCounterMode` on meta tensors), attention included.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workload:
    """One forward of one network, batch 1.

    `gmac` is torch's count; `calibration` is how many inputs a static quantisation sees.
    `inputs` are shapes in the order of the network's arguments: latent `[1, 4, H, W]`, and for a
    UNet also timestep `[1]` and context `[1, tokens, width]`. Every input is float32.
    """

    name: str
    arch: str
    part: str
    gmac: float
    inputs: tuple[tuple[int, ...], ...]
    calibration: int

    @property
    def side(self) -> int:
        """Height and width of the latent."""
        return self.inputs[0][2]

    @property
    def is_large(self) -> bool:
        """Whether calibration is kept short because every forward takes long."""
        return self.calibration <= 2


def _unet(name: str, arch: str, gmac: float, side: int, width: int, calibration: int) -> Workload:
    shapes = ((1, 4, side, side), (1,), (1, 77, width))
    return Workload(name, arch, "unet", gmac, shapes, calibration)


def _decoder(name: str, arch: str, gmac: float, calibration: int) -> Workload:
    return Workload(name, arch, "decoder", gmac, ((1, 4, 64, 64),), calibration)


WORKLOADS = {
    work.name: work
    for work in (
        _unet("sd15-unet-64", "sd15", 401.6, 64, 768, calibration=1),
        _unet("sd15-unet-32", "sd15", 90.05, 32, 768, calibration=2),
        _unet("small-unet-32", "small", 3.14, 32, 256, calibration=32),
        _decoder("taesd-64", "taesd", 70.7, calibration=8),
        _decoder("kl-f8-64", "kl-f8", 1257.0, calibration=1),
    )
}


@dataclass(frozen=True)
class Files:
    """The files of one workload, all below the folder of models."""

    models: Path
    work: Workload

    @property
    def folder(self) -> Path:
        return self.models / self.work.name

    def inputs(self) -> list[Path]:
        """Raw little-endian float32, one file per input, named in the order of the arguments."""
        return [self.folder / f"input-{i}.f32" for i in range(len(self.work.inputs))]

    @property
    def reference(self) -> Path:
        """What torch f32 answers to the inputs, raw little-endian float32."""
        return self.folder / "reference.f32"

    @property
    def diffusers(self) -> Path:
        """The network as a diffusers folder, f32 safetensors; shared by both sizes of SD 1.5."""
        return self.models / "diffusers" / self.work.arch

    def model(self, form: str) -> Path:
        """The model as an engine reads it: `f32.onnx`, `qdq.onnx`, `int8.xml` and so on."""
        return self.folder / form

    def size(self, path: Path) -> int:
        """Bytes of a model with what belongs to it: files of one stem, or a diffusers folder."""
        folder = path.parent
        beside = folder.iterdir() if folder == self.diffusers else folder.glob(f"{path.stem}.*")
        return sum(file.stat().st_size for file in beside if file.is_file())
