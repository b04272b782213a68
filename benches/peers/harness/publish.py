"""Puts the last run into the documents: `python3 -m harness.publish [RESULTS [DOCS]]`.

The table comes between two marks in `numbers.md`, the plot beside the other pictures.
"""

import json
import shutil
import sys
from pathlib import Path

from . import report

FOLDER = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- benches/peers: begin -->", "<!-- benches/peers: end -->"
PLOT = "pictures/peers.svg"


def section(content: dict) -> str:
    """The plot and the whole table, its headings one level further down."""
    table = report.table(content).replace("\n## ", "\n### ").strip()
    return f"![time, peak memory and file size of every engine]({PLOT})\n\n{table}"


def put(text: str, content: dict) -> str:
    """A document with what is between its marks replaced."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        sys.exit(f"the document lacks the marks {BEGIN} and {END}, between which the table comes")
    return f"{before}{BEGIN}\n\n{section(content)}\n\n{END}{after}"


def publish(results: Path, docs: Path) -> None:
    """Rewrites `numbers.md` and copies the plot of one thread."""
    content = json.loads((results / "results.json").read_text())
    numbers = docs / "numbers.md"
    report.replace(numbers, put(numbers.read_text(), content))
    shutil.copyfile(results / "plot.svg", docs / PLOT)


if __name__ == "__main__":
    given = [Path(word) for word in sys.argv[1:]]
    publish(*given, *[FOLDER / "results", FOLDER.parent.parent / "docs"][len(given) :])
