"""Latent codes of bits and of categories: posteriors, their relaxations, and their priors.

Draws are exact and shared with the relaxation: a bit is 1 where logit + logistic noise is positive,
a category the largest of logit + Gumbel noise; at temperature t the relaxed draw is the sigmoid or
the softmax of the same sums / t (Maddison et al. 2017, arXiv:1611.00712; Jang et al. 2017,
arXiv:1611.01144). Relaxed draws are handled as u, the log-odds of a bit or the logarithms of a
category's shares, in which their density stays finite at any temperature.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Size, Tensor, nn
from torch.distributions import constraints
from torch.distributions.kl import register_kl

from vaes.dist.base import Latent, wide
from vaes.dist.priors import Prior
from vaes.errors import UsageError

if TYPE_CHECKING:
    from vaes.batch import Batch, Spec


class DiscreteLatent(Latent):
    """Independent discrete variables with `logits`; `mean` is the mode, a state that z can take."""

    logits: Tensor
    support = constraints.independent(constraints.boolean, 1)  # type: ignore[assignment]

    @abstractmethod
    def relaxed(self, noise: Tensor, temperature: Tensor | float) -> Tensor:
        """u of the relaxed draw that belongs to `draw(noise)`; differentiable in the logits."""

    @abstractmethod
    def opened(self, u: Tensor) -> Tensor:
        """The relaxed z of u: entries in [0, 1], in the shape of z."""

    @abstractmethod
    def relaxed_log_prob(self, u: Tensor, temperature: Tensor | float) -> Tensor:
        """log-density of u, summed over the variables, (*k, n)."""

    def sample(self, sample_shape: Size | tuple[int, ...] = ()) -> Tensor:
        return self.draw(self._noise(sample_shape, self.logits))


class Bits(DiscreteLatent):
    """prod_j Bernoulli(sigmoid(logit_j)) over z in {0, 1}^d; `logits` (*batch, d)."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        super().__init__(logits.shape[:-1], logits.shape[-1])

    @property
    def probs(self) -> Tensor:
        return self.logits.sigmoid()

    @property
    def mean(self) -> Tensor:
        return (self.logits > 0).to(self.logits.dtype)

    @property
    def variance(self) -> Tensor:
        return self.probs * (-self.logits).sigmoid()

    @property
    def stddev(self) -> Tensor:
        return self.variance.sqrt()

    def draw(self, noise: Tensor) -> Tensor:
        return (self.relaxed(noise, 1.0) > 0).to(self.logits.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        # linear in z, so that a straight-through draw has the slope log-odds
        return (value * self.logits - F.softplus(self.logits, threshold=40.0)).sum(-1)

    def entropy(self) -> Tensor:
        softplus = F.softplus(self.logits, threshold=40.0)
        return (softplus - self.probs * self.logits).sum(-1)

    def relaxed(self, noise: Tensor, temperature: Tensor | float) -> Tensor:
        logistic = torch.special.log_ndtr(noise) - torch.special.log_ndtr(-noise)
        return (self.logits + logistic) / temperature

    def opened(self, u: Tensor) -> Tensor:
        return u.sigmoid()

    def relaxed_log_prob(self, u: Tensor, temperature: Tensor | float) -> Tensor:
        # of u = (logit + logistic) / t (Maddison et al. 2017, appendix B, eq. 24)
        t = torch.as_tensor(temperature, dtype=u.dtype, device=u.device)
        standard = self.logits - t * u
        return (t.log() + standard - 2 * F.softplus(standard, threshold=40.0)).sum(-1)


class OneHots(DiscreteLatent):
    """Independent categories, z their one-hot codes one after the other.

    `logits` (*batch, variables, classes); event (variables * classes,), variable by variable.
    """

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits.log_softmax(-1)
        super().__init__(logits.shape[:-2], logits.shape[-2] * logits.shape[-1])

    @property
    def classes(self) -> int:
        return self.logits.shape[-1]

    @property
    def probs(self) -> Tensor:
        return self.logits.exp()

    @property
    def mean(self) -> Tensor:
        return self._one_hot(self.logits)

    @property
    def variance(self) -> Tensor:
        p = self.probs
        return (p * (1 - p)).flatten(-2)

    @property
    def stddev(self) -> Tensor:
        return self.variance.sqrt()

    def draw(self, noise: Tensor) -> Tensor:
        return self._one_hot(self.logits + self._gumbel(noise))

    def log_prob(self, value: Tensor) -> Tensor:
        return (value * self.logits.flatten(-2)).sum(-1)

    def entropy(self) -> Tensor:
        return torch.special.entr(self.probs).sum((-2, -1))

    def relaxed(self, noise: Tensor, temperature: Tensor | float) -> Tensor:
        scores = (self.logits + self._gumbel(noise)) / temperature
        return scores.log_softmax(-1).flatten(-2)

    def opened(self, u: Tensor) -> Tensor:
        return u.exp()

    def relaxed_log_prob(self, u: Tensor, temperature: Tensor | float) -> Tensor:
        # log (C-1)! + (C-1) log t + sum(a - t u) - C log sum exp(a - t u), of u = log y
        # (Maddison et al. 2017, appendix C.3, ExpConcrete)
        t, c = torch.as_tensor(temperature, dtype=u.dtype, device=u.device), self.classes
        standard = self.logits - t * self._split(u)
        constant = math.lgamma(c) + (c - 1) * t.log()
        return (constant + standard.sum(-1) - c * standard.logsumexp(-1)).sum(-1)

    def _gumbel(self, noise: Tensor) -> Tensor:
        return -(-torch.special.log_ndtr(self._split(noise))).log()

    def _split(self, z: Tensor) -> Tensor:
        return z.unflatten(-1, (-1, self.classes))

    def _one_hot(self, scores: Tensor) -> Tensor:
        code = scores.argmax(-1)
        return F.one_hot(code, self.classes).to(self.logits.dtype).flatten(-2)


@register_kl(Bits, Bits)
def _kl_bits(q: Bits, p: Bits) -> Tensor:
    one = q.probs * (F.logsigmoid(q.logits) - F.logsigmoid(p.logits))
    none = (-q.logits).sigmoid() * (F.logsigmoid(-q.logits) - F.logsigmoid(-p.logits))
    return (one + none).sum(-1)


@register_kl(OneHots, OneHots)
def _kl_onehots(q: OneHots, p: OneHots) -> Tensor:
    return (q.probs * (q.logits - p.logits)).sum((-2, -1))


class BitsHead(nn.Module):
    """Head of `Bits`: one logit per bit."""

    path, space = False, "binary"

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, h: Tensor) -> Bits:
        return Bits(wide(h))


class OneHotsHead(nn.Module):
    """Head of `OneHots`: `size` logits, a group of `classes` for each variable."""

    path, space = False, "onehot"

    def __init__(self, size: int, classes: int = 10) -> None:
        super().__init__()
        if classes < 2 or size % classes:
            raise UsageError(
                f"latent={size} and classes={classes}: latent is variables times classes, "
                f"at least 2 of them; take a multiple such as latent={2 * max(2, classes)}"
            )
        self.size, self.classes = size, classes

    def forward(self, h: Tensor) -> OneHots:
        return OneHots(wide(h).unflatten(-1, (-1, self.classes)))


class _Logits(Prior):
    """Logits of a discrete prior: 0, or learnt with the model, the same for all rows."""

    def __init__(self, size: int, learnt: bool = False) -> None:
        super().__init__()
        if learnt:
            self.logits = nn.Parameter(torch.zeros(size))
        else:
            self.register_buffer("logits", torch.zeros(size), persistent=False)


class BitsPrior(_Logits):
    """Every bit is 1 with probability 1/2, or one that is learnt with the model."""

    space: ClassVar[str] = "binary"

    def forward(self, model: Any, batch: Batch) -> Bits:
        return Bits(self.logits.expand(len(batch), -1))


class OneHotsPrior(_Logits):
    """Every class of the posterior's variables is as likely as any, or as it is learnt to be."""

    space: ClassVar[str] = "onehot"

    def forward(self, model: Any, batch: Batch) -> OneHots:
        classes = model.encoder.head.classes
        return OneHots(self.logits.unflatten(-1, (-1, classes)).expand(len(batch), -1, -1))


def discrete_parts(
    spec: Spec, latent: int | None, classes: int, learnt: bool = False
) -> dict[str, Any]:
    """The arguments of `compose` for bits (classes=2) or one-hot codes and their prior.

    latent: number of bits, or of variables times `classes`; None: as many variables as a row has
    entries, 4 to 200 · learnt: whether the prior's probabilities are.
    """
    if classes < 2:
        raise UsageError(f"classes={classes}: a variable has at least two states")
    family: dict[str, Any] = {"name": "bernoulli"}
    if classes > 2:
        family = {"name": "categorical", "classes": classes}
    if latent is None:
        latent = min(200, max(4, spec.size)) * (1 if classes == 2 else classes)
    prior = {"name": family["name"], "learnt": learnt}
    return {"latent": latent, "posterior": family, "prior": prior}
