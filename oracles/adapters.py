"""Oracle: LoRA adapters as PEFT saves them, with their logits and gradients.

Writes <out>/peft-<name>/{adapter_config.json, adapter_model.safetensors, cases.safetensors,
notes.json} for adapters on the models that models.py wrote to the same folder. README.md lists
the tensors and where the numbers part from stock PEFT (lora_paths.py says why).
"""

import recording

if __name__ == "__main__":
    recording.prepare()

import contextlib
import warnings

import torch
from lora_paths import every_linear_allowed, honour_step_projection, untie_head
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict
from transformers import AutoModelForCausalLM

LENGTH = 8

# `lifted`: stock PEFT refuses these targets, see lora_paths.py
ADAPTERS = {
    "linear": dict(base="mamba-a", r=4, lora_alpha=8, target_modules=["in_proj", "x_proj", "dt_proj"]),
    "out-proj": dict(base="mamba-a", r=4, lora_alpha=8, target_modules=["out_proj"], lifted=True),
    "all-linear": dict(base="mamba-a", r=1, lora_alpha=2, target_modules="all-linear", lifted=True),
    "rslora": dict(base="mamba-a", r=6, lora_alpha=3, target_modules=["in_proj"], use_rslora=True),
    "embeddings": dict(base="mamba-a", r=2, lora_alpha=4, target_modules=["x_proj", "embeddings", "in_proj"]),
    "modules-to-save": dict(
        base="mamba-a", r=2, lora_alpha=4, target_modules=["in_proj"], modules_to_save=["lm_head", "norm_f"]
    ),
    "regex": dict(
        base="mamba-a", r=3, lora_alpha=6, target_modules=r".*layers\.1\.mixer\.(in|x)_proj", lora_dropout=0.1
    ),
    "bias-all": dict(base="mamba-b", r=2, lora_alpha=4, target_modules=["in_proj"], bias="all"),
    "bias-lora-only": dict(
        base="falcon_mamba-b", r=1, lora_alpha=2, target_modules=["in_proj", "dt_proj"], bias="lora_only"
    ),
    "neox-default": dict(base="gpt_neox-a", r=4, lora_alpha=8),  # PEFT's own choice: query_key_value
    "neox-all-linear": dict(base="gpt_neox-b", r=2, lora_alpha=4, target_modules="all-linear", bias="all"),
    "neox-whole": dict(
        base="gpt_neox-a",
        r=2,
        lora_alpha=3,
        target_modules=["embed_in", "dense", "dense_4h_to_h"],
        modules_to_save=["final_layer_norm"],
    ),
}


def load_base(out, base):
    return AutoModelForCausalLM.from_pretrained(out / base, dtype=torch.float32).eval()


def redraw_trained(model, seed):
    """Move what starts as a no-op: B anew, biases and saved modules away from their base values."""
    stream = recording.generator(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad or "lora_A" in name:
                continue
            noise = torch.randn(parameter.shape, generator=stream) * 0.1
            parameter.copy_(noise if "lora_" in name else parameter + noise)


def gradients(model, ids):
    """The mean next-token loss and its gradient for every adapter tensor, by its name in the file."""
    model.zero_grad(set_to_none=True)
    loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    trained = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert all(grad is not None and grad.abs().max() > 0 for grad in trained.values())
    saved = get_peft_model_state_dict(model, state_dict=trained, save_embedding_layers=False)
    assert len(saved) == len(trained), "a trained parameter is not part of the saved adapter"
    return {"grad_loss": loss} | {f"grad.{name}": grad for name, grad in saved.items()}


def merged_logits(model, ids, notes):
    """Logits after merging; a tied head is given its own weights first when the embedding is adapted."""
    adapts_embedding = any("lora_embedding" in name for name, _ in model.named_parameters())
    if adapts_embedding:
        model.merge_adapter()
        notes["stock_merge_max_abs_diff"] = model(input_ids=ids, use_cache=False).logits
        model.unmerge_adapter()
        untie_head(model.get_base_model())
    return model.merge_and_unload()(input_ids=ids, use_cache=False).logits


def distance(notes, name, logits):
    if name in notes:
        notes[name] = recording.short((notes[name] - logits).abs().max())


def write_adapter(out, name, base, seed, lifted=False, **settings):
    folder = out / f"peft-{name}"
    model = load_base(out, base)
    ids = recording.random_tokens((1, LENGTH), model.config.vocab_size, seed)
    notes = {"base": base, "seed": seed, "stock_peft_accepts": not lifted}
    with torch.no_grad():
        base_logits = model(input_ids=ids, use_cache=False).logits
    torch.manual_seed(seed)  # the initial A
    allowance = every_linear_allowed if lifted else contextlib.nullcontext
    with allowance():
        model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **settings)).eval()
    redraw_trained(model, seed)
    model.peft_config["default"].base_model_name_or_path = base
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    (folder / "adapter_model.safetensors").chmod(0o644)

    with allowance():
        model = PeftModel.from_pretrained(load_base(out, base), folder, is_trainable=True).eval()
    if any(".dt_proj." in key for key, _ in model.named_modules()):
        with torch.no_grad():
            notes["stock_unmerged_max_abs_diff"] = model(input_ids=ids, use_cache=False).logits
    honour_step_projection(model)
    cases = gradients(model, ids)
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits
        merged = merged_logits(model, ids, notes)
    for measured in ("stock_unmerged_max_abs_diff", "stock_merge_max_abs_diff"):
        distance(notes, measured, logits)
    assert torch.allclose(logits, merged, atol=2e-5), f"{name}: merged {(logits - merged).abs().max()} away"
    notes["adapter_max_abs_effect"] = recording.short((logits - base_logits).abs().max())
    cases |= {"input_ids": ids, "logits": logits, "base_logits": base_logits, "merged_logits": merged}
    recording.save_tensors(folder / "cases.safetensors", cases)
    recording.save_json(folder / "notes.json", notes)
    print(f"{folder.name}: {recording.folder_bytes(folder)} bytes, {notes}")


def show_refusals(out):
    """Fail if PEFT no longer refuses what the README says it refuses."""
    for settings in (
        dict(target_modules=["out_proj"]),
        dict(target_modules=["conv1d"]),
        dict(target_modules=r".*\.out_proj"),
        dict(target_modules="all-linear"),
        dict(target_modules=[], target_parameters=["mixer.out_proj.weight"]),
    ):
        try:
            get_peft_model(load_base(out, "mamba-a"), LoraConfig(**settings))
        except ValueError as error:
            assert "incompatible with Mamba" in str(error), error
        else:
            raise AssertionError(f"PEFT now accepts {settings}: mend README.md and `lifted`")


def main():
    warnings.filterwarnings("ignore", category=UserWarning)  # PEFT on tied embeddings and offline lookups
    out = recording.output_folder(__doc__.splitlines()[0])
    if not (out / "mamba-a" / "config.json").exists():
        raise SystemExit(f"{out / 'mamba-a'} is missing: run models.py first, with the same --out")
    show_refusals(out)
    for seed, (name, settings) in enumerate(ADAPTERS.items(), start=201):
        write_adapter(out, name, seed=seed, **settings)
    recording.save_versions(out)


if __name__ == "__main__":
    main()
