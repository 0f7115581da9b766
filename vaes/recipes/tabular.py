"""Tables: a VAE whose columns depend on one another (Chen et al. 2017, arXiv:1611.02731; NADE)."""

from __future__ import annotations

from collections.abc import Sequence

from vaes.batch import Spec
from vaes.composed import Composed, Inputs, Readout
from vaes.dist import posterior_head
from vaes.dist.autoregressive import Autoregressive
from vaes.dist.priors import StandardNormal
from vaes.errors import UsageError
from vaes.model import Model
from vaes.nets.mlp import mlp
from vaes.objective import Elbo

SETTINGS = {"lr": 2e-3, "batch": 256, "schedule": "cosine", "presented": 400_000}


def build(
    spec: Spec,
    *,
    latent: int | None = None,
    hidden: Sequence[int] = (128,),
    dropout: float = 0.0,
    fixed: float = 0.5,
    posterior: str = "diagonal",
    samples: int = 1,
    warmup: float = 0.1,
    free_bits: float = 0.1,
    smooth: bool = False,
) -> Model:
    """Columns of any kind, each drawn given z and the columns before it; gaps anywhere.

    The free bits keep z in use beside a decoder that could do without it. latent: dimensions of z
    (None: a quarter of the columns, 2 to 16) · hidden: widths of the encoder, the first that of the
    sums too that a column is predicted from · dropout: of the decoder in training · fixed: share of
    the training rows whose columns keep their order, the others teaching all conditionals ·
    posterior: see `compose` · samples, warmup, free_bits: see `vae` · smooth: the cells of a column
    that has an order share a curve, in place of learning each for itself.
    """
    if not hidden:
        raise UsageError("hidden=(): the encoder of a table needs a hidden layer")
    d = latent if latent is not None else min(16, max(2, (spec.size - spec.gates) // 4))
    inputs = Inputs(spec)
    encoder = Readout(
        mlp(inputs.shape[0], tuple(hidden)), posterior_head(posterior, d), inputs.shape
    )
    decoder = Autoregressive(spec, d, hidden[0], dropout, fixed, smooth)
    objective = Elbo(samples, warmup=warmup, free_bits=free_bits)
    return Composed(spec, d, inputs, encoder, decoder, StandardNormal(d), objective)
