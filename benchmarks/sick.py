"""Small models that are sick in a known way, and healthy ones; see `health.py` beside this file."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch

from vaes import data as sources
from vaes.batch import Data, Spec
from vaes.evaluate.health import examine
from vaes.fit import Loop
from vaes.plan import Settings, plan
from vaes.training import seeded_build

SMALL = {"hidden": (64, 64)}


@dataclass
class Parts:
    """Rows to train on, to choose by and to test on."""

    train: Data
    valid: Data
    test: Data


@dataclass
class Case:
    """A trained model, its rows and the lines of its log."""

    model: torch.nn.Module
    parts: Parts
    metrics: list

    def examined(self, seed):
        """The health of the model."""
        p = self.parts
        return examine(self.model, p.train, p.valid, p.test, self.metrics, seed=seed)


def trained(recipe, parts, seed, steps=1500, options=None, **settings):
    """A model of `recipe` after that many steps of 100 rows, chosen by the validation rows."""
    spec = replace(parts.train.spec, rows=len(parts.train))
    options = dict(SMALL if options is None else options)
    model, lines = seeded_build(recipe, spec, seed, options), []

    def note(loop, record):
        if record:
            lines.append(record)

    given = {"batch": 100, "lr": 2e-3, "schedule": "cosine", "ema": 0.0, "compile": "no"}
    given |= {"steps": steps, "seed": seed, "threads": 1, "device": "cpu"} | settings
    done = plan(Settings(**given), model, len(parts.train))
    Loop(model, parts.train, parts.valid, done, [note]).run()
    return Case(model.eval(), parts, lines)


# --- rows -----------------------------------------------------------------------------------------
def parts_of(x, kinds=("real",), levels=(0,), cut=(1400, 200)):
    """Rows in model space, reals standardised by the training rows."""
    x = torch.as_tensor(x).float()
    a, b = cut[0], cut[0] + cut[1]
    spec = Spec(tuple(x.shape[1:]), kinds, levels)
    if kinds == ("real",):
        x = (x - x[:a].mean(0)) / x[:a].std(0).clamp(min=1e-6)
    return Parts(*(Data(spec, part) for part in (x[:a], x[a:b], x[b:])))


def bent(seed, n=2200, noise=0.3, tails=None):
    """Three numbers, bent and mixed into 12 columns, and noise."""
    world, draw = np.random.default_rng(5), np.random.default_rng([seed, 1])
    z = draw.normal(size=(n, 3))
    x = np.concatenate([z, np.sin(2 * z)], 1) @ world.normal(size=(6, 12))
    e = draw.normal(size=x.shape) if tails is None else draw.standard_t(tails, x.shape)
    return x + noise * x.std() * e


def linear(seed, rank=3, columns=10, n=2200, noise=0.4):
    """A linear-Gaussian model of that rank."""
    draw = np.random.default_rng([seed, 2])
    load = draw.normal(size=(rank, columns))
    return draw.normal(size=(n, rank)) @ load + noise * np.sqrt(rank) * draw.normal(
        size=(n, columns)
    )


def bits(seed, n=2200):
    """Twenty-four bits, told by four numbers."""
    draw = np.random.default_rng([seed, 3])
    logits = draw.normal(size=(n, 4)) @ (2 * np.random.default_rng(6).normal(size=(4, 24)))
    return (draw.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(float)


def ring(seed, n=2200):
    """A circle with noise."""
    draw = np.random.default_rng([seed, 4])
    angle = draw.uniform(0, 2 * np.pi, n)
    return np.stack([np.cos(angle), np.sin(angle)], 1) + 0.15 * draw.normal(size=(n, 2))


def counted(seed, n=2200):
    """Whole numbers of 20 columns that three gamma factors make rise together."""
    draw = np.random.default_rng([seed, 7])
    loads = np.random.default_rng(7).gamma(0.5, 4, (3, 20))
    rows = draw.negative_binomial(3.0, 3.0 / (3.0 + draw.gamma(2, 1, (n, 3)) @ loads)) + 0.0
    rows[:, 0] += 1
    return rows


def mixed(seed, n=2200):
    """Four numbers and four columns of words, told by one of three classes."""
    world, draw = np.random.default_rng(8), np.random.default_rng([seed, 8])
    which = draw.integers(0, 3, n)
    means, shares = 2 * world.normal(size=(3, 4)), world.dirichlet(np.full(5, 0.4), (4, 3))
    frame = pd.DataFrame(means[which] + draw.normal(size=(n, 4)), columns=list("abcd"))
    for name, share in zip("efgh", shares, strict=True):
        level = (share[which].cumsum(1) < draw.random((n, 1))).sum(1).clip(max=4)
        frame[name] = np.array(["red", "green", "blue", "grey", "pink"])[level]
    return frame


def table(rows, seed, **how):
    """Rows as `vaes train` prepares them."""
    p = sources.prepare(sources.load(rows), seed=seed, **how)
    return Parts(p.train, p.valid, p.test)


def digits(seed):
    """The 1,797 digits of scikit-learn."""
    return table("digits", seed)


# --- sick models: a name, what must be found, how it comes about, how it is mended ----------------
def collapse(seed, mended=False):
    """A rate that weighs 30 times as much."""
    options = SMALL | {"latent": 4, "beta": 1.0 if mended else 30.0}
    return trained("beta_vae", parts_of(bent(seed)), seed, options=options)


def collapse_by_scale(seed, mended=False):
    """A fixed scale of five standard deviations."""
    options = SMALL | {"latent": 4, "scale": "entry" if mended else 5.0}
    return trained("vae", parts_of(linear(seed)), seed, options=options)


def blind(seed, mended=False):
    """A decoder whose weights of z are gone."""
    case = trained("vae", digits(seed), seed, 800, SMALL | {"latent": 8})
    with torch.no_grad():
        first = next(m for m in case.model.decoder.body.modules() if hasattr(m, "weight"))
        first.weight.zero_()
    return case


def small_latent(seed, mended=False):
    """One dimension for rows of rank six."""
    options = SMALL | {"latent": 6 if mended else 1}
    return trained("vae", parts_of(linear(seed, 6, 14, noise=0.2)), seed, options=options)


def overfitting(seed, mended=False):
    """A hundred rows by heart: nothing held out that training could be stopped by."""
    parts = parts_of(bent(seed, 800), cut=(100, 100))
    if mended:
        return trained("vae", parts, seed, options={"latent": 4, "hidden": (32,)}, patience=0.1)
    blind_to = Parts(parts.train, parts.train, parts.test)
    case = trained("vae", blind_to, seed, 1500, {"latent": 4, "hidden": (128, 128)}, patience=0)
    return replace(case, parts=parts)


def undertrained(seed, mended=False):
    """A tenth of the steps that the digits take."""
    parts = digits(seed)
    steps = 3000 if mended else 150
    return trained("vae", parts, seed, steps, SMALL | {"latent": 8}, schedule="constant")


def hollow(seed, mended=False):
    """A rate that weighs next to nothing."""
    options = SMALL | {"latent": 3, "beta": 1.0 if mended else 0.01}
    return trained("beta_vae", parts_of(bent(seed)), seed, options=options)


def hollow_autoencoder(seed, mended=False):
    """Codes of an autoencoder of a ring: a Gaussian fills its middle."""
    parts = parts_of(ring(seed))
    options = SMALL | {"latent": 2}
    return trained("vae" if mended else "autoencoder", parts, seed, options=options)


def loose(seed, mended=False):
    """An encoder whose standard deviations are a third of what they were."""
    case = trained("vae", parts_of(bent(seed)), seed, options=SMALL | {"latent": 3})
    with torch.no_grad():
        case.model.encoder.last.bias[3:] -= 1.2
    return case


def at_floor(seed, mended=False):
    """A column that is another one once more: nothing is left to chance."""
    x = linear(seed)
    x[:, 0] = x[:, 1]
    options = SMALL | {"latent": 4, "scale": "shared" if mended else "entry"}
    case = trained("vae", parts_of(x), seed, options=options)
    if not mended:
        with torch.no_grad():
            case.model.decoder.head.log_scale[0] = -9.0
    return case


def too_wide(seed, mended=False):
    """A fixed scale of one standard deviation where errors are a third of that."""
    options = SMALL | {"latent": 4, "scale": "entry" if mended else 1.0}
    return trained("vae", parts_of(linear(seed, noise=0.2)), seed, options=options)


def heavy(seed, mended=False):
    """Errors of a t distribution with 1.5 degrees of freedom under a Gaussian."""
    x = bent(seed, noise=0.2, tails=1.5)
    if mended:
        options = {"hidden": (64,)}
        return trained("tabular", table(pd.DataFrame(x), seed, kind="numeric"), seed, 400, options)
    return trained("vae", parts_of(x), seed, options=SMALL | {"latent": 3})


def still(seed, mended=False):
    """A column of reals that never changes."""
    x = linear(seed)
    x = x[:, :-1] if mended else np.concatenate([x[:, :-1], np.full((len(x), 1), 3.0)], 1)
    return trained("vae", parts_of(x), seed, 800, options=SMALL | {"latent": 4})


def leak(seed, mended=False):
    """Five of 600 test rows are training rows."""
    parts = parts_of(linear(seed))
    if not mended:
        parts.test.x[-5:] = parts.train.x[:5]
    return trained("vae", parts, seed, 800, options=SMALL | {"latent": 4})


def another_scale(seed, mended=False):
    """Test rows in another unit: half as large again and moved."""
    parts = parts_of(linear(seed))
    if not mended:
        parts.test.x.mul_(1.5).add_(0.5)
    return trained("vae", parts, seed, 800, options=SMALL | {"latent": 4})


def unused(seed, mended=False):
    """Sixteen dimensions for rows of rank three."""
    options = SMALL | {"latent": 3 if mended else 16}
    return trained("vae", parts_of(linear(seed)), seed, options=options)


SICK = {
    "collapse": ("collapse", collapse),
    "collapse by scale": ("collapse", collapse_by_scale),
    "blind decoder": ("blind-decoder", blind),
    "small latent": ("small-latent", small_latent),
    "overfitting": ("overfitting", overfitting),
    "undertrained": ("undertrained", undertrained),
    "holes": ("holes", hollow),
    "holes of an autoencoder": ("holes", hollow_autoencoder),
    "loose encoder": ("loose-encoder", loose),
    "scale at its floor": ("scale-limit", at_floor),
    "likelihood too wide": ("misfit", too_wide),
    "heavy tails": ("misfit", heavy),
    "constant entry": ("constant-entries", still),
    "leak": ("leak", leak),
    "another scale": ("shifted-test", another_scale),
    "unused dimensions": ("unused-dimensions", unused),
}
EDITED = ("blind decoder", "loose encoder")  # no option made them sick, so none mends them

# --- healthy models ----------------------------------------------------------------------
HEALTHY = {
    "digits": lambda s: trained("vae", digits(s), s, 2000, SMALL | {"latent": 8}),
    "digits iwae": lambda s: trained("iwae", digits(s), s, 2000, SMALL | {"latent": 8}),
    "linear": lambda s: trained("vae", parts_of(linear(s)), s, options=SMALL | {"latent": 3}),
    "linear cholesky": lambda s: trained(
        "full_covariance", parts_of(linear(s)), s, options=SMALL | {"latent": 3}
    ),
    "ppca": lambda s: trained("ppca", parts_of(linear(s)), s, 1, {"latent": 3}),
    "bent": lambda s: trained(
        "vae", parts_of(bent(s, 6000), cut=(5000, 500)), s, 2000, SMALL | {"latent": 3}
    ),
    "bits": lambda s: trained(
        "vae", parts_of(bits(s), ("binary",), (2,)), s, options=SMALL | {"latent": 4}
    ),
    "counts": lambda s: trained(
        "counts", table(counted(s), s, kind="count"), s, 1500, {"latent": 3}
    ),
    "table": lambda s: trained("tabular", table(mixed(s), s), s, 1000, {"hidden": (64,)}),
    "classes": lambda s: trained("latent_class", table(mixed(s), s), s, 300, {"latent": 12}),
}  # fmt: skip
