"""RTFx, memory and accuracy of every format × engine at its best knobs, beside the peers and the GEMM bound.

    python benchmarks/frontier.py                                              # every case: two hours
    python benchmarks/frontier.py --models random:sensevoice-small --profiles long
    python benchmarks/frontier.py --table                                      # only the documents of what is there

A case is a model on an audio profile. Its segments are cut beforehand and the same for all. First every row's knobs are
chosen on a list of segments of its own; then all rows, peers and bounds hear other lists, one a round, interleaved, in
processes that were loaded and warmed up before. Results are merged into ``docs/benchmarks/frontier.json`` case by
case, and ``docs/frontier.md`` and ``docs/frontier.png`` are made from it. Run it alone on the machine.
"""

import argparse
import json
import platform
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from autotune.accuracy import Guard, Judge
from autotune.hardware import probe_hardware
from autotune.models import DEFAULT_MODEL, resolve_model
from benchmarks.contenders import Case, bounds, layers_spec, our_contenders, peers, reference_spec
from benchmarks.frontier_picture import draw
from benchmarks.frontier_report import write_document
from benchmarks.gemm import Layer, flop_per_audio_second
from benchmarks.measuring import Measured, Pool, choose_all, log, run_rounds
from benchmarks.segments import Segments, cut_segments
from benchmarks.sides import FUNASR_ONNX, SHERPA_ONNX, started

DOCS = Path(__file__).parents[1] / "docs"
MODELS = f"random:sensevoice-small,random:paraformer-large,{DEFAULT_MODEL}"
SMALL = 50_000_000
"""Parameters below which batches of 4 are tried: no larger model's fastest row gained by batches on a CPU."""
PACKAGES = ("funasr", "torch", "onnxruntime-gpu", "openvino", "numpy")
FIRST_GUESS = 3.0
"""Memory that a side needs, in multiples of the weights' size, until one was seen."""


def measure_case(model_name: str, profile: str, options: argparse.Namespace) -> dict[str, Any]:
    hardware, model = probe_hardware(), resolve_model(model_name)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        list_seconds = [options.choose_seconds, *[options.seconds] * options.rounds]
        segments = cut_segments(profile, list_seconds, folder / "segments.npz")
        case = Case(model, segments, hardware, folder)
        layers = count_layers(case)
        judge = judge_of(case)
        ours = our_contenders(case, (1, 4) if model.parameters < SMALL else (1,))
        measured = choose_all([*ours, *peers(case), *bounds(case, layers, ours)], segments)
        pool = Pool(segments.lists[0], int(FIRST_GUESS * Path(model.path, "model.pt").stat().st_size))
        try:
            run_rounds(measured, segments, pool)
        finally:
            pool.close()
    return {
        "model": model_name,
        "profile": profile,
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": hardware.describe(),
        "usable_cores": hardware.usable_cores,
        "isa": list(hardware.isa),
        "versions": {
            **{package: version(package) for package in PACKAGES},
            "peers": [FUNASR_ONNX, SHERPA_ONNX],
            "python": platform.python_version(),
        },
        "parameters": model.parameters,
        "rounds": options.rounds,
        "round_audio_s": [segments.audio_s(number) for number in range(1, options.rounds + 1)],
        "choose_audio_s": segments.audio_s(0),
        "segments": [len(indices) for indices in segments.lists],
        "layers": layers,
        "flop_per_audio_s": flop_per_audio_second(layers),
        "accuracy": {
            "unit": judge.unit,
            "tokens": judge.tokens,
            "length": judge.length,
            "reference": judge.reference_rate,
        },
        "rows": [row_of(one, judge, segments) for one in measured],
    }


def count_layers(case: Case) -> list[Layer]:
    side = started(layers_spec(case))
    try:
        layers: list[Layer] = [tuple(layer) for layer in side.run(case.segments.lists[0])["layers"]]
        return layers
    finally:
        side.close()


def judge_of(case: Case) -> Judge:
    """Random weights have no transcript to be compared with: theirs is fp32 PyTorch's text."""
    log("transcribing with fp32 PyTorch")
    indices = [index for indices in case.segments.lists[1:] for index in indices]
    side = started(reference_spec(case))
    try:
        texts = dict(zip(indices, side.run(indices)["texts"], strict=True))
    finally:
        side.close()
    return case.segments.judge(texts, transcripts=case.model.weights != "random")


def row_of(one: Measured, judge: Judge, segments: Segments) -> dict[str, Any]:
    contender = one.contender
    deployment = one.chosen.deployment if one.chosen else None
    row: dict[str, Any] = {
        "name": contender.name,
        "kind": contender.kind,
        "precision": contender.precision,
        "knobs": one.chosen.knobs if one.chosen else None,
        "deployment": deployment.model_dump(mode="json") if deployment else None,
        "seconds": one.seconds,
        "memory_bytes": one.memory_bytes,
        "stages_s": one.stages_s,
        "accuracy": None,
        "tried": [asdict(tried) for tried in one.tried],
        "error": one.error,
    }
    if one.texts and one.error is None:
        spoken = {segments.spoken[index].id: text for index, text in one.texts.items()}
        verdict = Guard().verdict(judge.assess(spoken, spoken.keys()))
        assert verdict is not None
        row["accuracy"] = {
            "rate": [verdict.rate.value, verdict.rate.low, verdict.rate.high],
            "increase": [verdict.increase.value, verdict.increase.low, verdict.increase.high],
            "outcome": verdict.outcome,
        }
    return row


def merge(path: Path, case: dict[str, Any]) -> None:
    """Put a case in the place of the same one measured before."""
    cases = read_cases(path)
    cases = [other for other in cases if (other["model"], other["profile"]) != (case["model"], case["profile"])]
    cases.append(case)
    order = MODELS.split(",")
    cases.sort(key=lambda one: (order.index(one["model"]) if one["model"] in order else len(order), one["profile"]))
    path.write_text(json.dumps({"cases": cases}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_cases(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.read_text(encoding="utf-8"))["cases"]) if path.exists() else []


def render(options: argparse.Namespace) -> None:
    cases = read_cases(options.json)
    if not cases:
        raise SystemExit(f"{options.json} must hold a case to be shown, but has none. Measure one first.")
    write_document(cases, options.document)
    draw(cases, options.picture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=MODELS, help=f"comma-separated; default: {MODELS}")
    parser.add_argument("--profiles", default="long,short", help="comma-separated")
    parser.add_argument("--seconds", type=float, default=60.0, help="audio a round")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--choose-seconds", type=float, default=20.0, help="audio that knobs are chosen by")
    parser.add_argument("--json", type=Path, default=DOCS / "benchmarks" / "frontier.json")
    parser.add_argument("--document", type=Path, default=DOCS / "frontier.md")
    parser.add_argument("--picture", type=Path, default=DOCS / "frontier.png")
    parser.add_argument("--table", action="store_true", help="measure nothing, only write the documents anew")
    options = parser.parse_args()
    if options.table:
        render(options)
        return
    for model in options.models.split(","):
        for profile in options.profiles.split(","):
            log(f"case {model} on {profile}")
            merge(options.json, measure_case(model, profile, options))
            render(options)


if __name__ == "__main__":
    main()
