"""Linear-Gaussian VAEs whose log p(x) is known: ELBO, IWAE_K, annealing from both sides.

python -m benchmarks.reliability.evidence [--sets 100] [--rows 40] [--simulated 100] [--steps 1000]

Of every size d: x = W z + mu + noise with 2 d columns, the columns of W nearly orthogonal (as a
trained model has them), the encoder the best diagonal Gaussian. Bars: IWAE_5000 within .01 nats of
log p(x) (to 2 standard errors of that, at most .01 themselves), 95 % intervals that cover (log p of
one set's rows by the error of the draws, that of the population by the whole error), ELBO <=
IWAE_10 <= ... <= log p(x), and a gap of both annealed bounds of at most .1 nats with log p(x)
between them. A second W has independent columns: from 8 dimensions or so on the weights of the best
diagonal have infinite variance, so IWAE_5000 is printed without a bar, and 100 draws of refined
full posteriors are held to .01 nats instead.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from itertools import pairwise

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from tests.fixtures import linear_vae
from vaes.batch import Data
from vaes.composed import Composed
from vaes.evaluate.annealed import Annealing, bdmc, simulated
from vaes.evaluate.likelihood import Evidence, evidence
from vaes.evaluate.refined import refined_evidence

NOISE = 0.5  # variance of x given z
TANGLE = 0.25  # share of independent columns in nearly orthogonal ones
K, BIAS, GAP = 5000, 0.01, 0.1
Z = 1.96


def linear(d: int, tangled: bool) -> tuple[Composed, MultivariateNormal]:
    """A model of 2 d columns and the exact distribution of its rows."""
    draw = torch.Generator().manual_seed(d)
    free = torch.randn(2 * d, d, generator=draw, dtype=torch.float64) / math.sqrt(2 * d)
    straight = torch.linalg.qr(torch.randn(2 * d, d, generator=draw, dtype=torch.float64))[0]
    weight = math.sqrt(2) * (free if tangled else straight + TANGLE * free)
    mean = torch.randn(2 * d, generator=draw, dtype=torch.float64)
    covariance = weight @ weight.T + NOISE * torch.eye(2 * d, dtype=torch.float64)
    return linear_vae(weight, mean, NOISE, "diagonal"), MultivariateNormal(mean, covariance)


def covered(found: list[float], errors: list[float], truths: list[float]) -> int:
    return sum(abs(f - t) <= Z * e for f, e, t in zip(found, errors, truths, strict=True))


def importance(d: int, sets: int, rows: int, tangled: bool) -> tuple[bool, list[int]]:
    """Bias, order and coverage of importance sampling; prints, and says whether bars are held."""
    model, exact = linear(d, tangled)
    population = -float(exact.entropy())
    found: list[Evidence] = []
    truths: list[Tensor] = []
    for seed in range(sets):
        draw = torch.Generator().manual_seed(1000 * d + seed)
        noise = torch.randn(rows, 2 * d, generator=draw, dtype=torch.float64)
        data = Data(model.spec, exact.loc + noise @ exact.scale_tril.T)
        found.append(evidence(model, data, k=K, seed=seed))
        truths.append(exact.log_prob(data.x))
    apart = torch.stack([f.mean - t.mean() for f, t in zip(found, truths, strict=True)])
    bias, error = float(apart.mean()), float(apart.std() / math.sqrt(sets))
    truth = float(torch.cat(truths).mean())
    elbo = sum(f.elbo for f in found) / sets
    curve = {n: sum(f.curve[n][0] for f in found) / sets for n in found[0].curve if n > 1}
    steps = [elbo, *curve.values()]
    rise = all(low <= high for low, high in pairwise(steps)) and steps[-1] <= truth + 3 * error
    means = [f.mean for f in found]
    own = covered(means, [f.se_draws for f in found], [float(t.mean()) for t in truths])
    all_of = covered(means, [f.se for f in found], [population] * sets)
    line = " ".join(f"L_{n} {value - truth:+.4f}" for n, value in curve.items())
    ess = sorted(f.ess for f in found)[sets // 2]
    name = "independent" if tangled else "nearly orthogonal"
    print(f"d={d}, {name} columns: log p {truth:.4f}; ELBO {elbo - truth:+.4f} {line} (from log p)")
    print(f"  bias of L_{K} {bias:+.5f} +- {error:.5f}, ess {ess:.0f}; 95 % intervals hold the")
    print(f"  rows' log p in {own} and the population's in {all_of} of {sets}", flush=True)
    return abs(bias) <= BIAS + 2 * error and error <= BIAS and rise, [own, all_of]


def refined(d: int, rows: int) -> bool:
    """100 draws of full posteriors that were refined row by row, independent columns."""
    model, exact = linear(d, tangled=True)
    noise = torch.randn(rows, 2 * d, generator=torch.Generator().manual_seed(d)).double()
    data = Data(model.spec, exact.loc + noise @ exact.scale_tril.T)
    found = refined_evidence(model, data, k=100, full=True, steps=300)
    apart = found.mean - float(exact.log_prob(data.x).mean())
    print(f"  refined full posteriors, 100 draws: {apart:+.5f}, ess {found.ess:.1f}", flush=True)
    return abs(apart) <= BIAS


def annealing(d: int, rows: int, steps: int) -> bool:
    """Both annealed bounds on simulated rows, independent columns: whether bars are held."""
    model, exact = linear(d, tangled=True)
    begun = time.monotonic()
    found = bdmc(model, rows, Annealing(steps=steps, seed=d))
    seconds = time.monotonic() - begun
    batch, _ = simulated(model, rows, d)
    truth = exact.log_prob(batch.x)
    low, high = found.lower, found.upper
    between = (low.per_row - 3 * low.errors <= truth) & (high.per_row + 3 * high.errors >= truth)
    share = float(between.double().mean())
    told = []
    for side in (low, high):
        apart = side.per_row - truth
        told.append(f"{float(apart.mean()):+.4f} +- {float(apart.std() / math.sqrt(rows)):.4f}")
    print(f"  AIS from log p: lower {told[0]}, upper {told[1]}; gap {found.gap:.4f} +-")
    print(f"  {found.gap_se:.4f}; log p between, to 3 errors, in {share:.0%} of rows; accepted")
    print(f"  {low.acceptance:.2f} and {high.acceptance:.2f}; {seconds:.0f} s", flush=True)
    return abs(found.gap) <= GAP and share >= 0.95


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=100, help="data sets of each size")
    parser.add_argument("--rows", type=int, default=40, help="rows of a data set")
    parser.add_argument("--simulated", type=int, default=100, help="rows that are annealed")
    parser.add_argument("--steps", type=int, default=1000, help="of annealing")
    parser.add_argument("--sizes", type=int, nargs="+", default=[2, 4, 8, 16])
    given = parser.parse_args()
    fine, hits = True, torch.zeros(2)
    for d in given.sizes:
        held, counts = importance(d, given.sets, given.rows, tangled=False)
        hits += torch.tensor(counts)
        importance(d, max(2, given.sets // 10), given.rows, tangled=True)
        held = refined(d, given.rows) and held
        fine = annealing(d, given.simulated, given.steps) and held and fine
    trials = given.sets * len(given.sizes)
    # 3 standard deviations of a binomial count below 95 %
    least = 0.95 - 3 * math.sqrt(0.95 * 0.05 / trials)
    shares = (hits / trials).tolist()
    print(f"coverage {shares[0]:.1%} of rows, {shares[1]:.1%} of populations (bar {least:.1%})")
    return int(not (fine and min(shares) >= least))


if __name__ == "__main__":
    sys.exit(main())
