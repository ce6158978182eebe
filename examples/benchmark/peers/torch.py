"""The benchmark's keys in PyTorch, eager or compiled. See measure.py for how to call it."""
import importlib
import math
import os
import sys

# This file has the module's name: its folder must not stand first where modules are looked for.
here = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [p for p in sys.path if os.path.abspath(p or ".") != here] + [here]
import measure

args = measure.arguments()
torch = importlib.import_module("torch")
F, nn = torch.nn.functional, torch.nn
checkpoint = importlib.import_module("torch.utils.checkpoint").checkpoint
torch.set_num_threads(args.threads)
torch.manual_seed(0)

WIDTH, HEADS, DEPTH, PATCH, SIDE, CLASSES, TOKENS = 128, 4, 6, 4, 7, 10, 49


def compiled(f):
    return torch.compile(f) if args.compile else f


def product(m, k, n):
    a, b = torch.rand(m, k) - 0.5, torch.rand(k, n) - 0.5
    return lambda: a @ b


def mlp(vjp):
    layers = []
    for i, o in zip(measure.WIDTHS, measure.WIDTHS[1:]):
        layers += [nn.Linear(i, o), nn.SiLU()]
    net = nn.Sequential(*layers[:-1])
    x, g = torch.randn(256, 65), torch.randn(256, 64)
    return backward(net, lambda f, x: f(x), x, g, weights=True) if vjp else forward(net, lambda f: f(x))


def forward(net, call):
    f = compiled(net)

    def do():
        with torch.no_grad():
            call(f)
    return do


def backward(net, call, x, g, weights):
    f, wrt = compiled(net), list(net.parameters()) if weights else []
    for p in net.parameters():
        p.requires_grad_(weights)

    def do():
        leaf = x.detach().requires_grad_(True)
        torch.autograd.grad(call(f, leaf), [leaf] + wrt, g)
    return do


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.modulation = nn.Linear(WIDTH, 6 * WIDTH)
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, h, v):
        b1, s1, g1, b2, s2, g2 = self.modulation(v).unsqueeze(1).chunk(6, -1)
        a = F.layer_norm(h, (WIDTH,), eps=1e-6) * (1 + s1) + b1
        q, k, w = self.qkv(a).view(len(h), TOKENS, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        a = F.scaled_dot_product_attention(q, k, w).transpose(1, 2).reshape(len(h), TOKENS, WIDTH)
        h = h + g1 * self.proj(a)
        m = F.layer_norm(h, (WIDTH,), eps=1e-6) * (1 + s2) + b2
        return h + g2 * self.down(F.gelu(self.up(m), approximate="tanh"))


class DiT(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch, self.position = nn.Linear(PATCH * PATCH, WIDTH), nn.Parameter(torch.randn(1, TOKENS, WIDTH) * 0.02)
        self.time0, self.time1 = nn.Linear(256, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.labels = nn.Embedding(CLASSES + 1, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.modulation, self.out = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(WIDTH, PATCH * PATCH)
        self.register_buffer("frequencies", 50 * torch.exp(-math.log(1e4) * torch.arange(128) / 128))

    def forward(self, x, t, y):
        n = len(x)
        h = x.view(n, SIDE, PATCH, SIDE, PATCH).permute(0, 1, 3, 2, 4).reshape(n, TOKENS, PATCH * PATCH)
        h = self.patch(h) + self.position
        a = t[:, None] * self.frequencies
        v = F.silu(self.time1(F.silu(self.time0(torch.cat([a.cos(), a.sin()], -1)))) + self.labels(y))
        for block in self.blocks:
            h = block(h, v)
        b, s = self.modulation(v).unsqueeze(1).chunk(2, -1)
        h = self.out(F.layer_norm(h, (WIDTH,), eps=1e-6) * (1 + s) + b)
        return h.view(n, SIDE, SIDE, PATCH, PATCH).permute(0, 1, 3, 2, 4).reshape(n, 1, 28, 28)


def batch(n):
    return torch.randn(n, 1, 28, 28), torch.rand(n), torch.arange(n) % 10


def dit(vjp=False, weights=False):
    net = DiT()
    x, t, y = batch(64)
    if vjp:
        return backward(net, lambda f, x: f(x, t, y), x, torch.randn_like(x), weights)
    return forward(net, lambda f: f(x, t, y))


def train_step():
    net = DiT()
    f, optimizer = compiled(net), torch.optim.AdamW(net.parameters(), 1e-4, fused=True)
    x, _, y = batch(64)

    def do():
        e, t = torch.randn_like(x), torch.rand(64)
        s = t[:, None, None, None]
        loss = ((f((1 - s) * x + s * e, t, y) - (e - x)) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return do


def sampling(gradient):
    net = DiT()
    for p in net.parameters():
        p.requires_grad_(False)
    f = compiled(net)
    start, _, y = batch(16)
    g = torch.randn_like(start)

    def step(x, k):
        h, t = 0.1, 1 - k / 10
        a = f(x, torch.full((16,), t), y)
        b = f(x - h * a, torch.full((16,), t - h), y)
        return x - h / 2 * (a + b)

    def sample():
        with torch.no_grad():
            x = start
            for k in range(10):
                x = step(x, k)

    def pull():
        leaf = x = start.clone().requires_grad_(True)
        for k in range(10):
            x = checkpoint(step, x, k, use_reentrant=False)
        torch.autograd.grad(x, leaf, g)
    return pull if gradient else sample


makers = {
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
if not args.compile:
    makers = {k: lambda s=s: product(*s) for k, s in measure.PRODUCTS.items()} | makers
measure.run(args, "torch " + torch.__version__ + (" compiled" if args.compile else ""), makers)
