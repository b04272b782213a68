"""Several processes training one model, each on its own core (or accelerator) with its own part of
the batch.

On a machine shared with other work this wastes less than threads: processes meet once or twice a
step instead of at every operation.
"""

import os
import socket
import subprocess
import sys
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

PATIENCE = timedelta(hours=12)  # a paused process is waited for
RANK, COUNT, PORT = "POCHADE_WORKER", "POCHADE_WORKERS", "POCHADE_PORT"


def is_first() -> bool:
    return int(os.environ.get(RANK, 0)) == 0


class Workers:
    """This process among `count`, the first of which keeps the log, the average and the
    checkpoints.
    """

    def __init__(self, rank: int = 0, count: int = 1):
        self.rank, self.count = rank, count

    @classmethod
    def join(cls, count: int) -> "Workers":
        """The first process starts the others as copies of itself; all return together."""
        if count == 1:
            return cls()
        rank = int(os.environ.get(RANK, 0))
        if rank == 0 and PORT not in os.environ:
            _start_others(count)
        address = f"tcp://127.0.0.1:{os.environ[PORT]}"
        dist.init_process_group("gloo", address, rank=rank, world_size=count, timeout=PATIENCE)
        return cls(rank, count)

    def leave(self) -> None:
        """Waits until every process is here; the next stage starts its own helpers."""
        if self.count > 1:
            dist.barrier()
            dist.destroy_process_group()
            os.environ.pop(PORT)

    @property
    def first(self) -> bool:
        return self.rank == 0

    def sum(self, tensors: list[Tensor]) -> None:
        """Replaces each tensor by its sum over the processes, in one exchange."""
        if self.count == 1:
            return
        flat = torch.cat([t.flatten() for t in tensors])
        dist.all_reduce(flat)
        for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors])):
            tensor.copy_(part.view_as(tensor))

    def agree(self, tensors: list[Tensor]) -> None:
        """Makes every process hold the first one's values."""
        if not self.first:
            for tensor in tensors:
                tensor.zero_()
        self.sum(tensors)


def _start_others(count: int) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        os.environ[PORT] = str(probe.getsockname()[1])
    for rank in range(1, count):
        env = os.environ | {RANK: str(rank)}
        subprocess.Popen([sys.executable, "-m", __package__, *sys.argv[1:]], env=env)
