"""Counts: a VAE with a negative binomial given each row's total (Lopez et al. 2018, scVI)."""

from __future__ import annotations

from collections.abc import Sequence

from vaes.batch import Spec
from vaes.composed import Composed, Inputs, Readout
from vaes.dist import likelihood_head, posterior_head
from vaes.dist.priors import StandardNormal
from vaes.errors import UsageError
from vaes.model import Model
from vaes.nets.mlp import mlp
from vaes.objective import Elbo, Iwae

SETTINGS = {"lr": 3e-3, "batch": 128, "schedule": "cosine", "presented": 800_000}


def build(
    spec: Spec,
    *,
    latent: int = 10,
    hidden: Sequence[int] = (128,),
    dropout: float = 0.0,
    act: str = "relu",
    likelihood: str = "negative_binomial",
    scale: str | float | None = None,
    posterior: str = "diagonal",
    samples: int = 5,
) -> Model:
    """Cells x genes, documents x words: shares of a row's total, which is given; gaps anywhere.

    Evidence is log p(x | total of the row). latent: dimensions of z · hidden: widths of the
    encoder's layers, mirrored in the decoder · dropout: in the encoder, in training · act: see
    `compose` · likelihood: negative_binomial or poisson · scale: inverse dispersion of a negative
    binomial, entry (one per column), shared, network or a fixed number · posterior: see `compose` ·
    samples: draws of z per row and step, of which the importance-weighted bound is trained (Burda
    et al. 2016); 1 trains the ELBO.
    """
    if any(kind != "count" for kind in spec.kinds):
        kind = next(kind for kind in spec.kinds if kind != "count")
        raise UsageError(
            f"the recipe counts is for rows of counts, but the data hold '{kind}' entries; "
            "overrule with --kind count, or take another recipe"
        )
    if latent < 1:
        raise UsageError(f"latent={latent}: at least one latent dimension is needed")
    if not 0 <= dropout < 1:
        raise UsageError(f"dropout={dropout}: a share of the units, from 0 to below 1")
    inputs, widths = Inputs(spec), tuple(hidden)
    encoder = Readout(
        mlp(inputs.shape[0], widths, act, dropout), posterior_head(posterior, latent), inputs.shape
    )
    head = likelihood_head(spec, likelihood, scale)
    decoder = Readout(mlp(latent, widths[::-1], act), head, (latent,))
    objective = Iwae(samples) if samples > 1 else Elbo(samples, warmup=0.1)
    return Composed(spec, latent, inputs, encoder, decoder, StandardNormal(latent), objective)
