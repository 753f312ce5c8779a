"""lm-evaluation-harness with Hugging Face's Mamba on the CPU: a contestant in scoring.

    python bench/rivals/lm_eval_scoring.py '{"model": DIR, "shared": DIR, "tasks": ["piqa"], "shots": 0, "limit": 8,
                                             "batch": 16, "threads": 2}'

A round answers all requests of the tasks: the time is that of the harness's call of the model, its tokenizing included,
its building of prompts not. Rows are those of oracles/check_eval.py. It speaks the lines of bench/suite/serve.ts.
"""

import contextlib
import json
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "oracles"))

import check_eval
import harness


def contestant(options):
    harness.serve(check_eval.real_sets(Path(options["shared"])))
    served = harness.Served(options["model"], options["batch"], threads=options["threads"])
    answer = served.model.loglikelihood
    spent = []

    def timed(requests, *rest, **named):
        started = time.perf_counter()
        found = answer(requests, *rest, **named)
        spent.append(time.perf_counter() - started)
        return found

    served.model.loglikelihood = timed

    def run(limit):
        spent.clear()
        with contextlib.redirect_stdout(sys.stderr):
            found = served.run(options["tasks"], options["shots"], limit)
        samples = [sample for each in found["samples"].values() for sample in each]
        logprob = sum(float(answer[0]) for sample in samples for answer in sample["filtered_resps"])
        return {"seconds": sum(spent), "logprob": logprob}

    run(1)  # warm
    return lambda: run(options["limit"])


def main(options):
    step = contestant(options)
    import lm_eval
    import torch
    import transformers

    versions = f"lm-eval {lm_eval.__version__}, transformers {transformers.__version__}, PyTorch {torch.__version__}"
    requests = {
        "round": step,
        "memory": lambda: {"peakRss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024},
        "end": dict,
    }
    print(json.dumps({"program": f"{versions}, {options['threads']} threads"}), flush=True)
    for line in sys.stdin:
        print(json.dumps(requests[line.strip()]()), flush=True)
        if line.strip() == "end":
            break


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
