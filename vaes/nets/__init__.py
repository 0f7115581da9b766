"""Plain network bodies: tensors in, tensors out. They know nothing of distributions.

An encoder body maps x (n, *shape) to features (n, m); a decoder body maps z (n, d) to features of
any shape. `Readout` in `vaes.composed` adds the last linear map where a body does not end in the
number of outputs that its head needs, so any `nn.Module` of the user's can take their place.
"""
