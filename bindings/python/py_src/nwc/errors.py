"""One exception class for each kind of error of the Rust library, with its message.

Every class derives from :class:`NwcError`; where Python has a class for the same thing, from that, too.
``path`` is the file or folder and ``tensor`` the tensor that the error is about, or ``None``.
"""

from __future__ import annotations


class NwcError(Exception):
    """Any error of nwc."""

    path: str | None = None
    tensor: str | None = None

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class IoError(NwcError, OSError):
    """The file system refused."""


class OutputExistsError(NwcError, FileExistsError):
    """The output is there already."""


class NotAFileError(NwcError, OSError):
    """A path should name a regular file."""


class NotACheckpointError(NwcError, FileNotFoundError):
    """A folder holds no checkpoint."""


class OtherWeightsError(NwcError, ValueError):
    """A folder holds weights, but none in safetensors."""


class LfsPointerError(NwcError, ValueError):
    """A file is a pointer of Git LFS instead of the weights."""


class NotCompressedError(NwcError, ValueError):
    """A plain checkpoint where a compressed one was expected."""


class AlreadyCompressedError(NwcError, ValueError):
    """A compressed checkpoint where a plain one was expected."""


class MissingShardError(NwcError, FileNotFoundError):
    """The index names a shard that is not there."""


class IndexMismatchError(NwcError, ValueError):
    """The index and a shard disagree."""


class HeaderError(NwcError, ValueError):
    """A safetensors header that cannot be used."""


class JsonError(NwcError, ValueError):
    """A JSON file that cannot be used."""


class ContainerError(NwcError, ValueError):
    """The container is damaged or of another version."""


class FileDigestError(NwcError, ValueError):
    """A file carried along is not what was stored."""


class NonFiniteError(NwcError, ValueError):
    """A tensor holds NaN or infinity."""


class NoSuchTensorError(NwcError, KeyError):
    """No tensor of that name."""


class TensorError(NwcError, ValueError):
    """A tensor cannot be decoded."""


class CodecError(NwcError, ValueError):
    """A codec file cannot be used."""


class StatisticsError(NwcError, ValueError):
    """Statistics do not fit the model."""


class RecoveryError(NwcError, RuntimeError):
    """Recovery between the coding of linears failed."""


class NotReadBackError(NwcError, OSError):
    """What was written cannot be read back; nothing is left of it."""


class OtherModelError(NwcError, ValueError):
    """A model is not the one that was compressed."""


class CancelledError(NwcError, RuntimeError):
    """The job was asked to stop."""


class ArgumentError(NwcError, ValueError):
    """The caller asked for something that cannot be."""


def make(kind: str, message: str, path: str | None = None, tensor: str | None = None) -> NwcError:
    """The exception for an error of this kind; an unknown kind is a plain :class:`NwcError`."""
    error = globals().get(f"{kind}Error", NwcError)(message)
    error.path, error.tensor = path, tensor
    return error
