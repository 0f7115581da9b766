"""Errors in what is reported."""

from plants import Plant

BATCH = "vaes/batch.py"
DISCRETE = "vaes/dist/discrete.py"
LIKELIHOOD = "vaes/evaluate/likelihood.py"
SUMMARY = "vaes/evaluate/summary.py"
CODES = "vaes/uses/codes.py"
T_USES = "tests/test_uses.py"
T_EVIDENCE = "tests/evaluate/test_likelihood.py"
SAMPLES = "vaes/evaluate/samples.py"
T_SAMPLES = "tests/evaluate/test_samples.py"
DISENTANGLE = "vaes/evaluate/disentangle.py"
T_DISENTANGLE = "tests/evaluate/test_disentangle.py"

PLANTS = [
    # --- the compiled evidence --------------------------------------------------------------------
    Plant(
        "factors beyond the last whole product left out",
        DISCRETE,
        "groups = -(-n // FACTORS)\n    x = F.pad(x, (0, groups * FACTORS - n))",
        "groups = n // FACTORS\n    x = x[..., : groups * FACTORS]",
        (T_EVIDENCE,),
    ),
    Plant(
        "softplus without its linear part in the compiled Bernoulli",
        DISCRETE,
        "logits - logits.clamp(min=0)).sum(-1)",
        "logits).sum(-1)",
        (T_EVIDENCE,),
    ),
    # --- what is reported -------------------------------------------------------------------------
    Plant(
        "no log k in the evidence",
        LIKELIHOOD,
        "per_row, elbos = total - math.log(k), ",
        "per_row, elbos = total, ",
        (T_USES, T_EVIDENCE),
    ),
    Plant(
        "noise of the evidence by the size of a chunk of rows",
        LIKELIHOOD,
        "shared_noise(model, size, seed, batch.x, block)",
        "shared_noise(model, size, seed + len(batch), batch.x, block)",
        (T_EVIDENCE,),
    ),
    Plant(
        "noise of the bound by the place in a chunk of rows",
        LIKELIHOOD,
        "yield batch, noise[:, start : start + len(batch)]",
        "yield batch, noise[:, : len(batch)]",
        (T_EVIDENCE,),
    ),
    Plant(
        "the same noise in every block of draws",
        LIKELIHOOD,
        'draw = generator("score", seed, block, device=like.device)',
        'draw = generator("score", seed, device=like.device)',
        (T_EVIDENCE,),
    ),
    Plant(
        "blocks of unequal size weigh the same",
        LIKELIHOOD,
        "elbo = (elbos * sizes.to(elbos.device)[:, None]).sum(0) / k",
        "elbo = elbos.mean(0)",
        (T_EVIDENCE,),
    ),
    Plant(
        "effective sample size without the square",
        LIKELIHOOD,
        "ess = (2 * total - squares).exp()",
        "ess = (total - squares).exp()",
        (T_EVIDENCE,),
    ),
    Plant(
        "Monte Carlo error of one block, not of all",
        LIKELIHOOD,
        "math.sqrt((blocks - 1) / blocks * (left_out - left_out.mean())",
        "math.sqrt(blocks * (left_out - left_out.mean())",
        (T_EVIDENCE,),
    ),
    Plant(
        "bits per dimension in nats",
        SUMMARY,
        "-score.mean / (seen * math.log(2))",
        "-score.mean / seen",
        (T_EVIDENCE,),
    ),
    Plant(
        "active units of a run by the standard deviation",
        LIKELIHOOD,
        "codes.var(0, correction=0) > 0.01",
        "codes.std(0, correction=0) > 0.01",
        (T_EVIDENCE,),
    ),
    Plant(
        "active units by the standard deviation",
        CODES,
        "variance = torch.cat(means).double().var(0, correction=0)",
        "variance = torch.cat(means).double().std(0, correction=0)",
        (T_USES,),
    ),
    # --- drawn rows beside real ones --------------------------------------------------------------
    Plant(
        "Frechet distance without the means",
        SAMPLES,
        "float(apart + cov.trace()",
        "float(cov.trace()",
        (T_SAMPLES,),
    ),
    Plant(
        "Frechet distance of products that are not symmetric",
        SAMPLES,
        "torch.linalg.eigvalsh(root @ other_cov @ root)",
        "torch.linalg.eigvalsh(cov @ other_cov)",
        (T_SAMPLES,),
    ),
    Plant(
        "Frechet distance extrapolated to one row",
        SAMPLES,
        "line = torch.stack([torch.ones_like(inverse), inverse], 1)",
        "line = torch.stack([torch.ones_like(inverse), inverse - 1], 1)",
        (T_SAMPLES,),
    ),
    Plant(
        "a row is its own neighbour",
        SAMPLES,
        "kthvalue(k + 1, 1)",
        "kthvalue(k, 1)",
        (T_SAMPLES,),
    ),
    Plant(
        "recall by the balls of real rows",
        SAMPLES,
        "recalled.append((distances < around_drawn).any(1))",
        "recalled.append(near.any(1))",
        (T_SAMPLES,),
    ),
    Plant(
        "density not per neighbour",
        SAMPLES,
        "float(inside.double().mean() / k)",
        "float(inside.double().mean())",
        (T_SAMPLES,),
    ),
    Plant(
        "balls of the first block for all",
        SAMPLES,
        "around_real[start : start + len(part)]",
        "around_real[: len(part)]",
        (T_SAMPLES,),
    ),
    Plant(
        "discrepancy with the rows' kernels to themselves",
        SAMPLES,
        "return gram.fill_diagonal_(0), len(real)",
        "return gram, len(real)",
        (T_SAMPLES,),
    ),
    Plant(
        "discrepancy counts pairs of two kinds once",
        SAMPLES,
        "within - 2 * (b * ga)",
        "within - (b * ga)",
        (T_SAMPLES,),
    ),
    Plant(
        "a permutation test that forgets what was found",
        SAMPLES,
        "return (1 + int(reached.sum()))",
        "return int(reached.sum())",
        (T_SAMPLES,),
    ),
    Plant(
        "a cubic kernel that is quadratic",
        SAMPLES,
        "gram = (x @ x.T / d + 1) ** 3",
        "gram = (x @ x.T / d + 1) ** 2",
        (T_SAMPLES,),
    ),
    Plant(
        "an inverse multiquadric of half the width",
        SAMPLES,
        "gram = 2 * d / (2 * d + square)",
        "gram = d / (d + square)",
        (T_SAMPLES,),
    ),
    Plant(
        "a gap to the third best dimension",
        DISENTANGLE,
        "ordered[-1] - ordered[-2]",
        "ordered[-1] - ordered[-3]",
        (T_DISENTANGLE,),
    ),
    Plant(
        "a gap that is not over the entropy",
        DISENTANGLE,
        "/ entropies).mean()",
        "/ 1).mean()",
        (T_DISENTANGLE,),
    ),
    Plant(
        "modularity of information as it is",
        DISENTANGLE,
        "square = information**2",
        "square = information",
        (T_DISENTANGLE,),
    ),
    Plant(
        "fixed factors that are not fixed",
        DISENTANGLE,
        "levels = shared.levels(k, draw, 1).repeat(BATCH)",
        "levels = shared.levels(k, draw, BATCH)",
        (T_DISENTANGLE,),
    ),
    Plant(
        "robustness by means of deviations",
        DISENTANGLE,
        "best = (1 - np.array(deviations) / most).max(0)",
        "best = (1 - np.array(deviations) / most).mean(0)",
        (T_DISENTANGLE,),
    ),
    Plant(
        "total correlation of variances alone",
        DISENTANGLE,
        "- np.linalg.slogdet(covariance)[1]",
        "- 0 * np.linalg.slogdet(covariance)[1]",
        (T_DISENTANGLE,),
    ),
    Plant(
        "classes taken by several clusters",
        "vaes/evaluate/cluster.py",
        "table[rows, columns].sum()",
        "table.max(0).sum()",
        ("tests/evaluate/test_cluster.py",),
    ),
    Plant(
        "purity by classes",
        "vaes/evaluate/cluster.py",
        "purity=float(table.max(0)",
        "purity=float(table.max(1)",
        ("tests/evaluate/test_cluster.py",),
    ),
]
