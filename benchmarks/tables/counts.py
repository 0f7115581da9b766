"""Held-out evidence of count matrices beside scVI, and clusters of codes beside known labels.

    VAES_DATA=FOLDER python benchmarks/tables/counts.py [--sets osmfish starmap] [--seeds 0 1 2]
        [--contenders vaes scvi] [--keep FOLDER]

osmFISH (4,530 cells x 33 genes, 6 labels) and STARmap (3,704 x 158) are split 80/10/10 by the seed.
Ours is the recipe `counts` with what it does by default; scVI is scvi-tools' SCVI with its defaults
but for "nb" and the observed library (its default too): both latent 10, one hidden layer of 128,
negative binomial with one dispersion per gene, no batch covariate. scVI trains its 400 epochs on
the same training rows; ours chooses its weights by the validation rows. Evidence is log p(x | total
of the row), nats per test row, by the same estimator for both: log-mean-exp of `--k` draws of each
one's own encoder. NMI: between the labels and clusters of the codes (posterior means) of the test
rows, by k-means and a Gaussian mixture fitted to the codes of the training rows with as many
clusters as there are labels. `--keep` keeps what each contender reached and takes it from there
where it is run again.
Environment: counts_requirements.txt.
"""

import argparse
import math
import os
import time
import warnings
from pathlib import Path

import h5py
import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score
from sklearn.mixture import GaussianMixture

from vaes import data as sources
from vaes.evaluate.likelihood import evidence
from vaes.fit import Loop
from vaes.options import split_options
from vaes.plan import plan
from vaes.training import seeded_build
from vaes.uses import encode


def osmfish(folder):
    """Codeluppi et al. 2018 (doi:10.1038/s41592-018-0175-z), as scvi-tools hands it out."""
    source = sources.load(folder / "smfish.h5ad", label="str_labels")
    return source.x, np.array([*source.classes, ""])[source.y]


def starmap(folder):
    """Wang et al. 2018 (doi:10.1126/science.aat5691), prefrontal cortex; "NA" is no label."""
    with h5py.File(folder / "mpfc-starmap.loom") as file:
        x = file["matrix"][:].T.astype(np.int64)
        labels = file["col_attrs"]["Clusters"][:].astype(str)
    return x, np.where(labels == "NA", "", labels)


SETS = {"osmfish": osmfish, "starmap": starmap}


class Ours:
    """The recipe `counts`, its weights chosen by the bound on the validation rows."""

    def __init__(self, prepared, seed, **options):
        ours, settings = split_options("counts", {"seed": seed, "threads": 1, **options})
        self.model = seeded_build("counts", prepared.spec, seed, ours)
        done = plan(settings, self.model, len(prepared.train))
        Loop(self.model, prepared.train, prepared.valid, done).run()

    def evidence(self, data, k):
        return evidence(self.model, data, k=k).per_row.numpy()

    def codes(self, data):
        return encode(self.model, data).mean.numpy()


class Scvi:
    """scvi-tools' SCVI on the same training and validation rows."""

    def __init__(self, prepared, seed):
        import anndata
        import scvi

        scvi.settings.seed = seed
        scvi.settings.verbosity = 30
        parts = [prepared.train.x, prepared.valid.x]
        rows = anndata.AnnData(torch.cat(parts).numpy())
        scvi.model.SCVI.setup_anndata(rows)
        self.of = scvi.model.SCVI(rows, n_hidden=128, n_latent=10, gene_likelihood="nb")
        places = [np.arange(len(parts[0])), np.arange(len(parts[0]), len(rows)), np.array([])]
        self.of.train(
            datasplitter_kwargs={"external_indexing": places},
            accelerator="cpu",
            enable_progress_bar=False,
            logger=False,
        )
        self.of.module.eval()

    @torch.no_grad()
    def evidence(self, data, k):
        """Written out from the module's own two halves, which say log p(x | z, total)."""
        x = data.x
        batch = torch.zeros(len(x), 1)
        q = self.of.module.inference(x, batch)["qz"]
        library, found = x.sum(1, keepdim=True).log(), []
        torch.manual_seed(0)
        for _ in range(k):
            z = q.sample()
            p = self.of.module.generative(z, library, batch)
            log_w = p["px"].log_prob(x).double().sum(-1) + p["pz"].log_prob(z).double().sum(-1)
            found.append(log_w - q.log_prob(z).double().sum(-1))
        return (torch.stack(found).logsumexp(0) - math.log(k)).numpy()

    @torch.no_grad()
    def codes(self, data):
        q = self.of.module.inference(data.x, torch.zeros(len(data.x), 1))["qz"]
        return q.loc.numpy()


CONTENDERS = {"vaes": Ours, "scvi": Scvi}


def agreement(model, prepared, labels):
    """NMI of k-means and of a Gaussian mixture on the test rows that have a label."""
    known = labels[prepared.split["test"]] != ""
    train, test = model.codes(prepared.train), model.codes(prepared.test)[known]
    truth = labels[prepared.split["test"]][known]
    k = len(set(labels) - {""})
    means = KMeans(k, n_init=10, random_state=0).fit(train)
    mixture = GaussianMixture(k, n_init=5, max_iter=300, random_state=0).fit(train)
    return [normalized_mutual_info_score(truth, m.predict(test)) for m in (means, mixture)]


def main():
    """Train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--k", type=int, default=1000)
    parser.add_argument("--keep", type=Path, help="folder for what each contender reached")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    folder = Path(os.environ["VAES_DATA"]) / "single_cell"
    print("| set | seed | model | valid | log p(x given total), test | less vaes, paired | "
          "NMI k-means | NMI mixture | s |\n|---|---|---|---|---|---|---|---|---|")  # fmt: skip
    for name in args.sets:
        x, labels = SETS[name](folder)
        for seed in args.seeds:
            prepared, first = sources.prepare(sources.load(x), seed=seed), None
            for contender in args.contenders:
                kept = args.keep and args.keep / f"{name}-{seed}-{contender}-{args.k}.npz"
                found = dict(np.load(kept)) if kept and kept.exists() else None
                if found is None:
                    found = measured(CONTENDERS[contender], prepared, labels, seed, args.k)
                    if kept:
                        args.keep.mkdir(parents=True, exist_ok=True)
                        np.savez(kept, **found)
                first = found["test"] if first is None else first
                less, nmi = told(found["test"] - first), found["nmi"]
                print(
                    f"| {name} | {seed} | {contender} | {found['valid'].mean():.3f} "
                    f"| {told(found['test'])} | {less} | {nmi[0]:.3f} | {nmi[1]:.3f} "
                    f"| {float(found['seconds']):.0f} |",
                    flush=True,
                )


def measured(contender, prepared, labels, seed, k):
    """Log p(x | total) of every validation and test row, NMI of both clusterings, seconds."""
    start = time.perf_counter()
    model = contender(prepared, seed)
    seconds = time.perf_counter() - start
    found = {part: model.evidence(getattr(prepared, part), k) for part in ("valid", "test")}
    return found | {"nmi": agreement(model, prepared, labels), "seconds": seconds}


def told(values):
    """A mean with its standard error."""
    return f"{values.mean():.3f} ± {values.std(ddof=1) / math.sqrt(len(values)):.3f}"


if __name__ == "__main__":
    main()
