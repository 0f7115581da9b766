"""Errors in annealing, quadrature, refined posteriors and gaps."""

from plants import Plant

ANNEALED = "vaes/evaluate/annealed.py"
HMC = "vaes/evaluate/hmc.py"
QUADRATURE = "vaes/evaluate/quadrature.py"
REFINED = "vaes/evaluate/refined.py"
GAPS = "vaes/evaluate/gaps.py"
T_ANNEALED = ("tests/evaluate/test_annealed.py",)
T_QUADRATURE = ("tests/evaluate/test_quadrature.py",)
T_GAPS = ("tests/evaluate/test_gaps.py",)

PLANTS = [
    # --- annealing ----------------------------------------------------------------------------
    Plant(
        "no log k in the annealed bound",
        ANNEALED,
        "per_row = sign * (total - math.log(k))",
        "per_row = sign * total",
        T_ANNEALED,
    ),
    Plant(
        "the upper bound by the mean of w",
        ANNEALED,
        "return _annealed(parts, how, sign=-1)",
        "return _annealed(parts, how, sign=1)",
        T_ANNEALED,
    ),
    Plant(
        "back from the posterior, weighed before the move",
        ANNEALED,
        """        at, rate = move(at, t, noise)
        accepted = accepted + rate
        log_w = log_w + (betas[t] - betas[t - 1]) * at.log_ratio.double()
    return""",
        """        log_w = log_w + (betas[t] - betas[t - 1]) * at.log_ratio.double()
        at, rate = move(at, t, noise)
        accepted = accepted + rate
    return""",
        T_ANNEALED,
    ),
    Plant(
        "moves at the temperature before",
        HMC,
        "return self.move(path, at, betas[t], size, noise)",
        "return self.move(path, at, betas[t - 1], size, noise)",
        T_ANNEALED,
    ),
    Plant(
        "an error of the sum, not of the mean",
        ANNEALED,
        "(k / ess - 1).clamp(min=0.0) / (k - 1)",
        "(k / ess - 1).clamp(min=0.0)",
        T_ANNEALED,
    ),
    Plant(
        "a sigmoid of half the radius",
        ANNEALED,
        "torch.sigmoid(RADIUS * (2 * t - 1))",
        "torch.sigmoid(RADIUS * (t - 0.5))",
        T_ANNEALED,
    ),
    Plant(
        "from the encoder, the ratio without the prior",
        HMC,
        "log_ratio = log_ratio + self.prior.log_prob(z) - log_start",
        "log_ratio = log_ratio - log_start",
        T_ANNEALED,
    ),
    Plant(
        "the last half step whole",
        HMC,
        "(0.5 if i == steps - 1 else 1.0) * stride",
        "1.0 * stride",
        T_ANNEALED,
    ),
    Plant(
        "accepted whatever the momentum",
        HMC,
        "change = change + 0.5 * (momentum.double().square() - end.double().square()).sum(-1)",
        "change = change + 0.0 * (momentum.double().square() - end.double().square()).sum(-1)",
        T_ANNEALED,
    ),
    Plant(
        "every move accepted",
        HMC,
        "taken = noise.uniform() < accepted",
        "taken = noise.uniform() < 2",
        T_ANNEALED,
    ),
    Plant(
        "numbers by the place in a chunk of rows",
        ANNEALED,
        "noise = Noise((name, how.seed), first, n,",
        "noise = Noise((name, how.seed), 0, n,",
        T_ANNEALED,
    ),
    Plant(
        "step sizes that fall where too much is accepted",
        HMC,
        "gain = RATE * (accepted.mean(0) - self.target)",
        "gain = RATE * (self.target - accepted.mean(0))",
        T_ANNEALED,
    ),
    Plant(
        "the gap upside down",
        ANNEALED,
        "gaps = upper.per_row - lower.per_row",
        "gaps = lower.per_row - upper.per_row",
        T_ANNEALED,
    ),
    # --- quadrature ---------------------------------------------------------------------------
    Plant(
        "no log of the points",
        QUADRATURE,
        "total.append(torch.stack(part).logsumexp(0) - math.log(points))",
        "total.append(torch.stack(part).logsumexp(0))",
        T_QUADRATURE,
    ),
    Plant(
        "the last chunk of points alone",
        QUADRATURE,
        "torch.stack(part).logsumexp(0) - math",
        "part[-1] - math",
        T_QUADRATURE,
    ),
    Plant(
        "a mean of logarithms over scramblings",
        QUADRATURE,
        "return _result(log_p, log_p.logsumexp(0) - math.log(scrambles), points)",
        "return _result(log_p, log_p.sum(0) - math.log(scrambles), points)",
        T_QUADRATURE,
    ),
    Plant(
        "the joint for the conditional",
        QUADRATURE,
        "(math.log(scrambles) if rest is None else rest.logsumexp(0))",
        "math.log(scrambles)",
        T_QUADRATURE,
    ),
    Plant(
        "gaps of the row forgotten in a conditional",
        QUADRATURE,
        "mask = mask if batch.mask is None else mask & batch.mask",
        "mask = mask if batch.mask is None else mask | batch.mask",
        T_QUADRATURE,
    ),
    Plant(
        "points of the standard normal for any prior",
        QUADRATURE,
        "z = prior.draw(noise if alone else noise.expand(-1, len(masked[0]), -1))",
        "z = noise if alone else noise.expand(-1, len(masked[0]), -1)",
        T_QUADRATURE,
    ),
    Plant(
        "errors of one scrambling, not of their mean",
        QUADRATURE,
        "errors=ratio.std(0) / math.sqrt(s)",
        "errors=ratio.std(0)",
        T_QUADRATURE,
    ),
    Plant(
        "the same scrambling every time",
        QUADRATURE,
        'generator("quadrature", seed, scramble)',
        'generator("quadrature", seed)',
        T_QUADRATURE,
    ),
    # --- refined posteriors and gaps ----------------------------------------------------------
    Plant(
        "log q of noise without the determinant",
        REFINED,
        "log_q = -(0.5 * noise.square() + HALF_LOG_2PI).sum(-1) - half_log_det",
        "log_q = -(0.5 * noise.square() + HALF_LOG_2PI).sum(-1)",
        T_GAPS,
    ),
    Plant(
        "an upper factor for a lower one",
        REFINED,
        '"nij,knj->kni"',
        '"nji,knj->kni"',
        T_GAPS,
    ),
    Plant(
        "a fit to the mode",
        REFINED,
        "loss = -(joint + (z * pull).sum(-1)).mean(0).sum()",
        "loss = -joint.mean(0).sum()",
        T_GAPS,
    ),
    Plant(
        "every row moves",
        REFINED,
        "rose = (after > before).unsqueeze(-1)",
        "rose = (after == after).unsqueeze(-1)",
        T_GAPS,
    ),
    Plant(
        "variances widened for standard deviations",
        REFINED,
        "q.log_scale + math.log(self.widen)",
        "q.log_scale + 0.5 * math.log(self.widen)",
        T_GAPS,
    ),
    Plant(
        "full covariances that are not widened",
        REFINED,
        "return CholeskyNormal(best.loc, self.widen * best.tril)",
        "return CholeskyNormal(best.loc, best.tril)",
        T_GAPS,
    ),
    Plant(
        "the family of every encoder diagonal",
        GAPS,
        'own = full if family == "full" else diagonal',
        "own = diagonal",
        T_GAPS,
    ),
    Plant(
        "the approximation gap from the encoder",
        GAPS,
        '("approximation", log_p, own.elbo)',
        '("approximation", log_p, encoder.elbo)',
        T_GAPS,
    ),
    Plant(
        "the error of a gap from its rows alone",
        GAPS,
        "math.hypot(standard_error(found), _jackknife(apart, len(blocks)))",
        "standard_error(found)",
        T_GAPS,
    ),
    Plant(
        "no log k in the evidence of a gap",
        GAPS,
        "return self.log_sums[blocks].logsumexp(0) - math.log(sum(self.sizes[b] for b in blocks))",
        "return self.log_sums[blocks].logsumexp(0) - math.log(len(blocks))",
        T_GAPS,
    ),
]
