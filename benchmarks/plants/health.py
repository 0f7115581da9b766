"""Errors in what is said of a trained model's health."""

from plants import Plant

AGGREGATE = "vaes/evaluate/aggregate.py"
CALIBRATION = "vaes/evaluate/calibration.py"
SYMPTOMS = "vaes/evaluate/symptoms.py"
FINDINGS = "vaes/evaluate/findings.py"
HEALTH = "vaes/evaluate/health.py"
T_AGGREGATE = ("tests/evaluate/test_aggregate.py",)
T_CALIBRATION = ("tests/evaluate/test_calibration.py",)
T_HEALTH = ("tests/evaluate/test_health.py",)

PLANTS = [
    # --- the aggregate posterior ------------------------------------------------------------------
    Plant(
        "the special weight of a part of the rows in its first column",
        AGGREGATE,
        "return shares.fill_diagonal_(-math.log(of))",
        "shares[:, 0] = -math.log(of)\n    return shares",
        T_AGGREGATE,
    ),
    Plant(
        "weights of a part of the rows by its own size",
        AGGREGATE,
        "math.log((of - 1) / (of * (rows - 1)))",
        "math.log((rows - 1) / (rows * (rows - 1)))",
        T_AGGREGATE,
    ),
    Plant(
        "information capped by the part that was looked at",
        AGGREGATE,
        "information = min(float(per_row.mean()), math.log(of))",
        "information = min(float(per_row.mean()), math.log(n))",
        T_AGGREGATE,
    ),
    Plant(
        "no weights in the mixture of the marginals",
        AGGREGATE,
        "(marginals + weight.unsqueeze(-1)).logsumexp(1)",
        "marginals.logsumexp(1)",
        T_AGGREGATE,
    ),
    Plant(
        "total correlation against the prior",
        AGGREGATE,
        '(numbers["mixture"] - each.sum(1)).mean()',
        '(numbers["mixture"] - numbers["prior"]).mean()',
        T_AGGREGATE,
    ),
    Plant(
        "no half log 2 pi in the marginals",
        AGGREGATE,
        "- std.log() - HALF_LOG_2PI",
        "- std.log()",
        T_AGGREGATE,
    ),
    Plant(
        "noise of the draws left in the divergence twice",
        AGGREGATE,
        "apart = apart - slope * noise",
        "apart = apart + slope * noise",
        T_AGGREGATE,
    ),
    Plant(
        "collapse where the share delta of the rows has no rate",
        AGGREGATE,
        ".double().mean(0) >= 1 - delta).sum()",
        ".double().mean(0) >= delta).sum()",
        T_AGGREGATE,
    ),
    Plant(
        "holes by the median of the held-out distances",
        AGGREGATE,
        "border = nearest(held, train).quantile(1 - NOMINAL)",
        "border = nearest(held, train).quantile(0.5)",
        T_AGGREGATE,
    ),
    Plant(
        "holes among held-out codes",
        AGGREGATE,
        "(nearest(drawn, train) > border)",
        "(nearest(drawn, held) > border)",
        T_AGGREGATE,
    ),
    # --- calibration ------------------------------------------------------------------------------
    Plant(
        "ranks counted from above",
        CALIBRATION,
        "below = (drawn < z).sum(0)",
        "below = (drawn > z).sum(0)",
        T_CALIBRATION,
    ),
    Plant(
        "variance of ranks as of a continuous uniform number",
        CALIBRATION,
        "variance = (size**2 - 1) / 12",
        "variance = draws**2 / 12",
        T_CALIBRATION,
    ),
    Plant(
        "error of the spread without the fourth moment",
        CALIBRATION,
        "math.sqrt((fourth - variance**2) / n)",
        "math.sqrt(2 * variance**2 / n)",
        T_CALIBRATION,
    ),
    Plant(
        "one bin too few degrees of freedom",
        CALIBRATION,
        "chi2.sf(statistic.cpu().numpy(), BINS - 1)",
        "chi2.sf(statistic.cpu().numpy(), BINS // 2)",
        T_CALIBRATION,
    ),
    Plant(
        "one-sided p-values of ranks",
        CALIBRATION,
        "2 * norm.sf(torch.stack([mean, spread]).abs()",
        "2 * norm.sf(torch.stack([mean, spread])",
        T_CALIBRATION,
    ),
    Plant(
        "no Bonferroni over dimensions and tests, a level of a tenth",
        CALIBRATION,
        "lowest < LEVEL / (3 * m)",
        "lowest < 10 * LEVEL",
        T_CALIBRATION,
    ),
    Plant(
        "distance from the true code in place of a random point",
        CALIBRATION,
        "(_far(drawn, point) < _far(z, point)).sum(0)",
        "(_far(drawn, z) < _far(point, z)).sum(0)",
        T_CALIBRATION,
    ),
    Plant(
        "ties always below",
        CALIBRATION,
        "ranks = below + (u * (equal + 1)).floor().long().clamp(max=PLACES)",
        "ranks = below",
        T_CALIBRATION,
    ),
    Plant(
        "the likeliest of the weighted codes by its inverse weight",
        CALIBRATION,
        "found.log_weight.double().softmax(0).T",
        "(-found.log_weight.double()).softmax(0).T",
        T_CALIBRATION,
    ),
    Plant(
        "90 % intervals that hold 95 %",
        CALIBRATION,
        "(ranks >= 1) & (ranks < 19)",
        "(ranks >= 1) & (ranks < 20)",
        T_CALIBRATION,
    ),
    Plant(
        "gaps count as outside",
        CALIBRATION,
        "return ranks if batch.mask is None else torch.where(batch.mask, ranks, -1)",
        "return ranks if batch.mask is None else torch.where(batch.mask, ranks, 0)",
        T_CALIBRATION,
    ),
    # --- signs and findings -----------------------------------------------------------------------
    Plant(
        "what stands in a gap is compared too",
        SYMPTOMS,
        "torch.where(mask, x, torch.zeros_like(x)), mask.to(x.dtype)",
        "x, mask.to(x.dtype)",
        T_HEALTH,
    ),
    Plant(
        "a shift between equal values counts",
        SYMPTOMS,
        "last[:-1] = points[:-1] != points[1:]",
        "last[:-1] = True",
        T_HEALTH,
    ),
    Plant(
        "every row told by its own code twice",
        SYMPTOMS,
        "other[order] = order.roll(1)",
        "other[order] = order",
        T_HEALTH,
    ),
    Plant(
        "what entries share without the chance of it",
        SYMPTOMS,
        "return (found - chance) * x.shape[1] / kept.shape[1]",
        "return found * x.shape[1] / kept.shape[1]",
        T_HEALTH,
    ),
    Plant(
        "what some entries share told as that of all",
        SYMPTOMS,
        "return (found - chance) * x.shape[1] / kept.shape[1]",
        "return found - chance",
        T_HEALTH,
    ),
    Plant(
        "floor and ceiling the wrong way round",
        SYMPTOMS,
        "return float(low.max() / n), float(high.max() / n)",
        "return float(high.max() / n), float(low.max() / n)",
        T_HEALTH,
    ),
    Plant(
        "a rise by the whole training",
        SYMPTOMS,
        "t = [(s - fmean(steps)) / (LAST * steps[-1]) for s in steps]",
        "t = [(s - fmean(steps)) / steps[-1] for s in steps]",
        T_HEALTH,
    ),
    Plant(
        "overfitting where test rows are better",
        FINDINGS,
        'gap = p.of["elbo_train"] - p.of["elbo"]',
        'gap = p.of["elbo"] - p.of["elbo_train"]',
        T_HEALTH,
    ),
    Plant(
        "narrow and wide encoders the wrong way round",
        FINDINGS,
        'width = "narrow" if covered < 0.9 else "wide"',
        'width = "wide" if covered < 0.9 else "narrow"',
        T_HEALTH,
    ),
    Plant(
        "every copy is a duplicate, never a leak",
        FINDINGS,
        "usual = by_chance >= BY_CHANCE and",
        "usual = by_chance >= 0 or",
        T_HEALTH,
    ),
    Plant(
        "slack that is the evidence itself",
        HEALTH,
        '"slack": score.mean - score.elbo',
        '"slack": -score.mean',
        T_HEALTH,
    ),
    Plant(
        "a leak that is any more frequent than twins",
        FINDINGS,
        "by_chance = hypergeom.sf(found - 1, n + rows, found + known, n)",
        "by_chance = hypergeom.sf(found, n + rows, found + known, n)",
        T_HEALTH,
    ),
    Plant(
        "a remedy that the recipe does not have",
        "vaes/evaluate/patient.py",
        "or asked <= self.options | SETTINGS",
        "or True",
        T_HEALTH,
    ),
]
