"""Oracle: Lion by lion-pytorch: six steps of given gradients, and ten training steps of a model.

Writes <out>/lion.safetensors and lion.json; the ten steps are those of golden_curve.py on the model
<out>/mamba-a, with Lion in the place of AdamW. README.md lists the tensors; the JSON holds the
settings and every figure.
"""

import recording

if __name__ == "__main__":
    recording.prepare()

import torch
from golden_curve import CLIP, is_decayed, length_of, token_batches
from lion_pytorch import Lion
from transformers import AutoModelForCausalLM

SEED, BETAS = 401, (0.9, 0.99)
GIVEN = dict(steps=6, learning_rate=0.01, weight_decay=0.3, clip_norm=4.0)
CURVE = dict(learning_rate=1e-4, weight_decay=0.1, clip_norm=CLIP)


def lion(named, decayed, rate, decay):
    """Lion over named parameters, of which some decay."""
    groups = [
        {"params": [p for name, p in named if name in decayed], "weight_decay": decay},
        {"params": [p for name, p in named if name not in decayed], "weight_decay": 0.0},
    ]
    return Lion([g for g in groups if g["params"]], lr=rate, betas=BETAS)


def given_gradients():
    """Parameters and moments after gradients that are drawn; `idle` has one in every other step."""
    stream = recording.generator(SEED)
    shapes = {"matrix": (5, 7), "vector": (9,), "idle": (2, 3)}
    named = [(name, torch.randn(shape, generator=stream)) for name, shape in shapes.items()]
    tensors = {f"given.start.{name}": p.clone() for name, p in named}
    optimiser = lion(named, ["matrix", "idle"], GIVEN["learning_rate"], GIVEN["weight_decay"])
    norms = []
    for step in range(GIVEN["steps"]):
        for name, p in named:
            p.grad = None
            if name == "idle" and step % 2 == 1:
                continue
            p.grad = torch.randn(p.shape, generator=stream)
            if name == "matrix":
                p.grad[3] = 0  # a row of an embedding that no token reads
            tensors[f"given.grad.{step}.{name}"] = p.grad.clone()
        norms.append(torch.nn.utils.clip_grad_norm_([p for _, p in named], GIVEN["clip_norm"]).item())
        optimiser.step()
    for name, p in named:
        tensors[f"given.final.{name}"] = p
        tensors[f"given.moment.{name}"] = optimiser.state[p]["exp_avg"]
    return {**GIVEN, "gradient_norms": norms}, tensors


def curve(out):
    """Losses before each step and norms before clipping, as in golden_curve.py, and where all weights end."""
    model = AutoModelForCausalLM.from_pretrained(out / "mamba-a", dtype=torch.float32)
    named = list(model.named_parameters())
    decayed = [name for name, p in named if is_decayed(name, p)]
    optimiser = lion(named, decayed, CURVE["learning_rate"], CURVE["weight_decay"])
    losses, norms = [], []
    for ids in token_batches(61):
        optimiser.zero_grad(set_to_none=True)
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_([p for _, p in named], CURVE["clip_norm"]).item())
        optimiser.step()
        losses.append(loss.item())
    final = length_of({name: p.detach() for name, p in named})
    return {**CURVE, "decayed": decayed, "final_norm_and_sum": final, "gradient_norms": norms, "losses": losses}


def main():
    out = recording.output_folder(__doc__.splitlines()[0])
    if not (out / "mamba-a" / "config.json").exists():
        raise SystemExit(f"{out / 'mamba-a'} is missing: run models.py first, with the same --out")
    given, tensors = given_gradients()
    report = {"betas": BETAS, "curve": curve(out), "given": given, "seed": SEED}
    recording.save_tensors(out / "lion.safetensors", tensors)
    recording.save_json(out / "lion.json", report)
    print("losses", [round(x, 4) for x in report["curve"]["losses"]])
    print("gradient norms", [round(x, 3) for x in report["curve"]["gradient_norms"]])


if __name__ == "__main__":
    main()
