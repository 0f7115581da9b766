"""Errors in baselines, in the bound by its number of draws, in rankings, in what evaluate adds."""

from plants import Plant

GAUSSIANS, LIKELIHOOD = "vaes/evaluate/gaussians.py", "vaes/evaluate/likelihood.py"
COMPARE, THOROUGH = "vaes/evaluate/compare.py", "vaes/evaluate/thorough.py"
SUMMARY, BASELINES = "vaes/evaluate/summary.py", "vaes/evaluate/baselines.py"
T_BASELINES, T_LIKELIHOOD = "tests/evaluate/test_baselines.py", "tests/evaluate/test_likelihood.py"
T_COMPARE, T_EVALUATE = "tests/evaluate/test_compare.py", "tests/test_evaluate.py"

PLANTS = [
    Plant(
        "factor analysis whose noise forgets the loadings",
        GAUSSIANS,
        "noise = (covariance.diagonal() - (loadings * cross).sum(1)).clamp(min=least)",
        "noise = covariance.diagonal().clamp(min=least)",
        (T_BASELINES,),
    ),
    Plant(
        "factor analysis without its log-determinant of the posterior",
        GAUSSIANS,
        "return self.noise.log().sum() + 2 * self._factor().diagonal().log().sum()",
        "return self.noise.log().sum()",
        (T_BASELINES,),
    ),
    Plant(
        "factor analysis whose second moment forgets the posterior's covariance",
        GAUSSIANS,
        "second = torch.eye(d, dtype=torch.float64, device=mean.device) - beta @ loadings",
        "second = torch.zeros(d, d, dtype=torch.float64, device=mean.device)",
        (T_BASELINES,),
    ),
    Plant(
        "a mixture without its weights",
        GAUSSIANS,
        "found.append(log_weight + log_det",
        "found.append(0 * log_weight + log_det",
        (T_BASELINES,),
    ),
    Plant(
        "a mixture of levels scored at the levels themselves",
        GAUSSIANS,
        "generator=draw).double() - 0.5) * bool(cell)",
        "generator=draw).double() - 0.5) * 0",
        (T_BASELINES,),
    ),
    Plant(
        "factor analysis in the model's units",
        GAUSSIANS,
        """    factor = _Factors(mean, loadings, noise)
    scores = torch.cat([factor.score(flat(b)[0] * unit, cell) for b in test.batches(CHUNK)])
    jacobian = float(train.spec.log_jacobian.sum())""",
        """    factor = _Factors(mean, loadings, noise)
    scores = torch.cat([factor.score(flat(b)[0] * unit, cell) for b in test.batches(CHUNK)])
    jacobian = 0.0""",
        (T_BASELINES,),
    ),
    Plant(
        "L_10 without log 10",
        LIKELIHOOD,
        "found.append(weights.mean(0) - math.log(size))",
        "found.append(weights.mean(0))",
        (T_LIKELIHOOD,),
    ),
    Plant(
        "groups of blocks without log K",
        LIKELIHOOD,
        "found[n] = groups.logsumexp(1) - math.log(n)",
        "found[n] = groups.logsumexp(1) - math.log(blocks)",
        (T_LIKELIHOOD,),
    ),
    Plant(
        "the error of the curve over rows alone",
        LIKELIHOOD,
        "told[n] = (draws.mean().item(), math.hypot(standard_error(means.mean(0)), spread))",
        "told[n] = (draws.mean().item(), standard_error(means.mean(0)))",
        (T_LIKELIHOOD,),
    ),
    Plant(
        "differences by their means' errors",
        COMPARE,
        "se = math.hypot(standard_error(apart), _drawn(scored[0], c))",
        "se = math.hypot(standard_error(c.per_row.double()), _drawn(scored[0], c))",
        (T_COMPARE,),
    ),
    Plant(
        "the worst comes first",
        COMPARE,
        "scored.sort(key=lambda c: -float(c.per_row.mean()))",
        "scored.sort(key=lambda c: float(c.per_row.mean()))",
        (T_COMPARE,),
    ),
    Plant(
        "bits beside grey levels",
        COMPARE,
        "if entries[0] != entries[1]:",
        "if entries[0][0] != entries[1][0]:",
        (T_COMPARE,),
    ),
    Plant(
        "other rows are ranked",
        COMPARE,
        "if not same:",
        "if not same and a.rows.shape != b.rows.shape:",
        (T_COMPARE,),
    ),
    Plant(
        "intervals one rank too wide",
        THOROUGH,
        "((ranks >= middle - j) & (ranks < middle + j))",
        "((ranks >= middle - j) & (ranks <= middle + j))",
        (T_EVALUATE,),
    ),
    Plant(
        "groups named by the test rows' own labels",
        THOROUGH,
        "vars(agreement(known.y.cpu(), labels.cpu()))",
        "vars(agreement(known.y.cpu(), known.y.cpu()))",
        (T_EVALUATE,),
    ),
    Plant(
        "no warning of few draws",
        SUMMARY,
        "few = float((score.ess_per_row < enough).double().mean())",
        "few = float((score.ess_per_row > score.k).double().mean())",
        (T_LIKELIHOOD,),
    ),
    Plant(
        "differences without the error of the draws",
        COMPARE,
        "se = math.hypot(standard_error(apart), _drawn(scored[0], c))",
        "se = standard_error(apart)",
        (T_COMPARE,),
    ),
    Plant(
        "the draws' error of a difference as if they were not shared",
        COMPARE,
        "if len(parts) == 2 and len(parts[0]) == len(parts[1]):",
        "if len(parts) == 3:",
        (T_COMPARE,),
    ),
]
