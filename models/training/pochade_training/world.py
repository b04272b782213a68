"""Stage `world`: renders pictures and captions into shards of the run folder."""

from pochade_world import Writer, batch

from .runs import Run

SIZE = 128
SHARD = 3000
CAPTIONS = 5  # different captions for each picture


def shard_name(index: int) -> str:
    return f"world-{index:02}.pt"


def render(run: Run, shards: int, seed: int = 1) -> None:
    """Each shard: pictures `[3000, 3, 128, 128]` of bytes, attributes `[3000, 7]`, captions."""
    for index in range(shards):
        if run.path(shard_name(index)).exists():
            continue
        made = batch(SHARD, SIZE, seed=1000 * seed + index, device=run.device)
        writer = Writer(1000 * seed + index)
        captions = [[writer.write(shown) for _ in range(CAPTIONS)] for shown in made.shows]
        run.save(
            shard_name(index),
            dict(pictures=made.pictures.cpu(), attributes=made.attributes, captions=captions),
        )
        run.say(f"world: shard {index + 1} of {shards}")
