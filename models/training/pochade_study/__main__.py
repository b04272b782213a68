"""Answers one question: `python -m pochade_study pixels --out ../../docs/pictures`.

Writes `study-NAME.png` and the figures, under the question's name, into `study.json`.
"""

import argparse
import json
from pathlib import Path

from pochade_training.runs import Run

from . import adversary, pixels, regularisation, switch

QUESTIONS = {
    "pixels": pixels.answer,
    "regularisation": regularisation.answer,
    "adversary": adversary.answer,
    "switch": switch.answer,
}
HERE = Path(__file__).resolve().parent.parent


def note(table: Path, name: str, figures: dict) -> None:
    """Puts one question's figures among those of the others."""
    known = json.loads(table.read_text()) if table.exists() else {}
    table.write_text(json.dumps(known | {name: figures}, indent=2, sort_keys=True) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser("pochade_study", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("name", choices=QUESTIONS)
    add("--runs", type=Path, default=HERE / "runs", help="a run with world, latents and reader")
    add("--minutes", type=float, default=4, help="of CPU time, for each of the two sides")
    add("--out", type=Path, required=True, help="folder of the sheet and of study.json")
    a = parser.parse_args()
    run = Run(a.runs, "cpu", threads=1)
    a.out.mkdir(parents=True, exist_ok=True)
    figures = QUESTIONS[a.name](run, a.minutes, a.out / f"study-{a.name}.png")
    note(a.out / "study.json", a.name, dict(minutes=a.minutes) | figures)
    run.say(json.dumps(figures))


if __name__ == "__main__":
    main()
