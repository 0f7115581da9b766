"""Tables: a VAE whose columns depend on one another (Chen et al. 2017, arXiv:1611.02731; NADE).

Beside such a decoder z says little unless it has to. Here it has to: some training rows are told
from z alone (as by the auxiliary decoder of Lucas & Verbeek 2018, arXiv:1711.11479), the rate
weighs less, and the prior is a flow, so that a larger rate costs the drawn rows next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from vaes.batch import Spec
from vaes.composed import Composed, Inputs, Readout
from vaes.dist import posterior_head
from vaes.dist.autoregressive import Autoregressive
from vaes.dist.priors import LearntFlow, StandardNormal
from vaes.errors import UsageError
from vaes.model import Model
from vaes.nets.mlp import mlp
from vaes.objective import Elbo

FEW = 20_000  # training rows below which a table needs to be held back from fitting them too well
SETTINGS = {"lr": 3e-3, "batch": 256, "schedule": "cosine", "presented": 500_000}


def build(
    spec: Spec,
    *,
    latent: int | None = None,
    hidden: Sequence[int] = (128,),
    dropout: float | None = None,
    fixed: float = 0.5,
    alone: float = 0.3,
    flow: int = 6,
    posterior: str = "diagonal",
    samples: int = 1,
    beta: float = 0.6,
    warmup: float = 0.1,
    free_bits: float = 0.0,
    smooth: bool | None = None,
) -> Model:
    """Columns of any kind, each drawn given z and the columns before it; gaps anywhere.

    latent: dimensions of z (None: half of the columns, 2 to 16) · hidden: widths of the encoder,
    the first that of the sums too that a column is predicted from · dropout: of the decoder in
    training (None: .1 below 20,000 training rows, else 0) · fixed: share of the training rows whose
    columns keep their order, the others teaching all conditionals · alone: share of the training
    rows of which every column is predicted from z alone, as if no other were known: it keeps z in
    use · flow: layers of the prior (0:
    N(0, I)) · posterior: see `compose` · samples, beta, warmup, free_bits: see `beta_vae` and
    `vae`; what is reported is the unweighted bound · smooth: the cells of a column that has an
    order share a curve, in place of learning each for itself (None: below 20,000 training rows).
    """
    if not hidden:
        raise UsageError("hidden=(): the encoder of a table needs a hidden layer")
    if not 0 <= alone < 1:
        raise UsageError(f"alone={alone}: a share of the training rows, 0 or more, below 1")
    few = 0 < spec.rows < FEW
    dropout = (0.1 if few else 0.0) if dropout is None else dropout
    smooth = few if smooth is None else smooth
    d = latent if latent is not None else min(16, max(2, (spec.size - spec.gates) // 2))
    inputs = Inputs(spec)
    encoder = Readout(
        mlp(inputs.shape[0], tuple(hidden)), posterior_head(posterior, d), inputs.shape
    )
    decoder = Autoregressive(spec, d, hidden[0], dropout, fixed, alone, smooth)
    prior = LearntFlow(d, flow) if flow else StandardNormal(d)
    objective = Elbo(samples, beta, warmup, free_bits)
    return Composed(spec, d, inputs, encoder, decoder, prior, objective)
