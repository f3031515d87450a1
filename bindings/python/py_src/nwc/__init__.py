"""Language models stored in 2 to 6 bits a weight, read like safetensors.

>>> import nwc
>>> report = nwc.compress("model", "model-nwc", bpw=4)      # doctest: +SKIP
>>> with nwc.safe_open("model-nwc", framework="pt") as f:   # doctest: +SKIP
...     weights = f.get_tensor("model.layers.0.mlp.down_proj.weight")

``import nwc`` imports neither numpy nor torch; ``import nwc.transformers`` teaches transformers to load such folders.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from . import _nwc
from ._checkpoint import Checkpoint, load_file, safe_open
from ._inspection import Inspection, read_inspection
from ._jobs import Progress, finish, finish_text
from ._nwc import PRETRAINED_LAMBDAS, __version__
from .errors import *  # noqa: F403
from .errors import NwcError

Path = str | os.PathLike


def compress(
    model: Path,
    out: Path,
    *,
    bpw: float | None = None,
    payload_bpw: float | None = None,
    target_size: int | None = None,
    max_kl: float | None = None,
    lambda_: float | None = None,
    codec: Path | None = None,
    lossless: bool = False,
    stats: Path | None = None,
    states: int | None = None,
    embeddings: str | None = None,
    embedding_bits: float | None = None,
    keep: Sequence[str] = (),
    code: Sequence[str] = (),
    dequantize: bool = False,
    preset: str | None = None,
    non_finite: str = "refuse",
    threads: int | None = None,
    verify: bool = False,
    card: bool | str = False,
    dry_run: bool = False,
    progress: Progress = None,
) -> Inspection:
    """Compresses the checkpoint folder ``model`` into the new folder ``out``, which appears whole or not at all.

    The rate, at most one of:

    - ``bpw``: size of the whole output in bits per parameter, 0.5 to 16; 4 where no rate is given
    - ``payload_bpw``: linear layers' payload and side information in bits per weight, 0.25 to 12
    - ``target_size``: size of the whole output in bytes
    - ``max_kl``: predicted KL divergence in nats per token; needs ``stats``
    - ``lambda_``: the pretrained learned codec of this lambda, one of :data:`PRETRAINED_LAMBDAS`
    - ``codec``: a codec file
    - ``lossless``: every tensor comes back bit for bit; bfloat16 takes about two thirds of its size

    ``stats`` is a statistics file of ``calibrate``; ``states`` the number of trellis states, 1, 4, 8, 16, 64 or 256;
    ``embeddings`` ``"code"`` or ``"keep"``; ``embedding_bits`` bits per weight more for embeddings, -4 to 8; ``keep``
    and ``code`` patterns of tensor names (``*`` and ``?``) that are stored as they are, or coded although a rule keeps
    them; ``dequantize`` opens FP8, MXFP4, GPTQ and AWQ weights; ``preset`` ``"paper"`` or ``None``; ``non_finite``
    ``"refuse"`` or ``"keep"``; ``threads`` the number of threads, all cores where it is ``None``; ``verify`` decodes
    all of what was written, and not a sample only, and compares it with the original before the folder appears;
    ``card`` writes a model card, ``README.md``, above the checkpoint's own, which decompression takes out again, and
    names the base model where it is an id as in ``"org/model"``; ``dry_run`` codes all and writes nothing. ``progress`` is called with what is being done, weights done and weights
    in all; ``None`` shows a bar on a terminal where tqdm is installed, ``False`` none.

    Returns what :func:`inspect` would. Raises :class:`ArgumentError`, :class:`OutputExistsError` and others of
    :class:`NwcError`; Ctrl-C and exceptions of ``progress`` stop the job.
    """
    args = {
        "bpw": bpw, "payload_bpw": payload_bpw, "target_size": target_size, "max_kl": max_kl, "lambda_": lambda_,
        "codec": codec, "lossless": lossless, "stats": stats, "states": states, "embeddings": embeddings,
        "embedding_bits": embedding_bits, "keep": _names("keep", keep), "code": _names("code", code),
        "dequantize": dequantize, "preset": preset, "non_finite": non_finite, "verify": verify, "dry_run": dry_run,
        "card": "" if card is True else card or None,
    }
    return read_inspection(finish_text(_nwc.compress(model, out, args, threads), progress), out)


def _names(argument: str, patterns: Sequence[str]) -> list[str]:
    if isinstance(patterns, str):
        raise TypeError(f"{argument} takes a list of patterns, not one string")
    return list(patterns)


def decompress(path: Path, out: Path, *, threads: int | None = None, progress: Progress = None) -> None:
    """Restores the compressed folder ``path`` into the new, ordinary checkpoint folder ``out``.

    ``threads`` and ``progress`` as in :func:`compress`. Raises :class:`NwcError`; nothing is left behind then.
    """
    finish(_nwc.decompress(path, out, threads), progress)


def verify(
    path: Path, *, against: Path | None = None, threads: int | None = None, progress: Progress = None
) -> dict[str, Any]:
    """Checks all digests of the compressed folder ``path`` and decodes every tensor.

    With ``against``, the folder of the original model, every tensor is compared with it: coded weights must be no
    further from it than was recorded when they were coded, all others must be equal.

    Returns ``{"n_tensors", "n_files", "n_tuned", "failures"}``, where ``failures`` are messages, none for a sound
    folder, and ``n_tuned`` counts tensors that differ from the original because recovery tuned them or a
    compressed folder was compressed again.
    Raises :class:`NwcError` only where the check cannot be made.
    """
    return finish(_nwc.verify(path, against, threads), progress)


def inspect(path: Path) -> Inspection:
    """What the compressed folder ``path`` holds, from its headers alone.

    A dict that a notebook shows as a page, see :class:`Inspection`. Keys: ``format_version``, ``generator``,
    ``fingerprint``, ``tensors`` (a dict each with name, shape, dtype, coding, bytes, bits a weight as ``bpw``, error as
    ``nmse``), ``files`` (digest by path), ``provenance`` and ``totals``. Raises :class:`NwcError`.
    """
    return read_inspection(_nwc.inspect(path), path)


def fingerprint(path: Path) -> str:
    """The fingerprint of the plain checkpoint folder ``path``, over names, dtypes, shapes and bytes of all tensors.

    Raises :class:`NwcError`.
    """
    return finish(_nwc.fingerprint(path), False)


def from_pretrained(folder: Path, **kwargs: Any) -> Any:
    """A model of transformers from a compressed folder; see :func:`nwc.transformers.from_pretrained`."""
    from . import _from_pretrained

    return _from_pretrained.from_pretrained(folder, **kwargs)
