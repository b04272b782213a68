"""Installs the rivals: Python packages in a virtual environment, the Rust engines by Cargo."""

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent
REQUIREMENTS = FOLDER / "requirements.txt"
COMPILED = FOLDER / "requirements-compiled.txt"
RUST = FOLDER / "rust"


def python(environment: Path) -> Path:
    """The interpreter of a virtual environment."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def install_python(environment: Path, requirements: Path, jobs: int = 1) -> None:
    """Makes the environment if need be, and installs what it does not yet hold.

    `jobs` is how many compilers run at once for a package that comes as source.
    """
    stamp = environment / f"{requirements.stem}.sha256"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    if not python(environment).exists():
        print(f"making {environment}", file=sys.stderr, flush=True)
        venv.create(environment, with_pip=True)
    pip = [python(environment), "-m", "pip", "install", "--requirement", requirements]
    variables = {**os.environ, "CMAKE_BUILD_PARALLEL_LEVEL": str(jobs)}
    subprocess.run(pip, check=True, env=variables)
    stamp.write_text(digest)


def rust_binary() -> Path:
    """Where Cargo puts the program that runs tract and rten."""
    target = os.environ.get("CARGO_TARGET_DIR", str(RUST / "target"))
    return Path(target) / "release" / ("peers.exe" if os.name == "nt" else "peers")


def install_rust(jobs: int) -> None:
    """Builds the program that runs tract and rten; both choose their kernels at run time."""
    command = ["cargo", "build", "--release", "--locked", "--jobs", str(jobs)]
    subprocess.run(command, cwd=RUST, check=True)
