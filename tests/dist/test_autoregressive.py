"""Columns that depend on one another, against enumeration of all rows."""

from __future__ import annotations

import itertools

import pytest
import torch

from vaes.batch import Spec
from vaes.dist.autoregressive import Autoregressive

SPEC = Spec((3,), ("binary", "category", "pixel"), (2, 3, 3), missing=True)
GATED = Spec((3,), ("binary", "category", "pixel"), (2, 3, 3), missing=True, shown_by=(-1, -1, 0))
ROWS = torch.tensor(
    [[a, b, c / 2] for a, b, c in itertools.product(range(2), range(3), range(3))]
).double()


def decoder(spec: Spec = SPEC, seed: int = 0) -> Autoregressive:
    torch.manual_seed(seed)
    made = Autoregressive(spec, latent=2, width=8).double().eval()
    with torch.no_grad():  # far from uniform, so that dependence shows
        made.net.weight.mul_(6)
        made.net.embedding.weight.mul_(10)
    return made


def every(made: Autoregressive, z: torch.Tensor) -> torch.Tensor:
    """p(x|z) of all 18 rows."""
    return made(z.expand(len(ROWS), -1)).log_prob(ROWS).exp()


Z = torch.tensor([[0.3, -1.0]]).double()


def test_rows_sum_to_one_and_columns_depend_on_one_another():
    p = every(decoder(), Z)
    assert p.sum().item() == pytest.approx(1, abs=1e-12)
    table = p.view(2, 9)
    independent = table.sum(1, keepdim=True) * table.sum(0, keepdim=True)
    assert (table - independent).abs().max() > 1e-3


def test_terms_are_conditionals_in_order():
    """log p(x_j | x_<j, z) by sums over the enumerated joint."""
    made = decoder()
    joint = every(made, Z).view(2, 3, 3)
    terms = made(Z.expand(len(ROWS), -1)).terms(ROWS).exp().view(2, 3, 3, 3)
    first, second = joint.sum((1, 2)), joint.sum(2)
    torch.testing.assert_close(terms[:, 0, 0, 0], first)
    torch.testing.assert_close(terms[..., 0, 1], second / first[:, None])
    torch.testing.assert_close(terms[..., 2], joint / second[..., None])


def test_leading_columns_alone_have_their_marginal():
    """Gaps at the end of a row are summed out exactly."""
    made = decoder()
    joint = every(made, Z).view(2, 3, 3)
    mask = torch.tensor([True, True, False]).expand(len(ROWS), 3)
    found = made(Z.expand(len(ROWS), -1)).log_prob(ROWS, mask).exp().view(2, 3, 3)
    torch.testing.assert_close(found, joint.sum(2, keepdim=True).expand(2, 3, 3))


def test_any_pattern_of_gaps_is_a_normalised_density():
    made = decoder()
    for mask in itertools.product((True, False), repeat=3):
        seen = torch.tensor(mask).expand(len(ROWS), 3)
        keys, total = set(), 0.0
        found = made(Z.expand(len(ROWS), -1)).log_prob(ROWS, seen).exp()
        for row, p in zip(ROWS.tolist(), found.tolist(), strict=True):
            key = tuple(v for v, m in zip(row, mask, strict=True) if m)
            total += 0 if key in keys else p
            keys.add(key)
        assert total == pytest.approx(1, abs=1e-12)


def test_draws_have_the_enumerated_frequencies():
    made, n = decoder(), 40_000
    drawn = made(Z.expand(n, -1)).draw(torch.Generator().manual_seed(1))
    expected = every(made, Z)
    found = torch.stack([(drawn == row).all(-1).double().mean() for row in ROWS])
    assert (found - expected).abs().max() < 4 * 0.5 / n**0.5


def test_missing_columns_are_drawn_given_the_observed_ones():
    """The last column given the first two: its conditional; observed entries as they are."""
    made, n = decoder(), 40_000
    x = torch.tensor([[1.0, 2.0, 0.0]]).double().expand(n, -1)
    mask = torch.tensor([True, True, False]).expand(n, -1)
    filled = made(Z.expand(n, -1)).complete(x, mask, torch.Generator().manual_seed(2))
    assert torch.equal(filled[:, :2], x[:, :2])
    joint = every(made, Z).view(2, 3, 3)[1, 2]
    found = torch.stack([(filled[:, 2] == c / 2).double().mean() for c in range(3)])
    assert (found - joint / joint.sum()).abs().max() < 4 * 0.5 / n**0.5


def test_conditionals_are_those_of_the_last_in_an_order():
    """Given columns 0 and 2, column 1 is what ends the order 0, 2, 1; given nothing, the first."""
    made = decoder()
    x = torch.tensor([[1.0, 0.0, 0.5], [0.0, 0.0, 0.0]]).double()
    mask = torch.tensor([[True, False, True], [False, False, False]])
    found = {j: (rows.tolist(), p) for j, rows, p in made(Z.expand(2, -1)).conditionals(x, mask)}
    assert {j: rows for j, (rows, _) in found.items()} == {0: [1], 1: [0, 1], 2: [1]}
    net, context = made.net, made.context(Z)[0]
    known = net.embed(torch.tensor([[1, 0, 1]]))[0]
    given = context + known[0] + known[2]
    by_hand = net.logits(net.features_of(given, 1), 1).softmax(-1)
    torch.testing.assert_close(found[1][1][0], by_hand)
    torch.testing.assert_close(found[0][1][0], every(made, Z).view(2, 9).sum(1))


def test_smooth_columns_sum_to_one_and_are_drawn_as_they_are_scored():
    spec = Spec((3,), ("binary", "pixel", "category"), (2, 9, 3), missing=True)
    torch.manual_seed(0)
    made = Autoregressive(spec, latent=2, width=8, smooth=True).double().eval()
    with torch.no_grad():
        made.net.weight.mul_(6)
        for curves in (made.net.curves_in, made.net.curves_out):
            assert curves is not None
            curves.knots.mul_(3)
    rows = torch.tensor(
        [[a, b / 8, c] for a, b, c in itertools.product(range(2), range(9), range(3))]
    ).double()
    p = made(Z.expand(len(rows), -1)).log_prob(rows).exp()
    assert p.sum().item() == pytest.approx(1, abs=1e-12)
    n = 40_000
    drawn = made(Z.expand(n, -1)).draw(torch.Generator().manual_seed(5))
    found = torch.stack([torch.isclose(drawn, row).all(-1).double().mean() for row in rows])
    assert (found - p).abs().max() < 4 * 0.5 / n**0.5
    made.train()
    made(Z.expand(len(rows), -1)).log_prob(rows).sum().backward()
    for curves in (made.net.curves_in, made.net.curves_out):
        assert curves is not None
        assert curves.knots.grad is not None
        assert curves.knots.grad.abs().sum(1).min() > 0


def test_what_has_no_value_tells_the_others_nothing():
    """A drawn column behind a closed gate is not embedded: the draws of what follows are those of
    rows where it is missing."""
    spec = Spec(
        (3,), ("binary", "category", "pixel"), (2, 3, 3), missing=True, shown_by=(-1, 0, -1)
    )
    made, n = decoder(spec), 60_000
    with torch.no_grad():
        made.net.base[1] = -40.0  # the gate is always closed
    drawn = made(Z.expand(n, -1)).draw(torch.Generator().manual_seed(3))
    assert (drawn[:, 0] == 0).all()
    rows = torch.tensor([[0.0, 0.0, c / 2] for c in range(3)]).double()
    mask = torch.tensor([True, False, True]).expand(3, -1)
    expected = made(Z.expand(3, -1)).terms(rows, mask)[:, 2].exp()
    found = torch.stack([(drawn[:, 2] == c / 2).double().mean() for c in range(3)])
    assert (found - expected).abs().max() < 4 * 0.5 / n**0.5


def test_a_missing_value_is_not_predicted_from_its_being_missing():
    """The gate says 0; what is drawn is what a row that says nothing of its gate would draw."""
    made, n = decoder(GATED), 40_000
    x = torch.tensor([[0.0, 1.0, 0.0]]).double().expand(n, -1)
    closed = torch.tensor([True, True, False]).expand(n, -1)
    one = made(Z.expand(n, -1)).complete(x, closed, torch.Generator().manual_seed(4))[:, 2]
    assert torch.equal(made(Z.expand(n, -1)).complete(x, closed)[:, :2], x[:, :2])
    rows = torch.tensor([[0.0, 1.0, c / 2] for c in range(3)]).double()
    p = made(Z.expand(3, -1)).terms(rows, torch.tensor([False, True, True]).expand(3, -1))
    expected = p[:, 2].exp()
    found = torch.stack([(one == c / 2).double().mean() for c in range(3)])
    assert (found - expected).abs().max() < 4 * 0.5 / n**0.5


def test_training_shuffles_the_columns_and_evaluation_does_not():
    made = decoder()
    z = Z.expand(len(ROWS), -1)
    torch.testing.assert_close(made(z).terms(ROWS), made(z).terms(ROWS))
    made.train()
    torch.manual_seed(0)
    one, two = made(z).log_prob(ROWS), made(z).log_prob(ROWS)
    assert (one - two).abs().max() > 1e-6
    made.fixed = 1.0
    torch.testing.assert_close(made(z).log_prob(ROWS), made.eval()(z).log_prob(ROWS))


def test_a_shuffled_row_is_the_product_of_conditionals_in_its_order():
    """Over many random orders, the mean of log p is the mean over all 3! orders by hand."""
    made = decoder()
    made.fixed = 0.0
    x = ROWS[7:8]
    net, codes = made.net, made.cells.codes(x)[0]
    embedded = net.embed(codes.unsqueeze(0))[0]
    context = made.context(Z)[0]
    total = []
    for order in itertools.permutations(range(3)):
        given, log_p = context, 0.0
        for j in order:
            logits = net.logits(net.features_of(given, j), j)
            log_p = log_p + logits.log_softmax(-1)[codes[j]]
            given = given + embedded[j]
        total.append(log_p)
    made.train()
    torch.manual_seed(1)
    with torch.no_grad():
        found = made(Z.expand(6000, -1)).log_prob(x.expand(6000, -1))
    spread = torch.stack(total).std() / 6000**0.5
    assert abs(found.mean() - torch.stack(total).mean()) < 5 * spread + 1e-9
    assert torch.isclose(found.unique().double()[:, None], torch.stack(total)[None]).any(1).all()


def test_in_training_some_rows_are_told_from_z_alone():
    """For such a row every term is the same whatever the other columns hold."""
    made = Autoregressive(SPEC, latent=2, width=8, fixed=1.0, alone=0.5).double().train()
    with torch.no_grad():
        made.net.embedding.weight.mul_(10)
    n = 4000
    z = Z.expand(n, -1)
    other, same = ROWS[0].expand(n, -1), ROWS[-3].expand(n, -1)
    assert other[0, 2] == same[0, 2]
    torch.manual_seed(1)
    first = made(z).terms(other)[:, 2]
    torch.manual_seed(1)  # the same rows are told from z alone
    second = made(z).terms(same)[:, 2]
    apart = (first - second).abs() > 1e-6
    assert apart.double().mean().item() == pytest.approx(0.5, abs=4 * 0.5 / n**0.5)
    made.eval()
    assert ((made(z).terms(other) - made(z).terms(same))[:, 2].abs() > 1e-6).all()
