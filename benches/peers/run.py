"""Pochade beside other engines on the same random networks, with equal threads, in one run.

    python benches/peers/run.py                       everything, one thread
    python benches/peers/run.py --workloads small-unet-32 --engines "openvino int8" pochade
    python benches/peers/run.py --prepare             makes what is missing, runs nothing
    python benches/peers/run.py --list                names of workloads and engines

Installs the rivals, makes the models that are missing, runs every engine in a process of its own,
and writes `results.json`, `table.md` and `plot.svg`. See README.md beside this file.
"""

import argparse
import json
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from harness import child, install, make, pochade, report
from harness.engines import ENGINES, Engine, Settings, command
from harness.workloads import WORKLOADS, Files, Workload

HERE = Path(__file__).resolve().parent
OURS = "pochade"
OUR_KEYS = {f"{OURS} {weights}": weights for weights in pochade.WEIGHTS}
KEYS = [*OUR_KEYS, *(engine.key for engine in ENGINES)]


def arguments() -> argparse.Namespace:
    """The command line. An engine may be named with its weights or without."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--engines", nargs="+", default=KEYS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10, help="timed seconds per engine")
    parser.add_argument("--passes", type=int, default=1, help="how often everything is repeated")
    parser.add_argument("--run", help="name of an earlier run, to which this adds a pass")
    parser.add_argument("--models", type=Path, default=HERE / "models", help="needs 30 GB in all")
    parser.add_argument("--venv", type=Path, default=HERE / ".venv")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument(
        "--pochade", type=Path, default=HERE.parent.parent / "target/release/pochade"
    )
    parser.add_argument("--wrap", default="", help="a command put before every timed child")
    parser.add_argument("--jobs", type=int, default=2, help="compilers at once while installing")
    parser.add_argument("--no-install", action="store_true", help="use what is installed already")
    parser.add_argument("--prepare", action="store_true", help="make what is missing, run nothing")
    parser.add_argument("--list", action="store_true", help="names the workloads and engines")
    return parser.parse_args()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def is_named(key: str, names: list[str]) -> bool:
    """Whether an engine with its weights was asked for, by both or by its name alone."""
    return key in names or key.split()[0] in names


def chosen(names: list[str]) -> list[Engine]:
    """The rivals that were asked for, in the order of the registry."""
    for name in names:
        if not any(is_named(key, [name]) for key in KEYS):
            sys.exit(f"there is no engine {name!r}: --list names them")
    return [engine for engine in ENGINES if is_named(engine.key, names)]


def install_all(args: argparse.Namespace, engines: list[Engine]) -> None:
    """Installs what the chosen engines need; the models are always made with the first list."""
    runners = {engine.runner for engine in engines}
    install.install_python(args.venv, install.REQUIREMENTS)
    if "sdcpp" in runners:
        install.install_python(args.venv, install.COMPILED, args.jobs)
    if "rust" in runners:
        install.install_rust(args.jobs)


def ensure(files: Files, form: str, environment: Path) -> str | None:
    """Makes a file and what it is made from, where missing. Answers with what went wrong."""
    if make.path_of(files, form).exists():
        return None
    needed = make.NEEDS[form]
    trouble = ensure(files, needed, environment) if needed else None
    if trouble:
        return trouble
    say(f"  making {form} of {files.work.name}")
    python = [str(install.python(environment)), "-W", "ignore", "-m", "harness.make"]
    words = [*python, form, files.work.name, "--models", str(files.models)]
    ended = subprocess.run(words, cwd=HERE, stderr=subprocess.PIPE, text=True, check=False)
    if ended.returncode == 0:
        return None
    return f"making {form}: {child.last_line(ended.stderr, ended.returncode)}"


def ensure_both(engine: Engine, files: Files, environment: Path) -> str | None:
    """The reference and the file that an engine reads. Answers with what went wrong."""
    return ensure(files, "reference", environment) or ensure(files, engine.form, environment)


def rival(engine: Engine, files: Files, args: argparse.Namespace) -> dict:
    """One rival's row, or the reason why there is none."""
    if files.work.name in engine.without:
        return {"skipped": engine.reason}
    trouble = ensure_both(engine, files, args.venv)
    if trouble:
        return {"failed": trouble}
    settings = Settings(args.venv, args.threads, args.seconds)
    words = [*shlex.split(args.wrap), *command(engine, files, settings)]
    ended = child.run(words, args.threads, str(HERE), engine.variables)
    lines = [line for line in ended.output.splitlines() if line.startswith("{")]
    if ended.status != 0 or not lines:
        return {"failed": child.last_line(ended.errors, ended.status)}
    figures = {
        "file_bytes": files.size(make.path_of(files, engine.form)),
        "peak_rss_bytes": ended.peak_rss_bytes,
    }
    return {**json.loads(lines[-1]), **figures}


def ours(weights: str, files: Files, args: argparse.Namespace) -> dict:
    """One row of Pochade's."""
    if not pochade.has_bench(args.pochade):
        return {"skipped": f"{args.pochade.name} is not built, or has no `bench` command"}
    flags = Settings(args.venv, args.threads, args.seconds).flags()
    words = pochade.command(args.pochade, files.work, weights, flags)
    ended = child.run([*shlex.split(args.wrap), *words], args.threads)
    if ended.status != 0:
        return {"failed": child.last_line(ended.errors, ended.status)}
    row = pochade.figures(ended.output, ended)
    trouble = ensure(files, "reference", args.venv)
    try:
        return {**row, "relative_rmse": pochade.relative_rmse(args.pochade, files, weights)}
    except subprocess.CalledProcessError as error:
        say(f"  no accuracy of {OURS} {weights}: {trouble or error}")
        return {**row, "relative_rmse": None}


def rows(work: Workload, args: argparse.Namespace, record: report.Record) -> None:
    """Runs every chosen engine on one workload."""
    files = Files(args.models.resolve(), work)
    for key, weights in OUR_KEYS.items():
        if is_named(key, args.engines):
            record.add(work, OURS, weights, ours(weights, files, args))
    for engine in chosen(args.engines):
        record.add(work, engine.name, engine.weights, rival(engine, files, args))


def prepare(args: argparse.Namespace) -> None:
    """Makes every file of the chosen work."""
    for name in args.workloads:
        say(name)
        files = Files(args.models.resolve(), WORKLOADS[name])
        for engine in chosen(args.engines):
            trouble = name not in engine.without and ensure_both(engine, files, args.venv)
            if trouble:
                say(f"  {engine.key}: {trouble}")


def run(args: argparse.Namespace) -> None:
    """Runs the chosen work, writes the table after every row and draws the plot at the end."""
    name = args.run or datetime.now(UTC).isoformat(timespec="seconds")
    record = report.Record.open(args.out, install.python(args.venv), name, args.threads)
    for work in args.workloads * args.passes:
        say(work)
        rows(WORKLOADS[work], args, record)
    plot = [install.python(args.venv), "-m", "harness.plot", args.out.absolute()]
    subprocess.run(plot, cwd=HERE, check=True)


def main() -> None:
    args = arguments()
    if args.list:
        print("\n".join(["workloads:", *WORKLOADS, "", "engines:", *KEYS]))
        return
    args.venv = args.venv.absolute()
    engines = chosen(args.engines)
    if not args.no_install:
        install_all(args, engines)
    prepare(args) if args.prepare else run(args)


if __name__ == "__main__":
    main()
