"""Checkpoints read tensor by tensor, with the interface of safetensors."""

from __future__ import annotations

import json
import os
import struct
import weakref
from math import prod
from typing import Any

from . import _nwc
from ._arrays import check_framework, to_array
from ._inspection import read_inspection
from .errors import NoSuchTensorError, NotACheckpointError


class Checkpoint(_nwc.Checkpoint):
    """A checkpoint folder, compressed or plain, opened for reading.

    Opening reads headers only; a tensor is decoded when it is asked for, with the interpreter released. One handle may be
    read by many threads and used after a fork.

    ``path`` is the folder. Raises :class:`nwc.NotACheckpointError`, :class:`nwc.MissingShardError`,
    :class:`nwc.ContainerError` and others of :class:`nwc.NwcError`, which name the file.
    """

    def info(self, name: str) -> dict[str, Any]:
        """``{"shape": [...], "dtype": "BF16"}`` of a tensor in the original checkpoint, dtype as safetensors names it.

        Raises :class:`nwc.NoSuchTensorError`.
        """
        shape, dtype = self.shape_and_dtype(name)
        return {"shape": shape, "dtype": dtype}

    def metadata(self) -> dict[str, str]:
        """The metadata of the original files, such as ``{"format": "pt"}``; those of later files win."""
        merged: dict[str, str] = {}
        for _, _, metadata in self.shards():
            merged.update(metadata)
        return merged

    def tensor(self, name: str, framework: str = "np") -> Any:
        """A tensor of numpy (``"np"``) or torch (``"pt"``, on the CPU), in its own shape and dtype, not shared.

        Numpy reads bfloat16 and float8 where ml_dtypes is installed. Raises :class:`nwc.NoSuchTensorError`;
        :class:`nwc.TensorError` where the tensor is damaged, with file and tensor; :class:`TypeError` where the framework
        has no such dtype.
        """
        framework = check_framework(framework)
        shape, dtype = self.shape_and_dtype(name)
        return to_array(self.tensor_bytes(name), dtype, shape, framework)

    def __repr__(self) -> str:
        kind = "compressed" if self.is_compressed else "plain"
        return f"Checkpoint({str(self.path)!r}, {kind}, {len(self.names())} tensors)"

    def _repr_html_(self) -> str | None:
        # A notebook shows what it is told by __repr__ where this is None.
        return read_inspection(_nwc.inspect(self.path), self.path)._repr_html_() if self.is_compressed else None


def is_compressed_file(path: str | os.PathLike) -> bool:
    """Whether the safetensors file has the entry of a compressed one; a header that cannot be read counts as none."""
    try:
        with open(path, "rb") as file:
            (n_bytes,) = struct.unpack("<Q", file.read(8))
            # The limit of safetensors itself.
            if n_bytes > 100_000_000:
                return False
            header = json.loads(file.read(n_bytes))
        return "nwc" in (header.get("__metadata__") or {})
    except (OSError, ValueError, struct.error, AttributeError):
        return False


# Handles of the same folder share its headers as long as one is open.
_open: weakref.WeakValueDictionary[tuple, Checkpoint] = weakref.WeakValueDictionary()


def _checkpoint(folder: str) -> Checkpoint:
    files = sorted(e for e in os.listdir(folder) if e.endswith((".safetensors", ".index.json")))
    stats = [os.stat(os.path.join(folder, name)) for name in files]
    key = (os.path.realpath(folder), os.getpid(), *((s.st_ino, s.st_size, s.st_mtime_ns) for s in stats))
    found = _open.get(key)
    if found is None:
        found = _open[key] = Checkpoint(folder)
    return found


class safe_open:  # noqa: N801, the name is that of safetensors
    """A checkpoint folder, or one file of it, with the interface of ``safetensors.safe_open``.

    ``path`` is a folder (all its tensors) or a ``.safetensors`` file (its own; the other files of the folder must be
    there, since codecs and tied tensors may lie in them). ``framework`` is ``"pt"`` or ``"np"``, ``device`` is where
    tensors of torch go, after they are decoded on the CPU. Raises as :class:`nwc.Checkpoint` does.
    """

    def __init__(self, path: str | os.PathLike, framework: str = "np", device: Any = "cpu") -> None:
        path = os.fspath(path)
        self._framework = check_framework(framework)
        self._device = device
        self._file = None
        folder = path
        if not os.path.isdir(path):
            if not os.path.exists(path):
                error = NotACheckpointError(f"{path} does not exist")
                error.path = path
                raise error
            folder, self._file = os.path.split(path)
        self._checkpoint: Checkpoint | None = _checkpoint(folder or ".")
        shards = self._checkpoint.shards()
        if self._file is not None:
            shards = [s for s in shards if s[0] == self._file]
            if not shards:
                error = NotACheckpointError(f"{path} is none of the weight files of its folder")
                error.path = path
                raise error
        self._names = [name for _, names, _ in shards for name in names]
        self._set = frozenset(self._names)
        self._metadata: dict[str, str] = {}
        for _, _, metadata in shards:
            self._metadata.update(metadata)

    @property
    def checkpoint(self) -> Checkpoint:
        """The folder that is read. Raises :class:`ValueError` where the handle is closed."""
        if self._checkpoint is None:
            raise ValueError("the handle is closed")
        return self._checkpoint

    def _inner(self, name: str) -> Checkpoint:
        checkpoint = self.checkpoint
        if name not in self._set:
            error = NoSuchTensorError(f"{self._file or checkpoint.path}: no tensor {name}")
            error.tensor = name
            raise error
        return checkpoint

    def keys(self) -> list[str]:
        """Names of the tensors, sorted."""
        return sorted(self._names)

    def offset_keys(self) -> list[str]:
        """Names of the tensors, in file order."""
        return list(self._names)

    def metadata(self) -> dict[str, str]:
        """The original file's metadata, such as ``{"format": "pt"}``."""
        return dict(self._metadata)

    def get_tensor(self, name: str) -> Any:
        """The tensor ``name``, decoded. Raises as :meth:`nwc.Checkpoint.tensor` does."""
        return self._place(self._inner(name).tensor(name, self._framework))

    def get_slice(self, name: str) -> "Slice":
        """The tensor ``name`` to be decoded when it is indexed. Raises :class:`nwc.NoSuchTensorError`."""
        return Slice(self, self._inner(name), name)

    def _place(self, array: Any) -> Any:
        if self._framework == "pt" and str(self._device) not in ("cpu", "None"):
            return array.to(self._device)
        return array

    def __enter__(self) -> "safe_open":
        return self

    def __exit__(self, *exc: object) -> None:
        self._checkpoint = None


class Slice:
    """A tensor that is decoded when it is indexed, and no more of it than whole substreams."""

    def __init__(self, handle: safe_open, checkpoint: Checkpoint, name: str) -> None:
        self._handle, self._checkpoint, self._name = handle, checkpoint, name
        self._shape, self._dtype = checkpoint.shape_and_dtype(name)

    def get_shape(self) -> list[int]:
        """The tensor's shape."""
        return list(self._shape)

    def get_dtype(self) -> str:
        """The tensor's dtype as safetensors names it, such as ``"BF16"``."""
        return self._dtype

    def __getitem__(self, index: Any) -> Any:
        framework = self._handle._framework
        items = index if isinstance(index, tuple) else (index,)
        box = self._box(items)
        if box is None:
            whole = self._checkpoint.tensor(self._name, framework)
            is_whole = all(i is Ellipsis or i == slice(None) for i in items if not hasattr(i, "shape"))
            if is_whole and not any(hasattr(i, "shape") for i in items):
                return self._handle._place(whole)
            return self._handle._place(whole[index])
        ranges, rest = box
        rows, cols = ranges
        data = self._checkpoint.slice_bytes(self._name, rows, cols)
        part = to_array(data, self._dtype, [rows[1] - rows[0], cols[1] - cols[0]], framework)
        return self._handle._place(part[rest])

    def _box(self, items: tuple) -> tuple | None:
        """Rows and columns of a matrix that hold what is asked for, and the index of it in them; None for all else."""
        if len(self._shape) != 2 or len(items) > 2 or prod(self._shape) == 0:
            return None
        if not all(isinstance(i, (slice, int)) and not isinstance(i, bool) for i in items):
            return None
        if tuple(self._shape) != tuple(self._checkpoint.matrix_shape(self._name)):
            return None
        ranges, rest = [], []
        for item, n in zip(items + (slice(None),) * (2 - len(items)), self._shape):
            if isinstance(item, int):
                if not -n <= item < n:
                    raise IndexError(f"index {item} is out of range for {n} elements")
                ranges.append((item % n, item % n + 1))
                rest.append(0)
                continue
            start, stop, step = item.indices(n)
            if step != 1:
                return None
            ranges.append((start, max(start, stop)))
            rest.append(slice(None))
        if ranges == [(0, n) for n in self._shape]:
            return None
        return ranges, tuple(rest)


def load_file(path: str | os.PathLike, framework: str = "np", device: Any = "cpu") -> dict[str, Any]:
    """All tensors of a folder or file by name, decoded. Arguments and errors are those of :class:`safe_open`."""
    with safe_open(path, framework, device) as handle:
        return {name: handle.get_tensor(name) for name in handle.offset_keys()}
