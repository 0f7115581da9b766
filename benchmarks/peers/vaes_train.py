"""Our own loop on a benchmark case, timed as the peers are; one JSON line.

--by-hand runs the same step (same compiled graph, same clipping and skipping) from a bare `for`,
which shows what the loop around it costs.
"""

import argparse
import json
import time

import cases
import torch

from vaes import recipes
from vaes.batch import Data, Spec
from vaes.fit import Loop
from vaes.machine import gradients_in_graphs
from vaes.model import Step
from vaes.plan import Settings, plan


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=tuple(cases.CASES), default="mlp")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--compile", default="yes")
    parser.add_argument("--by-hand", action="store_true")
    args = parser.parse_args()
    case = cases.CASES[args.case]
    n = args.rows or case["rows"]
    spec = Spec(case["shape"], ("binary",), (2,), rows=n)
    data = Data(spec, torch.from_numpy(cases.rows(args.case, n)).to(torch.uint8))
    if args.case == "mlp":
        options = {"net": "mlp", "hidden": (case["hidden"],), "act": "relu"}
    else:
        options = {"net": "conv", "hidden": case["channels"], "norm": False}
    torch.manual_seed(0)
    model = recipes.build("vae", spec, latent=case["latent"], warmup=0.0, **options)
    settings = Settings(
        steps=10**7, compile=args.compile, precision=args.precision, threads=cases.THREADS,
        patience=0.0, clip=200.0, log=50,
    )  # fmt: skip
    loop = Loop(model, data, data.part(torch.arange(128)), plan(settings, model, n))
    measure = by_hand if args.by_hand else by_loop
    compiling = time.perf_counter()
    warm = 3 * loop.plan.per_epoch
    with gradients_in_graphs():
        speeds = measure(loop, data, warm, args.seconds)
    line = {
        "peer": "vaes" + (" by hand" if args.by_hand else ""),
        "case": args.case,
        "precision": args.precision,
        "compile": args.compile,
        "rows_per_s": round(speeds[0], 1),
        "loss": round(speeds[1], 3),
        "total_s": round(time.perf_counter() - compiling, 1),
        "notes": loop.notes,
    }
    print(json.dumps(line))


def by_loop(loop, data, warm, seconds):
    """The loop as users run it: streaming, logging, moving average and all."""
    clock = {"start": 0.0, "step": 0, "loss": 0.0}

    def watch(loop, record):
        step = loop.progress.step
        clock["loss"] = record.get("loss", clock["loss"])
        if step == warm:
            clock["start"], clock["step"] = time.perf_counter(), step
        spent = time.perf_counter() - clock["start"]
        if step > warm and step % loop.plan.per_epoch == 0 and spent > seconds:
            loop.stop, clock["spent"] = "time", spent

    loop.callbacks.append(watch)
    steps = loop.run().step - clock["step"]
    return steps * loop.plan.batch / clock["spent"], clock["loss"]


def by_hand(loop, data, warm, seconds):
    """The same step from a bare loop: no log, no validation, no callbacks."""
    torch.set_num_threads(loop.plan.threads)
    rate, start = 1e-3, 0.0
    loop.model.train()
    for step, batch in enumerate(data.stream(loop.plan.batch, 0), 1):
        where = Step.at(loop.model, batch, step, total=10**7)
        numbers = loop._update(batch, where, rate, ("model",))
        if step == warm:
            start = time.perf_counter()
        spent = time.perf_counter() - start
        if step > warm and step % loop.plan.per_epoch == 0 and spent > seconds:
            return (step - warm) * loop.plan.batch / spent, numbers[0].item()
    raise AssertionError


if __name__ == "__main__":
    main()
