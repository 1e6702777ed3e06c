"""One machine of a shared study: ``python -m tests.study.shared_worker URL TRIALS SECONDS_PER_TRIAL``.

Prints a line for each trial that begins and each that ends.
"""

from __future__ import annotations

import sys
import time

from autotune.deployment import Deployment
from autotune.measure import Measurement
from autotune.study.budget import Budget
from autotune.study.candidates import StudyEvent
from autotune.study.shared_storage import open_shared
from autotune.study.study import TuningStudy
from tests.study.synthetic_search import BASELINES, SyntheticRunner, shipped_space


def main() -> None:
    url, trials, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    truth = SyntheticRunner()

    def runner(deployment: Deployment, _: float = 0.0) -> Measurement:
        time.sleep(seconds)
        return truth(deployment)

    def tell(event: StudyEvent) -> None:
        key = event.deployment.key if event.deployment else ""
        print(event.kind, event.role, key, event.number, flush=True)

    storage = open_shared(url, heartbeat_s=1, grace_s=4, patience_s=120)
    with TuningStudy.open(
        storage, name="shared", space=shipped_space(), seed=1, identity={"hardware": "one", "model": "x"}
    ) as study:
        study.run(runner, Budget(trials=trials), baselines=BASELINES, on_event=tell)
    print("ended", flush=True)


if __name__ == "__main__":
    main()
