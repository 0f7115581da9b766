"""Errors in priors, in what is fitted after training, in codes that are shares, in topics."""

from plants import Plant

PRIORS = "vaes/dist/priors.py"
MIXTURE = "vaes/dist/mixture.py"
VAMP = "vaes/dist/vamp.py"
FITTED = "vaes/dist/fitted.py"
LAPLACE = "vaes/dist/location_scale.py"
SIMPLEX = "vaes/dist/simplex.py"
MULTINOMIAL = "vaes/dist/multinomial.py"
AFTER = "vaes/after.py"
TOPICS = "vaes/uses/topics.py"
ROWS = "vaes/uses/rows.py"
T_PRIORS = "tests/dist/test_priors.py"
T_FITTED = "tests/dist/test_fitted.py"
T_SIMPLEX = "tests/dist/test_simplex.py"
T_MULTINOMIAL = "tests/dist/test_multinomial.py"
T_AFTER = "tests/run/test_after.py"
T_VAMP = "tests/papers/test_vamp_prior.py"
T_PRODLDA = "tests/papers/test_prodlda.py"

PLANTS = [
    # --- mixtures and the VampPrior ---------------------------------------------------------------
    Plant(
        "weights of a mixture are not normalised",
        MIXTURE,
        "self.components, self.log_weights = components, log_weights.log_softmax(-1)",
        "self.components, self.log_weights = components, log_weights",
        (T_PRIORS,),
    ),
    Plant(
        "a mixture is drawn from with equal weights",
        MIXTURE,
        "edges = log_weights.double().exp().cumsum(-1)",
        "edges = torch.ones_like(log_weights).double().cumsum(-1) / len(log_weights)",
        (T_PRIORS,),
    ),
    Plant(
        "spread between components is left out of the variance",
        MIXTURE,
        "spread = self.components.stddev.square() + centred.square()",
        "spread = self.components.stddev.square() + 0 * centred",
        (T_PRIORS,),
    ),
    Plant(
        "the VampPrior is blind to the encoder",
        VAMP,
        "return Mixture(encoder(u), weights",
        "return Mixture(encoder(u).stopped(), weights",
        (T_PRIORS, T_VAMP),
    ),
    Plant(
        "pseudo-inputs start anywhere but at rows",
        VAMP,
        "self.pseudo.copy_(seen + NEAR * noise.to(seen))",
        "self.pseudo.copy_(seen.mean(0) + NEAR * noise.to(seen))",
        (T_PRIORS,),
    ),
    Plant(
        "pseudo-inputs move in every phase",
        VAMP,
        'if phase != "train":',
        'if phase == "nothing":',
        (T_PRIORS,),
    ),
    Plant(
        "Laplace draws have the scale of half the tail",
        LAPLACE,
        "size = -(torch.special.log_ndtr(-noise.abs()) + math.log(2))",
        "size = -torch.special.log_ndtr(-noise.abs())",
        (T_PRIORS,),
    ),
    Plant(
        "KL of a normal to a Laplace without the offset's part",
        LAPLACE,
        "far = peak + offset * torch.erf(ratio / math.sqrt(2))",
        "far = peak + offset.abs()",
        (T_PRIORS,),
    ),
    Plant(
        "a learnt normal reads a variance as a scale",
        PRIORS,
        "log_scale = self.log_scale.clamp(*LOG_SCALE).expand(len(batch), -1)",
        "log_scale = (0.5 * self.log_scale).clamp(*LOG_SCALE).expand(len(batch), -1)",
        (T_PRIORS,),
    ),
    # --- fitted after training --------------------------------------------------------------------
    Plant(
        "priors are fitted to the means of codes",
        PRIORS,
        "found.append(q.draw(noise))",
        "found.append(q.mean + 0 * noise)",
        (T_FITTED,),
    ),
    Plant(
        "codes are drawn in training mode",
        PRIORS,
        "    model.eval()  # nothing is hidden or dropped\n",
        "",
        (T_FITTED,),
    ),
    Plant(
        "the standardising of a fitted flow is left out of its density",
        FITTED,
        "return self.base.log_prob(y) - self.log_scale.sum(-1)",
        "return self.base.log_prob(y)",
        (T_FITTED,),
    ),
    Plant(
        "classes weigh the same",
        FITTED,
        "self.shares.copy_(torch.tensor(sizes).double() / sum(sizes))",
        "self.shares.fill_(1 / len(sizes))",
        (T_FITTED,),
    ),
    Plant(
        "every class is fitted to all rows",
        FITTED,
        "cast(Any, part).begin(model, phase, data.part(rows))",
        "cast(Any, part).begin(model, phase, data)",
        (T_FITTED,),
    ),
    Plant(
        "the worst prior is kept",
        AFTER,
        "best = max(best, (scores[kind], kind, found), key=lambda one: one[0])",
        "best = (scores[kind], kind, found) if not best[1] or scores[kind] < best[0] else best",
        (T_AFTER,),
    ),
    Plant(
        "rows are drawn from all classes whatever the label",
        ROWS,
        "return lambda model, batch: prior.of_class(model, number, batch)",
        "return lambda model, batch: prior(model, batch)",
        (T_FITTED, T_AFTER),
    ),
    # --- shares and topics ------------------------------------------------------------------------
    Plant(
        "the implicit gradient has the wrong sign",
        SIMPLEX,
        "by_shape = -change / slope",
        "by_shape = change / slope",
        (T_SIMPLEX,),
    ),
    Plant(
        "the upper tail is that of the lower",
        SIMPLEX,
        "torch.where(lower, torch.special.gammainc(a, x), torch.special.gammaincc(a, x))",
        "torch.special.gammainc(a, x)",
        (T_SIMPLEX,),
    ),
    Plant(
        "small gammas by a series without its constant",
        SIMPLEX,
        "first = (torch.special.log_ndtr(noise) + (a + 1).lgamma()) / a",
        "first = (torch.special.log_ndtr(noise) + a.lgamma()) / a",
        (T_SIMPLEX,),
    ),
    Plant(
        "both gammas of a Beta are one",
        SIMPLEX,
        "log_gamma(self.beta, beside)",
        "log_gamma(self.beta, of)",
        (T_SIMPLEX,),
    ),
    Plant(
        "KL of Dirichlets without the constant of the prior",
        SIMPLEX,
        "- _log_beta(q.alpha) + _log_beta(p.alpha)",
        "- _log_beta(q.alpha)",
        (T_SIMPLEX,),
    ),
    Plant(
        "a multinomial without its coefficient",
        MULTINOMIAL,
        "row = (total + 1).lgamma() / total.clamp(min=1.0)",
        "row = 0 * total",
        (T_MULTINOMIAL,),
    ),
    Plant(
        "shares of all columns where some are missing",
        MULTINOMIAL,
        "self.log_mean.masked_fill(~mask, -torch.inf)",
        "self.log_mean",
        (T_MULTINOMIAL,),
    ),
    Plant(
        "all rows are drawn with the longest one's total",
        MULTINOMIAL,
        "(place < totals.unsqueeze(-1)).to(x.dtype)",
        "(place < totals.max()).to(x.dtype).expand(column.shape)",
        (T_MULTINOMIAL,),
    ),
    Plant(
        "the least likely words of a topic",
        TOPICS,
        "topk(min(words, model.spec.size), -1)",
        "topk(min(words, model.spec.size), -1, largest=False)",
        (T_PRODLDA,),
    ),
    Plant(
        "documents of ProdLDA have any number of topics",
        "vaes/recipes/prodlda.py",
        'prior={"name": "dirichlet", "alpha": alpha}',
        'prior={"name": "dirichlet", "alpha": 1.0 + 0 * alpha}',
        (T_PRODLDA,),
    ),
    Plant(
        "the recipe's pseudo-inputs are another number than was asked for",
        "vaes/recipes/vamp_prior.py",
        'prior={"name": "vamp", "components": components}',
        'prior={"name": "vamp", "components": 1 if components else components}',
        (T_VAMP,),
    ),
    Plant(
        "the recipe forgets its prior",
        "vaes/recipes/vamp_prior.py",
        'prior={"name": "vamp", "components": components}, **parts',
        "**parts",
        (T_VAMP,),
    ),
]
