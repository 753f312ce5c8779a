"""Mamba-1 trained in PyTorch on the CPU: a contestant of the benchmark suite, and a check of itself.

    python bench/rivals/torch_mamba.py '{"kind": "chunked", "model": DIR, "ids": [...], "threads": 2}'
    python bench/rivals/torch_mamba.py --check

Kinds: `transformers`, Hugging Face's model, whose path on the CPU walks the sequence step by step; `chunked`, the
model below, the same but for its scan, which takes one step in all chunks at a time. A round is a step of full
fine-tuning on one sequence: forward, backward, clipping, AdamW. It speaks the lines of bench/suite/serve.ts:
one JSON document when warm, one for each request that comes on standard input.

`--check` holds the chunked model against oracles/plain_mamba.py (step by step, float64): logits and gradients.
"""

import json
import resource
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

CHUNK = 64  # of 8 to 512 the fastest for 512 tokens: what a step touches stays in the caches


def chunked_scan(x, dt, a, b, c, chunk=CHUNK):
    """y[t] = c[t] . h[t], h[t] = exp(dt[t] a) h[t-1] + dt[t] b[t] x[t].  x, dt [l, d], a [d, n], b, c [l, n].

    Every chunk starts from zero and all of them take a step together; what a chunk inherits is added at the end,
    decayed by exp(a (dt[0] + ... + dt[t])), which is at most 1: nothing overflows, whatever the steps are.
    """
    length = len(x)
    pad = -length % chunk
    x, dt, b, c = (F.pad(value, (0, 0, 0, pad)).unflatten(0, (-1, chunk)) for value in (x, dt, b, c))
    decay = torch.exp(dt[..., None] * a)  # [chunks, chunk, d, n]
    entering = (dt * x)[..., None] * b[:, :, None]
    h, rows = torch.zeros_like(entering[:, 0]), []
    for step_decay, step_entering in zip(decay.unbind(1), entering.unbind(1)):
        h = step_decay * h + step_entering
        rows.append(h)
    passed = dt.cumsum(1)  # [chunks, chunk, d]
    whole = torch.exp(passed[:, -1, :, None] * a)
    carry, carries = torch.zeros_like(h[0]), []
    for last, chunk_decay in zip(h.unbind(0), whole.unbind(0)):
        carries.append(carry)
        carry = chunk_decay * carry + last
    states = torch.stack(rows, 1) + torch.exp(passed[..., None] * a) * torch.stack(carries)[:, None]
    y = (states @ c[..., None]).squeeze(-1)
    return y.flatten(0, 1)[:length]


def rms(x, weight, eps):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight


def mixer(weights, config, prefix, u):
    """One Mamba mixer on u [length, hidden]."""
    rank, state = config["time_step_rank"], config["state_size"]
    x, z = (u @ weights[f"{prefix}.in_proj.weight"].T).chunk(2, dim=-1)
    kernel = weights[f"{prefix}.conv1d.weight"]
    x = F.conv1d(x.T[None], kernel, weights[f"{prefix}.conv1d.bias"], padding=kernel.shape[-1] - 1, groups=len(kernel))
    x = F.silu(x[0, :, : len(u)].T)
    dl, b, c = (x @ weights[f"{prefix}.x_proj.weight"].T).split([rank, state, state], dim=-1)
    dt = F.softplus(F.linear(dl, weights[f"{prefix}.dt_proj.weight"], weights[f"{prefix}.dt_proj.bias"]))
    a = -torch.exp(weights[f"{prefix}.A_log"])
    y = chunked_scan(x, dt, a, b, c) + weights[f"{prefix}.D"] * x
    return (y * F.silu(z)) @ weights[f"{prefix}.out_proj.weight"].T


def logits(weights, config, ids):
    """Logits [length, vocabulary] of one sequence. For models without `use_bias`, with a tied head."""
    eps = config["layer_norm_epsilon"]
    table = weights["backbone.embeddings.weight"]
    x = table[ids]
    for layer in range(config["num_hidden_layers"]):
        prefix = f"backbone.layers.{layer}"
        x = x + mixer(weights, config, f"{prefix}.mixer", rms(x, weights[f"{prefix}.norm.weight"], eps))
    return rms(x, weights["backbone.norm_f.weight"], eps) @ table.T


def loss_of(weights, config, ids):
    return F.cross_entropy(logits(weights, config, ids)[:-1], ids[1:])


def chunked_model(folder):
    """Parameters, and a function from ids [1, length] to the mean loss."""
    from safetensors.torch import load_file

    config = json.loads((Path(folder) / "config.json").read_text())
    weights = {name: value.float().requires_grad_() for name, value in load_file(Path(folder) / "model.safetensors").items()}
    return list(weights.values()), lambda ids: loss_of(weights, config, ids[0])


def transformers_model(folder):
    import os

    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    from transformers import MambaForCausalLM

    model = MambaForCausalLM.from_pretrained(folder, dtype=torch.float32).train()
    return list(model.parameters()), lambda ids: model(input_ids=ids, labels=ids, use_cache=False).loss


MODELS = {"chunked": chunked_model, "transformers": transformers_model}


def contestant(options):
    import warnings

    warnings.filterwarnings("ignore")
    torch.set_num_threads(options["threads"])
    parameters, loss_function = MODELS[options["kind"]](options["model"])
    optimizer = torch.optim.AdamW(parameters, lr=1e-5, weight_decay=0.01, fused=True)
    ids = torch.tensor([options["ids"]])

    def step(row):
        started = time.perf_counter()
        loss = loss_function(row)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return {"seconds": time.perf_counter() - started, "loss": loss.item()}

    with torch.no_grad():
        first = loss_function(ids).item()
    step(ids[:, : options.get("warmUp", len(options["ids"]))])
    versions = [f"PyTorch {torch.__version__}"]
    if options["kind"] == "transformers":
        import transformers

        versions.insert(0, f"transformers {transformers.__version__}")
    return ", ".join([*versions, f"{options['threads']} threads"]), first, lambda: step(ids)


def serve(options):
    program, loss, step = contestant(options)
    requests = {
        "round": step,
        "memory": lambda: {"peakRss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024},
        "end": dict,
    }
    print(json.dumps({"program": program, "kind": options["kind"], "loss": loss}), flush=True)
    for line in sys.stdin:
        answer = requests[line.strip()]()
        print(json.dumps(answer), flush=True)
        if line.strip() == "end":
            break


def check():
    """Exit code 1 unless logits and gradients are those of the model that walks step by step."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "oracles"))
    import plain_mamba

    torch.manual_seed(0)
    config = dict(
        model_type="mamba", hidden_size=8, num_hidden_layers=2, state_size=4, time_step_rank=2,
        layer_norm_epsilon=1e-5, vocab_size=20,
    )  # fmt: skip
    shapes = {"backbone.embeddings.weight": (20, 8), "backbone.norm_f.weight": (8,)}
    for layer in range(2):
        at = f"backbone.layers.{layer}"
        shapes |= {f"{at}.norm.weight": (8,), f"{at}.mixer.in_proj.weight": (32, 8)}
        shapes |= {f"{at}.mixer.conv1d.weight": (16, 1, 4), f"{at}.mixer.conv1d.bias": (16,)}
        shapes |= {f"{at}.mixer.x_proj.weight": (10, 16), f"{at}.mixer.dt_proj.weight": (16, 2)}
        shapes |= {f"{at}.mixer.dt_proj.bias": (16,), f"{at}.mixer.A_log": (16, 4), f"{at}.mixer.D": (16,)}
        shapes |= {f"{at}.mixer.out_proj.weight": (8, 16)}
    worst = 0.0
    for length in (1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5):
        weights = {name: torch.randn(shape, dtype=torch.float64).requires_grad_() for name, shape in shapes.items()}
        ids = torch.randint(0, 20, (length,))
        results = []
        for program in (logits, plain_mamba.logits):
            values = program(weights, config, ids)
            gradients = torch.autograd.grad(values.square().sum(), list(weights.values()))
            results.append([values.detach(), *gradients])
        for ours, theirs in zip(*results):
            worst = max(worst, float((ours - theirs).abs().max() / theirs.abs().max().clamp_min(1e-300)))
    print(f"largest difference of logits and gradients, over the largest of each: {worst:.1e}")
    return 0 if worst < 1e-9 else 1


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(check())
    serve(json.loads(sys.argv[1]))
