"""One whole study on a GPU in slots of minutes: the same study is resumed until it has its ``deploy.yaml``.

    python benchmarks/gpu/study_slots.py long --slot 570        # again and again, until it says that it is done
    python benchmarks/gpu/study_slots.py short --slot 570
    python benchmarks/gpu/study_slots.py long --dry-run         # the CPU, the embedded model, the quickest study

Trials and artifacts are kept between slots (``--home``), so carry that folder from machine to machine of one kind. The
tuner is interrupted as by Ctrl-C when its slot ends, and goes on with what it had measured; blocks that prove a winner
are of one slot, so a slot must have room for them.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

__all__ = ["command_of", "main"]

_INTERRUPTED_S = 60.0
"""Seconds that the tuner has to end its trial and to say what it found so far."""


def command_of(profile: str, home: Path, options: argparse.Namespace) -> list[str]:
    """The command line of one slot, the same in each, so that the study is resumed."""
    told = ["--model", options.model, "--audio-profile", profile, "--seed", "0", "--study-name", f"gpu-{profile}"]
    if options.dry_run:
        where = ["--devices", "cpu", "--search-space", "onnxruntime", "--effort", "quick", "--trials", "2"]
    else:
        where = ["--devices", "cuda:0,cpu", "--search-space", "all", "--effort", options.effort]
    return [sys.executable, "-m", "autotune", "tune", *told, *where, "--out", str(home / f"deploy-{profile}.yaml")]


def main() -> int:
    """0: the study is done; 1: it goes on in another slot."""
    options = _options()
    home: Path = options.home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "XDG_CACHE_HOME": str(home / "cache"), "XDG_STATE_HOME": str(home / "state")}
    command = command_of(options.profile, home, options)
    print(" ".join(command), flush=True)
    with subprocess.Popen(command, env=environment) as tuner:
        try:
            code = tuner.wait(options.slot)
        except subprocess.TimeoutExpired:
            tuner.send_signal(signal.SIGINT)
            try:
                tuner.wait(_INTERRUPTED_S)
            except subprocess.TimeoutExpired:
                tuner.kill()
            print("The slot is over. Run it again.", flush=True)
            return 1
    if code == 0:
        print(f"Done: {home / f'deploy-{options.profile}.yaml'}", flush=True)
    return code


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile", choices=["long", "short"])
    parser.add_argument("--model", help="default random:sensevoice-small, with --dry-run embedded")
    parser.add_argument("--effort", default="standard")
    parser.add_argument("--slot", type=float, default=570.0, help="seconds after which the tuner is interrupted")
    parser.add_argument("--home", type=Path, default=Path("gpu-study"), help="folder of caches, studies and results")
    parser.add_argument("--dry-run", action="store_true")
    options = parser.parse_args()
    options.model = options.model or ("embedded" if options.dry_run else "random:sensevoice-small")
    return options


if __name__ == "__main__":
    sys.exit(main())
