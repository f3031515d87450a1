"""How long transformers takes to load a compressed folder, beside the ordinary one in bf16.

python bench-runs/loading/loading.py MODEL WORK > bench-runs/loading/loading.json

MODEL is an ordinary folder, such as the one that `cargo xtask model` makes; WORK takes a copy in bf16 and compressed
folders of it, which later runs use again. Each load is a process of its own on two cores, plain and compressed by turns,
with all files read once before; what is timed is `from_pretrained` alone, without the imports. The compressed model's
weights are then compared with those of the folder that `nwc.decompress` makes of it.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

ROUNDS = 9
RATES = [3.0, 4.0]

LOAD = """
import os, sys, time
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
import torch
from transformers import AutoModelForCausalLM
import nwc.transformers
from transformers.models.llama import modeling_llama
start, cpu = time.perf_counter(), time.process_time()
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.bfloat16)
print(time.perf_counter() - start, time.process_time() - cpu)
"""


def prepare(model, work):
    """The folders to load: name to path."""
    import nwc
    import torch
    from safetensors.torch import load_file, save_file

    folders = {"bf16": work / "bf16"}
    if not folders["bf16"].exists():
        scratch = work / "making"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        for file in model.iterdir():
            if file.suffix == ".safetensors":
                tensors = {name: t.to(torch.bfloat16) for name, t in load_file(file).items()}
                save_file(tensors, scratch / file.name, metadata={"format": "pt"})
            elif file.name == "config.json":
                config = json.loads(file.read_text())
                config["torch_dtype"] = "bfloat16"
                (scratch / file.name).write_text(json.dumps(config, indent=2))
            elif file.name != "model.safetensors.index.json":
                shutil.copy(file, scratch)
        scratch.rename(folders["bf16"])
    for bpw in RATES:
        folder = folders[f"{bpw} bits"] = work / f"nwc-{bpw}"
        if not folder.exists():
            nwc.compress(folders["bf16"], folder, bpw=bpw)
        again = work / f"again-{bpw}"
        if not again.exists():
            nwc.decompress(folder, again)
    return folders


def is_same(folder, again):
    """Whether both folders give the same model, bit by bit."""
    import nwc.transformers  # noqa: F401
    import torch
    from transformers import AutoModelForCausalLM

    found, expected = (AutoModelForCausalLM.from_pretrained(f, dtype=torch.bfloat16).state_dict() for f in (folder, again))
    return found.keys() == expected.keys() and all(torch.equal(found[n], expected[n]) for n in expected)


def load(folder):
    run = subprocess.run([sys.executable, "-c", LOAD, folder], capture_output=True, text=True, check=True)
    return [float(word) for word in run.stdout.split()]


def main():
    import torch
    import transformers

    import nwc

    folders = prepare(Path(sys.argv[1]), Path(sys.argv[2]))
    for folder in folders.values():
        load(folder)
    times = {name: [] for name in folders}
    for _ in range(ROUNDS):
        for name, folder in folders.items():
            times[name].append(load(folder))
    plain = statistics.median(wall for wall, _ in times["bf16"])
    rows = {}
    for name, found in times.items():
        wall = [w for w, _ in found]
        rows[name] = {
            "weight_bytes": sum(f.stat().st_size for f in folders[name].glob("*.safetensors")),
            "wall_s": {"median": statistics.median(wall), "min": min(wall), "max": max(wall)},
            "cpu_s": statistics.median(cpu for _, cpu in found),
            "times_plain": statistics.median(wall) / plain,
        }
        if name != "bf16":
            rows[name]["same_as_decompressed"] = is_same(folders[name], Path(sys.argv[2]) / f"again-{name.split()[0]}")
    versions = {"nwc": nwc.__version__, "torch": torch.__version__, "transformers": transformers.__version__}
    print(json.dumps({"rounds": ROUNDS, "cores": 2, "versions": versions, "rows": rows}, indent=1))


if __name__ == "__main__":
    # The model's classes are those of the machine; nothing is asked of the Hub.
    os.environ["HF_HUB_OFFLINE"] = "1"
    main()
