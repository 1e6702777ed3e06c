"""What the search suggests and recommends on the recorded tables, to compare two versions of the code.

    python benchmarks/suggestions.py --out before.jsonl       one version
    python benchmarks/suggestions.py --against before.jsonl   another: exit 1 and the seeds that differ, if any do

Each line holds one replay of the whole job: the keys of the deployments in the order in which they were measured
(study, selection and proof), and the recommendation with its interval. Texts are judged, but nothing is held back for
them: a table has too few clips for that.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.regret_methods import Case, recommend

HERE = Path(__file__).parent


class Recorder:
    """A replay that notes what it is asked to measure."""

    def __init__(self, case: Case, seed: int) -> None:
        self._runner = case.recorded(seed)
        self.clock = self._runner.clock
        self.asked: list[str] = []

    def trial(self, deployment: Any, hopeless_below: float = 0.0) -> Any:
        self.asked.append(deployment.key)
        return self._runner.trial(deployment, hopeless_below)

    def __call__(self, deployment: Any, block: int = 0) -> Any:
        self.asked.append(deployment.key)
        return self._runner(deployment, block)


def replayed(case: Case, seed: int) -> dict[str, Any]:
    recorder = Recorder(case, seed)
    recommendation = recommend(case, recorder, seed)  # type: ignore[arg-type]  # the part of a runner that is used
    return {
        "table": case.name,
        "seed": seed,
        "asked": recorder.asked,
        "baseline": recommendation.baseline.key,
        "winner": recommendation.winner.key,
        "speedup": recommendation.speedup,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, nargs="+", default=sorted((HERE / "tables").glob("*.jsonl")))
    parser.add_argument("--space", default=str(HERE / "tables" / "space.yaml"), help="that the tables are of")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, help="write the replays here")
    parser.add_argument("--against", type=Path, help="replays of another version, which these must equal")
    options = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # the search's matrices are small
        os.environ[name] = "1"
    replays = []
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        for path in options.tables:
            case = Case.read(path, options.space).unguarded
            for replay in pool.imap(partial(replayed, case), range(options.seeds)):
                replays.append(json.loads(json.dumps(replay)))
                print(f"{case.name}: seed {replay['seed']}, {len(replay['asked'])} measurements", file=sys.stderr)
    if options.out:
        options.out.write_text("".join(json.dumps(replay) + "\n" for replay in replays), encoding="utf-8")
    if options.against:
        lines = options.against.read_text(encoding="utf-8").splitlines()
        others = {(replay["table"], replay["seed"]): replay for replay in map(json.loads, lines)}
        different = [one for one in replays if others.get((one["table"], one["seed"])) != one]
        for replay in different:
            print(f"{replay['table']}, seed {replay['seed']}: differs")
        print(f"{len(replays) - len(different)} of {len(replays)} replays are identical")
        sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
