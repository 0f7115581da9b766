"""Parts by name and option: what is made, and the one line where it cannot be."""

import pytest
import torch

from vaes.batch import Spec
from vaes.dist.gaussian import CholeskyNormal, DiagonalNormal
from vaes.dist.priors import LearntFlow
from vaes.errors import UsageError
from vaes.objective import Elbo, Iwae
from vaes.options import split_options
from vaes.parts import folded
from vaes.recipes import build

SPEC = Spec((6,))


def test_an_option_with_a_dot_is_one_of_its_part():
    defaults = {"prior": "auto", "latent": None}
    assert folded({"prior": "flow", "prior.layers": 2, "latent": 3}, defaults) == {
        "prior": {"name": "flow", "layers": 2},
        "latent": 3,
    }
    # whatever the order, and with the default part where none is named
    assert folded({"prior.a": 1, "prior": "flow"}, defaults) == {"prior": {"name": "flow", "a": 1}}
    assert folded({"prior.a": 1}, defaults) == {"prior": {"name": "auto", "a": 1}}
    ours, settings = split_options("vae", {"prior": "flow", "prior.layers": 2, "epochs": 3})
    assert ours == {"prior": {"name": "flow", "layers": 2}}
    assert settings.epochs == 3


def test_a_part_is_made_with_its_options():
    model = build("vae", SPEC, **{"prior": "flow", "prior.layers": 2})
    assert isinstance(model.latent_prior, LearntFlow)
    assert len(model.latent_prior.couplings.nets) == 2
    same = build("vae", SPEC, prior={"name": "flow", "layers": 2})
    assert len(same.latent_prior.couplings.nets) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"prior": "flw"}, "prior 'flw' is not known; did you mean 'flow'"),
        ({"prior": 3}, "prior is a int; it takes a name, or a name and options"),
        (
            {"prior": "flow", "prior.layrs": 1},
            "prior=flow has no option 'layrs'; did you mean 'la",
        ),
        ({"prior.layers": 1}, "prior=standard has no option 'layers'; it has none"),
        ({"prior": "flow", "prior.layers": "two"}, "prior=flow does not take {'layers': 'two'}"),
        ({"latent.size": 3}, "latent.size=3 was given, but latent is None, which has no options"),
        ({"priro.layers": 1}, "there is no option 'priro.layers'; did you mean 'prior'"),
        ({"posterior": "colesky"}, "posterior 'colesky' is not known; did you mean 'cholesky'"),
        ({"likelihood": "normal", "likelihood.df": 3}, "likelihood=normal has no option 'df'"),
    ],
)
def test_what_cannot_be_made_is_one_line(options, said):
    with pytest.raises(UsageError) as caught:
        build("vae", SPEC, **options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_objectives_by_name_are_those_of_their_recipes():
    from vaes.composed import compose

    for part, same in (
        ("elbo", Elbo()),
        ({"name": "elbo", "beta": 2.0, "samples": 3}, Elbo(3, beta=2.0)),
        ({"name": "iwae", "samples": 7}, Iwae(7)),
    ):
        model = compose(SPEC, part)
        assert model.objective == same
        assert model.samples == same.samples
    with pytest.raises(UsageError, match="objective 'elbw' is not known; did you mean 'elbo'"):
        compose(SPEC, "elbw")


def test_no_gradient_flows_through_what_is_stopped():
    loc, scale = torch.zeros(2, 3, requires_grad=True), torch.zeros(2, 3, requires_grad=True)
    tril = torch.eye(3).expand(2, 3, 3).clone().requires_grad_()
    for q in (DiagonalNormal(loc, scale), CholeskyNormal(loc, tril)):
        z = torch.ones(4, 2, 3, requires_grad=True)
        density = q.stopped().log_prob(z)
        assert torch.equal(density, q.log_prob(z))
        assert torch.autograd.grad(density.sum(), z)[0].abs().sum() > 0
        assert torch.autograd.grad(density.sum(), loc, allow_unused=True) == (None,)
        z, own = q.drawn(torch.ones(4, 2, 3))
        assert torch.equal(own, q.log_prob(z))
