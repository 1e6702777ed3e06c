"""Draw what a command printed, as a terminal shows it: the picture in README.md.

autotune --audio-profile long > run.txt
python scripts/run_picture.py run.txt --title "autotune --audio-profile long" --out docs/run.svg
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from rich.console import Console
from rich.text import Text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, help="what was printed")
    parser.add_argument("--title", required=True, help="the command")
    parser.add_argument("--lines", type=int, help="how many of its lines are drawn, from the first; default: all")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    lines = options.text.read_text(encoding="utf-8").strip("\n").splitlines()[: options.lines]
    console = Console(record=True, width=max(map(len, lines)), file=io.StringIO())
    for line in lines:
        console.print(Text(line), soft_wrap=True)
    console.save_svg(str(options.out), title=options.title)


if __name__ == "__main__":
    main()
