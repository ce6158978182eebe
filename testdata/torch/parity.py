"""Computes a DiT of ebb's, and its gradients, in PyTorch.

    python parity.py net.safetensors inputs.safetensors result.safetensors

The network is built from the configuration in the header of its file, by its published definition and not from ebb's code.
inputs holds x, t, label (numbers of classes) and the cotangent of the output; result gets the output and the gradients of
⟨cotangent, output⟩ with respect to x, t and every weight, under the weight's name. Made with torch 2.15 and safetensors 0.8.
"""
import json
import math
import sys

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file

net, inputs, result = sys.argv[1:]
torch.set_num_threads(1)
with safe_open(net, "pt") as f:
    c = json.loads(f.metadata()["ebb.config"])
c = {k.lower(): v for k, v in c.items()}
w = {k: v.requires_grad_(True) for k, v in load_file(net).items()}
given = load_file(inputs)
x, t = given["x"].requires_grad_(True), given["t"].requires_grad_(True)
label = given["label"].long()
patch, width, heads = c["patch"], c["hidden"], c["heads"]
height, across, channels = c["height"] // patch, c["width"] // patch, c["channels"]
n, tokens = len(x), height * across


def linear(name, h):
    return h @ w[name + ".weight"] + w[name + ".bias"]  # weights are (in, out)


def norm(h):
    return F.layer_norm(h, (width,), eps=1e-6)


h = x.view(n, channels, height, patch, across, patch).permute(0, 2, 4, 3, 5, 1).reshape(n, tokens, patch * patch * channels)
h = linear("patch", h) + w["position"]
half = c["timefeatures"] // 2
a = t[:, None] * c["maxfrequency"] * torch.exp(-math.log(1e4) * torch.arange(half, dtype=x.dtype) / half)
v = linear("time.1", F.silu(linear("time.0", torch.cat([a.cos(), a.sin()], -1))))
condition = w["labels"][label]
if "condition.weight" in w:
    condition = linear("condition", condition)
v = F.silu(v + condition)
for i in range(c["depth"]):
    b = f"blocks.{i}."
    shift1, scale1, gate1, shift2, scale2, gate2 = linear(b + "modulation", v).unsqueeze(1).chunk(6, -1)
    q, k, u = linear(b + "qkv", norm(h) * (1 + scale1) + shift1).view(n, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    a = F.scaled_dot_product_attention(q, k, u).transpose(1, 2).reshape(n, tokens, width)
    h = h + gate1 * linear(b + "proj", a)
    m = norm(h) * (1 + scale2) + shift2
    h = h + gate2 * linear(b + "down", F.gelu(linear(b + "up", m), approximate="tanh"))
shift, scale = linear("modulation", v).unsqueeze(1).chunk(2, -1)
y = linear("out", norm(h) * (1 + scale) + shift)
y = y.view(n, height, across, patch, patch, channels).permute(0, 5, 1, 3, 2, 4).reshape(x.shape)
names = sorted(w)
grads = torch.autograd.grad(y, [x, t] + [w[k] for k in names], given["cotangent"])
out = {"output": y, "gradient.x": grads[0], "gradient.t": grads[1]} | {"gradient." + k: g for k, g in zip(names, grads[2:])}
save_file({k: v.detach().contiguous() for k, v in out.items()}, result)
