"""Networks of every size give back rows of that size, and no part of them is dead."""

import numpy as np
import pytest
import torch
from torch import nn

from vaes.batch import Batch, Spec
from vaes.composed import Inputs, compose
from vaes.errors import UsageError
from vaes.nets.conv import conv_decoder, conv_encoder, sizes
from vaes.nets.curves import OWN, Curves
from vaes.nets.mlp import ResidualMLP, mlp
from vaes.objective import Elbo, log_weight

SHAPES = [
    (1, 28, 28), (3, 32, 32), (1, 17, 21), (3, 9, 5), (1, 1, 13), (2, 13, 1), (1, 1, 1),
    (1, 2, 3), (4, 7, 7), (1, 64, 48), (3, 5, 31),
]  # fmt: skip


def grads_reach_all(module: nn.Module, out: torch.Tensor) -> None:
    module.zero_grad()
    out.square().sum().backward()
    dead = [n for n, p in module.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead, dead


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_convolutions_give_back_the_size(shape, norm, residual):
    torch.manual_seed(0)
    widths = (8, 12, 16)
    encoder = conv_encoder(shape, widths, norm=norm, residual=residual)
    decoder = conv_decoder(5, (2 * shape[0], *shape[1:]), widths, norm=norm, residual=residual)
    x, z = torch.randn(3, *shape), torch.randn(3, 5)
    h, w = sizes(shape[1:], 3)[-1]
    features = encoder(x)
    assert features.shape == (3, 16 * h * w)
    out = decoder(z)
    assert out.shape == (3, 2 * shape[0], *shape[1:])
    grads_reach_all(encoder, features * torch.randn_like(features))
    grads_reach_all(decoder, out * torch.randn_like(out))


def test_halvings_by_hand():
    assert sizes((17, 21), 3) == [(17, 21), (8, 10), (4, 5), (2, 2)]
    # a side below 4 is left alone
    assert sizes((1, 13), 3) == [(1, 13), (1, 6), (1, 3), (1, 3)]


def test_convolutions_see_every_pixel():
    """Every pixel of x moves the features, every code moves every pixel of the output."""
    torch.manual_seed(0)
    for shape in SHAPES:
        encoder, decoder = conv_encoder(shape, (8, 8), "tanh"), conv_decoder(3, shape, (8, 8))
        x = torch.randn(1, *shape, requires_grad=True)
        (slope,) = torch.autograd.grad(encoder(x).square().sum(), x)
        assert slope.ne(0).all(), shape
        z = torch.randn(1, 3)
        assert decoder(z).sub(decoder(z + 1)).ne(0).all(), shape


@pytest.mark.parametrize("act", ["silu", "relu", "tanh", "gelu"])
def test_flat_bodies(act):
    torch.manual_seed(0)
    for body, width in ((mlp(6, (16, 9), act), 9), (ResidualMLP(6, 16, 3, act), 16)):
        out = body(torch.randn(32, 2, 3))
        assert out.shape == (32, width)
        grads_reach_all(body, out)
    x = torch.randn(4, 2, 3)
    assert torch.equal(mlp(6, ())(x), x.flatten(1))


def test_residual_body_is_the_identity_where_its_blocks_are_zero():
    body = ResidualMLP(6, 6, 2, "relu")
    with torch.no_grad():
        body.first[1].weight.copy_(torch.eye(6))
        body.first[1].bias.zero_()
        for block in body.blocks:
            block[-1].weight.zero_()
            block[-1].bias.zero_()
    x = torch.randn(4, 6)
    assert torch.equal(body(x), x.relu())


@pytest.mark.parametrize("net", ["mlp", "conv", "residual"])
@pytest.mark.parametrize("kind", [("binary", 2), ("pixel", 256), ("real", 0)])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 17, 21)])
def test_composed_images(net, kind, shape):
    """Each pixel is told its own numbers: moving one output of the last layer moves one term."""
    torch.manual_seed(0)
    spec = Spec(shape, (kind[0],), (kind[1],))
    model = compose(spec, Elbo(), latent=3, net=net, hidden=(8, 8))
    x = torch.rand(2, *shape)
    x = x.round() if kind[0] == "binary" else (x * 255).round() / 255
    log_w = log_weight(model, Batch(x), 4)
    grads_reach_all(model, log_w)
    head = model.decoder.head
    h = torch.zeros(1, head.size, requires_grad=True)
    terms = head(h).terms(x[:1])[0]
    flat = torch.zeros(shape).flatten()
    for entry in (0, 5, len(flat) - 1):
        (slope,) = torch.autograd.grad(terms.flatten()[entry], h, retain_graph=True)
        assert slope.view(-1, spec.size)[:, :].abs().sum(0).nonzero().flatten().tolist() == [entry]


class MyDecoder(nn.Module):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(3, outputs)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.layer(z).unflatten(1, (2, -1))


def test_own_modules():
    """A decoder that ends in what the head takes is the last word; any other gets a linear map."""
    spec, x = Spec((6,)), torch.randn(4, 6)
    encoder = nn.Sequential(nn.Linear(6, 10), nn.Tanh())
    exact = MyDecoder(6)
    model = compose(spec, Elbo(), latent=3, encoder=encoder, decoder=exact)
    z = torch.randn(2, 4, 3)
    mean = model.likelihood(z, Batch(x)).mean
    assert torch.allclose(mean, exact.layer(z), atol=1e-6)
    q = model.posterior(Batch(x))
    assert torch.allclose(q.mean, model.encoder.last(encoder(x))[:, :3])
    grads_reach_all(model, log_weight(model, Batch(x), 3))
    wider = MyDecoder(8)
    model = compose(spec, Elbo(), latent=3, decoder=wider)
    expected = wider.layer(z) @ model.decoder.last.weight.T + model.decoder.last.bias
    assert torch.allclose(model.likelihood(z, Batch(x)).mean, expected, atol=1e-6)
    grads_reach_all(model, log_weight(model, Batch(x), 3))


@pytest.mark.parametrize(
    "parts",
    [
        {"decoder": nn.Linear(5, 6)},
        {"encoder": nn.Linear(7, 6)},
        {"encoder": nn.Conv2d(1, 2, 3)},
        {"net": "conv"},
        {"net": "cnov"},
        {"act": "sliu"},
        {"likelihood": "bernoulli"},
        {"posterior": "diagnoal"},
        {"scale": -1.0},
        {"scale": "shred"},
        {"latent": 0},
        {"net": "residual", "hidden": ()},
    ],
)
def test_wrong_parts_are_one_line(parts):
    with pytest.raises(UsageError) as error:
        compose(Spec((6,)), Elbo(), **{"latent": 3, **parts})
    assert "\n" not in str(error.value)
    value = next(iter(parts.values()))
    said = type(value).__name__ if isinstance(value, nn.Module) else str(value)
    assert said in str(error.value)


def test_conv_without_layers_is_one_line():
    with pytest.raises(UsageError):
        compose(Spec((1, 16, 16)), Elbo(), net="conv", hidden=())


def test_inputs_by_hand():
    """Numbers as they are, categories as indicators, then the mask of what was observed."""
    spec = Spec((4,), ("real", "category", "binary", "pixel"), (0, 3, 2, 5), missing=True)
    x = torch.tensor([[0.7, 2, 1, 0.25], [0, 0, 0, 0]])
    mask = torch.tensor([[True, True, True, True], [False, True, False, True]])
    expected = [[0.7, 1, 0.25, 0, 0, 1, 1, 1, 1, 1], [0, 0, 0, 1, 0, 0, 0, 1, 0, 1]]
    assert Inputs(spec).eval()(Batch(x, mask=mask)).equal(torch.tensor(expected))
    full = Inputs(spec).eval()(Batch(x))  # no mask: everything was observed
    assert full[:, 6:].eq(1).all()
    image = Spec((2, 3, 3), missing=True)
    x, mask = torch.randn(1, 2, 3, 3), torch.rand(1, 2, 3, 3) < 0.5
    found = Inputs(image).eval()(Batch(x, mask=mask))
    assert torch.equal(found[:, :2], x * mask)
    assert torch.equal(found[:, 2:], mask.float())


def test_inputs_of_counts_by_hand():
    """log(1 + x), of counts alone and beside other columns, 0 in gaps."""
    spec = Spec((2,), ("count",), (0,), missing=True, totals=True)
    batch = Batch(torch.tensor([[7.0, 0.0]]), mask=torch.tensor([[True, False]]))
    assert torch.allclose(Inputs(spec).eval()(batch), torch.tensor([[7.0, 0, 0, 0]]).log1p()
                          + torch.tensor([[0, 0, 1.0, 0]]))  # fmt: skip
    both = Inputs(Spec((3,), ("real", "count", "category"), (0, 0, 2)))
    found = both(Batch(torch.tensor([[-3.0, 7.0, 1.0]])))
    assert torch.allclose(found, torch.tensor([[-3.0, np.log(8), 0, 1]]).float())


def test_inputs_of_numeric_columns_by_hand():
    """The rank from -1 to 1 and an indicator per piece; a gap shows neither."""
    pieces = ((-1.0, 0.0, 0.0, 0.0, 0.0, 2.0, 2.0, 3.0),)
    spec = Spec((1,), ("numeric",), (4,), pieces=pieces, missing=True)
    inputs = Inputs(spec).eval()
    found = inputs(Batch(torch.tensor([[2.5], [0.0]]), mask=torch.tensor([[True], [False]])))
    assert found.tolist() == [[2.5 * 2 / 4 - 1, 0, 0, 1, 0, 1], [0, 0, 0, 0, 0, 0]]


def test_training_hides_entries_of_half_the_rows():
    spec = Spec((40,), missing=True)
    inputs, x = Inputs(spec), torch.ones(4000, 40)
    torch.manual_seed(0)
    shown = inputs(Batch(x))[:, 40:].mean(1)
    assert (shown == 1).double().mean().item() == pytest.approx(0.5, abs=0.04)
    part = shown[shown < 1]  # any share of a row
    assert part.mean().item() == pytest.approx(0.5, abs=0.03)
    assert (part < 0.1).any()
    assert inputs.eval()(Batch(x)).eq(1).all()


def test_curves_are_linear_between_their_knots():
    """Of 33 cells every second is a knot, of 7 each; the other column is as it was."""
    curves = Curves([33, 3, 7], [True, False, True], 2, 1.0)
    own = torch.randn(43, 2)
    found, knots = curves(own, slice(None)) - OWN * own, curves.knots
    assert knots.shape == (17 + 7, 2)
    torch.testing.assert_close(found[0:33:2], knots[:17])
    torch.testing.assert_close(found[1:33:2], (knots[:16] + knots[1:17]) / 2)
    torch.testing.assert_close(found[36:], knots[17:])
    assert torch.equal(curves(own, slice(None))[33:36], own[33:36])
    torch.testing.assert_close(curves(own[36:], slice(36, 43)), curves(own, slice(None))[36:])
