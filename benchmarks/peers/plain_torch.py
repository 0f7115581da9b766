"""Training throughput of a textbook PyTorch loop: TensorDataset, DataLoader, Adam, backward."""

import torch
import torch.nn.functional as F
from cases import BATCH, LEARNING_RATE, THREADS, Clock, nets, parse, rows
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class PlainVAE(nn.Module):
    """The case's encoder and decoder joined by the reparameterisation."""

    def __init__(self, case):
        super().__init__()
        self.body, self.mu, self.logvar, self.decoder = nets(case)

    def forward(self, x):
        h = self.body(x)
        mu, logvar = self.mu(h), self.logvar(h)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        return self.decoder(z), mu, logvar


def loss_function(logits, x, mu, logvar):
    """Negative ELBO summed over elements, mean over rows."""
    bce = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return (bce + kl) / len(x)


def main():
    args = parse(__doc__)
    torch.set_num_threads(THREADS)
    torch.manual_seed(args.seed)
    data = TensorDataset(torch.from_numpy(rows(args.case, args.rows, args.seed)))
    loader = DataLoader(data, batch_size=BATCH, shuffle=True)
    model = PlainVAE(args.case)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)

    def epoch():
        model.train()
        total = 0.0
        for (x,) in loader:
            optimizer.zero_grad()
            logits, mu, logvar = model(x)
            loss = loss_function(logits, x, mu, logvar)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x)
        return total / len(data)

    clock = Clock(args.rows, args.seconds)
    while not clock.done:
        clock.epoch(epoch)
    clock.report("plain_torch", args.case, torch=torch.__version__)


if __name__ == "__main__":
    main()
