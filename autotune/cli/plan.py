"""``autotune plan``: how many machines a demand needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autotune.cli.options import JsonOption

__all__ = ["plan"]


def plan(
    deployment: Annotated[Path, typer.Argument(help="The deploy.yaml to plan with.")],
    demand: Annotated[str, typer.Option(help='Such as "5000 audio-hours/day" or "200 streams".')],
    utilisation: Annotated[float, typer.Option(help="Share of the measured capacity to plan for, in (0, 1].")] = 0.6,
    json_: JsonOption = False,
) -> None:
    """Compute the replicas for a demand, from the lower end of the measured RTFx interval."""
    import json

    from autotune.deploy_yaml import read_deployment_file
    from autotune.plan import parse_demand
    from autotune.plan import plan as plan_capacity

    document = read_deployment_file(deployment)
    answer = plan_capacity(document, parse_demand(demand), utilisation=utilisation)
    if json_:
        print(json.dumps(answer.to_json()))
        return
    print(f"{answer.replicas} replica{'s' if answer.replicas > 1 else ''} for {answer.demand.text}")
    print(f"  one replica: RTFx {answer.rtfx_used:.1f} (lower end of the 95 % interval), {document.hardware.cpu}")
    print(f"  each {answer.utilisation:.0%} busy (limit {answer.utilisation_limit:.0%}), ", end="")
    print(f"room for {answer.spare_audio_s_per_s:.1f} more audio seconds a second")
    print(f"  method: {answer.method}")
    for note in answer.notes:
        print(f"  note: {note}")
