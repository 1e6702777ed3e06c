"""Whether a server carries the streams that it would admit by itself, with interim results and without.

    autotune --model random:sensevoice-small --audio-profile streaming --out streaming.yaml
    python benchmarks/streams.py streaming.yaml

``autotune load`` at shares of the streams that ``serve/admission.py`` admits, in both kinds of server:
latency counts from the end of a stream's speech to its last text. Writes ``docs/benchmarks/streams.json``. Run it alone
on the machine; needs the extra [serve].
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from autotune.deploy_yaml import DeploymentFile, read_deployment_file
from autotune.recognizer.admission import STREAMS_SHARE
from autotune.serve.limits import INTERIM_OF_S, INTERIM_S
from benchmarks.serving_client import conditions, serving

OUT = Path(__file__).parent.parent / "docs" / "benchmarks" / "streams.json"
SHARES = (0.7, 1.0, 1.4, 2.0)
"""Of the streams that it is held for."""
MOST = 10_000


def measured(deployment: Path, option: str, streams: list[int], profile: str, duration: str) -> list[dict[str, Any]]:
    """What comes of each number of streams."""
    told = []
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(deployment, option, "--max-streams", f"{MOST}") as server,
    ):
        for number in streams:
            out = Path(folder) / f"{number}.json"
            load = [sys.executable, "-m", "autotune", "load", server.url, "--audio-profile", profile]
            how = ["--streams", f"{number}", "--duration", duration, "--out", str(out)]
            subprocess.run([*load, *how], check=False, stdout=sys.stderr)
            for one in json.loads(out.read_text(encoding="utf-8"))["runs"]:
                figures = one["figures"]
                latency, promise = figures["latency_s"], figures["promise"]
                found = {"recordings": figures["requests"], "p50_s": latency["p50"], "p95_s": latency["p95"]}
                told.append({"streams": number, **found, "promise": promise, "verdict": one["verdict"]})
    return told


def streams_held_for(document: DeploymentFile) -> dict[str, float]:
    """What ``serve/admission.py`` holds it for."""
    most = STREAMS_SHARE * document.measurement.rtfx.median
    return {"no_interims": most, "interims": most / (1 + INTERIM_OF_S / INTERIM_S)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("deployment", type=Path)
    parser.add_argument("--profile", default="streaming")
    parser.add_argument("--duration", default="3m", help="of each load: less shows too few recordings")
    options = parser.parse_args()
    document = read_deployment_file(options.deployment)
    held_for = streams_held_for(document)
    told: dict[str, Any] = {**conditions(document), "rtfx": document.measurement.rtfx.median, "held_for": held_for}
    for name, most in held_for.items():
        streams = sorted({max(1, round(share * most)) for share in SHARES})
        told[name] = measured(
            options.deployment, f"--{name.replace('_', '-')}", streams, options.profile, options.duration
        )
        print(name, told[name], file=sys.stderr, flush=True)
    OUT.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(told, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
