"""Simulation-based calibration of encoders that are right, and of ones made wrong.

    python benchmarks/reliability/encoder_sbc.py [--repeats 20] [--simulations 5000]

Twenty linear-Gaussian models (8 columns, 3 latent dimensions, loadings by seed), whose posterior is
known. Right ones: at most one alarm in 20 (1,000 simulations, as the bar says, and again at the
number that finds the wrong ones), 90 % intervals that hold 88 to 92 % of the codes. Wrong ones:
standard deviations of the encoder x 0.8, x 1.2, or means shifted by .1 of the prior's unit: an
alarm every time. 99 draws, 20 bins, chi2 beside the z-scores of mean and variance of the ranks,
Bonferroni .01.
"""

import argparse

import torch

from vaes.batch import Spec
from vaes.dist.gaussian import CholeskyNormal
from vaes.evaluate.calibration import simulated
from vaes.recipes.ppca import PPCA

COLUMNS, LATENT, NOISE = 8, 3, 0.3
KINDS = {"exact": (1.0, 0.0), "x 0.8": (0.8, 0.0), "x 1.2": (1.2, 0.0), "+ 0.1": (1.0, 0.1)}


class Encoder(PPCA):
    """A linear-Gaussian model whose posterior is stretched and shifted."""

    def __init__(self, seed, stretch, shift):
        super().__init__(Spec((COLUMNS,)), LATENT, "em")
        self.double()
        draw = torch.Generator().manual_seed(seed)
        self.weight.copy_(torch.randn(COLUMNS, LATENT, generator=draw, dtype=torch.float64))
        self.variance.fill_(NOISE)
        self.stretch, self.shift = stretch, shift

    def posterior(self, batch):
        """The exact posterior, made wrong."""
        q = super().posterior(batch)
        return CholeskyNormal(q.loc + self.shift, self.stretch * q.tril)


def measured(kind, simulations, repeats):
    """Alarms among the repeats, and the coverage of all codes together."""
    found = [
        simulated(Encoder(seed, *KINDS[kind]), simulations=simulations, seed=seed)
        for seed in range(repeats)
    ]
    coverage = sum(float(f.coverage[:-1].mean()) for f in found) / repeats
    return sum(f.alarm for f in found), coverage


def main():
    """A line for each kind of encoder, then whether the bars are met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--simulations", type=int, default=5000)
    args = parser.parse_args()
    met = True
    print("| encoder | simulations | alarms | 90 % intervals hold |")
    print("|" + " --- |" * 4)
    for kind, n in [("exact", 1000), *((kind, args.simulations) for kind in KINDS)]:
        alarms, coverage = measured(kind, n, args.repeats)
        print(
            f"| {kind} | {n:,} | {alarms} of {args.repeats} | {100 * coverage:.1f} % |", flush=True
        )
        if kind == "exact":
            met = met and alarms <= args.repeats / 20 and 0.88 <= coverage <= 0.92
        else:
            met = met and alarms == args.repeats
    print("\nthe bars are met" if met else "\nthe bars are NOT met")
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
