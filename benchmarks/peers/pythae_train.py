"""Training throughput of Pythae's BaseTrainer; epochs are timed around its `train_step`."""

import contextlib
import importlib.metadata
import logging
import tempfile

import torch
from cases import BATCH, LEARNING_RATE, THREADS, Clock, parse, rows
from pythae.data.datasets import BaseDataset
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import CallbackHandler, TrainingCallback
from pythae_model import build


class Enough(Exception):
    """Ends `train` before its final save, once enough has been measured."""


class TimedTrainer(BaseTrainer):
    """Pythae's trainer without progress bar and printing, each epoch's `train_step` timed.

    `train_step` is Pythae's pass over the loader; its copy of the best model is left out.
    """

    clock = None

    def _setup_callbacks(self):
        self.callback_handler = CallbackHandler([TrainingCallback()], model=self.model)

    def train_step(self, epoch):
        loss = self.clock.epoch(super().train_step, epoch)
        if self.clock.done:
            raise Enough
        return loss


def main():
    args = parse(__doc__)
    for name in ("pythae", "pythae.trainers.base_trainer.base_trainer"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(THREADS)
    torch.manual_seed(args.seed)
    data = BaseDataset(
        torch.from_numpy(rows(args.case, args.rows, args.seed)), torch.zeros(args.rows)
    )
    with tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=1_000_000,
            per_device_train_batch_size=BATCH,
            learning_rate=LEARNING_RATE,
            no_cuda=True,
        )
        trainer = TimedTrainer(build(args.case), data, training_config=config)
        trainer.clock = Clock(args.rows, args.seconds)
        with contextlib.suppress(Enough):
            trainer.train()
    trainer.clock.report(
        "pythae",
        args.case,
        pythae=importlib.metadata.version("pythae"),
        torch=torch.__version__,
    )


if __name__ == "__main__":
    main()
