"""Keeps the figures: `results.json` after every row, and `table.md` from it."""

import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from .workloads import WORKLOADS, Workload

MIB, MB = 1024 * 1024, 1_000_000
BUSY = 1.15  # wall over processor seconds per thread: beyond it the machine had other work
PRODUCTS = {"avx2", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"}
PRODUCTS |= {"asimd", "asimddp", "i8mm", "sve"}
PACKAGES = ("torch", "onnxruntime", "openvino", "nncf", "stable-diffusion-cpp-python")
ASK_VERSIONS = """
import importlib.metadata as m, json, sys
found = {}
for name in sys.argv[1:]:
    try: found[name] = m.version(name)
    except m.PackageNotFoundError: pass
print(json.dumps(found))
"""


def of_processor(field: str) -> str:
    """What Linux tells of the first processor, or nothing."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(field)), "")


def machine() -> dict:
    """The processor, its cores and those of its instructions that decide the speed of products."""
    name = of_processor("model name") or platform.processor() or platform.machine()
    flags = set((of_processor("flags") or of_processor("Features")).split())
    return {"processor": name, "cores": os.cpu_count(), "instructions": sorted(flags & PRODUCTS)}


def versions(python: Path) -> dict[str, str]:
    """Of the Python packages from the environment, of the crates from the lock file."""
    ask = [python, "-c", ASK_VERSIONS, *PACKAGES]
    found = json.loads(subprocess.run(ask, check=True, capture_output=True, text=True).stdout)
    lock = Path(__file__).resolve().parent.parent / "rust/Cargo.lock"
    lines = lock.read_text().splitlines()
    for crate in ("tract-onnx", "rten"):
        at = lines.index(f'name = "{crate}"')
        found[crate] = lines[at + 1].split('"')[1]
    return found


@dataclass
class Record:
    """All rows so far. A row of an earlier run stays until the same engine does that work again."""

    folder: Path
    run: str
    threads: int
    content: dict

    @classmethod
    def open(cls, folder: Path, python: Path, run: str, threads: int) -> "Record":
        """Reads what an earlier run left, and notes this machine and these versions."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "results.json"
        content = json.loads(path.read_text()) if path.exists() else {"rows": []}
        content["machine"] = machine()
        content["versions"] = versions(python)
        return cls(folder, run, threads, content)

    def add(self, work: Workload, engine: str, weights: str, figures: dict) -> None:
        """Puts a row in its place, or joins it to its earlier pass, and writes both files."""
        name = {"workload": work.name, "engine": engine, "weights": weights}
        name["threads"] = self.threads
        row = {**name, "run": self.run, "gmac": work.gmac, **figures}
        same = [r for r in self.content["rows"] if all(r[k] == v for k, v in name.items())]
        others = [r for r in self.content["rows"] if r not in same]
        for earlier in same:
            row = joined(earlier, row)
        self.content["rows"] = [*others, row]
        replace(self.folder / "results.json", json.dumps(self.content, indent=1) + "\n")
        replace(self.folder / "table.md", table(self.content))
        print(f"  {engine} {weights}: {summary(row)}", file=sys.stderr, flush=True)


def joined(earlier: dict, row: dict) -> dict:
    """Two passes of one run: all runs of both. A pass that failed gives way to one that did not."""
    if earlier["run"] != row["run"] or not is_timed(earlier):
        return row
    if not is_timed(row):
        return earlier
    row = {**row, "wall_best": min(earlier["wall_best"], row["wall_best"])}
    if "runs" in row and "runs" in earlier:
        row["runs"] = {clock: earlier["runs"][clock] + row["runs"][clock] for clock in row["runs"]}
        for clock, times in row["runs"].items():
            row |= {f"{clock}_best": min(times), f"{clock}_median": median(times)}
    return row


def replace(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    scratch = path.with_suffix(path.suffix + ".new")
    scratch.write_text(text)
    scratch.replace(path)


def is_timed(row: dict) -> bool:
    return row.get("wall_best") is not None


def is_busy(row: dict) -> bool:
    """Whether other work on the machine lengthened the wall time."""
    cpu = row.get("cpu_best")
    return bool(cpu) and row["threads"] == 1 and row["wall_best"] > BUSY * cpu


def summary(row: dict) -> str:
    """One line for the terminal."""
    if not is_timed(row):
        return row.get("skipped") or f"failed: {row['failed']}"
    busy = ", machine busy" if is_busy(row) else ""
    cpu = f", {seconds(row['cpu_best'])} processor" if row.get("cpu_best") else ""
    return f"{seconds(row['wall_best'])} wall{cpu}{busy}"


def seconds(value: float | None) -> str:
    """Three significant digits, in milliseconds below a second."""
    if value is None:
        return ""
    text = f"{value * 1000:#.3g} ms" if value < 1 else f"{value:#.3g} s"
    return text.replace(". ", " ")


def quotient(value: float | None, unit: int) -> str:
    return (
        ""
        if value is None
        else f"{value / unit:.0f}"
        if value >= 10 * unit
        else f"{value / unit:.1f}"
    )


def error(value: float | None) -> str:
    """A relative RMSE in percent; what is rounding only, as a power of ten."""
    return "" if value is None else f"{value:.0e}" if value < 1e-4 else f"{value:.2%}"


def line(row: dict) -> str:
    """One row of a table."""
    wall = seconds(row["wall_best"]) + (" (busy)" if is_busy(row) else "")
    cells = [
        row["engine"],
        row["weights"],
        wall,
        seconds(row.get("wall_median")),
        seconds(row.get("cpu_best")),
        f"{row['gmac'] / (row.get('cpu_best') or row['wall_best']):.1f}",
        quotient(row.get("peak_rss_bytes"), MIB),
        quotient(row.get("file_bytes"), MB),
        error(row.get("relative_rmse")),
    ]
    return "| " + " | ".join(cells) + " |"


COLUMNS = ("engine", "weights", "wall, best", "wall, median", "processor, best", "GMAC/s")
COLUMNS += ("peak RSS, MiB", "file, MB", "relative RMSE")
RULES = ["---"] * 2 + ["---:"] * 7
HEAD = f"| {' | '.join(COLUMNS)} |\n| {' | '.join(RULES)} |"


def section(work: Workload, rows: list[dict], threads: int) -> str:
    """One workload at one number of threads."""
    timed = sorted(
        (r for r in rows if is_timed(r)), key=lambda r: r.get("cpu_best") or r["wall_best"]
    )
    plural = "thread" if threads == 1 else "threads"
    parts = [f"## {work.name}, {work.gmac:g} GMAC, {threads} {plural}", ""]
    parts += [HEAD, *map(line, timed), ""]
    for row in rows:
        remark = row.get("note") if is_timed(row) else summary(row)
        if remark:
            parts += [f"- {row['engine']} {row['weights']}: {remark}"]
    return "\n".join(parts).rstrip() + "\n"


def table(content: dict) -> str:
    """The whole of `table.md`."""
    machine = content["machine"]
    instructions = ", ".join(machine["instructions"])
    packages = ", ".join(f"{name} {version}" for name, version in content["versions"].items())
    parts = [
        f"{machine['processor']}, {machine['cores']} cores, {instructions}.\n",
        f"{packages}.\n",
    ]
    for threads in sorted({row["threads"] for row in content["rows"]}):
        for work in WORKLOADS.values():
            same = {"workload": work.name, "threads": threads}
            rows = [r for r in content["rows"] if all(r[k] == v for k, v in same.items())]
            if rows:
                parts.append(section(work, rows, threads))
    return "\n".join(parts)
