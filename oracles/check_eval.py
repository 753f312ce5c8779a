"""Does `krait eval run` give what lm-evaluation-harness gives, on the same weights, rows and prompts?

    python oracles/check_eval.py --shared ../shared/data                 # all cases
    python oracles/check_eval.py --shared ../shared/data --only made     # those whose names hold `made`
    python oracles/check_eval.py --shared ../shared/data --fixture       # writes test/fixtures/harness

Of every question: the prompts and targets to the letter, the log-likelihood of every choice to --tolerance
(1e-3), whether it is what greedy decoding writes, and the metrics; of every task the metrics and standard errors.
A choice may be decided differently only where two scores are nearer than that; such questions are counted.
Cases: rows made of a text (harness_data.py) in the formats of all tasks, zero- and few-shot, in padded batches, with
inputs that do not fit; PIQA and MMLU themselves. Models: a small random Mamba with the gpt-neox tokenizer, models/base.
"""

import argparse
import csv
import json
import math
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import harness
import harness_data
from transformers import AutoTokenizer, MambaConfig, MambaForCausalLM, PreTrainedTokenizerFast

REPOSITORY = Path(__file__).resolve().parent.parent
FIXTURE = REPOSITORY / "test" / "fixtures" / "harness"
MADE_TASKS = (
    "hellaswag piqa arc_easy arc_challenge winogrande openbookqa boolq sciq lambada_openai wikitext "
    "mmlu_anatomy mmlu_sociology"
).split()


def random_mamba(folder, tokenizer_file):
    """A Mamba of 3.3M parameters, most of them in the table, whose logits are spread like a trained model's."""
    import torch

    torch.manual_seed(5)
    config = MambaConfig(
        vocab_size=50280, hidden_size=64, state_size=8, num_hidden_layers=3, time_step_rank=8, initializer_range=0.3
    )
    MambaForCausalLM(config).save_pretrained(folder)
    names = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    PreTrainedTokenizerFast(tokenizer_file=str(tokenizer_file), **names).save_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder).bos_token_id == 0
    return folder


def json_lines(path):
    """Values of a JSON Lines file; `splitlines` would split at U+0085 too."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def real_sets(shared):
    """PIQA's validation rows with examples of their own end, and all of MMLU."""
    folder = shared / "lm-eval"
    rows = json_lines(folder / "piqa" / "valid.jsonl")
    labels = (folder / "piqa" / "valid-labels.lst").read_text().split()
    rows = [{**row, "label": int(label)} for row, label in zip(rows, labels, strict=True)]
    sets = {("piqa", "validation"): rows, ("piqa", "train"): rows[-300:]}
    for split in ("dev", "test"):
        for path in sorted((folder / "mmlu" / split).glob("*.csv")):
            subject = path.name.removesuffix(f"_{split}.csv")
            with path.open(encoding="utf-8", newline="") as file:
                found = [
                    {
                        "question": row["question"],
                        "subject": subject,
                        "choices": [row[f"choice{i}"] for i in range(4)],
                        "answer": int(row["answer"]),
                    }
                    for row in csv.DictReader(file)
                ]
            sets[f"mmlu_{subject}", split] = found
    return sets


def lay_out_real(sets, shared, folder):
    """The same for Krait: the files as they come, beside examples for PIQA."""
    (folder / "piqa").mkdir(parents=True)
    (folder / "mmlu").symlink_to(shared.resolve() / "lm-eval" / "mmlu")
    for name in ("valid.jsonl", "valid-labels.lst"):
        shutil.copy(shared / "lm-eval" / "piqa" / name, folder / "piqa" / name)
    harness_data.write_sets({("piqa", "train"): sets["piqa", "train"]}, folder)


@dataclass
class Case:
    name: str
    rows: str  # made or real
    tasks: list
    shots: list
    model: str
    batch: int = 4
    limit: float | None = None
    max_length: int | None = None
    bootstrap: int = 0


CASES = [
    Case("made-base", "made", MADE_TASKS, [0, 2], "base", bootstrap=100_000),
    Case("made-base-one", "made", ["hellaswag", "winogrande", "sciq"], [1], "base", batch=1),
    Case("made-random", "made", MADE_TASKS, [0, 5], "random", batch=8),
    Case("made-base-cut", "made", MADE_TASKS, [0, 3], "base", max_length=64),
    Case("made-random-cut", "made", MADE_TASKS, [4], "random", max_length=100),
    Case("real-piqa-base", "real", ["piqa"], [0, 3], "base", batch=8, limit=100),
    Case("real-piqa-random", "real", ["piqa"], [0, 1], "random", batch=8, limit=100),
    Case("real-mmlu-base", "real", ["mmlu"], [5], "base", batch=8, limit=2),
    Case("real-mmlu-random", "real", ["mmlu"], [5], "random", batch=8, limit=1),
]


def ask_krait(command, case, model, data, out):
    arguments = ["eval", "run", "--model", str(model), "--data-dir", str(data), "--output", str(out)]
    arguments += ["--tasks", ",".join(case.tasks), "--num-fewshot", ",".join(map(str, case.shots)), "--log-samples"]
    if case.limit is not None:
        arguments += ["--limit", str(case.limit)]
    if case.max_length is not None:
        arguments += ["--max-length", str(case.max_length)]
    subprocess.run([*command, *arguments], check=True, cwd=REPOSITORY, stdout=subprocess.DEVNULL)


@dataclass
class Tally:
    """What is compared, and what differs."""

    tolerance: float
    requests: int = 0
    largest: float = 0.0
    near: list = field(default_factory=list)
    wrong: list = field(default_factory=list)

    def expect(self, is_right, message):
        if not is_right:
            self.wrong.append(message)


def is_close(a, b, tolerance):
    if isinstance(a, str) or isinstance(b, str):
        return a == b
    return math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)


def is_tie(sample, theirs, tolerance):
    """Whether two choices are so near, as they are or by length, that rounding may decide."""
    scores = [float(answer[0]) for answer in theirs]
    choices = [max(1, len(argument[1]) - 1) for argument in sample["arguments"]]
    for values in (scores, [s / n for s, n in zip(scores, choices)]):
        first, second = sorted(values, reverse=True)[:2]
        if first - second <= 2 * tolerance:
            return True
    return False


def compare_sample(where, theirs, ours, tally):
    asked = [list(argument) for argument in theirs["arguments"]]
    told = [[part for part in argument.values()] for argument in ours["arguments"].values()]
    tally.expect(asked == told, f"{where}: prompts differ: {asked} and {told}")
    tally.expect(str(theirs["target"]) == ours["target"], f"{where}: target {theirs['target']} and {ours['target']}")
    for mine, other in zip(ours["filtered_resps"], theirs["filtered_resps"], strict=True):
        mine, other = (mine, other) if isinstance(mine, list) else ([mine], [other])
        difference = abs(float(mine[0]) - float(other[0]))
        tally.requests += 1
        tally.largest = max(tally.largest, difference)
        tally.expect(difference <= tally.tolerance, f"{where}: log-likelihood {other[0]} and {mine[0]}")
        if len(mine) > 1:
            tally.expect(mine[1] == str(other[1]), f"{where}: greedy {other[1]} and {mine[1]}")
    for name in theirs["metrics"]:
        other, mine = theirs[name], ours[name]
        if name.startswith(("acc", "exact")) and mine != other and is_tie(theirs, theirs["filtered_resps"], tally.tolerance):
            tally.near.append(where)
        elif name.startswith(("acc", "exact")):
            tally.expect(mine == other, f"{where}: {name} {other} and {mine}")


def compare(case, shots, theirs, out, tally):
    ours = json.loads((out / f"results_{shots}-shot.json").read_text())
    before = len(tally.near)
    for task, samples in theirs["samples"].items():
        logged = json_lines(out / f"samples_{task}_{shots}-shot.jsonl")
        tally.expect(len(samples) == len(logged), f"{case.name} {task}: {len(samples)} questions and {len(logged)}")
        samples = sorted(samples, key=lambda sample: sample["doc_id"])
        for i, (other, mine) in enumerate(zip(samples, logged)):
            compare_sample(f"{case.name} {task} {shots}-shot question {i}", other, mine, tally)
    for task, fields in theirs["results"].items():
        for name, value in fields.items():
            mine = ours["results"].get(task, {}).get(name)
            skipped = name == "sample_count" or (case.bootstrap == 0 and "_stderr" in name)
            if skipped or (len(tally.near) > before and isinstance(value, float)):
                continue
            slack = 2e-3 if "perplexity" in name or "bits" in name else 1e-6
            tally.expect(mine is not None and is_close(mine, value, slack), f"{case.name} {task} {name}: {value} and {mine}")
        versions = theirs["versions"].get(task), ours["versions"].get(task)
        tally.expect(float(versions[0]) == float(versions[1]), f"{task}: versions {versions}")


def run_case(case, krait, models, sets, folders, work, tolerance):
    harness.serve(sets[case.rows])
    served = harness.Served(models[case.model], case.batch, case.max_length)
    out = work / case.name
    ask_krait(krait, case, models[case.model], folders[case.rows], out)
    tally = Tally(tolerance)
    for shots in case.shots:
        compare(case, shots, served.run(case.tasks, shots, case.limit, case.bootstrap), out, tally)
    cut = json.loads((out / f"results_{case.shots[-1]}-shot.json").read_text())["krait"]["truncated"]
    print(
        f"{'ok  ' if not tally.wrong else 'FAIL'} {case.name}: {tally.requests} log-likelihoods of {len(case.tasks)} tasks, "
        f"{', '.join(map(str, case.shots))} shots, {sum(cut.values())} cut in the last; largest difference "
        f"{tally.largest:.1e}; {len(tally.near)} ties",
        flush=True,
    )
    for line in tally.wrong[:10]:
        print(f"     {line[:2000]}")
    return not tally.wrong


def write_fixture(shared, work):
    """Rows made of a text, and the harness's prompts, answers and scores of models/base for them."""
    sets = harness_data.made_sets((shared / "text" / "tinyshakespeare.txt").read_text(), seed=2, asked=4, shots=8)
    harness.serve(sets)
    shutil.rmtree(FIXTURE, ignore_errors=True)
    harness_data.write_sets(sets, FIXTURE / "data")
    runs = []
    for shots, max_length in ((0, None), (2, None), (2, 60)):
        served = harness.Served(REPOSITORY / "models" / "base", 4, max_length)
        found = served.run(MADE_TASKS, shots, bootstrap_iters=2000)
        samples = {
            task: [
                {
                    "arguments": [list(argument) for argument in sample["arguments"]],
                    "target": str(sample["target"]),
                    "answers": [a if isinstance(a, float) else list(a) for a in sample["filtered_resps"]],
                    "metrics": {name: sample[name] for name in sample["metrics"]},
                }
                for sample in sorted(list_of, key=lambda sample: sample["doc_id"])
            ]
            for task, list_of in found["samples"].items()
        }
        results = {task: {k: v for k, v in fields.items() if "," in k} for task, fields in found["results"].items()}
        runs.append({"shots": shots, "max_length": max_length, "results": results, "samples": samples})
    (FIXTURE / "answers.json").write_text(json.dumps({"bootstrap": 2000, "runs": runs}, ensure_ascii=False) + "\n")
    print(f"{FIXTURE}: {sum(path.stat().st_size for path in FIXTURE.rglob('*') if path.is_file())} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, required=True, help="folder with lm-eval, text and tokenizers")
    parser.add_argument("--only", default="", help="part of the names of cases")
    parser.add_argument("--tolerance", type=float, default=1e-3)
    parser.add_argument("--krait", default="node bin/krait.mjs", help="command that runs Krait")
    parser.add_argument("--fixture", action="store_true", help="write the test's fixture and compare nothing")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        if given.fixture:
            return write_fixture(given.shared, work)
        text = (given.shared / "text" / "tinyshakespeare.txt").read_text()
        sets = {"made": harness_data.made_sets(text), "real": real_sets(given.shared)}
        folders = {"made": work / "made-rows", "real": work / "real-rows"}
        harness_data.write_sets(sets["made"], folders["made"])
        lay_out_real(sets["real"], given.shared, folders["real"])
        tokenizer = given.shared / "tokenizers" / "gpt-neox-20b" / "tokenizer.json"
        models = {"base": REPOSITORY / "models" / "base", "random": random_mamba(work / "random", tokenizer)}
        cases = [case for case in CASES if given.only in case.name]
        results = [
            run_case(case, given.krait.split(), models, sets, folders, work, given.tolerance) for case in cases
        ]
        raise SystemExit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
