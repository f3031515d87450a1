"""A model of transformers from a compressed folder, through the public interface of transformers alone."""

from __future__ import annotations

import os
from typing import Any

from ._checkpoint import safe_open


def from_pretrained(folder_or_hub_id: str | os.PathLike, **kwargs: Any) -> Any:
    """The model in a compressed folder, or in a repository of the Hub, as its own class of transformers.

    ``config.architectures`` names the class. Keyword arguments are those of the class's ``from_pretrained``, such as
    ``dtype`` and ``device_map``; ``revision``, ``cache_dir`` and ``token`` go to the Hub. Needs transformers 5.0 or later.
    The model is an ordinary one: ``save_pretrained`` writes an ordinary checkpoint.

    Raises :class:`nwc.TensorError` for a damaged tensor, with file and tensor, and others of :class:`nwc.NwcError`;
    :class:`ImportError` for an older transformers; :class:`ValueError` where the configuration names no class of
    transformers.
    """
    import transformers

    if int(transformers.__version__.split(".")[0]) < 5:
        raise ImportError(
            f"nwc.from_pretrained needs transformers 5.0 or later, found {transformers.__version__}; with an older one, "
            "import nwc.transformers and use from_pretrained of transformers"
        )
    hub = {key: kwargs.pop(key) for key in ("revision", "cache_dir", "token") if key in kwargs}
    folder = _folder(folder_or_hub_id, hub)
    config = kwargs.pop("config", None)
    if config is None:
        config = transformers.AutoConfig.from_pretrained(folder)
    if getattr(config, "quantization_config", None) is not None:
        del config.quantization_config
    names = getattr(config, "architectures", None) or []
    found = [getattr(transformers, name) for name in names if hasattr(transformers, name)]
    if not found:
        raise ValueError(f"{folder}/config.json names no class of transformers under architectures: {names}")
    with safe_open(folder, framework="pt") as handle:
        weights = {name: handle.get_slice(name) for name in handle.offset_keys()}
        model = found[0].from_pretrained(None, config=config, state_dict=weights, **kwargs)
    if model.can_generate() and os.path.exists(os.path.join(folder, "generation_config.json")):
        model.generation_config = transformers.GenerationConfig.from_pretrained(folder)
    return model


def _folder(folder_or_hub_id: str | os.PathLike, hub: dict[str, Any]) -> str:
    path = os.fspath(folder_or_hub_id)
    if os.path.isdir(path):
        return path
    from huggingface_hub import snapshot_download

    return snapshot_download(path, **hub)
