"""What every oracle shares: quiet single-threaded torch, seeds, where fixtures go, versions.

Nothing here knows about Mamba. A script calls `prepare()` before it imports transformers or
peft, so that no oracle touches the network and Python's string hash (PEFT keeps target modules
in a set) cannot change the order of anything that is written.
"""

import argparse
import json
import os
import platform
import sys
import warnings
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
FIXTURES = REPOSITORY / "test" / "fixtures"


def prepare():
    """Pin hashing, threads and determinism; stay offline. Restarts Python once if it must."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, *sys.argv])
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    warnings.filterwarnings("ignore", category=FutureWarning)
    import torch

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


def output_folder(description):
    """The folder named by --out (default: test/fixtures of this repository)."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, default=FIXTURES, help="folder to write (default test/fixtures)")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    return out


def generator(seed):
    """A private CPU random stream."""
    import torch

    return torch.Generator(device="cpu").manual_seed(seed)


def random_tokens(shape, vocabulary, seed):
    """int64 token ids in [1, vocabulary): 0 is left out because it is the padding id."""
    import torch

    return torch.randint(1, vocabulary, shape, generator=generator(seed))


def save_tensors(path, tensors):
    """Write tensors as safetensors: contiguous, detached; token ids and positions become int32."""
    import torch
    from safetensors.torch import save_file

    ready = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().clone().contiguous()
        ready[name] = tensor.to(torch.int32) if tensor.dtype == torch.int64 else tensor
    save_file(ready, str(path))
    path.chmod(0o644)


def save_json(path, value):
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def short(value):
    """A measured figure with three significant digits: enough to read, stable enough to diff."""
    return float(f"{float(value):.3g}")


def save_versions(out):
    """Record the programs that made the fixtures in `versions.json`."""
    import numpy
    import peft
    import safetensors
    import torch
    import transformers

    save_json(
        out / "versions.json",
        {
            "cpu": {"capability": torch.backends.cpu.get_cpu_capability(), "machine": platform.machine()},
            "numpy": numpy.__version__,
            "peft": peft.__version__,
            "python": platform.python_version(),
            "safetensors": safetensors.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    )


def folder_bytes(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
