"""Oracle: MambaTS and its temporal block in plain PyTorch, float64: outputs and every gradient.

Writes <out>/mambats.safetensors with, for each case, the parameters, an input, the forecast, and the gradients of
sum(forecast * toward). Run: python oracles/forecast_block.py [--out test/fixtures/forecast]. No dropout. The scan is
the recurrence itself, one position after the other.
"""

import argparse
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

SEED = 71
CASES = {
    "variable-major": dict(layers=2, d=8, state=4, patch=6, lookback=24, horizon=5, k=3, layout="variable-major", conv=False),
    "time-major": dict(layers=1, d=20, state=3, patch=5, lookback=20, horizon=4, k=4, layout="time-major", conv=False),
    "plain": dict(layers=1, d=8, state=4, patch=6, lookback=24, horizon=5, k=2, layout="variables-apart", conv=True),
}
EXPAND, TAPS = 2, 4


def shapes(c):
    """Names and shapes of the parameters."""
    d, n = c["d"], c["state"]
    e, r = EXPAND * d, math.ceil(d / 16)
    yield "embed.weight", (d, c["patch"])
    for i in range(c["layers"]):
        at = f"layers.{i}"
        yield f"{at}.norm.weight", (d,)
        yield f"{at}.norm.bias", (d,)
        yield f"{at}.mixer.in_proj.weight", (2 * e, d)
        if c["conv"]:
            yield f"{at}.mixer.conv1d.weight", (e, 1, TAPS)
            yield f"{at}.mixer.conv1d.bias", (e,)
        yield f"{at}.mixer.x_proj.weight", (r + 2 * n, e)
        yield f"{at}.mixer.dt_proj.weight", (e, r)
        yield f"{at}.mixer.dt_proj.bias", (e,)
        yield f"{at}.mixer.A_log", (e, n)
        yield f"{at}.mixer.D", (e,)
        yield f"{at}.mixer.out_proj.weight", (d, e)
    yield "norm_f.weight", (d,)
    yield "norm_f.bias", (d,)
    yield "head.weight", (c["horizon"], c["lookback"] // c["patch"] * d)
    yield "head.bias", (c["horizon"],)


def scan(u, dt, rates, b, c, skip):
    """h[t] = exp(dt A) h[t-1] + dt B u; y = C h + D u. u, dt [b, l, e]; b, c [b, l, n]; rates [e, n]."""
    h = torch.zeros(u.shape[0], u.shape[2], rates.shape[1], dtype=u.dtype)
    rows = []
    for t in range(u.shape[1]):
        step = dt[:, t, :, None]
        h = torch.exp(step * rates) * h + step * b[:, t, None, :] * u[:, t, :, None]
        rows.append((h * c[:, t, None, :]).sum(-1))
    return torch.stack(rows, 1) + skip * u


def mixer(p, at, h, c):
    n, r = c["state"], math.ceil(c["d"] / 16)
    x, z = F.linear(h, p[f"{at}.in_proj.weight"]).chunk(2, -1)
    if c["conv"]:
        taps, bias = p[f"{at}.conv1d.weight"], p[f"{at}.conv1d.bias"]
        x = F.conv1d(F.pad(x.transpose(1, 2), (TAPS - 1, 0)), taps, bias, groups=taps.shape[0])
        x = F.silu(x.transpose(1, 2))
    low, b, cc = F.linear(x, p[f"{at}.x_proj.weight"]).split([r, n, n], -1)
    dt = F.softplus(F.linear(low, p[f"{at}.dt_proj.weight"], p[f"{at}.dt_proj.bias"]))
    y = scan(x, dt, -torch.exp(p[f"{at}.A_log"]), b, cc, p[f"{at}.D"])
    return F.linear(y * F.silu(z), p[f"{at}.out_proj.weight"])


def norm(p, at, x):
    return F.layer_norm(x, x.shape[-1:], p[f"{at}.weight"], p[f"{at}.bias"], 1e-5)


def forecast(p, x, c):
    """x [b, k, lookback] -> [b, k, horizon], each window normalised and put back."""
    mean = x.mean(-1, keepdim=True)
    root = torch.sqrt(x.var(-1, unbiased=False, keepdim=True) + 1e-5)
    b, k, _ = x.shape
    patches = ((x - mean) / root).unfold(-1, c["patch"], c["patch"])  # [b, k, m, patch]
    m, d = patches.shape[2], c["d"]
    tokens = F.linear(patches, p["embed.weight"])
    if c["layout"] == "time-major":
        tokens = tokens.transpose(1, 2)
    h = tokens.reshape(b * k, m, d) if c["layout"] == "variables-apart" else tokens.reshape(b, k * m, d)
    for i in range(c["layers"]):
        h = h + mixer(p, f"layers.{i}.mixer", norm(p, f"layers.{i}.norm", h), c)
    h = norm(p, "norm_f", h)
    h = h.reshape(b, m, k, d).transpose(1, 2) if c["layout"] == "time-major" else h
    y = F.linear(h.reshape(b, k, m * d), p["head.weight"], p["head.bias"])
    return y * root + mean


def main(out):
    stream = torch.Generator().manual_seed(SEED)
    draw = lambda *shape: torch.randn(*shape, generator=stream, dtype=torch.float64)
    tensors = {}
    for name, c in CASES.items():
        p = {}
        for key, shape in shapes(c):
            value = 0.4 * draw(*shape) + (1.0 if key.endswith(("norm.weight", "norm_f.weight", ".D")) else 0.0)
            p[key] = value.float().double().requires_grad_()
        x = (draw(2, c["k"], c["lookback"]).cumsum(-1) * 0.5).float().double()
        toward = draw(2, c["k"], c["horizon"]).float().double()
        y = forecast(p, x, c)
        (y * toward).sum().backward()
        found = {"input": x, "toward": toward, "forecast": y.detach()}
        found |= {f"parameter.{key}": value.detach() for key, value in p.items()}
        found |= {f"gradient.{key}": value.grad for key, value in p.items()}
        tensors |= {f"{name}.{key}": value.float().contiguous() for key, value in found.items()}
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / "mambats.safetensors", metadata={"torch": torch.__version__, "seed": str(SEED)})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "test" / "fixtures" / "forecast")
    main(parser.parse_args().out)
