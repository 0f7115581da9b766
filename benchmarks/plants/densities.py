"""Errors in densities of x and z."""

from plants import Plant

BATCH = "vaes/batch.py"
DISCRETE = "vaes/dist/discrete.py"
GAUSSIAN = "vaes/dist/gaussian.py"
COLUMNS = "vaes/dist/columns.py"
CHAIN = "vaes/dist/chain.py"
PIXELS = "vaes/dist/pixels.py"
COUNTS = "vaes/dist/counts.py"
T_COUNTS = "tests/dist/test_counts.py"
PRIORS = "vaes/dist/priors.py"
T_DENSITIES = "tests/dist/test_densities.py"
T_LATENTS = "tests/dist/test_latents.py"
T_FIT = "tests/test_fit.py"

PLANTS = [
    Plant(
        "no log 2 pi in a diagonal Gaussian",
        GAUSSIAN,
        "return -(0.5 * standard.square() + self.log_scale + HALF_LOG_2PI).sum(-1)",
        "return -(0.5 * standard.square() + self.log_scale).sum(-1)",
        (T_LATENTS,),
    ),
    Plant(
        "no log 2 pi in a full Gaussian",
        GAUSSIAN,
        "- self.half_log_det - constant",
        "- self.half_log_det",
        (T_LATENTS,),
    ),
    Plant(
        "no log 2 pi in a Gaussian likelihood",
        GAUSSIAN,
        "- self.log_scale - HALF_LOG_2PI, mask)",
        "- self.log_scale, mask)",
        (T_DENSITIES,),
    ),
    Plant(
        "scale of a Gaussian likelihood as its variance",
        GAUSSIAN,
        "* (-self.log_scale).exp()\n"
        "        return masked(-0.5 * standard.square() - self.log_scale",
        "* (-0.5 * self.log_scale).exp()\n"
        "        return masked(-0.5 * standard.square() - 0.5 * self.log_scale",
        (T_DENSITIES,),
    ),
    Plant(
        "variance of a Gaussian likelihood as the scale of its draws",
        GAUSSIAN,
        "return mean + self.log_scale.exp() * noise",
        "return mean + (2 * self.log_scale).exp() * noise",
        (T_DENSITIES,),
    ),
    Plant(
        "draws by the transposed Cholesky factor",
        GAUSSIAN,
        "(self.tril @ noise.unsqueeze(-1))",
        "(self.tril.mT @ noise.unsqueeze(-1))",
        (T_LATENTS,),
    ),
    Plant(
        "density by the transposed Cholesky factor",
        GAUSSIAN,
        "standard = torch.linalg.solve_triangular(self.tril, centred, upper=False).squeeze(-1)",
        "standard = torch.linalg.solve_triangular(self.tril.mT, centred, upper=True).squeeze(-1)",
        (T_LATENTS,),
    ),
    Plant(
        "variances by columns of the Cholesky factor",
        GAUSSIAN,
        "return self.tril.square().sum(-1)",
        "return self.tril.square().sum(-2)",
        (T_LATENTS,),
    ),
    Plant(
        "posterior head fills the upper triangle",
        GAUSSIAN,
        '"below", rows * latent + columns',
        '"below", columns * latent + rows',
        (T_LATENTS,),
    ),
    Plant(
        "Bernoulli of the other bit",
        DISCRETE,
        "masked(filled(x, mask) * self.logits - softplus, mask)",
        "masked((1 - filled(x, mask)) * self.logits - softplus, mask)",
        (T_DENSITIES,),
    ),
    Plant(
        "categories drawn in reverse",
        DISCRETE,
        "code = (p.cumsum(-1) < u.unsqueeze(-1)).sum(-1)",
        "code = (p.cumsum(-1) > u.unsqueeze(-1)).sum(-1) - 1",
        (T_DENSITIES,),
    ),
    Plant(
        "negative binomial without its binomial",
        COUNTS,
        "return masked(terms + log_rising(x, r) - (x + 1).lgamma(), mask)",
        "return masked(terms - (x + 1).lgamma(), mask)",
        (T_COUNTS,),
    ),
    Plant(
        "Stirling's series off by half a logarithm",
        COUNTS,
        "series = (x + large - 0.5) * ratio",
        "series = (x + large) * ratio",
        (T_COUNTS,),
    ),
    Plant(
        "shares of rows with gaps over all columns",
        COUNTS,
        "if batch.mask is not None:\n            # of a row",
        "if False:\n            # of a row",
        (T_COUNTS,),
    ),
    Plant(
        "new rows of counts all get the median total",
        "vaes/uses/rows.py",
        "blank(model, min(chunk, n - start), draw)",
        "blank(model, min(chunk, n - start))",
        ("tests/test_counts.py",),
    ),
    Plant(
        "totals count what is missing",
        BATCH,
        'x if taken["mask"] is None else x * taken["mask"]',
        "x",
        (T_COUNTS,),
    ),
    Plant(
        "logistic bins shifted by one",
        PIXELS,
        "low, high = (k / n - self.loc) * inverse, ((k + 1) / n - self.loc) * inverse",
        "low, high = ((k - 1) / n - self.loc) * inverse, (k / n - self.loc) * inverse",
        (T_DENSITIES,),
    ),
    Plant(
        "logistic bins closed at both ends",
        PIXELS,
        "inside = (k > 0.5) & (k < n - 1.5)",
        "upper, lower = F.softplus(-high), F.softplus(low)\n"
        "        inside = torch.ones_like(k, dtype=torch.bool)",
        (T_DENSITIES,),
    ),
    Plant(
        "mixed columns in the order of their kinds",
        COLUMNS,
        "return torch.cat(parts, -1)[..., self._back]",
        "return torch.cat(parts, -1)",
        (T_DENSITIES,),
    ),
    Plant(
        "a chain whose links see their values in reverse",
        CHAIN,
        "found.append(link(value[..., :end]))",
        "found.append(link(value[..., :end].flip(-1)))",
        (T_LATENTS,),
    ),
    Plant(
        "a prior fitted without its mean",
        PRIORS,
        "self.loc.copy_(z.mean(0))",
        "self.loc.copy_(z.mean(0) * 0)",
        (T_FIT,),
    ),
]
