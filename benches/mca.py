#!/usr/bin/env python3
"""Multiply-accumulates per cycle of the integer tiles for Arm, by llvm-mca's models of the cores.

    python3 benches/mca.py [BINARY]

Builds the engine's benchmark for aarch64 as a release with its symbols (or takes BINARY), finds the
innermost loop of each tile in the machine code, and lets llvm-mca run it on the core it was written
for. Prints a table; ends with 1 where a loop is below its floor or is not found. Needs llvm-22.

It is a model, not a measurement: operands are always in the first-level cache, and the in-order
cores are modelled as slower than they are.
"""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field

TARGET = "aarch64-unknown-linux-gnu"
OBJDUMP, MCA = "llvm-objdump-22", "llvm-mca-22"
ITERATIONS = 300


@dataclass
class Tile:
    """A tile: where its loop is, and per core what the core could do and what is asked."""

    name: str
    module: str
    cores: dict = field(default_factory=dict)  # core: (limit, floor), MAC per cycle


# Limits: two `sdot` or `smmla` a cycle of 16 or 32 products; one long multiply a cycle of eight,
# beside which an A53 starts no other vector instruction, and int8 needs three for sixteen.
TILES = [
    Tile("neon-dotprod", "neon_dot", {"neoverse-n1": (32, 29), "neoverse-n2": (32, 29)}),
    Tile("neon-i8mm", "neon_i8mm", {"neoverse-n2": (64, 58)}),
    Tile("neon, int8", "neon_mlal", {"cortex-a72": (8, 7.9), "cortex-a53": (16 / 3, None)}),
    Tile("neon, int4", "neon_int4", {"cortex-a72": (8, None), "cortex-a53": (8, None)}),
]
# int4 on an A53 must beat int8 by this factor.
INT4_FACTOR = 1.4


def fail(message):
    sys.exit(f"mca: {message}")


def run(command, **options):
    try:
        done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, **options)
        return done.stdout
    except FileNotFoundError:
        fail(f"{command[0]} is not there; install llvm-22 (Debian: apt-get install llvm-22)")
    except subprocess.CalledProcessError as error:
        fail(f"{' '.join(command[:3])} ... ended with {error.returncode}")


def build():
    """The path of the engine's benchmark, built as a release that keeps its symbols."""
    command = "cargo bench --locked -p pochade-engine --bench products --no-run".split()
    environment = os.environ | {"CARGO_PROFILE_BENCH_STRIP": "none"}
    messages = run([*command, "--target", TARGET, "--message-format=json"], env=environment)
    for line in messages.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "products":
            return message["executable"]
    fail("cargo named no benchmark binary")


def functions(binary):
    """Instructions of each function of the integer kernels, as (address, text)."""
    listing = run([OBJDUMP, "-d", "-C", "--no-show-raw-insn", "--mattr=+dotprod,+i8mm", binary])
    found, current = {}, None
    for line in listing.splitlines():
        if header := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            name = header[1]
            current = found.setdefault(name, []) if "kernels::int::" in name else None
        elif current is not None and (code := re.match(r"\s*([0-9a-f]+):\s+(.*)", line)):
            current.append((int(code[1], 16), code[2].replace("\t", " ").strip()))
    return found


def inner_loops(code):
    """The bodies of loops that hold no other loop."""
    at = {address: i for i, (address, _) in enumerate(code)}
    spans = []
    for i, (address, text) in enumerate(code):
        branch = re.match(r"(?:b\.\w+|cbn?z|tbn?z)\b.*?0x([0-9a-f]+) <", text)
        if branch and (target := at.get(int(branch[1], 16))) is not None and target <= i:
            spans.append((target, i))
    for first, last in spans:
        if not any(first <= a and b <= last for a, b in spans if (a, b) != (first, last)):
            yield [text for _, text in code[first : last + 1]]


def macs(body):
    """Products of activations and weights in a loop.

    Long multiplies count where they make 16-bit sums: those to 32 bits apply int4's multipliers.
    """
    each = {"sdot .4s": 16, "smmla .4s": 32, "smull .8h": 8, "smlal .8h": 8, "smlal2 .8h": 8}
    kinds = (re.sub(r"^(\w+) v\d+(\.\w+),.*", r"\1 \2", text) for text in body)
    return sum(each.get(kind, 0) for kind in kinds)


def hot_loop(code, tile):
    """The loop of a tile's module with the most products."""
    names = [name for name in code if f"int::{tile.module}::" in name]
    loops = [body for name in names for body in inner_loops(code[name])]
    best = max(loops, key=macs, default=[])
    if macs(best) == 0:
        fail(f"no loop that multiplies in {tile.module} ({len(names)} functions of that name)")
    return best


def cycles(body, core):
    """Cycles of one pass of a loop."""
    last = re.sub(r"0x[0-9a-f]+ <.*>", "top", body[-1])
    forward = [re.sub(r"0x[0-9a-f]+ <.*>", "end", text) for text in body[:-1]]
    source = "\n".join(["top:", *forward, last, "end:", ""])
    command = [MCA, "-mtriple=aarch64", f"-mcpu={core}", "-mattr=+dotprod,+i8mm"]
    report = run([*command, f"-iterations={ITERATIONS}"], input=source)
    return int(re.search(r"Total Cycles:\s+(\d+)", report)[1]) / ITERATIONS


def main():
    code = functions(sys.argv[1] if len(sys.argv) > 1 else build())
    rates, below = {}, []
    print("| kernels | core | MAC per pass | cycles | MAC/cycle | of the core's limit | floor |")
    print("|---|---|---|---|---|---|---|")
    for tile in TILES:
        body = hot_loop(code, tile)
        for core, (limit, floor) in tile.cores.items():
            time, products = cycles(body, core), macs(body)
            rate = rates[tile.name, core] = products / time
            if (tile.name, core) == ("neon, int4", "cortex-a53"):
                floor = INT4_FACTOR * rates["neon, int8", core]
            wanted = f"{floor:.2f}" if floor else ""
            share = f"{100 * rate / limit:.0f} % of {limit:.3g}"
            columns = [tile.name, core, products, f"{time:.1f}", f"{rate:.2f}", share, wanted]
            print("|", " | ".join(map(str, columns)), "|")
            if floor and rate < floor:
                below.append(f"{tile.name} on {core}: {rate:.2f}, the floor is {floor:.2f}")
    if below:
        fail("below the floor: " + "; ".join(below))


if __name__ == "__main__":
    main()
