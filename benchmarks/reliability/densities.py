"""Every likelihood at random parameters, extremes among them, against scipy and mpmath; its mass or
integral; its gradients against differences.

python -m benchmarks.reliability.densities [--draws 10000]

Bars: error at most 1e-5 (float32) and 1e-10 (float64) of max(1, |log p|), mass 1 +- 1e-6 of what is
discrete, 1 +- 1e-4 of what is continuous. The reference is given the parameters as they were
rounded. Counts beyond a few have parts (x log m, m, log x!) far larger than what is left of them:
they are held to the same share of the largest part, and the plain error is printed too. Widths of
pieces are kept in float32. A row of a table is checked column by column; what an autoregressive one
adds, the order of its conditionals, is enumerated in tests/dist/test_autoregressive.py.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import scipy.special
import scipy.stats
import torch
from mpmath import mp, mpf
from torch import Tensor

from tests.dist.test_cells import ENDS
from tests.dist.test_densities import HEADS, LEVELS, TOLERANCE, log_logistic_mass, uniform, values
from vaes.batch import Spec
from vaes.data.pieces import locate
from vaes.dist import likelihood_head
from vaes.dist.cells import Cells, CellsLikelihood
from vaes.dist.counts import LOG_R, NegativeBinomialLikelihood, PoissonLikelihood
from vaes.dist.discrete import BernoulliLikelihood, CategoricalLikelihood
from vaes.dist.gaussian import NormalLikelihood
from vaes.dist.pixels import DiscretisedLogistic, Logistic
from vaes.dist.selected import REACH, STEP, SelectedLikelihood

DISCRETE, CONTINUOUS = 1e-6, 1e-4  # of masses
COUNTED = 100  # largest mean of a count whose mass is summed
# name, found, expected (None: 1), bar (0: by the precision), size of its parts where they cancel
Check = tuple[str, Tensor, np.ndarray | None, float, np.ndarray | float]


def bernoulli(n: int, dtype: torch.dtype) -> Iterator[Check]:
    logits = uniform(-100, 100, n).to(dtype)
    x = (uniform(0, 1, n, seed=1) < 0.5).to(dtype)
    found = BernoulliLikelihood(logits, 1).terms(x)
    yield "terms", found, scipy.special.log_expit(((2 * x - 1) * logits).double().numpy()), 0, 1
    p = BernoulliLikelihood(logits, 0)
    yield (
        "mass",
        sum(p.terms(torch.full((), k, dtype=dtype)).exp() for k in (0, 1)),
        None,
        DISCRETE,
        1,
    )


def categorical(n: int, dtype: torch.dtype) -> Iterator[Check]:
    for levels in (7, 256):
        logits = uniform(-100, 100, n, levels).to(dtype)
        code = torch.arange(n) % levels
        reference = scipy.special.log_softmax(logits.double().numpy(), -1)
        p = CategoricalLikelihood(logits, 0)
        yield f"terms of {levels}", p.terms(code.to(dtype)), reference[np.arange(n), code], 0, 1
        yield f"mass of {levels}", p.logits.double().exp().sum(-1), None, DISCRETE, 1


def logistic(n: int, dtype: torch.dtype) -> Iterator[Check]:
    for levels in LEVELS:
        low, high = Logistic((1,), levels).bounds
        loc, log_scale = uniform(-0.5, 1.5, n).to(dtype), uniform(low, high, n, seed=1).to(dtype)
        k = torch.arange(n) % levels
        loc[::4] = ((k + uniform(-1, 2, n, seed=2)) / levels)[::4].to(dtype)
        with mp.workdps(60):
            expected = np.array([
                log_logistic_mass(int(i), float(m), float(s), levels)
                for i, m, s in zip(k, loc, log_scale, strict=True)
            ])  # fmt: skip
        p = DiscretisedLogistic(loc, log_scale, levels, 0)
        places = (torch.arange(levels).double() / (levels - 1)).to(dtype)
        yield f"terms of {levels}", p.terms(places[k]), expected, 0, 1
        mass = sum(p.terms(place).double().exp() for place in places)
        yield f"mass of {levels}", torch.as_tensor(mass), None, DISCRETE, 1


def normal(n: int, dtype: torch.dtype) -> Iterator[Check]:
    mean, log_scale = uniform(-3, 3, n).to(dtype), uniform(-6, 3, n, seed=1).to(dtype)
    sigmas = torch.cat([uniform(-6, 6, n - n // 10, seed=2), uniform(-1e6, 1e6, n // 10, seed=3)])
    x = (mean + log_scale.exp() * sigmas).to(dtype)
    scale = np.exp(log_scale.double().numpy())
    expected = scipy.stats.norm.logpdf(x.double().numpy(), mean.double().numpy(), scale)
    yield "terms", NormalLikelihood(mean, log_scale, 1).terms(x), expected, 0, 1
    mean, log_scale = mean.double()[:2000], log_scale.double()[:2000]
    t = torch.linspace(-12, 12, 2001, dtype=torch.float64).unsqueeze(1)
    x = mean + log_scale.exp() * t
    density = NormalLikelihood(mean, log_scale, 0).log_prob(x).exp()
    yield "integral", torch.trapezoid(density, x, dim=0), None, CONTINUOUS, 1


def counts(n: int, dtype: torch.dtype, largest: float) -> Iterator[Check]:
    """Negative binomial and Poisson at means and counts up to `largest`, as near to each other as
    a fit brings them: within a hundred times."""
    log_m = uniform(-18, math.log(largest), n).to(dtype)
    log_r = uniform(*LOG_R, n, seed=1).to(dtype)
    near = log_m.double().exp() * uniform(-4, 4, n, seed=2).exp()
    x = torch.where(torch.arange(n) % 8 == 0, torch.zeros(()), near.round()).clamp(max=largest)
    x = x.to(dtype)
    triples = list(zip(*(v.double().tolist() for v in (x, log_m, log_r)), strict=True))
    with mp.workdps(50):

        def log_p(k: float, log_m: float, log_r: float) -> float:
            k, m, r = mpf(k), mp.exp(mpf(log_m)), mp.exp(mpf(log_r))
            binomial = mp.loggamma(k + r) - mp.loggamma(r) - mp.loggamma(k + 1)
            return float(binomial + r * mp.log(r / (r + m)) + k * mp.log(m / (r + m)))

        binomial = np.array([log_p(*each) for each in triples])
        poisson = np.array([
            float(k * mpf(m) - mp.exp(mpf(m)) - mp.loggamma(mpf(k) + 1)) for k, m, _ in triples
        ])  # fmt: skip
    k, m, _ = np.array(triples).T
    parts = np.maximum.reduce([k * np.abs(m), np.exp(m), scipy.special.gammaln(k + 1)])
    found = NegativeBinomialLikelihood(log_m, log_r).terms(x)
    yield f"negative binomial up to {largest:g}", found, binomial, 0, parts
    yield f"Poisson up to {largest:g}", PoissonLikelihood(log_m).terms(x), poisson, 0, parts


def masses_of_counts(n: int, dtype: torch.dtype) -> Iterator[Check]:
    if dtype != torch.float64:
        return
    log_m = uniform(-18, math.log(COUNTED), 300).double()
    x = torch.arange(0, 40 * COUNTED, dtype=torch.float64).unsqueeze(1)
    log_r = uniform(0, LOG_R[1], 300, seed=1)
    binomial = NegativeBinomialLikelihood(log_m, log_r, 0).terms(x)
    yield "mass of the negative binomial", binomial.exp().sum(0), None, DISCRETE, 1
    yield (
        "mass of the Poisson",
        PoissonLikelihood(log_m, 0).terms(x).exp().sum(0),
        None,
        DISCRETE,
        1,
    )


def pieces(n: int, dtype: torch.dtype) -> Iterator[Check]:
    """One numeric column in five pieces: mass at a value, intervals, exponential tails."""
    spec = Spec((1,), ("numeric",), (5,), pieces=(ENDS,))
    draw = np.random.default_rng(0)
    value = np.where(draw.random(n) < 0.1, 0.0, draw.uniform(-6, 6, n))
    x = torch.from_numpy(locate(value, ENDS)).unsqueeze(1)
    place = x[:, 0] - x[:, 0].floor()
    # nearer to the border of a piece than what float32 keeps of the place there is nothing to check
    x = x[(place > 0.01) & (place < 0.99)].to(dtype)
    logits = uniform(-50, 50, len(x), 5).to(dtype)
    code, place = x.double()[:, 0].floor().long().numpy(), (x.double() % 1)[:, 0].numpy()
    log_p = scipy.special.log_softmax(logits.double().numpy(), -1)[np.arange(len(x)), code]
    # 5 pieces: below -1 + 1 = 0 scale 1, 0 itself, 0 to 2, 2 to 2.5, above with scale .5
    widths = np.array([1.0, 1.0, 2.0, 0.5, 0.5])[code]
    within = -np.log(widths) + np.select([code == 0, code == 4], [np.log(place), np.log1p(-place)])
    found = CellsLikelihood(logits, Cells(spec).to(dtype)).terms(x)[:, 0]
    yield "terms", found, log_p + within, 0 if dtype == torch.float32 else 1e-7, 1


def selected(n: int, dtype: torch.dtype) -> Iterator[Check]:
    """Reals whose gaps depend on them, log-odds that rise by up to 3 in a standard deviation."""
    mean, log_scale = uniform(-3, 3, n).to(dtype), uniform(-3, 1, n, seed=1).to(dtype)
    slope = (uniform(-3, 3, n, seed=2) / log_scale.double().exp()).to(dtype)
    shift = uniform(-5, 5, n, seed=3).to(dtype)
    nodes = torch.linspace(-REACH, REACH, round(2 * REACH / STEP) + 1, dtype=dtype)
    p = SelectedLikelihood(NormalLikelihood(mean, log_scale, 1), shift, slope, nodes)
    x = (mean + log_scale.exp() * uniform(-4, 4, n, seed=4)).to(dtype)
    m, s, b, a, y = (v.double().numpy() for v in (mean, log_scale.exp(), slope, shift, x))
    there = scipy.stats.norm.logpdf(y, m, s) + scipy.special.log_expit(a + b * y)
    yield "observed", p.terms(x, torch.ones(n, dtype=torch.bool)), there, 1e-5, 1
    t = np.linspace(-10, 10, 4001)[:, None]
    absent = scipy.special.expit(-(a + b * (m + s * t))) * scipy.stats.norm.pdf(t)
    gap = np.log(np.trapezoid(absent, t[:, 0], axis=0))
    yield "gap (to 1e-5)", p.terms(x, torch.zeros(n, dtype=torch.bool)), gap, 1e-5, 1


FAMILIES: dict[str, Callable[[int, torch.dtype], Iterator[Check]]] = {
    "Bernoulli": bernoulli,
    "categorical": categorical,
    "discretised logistic": logistic,
    "normal": normal,
    "counts": lambda n, dtype: counts(n, dtype, 1e3),
    "large counts": lambda n, dtype: counts(n, dtype, 1e6),
    "counts, summed": masses_of_counts,
    "pieces": pieces,
    "selected": selected,
}


def gradients(times: int = 20) -> bool:
    """Gradients of every head against differences, float64."""
    made = {name: (head.double(), values(name, 2)) for name, (head, _) in HEADS.items()}
    for family in ("negative_binomial", "poisson"):
        head = likelihood_head(Spec((6,), ("count",), (0,)), family).double()
        made[family] = head, torch.tensor([[0.0, 1, 2, 3, 5, 7]] * 2).double()
    good = True
    for name, (head, x) in made.items():
        for i in range(times):
            draw = torch.Generator().manual_seed(i)
            h = (2 * torch.randn(2, head.size, generator=draw).double()).requires_grad_()
            call = lambda h, head=head, x=x: head(h).log_prob(x)  # noqa: E731
            if not torch.autograd.gradcheck(call, h, raise_exception=False):
                print(f"WRONG gradient of {name} at numbers {i}")
                good = False
    print(f"gradients of {len(made)} heads, {times} parameters each: {'ok' if good else 'WRONG'}")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", type=int, default=10_000)
    n, begun, failed = parser.parse_args().draws, time.monotonic(), 0
    for family, checks in FAMILIES.items():
        for dtype in (torch.float32, torch.float64):
            for what, found, expected, tolerance, parts in checks(n, dtype):
                got, bar = found.double().numpy(), tolerance or TOLERANCE[dtype]
                truth = np.ones_like(got) if expected is None else expected
                size = np.maximum(1, np.abs(truth))
                plain = np.abs(got - truth) / size
                error = np.abs(got - truth) / np.maximum(size, parts)
                bad = not error.max() <= bar  # so that NaN is bad
                aside = f", {plain.max():.1e} of what is left" if np.ndim(parts) else ""
                failed += bad
                kind = str(dtype).removeprefix("torch.")
                print(
                    f"{'WRONG' if bad else 'ok   '} {family}: {what}, {kind}: {len(got):,} values, "
                    f"error {error.max():.1e} (bar {bar:g}){aside}",
                    flush=True,
                )
    failed += not gradients()
    print(f"{failed} failed, {time.monotonic() - begun:.0f} s")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
