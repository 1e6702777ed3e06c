"""How often the accuracy guard passes a deployment that loses more than is allowed, where the truth is known.

    python benchmarks/false_passes.py                   # 1000 rounds of each case, a few minutes on one core

Errors of deployment, FunASR's default and fp32 PyTorch are drawn clip by clip (320 clips, about as long as the embedded
ones); the deployment's true rate is above *both* by exactly the allowance, the limit of what may pass, or by half as
much again. The last column is what would pass at the limit if either comparison were made on its own. Prints lines for
docs/accuracy.md.
"""

import argparse

import numpy as np

from autotune.accuracy import ALLOWED_INCREASE, Accuracy, Guard
from autotune.accuracy.record import ClipCount

CLIPS = 320
CASES = {
    "errors fall independently": (0.0, 0.0),
    "half of the errors are common to all": (0.5, 0.0),
    "nine tenths of the errors are common": (0.9, 0.0),
    "half common, FunASR's default 0.25 points worse than fp32": (0.5, 0.0025),
    "half common, fp32 0.25 points worse than FunASR's default": (0.5, -0.0025),
}
"""Share of the errors that all three make, and by how much the default's true rate is above fp32 PyTorch's."""
RATE = 0.0125


def draw(generator: np.random.Generator, common: float, gap: float, loss: float) -> Accuracy:
    """Texts of one round, ``loss`` above the worse of the references; errors come in lumps of one to three."""
    lengths = generator.integers(4, 30, CLIPS)
    shared = lumps(generator, common * RATE, lengths)
    fp32, default = RATE + max(0.0, -gap), RATE + max(0.0, gap)
    worst = max(fp32, default) + loss
    errors, baseline, reference = (
        shared + lumps(generator, rate - common * RATE, lengths) for rate in (worst, default, fp32)
    )
    counts = tuple(
        ClipCount(f"c{index:03d}", int(errors[index]), int(reference[index]), int(lengths[index]), int(baseline[index]))
        for index in range(CLIPS)
    )
    return Accuracy(unit="cer", tokens="characters", utterances=CLIPS, clips=counts, worst=())


def lumps(generator: np.random.Generator, rate: float, lengths: np.ndarray) -> np.ndarray:
    """Errors in each clip, ``rate`` a character in the mean."""
    return np.array([generator.integers(1, 4, hits).sum() for hits in generator.poisson(rate / 2 * lengths)])


def alone(accuracy: Accuracy) -> bool:
    """Whether either comparison passes with an interval of its own."""
    strict = Guard(reference="fp32")
    over_baseline = tuple(
        ClipCount(count.clip, count.errors, count.baseline_errors or 0, count.length) for count in accuracy.clips
    )
    return strict.passes(accuracy) or strict.passes(accuracy.model_copy(update={"clips": over_baseline}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1000)
    options = parser.parse_args()
    print("| where | at the allowance | half as much again | at it, with separate intervals |\n|---|---|---|---|")
    for name, (common, gap) in CASES.items():
        shares = []
        for loss, passes in ((1.0, Guard().passes), (1.5, Guard().passes), (1.0, alone)):
            generator = np.random.default_rng(0)
            rounds = (draw(generator, common, gap, loss * ALLOWED_INCREASE) for _ in range(options.rounds))
            shares.append(sum(map(passes, rounds)) / options.rounds)
        print(f"| {name} | " + " | ".join(f"{share:.1%}" for share in shares) + " |", flush=True)


if __name__ == "__main__":
    main()
