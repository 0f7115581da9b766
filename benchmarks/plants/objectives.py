"""Errors in bounds, in the weights of their parts, in units and gaps."""

from plants import Plant

BATCH = "vaes/batch.py"
OBJECTIVE = "vaes/objective/weights.py"
ELBO = "vaes/objective/elbo.py"
IMPORTANCE = "vaes/objective/importance.py"
FIT = "vaes/fit.py"
BASE = "vaes/dist/base.py"
GAUSSIAN = "vaes/dist/gaussian.py"
PPCA = "vaes/recipes/ppca.py"
LIKELIHOOD = "vaes/evaluate/likelihood.py"
T_OBJECTIVE = "tests/test_objective.py"
T_DENSITIES = "tests/dist/test_densities.py"
T_LATENTS = "tests/dist/test_latents.py"
T_FIT = "tests/test_fit.py"
T_PPCA = "tests/test_ppca.py"
T_PLANTED = "tests/test_planted.py"
T_EVIDENCE = "tests/evaluate/test_likelihood.py"

PLANTS = [
    # --- the bound --------------------------------------------------------------------------------
    Plant(
        "KL with the wrong sign",
        ELBO,
        "return distortion + self.beta * rate",
        "return distortion - self.beta * rate",
        (T_OBJECTIVE,),
    ),
    Plant(
        "KL(p || q) of diagonal families",
        OBJECTIVE,
        "rates = diagonal_kl_terms(q, p)",
        "rates = diagonal_kl_terms(p, q)",
        (T_OBJECTIVE,),
    ),
    Plant(
        "KL(p || q) of other families",
        OBJECTIVE,
        "rates = kl_divergence(q, p).unsqueeze(-1)",
        "rates = kl_divergence(p, q).unsqueeze(-1)",
        (T_OBJECTIVE,),
    ),
    Plant(
        "KL(p || q) in the reported ELBO",
        LIKELIHOOD,
        "rate = kl_divergence(q, p).double()",
        "rate = kl_divergence(p, q).double()",
        (T_EVIDENCE,),
    ),
    Plant(
        "KL without the distance of the means",
        GAUSSIAN,
        "return 0.5 * ((2 * log_ratio).exp() + offset.square() - 1) - log_ratio",
        "return 0.5 * ((2 * log_ratio).exp() - 1) - log_ratio",
        (T_LATENTS,),
    ),
    Plant(
        "rate averaged over latent dimensions",
        OBJECTIVE,
        "return Terms(distortion, rates.sum(-1), rates)",
        "return Terms(distortion, rates.mean(-1), rates)",
        (T_OBJECTIVE,),
    ),
    Plant(
        "distortion averaged over data dimensions",
        BASE,
        "return terms.flatten(-dims).sum(-1) if dims else terms",
        "return terms.flatten(-dims).mean(-1) if dims else terms",
        (T_OBJECTIVE,),
    ),
    Plant(
        "distortion at the mean code",  # a linear VAE then ends at sigma^2 = .323902, not .486241
        OBJECTIVE,
        "distortion = -log_likelihood(model, z, batch).mean(0)",
        "distortion = -log_likelihood(model, q.mean.unsqueeze(0), batch).mean(0)",
        (T_OBJECTIVE,),
    ),
    Plant(
        "no gradient through the sample of the ELBO",
        OBJECTIVE,
        "    z, log_posterior = q.drawn(noise)\n    distortion",
        "    z, log_posterior = (t.detach() for t in q.drawn(noise))\n    distortion",
        (T_OBJECTIVE,),
    ),
    Plant(
        "no gradient through the sample of the IWAE",
        OBJECTIVE,
        "    z, log_posterior = q.drawn(noise)\n    log_prior",
        "    z = q.draw(noise).detach()\n    log_posterior = q.log_prob(z)\n    log_prior",
        (T_OBJECTIVE,),
    ),
    Plant(
        "no log k in the IWAE",
        IMPORTANCE,
        "return -(log_w.logsumexp(0) - math.log(log_w.shape[0])).mean()",
        "return -log_w.logsumexp(0).mean()",
        (T_OBJECTIVE,),
    ),
    Plant(
        "log-mean-exp over the batch",
        IMPORTANCE,
        "return -(log_w.logsumexp(0) - math.log(log_w.shape[0])).mean()",
        "return -(log_w.logsumexp(1) - math.log(log_w.shape[1])).mean()",
        (T_OBJECTIVE,),
    ),
    # --- the weights of the rate ------------------------------------------------------------------
    Plant(
        "beta in the reported bound",
        LIKELIHOOD,
        "elbo = -(distortion + rates.sum(-1))",
        'beta = getattr(getattr(model, "objective", None), "beta", 1.0)\n'
        "    elbo = -(distortion + beta * rates.sum(-1))",
        (T_EVIDENCE,),
    ),
    Plant(
        "free bits after the mean over dimensions",
        ELBO,
        "rate = found.rates.mean(0).clamp(min=free).sum()",
        "rate = found.rates.mean(0).mean().clamp(min=free) * found.rates.shape[-1]",
        (T_OBJECTIVE,),
    ),
    Plant(
        "free bits of every row by itself",
        ELBO,
        "rate = found.rates.mean(0).clamp(min=free).sum()",
        "rate = found.rates.clamp(min=free).mean(0).sum()",
        (T_OBJECTIVE,),
    ),
    Plant(
        "a warm-up that goes on rising",
        ELBO,
        "rate = rate * (self.into(step) / self.warmup).clamp(max=1.0)",
        "rate = rate * (self.into(step) / self.warmup)",
        (T_OBJECTIVE,),
    ),
    Plant(
        "a warm-up over the whole budget",
        ELBO,
        "rate = rate * (self.into(step) / self.warmup).clamp(max=1.0)",
        "rate = rate * self.into(step)",
        (T_OBJECTIVE,),
    ),
    Plant(
        "a warm-up that the loop never begins",
        FIT,
        "fraction=(p.step - start) / max(1, end - start),",
        "fraction=1.0,",
        (T_FIT, T_PLANTED),
    ),
    Plant(
        "a capacity that only pulls down",
        ELBO,
        "(rate - self.capacity * step.fraction).abs()",
        "(rate - self.capacity * step.fraction).clamp(min=0)",
        (T_OBJECTIVE,),
    ),
    # --- units and gaps ---------------------------------------------------------------------------
    Plant(
        "Jacobian with the wrong sign",
        BATCH,
        "torch.where(real, -scale.log(), ",
        "torch.where(real, scale.log(), ",
        (T_OBJECTIVE,),
    ),
    Plant(
        "Jacobian of discrete entries",
        BATCH,
        "return torch.where(real, -scale.log(), torch.zeros((), dtype=torch.float64)).view(",
        "return (-scale.log()).view(",
        (T_OBJECTIVE,),
    ),
    Plant(
        "no Jacobian where rows have gaps",
        OBJECTIVE,
        "return (batch.mask * model.log_jacobian).flatten(1).sum(-1).to(batch.x.dtype)",
        "return batch.x.new_zeros(len(batch))",
        (T_OBJECTIVE,),
    ),
    Plant(
        "Jacobian of missing entries",
        OBJECTIVE,
        "return (batch.mask * model.log_jacobian).flatten(1).sum(-1).to(batch.x.dtype)",
        "return model.log_jacobian.sum().to(batch.x.dtype)",
        (T_OBJECTIVE,),
    ),
    Plant(
        "missing entries counted",
        BASE,
        "return terms if mask is None else torch.where(mask, terms, torch.zeros_like(terms))",
        "return terms",
        (T_DENSITIES, T_OBJECTIVE),
    ),
    Plant(
        "pPCA that reads what is missing",
        PPCA,
        "projected = (x * observed) @ self.weight / self.variance",
        "projected = x @ self.weight / self.variance",
        (T_PPCA,),
    ),
]
