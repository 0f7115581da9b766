"""Errors in the page of a run: what it says, and what its decoder makes of a code."""

from plants import Plant

DECODER = "vaes/report/decoder.py"
HEADS = "vaes/report/heads.py"
PROGRAM = "vaes/report/program.py"
SCRIPT = "vaes/report/decoder.js"
LIFE = "vaes/report/page.js"
CHARTS = "vaes/report/charts.py"
LATENT = "vaes/report/latent.py"
LIVING = "vaes/report/living.py"
MARKUP = "vaes/report/markup.py"
NUMBERS = "vaes/report/numbers.py"
ROWS = "vaes/report/rows.py"
T_DECODER = "tests/report/test_decoder.py"
T_BROWSER = "tests/report/test_browser.py"
T_CHARTS = "tests/report/test_charts.py"
T_PAGE = "tests/report/test_page.py"

PLANTS = [
    # --- the decoder as it is written -------------------------------------------------------------
    Plant(
        "the report's logistic without its starting scale",
        HEADS,
        "soft_clip(module.log_scale + module.start, *module.bounds)",
        "soft_clip(module.log_scale, *module.bounds)",
        (T_DECODER,),
    ),
    Plant(
        "the report's weights one place late",
        PROGRAM,
        "return [self.length - len(flat), len(flat)]",
        "return [self.length - len(flat) + 1, len(flat)]",
        (T_DECODER,),
    ),
    Plant(
        "the report's residual blocks without what they add to",
        DECODER,
        'return [{"op": "add", "ops": _ops(module.body, store)}]',
        "return _ops(module.body, store)",
        (T_DECODER,),
    ),
    Plant(
        "the report's odd sides lost",
        DECODER,
        '"extra": list(module.output_padding) if turned else [0, 0]',
        '"extra": [0, 0]',
        (T_DECODER,),
    ),
    Plant(
        "a subclass of a layer taken for the layer",
        DECODER,
        "    if type(module) not in OPS:\n        raise Unsupported",
        "    if isinstance(module, nn.Linear):\n        return [_linear(module, store)]\n"
        "    if type(module) not in OPS:\n        raise Unsupported",
        (T_DECODER,),
    ),
    Plant(
        "the report's counts at a total of one",
        HEADS,
        "math.log(max(1e-8, float(module.totals(1)[0])))",
        "0.0",
        (T_DECODER,),
    ),
    Plant(
        "the report's tables with their tails",
        HEADS,
        '"tailed": cells.tailed[j],',
        '"tailed": False,',
        (T_DECODER,),
    ),
    Plant(
        "the report's cells without their curves",
        HEADS,
        "own if net.curves_out is None else net.curves_out(own, place)",
        "own",
        (T_DECODER,),
    ),
    Plant(
        "the report's gates forgotten",
        HEADS,
        '"gate": gate if gate >= 0 else None,',
        '"gate": None,',
        (T_DECODER,),
    ),
    # --- the decoder as it is run -----------------------------------------------------------------
    Plant(
        "variance over one too few in the script's norm",
        SCRIPT,
        "square += (h.x[i] - mean) ** 2 / size",
        "square += (h.x[i] - mean) ** 2 / (size - 1)",
        (T_BROWSER,),
    ),
    Plant(
        "the script's transposed kernel upside down",
        SCRIPT,
        "const e = j * sw - pw + q;\n          if (a >= 0",
        "const e = j * sw - pw + kw - 1 - q;\n          if (a >= 0",
        (T_BROWSER,),
    ),
    Plant(
        "the script's levels from zero on",
        SCRIPT,
        "let sum = first - 1,",
        "let sum = first,",
        (T_BROWSER,),
    ),
    Plant(
        "the script's columns in the order of their heads",
        SCRIPT,
        "y[column] = mean[i]",
        "y[i] = mean[i]",
        (T_BROWSER,),
    ),
    Plant(
        "the script's error function of the wrong sign",
        SCRIPT,
        "return x >= 0 ? 1 - rest : rest - 1;",
        "return 1 - rest;",
        (T_BROWSER,),
    ),
    Plant(
        "the page's table in model space",
        LIFE,
        "return column.shift + column.scale * x;",
        "return x;",
        (T_BROWSER,),
    ),
    Plant(
        "the page's pieces without the place within them",
        LIFE,
        "return low + place * wide;",
        "return low;",
        (T_BROWSER,),
    ),
    Plant(
        "the script's median a cell late",
        SCRIPT,
        "(below + p[code]) / sum < 0.5",
        "below / sum < 0.5",
        (T_BROWSER,),
    ),
    Plant(
        "the cursor up and the code down",
        LIFE,
        "axes[1][j] * (q[1] - now[1])",
        "axes[1][j] * (now[1] - q[1])",
        (T_BROWSER,),
    ),
    Plant(
        "the way from A to B beyond B",
        LIFE,
        "a + t * (codes[ends[1] * d + j] - a)",
        "a + t * codes[ends[1] * d + j]",
        (T_BROWSER,),
    ),
    # --- what is said and drawn -------------------------------------------------------------------
    Plant(
        "names of the data as markup",
        MARKUP,
        "return html.escape(str(value), quote=True)",
        "return str(value)",
        (T_PAGE,),
    ),
    Plant(
        "JSON that can end its script",
        MARKUP,
        'for mark in "<>&":',
        'for mark in "&":',
        (T_CHARTS,),
    ),
    Plant(
        "an error told to one digit too few",
        MARKUP,
        "1 - math.floor(math.log10(se))",
        "-math.floor(math.log10(se))",
        (T_CHARTS,),
    ),
    Plant(
        "whiskers of one standard error for two",
        CHARTS,
        "spread = [2 * d.se if",
        "spread = [d.se if",
        (T_CHARTS,),
    ),
    Plant(
        "curves thinned to sums",
        CHARTS,
        "np.add.reduceat(y, edges[:-1]) / counts",
        "np.add.reduceat(y, edges[:-1])",
        (T_CHARTS,),
    ),
    Plant(
        "clouds turned the wrong way",
        LATENT,
        "angle = -np.degrees(",
        "angle = np.degrees(",
        (T_CHARTS,),
    ),
    Plant(
        "variances for deviations in the clouds",
        LATENT,
        "found.axes, found.std**2, found.axes)",
        "found.axes, found.std, found.axes)",
        (T_CHARTS,),
    ),
    Plant(
        "the dullest dimensions on the sliders",
        LIVING,
        "np.argsort(-lively, kind=",
        "np.argsort(lively, kind=",
        (T_PAGE,),
    ),
    Plant(
        "clicks on a map upside down",
        LIVING,
        '"unit": [(a.end - a.start) / (a.high - a.low) for a in both]',
        '"unit": [abs(a.end - a.start) / (a.high - a.low) for a in both]',
        (T_PAGE,),
    ),
    Plant(
        "decoded columns of the first one's scale",
        LIVING,
        "(v[entry] if len(v) > 1 else v[0] for v in _scaling(shower))",
        "(v[0] for v in _scaling(shower))",
        (T_PAGE,),
    ),
    Plant(
        "the most likely rows for the least",
        ROWS,
        "order = scored.nats.argsort(stable=True)",
        "order = scored.nats.argsort(stable=True, descending=True)",
        (T_PAGE,),
    ),
    Plant(
        "rows of the map under another's label",
        LIVING,
        "code = -1 if data.y is None else int(data.y[i])",
        "code = -1 if data.y is None else int(data.y[i - 1])",
        (T_PAGE,),
    ),
    Plant(
        "blame not held against what is usual",
        ROWS,
        "above = of(few) - of(some).median(0).values",
        "above = -of(few)",
        (T_PAGE,),
    ),
    Plant(
        "gaps shown as values",
        ROWS,
        'word(v, digits) if here else "–"',
        "word(v, digits)",
        (T_PAGE,),
    ),
    Plant(
        "validation drawn as training",
        NUMBERS,
        "Line(label, *_series(records, prefix + key), kind)",
        "Line(label, *_series(records, key), kind)",
        (T_PAGE,),
    ),
    Plant(
        "the rate's error on the evidence",
        NUMBERS,
        'with_error(evaluation[key], evaluation.get(f"{key}_se"))',
        'with_error(evaluation[key], evaluation.get("elbo_se"))',
        (T_PAGE,),
    ),
]
