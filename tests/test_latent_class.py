"""The mixture of independent columns against enumeration over its classes, and its EM."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch

from vaes.batch import Batch, Data, Spec
from vaes.errors import UsageError
from vaes.evaluate.likelihood import evidence
from vaes.model import Step
from vaes.objective import log_weight
from vaes.recipes import build

SPEC = Spec(
    (3,),
    ("binary", "category", "numeric"),
    (2, 3, 4),
    pieces=((), (), (-1.0, 0.0, 0.0, 0.0, 0.0, 2.0, 2.0, 3.0)),
    missing=True,
)


def rows(n: int = 400, gaps: bool = True) -> Data:
    """Two kinds of rows, each column of its own probabilities."""
    draw = torch.Generator().manual_seed(1)
    kind = torch.rand(n, generator=draw) < 0.3
    u = torch.rand(3, n, generator=draw)
    binary = (u[0] < torch.where(kind, 0.9, 0.2)).double()
    category = (u[1] * torch.where(kind, 1.2, 3.0)).floor()
    numeric = torch.where(u[2] < torch.where(kind, 0.8, 0.1), 1.5, 2 + u[2] * 0.9).double()
    mask = torch.rand(n, 3, generator=draw) < 0.8 if gaps else None
    x = torch.stack([binary, category.double(), numeric], 1)
    return Data(SPEC, x if mask is None else x * mask, mask=mask)


def em(model, passes: int, size: int = 400):
    """Passes over the rows in batches of `size`."""
    for _ in range(passes):
        batches = list(rows().batches(size))
        for i, batch in enumerate(batches):
            with torch.no_grad():
                last = i == len(batches) - 1
                model.closed_form(batch, Step.at(model, batch, i, last_of_epoch=last))
    return model


def fitted(classes: int = 2, passes: int = 30, smoothing: float = 1.0):
    model = build("latent_class", SPEC, latent=classes, smoothing=smoothing).double()
    model.begin("train", rows())
    return em(model, passes)


def by_hand(model, batch: Batch) -> torch.Tensor:
    """log sum_c p(c) prod_j p(cell_j | c) p(x_j | cell_j), entry by entry."""
    weights, table = model.weights.softmax(-1), model.table.exp()
    found = []
    for x, mask in zip(batch.x, batch.mask, strict=True):
        cells = [int(x[0]), 2 + int(x[1]), 5 + int(x[2])]
        # the interval 0 to 2 is 2 wide; the tail above 2 has scale 1 and falls with the place
        within = [1.0, 1.0, {6: 1.0, 7: 0.5}.get(cells[2], 1.0)]
        if cells[2] == 5:
            within[2] = float(x[2] % 1)
        if cells[2] == 8:
            within[2] = 1 - float(x[2] % 1)
        total = 0.0
        for c in range(model.latent):
            p = float(weights[c])
            for j in range(3):
                p *= float(table[c, cells[j]]) * within[j] if mask[j] else 1.0
            total += p
        found.append(total)
    return torch.tensor(found).double().log()


def test_log_weights_are_the_evidence_by_enumeration():
    model, batch = fitted(3), rows(40).rows(slice(None))
    log_w = log_weight(model, batch, k=5)
    expected = by_hand(model, batch)
    torch.testing.assert_close(
        log_w, expected.expand(5, -1), rtol=1e-7, atol=1e-7
    )  # widths are float32
    assert evidence(model, rows(40)).per_row.tolist() == pytest.approx(expected.tolist(), abs=1e-6)


def penalised(model, data: Data) -> float:
    """What EM climbs: the log-likelihood and the logarithm of the Dirichlet prior."""
    found = evidence(model, data).per_row.sum()
    prior = model.smoothing * (model.marginal * model.table).sum()
    return float(
        found + prior + model.smoothing / model.latent * model.weights.log_softmax(-1).sum()
    )


def test_em_never_goes_down():
    model, found = fitted(3, passes=0), []
    for _ in range(15):
        found.append(penalised(model, rows()))
        em(model, 1)
    assert all(b >= a - 1e-9 for a, b in pairwise(found[1:]))
    assert found[-1] > found[0] + 1


def test_one_class_is_the_marginals():
    model, data = fitted(1, passes=2), rows()
    batch = data.rows(slice(None))
    seen = batch.mask[:, 0]
    share = (batch.x[seen, 0] == 1).double().mean()
    assert model.table[0, 1].exp().item() == pytest.approx(share.item(), abs=1e-5)


def test_the_two_kinds_are_found():
    """Classes in the proportions that the rows were made with: .3 to .7."""
    model = fitted(2, passes=60)
    shares = sorted(model.weights.softmax(-1).tolist())
    assert shares == pytest.approx([0.3, 0.7], abs=0.08)


def test_how_rows_are_split_into_batches_does_not_matter():
    one, many = fitted(2, passes=0), fitted(2, passes=0)
    em(one, 3)
    em(many, 3, size=90)
    torch.testing.assert_close(one.table, many.table, rtol=1e-9, atol=1e-9)


def test_conditionals_by_the_posterior_over_classes():
    """Missing columns are drawn as often as sum_c p(c | observed) p(x_j | c) says."""
    model = fitted(2)
    x = torch.tensor([[1.0, 0.0, 0.0]]).double()
    batch = Batch(x, mask=torch.tensor([[True, False, False]]))
    q = model.posterior(batch)
    n = 40_000
    noise = torch.randn(n, 1, 2, generator=torch.Generator().manual_seed(0)).double()
    p = model.likelihood(q.draw(noise), batch)
    drawn = p.complete(batch.x, batch.mask, torch.Generator().manual_seed(1))[:, 0]
    assert (drawn[:, 0] == 1).all()
    found = torch.stack([(drawn[:, 1] == c).double().mean() for c in range(3)])
    expected = (q.logits.exp() @ model.table[:, 2:5].exp())[0]
    assert (found - expected).abs().max() < 4 * 0.5 / n**0.5


def test_mistakes():
    with pytest.raises(UsageError, match="at least one class"):
        build("latent_class", SPEC, latent=0)
    with pytest.raises(UsageError, match="above 0"):
        build("latent_class", SPEC, smoothing=0.0)
    with pytest.raises(UsageError, match="not 'real'"):
        build("latent_class", Spec((3,)))
    assert copy.deepcopy(build("latent_class", SPEC)).latent == 2


def test_every_pass_counts_afresh():
    """The second M-step by hand: responsibilities of the first table, nothing of the first pass."""
    model = fitted(2, passes=1)
    batch = rows().rows(slice(None))
    share = model.posterior(batch).logits.exp()
    counts = share.T @ model.cells.one_hot(batch.x, batch.mask) + model.marginal
    em(model, 1)
    category = counts[:, 2:5] / counts[:, 2:5].sum(1, keepdim=True)
    torch.testing.assert_close(model.table[:, 2:5].exp(), category)
