"""Oracle: ten training steps, full and LoRA: losses, gradient norms and where the weights end.

Writes <out>/golden-curve.safetensors and golden-curve.json for the model <out>/mamba-a.
AdamW of torch, gradient clipping by global norm, one fixed token batch a step. README.md lists
the tensors; the JSON holds the settings and every figure.
"""

import recording

if __name__ == "__main__":
    recording.prepare()

import torch
from lora_paths import honour_step_projection
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from transformers import AutoModelForCausalLM

STEPS, BATCH, LENGTH, SEED = 10, 4, 32, 301
OPTIMISER = dict(betas=(0.9, 0.999), eps=1e-8, foreach=False, fused=False)
DECAY, CLIP = 0.1, 1.0
FULL_RATE, LORA_RATE = 1e-3, 5e-3
LORA = dict(r=4, lora_alpha=8, lora_dropout=0.0, target_modules=["in_proj", "x_proj", "dt_proj"])

# of the full run only these final values are kept: every kind of parameter but the largest matrices
KEPT_FINAL = (
    "backbone.embeddings.weight",
    "backbone.norm_f.weight",
    *(
        f"backbone.layers.0.{leaf}"
        for leaf in ("norm.weight", "mixer.A_log", "mixer.D", "mixer.conv1d.weight", "mixer.conv1d.bias")
    ),
    "backbone.layers.0.mixer.dt_proj.weight",
    "backbone.layers.0.mixer.dt_proj.bias",
)


def token_batches(vocabulary):
    """[steps, batch, length] ids of noisy affine sequences; the second half repeats the first."""
    stream = recording.generator(SEED)
    ids = torch.zeros(STEPS, BATCH, LENGTH, dtype=torch.int64)
    ids[..., 0] = torch.randint(1, vocabulary, ids.shape[:2], generator=stream)
    noise = torch.randint(0, 3, ids.shape, generator=stream)
    for t in range(1, LENGTH):
        ids[..., t] = (ids[..., t - 1] * 7 + noise[..., t]) % (vocabulary - 1) + 1
    ids[STEPS // 2 :] = ids[: STEPS // 2]
    return ids


def is_decayed(name, parameter):
    """Weight decay on 2-D weight matrices only: not on A_log, D, norms, biases, nor the 3-D conv1d."""
    return parameter.ndim == 2 and not name.endswith("A_log")


def train(model, batches, rate):
    """Losses before each step, gradient norms before clipping, and the names that decay."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    decayed = [name for name, p in named if is_decayed(name, p)]
    groups = [
        {"params": [p for name, p in named if name in decayed], "weight_decay": DECAY},
        {"params": [p for name, p in named if name not in decayed], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW([g for g in groups if g["params"]], lr=rate, **OPTIMISER)
    losses, norms = [], []
    for ids in batches:
        optimiser.zero_grad(set_to_none=True)
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_([p for _, p in named], CLIP).item())
        optimiser.step()
        losses.append(loss.item())
    return losses, norms, decayed


def length_of(tensors):
    """Per tensor the L2 norm and the sum: a check on the values that are not kept."""
    return {name: [t.double().norm().item(), t.double().sum().item()] for name, t in sorted(tensors.items())}


def full_run(out, batches):
    model = AutoModelForCausalLM.from_pretrained(out / "mamba-a", dtype=torch.float32)
    losses, norms, decayed = train(model, batches, FULL_RATE)
    final = {name: p.detach() for name, p in model.named_parameters()}
    report = {"decayed": decayed, "final_norm_and_sum": length_of(final), "gradient_norms": norms, "losses": losses}
    report |= {"learning_rate": FULL_RATE}
    return report, {f"full.final.{name}": final[name] for name in KEPT_FINAL}


def lora_run(out, batches):
    """LoRA from B = 0; dt_proj takes effect (lora_paths.py), as it would after merging."""
    model = AutoModelForCausalLM.from_pretrained(out / "mamba-a", dtype=torch.float32)
    torch.manual_seed(SEED)
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **LORA))
    assert honour_step_projection(model) == model.config.num_hidden_layers
    start = {name: t.clone() for name, t in get_peft_model_state_dict(model).items()}
    assert all(t.abs().max() == 0 for name, t in start.items() if "lora_B" in name)
    losses, norms, _ = train(model, batches, LORA_RATE)
    final = get_peft_model_state_dict(model)
    report = {"decayed": sorted(start), "gradient_norms": norms, "losses": losses, "learning_rate": LORA_RATE, **LORA}
    tensors = {f"lora.start.{name}": t for name, t in start.items() if "lora_A" in name}
    return report, tensors | {f"lora.final.{name}": t for name, t in final.items()}


def main():
    out = recording.output_folder(__doc__.splitlines()[0])
    if not (out / "mamba-a" / "config.json").exists():
        raise SystemExit(f"{out / 'mamba-a'} is missing: run models.py first, with the same --out")
    batches = token_batches(61)
    full, full_tensors = full_run(out, batches)
    lora, lora_tensors = lora_run(out, batches)
    settings = {"base": "mamba-a", "betas": OPTIMISER["betas"], "clip_norm": CLIP, "eps": OPTIMISER["eps"]}
    settings |= {"optimiser": "AdamW", "seed": SEED, "steps": STEPS, "weight_decay": DECAY}
    recording.save_tensors(out / "golden-curve.safetensors", {"input_ids": batches} | full_tensors | lora_tensors)
    recording.save_json(out / "golden-curve.json", {"full": full, "lora": lora, "settings": settings})
    recording.save_versions(out)
    for name, report in (("full", full), ("lora", lora)):
        print(name, "losses", [round(x, 4) for x in report["losses"]])
        print(name, "gradient norms", [round(x, 3) for x in report["gradient_norms"]])
    print(f"all fixtures: {recording.folder_bytes(out)} bytes")


if __name__ == "__main__":
    main()
