"""``import nwc.transformers``: transformers loads compressed folders like any other.

>>> import nwc.transformers                                          # doctest: +SKIP
>>> from transformers import AutoModelForCausalLM                    # doctest: +SKIP
>>> model = AutoModelForCausalLM.from_pretrained("model-nwc")        # doctest: +SKIP

The model is an ordinary one in memory, and ``save_pretrained`` writes an ordinary checkpoint. Two classes are registered
with transformers, and its name ``modeling_utils.safe_open`` is replaced by one that decodes compressed files and leaves
all others to safetensors; so is ``utils.offload.safe_open`` of accelerate, where that is installed: layers that a
``device_map`` leaves on disk stay there compressed and are decoded when they are used. Where a version of these packages
lacks one of the names, the import fails.
"""

from __future__ import annotations

import collections
import os
from typing import Any

from . import safe_open as _nwc_safe_open
from ._checkpoint import is_compressed_file
from ._from_pretrained import from_pretrained

__all__ = ["NwcConfig", "NwcQuantizer", "from_pretrained"]


def _names() -> tuple:
    """What is used of transformers, or an :class:`ImportError` that says what is missing."""
    try:
        import transformers
        from transformers import modeling_utils
        from transformers.quantizers.auto import register_quantization_config, register_quantizer
        from transformers.quantizers.base import HfQuantizer
        from transformers.utils.quantization_config import QuantizationConfigMixin

        original = modeling_utils.safe_open
    except (ImportError, AttributeError) as error:
        version = getattr(__import__("sys").modules.get("transformers"), "__version__", "not installed")
        raise ImportError(
            f"nwc.transformers does not know this version of transformers ({version}): {error}; "
            "nwc.from_pretrained(folder) needs no private names, and nwc-cli decompress gives an ordinary folder"
        ) from error
    major, minor = (int(part) for part in transformers.__version__.split(".")[:2])
    if (major, minor) < (4, 57):
        raise ImportError(f"nwc.transformers needs transformers 4.57 or later, found {transformers.__version__}")
    return modeling_utils, original, register_quantization_config, register_quantizer, HfQuantizer, QuantizationConfigMixin


def _accelerate() -> Any:
    """accelerate's module that reads what is left on disk, or ``None`` where accelerate is not installed."""
    try:
        import accelerate
    except ImportError:
        return None
    try:
        from accelerate.utils import offload

        offload.safe_open  # noqa: B018
    except (ImportError, AttributeError) as error:
        raise ImportError(
            f"nwc.transformers does not know this version of accelerate ({accelerate.__version__}): {error}; "
            "nwc.from_pretrained(folder) needs no private names"
        ) from error
    return offload


_modeling_utils, _original, _register_config, _register_quantizer, _HfQuantizer, _Mixin = _names()


@_register_config("nwc")
class NwcConfig(_Mixin):
    """The entry ``quantization_config`` of a compressed folder's config.json."""

    def __init__(self, **entry: Any) -> None:
        self.quant_method = "nwc"
        for key, value in entry.items():
            setattr(self, key, value)


@_register_quantizer("nwc")
class NwcQuantizer(_HfQuantizer):
    """Takes note that weights were decoded while they were read: nothing is left of the compression."""

    requires_calibration = True
    required_packages: list[str] = []

    def _process_model_before_weight_loading(self, model: Any, **kwargs: Any) -> Any:
        return model

    def _process_model_after_weight_loading(self, model: Any, **kwargs: Any) -> Any:
        self.remove_quantization_config(model)
        return model

    def is_serializable(self, *args: Any, **kwargs: Any) -> bool:
        return True

    @property
    def is_trainable(self) -> bool:
        return True


def _safe_open(filename: str | os.PathLike, framework: str = "pt", device: Any = "cpu", **kwargs: Any) -> Any:
    """safetensors' ``safe_open``, which decodes files that nwc compressed."""
    if is_compressed_file(filename):
        # A hub's cache holds links: the codecs and the other files lie beside the link, not beside its target.
        return _nwc_safe_open(filename, framework="pt" if framework == "pytorch" else framework, device=device)
    return _original(filename, framework=framework, device=device, **kwargs)


# Headers and codecs of the folders last read from, which would otherwise be read again for each layer.
_kept: collections.deque[Any] = collections.deque(maxlen=8)


def _offloaded(filename: str | os.PathLike, framework: str = "pt", device: Any = "cpu", **kwargs: Any) -> Any:
    """As :func:`_safe_open`, for a file that is opened once a layer and forward pass."""
    handle = _safe_open(filename, framework=framework, device=device, **kwargs)
    if isinstance(handle, _nwc_safe_open) and handle.checkpoint not in _kept:
        _kept.append(handle.checkpoint)
    return handle


_modeling_utils.safe_open = _safe_open
if (_offload := _accelerate()) is not None:
    _offload.safe_open = _offloaded
