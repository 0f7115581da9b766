"""Codebooks, lattices and the point posterior over their vectors."""

import copy
import itertools
import math

import pytest
import torch

from vaes.batch import Batch, Data, Spec
from vaes.composed import compose
from vaes.dist.quantised import Codebook, Lattice, QuantisedHead
from vaes.errors import UsageError
from vaes.model import Step
from vaes.objective import log_likelihood, terms
from vaes.recipes import build

TABLE = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, -1.0]], dtype=torch.float64)


def book(**options) -> Codebook:
    made = Codebook(3, 2, **options).double()
    made.table.copy_(TABLE)
    return made


def step(index: int = 0) -> Step:
    zero = torch.tensor(0)
    return Step(torch.tensor(index), zero, torch.tensor(0.0), torch.zeros(1, 1, 0))


def test_the_nearest_code_of_the_fixture():
    """Card 7: z_e = (.9, .4) is at squared distances (.97, .37, 3.17), so its code is 1."""
    said = torch.tensor([0.9, 0.4], dtype=torch.float64)
    assert (said - TABLE).square().sum(-1).tolist() == pytest.approx([0.97, 0.37, 3.17])
    assert book().codes(said).item() == 1
    q = QuantisedHead(2, book())(said.unsqueeze(0))
    assert q.codes.tolist() == [[1]]
    assert q.loc.tolist() == [[1.0, 1.0]]
    assert q.missed.item() == pytest.approx(0.37, abs=1e-12)


def test_nearness_survives_rounding():
    """Codes .001 apart at 30, where expanded squares are off by as much; bfloat16 products."""
    close = Codebook(2, 1)
    close.table.copy_(torch.tensor([[30.0], [30.001]]))
    assert close.codes(torch.tensor([[30.0002], [30.0008]])).tolist() == [0, 1]
    torch.manual_seed(0)
    made, said = Codebook(64, 8), torch.randn(2000, 8)
    with torch.autocast("cpu", torch.bfloat16):
        found = made.codes(said)
    assert torch.equal(found, torch.cdist(said.double(), made.table.double()).argmin(-1))


def test_the_gradient_of_z_is_that_of_what_was_said():
    head = QuantisedHead(6, book())
    said = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    slope = torch.randn(4, 6, dtype=torch.float64)
    q = head(said)
    assert torch.equal(torch.autograd.grad((q.loc * slope).sum(), said)[0], slope)
    vectors = head.split(q.loc)
    assert all(v.tolist() in TABLE.tolist() for v in vectors.detach().flatten(0, 1))
    # 2 (said - code): the commitment pulls the encoder towards its codes
    (pull,) = torch.autograd.grad(head(said).missed.sum(), said)
    assert torch.allclose(pull, 2 * (said - q.loc).detach(), atol=1e-12)


def test_z_is_channels_first():
    """Two places of (0, 0) and (2, -1): first numbers of both, then second ones."""
    head = QuantisedHead(4, book())
    q = head(torch.tensor([[0.1, 1.9, -0.1, -0.9]], dtype=torch.float64))
    assert q.codes.tolist() == [[0, 2]]
    assert q.loc.tolist() == [[0.0, 2.0, 0.0, -1.0]]
    assert torch.equal(head.joined(head.split(q.loc)), q.loc)


def test_a_point_has_no_noise():
    q = QuantisedHead(2, book())(torch.zeros(3, 2, dtype=torch.float64))
    z, log_q = q.drawn(torch.zeros(5, 3, 0))
    assert z.shape == (5, 3, 2)
    assert torch.equal(log_q, torch.zeros(5, 3).double())
    assert torch.equal(q.log_prob(z), log_q)
    assert (q.log_prob(z + 0.1) == -torch.inf).all()


def test_averages_that_keep_nothing_are_a_step_of_k_means():
    """gamma = 0, all rows in one batch: every code moves to the mean of what is nearest to it."""
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[:, 0] += 1
    made = book(keep=0.0, restart=0.0)
    nearest = torch.cdist(x, TABLE).argmin(-1)
    lloyd = torch.stack([x[nearest == j].mean(0) for j in range(3)])
    assert nearest.bincount().min() > 5
    made.follow(x, step())
    assert torch.allclose(made.table, lloyd, atol=1e-12)


def test_a_code_that_nothing_falls_to_stays():
    made = book(keep=0.0, restart=0.0)
    made.follow(torch.tensor([[0.1, 0.0], [1.2, 1.0]], dtype=torch.float64), step())
    assert made.table.tolist() == [[0.1, 0.0], [1.2, 1.0], [2.0, -1.0]]


def test_moving_averages_by_hand():
    """gamma = .9: N = .9 N + .1 n, m = .9 m + .1 sum, e = m / N (van den Oord 2017, eq. 6-8)."""
    made = book(keep=0.9, restart=0.0)
    made.sizes.copy_(torch.tensor([2.0, 1.0, 1.0]))
    made.sums.copy_(TABLE * made.sizes.unsqueeze(-1))
    made.follow(torch.tensor([[0.2, 0.0], [0.4, 0.0], [1.0, 1.5]], dtype=torch.float64), step())
    assert made.sizes.tolist() == pytest.approx([2.0, 1.0, 0.9])
    assert made.table[0].tolist() == pytest.approx([0.06 / 2.0, 0.0])
    assert made.table[1].tolist() == pytest.approx([1.0, (0.9 + 0.15) / 1.0])
    assert made.table[2].tolist() == pytest.approx([2.0, -1.0])


def test_dead_codes_start_afresh_at_vectors_of_the_batch():
    x = torch.randn(64, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 9
    made = book(keep=0.9, restart=0.1)
    made.follow(x, step())  # the first batch: all of them, all different
    rows = [x.tolist().index(code) for code in made.table.tolist()]
    assert len(set(rows)) == 3
    for i in range(1, 30):
        made.follow(x, step(i))
    assert made.perplexity > 1.5
    made.table[0], made.sums[0] = 100.0, 100.0 * made.sizes[0]
    for i in range(30):  # nothing is near it: .9^30 of its size is left
        made.follow(x, step(i))
    assert made.table[0].max() < 20
    assert made.sizes.sum() == pytest.approx(64.0, rel=0.4)


def test_perplexity_is_the_exponential_of_the_entropy():
    """Of what falls to the codes; that two others start afresh all the while does not count."""
    made = book(keep=0.9, restart=0.1)
    made.usage.copy_(torch.tensor([2.0, 1.0, 1.0]))
    assert made.perplexity.item() == pytest.approx(2 * math.sqrt(2), abs=1e-9)
    for i in range(200):
        made.follow(torch.ones(8, 2).double(), step(i))
    assert made.perplexity.item() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("levels", [(5,), (4,), (2,), (8, 6, 5), (3, 2)])
def test_a_lattice_has_all_its_codes_and_no_others(levels):
    """Each code comes back from its vector; a fine grid of inputs meets every one of them."""
    made = Lattice(levels).double()
    assert made.count == math.prod(levels)
    every = torch.arange(made.count)
    vectors = made.embed(every)
    assert torch.equal(made.codes(vectors), every)
    assert len(vectors.unique(dim=0)) == made.count
    for i, n in enumerate(levels):
        lowest = -1.0
        values = [lowest + 2 * k / (2 * (n // 2)) for k in range(n)]
        assert vectors[:, i].unique().tolist() == pytest.approx(values)
    h = torch.linspace(-6, 6, 601, dtype=torch.float64)
    found = [made.codes(made.bounded(h.unsqueeze(-1).expand(-1, len(levels))))]
    met = made.embed(found[0])
    for i, n in enumerate(levels):
        assert len(met[:, i].unique()) == n
        assert (met[1:, i] >= met[:-1, i]).all()


def test_a_lattice_rounds_to_the_nearest_and_0_to_0():
    made = Lattice((5, 4, 8)).double()
    assert torch.allclose(made.bounded(torch.zeros(3).double()), torch.zeros(3).double(), atol=1e-7)
    h = torch.randn(500, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    said = made.bounded(h)
    vectors = made.embed(torch.arange(made.count))
    assert torch.equal(made.codes(said), torch.cdist(said, vectors).argmin(-1))


def test_rows_of_a_lattice_have_the_gradient_of_its_bound():
    """Straight through the rounding alone: d z / d h is that of the tanh."""
    head = QuantisedHead(2, Lattice((5, 4)).double())
    h = torch.tensor([[0.3, -0.2]], dtype=torch.float64, requires_grad=True)
    ours = torch.autograd.grad(head(h).loc.sum(), h)[0]
    theirs = torch.autograd.grad(head.quantiser.bounded(h).sum(), h)[0]
    assert torch.equal(ours, theirs)
    assert (ours > 0).all()


def test_the_codebook_follows_in_the_first_phase_alone():
    torch.manual_seed(0)
    spec = Spec((6,), missing=True)
    model = build("vq_vae", spec, codes=8, hidden=(8,)).double()
    x = torch.randn(32, 6, dtype=torch.float64)
    few = Batch(x, mask=torch.ones_like(x, dtype=torch.bool))
    table = model.encoder.head.quantiser.table
    with torch.no_grad():
        start = table.clone()
        at = Step.at(model, few, 0, phase="codes")
        model.closed_form(few, at)
        assert torch.equal(table, start)
        model.train()
        twin = copy.deepcopy(model)
        model.closed_form(few, Step.at(model, few, 0))
        assert model.training
        assert not torch.equal(table, start)
        torch.rand(7)  # what the global generator holds makes no difference
        twin.closed_form(few, Step.at(twin, few, 0))
        assert torch.equal(twin.encoder.head.quantiser.table, table)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("vq_vae", {"codes": 1}, "codes=1"),
        ("vq_vae", {"codes": 81}, "codes=81: 40 rows of 2 codes each use 80 at most"),
        ("vq_vae", {"width": 0}, "width=0"),
        ("vq_vae", {"keep": 1.0}, "keep=1.0"),
        ("vq_vae", {"restart": -0.1}, "restart=-0.1"),
        ("vq_vae", {"commitment": -1.0}, "commitment=-1.0"),
        ("vq_vae", {"latent": 0}, "latent=0"),
        ("vq_vae", {"context": 0}, "context=0"),
        ("vq_vae", {"share": 0.0}, "share=0.0"),
        ("vq_vae", {"net": "grid"}, "net=grid is for images"),
        ("fsq", {"levels": (5, 1)}, r"levels=\[5, 1\]"),
        ("fsq", {"levels": ()}, r"levels=\[\]"),
    ],
)
def test_bad_options_are_one_line(name, options, said):
    with pytest.raises(UsageError, match=said):
        build(name, Spec((16,), rows=40), **options)


def test_an_image_has_its_codes_on_a_grid():
    """28 x 28 halved twice: 7 x 7 places. A code moved moves the pixels around its place alone."""
    torch.manual_seed(0)
    spec = Spec((1, 28, 28), ("binary",), (2,))
    model = build("vq_vae", spec, hidden=(8, 8), norm=False, width=3).double().eval()
    assert model.encoder.head.places == 49
    assert model.latent == 147
    with pytest.raises(UsageError, match="latent=50: a grid has 7 x 7"):
        build("vq_vae", spec, latent=50)
    z = torch.randn(1, 147, dtype=torch.float64, requires_grad=True)
    logits = model.likelihood(z, Batch(torch.zeros(1, 1, 28, 28))).logits
    slope = torch.autograd.grad(logits[0, 0, 0, 0], z)[0].view(3, 7, 7)
    assert slope[:, :3, :3].any()
    assert not slope[:, 4:, :].any()
    assert not slope[:, :, 4:].any()
    x = torch.zeros(1, 1, 28, 28, dtype=torch.float64, requires_grad=True)
    said = model.posterior(Batch(x)).said  # (1, 49, 3)
    slope = torch.autograd.grad(said[0, 0].sum(), x)[0]
    assert slope[..., :3, :3].any()
    assert not slope[..., 14:, :].any()


def test_every_pixel_is_told_by_the_codes_of_a_grid_in_every_network():
    for spec in (Spec((3, 17, 21), ("pixel",), (256,)), Spec((1, 16, 40), missing=True)):
        torch.manual_seed(0)
        model = build("fsq", spec, levels=(3, 3), hidden=(8,))
        data = Data(spec, torch.rand(4, *spec.shape))
        mask = torch.ones(4, *spec.shape, dtype=torch.bool) if spec.missing else None
        few = Batch(data.x.mul(255).round() / 255, mask=mask)
        loss = model.losses(few, Step.at(model, few, 0))["model"]
        assert loss.isfinite()


def test_all_codes_of_two_places_are_told_apart():
    head = QuantisedHead(2, Codebook(4, 1))
    head.quantiser.table.copy_(torch.arange(4.0).unsqueeze(-1))
    every = torch.tensor([*itertools.product(range(4), repeat=2)]).float()
    q = head(every + 0.1)
    assert torch.equal(q.codes.float(), every)


def test_the_commitment_is_charged():
    """Loss = -log p(x|z) + commitment * |said - z|^2, then, for the prior alone, -log p(z)."""
    torch.manual_seed(0)
    model = build("vq_vae", Spec((6,)), commitment=0.7, hidden=(8,)).double().eval()
    few = Batch(torch.randn(5, 6).double())
    q = model.posterior(few)
    distortion = -log_likelihood(model, q.mean, few).mean()
    loss = model.losses(few, Step.at(model, few, 0))["model"]
    assert (loss - distortion).item() == pytest.approx(0.7 * q.missed.mean().item(), abs=1e-12)
    assert q.missed.mean() > 0.01
    after = model.losses(few, Step.at(model, few, 0, phase="codes"))
    assert after.keys() == {"prior"}
    assert after["prior"].item() == pytest.approx(2 * math.log(64), abs=1e-12)


def test_quantised_parts_by_name():
    """Posterior and prior of any composed model; what does not fit together is one line."""
    spec = Spec((16,), ("binary",), (2,))
    parts: dict = {"posterior": {"name": "fsq", "levels": (3, 3)}, "latent": 8, "hidden": (8,)}
    prior = {"name": "codes", "places": 4, "count": 9, "width": 8}
    model = compose(spec, "quantising", prior=prior, **parts)
    assert [p.name for p in model.phases] == ["train", "codes"]
    few = Batch(torch.ones(3, 16))
    rate = terms(model, few, torch.zeros(1, 3, 0)).rate
    assert rate.tolist() == pytest.approx([4 * math.log(9)] * 3, rel=1e-5)
    vq = {"name": "vq", "codes": 9, "width": 2}
    model = compose(spec, "elbo", latent=8, posterior=vq, prior=prior)
    assert model.losses(few, Step.at(model, few, 0))["model"] > 4 * math.log(9)
    with pytest.raises(UsageError, match="the posterior makes 4 codes of 9"):
        compose(spec, "quantising", prior={**prior, "count": 8}, **parts).prior(few)
    with pytest.raises(UsageError, match="live in 'codes'"):
        compose(spec, "quantising", prior="standard", **parts)
    with pytest.raises(UsageError, match="latent=7: codes of width 2"):
        compose(spec, "quantising", prior=prior, **{**parts, "latent": 7})
    with pytest.raises(UsageError, match="objective=quantising is for codes"):
        compose(spec, "quantising", latent=2)
