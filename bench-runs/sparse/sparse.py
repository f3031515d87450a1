"""A model, and the same with half of its linear weights pruned, at several rates: bytes and KL divergence, as JSON.

    pip install numpy ml_dtypes safetensors
    cargo build --release -p nwc-cli --features torch      (with LibTorch: see README.md)
    python bench-runs/sparse/sparse.py target/release/nwc-cli MODEL WORK EVALUATION_TEXT CALIBRATION_TEXT...

MODEL is one file of safetensors with Llama's tensor names. Pruned are the smallest weights of each row ("half") or of
each four neighbours ("2of4"), nothing is trained after: what counts is the divergence of the compressed model from the
pruned one. Each model is calibrated by itself, on 12 windows of 512 tokens for Hessians and 12 for Fisher and
curvature; divergences are over 8 windows of 1024 tokens.
"""

import json
import pathlib
import shutil
import subprocess
import sys

import ml_dtypes
import numpy
from safetensors.numpy import load_file, save_file

BITS = {"dense": [2.5, 3, 3.5, 4], "half": [2, 2.5, 3], "2of4": [2, 2.5, 3]}


def pruned(weights, kind):
    """`weights` with half of them zero."""
    width = {"half": weights.shape[1], "2of4": 4}[kind]
    groups = weights.reshape(-1, width).copy()
    smallest = numpy.argpartition(numpy.abs(groups), width // 2, axis=1)[:, : width // 2]
    numpy.put_along_axis(groups, smallest, 0, axis=1)
    return groups.reshape(weights.shape)


def write_model(source, kind, out):
    """The model in bfloat16, pruned."""
    out.mkdir(parents=True)
    tensors = {}
    for name, weights in load_file(source / "model.safetensors").items():
        if kind != "dense" and "_proj" in name:
            weights = pruned(weights, kind)
        tensors[name] = weights.astype(ml_dtypes.bfloat16)
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    for file in source.iterdir():
        if file.suffix != ".safetensors":
            shutil.copy(file, out)


def main():
    nwc, source, work, evaluation, *calibration = map(pathlib.Path, sys.argv[1:])

    def run(*args):
        output = subprocess.run([nwc, *args], check=True, capture_output=True, text=True)
        return output.stdout

    found = []
    for kind, rates in BITS.items():
        model, statistics = work / kind, work / f"{kind}.stats"
        write_model(source, kind, model)
        texts = [arg for text in calibration for arg in ("--text", text)]
        few = ["--windows", "12", "--fisher-windows", "12", "--ctx", "512"]
        run("calibrate", model, *texts, *few, "--out", statistics, "-q")
        for bits in rates:
            out = work / f"{kind}-{bits}"
            run("compress", model, out, "--payload-bpw", str(bits), "--stats", statistics, "-q")
            totals = json.loads(run("inspect", out, "--json"))["totals"]
            few = ["--ctx", "1024", "--max-tokens", "8192", "--json"]
            measured = json.loads(run("eval", out, "--ref", model, "--text", evaluation, *few))
            kept = ["n_tokens", "kl", "kl_standard_error", "perplexity", "reference_perplexity"]
            found.append({
                "model": kind,
                "payload_bpw": totals["bpw_payload_linear"],
                "total_bytes": totals["total_bytes"],
                **{key: measured[key] for key in kept},
            })
            print(found[-1], file=sys.stderr)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
