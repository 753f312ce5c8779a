"""Mamba and Falcon-Mamba written a second time, from the equations, in float64.

No transformers, no peft: weights are a dict from checkpoint name to tensor, one sequence at a
time, one step at a time. It exists to check the fixtures, not to be fast. Symbols: u input of
the mixer, x and z the halves of in_proj, dl the step before softplus, h the state.

    x, z = split(W_in u + b_in)            x = silu(causal depthwise conv(x) + b_conv)
    dl, B, C = split(W_x x)                (Falcon: each divided by its root mean square)
    delta = softplus(W_dt dl + b_dt)       A = -exp(A_log)
    h_t = exp(delta_t A) h_{t-1} + delta_t B_t x_t
    y_t = C_t . h_t + D x_t                out = W_out (y * silu(z)) + b_out
"""

import plain_neox
import torch
import torch.nn.functional as F


def rms(x, eps):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps)


def linear(weights, name, x):
    """W x + b for checkpoint names `name.weight` and, where it exists, `name.bias`."""
    y = x @ weights[f"{name}.weight"].T
    return y + weights[f"{name}.bias"] if f"{name}.bias" in weights else y


def causal_conv(weight, bias, x):
    """x [length, channels], weight [channels, 1, width]: y[t] = sum_k weight[k] x[t - width + 1 + k]."""
    length, width = x.shape[0], weight.shape[-1]
    padded = torch.cat([x.new_zeros(width - 1, x.shape[1]), x])
    y = sum(padded[k : k + length] * weight[:, 0, k] for k in range(width))
    return y if bias is None else y + bias


def mixer(weights, config, prefix, u):
    """One Mamba mixer on u [length, hidden]."""
    rank, state = config["time_step_rank"], config["state_size"]
    x, z = linear(weights, f"{prefix}.in_proj", u).chunk(2, dim=-1)
    x = F.silu(causal_conv(weights[f"{prefix}.conv1d.weight"], weights.get(f"{prefix}.conv1d.bias"), x))
    dl, b, c = (x @ weights[f"{prefix}.x_proj.weight"].T).split([rank, state, state], dim=-1)
    if config["model_type"] == "falcon_mamba":
        dl, b, c = (rms(part, config["mixer_rms_eps"]) for part in (dl, b, c))
    raw = linear(weights, f"{prefix}.dt_proj", dl)
    delta = torch.logaddexp(raw, torch.zeros_like(raw))  # softplus
    a = -torch.exp(weights[f"{prefix}.A_log"])  # [channels, state]
    h = x.new_zeros(a.shape)
    rows = []
    for t in range(len(u)):
        h = torch.exp(delta[t, :, None] * a) * h + (delta[t] * x[t])[:, None] * b[t]
        rows.append(h @ c[t])
    y = torch.stack(rows) + weights[f"{prefix}.D"] * x
    return linear(weights, f"{prefix}.out_proj", y * F.silu(z))


def logits(weights, config, ids):
    """Logits [length, vocabulary] of one sequence without padding; of GPT-NeoX too."""
    if config["model_type"] == "gpt_neox":
        return plain_neox.logits(weights, config, ids)
    eps = config["layer_norm_epsilon"]
    x = weights["backbone.embeddings.weight"][ids]
    for layer in range(config["num_hidden_layers"]):
        prefix = f"backbone.layers.{layer}"
        x = x + mixer(weights, config, f"{prefix}.mixer", rms(x, eps) * weights[f"{prefix}.norm.weight"])
    x = rms(x, eps) * weights["backbone.norm_f.weight"]
    return x @ weights.get("lm_head.weight", weights["backbone.embeddings.weight"]).T


def loss(weights, config, rows):
    """Mean next-token loss in nats over all predictions of all rows (each a 1-D tensor of ids)."""
    losses = []
    for ids in rows:
        if len(ids) > 1:
            log_probability = F.log_softmax(logits(weights, config, ids)[:-1], dim=-1)
            losses.append(-log_probability[torch.arange(len(ids) - 1), ids[1:]])
    return torch.cat(losses).mean()


def adapt(base, adapter, config):
    """Base weights with a PEFT adapter (tensors by name in its file) worked in, differentiably."""
    r = config["r"]
    scale = config["lora_alpha"] / (r**0.5 if config["use_rslora"] else r)
    weights = dict(base)
    for name, tensor in adapter.items():
        name = name.removeprefix("base_model.model.")
        if name.endswith(".lora_A.weight"):
            target = name.replace(".lora_A.weight", ".weight")
            up = adapter[f"base_model.model.{name.replace('lora_A', 'lora_B')}"]
            weights[target] = base[target] + scale * (up @ tensor)
        elif name.endswith(".lora_embedding_A"):
            target = name.replace(".lora_embedding_A", ".weight")
            up = adapter[f"base_model.model.{name.replace('lora_embedding_A', 'lora_embedding_B')}"]
            head = "embed_out.weight" if "gpt_neox" in target else "lm_head.weight"
            weights.setdefault(head, base[target])  # a tied head keeps the base values
            weights[target] = base[target] + scale * (up @ tensor).T
        elif ".lora_" not in name:  # biases and modules_to_save
            weights[name.replace(".base_layer.", ".")] = tensor
    return weights
