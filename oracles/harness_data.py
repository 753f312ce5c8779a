"""Small data sets in the formats of lm-eval's tasks, made of a plain text: what both programs are then asked about.

Nothing of the real data sets is in them. What trips implementations up is: letters outside ASCII, spaces that Python
and JavaScript see differently, brackets, choices of one character, a row that is among the examples too.
"""

import json
import random
import re


def sentences_of(text):
    flat = re.sub(r"\s+", " ", re.sub(r"^[A-Z][A-Za-z ]*:$", "", text, flags=re.M))
    found = [s.strip() for s in re.split(r"(?<=[.!?])\s", flat)]
    return [s for s in found if 30 <= len(s) <= 160 and "_" not in s]


class Maker:
    def __init__(self, text, seed):
        self.sentences = sentences_of(text)
        self.random = random.Random(seed)
        self.at = 0

    def sentence(self):
        self.at += 1
        return self.sentences[(self.at * 7) % len(self.sentences)]

    def words(self, least, most):
        words = self.sentence().split(" ")
        return " ".join(words[: self.random.randint(least, most)])

    def odd(self, i):
        """Something unusual, for some rows."""
        return ["", "\u00e9t\u00e9 \U0001f600 ", "", "caf\u00e9\u2003", "", "na\u00efve\x85", "", "\u200b"][i % 8]

    def hellaswag(self, i):
        endings = [self.words(3, 9) for _ in range(4)]
        endings[i % 4] = f" {endings[i % 4]} [substeps] and  so [title] on "
        return {
            "ind": i,
            "activity_label": ["Sailing", "Home and Garden"][i % 2],
            "ctx_a": f"[header] {self.odd(i)}{self.sentence()} [title] {self.words(2, 5)}",
            "ctx_b": ["", "THE King", "\u00e9lan of York", "he"][i % 4],
            "endings": endings,
            "label": str(self.random.randrange(4)),
        }

    def piqa(self, i):
        return {
            "goal": self.odd(i) + self.sentence(),
            "sol1": self.sentence(),
            "sol2": self.words(1, 6) + ("\U0001f40b" if i % 3 == 0 else ""),
            "label": self.random.randrange(2),
        }

    def arc(self, i):
        labels = [list("ABCD"), list("1234"), list("ABC"), list("ABCDE")][i % 4]
        return {
            "id": f"made-{i}",
            "question": self.odd(i) + self.sentence(),
            "choices": {"text": [self.words(1, 8) for _ in labels], "label": labels},
            "answerKey": self.random.choice(labels),
        }

    def winogrande(self, i):
        words = self.sentence().split(" ")
        blank = self.random.randrange(1, len(words) - 2)
        return {
            "sentence": " ".join(words[:blank] + ["_"] + words[blank + 1 :]) + ("  " if i % 3 == 0 else ""),
            "option1": ["Romeo", "the \u00e9lite"][i % 2],
            "option2": ["Mercutio", "a whale"][i % 2],
            "answer": self.random.choice(["1", "2"]),
        }

    def openbookqa(self, i):
        row = self.arc(4 * i)
        return {
            "id": row["id"],
            "question_stem": row["question"],
            "choices": row["choices"],
            "answerKey": (" " if i % 2 else "") + row["answerKey"],
        }

    def boolq(self, i):
        return {
            "question": self.words(4, 8).lower(),
            "passage": " ".join(self.sentence() for _ in range(3)),
            "idx": i,
            "label": self.random.randrange(2),
        }

    def sciq(self, i):
        row = {"question": self.sentence(), "support": ["", "\n  ", " \x1f"][i % 3] + self.sentence()}
        for name in ("distractor1", "distractor2", "distractor3", "correct_answer"):
            row[name] = self.words(1, 3) if i % 4 else self.random.choice("xyz\u00e9")
        return row

    def lambada(self, i):
        text = self.odd(i) + " ".join(self.sentence() for _ in range(2))
        return {"text": text.rstrip(".!?") + (" ." if i % 5 == 4 else "")}

    def wikitext(self, i):
        lines = [
            f" = {self.words(1, 3)} = ",
            f" {self.sentence()} ( born 1 @,@ 0{i} in N ) , the king 's @-@ man ; he said : \" {self.words(2, 5)} \" ! ",
            f" = = {self.words(1, 3)} = = ",
            f" {self.odd(i)}It weighed 3 @.@ {i} kg at 20 \u00b0 C [ sic ] ; kings ' men { '{ a }' } ' {self.words(1, 4)} ' ? ",
            " " + " ".join(self.sentence() for _ in range(6)) + " ",
        ]
        return {"page": " \n ".join(lines) + "\n"}

    def mmlu(self, i, subject):
        return {
            "question": f"{self.odd(i)}{self.sentence()}\n" if i % 2 else f"  {self.sentence()}",
            "subject": subject,
            "choices": [self.words(1, 6) for _ in range(4)],
            "answer": self.random.randrange(4),
        }


def rows_of(make, count):
    return [make(i) for i in range(count)]


MADE_SUBJECTS = ("anatomy", "sociology")


def made_sets(text, seed=1, asked=12, shots=30):
    """{(task, split): rows}; the two splits of PIQA's format share rows, so that some are left out as examples."""
    made = Maker(text, seed)
    sets = {}
    for task, make, split in (
        ("hellaswag", made.hellaswag, "validation"),
        ("piqa", made.piqa, "validation"),
        ("arc_easy", made.arc, "test"),
        ("arc_challenge", made.arc, "test"),
        ("winogrande", made.winogrande, "validation"),
        ("openbookqa", made.openbookqa, "test"),
        ("boolq", made.boolq, "validation"),
        ("sciq", made.sciq, "test"),
        ("lambada_openai", made.lambada, "test"),
        ("wikitext", made.wikitext, "test"),
    ):
        sets[task, split] = rows_of(make, asked if task != "wikitext" else max(2, asked // 4))
        if task not in ("lambada_openai", "wikitext"):
            sets[task, "train"] = rows_of(make, shots)
    sets["piqa", "train"] += sets["piqa", "validation"] * 2
    for subject in MADE_SUBJECTS:
        sets[f"mmlu_{subject}", "test"] = rows_of(lambda i: made.mmlu(i, subject), asked)
        sets[f"mmlu_{subject}", "dev"] = rows_of(lambda i: made.mmlu(i, subject), 5)
    return sets


def place_of(task, split):
    """Where Krait looks for a split in `--data-dir`."""
    if task.startswith("mmlu_"):
        return f"mmlu/{task[5:]}/{split}.jsonl"
    return f"{task}/{split}.jsonl"


def write_sets(sets, folder):
    for (task, split), rows in sets.items():
        path = folder / place_of(task, split)
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
