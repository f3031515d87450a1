"""lm-eval on a model and on compressed folders of it, on tasks made from local texts: nothing is downloaded.

python bench-runs/lm-eval/scores.py MODEL WORK TEXT [TEXT ...] > bench-runs/lm-eval/smollm2.json

MODEL is an ordinary folder in bf16 (bench-runs/loading/loading.py makes WORK/bf16 of what `cargo xtask model` gives), WORK
takes the compressed folders and the tasks, TEXT are plain texts that served neither training nor calibration.

Two tasks, their questions drawn with a fixed seed: `continuation` asks which of four passages of 12 words follows 40 words
of the text, the others being from elsewhere in it; `last_word` asks for the word after 40 words, letter by letter as it
stands. Each model is scored by lm-eval's own command line, behind `python -m nwc`.
"""

import json
import random
import re
import subprocess
import sys
from pathlib import Path

N_QUESTIONS = 400
N_CONTEXT, N_NEXT = 40, 12
RATES = [3.0, 4.0]

CONTINUATION = """
task: continuation
dataset_path: json
dataset_kwargs: {data_files: {test: %s}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{context}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
metric_list: [{metric: acc}, {metric: acc_norm}]
metadata: {version: 1}
"""
LAST_WORD = """
task: last_word
dataset_path: json
dataset_kwargs: {data_files: {test: %s}}
test_split: test
output_type: loglikelihood
doc_to_text: "{{context}}"
doc_to_target: " {{word}}"
metric_list: [{metric: acc}, {metric: perplexity}]
metadata: {version: 1}
"""


def questions(texts):
    """Questions of both tasks, the same for the same texts."""
    draw = random.Random(0)
    words = [Path(text).read_text(encoding="utf-8").split() for text in texts]
    is_plain = re.compile(r"[A-Za-z]{4,}").fullmatch

    def passage(source, n):
        start = draw.randrange(len(source) - n)
        return source[start : start + n]

    choices, last = [], []
    for i in range(N_QUESTIONS):
        source = words[i % len(words)]
        found = passage(source, N_CONTEXT + N_NEXT)
        options = [found[N_CONTEXT:]] + [passage(source, N_NEXT) for _ in range(3)]
        order = draw.sample(range(4), 4)
        choices.append({
            "context": " ".join(found[:N_CONTEXT]),
            "choices": [" ".join(options[o]) for o in order],
            "answer": order.index(0),
        })
        found = passage(source, N_CONTEXT + 1)
        while not is_plain(found[-1]):
            found = passage(source, N_CONTEXT + 1)
        last.append({"context": " ".join(found[:-1]), "word": found[-1]})
    return {"continuation": choices, "last_word": last}


def write_tasks(folder, texts):
    """The tasks as lm-eval reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    for (name, rows), config in zip(questions(texts).items(), (CONTINUATION, LAST_WORD)):
        file = (folder / f"{name}.jsonl").resolve()
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        (folder / f"{name}.yaml").write_text(config % json.dumps(str(file)), encoding="utf-8")


def scores(folder, tasks, out):
    """What lm-eval's command line says of the model in `folder`."""
    command = [sys.executable, "-m", "nwc", "lm-eval", "run", "--model", "hf"]
    command += ["--model_args", f"pretrained={folder},dtype=bfloat16", "--device", "cpu", "--batch_size", "16"]
    command += ["--tasks", "continuation,last_word", "--include_path", str(tasks), "--output_path", str(out / "scores.json")]
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("*.json"):
        old.unlink()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (file,) = out.glob("*.json")
    found = json.loads(file.read_text())["results"]
    keep = re.compile(r"(acc|acc_norm|perplexity)(_stderr)?,none").fullmatch
    return {t: {k.split(",")[0]: v for k, v in row.items() if keep(k)} for t, row in found.items()}


def main():
    import importlib.metadata

    import nwc

    model, work, texts = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    write_tasks(work / "tasks", texts)
    rows = {"original": scores(model, work / "tasks", work / "out")}
    for bpw in RATES:
        folder, again = work / f"nwc-{bpw}", work / f"again-{bpw}"
        if not folder.exists():
            nwc.compress(model, folder, bpw=bpw)
        rows[f"{bpw} bits, data-free"] = scores(folder, work / "tasks", work / "out")
        if bpw == min(RATES):
            if not again.exists():
                nwc.decompress(folder, again)
            rows[f"{bpw} bits, data-free, decompressed"] = scores(again, work / "tasks", work / "out")
    versions = {name: importlib.metadata.version(name) for name in ("nwc", "lm_eval", "transformers", "torch")}
    texts = [Path(text).name for text in texts]
    print(json.dumps({"versions": versions, "texts": texts, "questions": N_QUESTIONS, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
