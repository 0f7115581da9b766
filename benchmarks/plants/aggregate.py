"""Errors in what is asked of q(z): parts of the rate, covariances, discrepancies, the critic."""

from plants import Plant

AGGREGATE = "vaes/objective/aggregate.py"
DISCREPANCY = "vaes/objective/discrepancy.py"
CRITIC = "vaes/objective/critic.py"
T_AGGREGATE = ("tests/objective/test_aggregate.py",)
T_DISCREPANCY = ("tests/objective/test_discrepancy.py",)
T_CRITIC = ("tests/objective/test_critic.py",)

PLANTS = [
    # --- beta_tcvae -------------------------------------------------------------------------------
    Plant(
        "the special weight in a fixed column",
        AGGREGATE,
        "own = torch.eye(n, dtype=torch.bool, device=like.device)",
        "own = torch.arange(n, device=like.device).eq(0).expand(n, n)",
        T_AGGREGATE,
    ),
    Plant(
        "rows of the batch in place of rows of the data",
        AGGREGATE,
        "other = math.log((rows - 1) / (rows * (n - 1)))",
        "other = math.log((n - 1) / (n * (n - 1)))",
        T_AGGREGATE,
    ),
    Plant(
        "minibatch weights without N",
        AGGREGATE,
        "return like.new_full((n, n), -math.log(rows * n))",
        "return like.new_full((n, n), -math.log(n))",
        T_AGGREGATE,
    ),
    Plant(
        "single dimensions summed over draws instead of rows",
        AGGREGATE,
        "single.append((pairs + weight.unsqueeze(-1)).logsumexp(-2))",
        "single.append((pairs + weight.unsqueeze(-1)).logsumexp(-3))",
        T_AGGREGATE,
    ),
    Plant(
        "total correlation with the wrong sign",
        AGGREGATE,
        "return Parts(q.log_prob(z) - joint, joint - over, over - alone)",
        "return Parts(q.log_prob(z) - joint, over - joint, over - alone)",
        T_AGGREGATE,
    ),
    Plant(
        "weights of the parts count from 0",
        AGGREGATE,
        "surplus = (self.alpha - 1, self.beta - 1, self.gamma - 1)",
        "surplus = (self.alpha, self.beta, self.gamma)",
        T_AGGREGATE,
    ),
    Plant(
        "marginals of a full covariance without what lies below its diagonal",
        AGGREGATE,
        "return DiagonalNormal(q.loc, 0.5 * q.variance.log())",
        "return DiagonalNormal(q.loc, q.tril.diagonal(dim1=-2, dim2=-1).log())",
        T_AGGREGATE,
    ),
    # --- dip_vae ----------------------------------------------------------------------------------
    Plant(
        "covariance of few rows too small",
        AGGREGATE,
        "spread = (centred.mT @ centred).mean(0) / (of.shape[-2] - 1)",
        "spread = (centred.mT @ centred).mean(0) / of.shape[-2]",
        T_AGGREGATE,
    ),
    Plant(
        "variant 2 without the variance of q(z|x)",
        AGGREGATE,
        "return spread + torch.diag(q.variance.mean(0))",
        "return spread + 0 * torch.diag(q.variance.mean(0))",
        T_AGGREGATE,
    ),
    Plant(
        "variances drawn to 0",
        AGGREGATE,
        "self.diagonal * (variance - 1).square().sum()",
        "self.diagonal * variance.square().sum()",
        T_AGGREGATE,
    ),
    # --- info_vae, wae ----------------------------------------------------------------------------
    Plant(
        "pairs of a draw with itself",
        DISCREPANCY,
        "within = (similarity(x, x, kernel).sum((-2, -1)) - n) / (n * (n - 1))",
        "within = similarity(x, x, kernel).mean((-2, -1))",
        T_DISCREPANCY,
    ),
    Plant(
        "a kernel of the distance, not of its square",
        DISCREPANCY,
        'compute_mode="donot_use_mm_for_euclid_dist").square()',
        'compute_mode="donot_use_mm_for_euclid_dist")',
        T_DISCREPANCY,
    ),
    Plant(
        "N(0, I) whatever the prior",
        DISCREPANCY,
        "drawn = p.draw(torch.randn(shape, dtype=z.dtype, device=z.device))",
        "drawn = torch.randn(shape, dtype=z.dtype, device=z.device)",
        T_DISCREPANCY,
    ),
    Plant(
        "the rate weighed by alpha",
        DISCREPANCY,
        "loss = (found.distortion + (1 - self.alpha) * found.rate).mean()",
        "loss = (found.distortion + self.alpha * found.rate).mean()",
        T_DISCREPANCY,
    ),
    Plant(
        "the discrepancy weighed by lambda alone",
        DISCREPANCY,
        "return loss + (self.alpha + self.scaling - 1) * apart",
        "return loss + self.scaling * apart",
        T_DISCREPANCY,
    ),
    Plant(
        "a Wasserstein autoencoder that pays a rate",
        DISCREPANCY,
        "loss = -log_likelihood(model, z, batch).mean()",
        "loss = sum(terms(model, batch, step.noise)[:2]).mean()",
        T_DISCREPANCY,
    ),
    Plant(
        "a Wasserstein autoencoder of points with a bound",
        "vaes/recipes/wae.py",
        'posterior=PointHead(d), bound="none", **parts)',
        "posterior=PointHead(d), **parts)",
        ("tests/papers/test_wae.py",),
    ),
    # --- factor_vae -------------------------------------------------------------------------------
    Plant(
        "one permutation for all dimensions",
        CRITIC,
        "return z.gather(-2, torch.rand_like(z).argsort(-2))",
        "return z.gather(-2, torch.rand_like(z[..., :1]).argsort(-2).expand_as(z))",
        T_CRITIC,
    ),
    Plant(
        "the critic's labels exchanged",
        CRITIC,
        "return 0.5 * (F.softplus(-joint).mean() + F.softplus(apart).mean())",
        "return 0.5 * (F.softplus(joint).mean() + F.softplus(-apart).mean())",
        T_CRITIC,
    ),
    Plant(
        "a probability for the log-ratio",
        CRITIC,
        "loss = loss + self.gamma * self.log_ratio(z).mean()",
        "loss = loss + self.gamma * F.logsigmoid(self.log_ratio(z)).mean()",
        T_CRITIC,
    ),
    Plant(
        "a critic that moves the codes",
        CRITIC,
        '"critic": self.confused(z.detach())',
        '"critic": self.confused(z)',
        T_CRITIC,
    ),
    Plant(
        "twins from the same rows",
        CRITIC,
        "self.log_ratio(permuted(z[..., half:, :]))",
        "self.log_ratio(permuted(z[..., :half, :]))",
        T_CRITIC,
    ),
]
