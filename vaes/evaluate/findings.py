"""From what was measured to what is wrong: one function per finding, each with its border."""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy.stats import hypergeom

from vaes.dist.autoregressive import Autoregressive
from vaes.dist.counts import Counts
from vaes.dist.gaussian import Cholesky, Isotropic, Normal
from vaes.dist.pixels import Logistic
from vaes.evaluate.aggregate import NOMINAL
from vaes.evaluate.patient import Finding, Patient
from vaes.objective import Elbo, Iwae

NO_RATE = 0.1  # nats per row, below which z says nothing
MIDDLE, MOST = 0.10, 0.05  # of the shares that 50 and 90 % intervals hold
HOLES = 0.12  # share of the prior's draws, where .01 is nominal
AWAY = 0.015  # squared discrepancy of prior and aggregate, where 0 is right
LOST = 0.4  # of what the model gains over independent entries, lost on test rows
RISE = (0.1, 0.04)  # nats, and share of what is gained, that a quarter of the training still adds
SLACK = 0.5  # nats between ELBO and evidence, where the encoder is off
COVERED = (0.65, 0.975)  # of the codes by its 90 % intervals: off beyond
MUCH = (1.0, 0.5)  # nats, and share of the rate: too much between them, off or not
FULL = 1.0  # nats of every dimension of a code that is full
LEFT = (0.5, 0.3)  # nats that entries share given z, and as a share of what is gained
SHIFT = 0.2  # Kolmogorov-Smirnov distance between training and test values
BELOW = 0.02  # share of the baseline's nats that a model may be below it
BY_CHANCE = 0.01  # p-value from which copies are as frequent as training rows are of each other
TWINS = 0.01  # share of test rows that are copies, where training rows have twins as often
AT_END = 0.5  # share of the rows whose scale is at the end of its range


def collapse(p: Patient) -> Finding | None:
    """The posterior is the prior on every row."""
    rate, d = p.of["rate"], p.of["latent_dim"]
    if rate is None or rate >= NO_RATE:
        return None
    sentence = (
        f"the posterior has collapsed: codes carry {rate:.2g} nats per row, "
        f"{p.of['active_units']} of {d} dimensions are active"
    )
    if p.beta > 1:
        return Finding(
            "collapse", f"{sentence}, since beta={p.beta:g} makes them dear", "--set beta=1"
        )
    if p.capacity is not None:
        cause = f"since capacity={p.capacity:g} is all that they may carry"
        return Finding("collapse", f"{sentence}, {cause}", f"--set capacity={p.capacity + 5:g}")
    if p.fixed_scale and _blurred(p):
        cause = "since the fixed scale of the likelihood leaves nothing to explain"
        return Finding("collapse", f"{sentence}, {cause}", "--set scale=entry")
    left = p.of["shared"]
    if left is not None and left < LEFT[0]:
        told = f"codes carry {rate:.2g} nats per row; entries are independent as far as can be told"
        return Finding("nothing-shared", told, "none is needed: there is nothing to encode", "note")
    if p.part(Autoregressive) is not None:
        cause = "since the columns explain one another without them"
        return Finding("collapse", f"{sentence}, {cause}", "--set alone=0.5 --set beta=0.5")
    remedy = "--recipe vae --set free_bits=0.25 --set warmup=0.5"
    return Finding("collapse", f"{sentence}: entries are as good as independent to it", remedy)


def worse(p: Patient) -> Finding | None:
    """The model is below entries that are independent."""
    if p.of["bound"] == "none" or p.of["slack"] is None or p.of["shift"] >= SHIFT:
        return None
    behind = p.of["independent"] - p.of["elbo"] - p.of["slack"]
    if behind < max(1.0, BELOW * abs(p.of["independent"])):
        return None
    return Finding(
        "below-baseline",
        f"the model is {behind:.1f} nats per row below entries that are independent: it has not "
        "learnt even those",
        f"--epochs {math.ceil(3 * (p.of['epochs'] or 10))}, or a smaller step, --set lr=0.0003",
    )


def _blurred(p: Patient) -> bool:
    """Whether the likelihood is too wide for what it says."""
    middle, most = p.of["inside50"], p.of["inside90"]
    return most is not None and most > 0.9 + MOST and middle > 0.5 + MIDDLE


def blind(p: Patient) -> Finding | None:
    """The encoder says something, and the decoder does not listen."""
    rate, lost = p.of["rate"], p.of["reliance"]
    if (rate is not None and rate < NO_RATE) or lost >= NO_RATE:
        return None
    said = "its codes" if rate is None else f"codes of {rate:.2g} nats per row"
    lost = max(0.0, lost)
    return Finding(
        "blind-decoder",
        f"the decoder ignores {said}: told by those of other rows it loses {lost:.2g} nats",
        _heard(p),
    )


def _heard(p: Patient) -> str:
    if p.part(Autoregressive) is not None:
        return "--set alone=0.5, so that more rows are told from codes alone"
    why = "so that it learns to use them before they cost"
    offers = [f"{option}=0.5, {why}" for option in ("--set warmup", "--set objective.warmup")]
    fits = isinstance(p.objective, Elbo) and p.capacity is None
    return p.remedy(*(offers if fits else ()), f"--recipe vae {offers[0]}")


def unused(p: Patient) -> Finding | None:
    """Some dimensions carry nothing."""
    dead, d = p.of["collapsed"], p.of["latent_dim"]
    if not dead or dead >= d or p.of["rate"] < NO_RATE:
        return None
    return Finding(
        "unused-dimensions",
        f"{dead} of {d} latent dimensions carry nothing, which costs nothing but time",
        f"--set latent={d - dead}",
        "note",
    )


def small(p: Patient) -> Finding | None:
    """Every dimension is full, and entries still have something in common given z."""
    rates, left, d = p.of["rates"], p.of["shared"], p.of["latent_dim"]
    if p.gained is None or not rates or left is None or _off(p):
        return None  # codes that are no draws of the posterior leave something lying anyway
    if min(rates) < FULL or left < LEFT[0] or left < LEFT[1] * p.gained:
        return None
    return Finding(
        "small-latent",
        f"the latent space is too small: all {d} dimensions are full (from {min(rates):.1f} nats "
        f"each), and given z entries still tell {left:.1f} nats per row of each other",
        f"--set latent={2 * d}",
    )


def overfitted(p: Patient) -> Finding | None:
    """Training rows have a higher bound than test rows have."""
    if p.gained is None or p.of["shift"] >= SHIFT:
        return None  # of rows from elsewhere a lower bound says nothing
    gap = p.of["elbo_train"] - p.of["elbo"]
    if gap < 3 * p.of["elbo_gap_se"] or gap < LOST * p.gained:
        return None
    return Finding(
        "overfitting",
        f"training rows have {gap:.1f} nats per row more than test rows, of {p.gained:.1f} that "
        "the model gains over independent entries: it has learnt them by heart",
        p.remedy("--set hidden=[32]", f"--set latent={max(1, p.of['latent_dim'] // 2)}")
        + ": a smaller model",
    )


def undertrained(p: Patient) -> Finding | None:
    """The validation bound has not stopped rising."""
    rise, error = p.of["rising"], p.of["rising_se"]
    if p.gained is None or rise is None or rise < 3 * error:
        return None
    if rise < RISE[0] or rise < RISE[1] * p.gained:
        return None
    return Finding(
        "undertrained",
        f"the validation bound still rose by {rise:.2g} nats per row in the last quarter of "
        "training",
        f"--epochs {math.ceil(3 * (p.of['epochs'] or 1))}, three times as many",
    )


def hollow(p: Patient) -> Finding | None:
    """Codes leave much of the prior empty, or lie where it does not draw."""
    rate, error, away = p.of["hole_rate"], p.of["hole_rate_se"], p.of["mmd"]
    empty = rate >= HOLES and rate - 3 * error > NOMINAL
    if not empty and (away is None or away < AWAY):
        return None
    sentence = (
        f"{100 * rate:.0f} % of the prior's draws fall where no training row has its code "
        "(1 % would be right), so drawn rows are worse than reconstructed ones"
    )
    if not empty:
        sentence = (
            f"codes are spread unlike the prior (squared discrepancy {away:.3f}, 0 would be "
            "right), so draws miss much of what rows are like"
        )
    refitted = "RUN --prior-after normal,mixture,flow, a prior of the shape that the codes have"
    if p.of["bound"] == "none":
        other = "--recipe vae, whose codes are drawn towards the prior"
        return Finding("holes", sentence, refitted if p.simple_prior else other)
    if p.beta < 1:
        return Finding("holes", f"{sentence}: beta={p.beta:g} hardly binds them", "--set beta=1")
    if p.simple_prior:
        return Finding("holes", sentence, refitted)
    dearer = f"--set beta={2 * p.beta:g}"
    return Finding("holes", sentence, p.remedy(dearer, f"--recipe beta_vae {dearer}"))


def _off(p: Patient) -> bool:
    """Whether far more or fewer codes than 90 % lie within 90 % intervals of the encoder."""
    covered = p.of["coverage"]
    return covered is not None and not COVERED[0] <= covered <= COVERED[1]


def loose(p: Patient) -> Finding | None:
    """The encoder's posterior is far from the posterior."""
    slack, covered = p.of["slack"], p.of["coverage"]
    if slack is None or slack < SLACK:
        return None
    # an importance-weighted bound does not close the gap to its ELBO, nor has to
    much = slack > max(MUCH[0], MUCH[1] * p.of["rate"]) and not isinstance(p.objective, Iwae)
    if not _off(p) and not much:
        return None
    how = ""
    if covered is not None and abs(covered - 0.9) > MOST:
        width = "narrow" if covered < 0.9 else "wide"
        how = f"; its 90 % intervals are too {width}, they hold {100 * covered:.0f} % of the codes"
    sentence = f"the encoder leaves {slack:.1f} nats per row between ELBO and evidence{how}"
    larger = "a larger encoder, --set hidden=[512,512]"
    if p.part(Isotropic) is not None:
        return Finding("loose-encoder", sentence, "--set posterior=diagonal")
    if p.part(Cholesky) is not None or isinstance(p.objective, Iwae):
        return Finding("loose-encoder", sentence, p.remedy(larger))
    return Finding("loose-encoder", sentence, p.remedy("--set posterior=cholesky", larger))


def ended(p: Patient) -> Finding | None:
    """The likelihood's scale is at an end of its range."""
    low, high = p.of["floor"], p.of["ceiling"]
    if low is not None and low >= AT_END:
        return Finding(
            "scale-limit",
            f"an entry's scale is at its floor on {100 * low:.0f} % of the rows: it is told "
            "without error, and what its density adds to the evidence is the floor's choice",
            p.remedy("--set scale=shared", _without(p)),
        )
    if high is not None and high >= AT_END:
        return Finding(
            "scale-limit",
            f"an entry's scale is at its ceiling on {100 * high:.0f} % of the rows: its values lie "
            "far beyond what training rows were standardised by",
            "--kind numeric for columns of such a reach",
        )
    return None


def misfit(p: Patient) -> Finding | None:
    """Held-out entries lie within their intervals too often or too seldom."""
    middle, most = p.of["inside50"], p.of["inside90"]
    if most is None or p.of["bound"] == "none":
        return None  # a code that is no draw of a posterior has seen the row
    off = abs(middle - 0.5) > MIDDLE, abs(most - 0.9) > MOST
    sure = 4 * p.of["inside50_se"] < MIDDLE and 4 * p.of["inside90_se"] < MOST
    if not any(off) or not sure:
        return None
    sentence = (
        f"central 50 % intervals of p(x|z) hold {100 * middle:.0f} % of held-out entries, 90 % "
        f"intervals {100 * most:.0f} %"
    )
    if p.fixed_scale:
        width = "wide" if middle > 0.5 else "narrow"
        return Finding("misfit", f"{sentence}: the fixed scale is too {width}", "--set scale=entry")
    cause = "the likelihood is too wide" if middle > 0.5 else "the likelihood is too narrow"
    if middle > 0.5 and most - 0.9 < MOST / 2:
        cause = "errors have heavier tails than the likelihood has"
    return Finding("misfit", f"{sentence}: {cause}", _better_likelihood(p))


def _better_likelihood(p: Patient) -> str:
    counts = p.part(Counts)
    if counts is not None and counts.poisson:
        own = "--set likelihood=negative_binomial"
        return p.remedy(own, "--recipe counts, whose columns have a dispersion each")
    larger = "--set hidden=[512,512]"
    if p.part(Logistic) is not None:
        return p.remedy("--set likelihood=categorical")
    if p.part(Normal) is None:
        return p.remedy(larger)
    if len(p.model.spec.shape) == 1:
        return "--recipe tabular --kind numeric, whose columns have any shape"
    return p.remedy(larger if p.scale_of_network else "--set scale=network")


def _without(p: Patient) -> str:
    """How columns, or entries of an array, are left out."""
    if p.model.spec.names:
        return "leave the columns out: --drop COLUMN"
    return "leave these entries out of the array"


def still(p: Patient) -> Finding | None:
    """Entries that never change."""
    entries = p.of["constant"]
    if not entries:
        return None
    spec = p.model.spec
    names = [spec.names[i] if i < len(spec.names) else str(i) for i in entries[:3]]
    more = f" and {len(entries) - 3} more" if len(entries) > 3 else ""
    harmful = not spec.discrete and any(spec.column_kinds()[i][0] == "real" for i in entries)
    if spec.image and not harmful:
        return None  # the margins of pictures
    cost = "as a density they add to the evidence without end" if harmful else "they tell nothing"
    return Finding(
        "constant-entries",
        f"{len(entries)} {'entries are' if len(entries) > 1 else 'entry is'} the same in every "
        f"training row ({', '.join(names)}{more}); {cost}",
        _without(p),
        "warning" if harmful else "note",
    )


def leaked(p: Patient) -> Finding | None:
    """Test rows that training has seen."""
    found, twins, n = p.of["copies"], p.of["twins"], p.of["n_test"]
    share = found / n
    if not found:
        return None
    # were both parts drawn alike, a test row would be a copy as often as a training row has a twin
    known, rows = round(twins * p.of["n_train"]), p.of["n_train"]
    by_chance = hypergeom.sf(found - 1, n + rows, found + known, n)
    # reals that never recur in training do not recur by chance
    usual = by_chance >= BY_CHANCE and (bool(known) or found < 2 or p.model.spec.discrete)
    sentence = f"{found} of {n} test rows are exact copies of training rows"
    if not usual:
        remedy = "leave copies out of the rows before they are split, then train anew"
        return Finding("leak", f"{sentence}: what is measured on them is memory", remedy)
    return Finding(
        "duplicates",
        f"{sentence}, as often as training rows are of each other ({100 * twins:.1f} %)",
        "leave repeated rows out, unless the values are few enough for rows to recur",
        "note" if share < TWINS or p.model.spec.discrete else "warning",
    )


def unlike(p: Patient) -> Finding | None:
    """Test rows do not look like training rows."""
    shift = p.of["shift"]
    if shift < SHIFT:
        return None
    spec, i = p.model.spec, p.of["shifted"]
    name = spec.names[i] if i < len(spec.names) else f"entry {i}"
    return Finding(
        "shifted-test",
        f"test rows are unlike training rows: the values of {name} differ by {shift:.2f} in "
        "distribution (0 is equal, 1 apart), by scale, shift or another source",
        "give all rows to one run and let it split them: --split 80/10/10",
    )


CHECKS: tuple[Callable[[Patient], Finding | None], ...] = (
    worse, undertrained, collapse, blind, loose, small, overfitted, hollow, ended, misfit, still,
    leaked, unlike, unused,
)  # fmt: skip
