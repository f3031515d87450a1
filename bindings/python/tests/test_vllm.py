"""The plugin for vLLM: against vLLM itself where it is installed, and against stand-ins for the names that it uses."""

import dataclasses
import importlib
import importlib.metadata
import sys
import types

import pytest

import nwc

torch = pytest.importorskip("torch")


@dataclasses.dataclass
class _LoadConfig:
    load_format: str = "auto"
    use_tqdm_on_load: bool = False
    device: str = "cpu"


def _stand_ins():
    """Modules with what `nwc.vllm` imports, as vLLM 0.33 has it."""

    class DefaultModelLoader:
        counter_before_loading_weights = 0.0

        @dataclasses.dataclass
        class Source:
            model_or_path: str
            revision: str | None
            subfolder: str | None = None
            prefix: str = ""
            fall_back_to_pt: bool = True
            allow_patterns_overrides: list | None = None
            is_unused_weight: object = None

        def __init__(self, load_config):
            self.load_config, self.local_expert_ids = load_config, None

        def _prepare_weights(self, path, subfolder, revision, fall_back_to_pt, patterns):
            assert self.load_config.load_format == "safetensors"
            from pathlib import Path

            return path, [str(f) for f in Path(path).glob("*.safetensors")], True, "model.safetensors.index.json"

        def _get_weights_iterator(self, source):
            from safetensors import safe_open

            for file in self._prepare_weights(source.model_or_path, None, None, True, None)[1]:
                with safe_open(file, "pt") as handle:
                    yield from ((source.prefix + name, handle.get_tensor(name)) for name in handle.keys())

    def should_skip_weight(name, local):
        expert = name.split(".experts.")[-1].split(".")[0]
        return local is not None and ".experts." in name and int(expert) not in local

    registered = {}
    register = lambda name: lambda cls: registered.setdefault((name, cls.__name__), cls)  # noqa: E731
    names = {
        "config": {"get_current_vllm_config_or_none": lambda: None},
        "config.load": {"LoadConfig": _LoadConfig},
        "model_executor.layers.linear": {
            "LinearBase": type("LinearBase", (torch.nn.Module,), {}),
            "UnquantizedLinearMethod": type("UnquantizedLinearMethod", (), {}),
        },
        "model_executor.layers.quantization": {"register_quantization_config": register},
        "model_executor.layers.quantization.base_config": {"QuantizationConfig": type("QuantizationConfig", (), {})},
        "model_executor.model_loader": {"register_model_loader": register},
        "model_executor.model_loader.default_loader": {"DefaultModelLoader": DefaultModelLoader},
        "model_executor.model_loader.ep_weight_filter": {"should_skip_weight": should_skip_weight},
        "model_executor.model_loader.weight_utils": {"enable_tqdm": lambda is_wanted: is_wanted},
    }
    modules = {}
    for name, members in names.items():
        module = types.ModuleType(f"vllm.{name}")
        vars(module).update(members)
        modules[module.__name__] = module
    for name in ("vllm", "vllm.model_executor", "vllm.model_executor.layers"):
        modules[name] = types.ModuleType(name)
    modules["vllm"].__version__ = "0.33.0"
    return modules


def _is_installed():
    try:
        importlib.metadata.version("vllm")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


@pytest.fixture(params=["stand-ins", "vllm"])
def plugin(request, monkeypatch):
    """The module `nwc.vllm`, newly imported."""
    if request.param == "vllm":
        if not _is_installed():
            pytest.skip("vllm is not installed")
    else:
        for name in [n for n in sys.modules if n.split(".")[0] == "vllm"]:
            monkeypatch.delitem(sys.modules, name)
        for name, module in _stand_ins().items():
            monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "nwc.vllm", raising=False)
    module = importlib.import_module("nwc.vllm")
    yield module
    sys.modules.pop("nwc.vllm", None)


@pytest.fixture(scope="module")
def experts(tmp_path_factory):
    """A folder of two shards with experts, compressed, and the same decompressed."""
    pytest.importorskip("safetensors")
    transformers = pytest.importorskip("transformers")
    root = tmp_path_factory.mktemp("experts")
    torch.manual_seed(3)
    config = transformers.MixtralConfig(
        hidden_size=128, intermediate_size=192, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=160, num_local_experts=4,
    )
    transformers.MixtralForCausalLM(config).to(torch.bfloat16).save_pretrained(root / "model", max_shard_size="400KB")
    nwc.compress(root / "model", root / "nwc", bpw=6, progress=False)
    nwc.decompress(root / "nwc", root / "plain", progress=False)
    assert len(list((root / "nwc").glob("*.safetensors"))) > 1
    return root / "nwc", root / "plain"


def _loader(plugin):
    load_config = sys.modules["vllm.config.load"].LoadConfig(load_format="nwc", use_tqdm_on_load=False)
    loader = plugin.NwcLoader(load_config)
    assert load_config.load_format == "nwc"
    return loader


def _weights(plugin, folder, loader=None, **source):
    source = plugin.NwcLoader.Source(str(folder), None, **source)
    return dict((loader or _loader(plugin))._get_weights_iterator(source))


def test_the_iterator_gives_the_decompressed_weights(plugin, experts):
    compressed, plain = experts
    expected = nwc.load_file(plain, framework="pt")
    for folder in (compressed, plain):
        loader = _loader(plugin)
        found = _weights(plugin, folder, loader, prefix="a.")
        assert folder is plain or loader.counter_before_loading_weights > 0
        assert found.keys() == {"a." + name for name in expected}
        assert all(torch.equal(found["a." + name], tensor) for name, tensor in expected.items())
        assert all(found["a." + name].dtype == tensor.dtype for name, tensor in expected.items())


def test_only_the_files_that_vllm_downloads_are_needed(plugin, experts, tmp_path):
    for file in experts[0].iterdir():
        if file.suffix == ".safetensors" or file.name.endswith(".index.json"):
            # A cache of the Hub holds links.
            (tmp_path / file.name).symlink_to(file)
    assert _weights(plugin, tmp_path).keys() == nwc.load_file(experts[1], framework="pt").keys()


def test_experts_of_other_ranks_are_not_decoded(plugin, experts):
    every = _weights(plugin, experts[0])
    loader = _loader(plugin)
    loader.local_expert_ids = {0, 2}
    found = _weights(plugin, experts[0], loader)
    gone = every.keys() - found.keys()
    assert gone and all(".experts.1." in name or ".experts.3." in name for name in gone)
    assert any(".experts.2." in name for name in found)


def test_weights_that_the_model_leaves_out_are_not_decoded(plugin, experts):
    found = _weights(plugin, experts[0], is_unused_weight=lambda name: "layers" in name)
    assert found and not any("layers" in name for name in found)


def test_a_damaged_payload_stops_the_loading(plugin, experts, tmp_path):
    import shutil

    damaged = tmp_path / "damaged"
    shutil.copytree(experts[0], damaged)
    name = next(t["name"] for t in nwc.inspect(damaged)["tensors"] if t["coding"] == "trellis")
    file = damage(damaged, name)
    with pytest.raises(nwc.TensorError) as caught:
        _weights(plugin, damaged)
    assert caught.value.tensor == name and caught.value.path.endswith(file.name)


def damage(folder, name):
    """Flips a bit in the middle of the tensor's payload; gives the file."""
    import json

    for file in folder.glob("*.safetensors"):
        raw = bytearray(file.read_bytes())
        n = int.from_bytes(raw[:8], "little")
        entry = json.loads(raw[8 : 8 + n]).get(name)
        if entry:
            raw[8 + n + sum(entry["data_offsets"]) // 2] ^= 0x10
            file.write_bytes(raw)
            return file
    raise AssertionError(name)


def test_nothing_is_quantised_in_memory(plugin, monkeypatch):
    config = plugin.NwcConfig.from_config({"quant_method": "nwc"})
    linear = plugin.LinearBase.__new__(plugin.LinearBase)
    assert config.get_name() == "nwc" and config.get_min_capability() == 0
    assert isinstance(config.get_quant_method(linear, "a"), plugin.UnquantizedLinearMethod)
    assert config.get_quant_method(torch.nn.Module(), "a") is None
    current = types.SimpleNamespace(load_config=types.SimpleNamespace(load_format="auto"))
    monkeypatch.setattr(plugin, "get_current_vllm_config_or_none", lambda: current)
    with pytest.raises(ValueError, match="--load-format nwc"):
        config.get_quant_method(linear, "a")


def test_it_registers_as_often_as_it_is_called(plugin):
    plugin.register()
    plugin.register()
    if not isinstance(sys.modules["vllm"].__spec__, type(None)):
        from vllm.config.load import LoadConfig
        from vllm.model_executor.layers.quantization import get_quantization_config
        from vllm.model_executor.model_loader import get_model_loader

        assert get_quantization_config("nwc") is plugin.NwcConfig
        assert isinstance(get_model_loader(LoadConfig(load_format="nwc")), plugin.NwcLoader)


def test_the_entry_point_leads_to_it(plugin):
    (found,) = [e for e in importlib.metadata.entry_points(group="vllm.general_plugins") if e.name == "nwc"]
    assert found.load() is plugin.register


@pytest.mark.parametrize("gone", ["weight_utils.enable_tqdm", "default_loader.DefaultModelLoader._prepare_weights"])
def test_an_unknown_version_is_refused(monkeypatch, gone):
    modules = _stand_ins()
    *path, name = gone.split(".")
    owner = modules[f"vllm.model_executor.model_loader.{path[0]}"]
    for part in path[1:]:
        owner = getattr(owner, part)
    delattr(owner, name)
    for module in [n for n in sys.modules if n.split(".")[0] == "vllm"]:
        monkeypatch.delitem(sys.modules, module)
    for module_name, module in modules.items():
        monkeypatch.setitem(sys.modules, module_name, module)
    monkeypatch.delitem(sys.modules, "nwc.vllm", raising=False)
    with pytest.raises(ImportError, match=f"0.33.0.*{name}"):
        importlib.import_module("nwc.vllm")
