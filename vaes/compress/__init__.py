"""Compression as proof: rows as a file whose size is what the model claims, and back to the bit.

A constant that a density has dropped cannot hide in the size of a file that decodes. `bitsback` has
`encode` and `decode`; `ans` the stack of bits, `coder` the walk over symbols in both directions,
`latents` and `entries` the symbols of z and x, `file` the bytes on disk, `size` what they say.
"""

from vaes.compress.bitsback import Coded, decode, encode
from vaes.compress.size import sizes

__all__ = ["Coded", "decode", "encode", "sizes"]
