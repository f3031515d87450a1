"""Lossless coding of a safetensors file by nwc, ZipNN and zstd, in turns in one run; one JSON object.

    pip install zipnn zstandard numpy ml_dtypes safetensors
    cargo build --release -p nwc-codec --example packed
    python bench-runs/packed/peers.py target/release/examples/packed FILE.safetensors [REPEATS]

Every coder restores the bytes that it was given. Rates are bytes of the original a second of processor time, the best
of the repeats, on one thread; the example's `encode_gb_s` and `decode_gb_s` are of wall time, on one thread and on all.
"""

import json
import subprocess
import sys
import time

import ml_dtypes
import numpy
import zipnn
import zstandard
from safetensors import safe_open

DTYPES = {
    numpy.dtype(ml_dtypes.bfloat16): "bfloat16",
    numpy.dtype(numpy.float16): "float16",
    numpy.dtype(numpy.float32): "float32",
}


def timed(function, argument):
    start = time.process_time()
    result = function(argument)
    return result, time.process_time() - start


def main():
    example, path = sys.argv[1:3]
    repeats = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    by_dtype = {}
    with safe_open(path, "np") as file:
        for name in file.keys():
            tensor = file.get_tensor(name)
            if tensor.dtype in DTYPES:
                by_dtype.setdefault(tensor.dtype, []).append(tensor.ravel().view(numpy.uint8))
    parts = {dtype: numpy.concatenate(part).tobytes() for dtype, part in by_dtype.items()}
    n_bytes = sum(len(part) for part in parts.values())
    found = {"file": path.rsplit("/", 1)[-1], "repeats": repeats, "n_bytes": n_bytes}
    zstd, unzstd = zstandard.ZstdCompressor(level=3), zstandard.ZstdDecompressor()
    for _ in range(repeats):
        run = subprocess.run([example, path, "1"], capture_output=True, check=True, text=True)
        keep(found, "nwc", json.loads(run.stdout))
        for peer in ["zipnn", "zstd"]:
            stored, encoding, decoding = 0, 0.0, 0.0
            for dtype, part in parts.items():
                if peer == "zipnn":
                    coder = zipnn.ZipNN(bytearray_dtype=DTYPES[dtype], input_format="byte", threads=1)
                    encode, decode = coder.compress, coder.decompress
                else:
                    encode, decode = zstd.compress, unzstd.decompress
                # ZipNN may change what it is given.
                coded, seconds = timed(encode, bytearray(part) if peer == "zipnn" else part)
                encoding += seconds
                stored += len(coded)
                restored, seconds = timed(decode, coded)
                decoding += seconds
                if bytes(restored) != part:
                    raise SystemExit(f"{peer} restored other bytes")
            rates = [n_bytes / encoding / 1e9, n_bytes / decoding / 1e9]
            keep(found, peer, {"stored_bytes": stored, "share": stored / n_bytes, "cpu_gb_s": rates})
    print(json.dumps(found, indent=2))


def keep(found, coder, run):
    """Keeps the run's sizes and the best of each rate."""
    kept = found.setdefault(coder, run)
    for key in ["encode_gb_s", "decode_gb_s", "cpu_gb_s"]:
        if key in run:
            kept[key] = [round(max(pair), 3) for pair in zip(kept[key], run[key])]


if __name__ == "__main__":
    main()
