"""The networks with seeded random weights: diffusers' own initialisation after one seed."""

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, ModelMixin, UNet2DConditionModel
from torch import Tensor, nn

from .workloads import Files, Workload

WEIGHTS_SEED, INPUT_SEED, CALIBRATION_SEED = 0, 1, 1000
TIMESTEP = 500.0


def build(arch: str) -> ModelMixin:
    """The diffusers network of an architecture."""
    torch.manual_seed(WEIGHTS_SEED)
    return {"sd15": _sd15, "small": _small, "taesd": AutoencoderTiny, "kl-f8": _kl_f8}[arch]()


def _sd15() -> UNet2DConditionModel:
    """Stable Diffusion 1.5: 859.5 M parameters. "Head dim" 8 counts heads in this family."""
    return UNet2DConditionModel(
        sample_size=64,
        block_out_channels=(320, 640, 1280, 1280),
        cross_attention_dim=768,
        attention_head_dim=8,
    )


def _small() -> UNet2DConditionModel:
    """25.6 M parameters, 3.14 GMAC at 32x32; attention at the two lower levels, 8 heads."""
    return UNet2DConditionModel(
        sample_size=32,
        block_out_channels=(64, 160, 320),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=256,
        attention_head_dim=8,
    )


def _kl_f8() -> AutoencoderKL:
    """Stable Diffusion's autoencoder; the decoder has 49.5 M parameters."""
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
    )


class Forward(nn.Module):
    """A network as a function of plain float tensors to one float tensor."""

    def __init__(self, net: ModelMixin, part: str) -> None:
        super().__init__()
        self.net = net.eval()
        self.part = part

    def forward(self, *inputs: Tensor) -> Tensor:
        if self.part == "unet":
            latent, timestep, context = inputs
            return self.net(latent, timestep, context, return_dict=False)[0]
        return self.net.decode(inputs[0], return_dict=False)[0]


def load(files: Files) -> Forward:
    """The network of a workload, read back from its diffusers folder."""
    kind = {"sd15": UNet2DConditionModel, "small": UNet2DConditionModel}.get(files.work.arch)
    kind = kind or (AutoencoderTiny if files.work.arch == "taesd" else AutoencoderKL)
    return Forward(kind.from_pretrained(files.diffusers), files.work.part)


def draw(work: Workload, seed: int, timestep: float) -> list[Tensor]:
    """Standard normal latent and context; the timestep is given."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.full(shape, timestep) if len(shape) == 1 else torch.randn(shape, generator=generator)
        for shape in work.inputs
    ]


def test_input(work: Workload) -> list[Tensor]:
    """The input every engine is timed and judged on."""
    return draw(work, INPUT_SEED, TIMESTEP)


def calibration(work: Workload) -> list[list[Tensor]]:
    """Inputs for static quantisation, none of them the one that is judged."""
    count = work.calibration
    return [draw(work, CALIBRATION_SEED + i, 1000.0 * (i + 0.5) / count) for i in range(count)]
