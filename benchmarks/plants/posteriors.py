"""Errors in posterior families, in flows, and in the chain that fills gaps."""

from plants import Plant

LOWRANK = "vaes/dist/lowrank.py"
LOCATION = "vaes/dist/location_scale.py"
FLOWED = "vaes/dist/flowed.py"
PLANAR = "vaes/dist/planar.py"
INVERSE = "vaes/dist/inverse_flow.py"
COUPLED = "vaes/dist/coupled.py"
LAYERED = "vaes/nets/layered.py"
CHAIN = "vaes/uses/chain_impute.py"
T_LOWRANK = "tests/dist/test_lowrank.py"
T_LOCATION = "tests/dist/test_location_scale.py"
T_FLOWS = "tests/dist/test_flow_posteriors.py"
T_CHAIN = "tests/uses/test_chain_impute.py"
T_DLGM = "tests/papers/test_dlgm.py"
T_IAF = "tests/papers/test_iaf_vae.py"
T_FLOW_VAE = "tests/papers/test_flow_vae.py"

PLANTS = [
    # --- full covariances -------------------------------------------------------------------------
    Plant(
        "a rank-one root that subtracts the whole projection",
        LOWRANK,
        "shrink = root.square() / (1 + root)",
        "shrink = root / (1 + root)",
        (T_LOWRANK,),
    ),
    Plant(
        "a rank-one precision whose blocks share a direction",
        LOWRANK,
        "self.length = self._parts(self.direction).square().sum(-1, keepdim=True)",
        "self.length = self._parts(self.direction).square().sum((-2, -1), keepdim=True)",
        (T_LOWRANK,),
    ),
    Plant(
        "a low-rank density without Woodbury's correction",
        LOWRANK,
        "return standard.square().sum(-1) - within.square().sum(-1)",
        "return standard.square().sum(-1)",
        (T_LOWRANK,),
    ),
    Plant(
        "a low-rank determinant of the diagonal alone",
        LOWRANK,
        "return self.log_scale.sum(-1) + self.inner.diagonal(dim1=-2, dim2=-1).log().sum(-1)",
        "return self.log_scale.sum(-1) + 0 * self.inner.sum((-2, -1))",
        (T_LOWRANK,),
    ),
    Plant(
        "reflections that are undone in the order they were made",
        LOWRANK,
        "back = reflected(centred, self.vectors.flip(-2))",
        "back = reflected(centred, self.vectors)",
        (T_LOWRANK, T_FLOW_VAE),
    ),
    Plant(
        "a KL of the diagonal's variances",
        LOWRANK,
        "squares = (q.variance + (q.loc - p.loc).square())",
        "squares = (q.variance + (q.loc - p.loc).abs())",
        (T_LOWRANK,),
    ),
    # --- other bases ------------------------------------------------------------------------------
    Plant(
        "the logistic of variance 1",
        LOCATION,
        "return (2 * self.log_scale).exp() * (math.pi**2 / 3)",
        "return (2 * self.log_scale).exp() * 1.0",
        (T_LOCATION,),
    ),
    Plant(
        "Student's radius without its degrees of freedom",
        LOCATION,
        "radius = (self.df * torch.expm1(",
        "radius = (3.0 * torch.expm1(",
        (T_LOCATION,),
    ),
    Plant(
        "Student's density with the wrong power",
        LOCATION,
        "0.5 * (self.df + 1) * torch.log1p(",
        "0.5 * self.df * torch.log1p(",
        (T_LOCATION,),
    ),
    # --- flows ------------------------------------------------------------------------------------
    Plant(
        "a flow whose density grows where space does",
        FLOWED,
        "return self.base.log_prob(value) - change",
        "return self.base.log_prob(value) + change",
        (T_FLOWS,),
    ),
    Plant(
        "a flow whose draws are scored without the steps",
        FLOWED,
        "h, False)\n            change = change + grown",
        "h, False)\n            change = change + 0 * grown",
        (T_FLOWS, T_IAF),
    ),
    Plant(
        "a stopped flow whose weights still learn",
        FLOWED,
        "weights = {k: v.detach() for k, v in step.named_parameters()}",
        "weights = dict(step.named_parameters())",
        (T_FLOWS,),
    ),
    Plant(
        "a planar step that may fold",
        PLANAR,
        "u = u + (room - 1 - along) * w / _square(w)",
        "u = u + 0 * room * w / _square(w)",
        (T_FLOWS,),
    ),
    Plant(
        "a root whose gradient is the bracket's",
        PLANAR,
        "return y - (y + a * torch.tanh(w * y + c) - target) / slope",
        "return y + target - target.detach()",
        (T_FLOWS,),
    ),
    Plant(
        "Sylvester's determinant without the inner diagonal",
        PLANAR,
        "return z, torch.log1p(r * s * (1 - t.square())).sum(-1)",
        "return z, torch.log1p(r * (1 - t.square())).sum(-1)",
        (T_FLOWS,),
    ),
    Plant(
        "an autoregressive step that sees its own entry",
        INVERSE,
        "before = order.unsqueeze(0) < order.unsqueeze(1)",
        "before = order.unsqueeze(0) <= order.unsqueeze(1)",
        (T_FLOWS,),
    ),
    Plant(
        "hidden units that pass on the entry they end before",
        INVERSE,
        'self._mask("first", order.unsqueeze(0) < sees.unsqueeze(1))',
        'self._mask("first", order.unsqueeze(0) <= sees.unsqueeze(1))',
        (T_FLOWS,),
    ),
    Plant(
        "splines whose ends have any slope",
        COUPLED,
        "(1, 1), value=1.0)",
        "(1, 1), value=0.5)",
        (T_FLOWS,),
    ),
    Plant(
        "a spline's slope that forgets its denominator",
        COUPLED,
        "log_slope = slope.log() - 2 * (s",
        "log_slope = slope.log() - 1 * (s",
        (T_FLOWS,),
    ),
    # --- deep latent Gaussian models, and chains --------------------------------------------------
    Plant(
        "layers whose noise comes in at the top alone",
        LAYERED,
        "h = self.down[level](h) + self.noise[level](parts[level])",
        "h = self.down[level](h) + 0 * self.noise[level](parts[level])",
        (T_DLGM,),
    ),
    Plant(
        "layers that are read from the bottom",
        LAYERED,
        "h = self.noise[-1](parts[-1])",
        "h = self.noise[-1](parts[0])",
        (T_DLGM,),
    ),
    Plant(
        "a chain that accepts by the joint density alone",
        CHAIN,
        "gain = gain - _log_joint(model, z, state) + q.log_prob(z)",
        "gain = gain - _log_joint(model, z, state) + log_q",
        (T_CHAIN,),
    ),
    Plant(
        "a chain that accepts whatever is proposed",
        CHAIN,
        "accept = (u.log() < gain)[0]",
        "accept = (u.log() < gain + 1e9)[0]",
        (T_CHAIN,),
    ),
    Plant(
        "a chain that encodes its first state only",
        CHAIN,
        "q = model.posterior(state)",
        "q = model.posterior(batch)",
        (T_CHAIN,),
    ),
    # --- recipes ----------------------------------------------------------------------------------
    Plant(
        "every flow is the same one",
        "vaes/recipes/flow_vae.py",
        'posterior={"name": flow, "layers": layers}',
        'posterior={"name": "planar", "layers": layers}',
        (T_FLOW_VAE,),
    ),
    Plant(
        "a flow that is left out",
        "vaes/recipes/flow_vae.py",
        "return compose(spec, objective, posterior=",
        "return compose(spec, objective, posterior='diagonal' or ",
        (T_FLOW_VAE,),
    ),
    Plant(
        "an inverse autoregressive flow whose steps do not meet the posterior",
        "vaes/recipes/iaf_vae.py",
        "return compose(spec, objective, posterior=flow, **parts)",
        'return compose(spec, objective, posterior="diagonal", **parts)',
        (T_IAF,),
    ),
    Plant(
        "an inverse autoregressive flow whose options are lost",
        "vaes/recipes/iaf_vae.py",
        '"width": width, "context": context}',
        '"width": 16, "context": context}',
        (T_IAF,),
    ),
    Plant(
        "a deep latent Gaussian model with one direction for all layers",
        "vaes/recipes/dlgm.py",
        '"blocks": layers}',
        '"blocks": 1}',
        (T_DLGM,),
    ),
    Plant(
        "a deep latent Gaussian model that is diagonal after all",
        "vaes/recipes/dlgm.py",
        'if covariance == "rank1" else "diagonal"',
        'if covariance == "rank2" else "diagonal"',
        (T_DLGM,),
    ),
]
