"""The benchmark's keys in JAX, jitted. See measure.py for how to call it."""
import importlib
import math
import os
import sys

# This file has the module's name: its folder must not stand first where modules are looked for.
here = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [p for p in sys.path if os.path.abspath(p or ".") != here] + [here]
import measure

args = measure.arguments()
if args.threads == 1:
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
jax = importlib.import_module("jax")
jnp = importlib.import_module("jax.numpy")

WIDTH, HEADS, DEPTH, PATCH, SIDE, CLASSES, TOKENS = 128, 4, 6, 4, 7, 10, 49
keys = iter(jax.random.split(jax.random.PRNGKey(0), 1000))


def normal(*shape):
    return jax.random.normal(next(keys), shape)


def layer(i, o):
    return normal(i, o) / math.sqrt(i), jnp.zeros(o)


def linear(p, x):
    return x @ p[0] + p[1]


def jitted(f, *inputs):
    f = jax.jit(f)
    return lambda: jax.block_until_ready(f(*inputs))


def product(m, k, n):
    return jitted(lambda a, b: a @ b, normal(m, k), normal(k, n))


def pull(f, wrt, g):
    return jax.vjp(f, *wrt)[1](g)


def mlp(vjp):
    weights = [layer(i, o) for i, o in zip(measure.WIDTHS, measure.WIDTHS[1:])]

    def net(p, x):
        for q in p[:-1]:
            x = jax.nn.silu(linear(q, x))
        return linear(p[-1], x)
    x, g = normal(256, 65), normal(256, 64)
    return jitted(lambda p, x, g: pull(net, (p, x), g), weights, x, g) if vjp else jitted(net, weights, x)


def parameters():
    return {
        "patch": layer(16, WIDTH), "position": normal(1, TOKENS, WIDTH) * 0.02, "labels": normal(CLASSES + 1, WIDTH),
        "time0": layer(256, WIDTH), "time1": layer(WIDTH, WIDTH), "modulation": layer(WIDTH, 2 * WIDTH), "out": layer(WIDTH, 16),
        "blocks": [{"modulation": layer(WIDTH, 6 * WIDTH), "qkv": layer(WIDTH, 3 * WIDTH), "proj": layer(WIDTH, WIDTH),
                    "up": layer(WIDTH, 4 * WIDTH), "down": layer(4 * WIDTH, WIDTH)} for _ in range(DEPTH)],
    }


FREQUENCIES = 50 * jnp.exp(-math.log(1e4) * jnp.arange(128) / 128)


def norm(x):
    c = x - x.mean(-1, keepdims=True)
    return c * jax.lax.rsqrt((c * c).mean(-1, keepdims=True) + 1e-6)


def network(p, x, t, y):
    n = len(x)
    h = x.reshape(n, SIDE, PATCH, SIDE, PATCH).transpose(0, 1, 3, 2, 4).reshape(n, TOKENS, 16)
    h = linear(p["patch"], h) + p["position"]
    a = t[:, None] * FREQUENCIES
    v = linear(p["time1"], jax.nn.silu(linear(p["time0"], jnp.concatenate([jnp.cos(a), jnp.sin(a)], -1)))) + p["labels"][y]
    v = jax.nn.silu(v)
    for q in p["blocks"]:
        b1, s1, g1, b2, s2, g2 = jnp.split(linear(q["modulation"], v)[:, None], 6, -1)
        qkv = linear(q["qkv"], norm(h) * (1 + s1) + b1).reshape(n, TOKENS, 3, HEADS, WIDTH // HEADS).transpose(2, 0, 3, 1, 4)
        w = jax.nn.softmax(jnp.einsum("bhid,bhjd->bhij", qkv[0], qkv[1]) * (WIDTH // HEADS) ** -0.5, -1)
        h = h + g1 * linear(q["proj"], jnp.einsum("bhij,bhjd->bhid", w, qkv[2]).transpose(0, 2, 1, 3).reshape(n, TOKENS, WIDTH))
        h = h + g2 * linear(q["down"], jax.nn.gelu(linear(q["up"], norm(h) * (1 + s2) + b2)))
    b, s = jnp.split(linear(p["modulation"], v)[:, None], 2, -1)
    h = linear(p["out"], norm(h) * (1 + s) + b)
    return h.reshape(n, SIDE, SIDE, PATCH, PATCH).transpose(0, 1, 3, 2, 4).reshape(n, 1, 28, 28)


def batch(n):
    return normal(n, 1, 28, 28), jax.random.uniform(next(keys), (n,)), jnp.arange(n) % 10


def dit(vjp=False, weights=False):
    p = parameters()
    x, t, y = batch(64)
    g = normal(*x.shape)
    if not vjp:
        return jitted(network, p, x, t, y)
    if weights:
        return jitted(lambda p, x, t, y, g: pull(lambda p, x: network(p, x, t, y), (p, x), g), p, x, t, y, g)
    return jitted(lambda p, x, t, y, g: pull(lambda x: network(p, x, t, y), (x,), g), p, x, t, y, g)


def train_step():
    optax = importlib.import_module("optax")
    optimizer = optax.adamw(1e-4)
    x, _, y = batch(64)

    @jax.jit
    def step(p, state, key):
        a, b = jax.random.split(key)
        e, t = jax.random.normal(a, x.shape), jax.random.uniform(b, (64,))
        s = t[:, None, None, None]
        g = jax.grad(lambda p: ((network(p, (1 - s) * x + s * e, t, y) - (e - x)) ** 2).mean())(p)
        change, state = optimizer.update(g, state, p)
        return optax.apply_updates(p, change), state

    p = parameters()
    now = [p, optimizer.init(p)]
    key = next(keys)

    def do():
        now[:] = jax.block_until_ready(step(*now, key))
    return do


def sampling(gradient):
    p = parameters()
    x, _, y = batch(16)

    def step(p, x, k):
        h, t = 0.1, 1 - k / 10
        a = network(p, x, jnp.full((16,), t), y)
        b = network(p, x - h * a, jnp.full((16,), t - h), y)
        return x - h / 2 * (a + b)

    def run(p, x):
        f = jax.checkpoint(step) if gradient else step
        return jax.lax.scan(lambda x, k: (f(p, x, k), None), x, jnp.arange(10.0))[0]
    if not gradient:
        return jitted(run, p, x)
    return jitted(lambda p, x, g: pull(lambda x: run(p, x), (x,), g), p, x, normal(*x.shape))


makers = {k: lambda s=s: product(*s) for k, s in measure.PRODUCTS.items()} | {
    "mlp_forward": lambda: mlp(False),
    "mlp_vjp": lambda: mlp(True),
    "dit_forward": dit,
    "dit_vjp_latent": lambda: dit(vjp=True),
    "dit_vjp": lambda: dit(vjp=True, weights=True),
    "dit_train_step": train_step,
    "sample20": lambda: sampling(False),
    "gradient20": lambda: sampling(True),
    "gradient20_peak_bytes": lambda: sampling(True),
}
measure.run(args, "jax " + jax.__version__, makers)
