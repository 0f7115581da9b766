"""Models whose conditionals are known: probabilistic PCA of a given size, and classes of mixed
columns that can be enumerated."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from tests.fixtures import LG_MU, LG_VAR, LG_W
from vaes.batch import Batch, Data, Spec
from vaes.dist.base import Latent
from vaes.dist.columns import ColumnsLikelihood
from vaes.dist.discrete import BernoulliLikelihood, CategoricalLikelihood, OneHot
from vaes.model import Model, Step
from vaes.recipes.ppca import PPCA


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ppca(weight: Tensor, bias: Tensor, variance: float, **fields) -> PPCA:
    """z ~ N(0, I), x ~ N(W z + mu, v I), with its exact posterior; float64."""
    size, d = weight.shape
    model = PPCA(Spec((size,), **({"missing": True} | fields)), d, "em").double()
    model.weight.copy_(weight)
    model.bias.copy_(bias)
    model.variance.fill_(variance)
    return model


def lg_ppca(**fields) -> PPCA:
    return ppca(LG_W, LG_MU, LG_VAR, **fields)


def covariance(model: PPCA) -> Tensor:
    size = model.spec.size
    return model.weight @ model.weight.T + model.variance * torch.eye(size, dtype=torch.float64)


def loaded(size: int, d: int, seed: int, variance: float = 0.3, **fields) -> PPCA:
    """Probabilistic PCA with random loadings."""
    weight = torch.randn(size, d, generator=seeded(seed), dtype=torch.float64)
    return ppca(weight, torch.zeros(size).double(), variance, **fields)


def drawn(model: PPCA, n: int, seed: int) -> Tensor:
    """n rows of a `PPCA` (n, size)."""
    tril = torch.linalg.cholesky(covariance(model))
    noise = torch.randn(n, model.spec.size, generator=seeded(seed), dtype=torch.float64)
    return model.bias + noise @ tril.T


def gapped(model: Model, x: Tensor, share: float, seed: int) -> Data:
    """Rows x with entries missing at random."""
    mask = torch.rand(x.shape, generator=seeded(seed)) >= share
    return Data(model.spec, torch.where(mask, x, 0.0), mask=mask)


def conditional(model: PPCA, data: Data) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each missing entry given the observed ones, (n, size); x and 0
    elsewhere."""
    assert data.mask is not None
    mean, std, sigma = data.x.clone(), torch.zeros_like(data.x), covariance(model)
    for i, seen in enumerate(data.mask):
        gain = torch.linalg.solve(sigma[seen][:, seen], sigma[seen][:, ~seen]).T
        mean[i, ~seen] = model.bias[~seen] + gain @ (data.x[i] - model.bias)[seen]
        rest = sigma[~seen][:, ~seen] - gain @ sigma[seen][:, ~seen]
        std[i, ~seen] = rest.diagonal().sqrt()
    return mean, std


# --- classes of mixed columns -----------------------------------------------------------------
WEIGHTS = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
BITS = torch.tensor([0.9, 0.2, 0.6], dtype=torch.float64)  # P(x_0 = 1 | class)
TWO = torch.tensor([[0.7, 0.3], [0.1, 0.9], [0.2, 0.8]], dtype=torch.float64)  # x_1, a category
THREE = torch.tensor(  # x_2, another
    [[0.1, 0.2, 0.7], [0.6, 0.3, 0.1], [0.1, 0.7, 0.2]], dtype=torch.float64
)
GREYS = torch.tensor(  # P(x_3 = level / 4 | class)
    [[0.5, 0.3, 0.1, 0.05, 0.05], [0.05, 0.1, 0.2, 0.35, 0.3], [0.1, 0.2, 0.4, 0.2, 0.1]],
    dtype=torch.float64,
)
CLASSES = Spec(
    (4,), ("binary", "category", "category", "pixel"), (2, 2, 3, 5), (0.0,), (1.0,), missing=True
)


class ThreeClasses(Model):
    """z one of three classes; columns a bit, categories of 2 and 3, a grey of 5 levels. The
    posterior is uniform, hence wrong, unless `exact`."""

    def __init__(self, exact: bool = False, spec: Spec = CLASSES) -> None:
        super().__init__(spec, 3)
        self.exact, self.weights = exact, torch.nn.Parameter(WEIGHTS.log())

    def prior(self, batch: Batch) -> Latent:
        return OneHot(self.weights.expand(len(batch), -1))

    def posterior(self, batch: Batch) -> Latent:
        if not self.exact:
            return OneHot(torch.zeros(len(batch), 3, dtype=torch.float64))
        every = torch.eye(3, dtype=torch.float64).unsqueeze(1).expand(3, len(batch), 3)
        log_p = self.likelihood(every, batch).log_prob(batch.x, batch.mask)
        return OneHot(log_p.T + self.weights)

    def likelihood(self, z: Tensor, batch: Batch) -> ColumnsLikelihood:
        bits = (z @ torch.logit(BITS)).unsqueeze(-1)
        two, three, greys = ((z @ table.log()).unsqueeze(-2) for table in (TWO, THREE, GREYS))
        groups = [
            (torch.tensor([0]), BernoulliLikelihood(bits, 1)),
            (torch.tensor([1]), CategoricalLikelihood(two, 1)),
            (torch.tensor([2]), CategoricalLikelihood(three, 1)),
            (torch.tensor([3]), CategoricalLikelihood(greys, 1, grid=True)),
        ]
        return ColumnsLikelihood(groups, 4)  # type: ignore[arg-type]

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        return {}


def states() -> Iterator[tuple[tuple[int, int, int, int], Tensor]]:
    """Every row as codes, with its joint probability with each class (3,)."""
    for a, b, c, d in itertools.product(range(2), range(2), range(3), range(5)):
        bit = BITS if a else 1 - BITS
        yield (a, b, c, d), WEIGHTS * bit * TWO[:, b] * THREE[:, c] * GREYS[:, d]


def given(seen: dict[int, int], column: int) -> Tensor:
    """P(x_column = code | the columns `seen`), by enumeration, (levels,)."""
    found = torch.zeros(CLASSES.levels[column], dtype=torch.float64)
    for codes, joint in states():
        if all(codes[j] == code for j, code in seen.items()):
            found[codes[column]] += joint.sum()
    return found / found.sum()


def class_rows(n: int, seed: int) -> Tensor:
    """n rows of the classes in model space, (n, 4)."""
    pairs = [*states()]
    p = torch.stack([joint.sum() for _, joint in pairs])
    rows = torch.multinomial(p, n, replacement=True, generator=seeded(seed))
    codes = torch.tensor([code for code, _ in pairs]).double()
    return codes[rows] / torch.tensor([1, 1, 1, 4])
