"""Small checkpoints written without torch or safetensors."""

import json
import struct

import numpy
import pytest

NUMPY = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8"}


def write_safetensors(path, tensors, metadata=None):
    """``tensors`` is name to (dtype, array); bf16 as its bits in uint16."""
    header, data = {"__metadata__": metadata or {"format": "pt"}}, b""
    for name, (dtype, array) in tensors.items():
        raw = numpy.ascontiguousarray(array, NUMPY[dtype]).tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def read_safetensors(path):
    """Name to (dtype, shape, bytes)."""
    raw = path.read_bytes()
    n = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + n])
    header.pop("__metadata__", None)
    return {
        name: (e["dtype"], e["shape"], raw[8 + n + e["data_offsets"][0] : 8 + n + e["data_offsets"][1]])
        for name, e in header.items()
    }


def bf16(values):
    """Bits of float32 values cut to bf16."""
    return (numpy.asarray(values, numpy.float32).view(numpy.uint32) >> 16).astype(numpy.uint16)


def tensors(seed=0):
    rng = numpy.random.default_rng(seed)
    normal = lambda *shape: (rng.standard_normal(shape) * 0.05).astype(numpy.float32)  # noqa: E731
    return {
        "model.embed_tokens.weight": ("BF16", bf16(normal(200, 96))),
        "model.layers.0.mlp.up_proj.weight": ("BF16", bf16(normal(2048, 320))),
        "model.layers.0.mlp.down_proj.weight": ("F16", normal(96, 256).astype(numpy.float16)),
        "model.layers.0.self_attn.q_proj.weight": ("F32", normal(96, 96)),
        "model.norm.weight": ("F32", normal(96)),
        "model.steps": ("I64", numpy.arange(6).reshape(2, 3)),
        "model.none": ("F32", numpy.zeros((0, 4), numpy.float32)),
    }


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A plain folder of two shards."""
    folder = tmp_path_factory.mktemp("checkpoint") / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    every = tensors()
    files = {"model-00001-of-00002.safetensors": list(every)[:2], "model-00002-of-00002.safetensors": list(every)[2:]}
    for file, names in files.items():
        write_safetensors(folder / file, {name: every[name] for name in names})
    weight_map = {name: file for file, names in files.items() for name in names}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


@pytest.fixture(scope="session", params=["trellis", "learned"])
def compressed(request, model, tmp_path_factory):
    """The same compressed, by either family."""
    import nwc

    out = tmp_path_factory.mktemp(request.param) / "model-nwc"
    nwc.compress(model, out, progress=False, **({"bpw": 6} if request.param == "trellis" else {"lambda_": 300}))
    return out


@pytest.fixture(scope="session")
def plain(compressed, tmp_path_factory):
    """The compressed folder decompressed: name to (dtype, shape, bytes)."""
    import nwc

    out = tmp_path_factory.mktemp("plain") / "model"
    nwc.decompress(compressed, out, progress=False)
    found = {}
    for file in out.glob("*.safetensors"):
        found.update(read_safetensors(file))
    return found
