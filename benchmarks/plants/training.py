"""Errors in one step and in the loop."""

from plants import Plant

BATCH = "vaes/batch.py"
MODEL = "vaes/model.py"
OPTIM = "vaes/optim.py"
FIT = "vaes/fit.py"
T_OBJECTIVE = "tests/test_objective.py"
T_OPTIM = "tests/test_optim.py"
T_FIT = "tests/test_fit.py"
T_RESUME = "tests/run/test_resume.py"
T_PLANTED = "tests/test_planted.py"

PLANTS = [
    # --- one step ---------------------------------------------------------------------------------
    Plant(
        "players descend the sum of all losses",
        OPTIM,
        "torch.autograd.grad(\n                loss,",
        "torch.autograd.grad(\n                torch.stack([*losses.values()]).sum(),",
        (T_OPTIM,),
    ),
    Plant(
        "owners by the first letters of a name",
        MODEL,
        'name.startswith(own + ".")',
        "name.startswith(own)",
        (T_PLANTED,),
    ),
    Plant(
        "no bias correction in Adam",  # 1 - beta^t is 1 from the start
        OPTIM,
        "self.steps = torch.zeros((), ",
        "self.steps = torch.full((), 1e6, ",
        (T_OPTIM,),
    ),
    Plant(
        "one beta for both moments",
        OPTIM,
        "beta2=player.betas[1],",
        "beta2=player.betas[0],",
        (T_OPTIM,),
    ),
    Plant(
        "steps that are not finite are taken",
        OPTIM,
        "        elif not good:",
        "        elif False:",
        (T_OPTIM,),
    ),
    Plant(
        "skipped steps shrink the moments",
        OPTIM,
        "        player, state = self.model.players[name], self.moments[name]\n",
        "        player, state = self.model.players[name], self.moments[name]\n"
        "        gs, norm = [torch.where(good, g, 0.0) for g in gs], norm.nan_to_num(0.0, 0.0)\n"
        "        good = torch.ones_like(good)\n",
        (T_OPTIM,),
    ),
    Plant(
        "skipped steps count for the bias correction",
        OPTIM,
        "            return\n        elif over == 1:",
        "            state.steps.add_(1)\n            return\n        elif over == 1:",
        (T_OPTIM,),
    ),
    Plant(
        "moments that live are swept away",
        OPTIM,
        "tensor.abs() < DUST",
        "tensor.abs() > DUST",
        (T_OPTIM, T_PLANTED),
    ),
    Plant(
        "a streak of skipped steps that never ends",
        OPTIM,
        "self.streak.add_(1).mul_(~good)",
        "self.streak.add_(~good)",
        (T_OPTIM,),
    ),
    Plant(
        "one learning rate for all players",
        OPTIM,
        "lr=rate * player.rate,",
        "lr=rate,",
        (T_OPTIM,),
    ),
    Plant(
        "clipping by the largest tensor's norm",
        OPTIM,
        "n: torch.stack([g.square().sum() for g in gs]).sum().sqrt()",
        "n: torch.stack([g.square().sum() for g in gs]).max().sqrt()",
        (T_OPTIM,),
    ),
    Plant(
        "clipping that lengthens short gradients",
        OPTIM,
        "(norm / limit).clamp(min=1.0)",
        "(norm / limit)",
        (T_OPTIM,),
    ),
    # --- the loop ---------------------------------------------------------------------------------
    Plant(
        "the average keeps the buffers that training began with",
        OPTIM,
        "            ours.copy_(theirs)\n        return self.model",
        "            pass\n        return self.model",
        (T_FIT, T_PLANTED),
    ),
    Plant(
        "the last weights are kept",
        FIT,
        "if score > p.best:",
        "if score is not None:",
        (T_FIT,),
    ),
    Plant(
        "a phase begins from the last weights",
        FIT,
        "            self.model.load_state_dict(self.best)\n            p.phase, p.begun",
        "            p.phase, p.begun",
        (T_FIT, T_PLANTED),
    ),
    Plant(
        "weights of the warm-up are kept",
        FIT,
        "if p.step >= min(start + self.plan.warmup, end):",
        "if p.step <= end:",
        (T_FIT, T_PLANTED),
    ),
    Plant(
        "patience that nothing exhausts",
        FIT,
        "waited > plan.patience",
        "waited > plan.steps",
        (T_FIT, T_RESUME),
    ),
    Plant(
        "the same noise at every step",
        MODEL,
        'draw = generator("step", seed, step, device=like.device)',
        'draw = generator("step", seed, device=like.device)',
        (T_OBJECTIVE,),
    ),
    Plant(
        "noise of the global generator",
        MODEL,
        "return torch.randn(shape, generator=draw, dtype=like.dtype, device=like.device)",
        "return torch.randn(shape, dtype=like.dtype, device=like.device)",
        (T_OBJECTIVE,),
    ),
    Plant(
        "the same order in every epoch",
        BATCH,
        'generator=generator("order", seed, epoch)',
        'generator=generator("order", seed)',
        (T_OPTIM,),
    ),
]
