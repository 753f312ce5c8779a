"""MambaTS trained in PyTorch on the CPU, its scan one position after the other: a contestant of the benchmark suite.

    python bench/rivals/torch_mambats.py '{"file": CSV, "start": SAFETENSORS, "lookback": 720, ...}'

The model is that of oracles/forecast_block.py, which Krait's is held against, in float32, from the weights that Krait
began with; windows are those of the training part, shuffled, without dropout and without orders of variables. A round
is `steps` steps of Adam. It speaks the lines of bench/suite/serve.ts.
"""

import csv
import json
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "oracles"))
import forecast_block  # noqa: E402

TRAIN_ROWS = 12 * 30 * 24  # of ETTh


def windows(options):
    """Inputs [n, k, lookback] and targets [n, k, horizon] of the training part, scaled by it; views of one series."""
    with open(options["file"]) as file:
        rows = list(csv.reader(file))[1:]
    series = torch.tensor([[float(value) for value in row[1:]] for row in rows[:TRAIN_ROWS]], dtype=torch.float64)
    series = ((series - series.mean(0)) / series.std(0, unbiased=False)).float()
    lookback, horizon = options["lookback"], options["horizon"]
    both = series.T.unfold(1, lookback + horizon, 1).transpose(0, 1)
    return both[..., :lookback], both[..., lookback:]


def contestant(options):
    torch.set_num_threads(options["threads"])
    torch.manual_seed(0)
    inputs, targets = windows(options)
    case = dict(
        layers=options["layers"], d=options["d"], state=16, patch=48, lookback=options["lookback"],
        horizon=options["horizon"], k=inputs.shape[1], layout="variable-major", conv=False,
    )  # fmt: skip
    start = load_file(options["start"])
    batch = options["batchSize"]

    def loss_of(p, rows):
        return (forecast_block.forecast(p, inputs[rows], case) - targets[rows]).square().mean()

    def steps(count):
        p = {name: value.clone().requires_grad_() for name, value in start.items()}
        optimizer = torch.optim.Adam(p.values(), lr=1e-3, fused=True)
        order = torch.randperm(len(inputs))
        for step in range(count):
            loss_of(p, order[step * batch : (step + 1) * batch]).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def a_round():
        started = time.perf_counter()
        steps(options["steps"])
        return {"seconds": time.perf_counter() - started, "steps": options["steps"]}

    with torch.no_grad():
        first = loss_of(start, torch.arange(batch)).item()
    steps(3)
    return f"PyTorch {torch.__version__}, {options['threads']} threads", first, a_round


def serve(options):
    program, loss, a_round = contestant(options)
    print(json.dumps({"program": program, "loss": loss}), flush=True)
    for line in sys.stdin:
        answer = a_round() if line.strip() == "round" else {}
        print(json.dumps(answer), flush=True)
        if line.strip() == "end":
            break


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))
