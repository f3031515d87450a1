"""Bytes of a tensor as an array of numpy or torch, without a copy."""

from __future__ import annotations

from typing import Any

# Names in safetensors, in torch, in numpy; None where numpy has no such type without ml_dtypes.
_DTYPES = {
    "F64": ("float64", "float64"), "F32": ("float32", "float32"), "F16": ("float16", "float16"),
    "BF16": ("bfloat16", None), "I64": ("int64", "int64"), "I32": ("int32", "int32"),
    "I16": ("int16", "int16"), "I8": ("int8", "int8"), "U64": ("uint64", "uint64"),
    "U32": ("uint32", "uint32"), "U16": ("uint16", "uint16"), "U8": ("uint8", "uint8"),
    "BOOL": ("bool", "bool"), "C64": ("complex64", "complex64"),
    "F8_E4M3": ("float8_e4m3fn", None), "F8_E5M2": ("float8_e5m2", None),
    "F8_E4M3FNUZ": ("float8_e4m3fnuz", None), "F8_E5M2FNUZ": ("float8_e5m2fnuz", None),
    "F8_E8M0": ("float8_e8m0fnu", None),
}


def check_framework(framework: str) -> str:
    """``"pt"`` or ``"np"``, from any name that safetensors takes for them."""
    names = {"pt": "pt", "torch": "pt", "pytorch": "pt", "np": "np", "numpy": "np"}
    if framework not in names:
        raise ValueError(f"framework is {framework!r}, allowed: 'pt' or 'np'")
    return names[framework]


def to_array(data: bytearray, dtype: str, shape: list[int], framework: str) -> Any:
    """``data``, little-endian and row-major, as a writable array that shares its memory.

    Raises :class:`TypeError` where the framework has no such dtype.
    """
    if dtype not in _DTYPES:
        raise TypeError(f"dtype {dtype} has no counterpart in {framework}")
    torch_name, numpy_name = _DTYPES[dtype]
    if framework == "pt":
        import torch

        torch_dtype = getattr(torch, torch_name, None)
        if torch_dtype is None:
            raise TypeError(f"dtype {dtype} has no counterpart in this torch")
        if not data:
            return torch.empty(shape, dtype=torch_dtype)
        return torch.frombuffer(data, dtype=torch_dtype).reshape(shape)
    import numpy

    if numpy_name is not None:
        return numpy.frombuffer(data, dtype=numpy_name).reshape(shape)
    try:
        import ml_dtypes
    except ImportError:
        raise TypeError(f"numpy has no {torch_name}: install ml_dtypes, or read with framework='pt'") from None
    return numpy.frombuffer(data, dtype=getattr(ml_dtypes, torch_name)).reshape(shape)
