#!/usr/bin/env python3
"""Small quantised weights with what other packages make of them: fixtures/quantized/*.safetensors.

    pip install torch transformers==5.24.0 compressed-tensors==0.20.0 safetensors
    python tests/scripts/quantized_fixtures.py fixtures/quantized

Each file holds the tensors of one quantised weight under the names of a checkpoint, and `expected`, the opened weight in
f32 as the package named below computes it. The same bytes on every run. GPTQ has no reader in these packages that runs
without a GPU kernel: its file is made from known integers, and `expected` from those integers, not from the packed ones.
"""

import pathlib
import sys

import torch
from compressed_tensors.entrypoints.convert.converters.autoawq import AutoAWQConverter
from safetensors.torch import save_file
from transformers.integrations.finegrained_fp8 import _dequantize_fp8_weight
from transformers.integrations.mxfp4 import convert_moe_packed_tensors


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def fp8(block, rows, cols, seed, dtype=torch.float8_e4m3fn):
    """transformers' opening of block-scaled FP8; all finite bytes occur."""
    g = seeded(seed)
    finite = torch.arange(256, dtype=torch.uint8).view(dtype)
    finite = finite[torch.isfinite(finite.float())]
    weight = finite.view(torch.uint8)[torch.randint(len(finite), (rows, cols), generator=g)].view(dtype)
    grid = (-(-rows // block[0]), -(-cols // block[1]))
    scale = torch.rand(grid, generator=g) * 0.01 + 1e-4
    expected = _dequantize_fp8_weight(weight, scale, list(block), torch.float32)
    return weight, scale, expected


def pack_rows(values, bits):
    """[n, m] small integers to [n · bits / 32, m] words, the first row in the lowest bits."""
    per_word = 32 // bits
    words = torch.zeros(values.shape[0] // per_word, values.shape[1], dtype=torch.int64)
    for i in range(per_word):
        words |= values[i::per_word].long() << (bits * i)
    return words.to(torch.int32)


def gptq(bits, rows, cols, group, seed, shuffled):
    g = seeded(seed)
    n_groups = cols // group
    q = torch.randint(2 ** bits, (cols, rows), generator=g)
    zero = torch.randint(2 ** bits, (n_groups, rows), generator=g)
    scales = (torch.rand(n_groups, rows, generator=g) * 0.02 + 1e-3).half()
    g_idx = torch.arange(cols) // group
    if shuffled:
        g_idx = g_idx[torch.randperm(cols, generator=g)]
    expected = ((q - zero[g_idx]).float() * scales.float()[g_idx]).T.contiguous()
    stored = (zero - 1) % 2 ** bits
    return {
        "q_proj.qweight": pack_rows(q, bits),
        "q_proj.qzeros": pack_rows(stored.T.contiguous(), bits).T.contiguous(),
        "q_proj.scales": scales,
        "q_proj.g_idx": g_idx.to(torch.int32),
        "expected": expected,
    }


def awq(rows, cols, group, seed):
    g = seeded(seed)
    words = lambda n, m: torch.randint(-2 ** 31, 2 ** 31, (n, m), generator=g).to(torch.int32)
    qweight, qzeros = words(cols, rows // 8), words(cols // group, rows // 8)
    scales = (torch.rand(cols // group, rows, generator=g) * 0.02 + 1e-3).half()
    q, zero = AutoAWQConverter.unpack_awq(qweight, qzeros, 4)
    q, zero = AutoAWQConverter.reverse_awq_order(q, zero, 4)
    q, zero = q & 15, zero & 15
    expected = (q - zero.repeat_interleave(group, 0)).float() * scales.float().repeat_interleave(group, 0)
    return {
        "q_proj.qweight": qweight, "q_proj.qzeros": qzeros, "q_proj.scales": scales,
        "expected": expected.T.contiguous(),
    }


def mxfp4(experts, rows, n_blocks, seed):
    g = seeded(seed)
    blocks = torch.randint(256, (experts, rows, n_blocks, 16), generator=g).to(torch.uint8)
    scales = torch.randint(100, 140, (experts, rows, n_blocks), generator=g).to(torch.uint8)
    expected = convert_moe_packed_tensors(blocks, scales, dtype=torch.bfloat16).float()
    return {"experts.down_proj_blocks": blocks, "experts.down_proj_scales": scales, "expected": expected.contiguous()}


def main(out):
    out.mkdir(parents=True, exist_ok=True)
    weight, scale, expected = fp8((16, 16), 40, 24, 1)
    save_file({"q_proj.weight": weight, "q_proj.weight_scale_inv": scale, "expected": expected}, out / "fp8_block.safetensors")
    weight, scale, expected = fp8((1, 24), 8, 24, 2)
    save_file({"q_proj.weight": weight, "q_proj.weight_scale": scale, "expected": expected}, out / "fp8_row.safetensors")
    weight, scale, expected = fp8((8, 24), 8, 24, 3, torch.float8_e5m2)
    save_file({"q_proj.weight": weight, "q_proj.weight_scale": scale[0], "expected": expected}, out / "fp8_tensor.safetensors")
    save_file(mxfp4(2, 6, 3, 4), out / "mxfp4.safetensors")
    save_file(gptq(4, 16, 32, 8, 5, False), out / "gptq_4bit.safetensors")
    save_file(gptq(8, 8, 16, 4, 6, True), out / "gptq_8bit_shuffled.safetensors")
    save_file(awq(16, 24, 8, 7), out / "awq.safetensors")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
