"""Pythae's VAE built on the nets of a case."""

import torch
from cases import CASES, nets
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder


class Encoder(BaseEncoder):
    """Mean and log-variance heads on a body."""

    def __init__(self, body, mu, logvar):
        super().__init__()
        self.body, self.mu, self.logvar = body, mu, logvar

    def forward(self, x):
        h = self.body(x)
        return ModelOutput(embedding=self.mu(h), log_covariance=self.logvar(h))


class Decoder(BaseDecoder):
    """Probabilities, as Pythae's "bce" expects."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, z):
        return ModelOutput(reconstruction=torch.sigmoid(self.logits(z)))


def build(case):
    """Return Pythae's VAE for `case`, with the Bernoulli reconstruction loss."""
    spec = CASES[case]
    body, mu, logvar, decoder = nets(case)
    config = VAEConfig(
        input_dim=spec["shape"], latent_dim=spec["latent"], reconstruction_loss="bce"
    )
    return VAE(config, encoder=Encoder(body, mu, logvar), decoder=Decoder(decoder))
