"""Does an adapter folder that Krait wrote load in PEFT and give the logits Krait stored?

    python oracles/check_adapter.py --model DIR --adapter DIR --cases FILE.safetensors

FILE as for check_model.py. Two answers count: the adapter beside the base weights, and merged into
them. Loading lifts PEFT's check on module names, and LoRA on dt_proj is made effective (both in
lora_paths.py); the first line says whether stock PEFT loads the adapter at all, and with dt_proj
the answer of the unmended forward pass is printed too. Exit 0 if all is within --tolerance, else 1.
"""

import recording

if __name__ == "__main__":
    recording.prepare()

import warnings

import torch
from check_model import arguments, load_cases, load_model, logits_row_by_row, report
from lora_paths import every_linear_allowed, honour_step_projection, untie_head
from peft import PeftModel
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file


def stock_refusal(model_folder, adapter_folder):
    """None if stock PEFT loads the adapter, else its error."""
    try:
        PeftModel.from_pretrained(load_model(model_folder), adapter_folder)
    except ValueError as error:
        return str(error)
    return None


def compare_files(model, adapter_folder):
    """PEFT ignores tensors that it does not know: insist that all arrive, none is missing or altered."""
    ours = load_file(adapter_folder / "adapter_model.safetensors")
    theirs = get_peft_model_state_dict(model)  # with `base_layer.weight` of an adapted lm_head
    needed = get_peft_model_state_dict(model, save_embedding_layers=False)
    ignored, missing = sorted(ours.keys() - theirs.keys()), sorted(needed.keys() - ours.keys())
    if ignored or missing:
        raise SystemExit(f"{adapter_folder}: PEFT ignores {ignored} and misses {missing}")
    for name, tensor in ours.items():
        if not torch.equal(tensor.float(), theirs[name].float()):
            raise SystemExit(f"{adapter_folder}: `{name}` is not what PEFT loaded")


def main():
    warnings.filterwarnings("ignore")
    given = arguments(__doc__.splitlines()[0], adapter=True)
    ids, logits, mask = load_cases(given.cases)
    refusal = stock_refusal(given.model, given.adapter)
    print(f"stock PEFT: {'loads it' if refusal is None else 'refuses it: ' + refusal}")
    with every_linear_allowed():
        model = PeftModel.from_pretrained(load_model(given.model), given.adapter).eval()
    compare_files(model, given.adapter)
    unmended = logits_row_by_row(model, ids, mask)
    if honour_step_projection(model) > 0:
        report("unmerged, LoRA on dt_proj ignored (does not count)", unmended, logits, mask, given.tolerance)
    results = [report("unmerged", logits_row_by_row(model, ids, mask), logits, mask, given.tolerance)]
    if any("lora_embedding" in name for name, _ in model.named_parameters()):
        untie_head(model.get_base_model())
    merged = model.merge_and_unload()
    results.append(report("merged", logits_row_by_row(merged, ids, mask), logits, mask, given.tolerance))
    raise SystemExit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
