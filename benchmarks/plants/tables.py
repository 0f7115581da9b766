"""Errors in tables: columns, cells, gaps."""

from plants import Plant

T_AUTOREGRESSIVE = "tests/dist/test_autoregressive.py"
T_CELLS = "tests/dist/test_cells.py"
T_LATENT_CLASS = "tests/test_latent_class.py"
AUTOREGRESSIVE = "vaes/dist/autoregressive.py"
CELLS = "vaes/dist/cells.py"
LATENT_CLASS = "vaes/recipes/latent_class.py"
COMPOSED = "vaes/composed.py"

PLANTS = [
    Plant(
        "a column sees itself",
        AUTOREGRESSIVE,
        "if not self.net.training:\n            return embedded.cumsum(-2) - embedded",
        "if not self.net.training:\n            return embedded.cumsum(-2)",
        (T_AUTOREGRESSIVE,),
    ),
    Plant(
        "gaps are embedded",
        AUTOREGRESSIVE,
        "embedded = embedded * mask.unsqueeze(-1)",
        "embedded = embedded * mask.unsqueeze(-1) + embedded * 0.5",
        (T_AUTOREGRESSIVE,),
    ),
    Plant(
        "missing values predicted from their being missing",
        AUTOREGRESSIVE,
        "told[..., by] &= mask[..., j] | (known[..., by] == 1)",
        "told[..., by] &= True",
        (T_AUTOREGRESSIVE,),
    ),
    Plant(
        "missing columns drawn without what is observed after them",
        AUTOREGRESSIVE,
        "self.context + shown.sum(-2)",
        "self.context + shown[..., :1, :].sum(-2)",
        (T_AUTOREGRESSIVE,),
    ),
    Plant(
        "cells a knot away from their curve",
        "vaes/nets/curves.py",
        "at - left",
        "at - left + 1",
        ("tests/nets/test_nets.py",),
    ),
    Plant(
        "codes of a gap not weighted by what is observed",
        "vaes/uses/cells.py",
        "weight[:, rows].unsqueeze(-1) * share",
        "share / len(z)",
        ("tests/uses/test_impute.py",),
    ),
    Plant(
        "the width of a piece left out of its density",
        CELLS,
        "left.clamp(min=PLACE[0]).log() - self.log_width[cell]",
        "left.clamp(min=PLACE[0]).log() + 0 * self.log_width[cell]",
        (T_CELLS,),
    ),
    Plant(
        "tails that do not fall",
        CELLS,
        "torch.where(tail < 0, place, torch.where(tail > 0, 1 - place, 1.0))",
        "torch.ones_like(place)",
        (T_CELLS,),
    ),
    Plant(
        "draws from the tails",
        CELLS,
        "if not self.tailed[j]:",
        "if True:",
        (T_CELLS,),
    ),
    Plant(
        "EM without the weights of the classes",
        LATENT_CLASS,
        "return OneHot(given + self.weights.log_softmax(-1))",
        "return OneHot(given)",
        (T_LATENT_CLASS,),
    ),
    Plant(
        "EM that keeps the sums of the last pass",
        LATENT_CLASS,
        "self.counts.zero_()",
        "self.counts.mul_(0.5)",
        (T_LATENT_CLASS,),
    ),
    Plant(
        "the encoder sees all there is while training",
        COMPOSED,
        "if not self.training:\n            return mask",
        "if True:\n            return mask",
        ("tests/nets/test_nets.py",),
    ),
]
