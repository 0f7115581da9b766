"""Errors in coded rows: files that decode to something else, or whose size says something false."""

from plants import Plant

ANS = "vaes/compress/ans.py"
CODER = "vaes/compress/coder.py"
ENTRIES = "vaes/compress/entries.py"
LATENTS = "vaes/compress/latents.py"
BITSBACK = "vaes/compress/bitsback.py"
FILE = "vaes/compress/file.py"
SIZE = "vaes/compress/size.py"
VERB = "vaes/verbs/compress.py"
T_ANS = "tests/compress/test_ans.py"
T_LATENTS = "tests/compress/test_latents.py"
T_BITSBACK = "tests/compress/test_bitsback.py"
T_COSTS = "tests/compress/test_costs.py"
T_FILE = "tests/compress/test_file.py"

PLANTS = [
    # --- the stack --------------------------------------------------------------------------------
    Plant(
        "coded: symbols pushed in the order in which they are popped",
        ANS,
        "symbols = zip(reversed(starts), reversed(widths), reversed(bits), strict=True)",
        "symbols = zip(starts, widths, bits, strict=True)",
        (T_ANS, T_COSTS),
    ),
    Plant(
        "coded: a stack whose low bits stay where they are",
        ANS,
        "ODD = 0x9E3779B97F4A7C15",
        "ODD = 1",
        (T_ANS, T_COSTS),
    ),
    Plant(
        "coded: any rest on the stack taken for its floor",
        ANS,
        "return self.state == _first(seed) and self.words == floor[::-1]",
        "return len(self.words) >= len(words_of(seed))",
        (T_ANS, T_COSTS),
    ),
    Plant(
        "coded: the floor begins anew with every word",
        ANS,
        "return _word(self._seed, self._taken - 1)",
        "return _word(self._seed, 0)",
        (T_ANS,),
    ),
    Plant(
        "coded: symbols without probability have no width",
        ANS,
        "np.floor(shares * ((1 << bits) - levels)).astype(np.int64) + np.arange(levels + 1)",
        "np.floor(shares * (1 << bits)).astype(np.int64)",
        (T_ANS, T_COSTS),
    ),
    # --- z ----------------------------------------------------------------------------------------
    Plant(
        "coded: bins at the scale of the variance",
        CODER,
        "scale = math.exp(round(log_scale / STEP) * STEP) / width",
        "scale = math.exp(2 * round(log_scale / STEP) * STEP) / width",
        (T_LATENTS, T_COSTS),
    ),
    Plant(
        "coded: bins far out that are drawn too often",
        LATENTS,
        "DRAWN = 8.0",
        "DRAWN = math.inf",
        (T_LATENTS,),
    ),
    Plant(
        "coded: z at the lower edge of its bin",
        CODER,
        "return (k - self.count(i) / 2 + 0.5) * 2.0 ** -self.steps[i]",
        "return (k - self.count(i) / 2) * 2.0 ** -self.steps[i]",
        (T_LATENTS,),
    ),
    Plant(
        "coded: bins as wide as the narrowest spread",
        LATENTS,
        "max(3, math.ceil(math.log2(PER_SPREAD / s)))",
        "max(0, math.ceil(math.log2(1 / s)))",
        (T_LATENTS,),
    ),
    Plant(
        "coded: a full covariance without what goes below the diagonal",
        LATENTS,
        "given = float(mean + tril[i, :i] @ noise[:i])",
        "given = float(mean)",
        (T_LATENTS,),
    ),
    Plant(
        "coded: a flow without its log-derivative",
        LATENTS,
        "ratio = (log_scale[0].exp() * (1 << SCALE_BITS)).round().tolist()",
        "ratio = (0 * log_scale[0].exp() + (1 << SCALE_BITS)).round().tolist()",
        (T_LATENTS,),
    ),
    Plant(
        "coded: a flow without its shift",
        LATENTS,
        "places[j] = (scaled >> SCALE_BITS) + shift",
        "places[j] = scaled >> SCALE_BITS",
        (T_LATENTS,),
    ),
    Plant(
        "coded: links of a chain that do not know those before",
        LATENTS,
        "more = walk(link(z), coder, grid, within, start + z.shape[-1])",
        "more = walk(link(0 * z), coder, grid, within, start + z.shape[-1])",
        (T_LATENTS,),
    ),
    # --- x ----------------------------------------------------------------------------------------
    Plant(
        "coded: ones as probable as zeros should be",
        ENTRIES,
        "share = 1 / (1 + np.exp(rounded(_flat(p.logits, p, own))))  # of 0",
        "share = 1 / (1 + np.exp(-rounded(_flat(p.logits, p, own))))  # of 0",
        (T_COSTS, T_BITSBACK, T_FILE),
    ),
    Plant(
        "coded: levels of a logistic half a level off",
        ENTRIES,
        "inner = np.arange(1, p.levels) / p.levels / scale - loc",
        "inner = (np.arange(1, p.levels) + 0.5) / p.levels / scale - loc",
        (T_COSTS, T_BITSBACK, T_FILE),
    ),
    Plant(
        "coded: counts that share the mass beyond the largest",
        ENTRIES,
        "beyond = (left - mass.sum(1)).clip(min=0.0)",
        "beyond = 0 * (left - mass.sum(1)).clip(min=0.0)",
        (T_COSTS, T_BITSBACK),
    ),
    Plant(
        "coded: the next block of counts without the mass of those before",
        ENTRIES,
        "rows, left = rows[further], beyond[further]",
        "rows, left = rows[further], 0 * beyond[further] + 1",
        (T_COSTS, T_BITSBACK),
    ),
    Plant(
        "coded: columns that do not know those before",
        ENTRIES,
        "self.given = self.given + net.embed_one(code, j)",
        "self.given = self.given + 0 * net.embed_one(code, j)",
        (T_COSTS, T_BITSBACK),
    ),
    Plant(
        "coded: values in tails taken for single ones",
        ENTRIES,
        "wrong[:, j] |= ~alone[found[:, j].clip(0, len(alone) - 1).astype(int)]",
        "wrong[:, j] |= False",
        (T_COSTS, T_BITSBACK, T_FILE),
    ),
    # --- rows -------------------------------------------------------------------------------------
    Plant(
        "coded: z drawn from the prior",
        BITSBACK,
        "z = walk(coding.model.posterior(coding.batch(known, True)), popper, grid, DRAWN)",
        "z = walk(coding.model.prior(coding.batch(known, True)), popper, grid, DRAWN)",
        (T_COSTS, T_BITSBACK),
    ),
    Plant(
        "coded: rows that are not compared with their checksum",
        BITSBACK,
        "if not stack.is_floor(_digest(rows)):",
        "if False:",
        (T_COSTS, T_BITSBACK),
    ),
    Plant(
        "coded: entries marked as never seen are gaps",
        BITSBACK,
        "if unseen is not None and unseen.any():",
        "if False and unseen is not None and unseen.any():",
        (T_COSTS, T_BITSBACK, T_FILE),
    ),
    # --- files ------------------------------------------------------------------------------------
    Plant(
        "coded: files that are damaged are read",
        FILE,
        "if hashlib.sha256(content[:-SUM]).digest() != content[-SUM:]:",
        "if False:",
        (T_FILE,),
    ),
    Plant(
        "coded: any run decodes any file",
        VERB,
        'if fingerprint(opened.run) != header["print"]:',
        "if False:",
        (T_FILE,),
    ),
    Plant(
        "coded: gaps written as zeros",
        VERB,
        "return torch.where(rows.mask, x, torch.nan)",
        "return torch.where(rows.mask, x, 0.0)",
        (T_FILE,),
    ),
    Plant(
        "coded: the size of a file in bytes called bits",
        SIZE,
        "n, bits = len(data), 8 * (whole - apart)",
        "n, bits = len(data), whole - apart",
        (T_FILE,),
    ),
    Plant(
        "coded: bits of a row called nats",
        SIZE,
        "nats = bits * math.log(2) / n",
        "nats = bits / n",
        (T_FILE,),
    ),
]
