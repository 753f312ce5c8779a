"""Oracle: logits, gradients and greedy tokens of small random Mamba, Falcon-Mamba and GPT-NeoX models.

Writes <out>/<family>-<variant>/{config.json, model.safetensors, cases.safetensors, notes.json}.
Every parameter is drawn anew (norms, biases, A_log and D too), so none can be left out unseen.
The truth for a padded row is the same row run alone without padding; notes.json says how far
transformers' own answer for the padded batch is from it. README.md lists the tensors.
"""

import recording

if __name__ == "__main__":
    recording.prepare()

import math

import torch
import torch.nn.functional as F
from transformers import (
    FalconMambaConfig,
    FalconMambaForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    MambaConfig,
    MambaForCausalLM,
)

CLASSES = {
    "mamba": (MambaConfig, MambaForCausalLM),
    "falcon_mamba": (FalconMambaConfig, FalconMambaForCausalLM),
    "gpt_neox": (GPTNeoXConfig, GPTNeoXForCausalLM),
}

VARIANTS = {
    "a": dict(
        hidden_size=24, num_hidden_layers=2, state_size=8, conv_kernel=4, expand=2, time_step_rank=3,
        vocab_size=61, tie_word_embeddings=True, use_bias=False, use_conv_bias=True,
    ),
    "b": dict(
        hidden_size=17, num_hidden_layers=3, state_size=5, conv_kernel=3, expand=2, time_step_rank=2,
        vocab_size=37, tie_word_embeddings=False, use_bias=True, use_conv_bias=True,
    ),
    "c": dict(
        hidden_size=16, num_hidden_layers=2, state_size=6, conv_kernel=2, expand=2, time_step_rank=1,
        vocab_size=29, tie_word_embeddings=True, use_bias=False, use_conv_bias=False, residual_in_fp32=False,
    ),
}  # fmt: skip

NEOX_VARIANTS = {
    "a": dict(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=48, rotary_pct=0.25,
        vocab_size=61, max_position_embeddings=512,
    ),
    "b": dict(
        hidden_size=20, num_hidden_layers=3, num_attention_heads=2, intermediate_size=30, rotary_pct=0.6,
        rotary_emb_base=500.0, use_parallel_residual=False, attention_bias=False, vocab_size=37,
        layer_norm_eps=1e-3, max_position_embeddings=512,
    ),
    "c": dict(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=24, rotary_pct=1.0,
        hidden_act="gelu_new", vocab_size=29, tie_word_embeddings=True, max_position_embeddings=128,
    ),
}  # fmt: skip

MODELS = [
    ("mamba", "a", 101),
    ("mamba", "b", 102),
    ("mamba", "c", 103),
    ("falcon_mamba", "a", 104),
    ("falcon_mamba", "b", 105),
    ("gpt_neox", "a", 106),
    ("gpt_neox", "b", 107),
    ("gpt_neox", "c", 111),
]

LENGTHS = [20, 13, 1]  # the rows of the padded batches
TRAIN_LENGTHS = [12, 7, 1]  # the rows of the padded training batch; the last has nothing to predict
PAD = 0


def redraw(model, seed):
    """Replace every parameter by a non-trivial random value of a plausible size."""
    stream = recording.generator(seed)

    def normal(shape, std):
        return torch.randn(shape, generator=stream) * std

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(draw(name, tuple(parameter.shape), normal, stream))


def draw(name, shape, normal, stream):
    leaf = ".".join(name.split(".")[-2:])
    if leaf in ("norm.weight", "norm_f.weight") or leaf.endswith(("layernorm.weight", "layer_norm.weight")):
        return 1 + normal(shape, 0.2)
    if leaf == "mixer.A_log":
        return torch.log(torch.arange(1, shape[1] + 1).float()) + normal(shape, 0.3)
    if leaf == "mixer.D":
        return 1 + normal(shape, 0.5)
    if leaf == "dt_proj.bias":
        # steps from 1e-3 to 0.5, two channels at the ends: Mamba's floor 1e-4 and a coarse 3.0
        step = torch.exp(torch.rand(shape, generator=stream) * (math.log(0.5) - math.log(1e-3)) + math.log(1e-3))
        step[0], step[1] = 1e-4, 3.0
        return step + torch.log(-torch.expm1(-step))
    if leaf in ("embeddings.weight", "embed_in.weight"):
        return normal(shape, 0.25)
    if leaf == "conv1d.weight":
        return normal(shape, shape[-1] ** -0.5)
    if leaf.endswith(".bias"):
        return normal(shape, 0.3)
    gain = 2.0 if leaf in ("x_proj.weight", "out_proj.weight", "query_key_value.weight") else 1.0
    return normal(shape, gain * shape[-1] ** -0.5)


def build(family, variant, seed):
    config_class, model_class = CLASSES[family]
    torch.manual_seed(seed)
    settings = (NEOX_VARIANTS if family == "gpt_neox" else VARIANTS)[variant]
    model = model_class(config_class(pad_token_id=PAD, bos_token_id=PAD, eos_token_id=PAD, **settings))
    redraw(model, seed)
    return model.eval()


def logits_of(model, ids, mask=None):
    """f32 logits [batch, length, vocabulary] of a full pass without a cache."""
    return model(input_ids=ids, attention_mask=mask, use_cache=False).logits


def pad_rows(rows, side):
    """Rows of different length to (ids, mask), both int64 [rows, longest]."""
    longest = max(len(row) for row in rows)
    ids = torch.full((len(rows), longest), PAD)
    mask = torch.zeros((len(rows), longest), dtype=torch.int64)
    for index, row in enumerate(rows):
        span = slice(longest - len(row), None) if side == "left" else slice(0, len(row))
        ids[index, span], mask[index, span] = row, 1
    return ids, mask


def plain_cases(model, seed):
    cases = {}
    vocabulary = model.config.vocab_size
    for length in (1, 2, 37, 300):
        ids = recording.random_tokens((1, length), vocabulary, seed * 1000 + length)
        logits = logits_of(model, ids)
        name = f"case.len{length}"
        if length == 300:
            positions = torch.tensor(sorted({*range(0, length, 25), *range(length - 4, length)}))
            cases[f"{name}.positions"] = positions
            logits = logits[0, positions]
        cases |= {f"{name}.input_ids": ids, f"{name}.attention_mask": torch.ones_like(ids), f"{name}.logits": logits}
    return cases


def padded_cases(model, seed, notes):
    """Left- and right-padded batch; logits only where there is no padding, of each row run alone."""
    rows = [recording.random_tokens((n,), model.config.vocab_size, seed * 1000 + 400 + n) for n in LENGTHS]
    alone = [logits_of(model, row[None])[0] for row in rows]
    cases = {}
    for side in ("left", "right"):
        ids, mask = pad_rows(rows, side)
        theirs = logits_of(model, ids, mask)[mask.bool()]
        truth = torch.cat(alone)
        notes[f"hf_{side}_padding_max_abs_diff"] = recording.short((theirs - truth).abs().max())
        cases |= {f"case.{side}.input_ids": ids, f"case.{side}.attention_mask": mask, f"case.{side}.logits": truth}
        cases[f"case.{side}.positions"] = mask.flatten().nonzero().flatten()
    return cases


def checkpoint_name(model, name):
    """transformers 5 calls GPT-NeoX's head lm_head, and stores it as embed_out, its name everywhere else."""
    return name.replace("lm_head.", "embed_out.") if model.config.model_type == "gpt_neox" else name


def gradients(model, prefix, ids, labels, mask, keep=lambda name: True):
    """Gradient of the mean next-token cross-entropy for the parameters to keep, by checkpoint name."""
    model.zero_grad(set_to_none=True)
    output = model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False)
    by_hand = F.cross_entropy(output.logits[:, :-1].reshape(-1, output.logits.shape[-1]), labels[:, 1:].reshape(-1))
    assert torch.allclose(output.loss, by_hand, atol=1e-6), "transformers' loss is not the shifted mean"
    output.loss.backward()
    found = {f"{prefix}_loss": output.loss, f"{prefix}.input_ids": ids}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, f"{name} has no gradient"
        if keep(name):
            found[f"{prefix}.{checkpoint_name(model, name)}"] = parameter.grad
    return found


def is_kept_when_padded(name):
    """Layer 0 without its large matrices, and what lies outside the layers: keeps the file small."""
    large = ("in_proj.weight", "x_proj.weight", "out_proj.weight", "query_key_value.weight", "4h.weight", "to_h.weight")
    return ".layers." not in name or (".layers.0." in name and not name.endswith(large))


def gradient_cases(model, seed):
    vocabulary = model.config.vocab_size
    ids = recording.random_tokens((2, 23), vocabulary, seed * 1000 + 500)
    cases = gradients(model, "grad", ids, ids, torch.ones_like(ids))
    rows = [recording.random_tokens((n,), vocabulary, seed * 1000 + 600 + n) for n in TRAIN_LENGTHS]
    ids, mask = pad_rows(rows, "right")
    labels = ids.masked_fill(mask == 0, -100)
    cases |= gradients(model, "padgrad", ids, labels, mask, is_kept_when_padded)
    return cases | {"padgrad.labels": labels, "padgrad.attention_mask": mask}


def half_cases(model, rebuilt, seed, notes):
    """The same input in f32 and in bf16 (`rebuilt` is a second copy that is cast and thrown away)."""
    ids = recording.random_tokens((1, 64), model.config.vocab_size, seed * 1000 + 700)
    full = logits_of(model, ids)
    half = logits_of(rebuilt.to(torch.bfloat16), ids)
    notes["hf_bf16_argmax_agreement"] = recording.short((full.argmax(-1) == half.argmax(-1)).float().mean())
    notes["hf_bf16_mean_abs_diff"] = recording.short((full - half).abs().mean())
    assert torch.equal(half, half.to(torch.bfloat16).float()), "bf16 logits do not fit bf16"
    return {
        "case.bf16.input_ids": ids,
        "case.bf16.attention_mask": torch.ones_like(ids),
        "case.bf16.logits": half.to(torch.bfloat16),
        "case.bf16.f32_logits": full,
    }


def greedy_case(model, seed, notes):
    """20 greedy tokens by `generate` (with its cache), checked against full passes without one."""
    prompt = recording.random_tokens((1, 7), model.config.vocab_size, seed * 1000 + 800)
    model.generation_config.eos_token_id = None  # token 0 is a token like any other here
    tokens = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=20)[0, 7:]
    assert tokens.shape == (20,), f"{len(tokens)} tokens instead of 20"
    logits = logits_of(model, torch.cat([prompt[0], tokens])[None])[0, 6:-1]
    assert torch.equal(logits.argmax(-1), tokens), "generate with a cache differs from full passes"
    best = logits.topk(2, dim=-1).values
    notes["greedy_distinct_tokens"] = len(set(tokens.tolist()))
    notes["greedy_smallest_margin"] = recording.short((best[:, 0] - best[:, 1]).min())
    return {"gen.greedy.prompt": prompt[0], "gen.greedy.tokens": tokens}


def write_model(out, family, variant, seed):
    folder = out / f"{family}-{variant}"
    model = build(family, variant, seed)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    (folder / "model.safetensors").chmod(0o644)
    notes = {"seed": seed}
    with torch.no_grad():
        cases = plain_cases(model, seed) | padded_cases(model, seed, notes)
        cases |= half_cases(model, build(family, variant, seed), seed, notes)
        cases |= greedy_case(model, seed, notes)
    cases |= gradient_cases(model, seed)
    notes["parameters"] = sum(p.numel() for p in model.parameters())
    notes["logits_std"] = recording.short(cases["case.len37.logits"].std())
    recording.save_tensors(folder / "cases.safetensors", cases)
    recording.save_json(folder / "notes.json", notes)
    print(f"{folder.name}: {recording.folder_bytes(folder)} bytes, {notes}")


def main():
    out = recording.output_folder(__doc__.splitlines()[0])
    for family, variant, seed in MODELS:
        write_model(out, family, variant, seed)
    recording.save_versions(out)


if __name__ == "__main__":
    main()
