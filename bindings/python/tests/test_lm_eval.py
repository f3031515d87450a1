"""lm-eval's own command line on a compressed folder, on tasks that lie in local files."""

import json
import os
import subprocess
import sys

import pytest

import nwc

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("lm_eval")

WORDS = "the a one of and in river stone house tree light water runs stands grows falls over under beside old new".split()

TASKS = {
    "choice": """
output_type: multiple_choice
doc_to_text: "{{text}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
metric_list: [{metric: acc}]
""",
    "rolling": """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: bits_per_byte}]
""",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Compressed and decompressed folder of a tiny Llama with a tokenizer of words."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    root = tmp_path_factory.mktemp("lm-eval")
    tokens = ["<unk>", "<s>", "</s>", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(tokens)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    torch.manual_seed(2)
    config = transformers.LlamaConfig(
        hidden_size=128, intermediate_size=192, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=len(tokens), max_position_embeddings=64, bos_token_id=1, eos_token_id=2,
        # Weights large enough that answers differ.
        initializer_range=0.3,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(root / "model")
    tokenizer.save_pretrained(root / "model")
    nwc.compress(root / "model", root / "nwc", bpw=3, progress=False)
    nwc.decompress(root / "nwc", root / "plain", progress=False)
    return root


def _tasks(folder):
    import random

    draw = random.Random(5)
    some = lambda n: " ".join(draw.choices(WORDS, k=n))  # noqa: E731
    folder.mkdir()
    rows = [{"text": some(6), "choices": [some(3), some(3)], "answer": draw.randrange(2)} for _ in range(12)]
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, config in TASKS.items():
        head = f"task: {name}\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {json.dumps(str(data))}}}}}\n"
        (folder / f"{name}.yaml").write_text(head + "test_split: test\n" + config)


def _scores(model, tasks, out):
    arguments = ["--model", "hf", "--model_args", f"pretrained={model},dtype=float32", "--device", "cpu"]
    arguments += ["--tasks", ",".join(TASKS), "--include_path", tasks, "--output_path", out / "x.json", "--log_samples"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tasks.parent / "cache")}
    command = [sys.executable, "-m", "nwc", "lm-eval", "run", *map(str, arguments)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr[-3000:]
    (report,) = out.glob("**/*.json")
    samples = {}
    for file in out.glob("**/*.jsonl"):
        for line in file.read_text().splitlines():
            row = json.loads(line)
            samples[file.name.split("_2")[0], row["doc_id"]] = row["resps"]
    return {t: {k: v for k, v in s.items() if isinstance(v, float)} for t, s in json.loads(report.read_text())["results"].items()}, samples


def test_the_compressed_folder_scores_like_the_decompressed_one(folders, tmp_path):
    _tasks(tmp_path / "tasks")
    found, expected, other = (
        _scores(folders / name, tmp_path / "tasks", tmp_path / name) for name in ("nwc", "plain", "model")
    )
    assert set(found[0]) == set(TASKS) and len(found[1]) == 24
    assert found == expected
    # Three bits show in the likelihoods, so the comparison above compares something.
    assert found[1] != other[1]


def test_wrong_arguments_are_lm_evals_affair():
    command = [sys.executable, "-m", "nwc", "lm-eval", "run", "--no-such-flag", "x"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 2 and "--no-such-flag" in run.stderr
