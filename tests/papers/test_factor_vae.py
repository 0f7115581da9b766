"""The claim of recipe factor_vae."""

import pytest
import torch

from tests.fixtures import step_of, unclip
from vaes.batch import Batch, Spec
from vaes.dist.gaussian import LOG_SCALE
from vaes.model import owned
from vaes.recipes import build


def test_factor_vae_knows_the_total_correlation_of_codes():
    """Kim & Mnih 2018, eq. 3: codes of correlation .8 have TC -1/2 log(1 - .64) = .511, which a
    trained critic says to within a twentieth."""
    torch.manual_seed(0)
    model = build("factor_vae", Spec((2,)), latent=2, hidden=(), width=32, depth=2).double()
    last = model.encoder.last
    with torch.no_grad():  # q(z|x) = N(x, .001^2 I)
        last.weight.zero_()
        last.weight[:2] = torch.eye(2)
        last.bias.zero_()
        last.bias[2:] = unclip(torch.tensor(-7.0).double(), *LOG_SCALE)
    tril = torch.linalg.cholesky(torch.tensor([[1, 0.8], [0.8, 1]]).double())
    critic, draw = owned(model)["critic"], torch.Generator().manual_seed(0)
    adam = torch.optim.Adam(critic.values(), 0.01, betas=model.players["critic"].betas)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, 500)

    def some(n: int) -> tuple[Batch, torch.Tensor]:
        x, noise = torch.randn(2, n, 2, generator=draw, dtype=torch.float64)
        return Batch(x @ tril.T), noise.unsqueeze(0)

    for _ in range(500):
        batch, noise = some(500)
        adam.zero_grad()
        model.losses(batch, step_of(noise))["critic"].backward()
        adam.step()
        decay.step()
    batch, noise = some(20_000)
    with torch.no_grad():
        z = model.posterior(batch).draw(noise)
        said = model.objective.log_ratio(z).mean().item()
    assert said == pytest.approx(0.5108, abs=0.03)
