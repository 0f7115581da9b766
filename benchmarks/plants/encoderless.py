"""Errors in autoencoders, auto-decoders and posteriors that are found for each row."""

from plants import Plant

RECONSTRUCTION = "vaes/objective/reconstruction.py"
POINTS = "vaes/dist/points.py"
TABLE = "vaes/nets/codes.py"
PER_ROW = "vaes/per_row.py"
NAIVE = "vaes/evaluate/naive.py"
AUTO = "vaes/recipes/auto_decoder.py"
T_RECONSTRUCTION = "tests/objective/test_reconstruction.py"
T_TABLE = "tests/nets/test_codes.py"
T_PER_ROW = "tests/test_per_row.py"
T_NAIVE = "tests/evaluate/test_naive.py"
T_RAE = "tests/papers/test_rae.py"
T_AUTO = "tests/papers/test_auto_decoder.py"
T_SVI = "tests/papers/test_svi.py"
T_SEMI = "tests/papers/test_semi_amortized.py"

PLANTS = [
    # --- penalties --------------------------------------------------------------------------------
    Plant(
        "codes that cost their squares without the half",
        RECONSTRUCTION,
        "loss + 0.5 * self.l2 * z",
        "loss + self.l2 * z",
        (T_RECONSTRUCTION,),
    ),
    Plant(
        "a Jacobian of the mean of its rows",
        RECONSTRUCTION,
        "torch.autograd.grad((y * v).sum(), x, create_graph=True)",
        "torch.autograd.grad((y * v).mean(), x, create_graph=True)",
        (T_RECONSTRUCTION,),
    ),
    Plant(
        "a Jacobian that no gradient goes through",
        RECONSTRUCTION,
        "(y * v).sum(), x, create_graph=True",
        "(y * v).sum(), x, retain_graph=True",
        (T_RECONSTRUCTION,),
    ),
    Plant(
        "random directions of 0 and 1",
        RECONSTRUCTION,
        "2.0 * torch.randint_like(y, 2) - 1",
        "1.0 * torch.randint_like(y, 2)",
        (T_RECONSTRUCTION,),
    ),
    Plant(
        "the KL of activations the other way round",
        RECONSTRUCTION,
        "return p * (p / mean).log() + (1 - p) * ((1 - p) / (1 - mean)).log()",
        "return mean * (mean / p).log() + (1 - mean) * ((1 - mean) / (1 - p)).log()",
        (T_RECONSTRUCTION,),
    ),
    Plant(
        "denoising that reconstructs the noise",
        RECONSTRUCTION,
        "        z = model.posterior(self.corrupted(batch)).mean\n",
        "        batch = self.corrupted(batch)\n        z = model.posterior(batch).mean\n",
        (T_RECONSTRUCTION,),
    ),
    Plant(
        "hidden entries that are still observed",
        RECONSTRUCTION,
        "mask = mask if mask is None else mask & keep",
        "mask = mask if mask is None else mask",
        (T_RECONSTRUCTION,),
    ),
    Plant(
        "slopes of the decoder's likelihood of nothing",
        RECONSTRUCTION,
        "total = total + self.slope * found.mean()",
        "total = total + self.slope * found.mean().detach()",
        (T_RAE,),
    ),
    Plant(
        "weights that decay without the half",
        RECONSTRUCTION,
        "total + 0.5 * self.decay",
        "total + self.decay",
        (T_RAE,),
    ),
    Plant(
        "the smallest units kept",
        POINTS,
        "h.abs().topk(self.keep, -1)",
        "h.abs().topk(self.keep, -1, largest=False)",
        (T_RECONSTRUCTION,),
    ),
    Plant(
        "a ball of which only the surface is used",
        POINTS,
        "keepdim=True).clamp(min=1.0)",
        "keepdim=True)",
        (T_RECONSTRUCTION,),
    ),
    # --- tables and new rows ----------------------------------------------------------------------
    Plant(
        "moments that decay for rows that were not met",
        TABLE,
        "        taken = self.taken[index] + 1\n",
        "        taken = self.taken[index] + 1\n        self.first *= BETAS[0]\n",
        (T_TABLE,),
    ),
    Plant(
        "one count of steps for all rows",
        TABLE,
        "taken = self.taken[index] + 1",
        "taken = self.taken.max() + 1 + 0 * self.taken[index]",
        (T_TABLE,),
    ),
    Plant(
        "a row without a number has the last one's code",
        TABLE,
        "(index >= 0) & (index < len(self))",
        "index < len(self)",
        (T_TABLE, T_PER_ROW),
    ),
    Plant(
        "new rows descended for in the order of the batch",
        PER_ROW,
        "numbers[~known] = self.found(batch[~known]).to(numbers.dtype)",
        "numbers[~known] = self.found(batch[known.logical_not()]).flip(0)",
        (T_PER_ROW,),
    ),
    Plant(
        "a row that ends where it is worse",
        PER_ROW,
        "torch.where((costs[1] < costs[0]).unsqueeze(-1), end, start)",
        "end",
        (T_PER_ROW,),
    ),
    Plant(
        "semi-amortised rows that end where they are worse",
        PER_ROW,
        "return torch.where(better, end, start)",
        "return end",
        (T_PER_ROW,),
    ),
    Plant(
        "a rate that is no cost",
        PER_ROW,
        "return found.distortion + found.rate",
        "return found.distortion",
        (T_SVI,),
    ),
    Plant(
        "training rows that ascend their cost",
        PER_ROW,
        "self._slope(batch, self.table(index), noise), rate)",
        "-self._slope(batch, self.table(index), noise), rate)",
        (T_PER_ROW, T_SVI),
    ),
    Plant(
        "gradients that stop before the steps",
        PER_ROW,
        "cost, at, create_graph=through)",
        "cost, at, retain_graph=through)",
        (T_SEMI,),
    ),
    Plant(
        "a first order that forgets the encoder",
        PER_ROW,
        "end = start + (end - start).detach()",
        "end = start * 0 + end.detach()",
        (T_SEMI,),
    ),
    Plant(
        "momentum of one, whatever is said",
        PER_ROW,
        "velocity = self.momentum * velocity + slope",
        "velocity = velocity + slope",
        (T_SEMI,),
    ),
    Plant(
        "codes without their prior",
        AUTO,
        "Reconstruction(l2=weight)",
        "Reconstruction(l2=0 * weight)",
        (T_AUTO,),
    ),
    Plant(
        "a regularised autoencoder whose codes are free",
        "vaes/recipes/rae.py",
        "Reconstruction(l2=beta,",
        "Reconstruction(l2=beta / 2,",
        (T_RAE,),
    ),
    Plant(
        "bounded maps that are not",
        RECONSTRUCTION,
        "            spectral_norm(cast(Any, module))\n",
        '            spectral_norm(cast(Any, module), "bias")\n',
        (T_RECONSTRUCTION, T_RAE),
    ),
    # --- naive evidence ---------------------------------------------------------------------------
    Plant(
        "a proposal that is not divided by",
        NAIVE,
        "log_w = log_w + prior.log_prob(z) - proposal.log_prob(z)",
        "log_w = log_w + 0 * prior.log_prob(z)",
        (T_NAIVE,),
    ),
    Plant(
        "a variance without the square of the mean",
        NAIVE,
        "(k / ess - 1) * k / (k - 1)",
        "(k / ess) * k / (k - 1)",
        (T_NAIVE,),
    ),
    Plant(
        "a mean of logs in place of the log of the mean",
        NAIVE,
        "sums = torch.logaddexp(sums, log_w.logsumexp(0))",
        "sums = torch.logaddexp(sums, log_w.mean(0) + math.log(len(log_w)))",
        (T_NAIVE,),
    ),
]
