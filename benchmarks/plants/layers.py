"""Errors in chains of codes, in models fitted by EM, and in their recipes."""

from plants import Plant

CHAIN = "vaes/dist/chain.py"
WEIGHTS = "vaes/objective/weights.py"
REGRESSION = "vaes/dist/regression.py"
MIXTURE = "vaes/recipes/mixture_ppca.py"
BAYESIAN = "vaes/recipes/bayesian_pca.py"
SPIKES = "vaes/dist/spikes.py"
SLAB = "vaes/recipes/spike_slab.py"
LADDER = "vaes/dist/ladder.py"
SECOND = "vaes/dist/second_stage.py"
VIEWS = "vaes/dist/views.py"
SHARED = "vaes/recipes/private_shared.py"
T_CHAIN = ("tests/dist/test_chain.py",)
T_MIXTURE = ("tests/papers/test_mixture_ppca.py",)
T_BAYESIAN = ("tests/papers/test_bayesian_pca.py",)
T_SLAB = ("tests/papers/test_spike_slab.py",)
T_LADDER = ("tests/papers/test_ladder.py",)
T_SECOND = ("tests/papers/test_two_stage.py",)
T_SHARED = ("tests/papers/test_private_shared.py",)

PLANTS = [
    # --- chains -----------------------------------------------------------------------------------
    Plant(
        "stopped links whose weights still move",
        CHAIN,
        "weights = {k: v.detach() for k, v",
        "weights = {k: v for k, v",
        T_CHAIN,
    ),
    Plant(
        "closed rates of a chain from the bottom up",
        WEIGHTS,
        "if isinstance(q, Flipped):\n            rate",
        "if False:\n            rate",
        T_CHAIN,
    ),
    Plant(
        "bottom-up means in the order of the chain",
        CHAIN,
        "return self._turned(self.chain.mean, self.chain.sizes)",
        "return self.chain.mean",
        T_CHAIN,
    ),
    # --- EM ---------------------------------------------------------------------------------------
    Plant(
        "columns with gaps that share their moments",
        REGRESSION,
        "some = seen if self.gaps else seen[:, :1]",
        "some = seen[:, :1]",
        T_MIXTURE,
    ),
    Plant(
        "moments without the posterior's spread",
        REGRESSION,
        "t.unsqueeze(-1) * t.unsqueeze(-2) + spread",
        "t.unsqueeze(-1) * t.unsqueeze(-2)",
        T_MIXTURE,
    ),
    Plant(
        "half the determinant of a component",
        MIXTURE,
        "log_det = 2 * factor",
        "log_det = factor",
        T_MIXTURE,
    ),
    Plant(
        "components of equal share",
        MIXTURE,
        "joint = self.shares.log() - 0.5",
        "joint = -0.5",
        T_MIXTURE,
    ),
    Plant(
        "precisions that forget how unsure the loadings are",
        BAYESIAN,
        "self.weight.square().sum(0) + spread)",
        "self.weight.square().sum(0) + 0 * spread)",
        T_BAYESIAN,
    ),
    Plant(
        "codes by certain loadings",
        BAYESIAN,
        "second = self.spread[:, :-1, :-1] + self",
        "second = 0 * self.spread[:, :-1, :-1] + self",
        T_BAYESIAN,
    ),
    Plant(
        "spikes without the ratio of precisions",
        SPIKES,
        "half = 0.5 * (p.precision / total).log()",
        "half = 0.0 * (p.precision / total).log()",
        T_SLAB,
    ),
    Plant(
        "a unit that explains its own residual",
        SPIKES,
        "(gram[:, i] * code).sum(-1) + own * code[:, i]",
        "(gram[:, i] * code).sum(-1)",
        T_SLAB,
    ),
    Plant(
        "slabs of units that are off as if they were on",
        SLAB,
        "off + h * (0.5 * on.log() - off)",
        "0.5 * on.log()",
        T_SLAB,
    ),
    Plant(
        "slabs averaged over rows in which they are off",
        SLAB,
        "self.slab.copy_(first / some)",
        "self.slab.copy_(first / found.mass)",
        T_SLAB,
    ),
    # --- layers and stages ------------------------------------------------------------------------
    Plant(
        "precisions that weigh the other's mean",
        LADDER,
        "(own * said.loc + prior * above.loc)",
        "(prior * said.loc + own * above.loc)",
        T_LADDER,
    ),
    Plant(
        "steps away from the prior in its own units",
        LADDER,
        "loc = above.loc + above.log_scale.exp() * said.loc",
        "loc = above.loc + said.loc",
        T_LADDER,
    ),
    Plant(
        "a decoder that sees all layers",
        LADDER,
        "self.shown = merge, sizes[::-1], sizes[0]",
        "self.shown = merge, sizes[::-1], None if merge != 'bottom_up' else sizes[0]",
        T_LADDER,
    ),
    Plant(
        "a second stage from the first step on",
        SECOND,
        "stage.on.fill_(float(phase == SECOND))",
        "stage.on.fill_(1.0)",
        T_SECOND,
    ),
    Plant(
        "a second stage that never begins",
        SECOND,
        "stage.on.fill_(float(phase == SECOND))",
        "stage.on.fill_(0.0)",
        T_SECOND,
    ),
    Plant(
        "a first stage that never descends",
        "vaes/composed.py",
        'if late and step.phase != "train":',
        "if late:",
        T_SECOND,
    ),
    # --- views ------------------------------------------------------------------------------------
    Plant(
        "the other views' experts in place of one",
        VIEWS,
        "if only is None or only == i:",
        "if only is None or only != i:",
        T_SHARED,
    ),
    Plant(
        "experts without the prior",
        VIEWS,
        "total = torch.ones_like(h[:, : self.shared])",
        "total = torch.full_like(h[:, : self.shared], 1e-6)",
        T_SHARED,
    ),
    Plant(
        "own codes of a view that is not there",
        VIEWS,
        "here * loc[:, self.shared :]",
        "loc[:, self.shared :]",
        T_SHARED,
    ),
    Plant(
        "numbers of one half for entries of the other",
        VIEWS,
        'self.register_buffer("back", order.argsort(), persistent=False)',
        'self.register_buffer("back", torch.arange(len(order)), persistent=False)',
        T_SHARED,
    ),
    Plant(
        "views alone that pay no rate",
        SHARED,
        "(found.distortion + self.beta * warm * found.rate)",
        "found.distortion",
        T_SHARED,
    ),
]
