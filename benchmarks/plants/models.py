"""Errors in data, recipes and uses."""

from plants import Plant

BATCH = "vaes/batch.py"
PPCA = "vaes/recipes/ppca.py"
GAUSSIANS = "vaes/evaluate/gaussians.py"
PATHS = "vaes/uses/paths.py"
ROWS = "vaes/uses/rows.py"
SPACE = "vaes/data/space.py"
SCHEMA = "vaes/data/schema.py"
SPLIT = "vaes/data/split.py"
T_PPCA = "tests/test_ppca.py"
T_USES = "tests/test_uses.py"
T_SCHEMA = "tests/data/test_schema.py"
T_BASELINES = "tests/evaluate/test_baselines.py"
FLOWS = "vaes/dist/flows.py"
T_FLOWS = "tests/dist/test_flows.py"

PLANTS = [
    # --- data -------------------------------------------------------------------------------------
    Plant(
        "scaling by all rows",
        SCHEMA,
        "mean, spread = moments(train.reshape(len(train), -1) if by_column",
        "mean, spread = moments(source.x.reshape(len(source.x), -1) if by_column",
        (T_SCHEMA,),
    ),
    Plant(
        "labels of other rows",
        SCHEMA,
        "torch.from_numpy(source.y[rows])",
        "torch.from_numpy(source.y[: len(rows)])",
        (T_SCHEMA,),
    ),
    Plant(
        "training rows that also validate",
        SPLIT,
        "starts = (0, *stops[:2])",
        "starts = (0, stops[0] - valid, stops[1])",
        (T_SCHEMA,),
    ),
    Plant(
        "reals come back without their shift",
        SPACE,
        "out[:, columns] = (low * 0.5 + span * 0.5 * values) * 2",
        "out[:, columns] = span * values",
        (T_SCHEMA,),
    ),
    Plant(
        "levels come back without their shift",
        SPACE,
        "out[:, columns] = low + code * span / (levels - 1)",
        "out[:, columns] = code * span / (levels - 1)",
        (T_SCHEMA,),
    ),
    Plant(
        "grey levels on a grid of k / levels",
        BATCH,
        "x = x / (self.spec.levels[0] - 1)",
        "x = x / self.spec.levels[0]",
        (T_SCHEMA,),
    ),
    # --- pPCA -------------------------------------------------------------------------------------
    Plant(
        "EM without the posterior's covariance",
        PPCA,
        "moment[:, :-1, :-1] += q.covariance_matrix",
        "moment[:, :-1, :-1] += q.covariance_matrix * 0",
        (T_PPCA,),
    ),
    Plant(
        "noise variance from the residual of the mean codes",
        PPCA,
        "variance = values[d:].mean().clamp(min=FLOOR)",
        "variance = (values[d:].sum() / size).clamp(min=FLOOR)",
        (T_PPCA,),
    ),
    Plant(
        "eigenvalues over N - 1",
        PPCA,
        "torch.linalg.eigh(scatter / len(data))",
        "torch.linalg.eigh(scatter / (len(data) - 1))",
        (T_PPCA,),
    ),
    Plant(
        "eigenvalues of the baseline over N - 1",
        GAUSSIANS,
        "covariance = scatter / len(train)",
        "covariance = scatter / (len(train) - 1)",
        (T_BASELINES,),
    ),
    # --- uses -------------------------------------------------------------------------------------
    Plant(
        "paths whose ends are swapped",
        PATHS,
        "return torch.cat([ends[0], torch.cat(parts), ends[1]], 1)",
        "return torch.cat([ends[1], torch.cat(parts), ends[0]], 1)",
        (T_USES,),
    ),
    Plant(
        "paths that reach their ends twice",
        PATHS,
        "t = torch.linspace(0, 1, steps, dtype=z[0].dtype, device=z[0].device)[1:-1]",
        "t = torch.linspace(0, 1, steps - 2, dtype=z[0].dtype, device=z[0].device)",
        (T_USES,),
    ),
    Plant(
        "intervals that leave out both tails at each end",
        ROWS,
        "low = math.floor((1 - level) / 2 * (draws - 1))",
        "low = math.floor((1 - level) * (draws - 1))",
        (T_USES,),
    ),
    # --- flows, odd entries, ends of columns ------------------------------------------------------
    Plant(
        "a flow without its Jacobian",
        FLOWS,
        "change = change + log_scale",
        "change = change + 0 * log_scale",
        (T_FLOWS,),
    ),
    Plant(
        "a flow that moves what it looks at",
        FLOWS,
        "net(z * self.fixed[i])",
        "net(z)",
        (T_FLOWS,),
    ),
    Plant(
        "a flow without the constant of its noise",
        FLOWS,
        "(-0.5 * noise.square() - HALF_LOG_2PI)",
        "(-0.5 * noise.square())",
        (T_FLOWS,),
    ),
    Plant(
        "odd entries cost nothing",
        "vaes/uses/detect.py",
        "data.unseen.flatten(1).sum(1).double() * new_nats(model)",
        "data.unseen.flatten(1).sum(1).double() * 0",
        ("tests/uses/test_detect.py",),
    ),
    Plant(
        "a value far out widens an interval of many rows",
        "vaes/data/pieces.py",
        "halvings = max(0, int(",
        "halvings = 0 * max(0, int(",
        ("tests/data/test_pieces.py",),
    ),
    Plant(
        "p-values without the row itself",
        "vaes/uses/detect.py",
        "(1 + n - below).double()",
        "(n - below).double()",
        ("tests/uses/test_detect.py",),
    ),
]
