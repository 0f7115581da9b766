"""What several claims share: a linear recipe whose decoder is known, and a table of parities."""

import math

import torch

from tests.fixtures import (
    LG_MU,
    LG_VAR,
    LG_W,
    LG_X,
    ppca_data,
)
from vaes.batch import Batch, Data, Spec
from vaes.model import Model
from vaes.recipes import build

DATA = ppca_data()
ALL = DATA.rows(slice(None))
X = Batch(LG_X)


def on_lg(name: str) -> Model:
    """The linear recipe with the generative part of LG held fixed; its encoder is to be learned."""
    torch.manual_seed(0)
    model = build(name, Spec((5,)), latent=2, hidden=(), scale=1.0, warmup=0.0).double()
    with torch.no_grad():
        model.decoder.head.log_scale.fill_(0.5 * math.log(LG_VAR))
        model.decoder.last.weight.copy_(LG_W)
        model.decoder.last.bias.copy_(LG_MU)
    model.decoder.requires_grad_(False)
    return model


def rows_of_lg(n: int) -> Batch:
    draw = torch.Generator().manual_seed(0)
    z = torch.randn(n, 2, generator=draw, dtype=torch.float64)
    e = torch.randn(n, 5, generator=draw, dtype=torch.float64)
    return Batch(z @ LG_W.T + LG_MU + math.sqrt(LG_VAR) * e)


def parity(n: int, seed: int) -> Data:
    """Two fair coins and their parity: every two of the three columns are independent."""
    coins = torch.randint(2, (n, 2), generator=torch.Generator().manual_seed(seed))
    spec = Spec((3,), ("binary",), (2,), rows=n)
    return Data(spec, torch.cat([coins, coins.sum(1, keepdim=True) % 2], 1).float())
