"""Bits per dimension of noise at full size: no model may tell it in fewer than it has.

python -m benchmarks.reliability.units [--rows 60000] [--steps 300]

Uniform bytes, 8 x 8. Bars: categorical(256) 8.000 +- .005, one discretised logistic 8.276 +- .005
(its optimum) and never below 8.000; independent histograms equal their closed form to 1e-4.
"""

from __future__ import annotations

import argparse
import math
import sys
import time

import torch

from tests.test_honest_units import LOGISTIC, noise, trained
from vaes.evaluate.baselines import independent
from vaes.evaluate.likelihood import evidence

SIDE, HELD, DRAWS = 8, 5_000, 5
BAR = 0.005


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--steps", type=int, default=300)
    given, failed = parser.parse_args(), 0
    train, valid, held = noise(given.rows, SIDE, 0), noise(HELD, SIDE, 1), noise(HELD, SIDE, 2)
    unit = SIDE * SIDE * math.log(2)
    for family, expected in (("logistic", LOGISTIC), ("categorical", 8.0)):
        begun = time.monotonic()
        model = trained(train, valid, given.steps, likelihood=family, latent=4, hidden=(64,))
        score = evidence(model, held, k=DRAWS)
        found, se = -score.mean / unit, score.se / unit
        good = abs(found - expected) <= BAR and found >= 8.0
        failed += not good
        print(
            f"{'ok   ' if good else 'WRONG'} {family}: {found:.4f} +- {se:.4f} bits/dim, expected "
            f"{expected:.3f}; {given.rows:,} rows, {given.steps:,} steps, "
            f"{time.monotonic() - begun:.0f} s",
            flush=True,
        )
    codes, new = train.x.flatten(1).long(), held.x.flatten(1).long()
    closed = 0.0
    for j in range(SIDE * SIDE):
        p = (torch.bincount(codes[:, j], minlength=256).double() + 1 / 256) / (len(codes) + 1)
        closed += p.log()[new[:, j]].mean().item()
    said = independent(train, held).mean
    good = abs(said - closed) <= 1e-4
    failed += not good
    print(
        f"{'ok   ' if good else 'WRONG'} independent histograms: {-said / unit:.4f} bits/dim, "
        f"{abs(said - closed):.1e} nats from the closed form"
    )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
