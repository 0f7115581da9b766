"""Full covariances in few numbers: low rank plus diagonal, precision of rank one plus diagonal,
reflections of a diagonal. Each is a Gaussian, exact to draw and to score, its KL to a diagonal
normal closed.

Sources: Rezende et al. 2014, arXiv:1401.4082, sec. 4.3 (rank-one precision); Tomczak & Welling
2016, arXiv:1611.09630 (Householder flow).
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Size, Tensor, nn
from torch.distributions import constraints
from torch.distributions.kl import register_kl

from vaes.dist.base import HALF_LOG_2PI, Latent, soft_clip, wide
from vaes.dist.gaussian import BELOW, LOG_SCALE, DiagonalNormal
from vaes.errors import UsageError


class _Normal(Latent):
    """A Gaussian with mean `loc` (*batch, d) whose `variance` and `half_log_det` are known."""

    support = constraints.independent(constraints.real, 1)  # type: ignore[assignment]
    has_rsample = True
    loc: Tensor

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def stddev(self) -> Tensor:
        return self.variance.sqrt()

    @property
    @abstractmethod
    def half_log_det(self) -> Tensor:
        """1/2 log |covariance|, (*batch,)."""

    @abstractmethod
    def _squared(self, centred: Tensor) -> Tensor:
        """centred^T covariance^-1 centred, (*k, n)."""

    def rsample(self, sample_shape: Size | tuple[int, ...] = ()) -> Tensor:
        return self.draw(self._noise(sample_shape, self.loc))

    def log_prob(self, value: Tensor) -> Tensor:
        constant = self.event_shape[0] * HALF_LOG_2PI
        return -0.5 * self._squared(value - self.loc) - self.half_log_det - constant

    def entropy(self) -> Tensor:
        return self.half_log_det + self.event_shape[0] * (0.5 + HALF_LOG_2PI)


class LowRankNormal(_Normal):
    """N(loc, F F^T + diag exp(log_scale)^2) with `factor` = F (*batch, d, r): Woodbury throughout,
    O(d r^2). A draw takes d + r numbers."""

    def __init__(self, loc: Tensor, log_scale: Tensor, factor: Tensor) -> None:
        self.loc, self.log_scale, self.factor = loc, log_scale, factor
        super().__init__(loc.shape[:-1], loc.shape[-1])
        # F over the diagonal part's standard deviations, and the factor of I + F^T D^-1 F
        self.whitened = factor * (-log_scale).exp().unsqueeze(-1)
        eye = torch.eye(factor.shape[-1], dtype=loc.dtype, device=loc.device)
        self.inner = torch.linalg.cholesky(eye + self.whitened.mT @ self.whitened)

    @property
    def noise_size(self) -> int:
        return self.event_shape[0] + self.factor.shape[-1]

    @property
    def covariance_matrix(self) -> Tensor:
        return self.factor @ self.factor.mT + torch.diag_embed((2 * self.log_scale).exp())

    @property
    def variance(self) -> Tensor:
        return self.factor.square().sum(-1) + (2 * self.log_scale).exp()

    @property
    def half_log_det(self) -> Tensor:
        return self.log_scale.sum(-1) + self.inner.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def draw(self, noise: Tensor) -> Tensor:
        own, along = noise.split([self.event_shape[0], self.factor.shape[-1]], -1)
        return self.loc + self.log_scale.exp() * own + _times(self.factor, along)

    def _squared(self, centred: Tensor) -> Tensor:
        standard = centred * (-self.log_scale).exp()
        along = _times(self.whitened.mT, standard).unsqueeze(-1)
        within = torch.linalg.solve_triangular(self.inner, along, upper=False).squeeze(-1)
        return standard.square().sum(-1) - within.square().sum(-1)


class PrecisionNormal(_Normal):
    """N(loc, (D + u u^T)^-1) in each of `blocks` equal parts of z that are independent of each
    other; `log_precision` = log D and `along` = u, both (*batch, d).

    With a = u^T D^-1 u and eta = 1 / (1 + a): C = D^-1 - eta D^-1 u u^T D^-1, log |C| = log eta -
    log |D|, and a root of it D^-1/2 - (1 - sqrt eta) / a D^-1 u u^T D^-1/2, O(d) to multiply by.
    """

    def __init__(self, loc: Tensor, log_precision: Tensor, along: Tensor, blocks: int = 1) -> None:
        self.loc, self.log_precision, self.along, self.blocks = loc, log_precision, along, blocks
        super().__init__(loc.shape[:-1], loc.shape[-1])
        # u over the square root of D: the precision is D^1/2 (I + v v^T) D^1/2
        self.direction = along * (-0.5 * log_precision).exp()
        self.length = self._parts(self.direction).square().sum(-1, keepdim=True)

    def _parts(self, t: Tensor) -> Tensor:
        return t.unflatten(-1, (self.blocks, -1))

    @property
    def variance(self) -> Tensor:
        v = self._parts(self.direction)
        return (1 - v.square() / (1 + self.length)).flatten(-2) * (-self.log_precision).exp()

    @property
    def half_log_det(self) -> Tensor:
        return -0.5 * (self.length.log1p().sum((-2, -1)) + self.log_precision.sum(-1))

    def draw(self, noise: Tensor) -> Tensor:
        e, v = self._parts(noise), self._parts(self.direction)
        root = (1 + self.length).rsqrt()
        # (1 - root) / length without the quotient of two small numbers; 1/2 where u is 0
        shrink = root.square() / (1 + root)
        e = e - shrink * (v * e).sum(-1, keepdim=True) * v
        return self.loc + (-0.5 * self.log_precision).exp() * e.flatten(-2)

    def _squared(self, centred: Tensor) -> Tensor:
        standard = self._parts(centred * (0.5 * self.log_precision).exp())
        projected = (standard * self._parts(self.direction)).sum(-1)
        return standard.square().sum((-2, -1)) + projected.square().sum(-1)


class HouseholderNormal(_Normal):
    """H_T ... H_1 applied to N(loc0, diag exp(log_scale)^2), H = I - 2 v v^T / |v|^2 with `vectors`
    = v (*batch, T, d): a covariance with any axes, whose volume is that of the diagonal."""

    def __init__(self, start: Tensor, log_scale: Tensor, vectors: Tensor) -> None:
        self.start, self.log_scale, self.vectors = start, log_scale, vectors
        super().__init__(start.shape[:-1], start.shape[-1])
        self.loc = reflected(start, vectors)

    @property
    def variance(self) -> Tensor:
        # the reflections of every scaled axis: columns of a square root of the covariance
        axes = torch.diag_embed(self.log_scale.exp())
        return reflected(axes, self.vectors.unsqueeze(-3)).square().sum(-2)

    @property
    def half_log_det(self) -> Tensor:
        return self.log_scale.sum(-1)

    def draw(self, noise: Tensor) -> Tensor:
        return reflected(self.start + self.log_scale.exp() * noise, self.vectors)

    def _squared(self, centred: Tensor) -> Tensor:
        back = reflected(centred, self.vectors.flip(-2))
        return (back * (-self.log_scale).exp()).square().sum(-1)


def reflected(z: Tensor, vectors: Tensor) -> Tensor:
    """H_T ... H_1 z for `vectors` (*batch, T, d), H_t = I - 2 v_t v_t^T / |v_t|^2."""
    for v in vectors.unbind(-2):
        z = z - 2 * (z * v).sum(-1, keepdim=True) / v.square().sum(-1, keepdim=True) * v
    return z


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def _kl_diagonal(q: _Normal, p: DiagonalNormal) -> Tensor:
    """All that a KL to a diagonal normal needs of q are its means, variances and determinant."""
    squares = (q.variance + (q.loc - p.loc).square()) * (-2 * p.log_scale).exp()
    return 0.5 * (squares - 1).sum(-1) - q.half_log_det + p.log_scale.sum(-1)


for _family in (LowRankNormal, PrecisionNormal, HouseholderNormal):
    register_kl(_family, DiagonalNormal)(_kl_diagonal)


class LowRank(nn.Module):
    """Head of N(m, F F^T + diag s^2): d (rank + 2) numbers. rank: columns of F."""

    def __init__(self, latent: int, rank: int = 2) -> None:
        super().__init__()
        if not 1 <= rank <= latent:
            raise UsageError(f"rank={rank}: of {latent} latent dimensions it is 1 to {latent}")
        self.latent, self.rank, self.size = latent, rank, latent * (rank + 2)
        self.noise_size = latent + rank

    def forward(self, h: Tensor) -> LowRankNormal:
        loc, raw, factor = wide(h).split([self.latent, self.latent, self.latent * self.rank], -1)
        factor = BELOW * factor.unflatten(-1, (self.latent, self.rank))
        return LowRankNormal(loc, soft_clip(raw, *LOG_SCALE), factor)


class RankOne(nn.Module):
    """Head of N(m, (D + u u^T)^-1): 3 d numbers. blocks: equal parts of z, each with a u of its
    own, independent of each other (the layers of a deep latent Gaussian model)."""

    def __init__(self, latent: int, blocks: int = 1) -> None:
        super().__init__()
        if blocks < 1 or latent % blocks:
            raise UsageError(
                f"blocks={blocks}: {latent} latent dimensions do not part into so many equal ones"
            )
        self.latent, self.blocks, self.size = latent, blocks, 3 * latent

    def forward(self, h: Tensor) -> PrecisionNormal:
        loc, raw, along = wide(h).chunk(3, -1)
        # in the same words as the other heads: log-scales, of which D is the square's inverse
        return PrecisionNormal(loc, -2 * soft_clip(raw, *LOG_SCALE), along, self.blocks)


class Householder(nn.Module):
    """Head of a diagonal normal through `layers` reflections: d (layers + 2) numbers.

    Where the network says 0 the vectors are fixed unit vectors; reflections undo each other in
    pairs, so that an even number starts from the diagonal family.
    """

    axes: Tensor

    def __init__(self, latent: int, layers: int = 4) -> None:
        super().__init__()
        if layers < 1:
            raise UsageError(f"layers={layers}: a flow has at least one")
        self.latent, self.layers, self.size = latent, layers, latent * (layers + 2)
        axes = torch.eye(latent)[(torch.arange(layers) // 2) % latent]
        self.register_buffer("axes", axes, persistent=False)

    def forward(self, h: Tensor) -> HouseholderNormal:
        loc, raw, vectors = wide(h).split([self.latent, self.latent, self.latent * self.layers], -1)
        vectors = vectors.unflatten(-1, (self.layers, self.latent)) + self.axes
        return HouseholderNormal(loc, soft_clip(raw, *LOG_SCALE), vectors)
