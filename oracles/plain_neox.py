"""GPT-NeoX written a second time, from the equations, in float64: one sequence at a time, one head at a time.

    q, k, v of a head: its rows of W_qkv u + b, one after the other; q and k turned by their positions
    attention: y_t = sum_{s <= t} softmax_s(q_t . k_s / sqrt(head size)) v_s
    parallel residual: x + attention(ln1 x) + mlp(ln2 x); otherwise h = x + attention(ln1 x), h + mlp(ln2 h)
"""

import math

import torch


def linear(weights, name, x):
    y = x @ weights[f"{name}.weight"].T
    return y + weights[f"{name}.bias"] if f"{name}.bias" in weights else y


def norm(weights, config, name, x):
    centred = x - x.mean(-1, keepdim=True)
    scale = torch.sqrt((centred * centred).mean(-1, keepdim=True) + config["layer_norm_eps"])
    return centred / scale * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def turn(config, x):
    """Each pair (i, i + half) of the first elements of x [length, head size], by position * theta^(-i / half)."""
    rope = config["rope_parameters"]
    half = int(x.shape[1] * rope["partial_rotary_factor"]) // 2
    speed = rope["rope_theta"] ** (-torch.arange(half, dtype=x.dtype) / half)
    angle = torch.arange(len(x), dtype=x.dtype)[:, None] * speed
    first, second, rest = x[:, :half], x[:, half : 2 * half], x[:, 2 * half :]
    sine, cosine = torch.sin(angle), torch.cos(angle)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine, rest], dim=1)


def attention(weights, config, prefix, u):
    length, heads = len(u), config["num_attention_heads"]
    size = u.shape[1] // heads
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    parts = linear(weights, f"{prefix}.query_key_value", u)
    outputs = []
    for head in range(heads):
        q, k, v = parts[:, 3 * size * head : 3 * size * (head + 1)].split(size, dim=1)
        scores = turn(config, q) @ turn(config, k).T / math.sqrt(size)
        outputs.append(torch.softmax(scores.masked_fill(future, -math.inf), dim=1) @ v)
    return linear(weights, f"{prefix}.dense", torch.cat(outputs, dim=1))


def activation(kind, x):
    if kind == "gelu":
        return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))
    assert kind == "gelu_new", kind
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def mlp(weights, config, prefix, u):
    inner = activation(config["hidden_act"], linear(weights, f"{prefix}.dense_h_to_4h", u))
    return linear(weights, f"{prefix}.dense_4h_to_h", inner)


def logits(weights, config, ids):
    """Logits [length, vocabulary] of one sequence without padding."""
    x = weights["gpt_neox.embed_in.weight"][ids]
    for layer in range(config["num_hidden_layers"]):
        prefix = f"gpt_neox.layers.{layer}"
        y = attention(weights, config, f"{prefix}.attention", norm(weights, config, f"{prefix}.input_layernorm", x))
        source = x if config["use_parallel_residual"] else x + y
        x = x + y + mlp(weights, config, f"{prefix}.mlp", norm(weights, config, f"{prefix}.post_attention_layernorm", source))
    x = norm(weights, config, "gpt_neox.final_layer_norm", x)
    return x @ weights.get("embed_out.weight", weights["gpt_neox.embed_in.weight"]).T
