"""Quantises a GGUF file with llama.cpp and gives the matrices of its blocks back as f32.

    python quantise.py F32.gguf Q4_K_M OUT

OUT/quantised.gguf is what llama.cpp writes. OUT/model.safetensors holds every matrix of a block, dequantised,
under its GGUF name and with its rows in GGUF's order. OUT/tensors.json says for each of them its type, its
bytes in the file and its number of weights. Started by `cargo xtask peers`.
"""

import json
import pathlib
import sys

import gguf
import llama_cpp
import numpy as np
from gguf.quants import dequantize


def quantise(source: pathlib.Path, name: str, to: pathlib.Path) -> None:
    """Has llama.cpp quantise without importance matrix, with what it takes by default for the type `name`."""
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{name}")
    status = llama_cpp.llama_model_quantize(bytes(source), bytes(to), params)
    if status != 0:
        sys.exit(f"llama.cpp cannot quantise {source} as {name}: status {status}")


def matrices(reader: gguf.GGUFReader) -> list[gguf.ReaderTensor]:
    """The linear weights: embeddings and the output head lie outside the blocks, norms are vectors."""
    return [t for t in reader.tensors if t.name.startswith("blk.") and len(t.shape) == 2]


def write(tensors: list[gguf.ReaderTensor], to: pathlib.Path) -> None:
    """A safetensors file: length of the header, header, values; one matrix is in memory at a time."""
    header, end = {}, 0
    for tensor in tensors:
        start, end = end, end + 4 * int(tensor.n_elements)
        # GGUF names the contiguous axis first.
        shape = [int(n) for n in reversed(tensor.shape)]
        header[tensor.name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with to.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors:
            values = dequantize(tensor.data, tensor.tensor_type)
            file.write(np.ascontiguousarray(values, dtype="<f4").tobytes())


def main() -> None:
    source, name, out = pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
    quantise(source, name, out / "quantised.gguf")
    tensors = matrices(gguf.GGUFReader(out / "quantised.gguf"))
    write(tensors, out / "model.safetensors")
    described = {
        t.name: {"type": t.tensor_type.name, "n_bytes": int(t.n_bytes), "n_weights": int(t.n_elements)}
        for t in tensors
    }
    (out / "tensors.json").write_text(json.dumps(described, indent=1) + "\n")


if __name__ == "__main__":
    main()
