"""vLLM's plugin: ``vllm serve FOLDER --load-format nwc``.

The entry point ``vllm.general_plugins`` calls :func:`register` in every process of vLLM, which registers a quantisation
method and a loader, both called ``nwc``; other models are loaded as before. Weights are decoded on the CPU while they are
loaded, and the model in memory is an ordinary one: a compressed folder saves disk and download, not GPU memory.

Checked with vLLM 0.33.0. Where a version of vLLM lacks a name that is used here, the import fails and says which.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator
from typing import Any

import torch

from . import safe_open
from ._checkpoint import is_compressed_file

try:
    from vllm.config import get_current_vllm_config_or_none
    from vllm.model_executor.layers.linear import LinearBase, UnquantizedLinearMethod
    from vllm.model_executor.layers.quantization import register_quantization_config
    from vllm.model_executor.layers.quantization.base_config import QuantizationConfig
    from vllm.model_executor.model_loader import register_model_loader
    from vllm.model_executor.model_loader.default_loader import DefaultModelLoader
    from vllm.model_executor.model_loader.ep_weight_filter import should_skip_weight
    from vllm.model_executor.model_loader.weight_utils import enable_tqdm

    _missing = [n for n in ("Source", "_prepare_weights", "_get_weights_iterator") if not hasattr(DefaultModelLoader, n)]
    if _missing:
        raise ImportError(f"DefaultModelLoader has no {', '.join(_missing)}")
except ImportError as error:
    version = getattr(__import__("sys").modules.get("vllm"), "__version__", "not installed")
    raise ImportError(
        f"nwc.vllm does not know this version of vLLM ({version}): {error}; "
        "python -m nwc decompress gives an ordinary folder"
    ) from error

__all__ = ["NwcConfig", "NwcLoader", "register"]


class NwcConfig(QuantizationConfig):
    """The quantisation method ``nwc``: no layer is quantised in memory."""

    def get_name(self) -> str:
        return "nwc"

    def get_supported_act_dtypes(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16, torch.float32]

    @classmethod
    def get_min_capability(cls) -> int:
        return 0

    @staticmethod
    def get_config_filenames() -> list[str]:
        return []

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> NwcConfig:
        return cls()

    def get_quant_method(self, layer: torch.nn.Module, prefix: str) -> Any:
        """vLLM's method for ordinary weights.

        Raises :class:`ValueError` where vLLM would read the folder with a loader that does not decode.
        """
        config = get_current_vllm_config_or_none()
        if config is not None and config.load_config.load_format not in ("nwc", "dummy"):
            raise ValueError(
                f"the model is compressed by nwc, and load_format is {config.load_config.load_format!r}: "
                "start vLLM with --load-format nwc, or pass load_format='nwc'"
            )
        return UnquantizedLinearMethod() if isinstance(layer, LinearBase) else None


class NwcLoader(DefaultModelLoader):
    """The loader ``nwc``: vLLM's own for safetensors, with the tensors of compressed files decoded."""

    def __init__(self, load_config: Any) -> None:
        # Downloads and file lists are those of safetensors.
        super().__init__(dataclasses.replace(load_config, load_format="safetensors"))

    def _get_weights_iterator(self, source: DefaultModelLoader.Source) -> Iterator[tuple[str, torch.Tensor]]:
        _, files, _, _ = self._prepare_weights(
            source.model_or_path,
            source.subfolder,
            source.revision,
            source.fall_back_to_pt,
            source.allow_patterns_overrides,
        )
        if not any(map(is_compressed_file, files)):
            return super()._get_weights_iterator(source)
        if self.counter_before_loading_weights == 0.0:
            # vLLM reports the time from here on.
            self.counter_before_loading_weights = time.perf_counter()
        return self._decoded(source, sorted(files))

    def _decoded(self, source: DefaultModelLoader.Source, files: list[str]) -> Iterator[tuple[str, torch.Tensor]]:
        from tqdm.auto import tqdm

        is_unused = source.is_unused_weight or (lambda name: False)
        is_silent = not enable_tqdm(self.load_config.use_tqdm_on_load)
        for file in tqdm(files, desc="Decoding checkpoint shards", disable=is_silent):
            with safe_open(os.fspath(file), framework="pt") as handle:
                for name in handle.offset_keys():
                    if not is_unused(name) and not should_skip_weight(name, self.local_expert_ids):
                        yield source.prefix + name, handle.get_tensor(name)


_is_registered = False


def register() -> None:
    """Registers :class:`NwcConfig` and :class:`NwcLoader` with vLLM; a second call does nothing."""
    global _is_registered
    if not _is_registered:
        register_quantization_config("nwc")(NwcConfig)
        register_model_loader("nwc")(NwcLoader)
        _is_registered = True
