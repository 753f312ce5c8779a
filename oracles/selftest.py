"""Check every fixture against a second implementation in float64 (plain_mamba.py, plain_neox.py).

    python oracles/selftest.py [--out FOLDER]

Reads the fixtures only through safetensors and json. Logits must agree to 2e-5, gradients to
1e-4 of the largest entry of each tensor, losses and norms of the golden curves to 2e-5 and the
weights where they end to 1e-5. One directional derivative a model is taken by finite
differences, so that autograd is not its own witness. Exit 1 on the first disagreement.
"""

import json

import plain_mamba
import recording
import torch
from safetensors.torch import load_file

LOGITS, GRADIENT, CURVE, WEIGHT = 2e-5, 1e-4, 2e-5, 1e-5


def load_weights(folder):
    weights = {name: t.double() for name, t in load_file(folder / "model.safetensors").items()}
    return weights, json.loads((folder / "config.json").read_text())


def near(label, ours, theirs, tolerance, relative=False):
    """Largest absolute difference (relative: divided by the largest entry); raises beyond tolerance."""
    assert ours.shape == theirs.shape, f"{label}: {tuple(ours.shape)} against {tuple(theirs.shape)}"
    difference = (ours - theirs.double()).abs().max().item()
    if relative:
        difference /= theirs.double().abs().max().item() + 1e-12
    if not difference <= tolerance:
        raise SystemExit(f"{label}: differs by {difference:.3g}, allowed {tolerance:g}")
    return difference


def gradient_of(loss, parameters):
    return dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))


def trainable(tensors):
    return {name: t.clone().requires_grad_() for name, t in tensors.items()}


def check_cases(name, weights, config, cases):
    worst = 0.0
    for case in ("len1", "len2", "len37", "len300", "left", "right", "bf16"):
        ids, mask = (cases[f"case.{case}.{leaf}"].long() for leaf in ("input_ids", "attention_mask"))
        flat = torch.zeros(ids.numel(), config["vocab_size"], dtype=torch.float64)
        for row in range(len(ids)):
            keep = mask[row].bool()
            flat[row * ids.shape[1] + keep.nonzero().flatten()] = plain_mamba.logits(weights, config, ids[row, keep])
        if case == "bf16":
            half = cases["case.bf16.logits"].double().flatten(0, 1)
            assert (flat - half).abs().mean() < 3e-2, f"{name}: bf16 logits are too far off"
        theirs = cases[f"case.{case}.{'f32_logits' if case == 'bf16' else 'logits'}"]
        positions = cases.get(f"case.{case}.positions")
        ours = flat.reshape(*ids.shape, -1) if positions is None else flat[positions.long()]
        worst = max(worst, near(f"{name} {case}", ours, theirs, LOGITS))
    return worst


def check_gradients(name, weights, config, cases):
    worst = 0.0
    for prefix in ("grad", "padgrad"):
        ids = cases[f"{prefix}.input_ids"].long()
        mask = cases.get(f"{prefix}.attention_mask", torch.ones_like(ids)).bool()
        rows = [row[keep] for row, keep in zip(ids, mask, strict=True)]
        parameters = trainable(weights)
        loss = plain_mamba.loss(parameters, config, rows)
        near(f"{name} {prefix}_loss", loss.detach(), cases[f"{prefix}_loss"], 1e-5)
        found = gradient_of(loss, parameters)
        for key, theirs in cases.items():
            if key.startswith(f"{prefix}.") and key.removeprefix(f"{prefix}.") in found:
                ours = found[key.removeprefix(f"{prefix}.")]
                worst = max(worst, near(f"{name} {key}", ours, theirs, GRADIENT, relative=True))
        if prefix == "grad":
            assert all(f"grad.{key}" in cases for key in weights), f"{name}: a parameter has no gradient"
            check_direction(name, weights, config, rows, found)
    return worst


def check_direction(name, weights, config, rows, found, step=1e-6):
    """d loss along a random direction, by central differences, against the gradient."""
    stream = recording.generator(7)
    way = {key: torch.randn(t.shape, generator=stream, dtype=torch.float64) for key, t in weights.items()}
    ends = [plain_mamba.loss({k: t + s * way[k] for k, t in weights.items()}, config, rows) for s in (step, -step)]
    measured = (ends[0] - ends[1]) / (2 * step)
    expected = sum((found[key] * way[key]).sum() for key in weights)
    near(f"{name} finite difference", measured / expected, torch.ones(()), 1e-6)


def check_greedy(name, weights, config, cases):
    ids = cases["gen.greedy.prompt"].long()
    for token in cases["gen.greedy.tokens"].tolist():
        ours = plain_mamba.logits(weights, config, ids)[-1].argmax()
        assert ours == token, f"{name}: greedy token {len(ids)} is {ours}, not {token}"
        ids = torch.cat([ids, ours[None]])


def check_model(folder):
    weights, config = load_weights(folder)
    cases = load_file(folder / "cases.safetensors")
    with torch.no_grad():
        logits = check_cases(folder.name, weights, config, cases)
        check_greedy(folder.name, weights, config, cases)
    gradients = check_gradients(folder.name, weights, config, cases)
    print(f"{folder.name}: logits within {logits:.2g}, gradients within {gradients:.2g} relative")


def check_adapter(folder):
    settings = json.loads((folder / "adapter_config.json").read_text())
    base, config = load_weights(folder.parent / settings["base_model_name_or_path"])
    cases = load_file(folder / "cases.safetensors")
    adapter = trainable({n: t.double() for n, t in load_file(folder / "adapter_model.safetensors").items()})
    weights = plain_mamba.adapt(base, adapter, settings)
    ids = cases["input_ids"].long()[0]
    ours = plain_mamba.logits(weights, config, ids)[None].detach()
    worst = max(near(f"{folder.name} {key}", ours, cases[key], LOGITS) for key in ("logits", "merged_logits"))
    near(f"{folder.name} base", plain_mamba.logits(base, config, ids)[None], cases["base_logits"], LOGITS)
    loss = plain_mamba.loss(weights, config, [ids])
    near(f"{folder.name} grad_loss", loss.detach(), cases["grad_loss"], 1e-5)
    gradients = 0.0
    for key, grad in gradient_of(loss, adapter).items():
        gradients = max(gradients, near(f"{folder.name} {key}", grad, cases[f"grad.{key}"], GRADIENT, relative=True))
    print(f"{folder.name}: logits within {worst:.2g}, gradients within {gradients:.2g} relative")


def run_adamw(parameters, loss_of, batches, report, settings):
    """Ten steps of clipping and AdamW by the book; compares loss and norm at each."""
    (b1, b2), eps, rate = settings["betas"], settings["eps"], report["learning_rate"]
    moments = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in parameters.items()}
    for step, ids in enumerate(batches.long(), start=1):
        loss = loss_of(parameters, list(ids))
        grads = gradient_of(loss, parameters)
        norm = torch.sqrt(sum((g * g).sum() for g in grads.values()))
        near(f"loss {step}", loss.detach(), torch.tensor(report["losses"][step - 1]), CURVE)
        near(f"norm {step}", norm, torch.tensor(report["gradient_norms"][step - 1]), CURVE)
        scale = min(1.0, settings["clip_norm"] / (norm.item() + 1e-6))
        for name, p in parameters.items():
            m, v = moments[name]
            g = grads[name] * scale
            m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
            moments[name] = (m, v)
            decay = rate * settings["weight_decay"] if name in report["decayed"] else 0.0
            move = rate * (m / (1 - b1**step)) / (torch.sqrt(v / (1 - b2**step)) + eps)
            parameters[name] = (p.detach() * (1 - decay) - move).requires_grad_()
    return parameters


def check_curves(out):
    report = json.loads((out / "golden-curve.json").read_text())
    tensors = load_file(out / "golden-curve.safetensors")
    base, config = load_weights(out / report["settings"]["base"])
    batches, settings = tensors["input_ids"], report["settings"]

    def full_loss(weights, rows):
        return plain_mamba.loss(weights, config, rows)

    final = run_adamw(trainable(base), full_loss, batches, report["full"], settings)
    for name, (norm, total) in report["full"]["final_norm_and_sum"].items():
        found = torch.stack([final[name].norm(), final[name].sum()]).detach()
        near(f"final {name}", found, torch.tensor([norm, total], dtype=torch.float64), 10 * WEIGHT)
    worst = {"full": 0.0, "lora": 0.0}

    start = {key.removeprefix("lora.start."): t for key, t in tensors.items() if key.startswith("lora.start.")}
    names = [key.removeprefix("lora.final.") for key in tensors if key.startswith("lora.final.")]
    adapter = {name: start.get(name, torch.zeros_like(tensors[f"lora.final.{name}"])).double() for name in names}
    peft = report["lora"] | {"use_rslora": False}

    def lora_loss(adapter, rows):
        return plain_mamba.loss(plain_mamba.adapt(base, adapter, peft), config, rows)

    ends = {"full": final, "lora": run_adamw(trainable(adapter), lora_loss, batches, report["lora"], settings)}
    for key, theirs in tensors.items():
        run, _, name = key.partition(".final.")
        if run in ends:
            worst[run] = max(worst[run], near(key, ends[run][name].detach(), theirs, WEIGHT))
    print(f"golden curves: final weights within {worst['full']:.2g} (full), {worst['lora']:.2g} (lora)")


def main():
    torch.set_num_threads(1)
    out = recording.output_folder(__doc__.splitlines()[0])
    for folder in sorted(f for f in out.iterdir() if f.is_dir()):
        check_adapter(folder) if folder.name.startswith("peft-") else check_model(folder)
    check_curves(out)
    print("every fixture agrees with the second implementation")


if __name__ == "__main__":
    main()
