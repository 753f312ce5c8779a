"""Does a model folder that Krait wrote load in transformers and give the logits Krait stored?

    python oracles/check_model.py --model DIR --cases FILE.safetensors

FILE holds `input_ids` [batch, length] (or [length]), `logits` [.., vocabulary] and, if rows are
padded, `attention_mask`; only positions with mask 1 are compared. Exit 0 if the largest absolute
difference is at most --tolerance (1e-4), else 1.
"""

import recording

if __name__ == "__main__":
    recording.prepare()

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM


def arguments(description, adapter=False):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", type=Path, required=True, help="folder with config.json and model.safetensors")
    if adapter:
        parser.add_argument("--adapter", type=Path, required=True, help="folder with adapter_config.json")
    parser.add_argument("--cases", type=Path, required=True, help="safetensors with input_ids and logits")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    found = parser.parse_args()
    for name in ("model", "adapter", "cases"):
        path = getattr(found, name, None)
        if path is not None and not path.exists():
            parser.error(f"--{name} {path} does not exist")
    return found


def load_model(folder):
    """The model in f32; every tensor of the file must be used and every parameter be in the file."""
    model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info.get(kind):
            raise SystemExit(f"{folder}: {kind.replace('_', ' ')} {sorted(map(str, info[kind]))}")
    return model.eval()


def load_cases(path):
    """(ids [b, l], logits [b, l, v], mask [b, l] or None) as Krait stored them."""
    cases = load_file(path)
    for name in ("input_ids", "logits"):
        if name not in cases:
            raise SystemExit(f"{path}: no tensor `{name}`, only {sorted(cases)}")
    ids, logits = cases["input_ids"].long(), cases["logits"].float()
    if ids.ndim == 1:
        ids = ids[None]
    logits = logits.reshape(*ids.shape, -1)
    mask = cases.get("attention_mask")
    return ids, logits, None if mask is None else mask.long().reshape(ids.shape)


def logits_row_by_row(model, ids, mask):
    """Each row alone without its padding: transformers' own padded answer can be wrong (README.md)."""
    with torch.no_grad():
        if mask is None:
            return model(input_ids=ids, use_cache=False).logits
        out = torch.zeros(*ids.shape, model.config.vocab_size)
        for row, keep in enumerate(mask.bool()):
            out[row, keep] = model(input_ids=ids[row, keep][None], use_cache=False).logits[0]
        return out


def report(label, theirs, ours, mask, tolerance):
    """Print the largest absolute difference; True if it is within the tolerance."""
    if theirs.shape != ours.shape:
        print(f"{label}: logits are {list(ours.shape)}, expected {list(theirs.shape)}")
        return False
    difference = (theirs - ours).abs()
    if mask is not None:
        difference = difference[mask.bool()]
    largest = difference.max().item()
    good = largest <= tolerance  # false for NaN
    print(f"{label}: max abs diff {largest:.3g} ({'within' if good else 'NOT within'} {tolerance:g})")
    return good


def main():
    given = arguments(__doc__.splitlines()[0])
    ids, logits, mask = load_cases(given.cases)
    model = load_model(given.model)
    good = report("model", logits_row_by_row(model, ids, mask), logits, mask, given.tolerance)
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
