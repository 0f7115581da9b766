"""ProdLDA: topics of documents, each a product of experts (Srivastava & Sutton 2017)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from vaes.batch import Spec
from vaes.composed import compose
from vaes.errors import UsageError
from vaes.model import Model
from vaes.objective import Objective
from vaes.parts import Part

SETTINGS = {"lr": 1e-2, "batch": 128, "schedule": "cosine", "presented": 800_000}
OBJECTIVE: Part = {"name": "elbo", "warmup": 0.5}


def build(
    spec: Spec,
    *,
    latent: int = 20,
    alpha: float = 0.1,
    hidden: Sequence[int] = (128,),
    act: str = "silu",
    objective: Part | Objective = OBJECTIVE,
) -> Model:
    """Words ~ multinomial(softmax(sum_k z_k beta_k + b)), z ~ Dirichlet(alpha): documents x words.

    The posterior is a Dirichlet too, its gradients implicit (Figurnov et al. 2018), where the paper
    has a softmax of a normal. Evidence is log p(x | total of the row). `vaes.uses.topics` names the
    words of the topics.

    latent: topics · alpha: of the Dirichlet; the smaller, the fewer topics a document has · hidden:
    widths of the encoder's layers · act: see `compose` · objective: the ELBO with a warm-up over
    the first half, without which topics die early, unless named.
    """
    if not spec.totals:
        raise UsageError(
            "prodlda is for rows of counts alone (documents x words); overrule with --kind count, "
            "or take another recipe"
        )
    if not 2 <= latent < spec.size:
        raise UsageError(f"latent={latent}: topics are at least 2 and fewer than the columns")
    return compose(
        spec,
        objective,
        latent=latent,
        net="mlp",
        hidden=hidden,
        act=act,
        posterior="dirichlet",
        prior={"name": "dirichlet", "alpha": alpha},
        likelihood="multinomial",
        decoder=nn.Identity(),
    )
