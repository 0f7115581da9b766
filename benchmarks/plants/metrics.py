"""Errors in scores of codes, features and samples, in drawn pictures."""

from plants import Plant

DCI = "vaes/evaluate/dci.py"
FACTORS = "vaes/evaluate/levels.py"
FEATURES = "vaes/evaluate/features.py"
QUALITY = "vaes/evaluate/quality.py"
SAMPLES = "vaes/evaluate/samples.py"
SPRITES = "vaes/data/sprites.py"
T_DCI = "tests/evaluate/test_dci.py"
T_FEATURES = "tests/evaluate/test_features.py"
T_SAMPLES = "tests/evaluate/test_samples.py"
T_SPRITES = "tests/data/test_sprites.py"

PLANTS = [
    # --- codes and factors ------------------------------------------------------------------------
    Plant(
        "disentanglement to the wrong base",
        DCI,
        "entropy / np.log(importance.shape[1])",
        "entropy / np.log(importance.shape[0])",
        (T_DCI,),
    ),
    Plant(
        "dimensions weigh the same in disentanglement",
        DCI,
        "* rows).sum() / total",
        ").mean()",
        (T_DCI,),
    ),
    Plant(
        "completeness over the factors",
        DCI,
        "completeness=_pure(importance.T)",
        "completeness=_pure(importance)",
        (T_DCI,),
    ),
    Plant(
        "informativeness of the rows that trees grew on",
        DCI,
        "grown.score(z[test], factor[test])",
        "grown.score(z[train], factor[train])",
        (T_DCI,),
    ),
    Plant(
        "predictability of the rows that lines were fitted to",
        DCI,
        "model.score(x[test], factor[test])",
        "model.score(x[train], factor[train])",
        (T_DCI,),
    ),
    Plant(
        "predictability without the second dimension",
        DCI,
        "gaps.append(ordered[-1] - ordered[-2])",
        "gaps.append(ordered[-1])",
        (T_DCI,),
    ),
    Plant(
        "correlation, not its square",
        DCI,
        "(z * factor[:, None]).mean(0) ** 2 /",
        "np.abs((z * factor[:, None]).mean(0)) /",
        (T_DCI,),
    ),
    Plant(
        "predictors tried on rows that they know",
        FACTORS,
        "return order[third:][: most[0]], order[:third][: most[1]]",
        "return order[third:][: most[0]], order[third:][: most[1]]",
        (T_DCI,),
    ),
    Plant(
        "a continuous factor in bins of equal width",
        FACTORS,
        "np.quantile(column, np.linspace(0, 1, BINS + 1)[1:-1])",
        "np.linspace(column.min(), column.max(), BINS + 1)[1:-1]",
        (T_DCI,),
    ),
    # --- features ---------------------------------------------------------------------------------
    Plant(
        "components of the least variance",
        FEATURES,
        "vectors = vectors[:, -most:].flip(1)",
        "vectors = vectors[:, :most]",
        (T_FEATURES,),
    ),
    Plant(
        "components of products of rows without their length",
        FEATURES,
        "vectors = x.T @ vectors / values[-most:].flip(0).sqrt()",
        "vectors = x.T @ vectors",
        (T_FEATURES,),
    ),
    Plant(
        "pixels that are not centred",
        FEATURES,
        "return (self.space.points(batch)[0] - self.mean) / self.unit",
        "return self.space.points(batch)[0] / self.unit",
        (T_FEATURES,),
    ),
    Plant(
        "a digest of the name alone",
        FEATURES,
        "hashlib.blake2b(found.float().cpu().numpy().tobytes(), digest_size=8)",
        "hashlib.blake2b(name.encode(), digest_size=8)",
        (T_FEATURES,),
    ),
    Plant(
        "a classifier of rows without a label",
        FEATURES,
        "(train.y >= 0).nonzero()",
        "(train.y >= -1).nonzero()",
        (T_FEATURES,),
    ),
    Plant(
        "the least likely class",
        FEATURES,
        "network(points(batch).float()).argmax(1)",
        "network(points(batch).float()).argmin(1)",
        (T_FEATURES,),
    ),
    # --- samples ----------------------------------------------------------------------------------
    Plant(
        "the floor compares rows with themselves",
        QUALITY,
        'mapped(test, "test", order[n : 2 * n])',
        'mapped(test, "test", order[:n])',
        (T_FEATURES,),
    ),
    Plant(
        "drawn rows beside training rows",
        QUALITY,
        'real = mapped(test, "test", order[:n])',
        'real = mapped(train, "test")[:n]',
        (T_FEATURES,),
    ),
    Plant(
        "copies sought among held-out rows",
        QUALITY,
        "copies(drawn.part(other[:AUDITED]), train, some)",
        "copies(drawn.part(other[:AUDITED]), some, train)",
        (T_FEATURES,),
    ),
    Plant(
        "precision by two balls",
        SAMPLES,
        "precision=float((inside > 0)",
        "precision=float((inside > 1)",
        (T_SAMPLES,),
    ),
    Plant(
        "an error of one block",
        SAMPLES,
        "return fmean(found), stdev(found) / len(found) ** 0.5",
        "return fmean(found), stdev(found)",
        (T_SAMPLES,),
    ),
    Plant(
        "blocks that share rows",
        SAMPLES,
        "starts = range(0, n - size + 1, size)",
        "starts = range(0, n - size + 1, max(1, size // 2))",
        (T_SAMPLES,),
    ),
    # --- sprites ----------------------------------------------------------------------------------
    Plant(
        "pictures with x and y exchanged",
        SPRITES,
        "v[:, 4, None] + steps, v[:, 3, None] + steps",
        "v[:, 3, None] + steps, v[:, 4, None] + steps",
        (T_SPRITES,),
    ),
    Plant(
        "a heart on its head",
        SPRITES,
        "middles[:, None] / -reach",
        "middles[:, None] / reach",
        (T_SPRITES,),
    ),
    Plant(
        "turns of a whole circle",
        SPRITES,
        "angle = np.pi / 2 * orientation",
        "angle = 2 * np.pi * orientation",
        (T_SPRITES,),
    ),
    Plant(
        "an ellipse half as high",
        SPRITES,
        "x**2 + (2 * y) ** 2 <= 1",
        "x**2 + (4 * y) ** 2 <= 1",
        (T_SPRITES,),
    ),
    Plant(
        "white from a quarter on",
        SPRITES,
        ".mean((1, 3)) >= 0.5",
        ".mean((1, 3)) >= 0.25",
        (T_SPRITES,),
    ),
    Plant(
        "factors of other rows than the pictures'",
        "vaes/data/builtin.py",
        "_images(sprites.pictures(values), values[:, 0]",
        "_images(sprites.pictures(values[::-1]), values[:, 0]",
        (T_SPRITES,),
    ),
    # --- clusters ---------------------------------------------------------------------------------
    Plant(
        "information over the greater entropy",
        "vaes/evaluate/cluster.py",
        "metrics.normalized_mutual_info_score(truth, found)",
        'metrics.normalized_mutual_info_score(truth, found, average_method="max")',
        ("tests/evaluate/test_cluster.py",),
    ),
]
