"""How many streams a server carries, with interim results and without, beside what it would say by itself.

    autotune --model random:sensevoice-small --audio-profile streaming --out streaming.yaml
    python benchmarks/streams.py streaming.yaml

``autotune load --find-capacity`` on the same deployment served twice: the most streams whose texts come within
``--slo-s`` of their end, 95 of 100. The measured RTFx is the most that could ever be carried. Writes
``docs/benchmarks/streams.json``. Run it alone on the machine; needs the extra [serve].
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from autotune.deployment_file import DeploymentFile, read_deployment_file
from autotune.serve.options import INTERIM_OF_S, INTERIM_S, STREAMS_SHARE
from benchmarks.serving_client import conditions, serving

OUT = Path(__file__).parent.parent / "docs" / "benchmarks" / "streams.json"
MOST = 10_000


def carried(deployment: Path, option: str, profile: str, slo_s: float, duration: str) -> dict[str, Any]:
    """The highest load that was met, the lowest that wasn't, and the runs."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(deployment, option, "--max-streams", f"{MOST}") as server,
    ):
        out = Path(folder) / "load.json"
        load = [sys.executable, "-m", "autotune", "load", server.url, "--audio-profile", profile, "--streams", "1"]
        how = ["--find-capacity", "--slo", f"p95_latency_s={slo_s:g}", "--duration", duration, "--out", str(out)]
        subprocess.run([*load, *how], check=False, stdout=sys.stderr)
        told = json.loads(out.read_text(encoding="utf-8"))
    runs = [{"streams": one["load"], "p95_s": one["figures"]["latency_s"]["p95"]} for one in told["runs"]]
    return {"streams": told["capacity"]["load"], "too_many": told["capacity"]["above"], "runs": runs}


def ruled(document: DeploymentFile) -> dict[str, float]:
    """What ``serve/options.py`` holds it for."""
    most = STREAMS_SHARE * document.measurement.rtfx.median
    return {"no_interims": most, "interims": most / (1 + INTERIM_OF_S / INTERIM_S)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("deployment", type=Path)
    parser.add_argument("--profile", default="streaming")
    parser.add_argument("--slo-s", type=float, default=1.0)
    parser.add_argument("--duration", default="40s", help="of each load that is tried")
    options = parser.parse_args()
    document = read_deployment_file(options.deployment)
    told: dict[str, Any] = {**conditions(document), "rtfx": document.measurement.rtfx.median, "ruled": ruled(document)}
    for name in ("no_interims", "interims"):
        option = f"--{name.replace('_', '-')}"
        told[name] = carried(options.deployment, option, options.profile, options.slo_s, options.duration)
        print(name, told[name], file=sys.stderr, flush=True)
    OUT.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(told, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
