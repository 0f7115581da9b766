"""Errors in importance-weighted, Renyi and chi bounds, wake-sleep, schedules and full VB."""

from plants import Plant

WEIGHTS = "vaes/objective/weights.py"
IMPORTANCE = "vaes/objective/importance.py"
RENYI = "vaes/objective/renyi.py"
WAKE = "vaes/objective/wake.py"
LAGGING = "vaes/objective/lagging.py"
ELBO = "vaes/objective/elbo.py"
FULL = "vaes/objective/full_vb.py"
DRAWS = "vaes/evaluate/posterior_draws.py"
R_MIWAE = "vaes/recipes/miwae.py"
R_WAKE = "vaes/recipes/wake_sleep.py"
R_FULL = "vaes/recipes/full_vb.py"
T_IMPORTANCE = "tests/objective/test_importance.py"
T_RENYI = "tests/objective/test_renyi.py"
T_WAKE = "tests/objective/test_wake.py"
T_SCHEDULES = "tests/objective/test_schedules.py"
T_FULL = "tests/objective/test_full_vb.py"
T_DRAWS = "tests/evaluate/test_posterior_draws.py"
P_MIWAE = "tests/papers/test_miwae.py"
P_WAKE = "tests/papers/test_wake_sleep.py"
P_FULL = "tests/papers/test_full_vb.py"

PLANTS = [
    # --- importance-weighted bounds ---------------------------------------------------------------
    Plant(
        "a pulled path that keeps the score of q",
        WEIGHTS,
        "q.stopped().log_prob(z)",
        "q.log_prob(z)",
        (T_IMPORTANCE,),
    ),
    Plant(
        "DReG with weights that are not squared",
        IMPORTANCE,
        "pull=1 - power * (1 - share)",
        "pull=1.0",
        (T_IMPORTANCE,),
    ),
    Plant(
        "no log k in a mean of weights",
        IMPORTANCE,
        "return ((power * log_w).logsumexp(0) - math.log(log_w.shape[0])) / power",
        "return (power * log_w).logsumexp(0) / power",
        (T_IMPORTANCE, T_RENYI),
    ),
    Plant(
        "MIWAE with outer and inner swapped",
        IMPORTANCE,
        "log_w.unflatten(0, (-1, self.inner)).transpose(0, 1)",
        "log_w.unflatten(0, (-1, self.outer)).transpose(0, 1)",
        (T_IMPORTANCE, P_MIWAE),
    ),
    Plant(
        "PIWAE whose encoder has all draws",
        IMPORTANCE,
        '"recogniser": -self.groups(log_w).mean(),',
        '"recogniser": -mean_weight(log_w).mean(),',
        (T_IMPORTANCE, P_MIWAE),
    ),
    Plant(
        "CIWAE with beta on the wrong bound",
        IMPORTANCE,
        "self.beta * log_w.mean(0) + (1 - self.beta) * mean_weight(log_w)",
        "(1 - self.beta) * log_w.mean(0) + self.beta * mean_weight(log_w)",
        (T_IMPORTANCE,),
    ),
    Plant(
        "recipe miwae with its numbers swapped",
        R_MIWAE,
        "Piwae)(outer, inner)",
        "Piwae)(inner, outer)",
        (P_MIWAE,),
    ),
    Plant(
        "recipe miwae whose ciwae has outer draws",
        R_MIWAE,
        "Ciwae(outer * inner, beta)",
        "Ciwae(outer, beta)",
        (P_MIWAE,),
    ),
    # --- Renyi and chi ----------------------------------------------------------------------------
    Plant(
        "Renyi with the power alpha",
        RENYI,
        "return -mean_weight(log_w, 1 - self.alpha).mean()",
        "return -mean_weight(log_w, self.alpha).mean()",
        (T_RENYI,),
    ),
    Plant(
        "chi that pushes its upper bound up",
        RENYI,
        '"recogniser": mean_weight(',
        '"recogniser": -mean_weight(',
        (T_RENYI,),
    ),
    Plant(
        "chi by a plain path",
        RENYI,
        "pull=1 - self.order)",
        "pull=1.0)",
        (T_RENYI,),
    ),
    # --- wake-sleep -------------------------------------------------------------------------------
    Plant(
        "dreams from q",
        WAKE,
        "z = p.draw(noise)\n",
        "z = model.posterior(batch).draw(noise[:, : model.noise_size])\n",
        (T_WAKE,),
    ),
    Plant(
        "reweighted without weights for the encoder",
        WAKE,
        "-(share * log_q).sum(0).mean()",
        "-log_q.mean()",
        (T_WAKE, P_WAKE),
    ),
    Plant(
        "a wake phase that reaches q",
        WAKE,
        "log_w = given(model, batch, z) - log_q.detach()",
        "log_w = given(model, batch, z)",
        (T_WAKE,),
    ),
    Plant(
        "dreams that ignore gates",
        WAKE,
        "mask = shown(model.spec, x, mask)",
        "mask = mask | False",
        (T_WAKE,),
    ),
    Plant(
        "recipe wake_sleep that never sleeps",
        R_WAKE,
        "WakeSleep() if plain else Reweighted(samples, phi)",
        'Reweighted(max(2, samples), "wake")',
        (P_WAKE,),
    ),
    Plant(
        "sleep towards the wrong pairs",
        WAKE,
        "return -model.posterior(dreamt).log_prob(z).mean()",
        "return -model.posterior(batch).log_prob(z).mean()",
        (T_WAKE, P_WAKE),
    ),
    # --- schedules --------------------------------------------------------------------------------
    Plant(
        "cycles that end at 0",
        ELBO,
        "return done - done.floor().clamp(max=self.cycles - 1)",
        "return done - done.floor()",
        (T_SCHEDULES,),
    ),
    Plant(
        "a decoder that waits for ever",
        LAGGING,
        "(step.fraction < self.share) & (",
        "(step.fraction <= 1.0) & (",
        (T_SCHEDULES,),
    ),
    # --- evidence from posterior draws ------------------------------------------------------------
    Plant(
        "posterior draws averaged the wrong way up",
        DRAWS,
        "return math.log(len(z)) - ratio.logsumexp(0)",
        "return (-ratio).logsumexp(0) - math.log(len(z))",
        (T_DRAWS,),
    ),
    Plant(
        "posterior draws that stay where q drew them",
        DRAWS,
        "at, _ = move(at, 1, noise)",
        "move(at, 1, noise)",
        (T_DRAWS,),
    ),
    # --- full variational Bayes -------------------------------------------------------------------
    Plant(
        "the rate of the weights for each row",
        FULL,
        "rate = found.rate.mean() + self.weights_rate(model.decoder) / self._count()",
        "rate = found.rate.mean() + self.weights_rate(model.decoder)",
        (T_FULL, P_FULL),
    ),
    Plant(
        "weights that are never drawn",
        FULL,
        "w + e.view_as(w)",
        "w + 0 * e.view_as(w)",
        (T_FULL, P_FULL),
    ),
    Plant(
        "the rate of the weights without their means",
        FULL,
        "squares = ratio.square() + (means / self.prior_scale).square()",
        "squares = ratio.square() + (0 * means / self.prior_scale).square()",
        (T_FULL, P_FULL),
    ),
    Plant(
        "a prior of the weights that forgets their inputs",
        FULL,
        "inputs = weight[0].numel() if weight.dim() > 1 else 1",
        "inputs = 1",
        (T_FULL, P_FULL),
    ),
    Plant(
        "recipe full_vb that drops its spread",
        R_FULL,
        "FullVb(spec.rows, samples, warmup, spread)",
        "FullVb(spec.rows, samples, warmup)",
        (T_FULL, P_FULL),
    ),
]
