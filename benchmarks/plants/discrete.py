"""Errors in discrete codes: their draws, relaxations and estimators, codebooks and their prior."""

from plants import Plant

LATENT = "vaes/dist/latent_codes.py"
QUANTISED = "vaes/dist/quantised.py"
PRIOR = "vaes/dist/code_prior.py"
CAUSAL = "vaes/nets/causal.py"
SCORE = "vaes/objective/score.py"
RELAXED = "vaes/objective/relaxed.py"
QUANTISING = "vaes/objective/quantised.py"
EVIDENCE = "vaes/evaluate/likelihood.py"
CONCRETE_VAE = "vaes/recipes/concrete_vae.py"
VIMCO = "vaes/recipes/vimco.py"
VQ_VAE = "vaes/recipes/vq_vae.py"
FSQ = "vaes/recipes/fsq.py"
T_LATENT = "tests/dist/test_latent_codes.py"
T_QUANTISED = "tests/dist/test_quantised.py"
T_PRIOR = "tests/dist/test_code_prior.py"
T_SCORE = "tests/objective/test_score.py"
T_RELAXED = "tests/objective/test_relaxed.py"
T_CONCRETE = "tests/papers/test_concrete_vae.py"
T_VIMCO = "tests/papers/test_vimco.py"
T_VQ = "tests/papers/test_vq_vae.py"
T_FSQ = "tests/papers/test_fsq.py"

PLANTS = [
    # --- draws and densities ----------------------------------------------------------------------
    Plant(
        "Gumbel noise of the wrong sign",
        LATENT,
        "return -(-torch.special.log_ndtr(self._split(noise))).log()",
        "return (-torch.special.log_ndtr(self._split(noise))).log()",
        (T_LATENT,),
    ),
    Plant(
        "probit noise in place of logistic",
        LATENT,
        "logistic = torch.special.log_ndtr(noise) - torch.special.log_ndtr(-noise)",
        "logistic = noise",
        (T_LATENT,),
    ),
    Plant(
        "KL of bits without the zeros",
        LATENT,
        "return (one + none).sum(-1)",
        "return one.sum(-1)",
        (T_LATENT,),
    ),
    Plant(
        "Concrete density without its powers of the temperature",
        LATENT,
        "constant = math.lgamma(c) + (c - 1) * t.log()",
        "constant = math.lgamma(c)",
        (T_LATENT,),
    ),
    Plant(
        "binary Concrete density counts the temperature twice",
        LATENT,
        "return (t.log() + standard",
        "return (2 * t.log() + standard",
        (T_LATENT,),
    ),
    # --- estimators -------------------------------------------------------------------------------
    Plant(
        "leave-one-out with the draw itself",
        SCORE,
        "return log_w - (log_w.sum(0) - log_w) / (len(log_w) - 1), none",
        "return log_w - log_w.mean(0), none",
        (T_SCORE,),
    ),
    Plant(
        "VIMCO replaces the weight by the bound's mean",
        SCORE,
        "others = (fixed.sum(0) - fixed) / (k - 1)",
        "others = fixed.mean(0).expand_as(fixed)",
        (T_SCORE,),
    ),
    Plant(
        "VIMCO's weights of the wrong axis",
        SCORE,
        "fixed.softmax(0) * log_w",
        "log_w / k",
        (T_SCORE,),
    ),
    Plant(
        "score function through the path too",
        SCORE,
        "z = q.draw(noise).detach()",
        "z = q.draw(noise)",
        (T_SCORE,),
    ),
    Plant(
        "a running baseline that evaluation moves",
        SCORE,
        "if self.training:",
        "if True:",
        (T_SCORE,),
    ),
    # --- relaxations ------------------------------------------------------------------------------
    Plant(
        "temperature that never falls",
        RELAXED,
        "fallen = self.temperature * (-self.rate * step.index.to(step.noise)).exp()",
        "fallen = self.temperature * torch.ones_like(step.noise.sum())",
        (T_RELAXED,),
    ),
    Plant(
        "relaxed bound with the discrete KL",
        RELAXED,
        'if self.bound == "surrogate":',
        'if self.bound in ("surrogate", "relaxed"):',
        (T_RELAXED,),
    ),
    Plant(
        "straight-through decodes the relaxed draw",
        RELAXED,
        "z = q.draw(step.noise) + (y - y.detach())",
        "z = y",
        (T_RELAXED,),
    ),
    Plant(
        "weights of a relaxed model kept by the relaxed loss",
        RELAXED,
        "return (found.distortion + found.rate).mean()",
        "return self(model, batch, step)",
        (T_RELAXED,),
    ),
    # --- codebooks, lattices, their prior ---------------------------------------------------------
    Plant(
        "codes by the dot product",
        QUANTISED,
        "apart = (v.unsqueeze(-2) - self.embed(near.indices)).square().sum(-1)",
        "apart = -(v.unsqueeze(-2) * self.embed(near.indices)).sum(-1)",
        (T_QUANTISED,),
    ),
    Plant(
        "no gradient through the rounding",
        QUANTISED,
        "self.joined(exact + (said - said.detach()))",
        "self.joined(exact + 0 * said)",
        (T_QUANTISED,),
    ),
    Plant(
        "codebook follows the sum, not the mean",
        QUANTISED,
        "mean = self.sums / self.sizes.clamp(min=UNUSED).unsqueeze(-1)",
        "mean = self.sums",
        (T_QUANTISED,),
    ),
    Plant(
        "dead codes stay dead",
        QUANTISED,
        "afresh = first | (self.sizes < self.restart * share)",
        "afresh = first",
        (T_QUANTISED,),
    ),
    Plant(
        "codebook that moves while its prior is fitted",
        QUANTISED,
        'if step.phase != "train":',
        'if step.phase == "nothing":',
        (T_QUANTISED,),
    ),
    Plant(
        "lattice of even levels off its centre",
        QUANTISED,
        "return ((SPREAD * h + self.shift).tanh() * self.reach - self.offset) / self.steps",
        "return ((SPREAD * h).tanh() * self.reach - self.offset) / self.steps",
        (T_QUANTISED,),
    ),
    Plant(
        "commitment left out",
        QUANTISING,
        "return (distortion + self.commitment * q.missed).mean()",
        "return distortion.mean()",
        (T_QUANTISED, T_VQ),
    ),
    Plant(
        "prior of codes sees the code it tells",
        CAUSAL,
        "shown = F.pad(self.code(codes[:, :-1]), (0, 0, 1, 0))",
        "shown = self.code(codes)",
        (T_PRIOR,),
    ),
    Plant(
        "attention that looks ahead",
        CAUSAL,
        "is_causal=past is None",
        "is_causal=False",
        (T_PRIOR,),
    ),
    Plant(
        "any vector is a code",
        PRIOR,
        "return torch.where(known, found, -torch.inf)",
        "return found",
        (T_PRIOR,),
    ),
    Plant(
        "a point posterior drawn a thousand times",
        EVIDENCE,
        'k = 1 if model.bound == "exact" or not model.noise_size else k',
        'k = 1 if model.bound == "exact" else k',
        (T_VQ,),
    ),
    # --- recipes ----------------------------------------------------------------------------------
    Plant(
        "concrete_vae of classes trained as bits",
        LATENT,
        "if classes > 2:",
        "if classes > 200:",
        (T_CONCRETE,),
    ),
    Plant(
        "concrete_vae's bound not handed on",
        CONCRETE_VAE,
        "Concrete(*cooling, bound)",
        "Concrete(*cooling)",
        (T_CONCRETE,),
    ),
    Plant(
        "concrete_vae's hard draws left soft",
        CONCRETE_VAE,
        "StraightThrough(*cooling) if hard else",
        "StraightThrough(*cooling) if not bound else",
        (T_CONCRETE,),
    ),
    Plant(
        "vimco of one draw fewer",
        VIMCO,
        "Vimco(samples)",
        "Vimco(max(2, samples - 1))",
        (T_VIMCO,),
    ),
    Plant(
        "vimco's prior never learnt",
        VIMCO,
        "discrete_parts(spec, latent, classes, learnt)",
        "discrete_parts(spec, latent, classes)",
        (T_VIMCO,),
    ),
    Plant(
        "vq_vae takes more codes than its rows can use",
        VQ_VAE,
        "if most and codes > most:",
        "if most and codes > most * most:",
        (T_QUANTISED,),
    ),
    Plant(
        "vq_vae's prior of another size than its codebook",
        VQ_VAE,
        "places=places, count=codes, width=context",
        "places=places, count=codes + 1, width=context",
        (T_VQ,),
    ),
    Plant(
        "fsq charges a commitment",
        FSQ,
        "quantised(spec, lattice, 0.0, prior",
        "quantised(spec, lattice, 0.25, prior",
        (T_FSQ,),
    ),
    Plant(
        "fsq ignores its levels",
        FSQ,
        "lattice = Lattice(levels if levels is not None else",
        "lattice = Lattice(",
        (T_FSQ,),
    ),
    Plant(
        "z split place by place",
        QUANTISED,
        "return z.unflatten(-1, (self.quantiser.width, self.places)).mT",
        "return z.unflatten(-1, (self.places, self.quantiser.width))",
        (T_QUANTISED,),
    ),
]
