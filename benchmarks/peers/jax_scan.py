"""Training throughput of JAX: a whole epoch is one jitted `lax.scan` over resident fp32 rows."""

import time

import jax
import jax.numpy as jnp
from cases import BATCH, CASES, LEARNING_RATE, Clock, parse, rows
from jax import lax, random

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


def initial(key, case):
    """Return the parameters, drawn as PyTorch's Linear draws them."""
    size, hidden, latent = CASES[case]["shape"][0], CASES[case]["hidden"], CASES[case]["latent"]
    shapes = {
        "body": (size, hidden),
        "mu": (hidden, latent),
        "logvar": (hidden, latent),
        "up": (latent, hidden),
        "out": (hidden, size),
    }
    params = {}
    for name, (n_in, n_out) in shapes.items():
        key, one, two = random.split(key, 3)
        bound = n_in**-0.5
        weight = random.uniform(one, (n_in, n_out), jnp.float32, -bound, bound)
        params[name] = (weight, random.uniform(two, (n_out,), jnp.float32, -bound, bound))
    return params


def linear(layer, x):
    weight, bias = layer
    return x @ weight + bias


def loss_function(params, x, key):
    """Negative ELBO summed over elements, mean over rows."""
    h = jax.nn.relu(linear(params["body"], x))
    mu, logvar = linear(params["mu"], h), linear(params["logvar"], h)
    z = mu + jnp.exp(0.5 * logvar) * random.normal(key, mu.shape, jnp.float32)
    logits = linear(params["out"], jax.nn.relu(linear(params["up"], z)))
    bce = jnp.sum(jax.nn.softplus(logits) - x * logits)
    kl = -0.5 * jnp.sum(1 + logvar - mu**2 - jnp.exp(logvar))
    return (bce + kl) / x.shape[0]


def adam(state, grads):
    """One Adam step on (params, first moments, second moments, step count)."""
    params, m, v, t = state
    t = t + 1
    m = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, grads)
    v = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, grads)
    step = LEARNING_RATE / (1 - BETA1**t)
    scale = lax.rsqrt(1 - BETA2**t)
    params = jax.tree.map(lambda p, m, v: p - step * m / (jnp.sqrt(v) * scale + EPS), params, m, v)
    return params, m, v, t


def epoch(state, key, data):
    """Train on every row once, in a fresh order; return the new state and the mean loss."""
    order_key, noise_key = random.split(key)
    steps = data.shape[0] // BATCH
    order = random.permutation(order_key, data.shape[0])[: steps * BATCH].reshape(steps, BATCH)

    def step(state, inputs):
        index, noise = inputs
        loss, grads = jax.value_and_grad(loss_function)(state[0], data[index], noise)
        return adam(state, grads), loss

    state, losses = lax.scan(step, state, (order, random.split(noise_key, steps)))
    return state, losses.mean()


def main():
    args = parse(__doc__, cases=("mlp",))
    args.rows -= args.rows % BATCH
    data = jax.device_put(rows(args.case, args.rows, args.seed))
    key = random.key(args.seed)
    params = initial(key, args.case)
    zeros = jax.tree.map(jnp.zeros_like, params)
    state = (params, zeros, jax.tree.map(jnp.zeros_like, params), jnp.float32(0))

    start = time.perf_counter()
    run = jax.jit(epoch, donate_argnums=0).lower(state, key, data).compile()
    compile_s = time.perf_counter() - start

    def one(number):
        nonlocal state
        state, loss = run(state, random.fold_in(key, number), data)
        return float(loss)

    clock = Clock(args.rows, args.seconds)
    while not clock.done:
        clock.epoch(one, len(clock.times) + 1)
    clock.report(
        "jax_scan",
        args.case,
        compile_s=round(compile_s, 3),
        jax=jax.__version__,
        device=jax.devices()[0].platform,
    )


if __name__ == "__main__":
    main()
