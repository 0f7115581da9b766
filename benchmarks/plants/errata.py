"""Errors that are well spread elsewhere (docs/errata.md), made here."""

from plants import Plant

OBJECTIVE = "vaes/objective/weights.py"
ELBO = "vaes/objective/elbo.py"
IMPORTANCE = "vaes/objective/importance.py"
GAUSSIAN = "vaes/dist/gaussian.py"
HEADS = "vaes/dist/__init__.py"
TESTS = ("tests/test_errata.py",)

PLANTS = [
    Plant(
        "draws with the variance as the deviation",
        GAUSSIAN,
        "return self.loc + self.log_scale.exp() * noise",
        "return self.loc + (2 * self.log_scale).exp() * noise",
        TESTS,
    ),
    Plant(
        "the loss is the bound",
        ELBO,
        "return distortion + self.beta * rate",
        "return -(distortion + self.beta * rate)",
        TESTS,
    ),
    Plant(
        "the KL in closed form beside its estimate",
        OBJECTIVE,
        "distortion = -log_likelihood(model, z, batch).mean(0)",
        "distortion = (q.log_prob(z) - p.log_prob(z) - log_likelihood(model, z, batch)).mean(0)",
        TESTS,
    ),
    Plant(
        "a rate that is never zero",
        OBJECTIVE,
        "rates = diagonal_kl_terms(q, p)",
        "rates = diagonal_kl_terms(q, p).clamp(min=1e-3)",
        TESTS,
    ),
    Plant(
        "the mean of log w as the importance-weighted bound",
        IMPORTANCE,
        "return -(log_w.logsumexp(0) - math.log(log_w.shape[0])).mean()",
        "return -log_w.mean()",
        ("tests/test_objective.py",),
    ),
    Plant(
        "a fixed scale is taken for a variance",
        GAUSSIAN,
        "torch.tensor(math.log(scale))",
        "torch.tensor(0.5 * math.log(scale))",
        TESTS,
    ),
    Plant(
        "unit variance where nothing is said",
        HEADS,
        "return Normal(spec.shape, _own(spec) if scale is None else scale)",
        "return Normal(spec.shape, 1.0 if scale is None else scale)",
        TESTS,
    ),
    Plant(
        "cross-entropy of grey levels",
        HEADS,
        '"pixel": {\n',
        '"pixel": {\n        "bernoulli": _bernoulli,\n',
        TESTS,
    ),
    Plant(
        "cross-entropy of reals",
        HEADS,
        '"real": {\n',
        '"real": {\n        "bernoulli": _bernoulli,\n',
        TESTS,
    ),
    Plant(
        "rows normalised together",
        "vaes/nets/conv.py",
        "nn.GroupNorm(groups, channels)",
        "nn.BatchNorm2d(channels)",
        TESTS,
    ),
    Plant(
        "weights chosen by the test part",
        "vaes/training.py",
        "Loop(model, prepared.train, prepared.valid, done,",
        "Loop(model, prepared.train, prepared.test, done,",
        TESTS,
    ),
    Plant(
        "states of probability weighed by their square",
        "vaes/dist/discrete.py",
        "return torch.where(value > 0.5, self.logits, torch.zeros_like(self.logits)).sum(-1)",
        "return 2 * torch.where(value > 0.5, self.logits, torch.zeros_like(self.logits)).sum(-1)",
        TESTS,
    ),
]
