"""Errors in families of likelihoods, and in the recipes sigma_vae and structured_residuals."""

from plants import Plant

OPTIMAL = "vaes/dist/optimal.py"
STRUCTURED = "vaes/dist/structured.py"
RECIPE = "vaes/recipes/structured_residuals.py"
T_FAMILIES = "tests/dist/test_families.py"
T_STRUCTURED = "tests/dist/test_structured.py"
T_SIGMA = "tests/papers/test_sigma_vae.py"
T_RESIDUALS = "tests/papers/test_structured_residuals.py"

PLANTS = [
    Plant(
        "analytic sigma from the posterior mean",
        OPTIMAL,
        "model.posterior(batch).draw(step.noise)",
        "model.posterior(batch).mean",
        (T_SIGMA,),
    ),
    Plant(
        "analytic sigma is the mean square itself",
        OPTIMAL,
        "(0.5 * variance.clamp(min=TINY).log())",
        "(variance.clamp(min=TINY).log())",
        (T_SIGMA,),
    ),
    Plant(
        "a fixed sigma of sigma_vae is taken for its variance",
        "vaes/dist/gaussian.py",
        "torch.tensor(math.log(scale))",
        "torch.tensor(0.5 * math.log(scale))",
        (T_SIGMA, "tests/dist/test_densities.py"),
    ),
    Plant(
        "discretised Gaussian closed at the last level",
        "vaes/dist/pixel_normal.py",
        "torch.where(first | last, ends, inside)",
        "torch.where(first, ends, inside)",
        (T_FAMILIES,),
    ),
    Plant(
        "structured residuals by L r in place of L^T r",
        STRUCTURED,
        "there = padded[..., down : down + height, right + r : right + r + width]",
        "there = F.pad(residual, (r, r, r, 0))[\n"
        "                ..., r - down : r - down + height, r - right : r - right + width\n"
        "            ]",
        (T_STRUCTURED,),
    ),
    Plant(
        "neighbours wrap around the border",
        STRUCTURED,
        "there = padded[..., down : down + height, right + r : right + r + width]",
        "there = residual.roll((-down, -right), (-2, -1))",
        (T_STRUCTURED,),
    ),
    Plant(
        "draws of structured residuals leave neighbours out",
        STRUCTURED,
        "e[..., y, x + r] = rest * inverse[..., y, x]",
        "e[..., y, x + r] = noise[..., y, x] * inverse[..., y, x]",
        (T_STRUCTURED,),
    ),
    Plant(
        "residuals are never opened",
        RECIPE,
        'fill_(float(phase == "residuals"))',
        'fill_(float(phase == "residual"))',
        (T_RESIDUALS,),
    ),
    Plant(
        "both of structured_residuals' phases move the mean",
        RECIPE,
        'Phase("residuals", share, ("residuals",))',
        'Phase("residuals", share, ("model",))',
        (T_RESIDUALS,),
    ),
    Plant(
        "gaps of a full Gaussian by its precision",
        "vaes/dist/joint.py",
        "return torch.where(mask, residual, (covariance @ told).squeeze(-1))",
        "return torch.where(mask, residual, -(covariance @ told).squeeze(-1))",
        (T_FAMILIES, T_STRUCTURED),
    ),
    Plant(
        "Laplace without its half",
        "vaes/dist/heavy.py",
        "return masked(-standard - self.log_scale - math.log(2), mask)",
        "return masked(-standard - self.log_scale, mask)",
        (T_FAMILIES,),
    ),
    Plant(
        "Student's power without its half",
        "vaes/dist/heavy.py",
        "power = 0.5 * (self.log_df.exp() + 1)",
        "power = 0.5 * self.log_df.exp()",
        (T_FAMILIES,),
    ),
    Plant(
        "continuous Bernoulli without its constant",
        "vaes/dist/bounded.py",
        "+ log_normaliser(self.logits) - self.width.log()",
        "- self.width.log()",
        (T_FAMILIES,),
    ),
    Plant(
        "a range that is not in the user's units",
        "vaes/dist/bounded.py",
        "((low - shift) / scale).float()",
        "(low - shift).float()",
        (T_FAMILIES,),
    ),
    Plant(
        "truncated Gaussian without what is cut",
        "vaes/dist/bounded.py",
        "- HALF_LOG_2PI - self._log_mass()\n        return",
        "- HALF_LOG_2PI\n        return",
        (T_FAMILIES,),
    ),
    Plant(
        "a zero is always a zero of its own",
        "vaes/dist/zeros.py",
        "zero = torch.logaddexp(F.logsigmoid(self.logits), counted)",
        "zero = F.logsigmoid(self.logits)",
        (T_FAMILIES,),
    ),
    Plant(
        "ordinal levels in reverse",
        "vaes/dist/ordinal.py",
        "at = (eta + u.logit(eps=1e-7)).unsqueeze(-1)",
        "at = (u.logit(eps=1e-7) - eta).unsqueeze(-1)",
        (T_FAMILIES,),
    ),
    Plant(
        "colours that lean on the value before in another component",
        "vaes/dist/mixture_pixels.py",
        "loc, log_scale, *leans = (t.gather(-3, chosen) for t in (loc, log_scale, *leans))",
        "loc, log_scale = loc.gather(-3, chosen), log_scale.gather(-3, chosen)\n"
        "            leans = [t[..., :1, :, :] for t in leans]",
        (T_FAMILIES,),
    ),
]
