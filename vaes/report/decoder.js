// A decoder as `decoder.py` writes it: codes in, the mean of p(x|z) in model space out.
// program: {latent, size, ops, head}; weights: Float32Array. Returns z (latent) -> Float64Array (size).
function decoder(program, weights) {
  "use strict";
  const at = (where) => weights.subarray(where[0], where[0] + where[1]);
  const sigmoid = (x) => 1 / (1 + Math.exp(-x));
  const softplus = (x) => (x > 30 ? x : Math.log1p(Math.exp(x)));

  function clip(x, low, high) {
    x = Math.min(x, high + 30);
    return low + softplus(x - low) - softplus(x - high);
  }

  // the error function to 1.2e-7 (a rational Chebyshev fit of erfc)
  function erf(x) {
    const t = 1 / (1 + 0.5 * Math.abs(x));
    const terms = [0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807, -0.18628806,
      0.09678418, 0.37409196, 1.00002368, -1.26551223];
    let sum = 0;
    for (const c of terms) sum = sum * t + c;
    const rest = t * Math.exp(-x * x + sum);
    return x >= 0 ? 1 - rest : rest - 1;
  }

  const elementwise = {
    silu: (x) => x * sigmoid(x),
    relu: (x) => Math.max(0, x),
    tanh: Math.tanh,
    sigmoid: sigmoid,
    gelu: (x) => 0.5 * x * (1 + erf(x * Math.SQRT1_2)),
  };

  function linear(h, op) {
    const w = at(op.weight), b = op.bias && at(op.bias), n = h.x.length;
    const y = new Float64Array(op.out);
    for (let i = 0; i < op.out; i++) {
      let sum = b ? b[i] : 0;
      for (let j = 0, k = i * n; j < n; j++, k++) sum += w[k] * h.x[j];
      y[i] = sum;
    }
    return { x: y, shape: [op.out] };
  }

  // mean 0 and variance 1 within each of `groups` equal stretches, then a factor and a shift for
  // each of `channels` equal stretches
  function normalise(h, groups, channels, op) {
    const w = op.weight && at(op.weight), b = op.bias && at(op.bias);
    const y = new Float64Array(h.x.length), size = y.length / groups, per = y.length / channels;
    for (let g = 0; g < groups; g++) {
      let mean = 0, square = 0;
      for (let i = g * size; i < (g + 1) * size; i++) mean += h.x[i] / size;
      for (let i = g * size; i < (g + 1) * size; i++) square += (h.x[i] - mean) ** 2 / size;
      const scale = 1 / Math.sqrt(square + op.eps);
      for (let i = g * size; i < (g + 1) * size; i++) {
        const c = Math.floor(i / per);
        y[i] = (h.x[i] - mean) * scale * (w ? w[c] : 1) + (b ? b[c] : 0);
      }
    }
    return { x: y, shape: h.shape };
  }

  function filled(op, height, width) {
    const y = new Float64Array(op.out * height * width), b = op.bias && at(op.bias);
    if (b) for (let c = 0; c < op.out; c++) y.fill(b[c], c * height * width, (c + 1) * height * width);
    return y;
  }

  function convolve(h, op) {
    const [channels, height, width] = h.shape, [kh, kw] = op.kernel, [sh, sw] = op.stride;
    const [ph, pw] = op.padding, w = at(op.weight);
    const rows = Math.floor((height + 2 * ph - kh) / sh) + 1;
    const columns = Math.floor((width + 2 * pw - kw) / sw) + 1;
    const y = filled(op, rows, columns);
    let k = 0;
    for (let o = 0; o < op.out; o++) for (let c = 0; c < channels; c++)
      for (let p = 0; p < kh; p++) for (let q = 0; q < kw; q++, k++)
        for (let i = 0; i < rows; i++) {
          const a = i * sh - ph + p;
          if (a < 0 || a >= height) continue;
          for (let j = 0; j < columns; j++) {
            const e = j * sw - pw + q;
            if (e >= 0 && e < width)
              y[(o * rows + i) * columns + j] += w[k] * h.x[(c * height + a) * width + e];
          }
        }
    return { x: y, shape: [op.out, rows, columns] };
  }

  function convolveTransposed(h, op) {
    const [channels, height, width] = h.shape, [kh, kw] = op.kernel, [sh, sw] = op.stride;
    const [ph, pw] = op.padding, w = at(op.weight);
    const rows = (height - 1) * sh - 2 * ph + kh + op.extra[0];
    const columns = (width - 1) * sw - 2 * pw + kw + op.extra[1];
    const y = filled(op, rows, columns), area = height * width, n = op.out * kh * kw;
    const patch = new Float64Array(n);
    // a pixel times all its weights, which lie side by side, then added where the patch lies
    for (let i = 0; i < height; i++) for (let j = 0; j < width; j++) {
      patch.fill(0);
      for (let c = 0; c < channels; c++) {
        const v = h.x[c * area + i * width + j];
        for (let k = 0, m = c * n; k < n; k++, m++) patch[k] += v * w[m];
      }
      let k = 0;
      for (let o = 0; o < op.out; o++) for (let p = 0; p < kh; p++) {
        const a = i * sh - ph + p;
        for (let q = 0; q < kw; q++, k++) {
          const e = j * sw - pw + q;
          if (a >= 0 && a < rows && e >= 0 && e < columns) y[(o * rows + a) * columns + e] += patch[k];
        }
      }
    }
    return { x: y, shape: [op.out, rows, columns] };
  }

  function run(h, ops) {
    for (const op of ops) {
      if (op.op in elementwise) h = { x: h.x.map(elementwise[op.op]), shape: h.shape };
      else if (op.op === "linear") h = linear(h, op);
      else if (op.op === "flatten") h = { x: h.x, shape: [h.x.length] };
      else if (op.op === "unflatten") h = { x: h.x, shape: op.shape };
      else if (op.op === "group_norm") h = normalise(h, op.groups, h.shape[0], op);
      else if (op.op === "layer_norm") h = normalise(h, 1, h.x.length, op);
      else if (op.op === "conv") h = convolve(h, op);
      else if (op.op === "conv_transpose") h = convolveTransposed(h, op);
      else if (op.op === "add") {
        const more = run(h, op.ops).x;
        h = { x: h.x.map((value, i) => value + more[i]), shape: h.shape };
      } else throw new Error("no operation " + op.op);
    }
    return h;
  }

  // the cell that holds the median of softmax(logits) and the place within it; the likeliest cell
  // where cells have no order
  function middle(logits, ordered, [low, high]) {
    let best = 0, sum = 0, below = 0, code = 0;
    for (let k = 1; k < logits.length; k++) if (logits[k] > logits[best]) best = k;
    const p = Array.from(logits, (v) => Math.exp(v - logits[best]));
    for (const v of p) sum += v;
    while (code < p.length - 1 && (below + p[code]) / sum < 0.5) below += p[code++];
    const u = (0.5 * sum - below) / Math.max(p[code], 1e-12 * sum);
    return [ordered ? code : best, Math.min(high, Math.max(low, u))];
  }

  function placed(column, code, u) {
    if (!column.numeric) return code / column.unit;
    return code + (column.alone.includes(code) ? 0.5 : u);
  }

  function conditional(given, column, width) {
    const bias = at(column.bias), block = at(column.block), shift = at(column.shift);
    const h = given.map((v, k) => v + bias[k]), a = h.map(elementwise.silu);
    const f = Float64Array.from(h, (v, k) => v + shift[k]);
    for (let i = 0; i < width; i++) for (let k = 0; k < width; k++) f[k] += a[i] * block[i * width + k];
    const last = f.map(elementwise.silu), w = at(column.weight), base = at(column.base);
    return Float64Array.from({ length: column.n }, (_, c) => {
      let sum = base[c];
      for (let k = 0; k < width; k++) sum += w[c * width + k] * last[k];
      return sum;
    });
  }

  const heads = {
    normal: (h, size) => h.slice(0, size),
    bernoulli: (h) => h.map(sigmoid),
    logistic(h, size, head) {
      const fixed = head.log_scale && at(head.log_scale), n = head.levels;
      const y = new Float64Array(size);
      for (let i = 0; i < size; i++) {
        const log = fixed ? fixed[fixed.length > 1 ? i : 0]
          : clip(h[size + i] + head.start, head.bounds[0], head.bounds[1]);
        const scale = Math.exp(-log), middle = (h[i] + 0.5) * scale, step = scale / n;
        // the sum over k = 1 ... n - 1 of sigmoid(middle - k step), which is 1 below `first` and 0
        // above `last` to 1e-17; between them each exponential is the one before times a constant
        const first = Math.min(n, Math.max(1, Math.ceil((middle - 40) / step)));
        const last = Math.min(n - 1, Math.floor((middle + 40) / step));
        let sum = first - 1, odds = Math.exp(first * step - middle);
        for (let k = first, grow = Math.exp(step); k <= last; k++, odds *= grow) sum += 1 / (1 + odds);
        y[i] = sum / (n - 1);
      }
      return y;
    },
    categorical(h, size, head) {
      const y = new Float64Array(size);
      for (let i = 0; i < size; i++) {
        let best = 0, sum = 0, places = 0;
        for (let k = 1; k < head.levels; k++) if (h[k * size + i] > h[best * size + i]) best = k;
        for (let k = 0; k < head.levels; k++) {
          const p = Math.exp(h[k * size + i] - h[best * size + i]);
          sum += p;
          places += p * k;
        }
        y[i] = head.grid ? places / sum / Math.max(1, head.levels - 1) : best;
      }
      return y;
    },
    counts: (h, size, head) => h.slice(0, size).map((v) => Math.exp(clip(v, ...head.bounds))),
    shares(h, size, head) {
      const add = at(head.log_share), y = h.slice(0, size).map((v, i) => v + add[i]);
      const top = y.reduce((a, b) => Math.max(a, b), -Infinity);
      const sum = y.reduce((a, b) => a + Math.exp(b - top), 0);
      return y.map((v) => Math.exp(v - top - Math.log(sum) + head.log_total));
    },
    cells(h, size, head) {
      let start = 0;
      return Float64Array.from(head.columns, (column) => {
        const logits = h.slice(start, start + column.n);
        start += column.n;
        return placed(column, ...middle(logits, column.ordered, head.place));
      });
    },
    columnwise(h, size, head) {  // each column given the code and the columns before it
      const width = h.length, given = Float64Array.from(h), codes = [];
      return Float64Array.from(head.columns, (column) => {
        const logits = conditional(given, column, width);
        if (column.tailed) logits[0] = logits[column.n - 1] = -Infinity;
        const [code, u] = middle(logits, column.ordered, head.place), e = at(column.embedding);
        codes.push(code);
        if (column.gate === null || codes[column.gate])
          for (let k = 0; k < width; k++) given[k] += e[code * width + k];
        return placed(column, code, column.ordered ? u : 0.5);
      });
    },
    columns(h, size, head) {
      const y = new Float64Array(size);
      let start = 0;
      for (const part of head.parts) {
        const mean = heads[part.head](h.slice(start, start + part.numbers), part.index.length, part);
        part.index.forEach((column, i) => { y[column] = mean[i]; });
        start += part.numbers;
      }
      return y;
    },
  };

  return (z) => {
    const h = run({ x: Float64Array.from(z), shape: [program.latent] }, program.ops);
    return heads[program.head.head](h.x, program.size, program.head);
  };
}
