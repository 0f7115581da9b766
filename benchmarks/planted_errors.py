"""Would the tests notice? Plants known errors in a copy of the package, one at a time.

    python benchmarks/planted_errors.py [--only NAME ...] [--list]

Each error is one edit that leaves a program that runs and says something false. The copy lies in a
temporary folder; of the tests, the files that should notice run first, the rest of the quick suite
only if they passed. Tests that are red before anything is planted are named and left out, so that
they kill nothing. Exit status 1 below 95 % killed, 2 where an error can no longer be planted:
an edit whose place has moved must be written anew, not forgotten.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("vaes", "tests", "pyproject.toml", "README.md")
# minutes of killed processes that say nothing of arithmetic; they need benchmarks/ beside them
SLOW = ("tests/test_reliability.py",)
NEEDED = 0.95
LIMIT = 600  # seconds after which a test run counts as failed: a program that hangs is noticed

BATCH, MODEL, OBJECTIVE = "vaes/batch.py", "vaes/model.py", "vaes/objective.py"
OPTIM, FIT, RUN, DISK = "vaes/optim.py", "vaes/fit.py", "vaes/run.py", "vaes/disk.py"
BASE, DISCRETE, GAUSSIAN = "vaes/dist/base.py", "vaes/dist/discrete.py", "vaes/dist/gaussian.py"
COLUMNS, CHAIN, PIXELS = "vaes/dist/columns.py", "vaes/dist/chain.py", "vaes/dist/pixels.py"
COUNTS, T_COUNTS = "vaes/dist/counts.py", "tests/dist/test_counts.py"
PRIORS, PPCA = "vaes/dist/priors.py", "vaes/recipes/ppca.py"
LIKELIHOOD, SUMMARY = "vaes/evaluate/likelihood.py", "vaes/evaluate/summary.py"
BASELINES = "vaes/evaluate/baselines.py"
CODES, PATHS, ROWS = "vaes/uses/codes.py", "vaes/uses/paths.py", "vaes/uses/rows.py"
SPACE, SCHEMA, SPLIT = "vaes/data/space.py", "vaes/data/schema.py", "vaes/data/split.py"

T_OBJECTIVE, T_RECIPES = "tests/test_objective.py", "tests/test_recipes.py"
T_DENSITIES, T_LATENTS = "tests/dist/test_densities.py", "tests/dist/test_latents.py"
T_OPTIM, T_FIT, T_PPCA = "tests/test_optim.py", "tests/test_fit.py", "tests/test_ppca.py"
T_USES, T_SCHEMA, T_DISK = "tests/test_uses.py", "tests/data/test_schema.py", "tests/test_disk.py"
T_BASELINES, T_RESUME = "tests/evaluate/test_baselines.py", "tests/run/test_resume.py"
T_DAMAGE, T_PLANTED = "tests/run/test_damage.py", "tests/test_planted.py"
T_EVIDENCE = "tests/evaluate/test_likelihood.py"
T_AUTOREGRESSIVE, T_CELLS = "tests/dist/test_autoregressive.py", "tests/dist/test_cells.py"
T_LATENT_CLASS = "tests/test_latent_class.py"
AUTOREGRESSIVE, CELLS = "vaes/dist/autoregressive.py", "vaes/dist/cells.py"
FLOWS, T_FLOWS = "vaes/dist/flows.py", "tests/dist/test_flows.py"
SAMPLES, T_SAMPLES = "vaes/evaluate/samples.py", "tests/evaluate/test_samples.py"
DISENTANGLE = "vaes/evaluate/disentangle.py"
T_DISENTANGLE = "tests/evaluate/test_disentangle.py"
LATENT_CLASS, COMPOSED = "vaes/recipes/latent_class.py", "vaes/composed.py"


@dataclass(frozen=True)
class Plant:
    """One error: in `file` the snippet `old`, found exactly once, becomes `new`.

    tests: the files that should notice, run first.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


PLANTS = [
    # --- tables -----------------------------------------------------------------------------------
    Plant(
        "a column sees itself",
        AUTOREGRESSIVE,
        "return embedded.cumsum(-2) - embedded",
        "return embedded.cumsum(-2)",
        (T_AUTOREGRESSIVE,),
    ),
    Plant(
        "gaps are embedded",
        AUTOREGRESSIVE,
        "embedded = embedded * mask.unsqueeze(-1)",
        "embedded = embedded * mask.unsqueeze(-1) + embedded * 0.5",
        (T_AUTOREGRESSIVE,),
    ),
    Plant(
        "missing values predicted from their being missing",
        AUTOREGRESSIVE,
        "told[..., by] &= mask[..., j] | (known[..., by] == 1)",
        "told[..., by] &= True",
        (T_AUTOREGRESSIVE,),
    ),
    Plant(
        "missing columns drawn without what is observed after them",
        AUTOREGRESSIVE,
        "self.context + shown.sum(-2)",
        "self.context + shown[..., :1, :].sum(-2)",
        (T_AUTOREGRESSIVE,),
    ),
    Plant(
        "cells a knot away from their curve",
        "vaes/nets/curves.py",
        "at - left",
        "at - left + 1",
        ("tests/nets/test_nets.py",),
    ),
    Plant(
        "codes of a gap not weighted by what is observed",
        "vaes/uses/cells.py",
        "weight[:, rows].unsqueeze(-1) * share",
        "share / len(z)",
        ("tests/uses/test_impute.py",),
    ),
    Plant(
        "the width of a piece left out of its density",
        CELLS,
        "left.clamp(min=PLACE[0]).log() - self.log_width[cell]",
        "left.clamp(min=PLACE[0]).log() + 0 * self.log_width[cell]",
        (T_CELLS,),
    ),
    Plant(
        "tails that do not fall",
        CELLS,
        "torch.where(tail < 0, place, torch.where(tail > 0, 1 - place, 1.0))",
        "torch.ones_like(place)",
        (T_CELLS,),
    ),
    Plant(
        "draws from the tails",
        CELLS,
        "if not self.tailed[j]:",
        "if True:",
        (T_CELLS,),
    ),
    Plant(
        "EM without the weights of the classes",
        LATENT_CLASS,
        "return OneHot(given + self.weights.log_softmax(-1))",
        "return OneHot(given)",
        (T_LATENT_CLASS,),
    ),
    Plant(
        "EM that keeps the sums of the last pass",
        LATENT_CLASS,
        "self.counts.zero_()",
        "self.counts.mul_(0.5)",
        (T_LATENT_CLASS,),
    ),
    Plant(
        "the encoder sees all there is while training",
        COMPOSED,
        "if not self.training:\n            return mask",
        "if True:\n            return mask",
        ("tests/nets/test_nets.py",),
    ),
    # --- the compiled evidence --------------------------------------------------------------------
    Plant(
        "factors beyond the last whole product left out",
        DISCRETE,
        "groups = -(-n // FACTORS)\n    x = F.pad(x, (0, groups * FACTORS - n))",
        "groups = n // FACTORS\n    x = x[..., : groups * FACTORS]",
        (T_EVIDENCE,),
    ),
    Plant(
        "softplus without its linear part in the compiled Bernoulli",
        DISCRETE,
        "logits - logits.clamp(min=0)).sum(-1)",
        "logits).sum(-1)",
        (T_EVIDENCE,),
    ),
    # --- the bound --------------------------------------------------------------------------------
    Plant(
        "KL with the wrong sign",
        OBJECTIVE,
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
        "    z = q.draw(noise)\n    distortion",
        "    z = q.draw(noise).detach()\n    distortion",
        (T_OBJECTIVE,),
    ),
    Plant(
        "no gradient through the sample of the IWAE",
        OBJECTIVE,
        "    z = q.draw(noise)\n    return Draw(",
        "    z = q.draw(noise).detach()\n    return Draw(",
        (T_OBJECTIVE,),
    ),
    Plant(
        "no log k in the IWAE",
        OBJECTIVE,
        "return -(log_w.logsumexp(0) - math.log(log_w.shape[0])).mean()",
        "return -log_w.logsumexp(0).mean()",
        (T_OBJECTIVE,),
    ),
    Plant(
        "log-mean-exp over the batch",
        OBJECTIVE,
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
        OBJECTIVE,
        "rate = found.rates.mean(0).clamp(min=free).sum()",
        "rate = found.rates.mean(0).mean().clamp(min=free) * found.rates.shape[-1]",
        (T_OBJECTIVE,),
    ),
    Plant(
        "free bits of every row by itself",
        OBJECTIVE,
        "rate = found.rates.mean(0).clamp(min=free).sum()",
        "rate = found.rates.clamp(min=free).mean(0).sum()",
        (T_OBJECTIVE,),
    ),
    Plant(
        "a warm-up that goes on rising",
        OBJECTIVE,
        "rate = rate * (step.fraction / self.warmup).clamp(max=1.0)",
        "rate = rate * (step.fraction / self.warmup)",
        (T_OBJECTIVE,),
    ),
    Plant(
        "a warm-up over the whole budget",
        OBJECTIVE,
        "rate = rate * (step.fraction / self.warmup).clamp(max=1.0)",
        "rate = rate * step.fraction",
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
        OBJECTIVE,
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
    # --- densities --------------------------------------------------------------------------------
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
        "upper = torch.where(k > n - 1.5, torch.zeros_like(high), F.softplus(-high))\n"
        "        lower = torch.where(k < 0.5, torch.zeros_like(low), F.softplus(low))\n"
        "        inside = (k > 0.5) & (k < n - 1.5)",
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
        "total = total + link(value[..., :end]).log_prob(part)",
        "total = total + link(value[..., :end].flip(-1)).log_prob(part)",
        (T_LATENTS,),
    ),
    Plant(
        "a prior fitted without its mean",
        PRIORS,
        "self.loc.copy_(codes.mean(0))",
        "self.loc.copy_(codes.mean(0) * 0)",
        (T_FIT,),
    ),
    # --- one step ---------------------------------------------------------------------------------
    Plant(
        "players descend the sum of all losses",
        OPTIM,
        "torch.autograd.grad(\n                loss,",
        "torch.autograd.grad(\n                torch.stack([*losses.values()]).sum(),",
        (T_OPTIM,),
    ),
    Plant(
        "owners by the first letters of a name",
        MODEL,
        'name.startswith(own + ".")',
        "name.startswith(own)",
        (T_PLANTED,),
    ),
    Plant(
        "no bias correction in Adam",  # 1 - beta^t is 1 from the start
        OPTIM,
        "self.steps = torch.zeros((), ",
        "self.steps = torch.full((), 1e6, ",
        (T_OPTIM,),
    ),
    Plant(
        "one beta for both moments",
        OPTIM,
        "beta2=player.betas[1],",
        "beta2=player.betas[0],",
        (T_OPTIM,),
    ),
    Plant(
        "steps that are not finite are taken",
        OPTIM,
        "        elif not good:",
        "        elif False:",
        (T_OPTIM,),
    ),
    Plant(
        "skipped steps shrink the moments",
        OPTIM,
        "        player, state = self.model.players[name], self.moments[name]\n",
        "        player, state = self.model.players[name], self.moments[name]\n"
        "        gs, norm = [torch.where(good, g, 0.0) for g in gs], norm.nan_to_num(0.0, 0.0)\n"
        "        good = torch.ones_like(good)\n",
        (T_OPTIM,),
    ),
    Plant(
        "skipped steps count for the bias correction",
        OPTIM,
        "            return\n        elif over == 1:",
        "            state.steps.add_(1)\n            return\n        elif over == 1:",
        (T_OPTIM,),
    ),
    Plant(
        "moments that live are swept away",
        OPTIM,
        "tensor.abs() < DUST",
        "tensor.abs() > DUST",
        (T_OPTIM, T_PLANTED),
    ),
    Plant(
        "a streak of skipped steps that never ends",
        OPTIM,
        "self.streak.add_(1).mul_(~good)",
        "self.streak.add_(~good)",
        (T_OPTIM,),
    ),
    Plant(
        "one learning rate for all players",
        OPTIM,
        "lr=rate * player.rate,",
        "lr=rate,",
        (T_OPTIM,),
    ),
    Plant(
        "clipping by the largest tensor's norm",
        OPTIM,
        "n: torch.stack([g.square().sum() for g in gs]).sum().sqrt()",
        "n: torch.stack([g.square().sum() for g in gs]).max().sqrt()",
        (T_OPTIM,),
    ),
    Plant(
        "clipping that lengthens short gradients",
        OPTIM,
        "(norm / limit).clamp(min=1.0)",
        "(norm / limit)",
        (T_OPTIM,),
    ),
    # --- the loop ---------------------------------------------------------------------------------
    Plant(
        "the average keeps the buffers that training began with",
        OPTIM,
        "            ours.copy_(theirs)\n        return self.model",
        "            pass\n        return self.model",
        (T_FIT, T_PLANTED),
    ),
    Plant(
        "the last weights are kept",
        FIT,
        "if score > p.best:",
        "if score is not None:",
        (T_FIT,),
    ),
    Plant(
        "a phase begins from the last weights",
        FIT,
        "            self.model.load_state_dict(self.best)\n            p.phase, p.begun",
        "            p.phase, p.begun",
        (T_FIT, T_PLANTED),
    ),
    Plant(
        "weights of the warm-up are kept",
        FIT,
        "if p.step >= min(start + self.plan.warmup, end):",
        "if p.step <= end:",
        (T_FIT, T_PLANTED),
    ),
    Plant(
        "patience that nothing exhausts",
        FIT,
        "waited > plan.patience",
        "waited > plan.steps",
        (T_FIT, T_RESUME),
    ),
    Plant(
        "the same noise at every step",
        MODEL,
        'draw = generator("step", seed, step, device=like.device)',
        'draw = generator("step", seed, device=like.device)',
        (T_OBJECTIVE,),
    ),
    Plant(
        "noise of the global generator",
        MODEL,
        "self.samples, n, self.latent, generator=draw, dtype=like.dtype, device=like.device",
        "self.samples, n, self.latent, dtype=like.dtype, device=like.device",
        (T_OBJECTIVE,),
    ),
    Plant(
        "the same order in every epoch",
        BATCH,
        'generator=generator("order", seed, epoch)',
        'generator=generator("order", seed)',
        (T_OPTIM,),
    ),
    # --- what is reported -------------------------------------------------------------------------
    Plant(
        "no log k in the evidence",
        LIKELIHOOD,
        "per_row, elbos = total - math.log(k), ",
        "per_row, elbos = total, ",
        (T_USES, T_EVIDENCE),
    ),
    Plant(
        "noise of the evidence by the size of a chunk of rows",
        LIKELIHOOD,
        "shared_noise(model, size, seed, batch.x, block)",
        "shared_noise(model, size, seed + len(batch), batch.x, block)",
        (T_EVIDENCE,),
    ),
    Plant(
        "noise of the bound by the place in a chunk of rows",
        LIKELIHOOD,
        "yield batch, noise[:, start : start + len(batch)]",
        "yield batch, noise[:, : len(batch)]",
        (T_EVIDENCE,),
    ),
    Plant(
        "the same noise in every block of draws",
        LIKELIHOOD,
        'draw = generator("score", seed, block, device=like.device)',
        'draw = generator("score", seed, device=like.device)',
        (T_EVIDENCE,),
    ),
    Plant(
        "blocks of unequal size weigh the same",
        LIKELIHOOD,
        "elbo = (elbos * sizes.to(elbos.device)[:, None]).sum(0) / k",
        "elbo = elbos.mean(0)",
        (T_EVIDENCE,),
    ),
    Plant(
        "effective sample size without the square",
        LIKELIHOOD,
        "ess=(2 * total - squares).exp()",
        "ess=(total - squares).exp()",
        (T_EVIDENCE,),
    ),
    Plant(
        "Monte Carlo error of one block, not of all",
        LIKELIHOOD,
        "return math.sqrt((blocks - 1) / blocks * (values - values.mean()).square().sum().item())",
        "return math.sqrt(blocks * (values - values.mean()).square().sum().item())",
        (T_EVIDENCE,),
    ),
    Plant(
        "bits per dimension in nats",
        SUMMARY,
        "-score.mean / (seen * math.log(2))",
        "-score.mean / seen",
        (T_EVIDENCE,),
    ),
    Plant(
        "active units of a run by the standard deviation",
        LIKELIHOOD,
        "codes.var(0, correction=0) > 0.01",
        "codes.std(0, correction=0) > 0.01",
        (T_EVIDENCE,),
    ),
    Plant(
        "active units by the standard deviation",
        CODES,
        "variance = torch.cat(means).double().var(0, correction=0)",
        "variance = torch.cat(means).double().std(0, correction=0)",
        (T_USES,),
    ),
    # --- data -------------------------------------------------------------------------------------
    Plant(
        "scaling by all rows",
        SCHEMA,
        "mean, spread = moments(train.reshape(len(train), -1) if by_column",
        "mean, spread = moments(source.x.reshape(len(source.x), -1) if by_column",
        (T_SCHEMA,),
    ),
    Plant(
        "labels of other rows",
        SCHEMA,
        "torch.from_numpy(source.y[rows])",
        "torch.from_numpy(source.y[: len(rows)])",
        (T_SCHEMA,),
    ),
    Plant(
        "training rows that also validate",
        SPLIT,
        "starts = (0, *stops[:2])",
        "starts = (0, stops[0] - valid, stops[1])",
        (T_SCHEMA,),
    ),
    Plant(
        "reals come back without their shift",
        SPACE,
        "out[:, columns] = (low * 0.5 + span * 0.5 * values) * 2",
        "out[:, columns] = span * values",
        (T_SCHEMA,),
    ),
    Plant(
        "levels come back without their shift",
        SPACE,
        "out[:, columns] = low + code * span / (levels - 1)",
        "out[:, columns] = code * span / (levels - 1)",
        (T_SCHEMA,),
    ),
    Plant(
        "grey levels on a grid of k / levels",
        BATCH,
        "x = x / (self.spec.levels[0] - 1)",
        "x = x / self.spec.levels[0]",
        (T_SCHEMA,),
    ),
    # --- pPCA -------------------------------------------------------------------------------------
    Plant(
        "EM without the posterior's covariance",
        PPCA,
        "moment[:, :-1, :-1] += q.covariance_matrix",
        "moment[:, :-1, :-1] += q.covariance_matrix * 0",
        (T_PPCA,),
    ),
    Plant(
        "noise variance from the residual of the mean codes",
        PPCA,
        "variance = values[d:].mean().clamp(min=FLOOR)",
        "variance = (values[d:].sum() / size).clamp(min=FLOOR)",
        (T_PPCA,),
    ),
    Plant(
        "eigenvalues over N - 1",
        PPCA,
        "torch.linalg.eigh(scatter / len(data))",
        "torch.linalg.eigh(scatter / (len(data) - 1))",
        (T_PPCA,),
    ),
    Plant(
        "eigenvalues of the baseline over N - 1",
        BASELINES,
        "torch.linalg.eigh(scatter / len(train))",
        "torch.linalg.eigh(scatter / (len(train) - 1))",
        (T_BASELINES,),
    ),
    # --- uses -------------------------------------------------------------------------------------
    Plant(
        "paths whose ends are swapped",
        PATHS,
        "return torch.cat([ends[0], torch.cat(parts), ends[1]], 1)",
        "return torch.cat([ends[1], torch.cat(parts), ends[0]], 1)",
        (T_USES,),
    ),
    Plant(
        "paths that reach their ends twice",
        PATHS,
        "t = torch.linspace(0, 1, steps, dtype=z[0].dtype, device=z[0].device)[1:-1]",
        "t = torch.linspace(0, 1, steps - 2, dtype=z[0].dtype, device=z[0].device)",
        (T_USES,),
    ),
    Plant(
        "intervals that leave out both tails at each end",
        ROWS,
        "low = math.floor((1 - level) / 2 * (draws - 1))",
        "low = math.floor((1 - level) * (draws - 1))",
        (T_USES,),
    ),
    # --- files ------------------------------------------------------------------------------------
    Plant(
        "a file renamed before it is durable",
        DISK,
        "                os.fsync(file.fileno())\n            os.replace(aside, path)",
        "            os.replace(aside, path)",
        (T_DISK,),
    ),
    Plant(
        "a rename that is not made durable",
        DISK,
        "        sync_folder(path.parent)\n    return hashlib",
        "    return hashlib",
        (T_DISK,),
    ),
    Plant(
        "weights read without a look at their checksum",
        RUN,
        'if disk.sha256(path) != self.info["weights"]:',
        "if not disk.sha256(path):",
        (T_DAMAGE,),
    ),
    Plant(
        "states read without a look at their checksum",
        RUN,
        'if not path.exists() or disk.sha256(path) != entry["sha256"]:',
        "if not path.exists():",
        (T_DAMAGE,),
    ),
    Plant(
        "a resume that forgets Adam's second moments",
        OPTIM,
        'f"second/{names[i]}": t for',
        'f"second/{names[i]}": t.clone() for',
        (T_RESUME,),
    ),
    Plant(
        "a resume that tells the last steps twice",
        RUN,
        'self._cut_metrics(meta["metrics"])',
        'self._cut_metrics(2**62 + meta["metrics"])',
        (T_RESUME,),
    ),
    # --- flows, odd entries, ends of columns ------------------------------------------------------
    Plant(
        "a flow without its Jacobian",
        FLOWS,
        "change = change + log_scale",
        "change = change + 0 * log_scale",
        (T_FLOWS,),
    ),
    Plant(
        "a flow that moves what it looks at",
        FLOWS,
        "net(z * self.fixed[i])",
        "net(z)",
        (T_FLOWS,),
    ),
    Plant(
        "a flow without the constant of its noise",
        FLOWS,
        "(-0.5 * noise.square() - HALF_LOG_2PI)",
        "(-0.5 * noise.square())",
        (T_FLOWS,),
    ),
    Plant(
        "odd entries cost nothing",
        "vaes/uses/detect.py",
        "data.unseen.flatten(1).sum(1).double() * new_nats(model)",
        "data.unseen.flatten(1).sum(1).double() * 0",
        ("tests/uses/test_detect.py",),
    ),
    Plant(
        "a value far out widens an interval of many rows",
        "vaes/data/pieces.py",
        "halvings = max(0, int(",
        "halvings = 0 * max(0, int(",
        ("tests/data/test_pieces.py",),
    ),
    Plant(
        "p-values without the row itself",
        "vaes/uses/detect.py",
        "(1 + n - below).double()",
        "(n - below).double()",
        ("tests/uses/test_detect.py",),
    ),
    # --- drawn rows beside real ones --------------------------------------------------------------
    Plant(
        "Frechet distance without the means",
        SAMPLES,
        "float(apart + cov.trace()",
        "float(cov.trace()",
        (T_SAMPLES,),
    ),
    Plant(
        "Frechet distance of products that are not symmetric",
        SAMPLES,
        "torch.linalg.eigvalsh(root @ other_cov @ root)",
        "torch.linalg.eigvalsh(cov @ other_cov)",
        (T_SAMPLES,),
    ),
    Plant(
        "Frechet distance extrapolated to one row",
        SAMPLES,
        "line = torch.stack([torch.ones_like(inverse), inverse], 1)",
        "line = torch.stack([torch.ones_like(inverse), inverse - 1], 1)",
        (T_SAMPLES,),
    ),
    Plant(
        "a row is its own neighbour",
        SAMPLES,
        "kthvalue(k + 1, 1)",
        "kthvalue(k, 1)",
        (T_SAMPLES,),
    ),
    Plant(
        "recall by the balls of real rows",
        SAMPLES,
        "recalled.append((distances < around_drawn).any(1))",
        "recalled.append(near.any(1))",
        (T_SAMPLES,),
    ),
    Plant(
        "density not per neighbour",
        SAMPLES,
        "float(inside.double().mean() / k)",
        "float(inside.double().mean())",
        (T_SAMPLES,),
    ),
    Plant(
        "balls of the first block for all",
        SAMPLES,
        "around_real[start : start + len(part)]",
        "around_real[: len(part)]",
        (T_SAMPLES,),
    ),
    Plant(
        "discrepancy with the rows' kernels to themselves",
        SAMPLES,
        "return gram.fill_diagonal_(0), len(real)",
        "return gram, len(real)",
        (T_SAMPLES,),
    ),
    Plant(
        "discrepancy counts pairs of two kinds once",
        SAMPLES,
        "within - 2 * (b * ga)",
        "within - (b * ga)",
        (T_SAMPLES,),
    ),
    Plant(
        "a permutation test that forgets what was found",
        SAMPLES,
        "return (1 + int(reached.sum()))",
        "return int(reached.sum())",
        (T_SAMPLES,),
    ),
    Plant(
        "a cubic kernel that is quadratic",
        SAMPLES,
        "gram = (x @ x.T / d + 1) ** 3",
        "gram = (x @ x.T / d + 1) ** 2",
        (T_SAMPLES,),
    ),
    Plant(
        "an inverse multiquadric of half the width",
        SAMPLES,
        "gram = 2 * d / (2 * d + square)",
        "gram = d / (d + square)",
        (T_SAMPLES,),
    ),
    Plant(
        "a gap to the third best dimension",
        DISENTANGLE,
        "ordered[-1] - ordered[-2]",
        "ordered[-1] - ordered[-3]",
        (T_DISENTANGLE,),
    ),
    Plant(
        "a gap that is not over the entropy",
        DISENTANGLE,
        "/ entropies).mean()",
        "/ 1).mean()",
        (T_DISENTANGLE,),
    ),
    Plant(
        "modularity of information as it is",
        DISENTANGLE,
        "square = information**2",
        "square = information",
        (T_DISENTANGLE,),
    ),
    Plant(
        "fixed factors that are not fixed",
        DISENTANGLE,
        "levels = shared.levels(k, draw, 1).repeat(BATCH)",
        "levels = shared.levels(k, draw, BATCH)",
        (T_DISENTANGLE,),
    ),
    Plant(
        "robustness by means of deviations",
        DISENTANGLE,
        "best = (1 - np.array(deviations) / most).max(0)",
        "best = (1 - np.array(deviations) / most).mean(0)",
        (T_DISENTANGLE,),
    ),
    Plant(
        "total correlation of variances alone",
        DISENTANGLE,
        "- np.linalg.slogdet(covariance)[1]",
        "- 0 * np.linalg.slogdet(covariance)[1]",
        (T_DISENTANGLE,),
    ),
    Plant(
        "classes taken by several clusters",
        "vaes/evaluate/cluster.py",
        "table[rows, columns].sum()",
        "table.max(0).sum()",
        ("tests/evaluate/test_cluster.py",),
    ),
    Plant(
        "purity by classes",
        "vaes/evaluate/cluster.py",
        "purity=float(table.max(0)",
        "purity=float(table.max(1)",
        ("tests/evaluate/test_cluster.py",),
    ),
]


class Workshop:
    """The copy that errors are planted in, and the tests that run there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, folder / name, ignore=ignored)
            else:
                shutil.copy(source, folder / name)
        # no bytecode: its age is told in whole seconds, in which a file changes more than once
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        }
        command = [sys.executable, "-c", "import vaes; print(vaes.__file__)"]
        done = subprocess.run(
            command, cwd=folder, env=self.environment, capture_output=True, text=True, check=True
        )
        if not Path(done.stdout.strip()).is_relative_to(folder):
            broken(f"the tests would import {done.stdout.strip()}, not the copy")
        files = (str(p.relative_to(folder)) for p in (folder / "tests").rglob("test_*.py"))
        self.quick = [f for f in sorted(files) if f not in SLOW]
        self._red: dict[tuple[str, ...], list[str]] = {}

    def pytest(self, files: list[str], *more: str) -> tuple[bool, list[str]]:
        """Whether the files pass, and what failed."""
        command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider"]
        try:
            done = subprocess.run(
                [*command, *more, *files],
                cwd=self.folder,
                env=self.environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=LIMIT,
            )
        except subprocess.TimeoutExpired:
            return False, [f"no end after {LIMIT} s"]
        failed = re.findall(r"^(?:FAILED|ERROR) (\S+::.*?)(?: - .*)?$", done.stdout, re.MULTILINE)
        if done.returncode not in (0, 1) or bool(done.returncode) != bool(failed):
            broken(f"pytest ended with status {done.returncode}:\n{(done.stdout + done.stderr)}")
        return not done.returncode, failed

    def red(self, files: list[str]) -> list[str]:
        """What fails in these files with nothing planted, found once."""
        key = tuple(files)
        if key not in self._red:
            known = {test for tests in self._red.values() for test in tests}
            self._red[key] = self.pytest(files)[1]
            for test in self._red[key]:
                if test not in known:
                    print(f"left out, red before anything is planted: {test}", flush=True)
        return self._red[key]

    @contextmanager
    def planted(self, plant: Plant) -> Iterator[None]:
        """The error is in the copy within, and gone after."""
        path = self.folder / plant.file
        before = path.read_text(encoding="utf-8")
        path.write_text(before.replace(plant.old, plant.new), encoding="utf-8")
        try:
            yield
        finally:
            path.write_text(before, encoding="utf-8")

    def killer(self, plant: Plant, first: list[str]) -> str | None:
        """The first test that notices the error, None where none does; `first` of all plants."""
        rest = [f for f in self.quick if f not in plant.tests]
        for files, red_in in ((list(plant.tests), first), (rest, self.quick)):
            left = self.red(red_in)
            with self.planted(plant):
                passed, failed = self.pytest(files, "-x", *deselected(left))
            if not passed:
                return failed[0]
        return None


def deselected(tests: list[str]) -> list[str]:
    return [part for test in tests for part in ("--deselect", test)]


def broken(told: str) -> None:
    """Ends the script: a result without this would be no result."""
    print(f"planted_errors: {told}", file=sys.stderr)
    sys.exit(2)


def check(plants: list[Plant]) -> None:
    """Every error can be planted, in this very tree."""
    wrong = []
    for plant in plants:
        path = ROOT / plant.file
        found = path.read_text(encoding="utf-8").count(plant.old) if path.exists() else 0
        if found != 1:
            wrong.append(f"'{plant.name}': {plant.file} has its snippet {found} times, not once")
        if plant.old == plant.new:
            wrong.append(f"'{plant.name}' changes nothing")
        lost = [t for t in plant.tests if not (ROOT / t).exists()]
        wrong += [f"'{plant.name}': there is no {test}" for test in lost]
    wrong += [
        f"'{n}' names two errors" for n, k in Counter(p.name for p in PLANTS).items() if k > 1
    ]
    if wrong:
        broken("\n".join([f"{len(wrong)} errors cannot be planted; write them anew:", *wrong]))


def main() -> int:
    """Plants, runs, tells; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", help="an error by name; may be given again")
    parser.add_argument("--list", action="store_true", help="names of all errors, nothing is run")
    args = parser.parse_args()
    if args.list:
        print("\n".join(f"{p.name}  ({p.file})" for p in PLANTS))
        return 0
    plants = [p for p in PLANTS if not args.only or p.name in args.only]
    for name in set(args.only or ()) - {p.name for p in plants}:
        broken(f"no error is named '{name}'; see --list")
    check(plants)
    first = sorted({test for plant in plants for test in plant.tests})
    killed, begun = 0, time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        workshop = Workshop(Path(folder).resolve())
        workshop.red(first)
        for plant in plants:
            start = time.perf_counter()
            by = workshop.killer(plant, first)
            seconds = time.perf_counter() - start
            killed += by is not None
            told = f"killed    {seconds:6.1f} s" if by else f"SURVIVED  {seconds:6.1f} s"
            print(f"{told}  {plant.name}" + (f"  <- {by}" if by else ""), flush=True)
    minutes = (time.perf_counter() - begun) / 60
    share = killed / len(plants)
    print(f"killed {killed} of {len(plants)} ({100 * share:.1f} %) in {minutes:.1f} minutes")
    return 0 if share >= NEEDED else 1


if __name__ == "__main__":
    sys.exit(main())
