"""`Composed`: a model put together from parts, and `compose`, which picks the parts by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from vaes.batch import Batch, Data, Spec
from vaes.dist import likelihood_head, posterior_head
from vaes.dist.base import Latent, Likelihood
from vaes.dist.cells import Cells
from vaes.dist.counts import Counts
from vaes.dist.priors import PRIOR_OF, PRIORS, Prior
from vaes.errors import UsageError
from vaes.model import Bound, Model, Phase, Player, Step
from vaes.nets.choose import decoder_of, encoder_of, latent_of, net_of, widths_of
from vaes.objective import OBJECTIVES, Objective
from vaes.parts import Part, known, made


class Inputs(nn.Module):
    """What an encoder sees of a row: x, of counts log(1 + x), the cells of categories and numeric
    columns as indicators, the mask where rows have gaps.

    (n, *spec.shape) -> (n, *self.shape); the mask is appended as channels of an image, as columns
    of a flat row. A numeric column is seen as its rank too, from -1 to 1. While training, half of
    the rows of data with gaps hide some more entries, so that the encoder meets every pattern.
    """

    rank: Tensor
    coded: Tensor
    plain: Tensor
    count: Tensor | None

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.missing = spec.missing
        count = None
        if "count" in spec.kinds:
            if len(spec.shape) != 1:
                raise UsageError("kind 'count' is for columns of flat rows")
            count = torch.tensor([kind == "count" for kind in spec.kinds])
        self.register_buffer("count", count, persistent=False)
        self.cells: Cells | None = None
        first = spec.shape[0]
        if {"category", "numeric"} & set(spec.kinds):
            if len(spec.shape) != 1:
                raise UsageError(f"kind '{spec.kinds[0]}' is for columns of flat rows")
            pairs = spec.column_kinds()
            coded = [j for j, (kind, _) in enumerate(pairs) if kind in ("category", "numeric")]
            self.cells = Cells(spec.columns(coded))
            # a category's code is no number; of a numeric column x / levels is the rank
            plain = [j for j, (kind, _) in enumerate(pairs) if kind != "category"]
            number = [pairs[j] for j in plain]
            scale = [2.0 / n if kind == "numeric" else 1.0 for kind, n in number]
            shift = [1.0 if kind == "numeric" else 0.0 for kind, _ in number]
            self.register_buffer("rank", torch.tensor([scale, shift]), persistent=False)
            self.register_buffer("coded", torch.tensor(coded), persistent=False)
            self.register_buffer("plain", torch.tensor(plain).long(), persistent=False)
            first = len(plain) + self.cells.total
        channels = first + (spec.shape[0] if spec.missing else 0)
        self.shape: tuple[int, ...] = (channels, *spec.shape[1:])

    def forward(self, batch: Batch) -> Tensor:
        x, mask = batch.x, self._seen(batch) if self.missing else None
        if self.count is not None:
            x = torch.where(self.count, x.clamp(min=0).log1p(), x)
        if self.cells is not None:
            shown = None if mask is None else mask[..., self.coded]
            x = x[..., self.plain] * self.rank[0] - self.rank[1]
            x = x if mask is None else x * mask[..., self.plain]
            x = torch.cat([x, self.cells.one_hot(batch.x[..., self.coded], shown)], -1)
        elif mask is not None:
            x = x * mask
        return x if mask is None else torch.cat([x, mask], 1)

    def _seen(self, batch: Batch) -> Tensor:
        """1 where the encoder sees an entry, as numbers."""
        x = batch.x
        mask = torch.ones_like(x) if batch.mask is None else batch.mask.to(x.dtype)
        if not self.training:
            return mask
        share = torch.rand(len(x), *(1,) * (x.dim() - 1), dtype=x.dtype, device=x.device)
        # half of the rows whole, the others with any share of their entries
        return mask * (torch.rand_like(x) < (2 * share).clamp(max=1.0))


class Readout(nn.Module):
    """A body, a linear map, a head: (*k, n, *event) -> a distribution with batch (*k, n).

    The linear map is left out where `final` says that the body ends in exactly `head.size` numbers
    per row (a convolution that gives every pixel its numbers). What the body makes of one row is
    measured by running it once on zeros of shape (2, *event).
    """

    def __init__(
        self, body: nn.Module, head: nn.Module, event: Sequence[int], final: bool = False
    ) -> None:
        super().__init__()
        was, example = body.training, torch.zeros(2, *event)
        body.eval()
        try:
            with torch.no_grad():
                features = body(example).flatten(1).shape[1]
        except (RuntimeError, TypeError, IndexError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise UsageError(
                f"{type(body).__name__} does not take rows of shape {tuple(event)}: {reason}"
            ) from error
        body.train(was)
        size = cast(int, head.size)
        self.body, self.head, self.event_dims = body, head, len(event)
        self.last = nn.Identity() if final and features == size else nn.Linear(features, size)

    def numbers(self, x: Tensor) -> Tensor:
        """What the head makes a distribution of, (*k, n, head.size)."""
        lead = x.shape[: x.dim() - self.event_dims]
        h = self.body(x.flatten(0, len(lead) - 1) if len(lead) > 1 else x)
        return self.last(h.flatten(1)).view(*lead, -1)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.numbers(x))


class Composed(Model):
    """A model put together from parts.

    `encoder` maps what `Inputs` makes of a batch to q(z|x), `decoder` maps z (*k, n, d) to p(x|z),
    `prior` maps (model, batch) to p(z), `objective` maps (model, batch, step) to the loss.
    """

    def __init__(
        self,
        spec: Spec,
        latent: int,
        inputs: Inputs,
        encoder: nn.Module,
        decoder: nn.Module,
        prior: Prior,
        objective: Objective,
        bound: Bound = "lower",
    ) -> None:
        super().__init__(spec, latent + prior.extra, objective.samples)
        _fit_together(_head_of(encoder), prior, objective)
        self.inputs, self.encoder, self.decoder = inputs, encoder, decoder
        self.latent_prior, self.objective = prior, objective
        self.noise_size = getattr(_head_of(encoder), "noise_size", latent) + prior.extra
        self.shown = latent if prior.shown is None else prior.shown
        self.players = _players(prior, objective)
        self.warmup = objective.settling
        self.bound, self.phases = bound, (Phase("train"), *prior.phases)
        self.evidence = "x|total" if spec.totals else "x"

    def prior(self, batch: Batch) -> Latent:
        return self.latent_prior(self, batch)

    def posterior(self, batch: Batch) -> Latent:
        return self.latent_prior.joined(self.encoder(self.inputs(batch)))

    def likelihood(self, z: Tensor, batch: Batch) -> Likelihood:
        hidden = self.latent - self.shown  # dimensions that only the prior knows
        return self.decoder(z[..., hidden:] if hidden else z).given(batch)

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        late = self.latent_prior.player
        if late and step.phase != "train":  # all else stands still
            return {late: self.objective(self, batch, step)}
        return self.objective.losses(self, batch, step)

    def judged(self, batch: Batch, step: Step) -> Tensor | None:
        if step.phase != "train":
            return super().judged(batch, step)
        return self.objective.judged(self, batch, step)

    def begin(self, phase: str, data: Data) -> None:
        self.latent_prior.begin(self, phase, data)
        self.objective.begin(self, phase, data)
        for part in self.decoder.modules() if phase == "train" else ():
            # what a head need not learn by steps: marginals, totals
            if callable(fit := getattr(part, "fit", None)):
                fit(data)

    def closed_form(self, batch: Batch, step: Step) -> None:
        for part in (self.encoder, self.decoder):  # a codebook's averages, an analytic variance
            if callable(follow := getattr(_head_of(part), "closed_form", None)):
                follow(self, batch, step)

    def totals(self, n: int, draw: torch.Generator | None = None) -> Tensor | None:
        return self._counts().totals(n, draw) if self.spec.totals else None

    def _counts(self) -> Counts:
        """The head that knows the totals of the training rows."""
        return next(part for part in self.decoder.modules() if isinstance(part, Counts))


def _head_of(encoder: nn.Module) -> nn.Module | None:
    return getattr(encoder, "head", None)


def _players(prior: Prior, objective: Objective) -> dict[str, Player]:
    """Who owns what: the objective says it; a prior that is learnt after the rest owns itself."""
    players = objective.players
    if not prior.player:
        return dict(players) if players is not None else {"model": Player()}
    if players is not None:
        raise UsageError(
            f"{type(prior).__name__} is learnt after the rest, and {type(objective).__name__} has "
            "players of its own; take objective=elbo, or another prior"
        )
    rest = ("inputs", "encoder", "decoder", "objective")
    return {"model": Player(rest), prior.player: Player(("latent_prior",))}


def _fit_together(head: nn.Module | None, prior: Prior, objective: Objective) -> None:
    """One line for parts that make no sense together."""
    ours, theirs = getattr(head, "space", "real"), prior.space
    if theirs not in (ours, "any"):  # a mixture of posteriors lives where they do
        said = type(head).__name__
        raise UsageError(
            f"the codes of {said} live in '{ours}', those of {type(prior).__name__} in '{theirs}'; "
            f"leave prior=auto, which takes {PRIOR_OF[ours]} here"
        )
    if objective.path and not getattr(head, "path", True):
        fit = ", ".join(name for name, made in OBJECTIVES.items() if not made.path)
        raise UsageError(
            f"objective {type(objective).__name__} follows gradients through z, which "
            f"{type(head).__name__} codes have not; take objective={fit}"
        )


def _tried(model: Composed) -> None:
    """The loss of two rows of nothing, once: parts that refuse one another in the middle of it, by
    one line, do so when the model is built."""
    was, held = model.training, {k: v.clone() for k, v in model.named_buffers()}
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        total = torch.ones(2) if model.spec.totals else None
        batch = Batch(x=torch.zeros(2, *model.spec.shape), total=total)
        try:
            model.eval().losses(batch, Step.at(model, batch, 0))
        except UsageError:
            raise
        except Exception:  # nothing has no labels and no gradients; real rows will tell
            pass
        model.train(was)
        for name, buffer in model.named_buffers():  # running means of an objective
            buffer.copy_(held[name])


def compose(
    spec: Spec,
    objective: Part | Objective = "elbo",
    *,
    latent: int | None = None,
    net: str = "auto",
    hidden: Sequence[int] | None = None,
    act: str = "silu",
    norm: bool = True,
    posterior: Part | nn.Module = "diagonal",
    likelihood: Part | nn.Module = "auto",
    scale: str | float | None = None,
    encoder: nn.Module | None = None,
    decoder: nn.Module | None = None,
    prior: Part | Callable[[int], Prior] = "auto",
    bound: Bound = "lower",
) -> Composed:
    """A model from parts by name, or by name and options (`vaes.parts`).

    objective: what is descended, of `vaes.objective.OBJECTIVES` (or an object) ·
    latent: dimensions of z (None: by the size of a row) · net: mlp, conv, residual, grid (images: z
    keeps its places, height x width of them) or auto ·
    hidden: widths of the encoder's layers, mirrored in the decoder (None: by the size of a row;
    empty: linear) · act: silu, relu, tanh, gelu · norm: group normalisation between convolutions ·
    posterior: a family of `vaes.dist.POSTERIORS` (or a head) · likelihood: auto, or one of
    `vaes.dist.LIKELIHOODS` that fits the entries (or a head) · scale: shared, entry, network, a
    fixed number, of a normal also optimal (None: entry in flat rows, shared in images) ·
    encoder, decoder: your own modules, x (n, *shape) -> features (with an attribute `final` that is
    True: exactly the numbers that the head takes) and z (n, d) -> features or, unless `final` is
    False, those numbers · prior: auto, or one of `vaes.dist.priors.PRIORS` (or what makes one for
    that many dimensions) · bound: what log w says of the evidence.
    """
    if latent is not None and latent < 1:
        raise UsageError(f"latent={latent}: at least one latent dimension is needed")
    inputs = Inputs(spec)
    head = likelihood
    if not isinstance(head, nn.Module):
        head = likelihood_head(spec, head, scale)
    kind = net_of(net, spec)
    widths = tuple(hidden) if hidden is not None else widths_of(kind, spec)
    d = latent_of(kind, spec, widths, latent)
    if not widths and kind != "mlp":
        raise UsageError(f"hidden=() with net={kind}: only net=mlp can do without hidden layers")
    if not isinstance(objective, Objective):
        objective = cast(Objective, made("objective", objective, OBJECTIVES))
    if not isinstance(posterior, nn.Module):
        posterior = posterior_head(posterior, d)
    if not callable(prior):
        here = PRIOR_OF[getattr(posterior, "space", "real")]
        name, options = known("prior", prior, {"auto": here, **PRIORS})
        part = {"name": here if name == "auto" else name, **options}
        prior = partial(made, "prior", part, PRIORS, spec)
    final = kind != "mlp" and spec.image
    if decoder is not None:  # one that says nothing may end in the head's numbers
        final = getattr(decoder, "final", True)
    over = prior(d)
    seen = d if over.shown is None else over.shown
    model = Composed(
        spec,
        d,
        inputs,
        Readout(
            encoder or encoder_of(kind, inputs.shape, cast(int, posterior.size), widths, act, norm),
            posterior,
            inputs.shape,
            final=kind == "grid" if encoder is None else getattr(encoder, "final", False),
        ),
        Readout(
            decoder or decoder_of(kind, seen, spec, cast(int, head.size), widths, act, norm),
            head,
            (seen,),
            final=final,
        ),
        over,
        objective,
        bound,
    )
    _tried(model)
    return model
