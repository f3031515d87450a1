"""Compressed folders loaded by transformers, against the same folders decompressed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

import nwc

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SMALL = {"hidden_size": 128, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 4}


def _models():
    """Name to a small random model: tied, experts, Conv1D, encoder, vision."""
    from transformers import BertConfig, GPT2Config, LlamaConfig, MixtralConfig, ViTConfig

    llama = {**SMALL, "num_key_value_heads": 2, "vocab_size": 160, "max_position_embeddings": 64}
    models = {
        "llama": lambda: transformers.LlamaForCausalLM(LlamaConfig(**llama, tie_word_embeddings=True)),
        "mixtral": lambda: transformers.MixtralForCausalLM(MixtralConfig(**llama, num_local_experts=4)),
        "gpt2": lambda: transformers.GPT2LMHeadModel(
            GPT2Config(n_embd=128, n_layer=2, n_head=4, vocab_size=160, n_positions=64)
        ),
        "bert": lambda: transformers.BertForMaskedLM(BertConfig(**SMALL, vocab_size=160, max_position_embeddings=64)),
        "vit": lambda: transformers.ViTForImageClassification(
            ViTConfig(**SMALL, image_size=32, patch_size=8, num_labels=5)
        ),
    }
    # A real model, where one is named.
    if given := os.environ.get("NWC_MODEL"):
        models["given"] = lambda: transformers.AutoModelForCausalLM.from_pretrained(given)
    return models


MAJOR = int(transformers.__version__.split(".")[0])


@pytest.fixture(scope="module", params=list(_models()))
def folders(request, tmp_path_factory):
    """Auto class, compressed folder, decompressed folder."""
    torch.manual_seed(1)
    model = _models()[request.param]().to(torch.bfloat16)
    root = tmp_path_factory.mktemp(request.param)
    # Several files, where the version of transformers splits such small ones.
    model.save_pretrained(root / "model", max_shard_size="100MB" if request.param == "given" else "400KB")
    nwc.compress(root / "model", root / "nwc", bpw=8, progress=False)
    nwc.decompress(root / "nwc", root / "plain", progress=False)
    auto = {
        "bert": transformers.AutoModelForMaskedLM,
        "vit": transformers.AutoModelForImageClassification,
    }.get(request.param, transformers.AutoModelForCausalLM)
    return auto, root / "nwc", root / "plain"


def same(found, expected):
    found, expected = found.state_dict(), expected.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


def coded(folder):
    return [t["name"] for t in nwc.inspect(folder)["tensors"] if t["coding"] == "trellis"]


def test_auto_class_gives_the_decompressed_model(folders):
    import nwc.transformers  # noqa: F401

    auto, compressed, plain = folders
    assert coded(compressed)
    same(auto.from_pretrained(compressed), auto.from_pretrained(plain))


@pytest.mark.skipif(MAJOR < 5, reason="needs transformers 5")
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_from_pretrained_gives_the_decompressed_model(folders, dtype):
    auto, compressed, plain = folders
    dtype = getattr(torch, dtype)
    same(nwc.from_pretrained(compressed, dtype=dtype), auto.from_pretrained(plain, dtype=dtype))


def test_saved_again_it_is_an_ordinary_checkpoint(folders, tmp_path):
    import nwc.transformers  # noqa: F401

    auto, compressed, plain = folders
    auto.from_pretrained(compressed).save_pretrained(tmp_path / "again")
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    assert "quantization_config" not in config
    program = (
        "import sys, transformers\n"
        f"m = transformers.{auto.__name__}.from_pretrained(sys.argv[1])\n"
        "assert 'nwc' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path / "again"], check=True)
    same(auto.from_pretrained(tmp_path / "again"), auto.from_pretrained(plain))


def test_plain_folders_load_as_before(folders):
    import nwc.transformers  # noqa: F401

    auto, _, plain = folders
    model, info = auto.from_pretrained(plain, output_loading_info=True)
    assert not info["missing_keys"]


def test_the_saved_checkpoint_opens_in_safetensors(folders, tmp_path):
    import nwc.transformers  # noqa: F401
    import safetensors

    auto, compressed, plain = folders
    model = auto.from_pretrained(compressed)
    model.save_pretrained(tmp_path)
    expected = {}
    for file in plain.glob("*.safetensors"):
        with safetensors.safe_open(file, "pt") as handle:
            expected.update((name, handle.get_tensor(name)) for name in handle.keys())
    for file in tmp_path.glob("*.safetensors"):
        with safetensors.safe_open(file, "pt") as handle:
            assert "nwc" not in (handle.metadata() or {})
            for name in handle.keys():
                assert torch.equal(handle.get_tensor(name), expected.pop(name)), name
    # What is not saved is tied to what is.
    tied = model.state_dict()
    assert all(torch.equal(tied[name], tensor) for name, tensor in expected.items())


def test_device_map(folders):
    pytest.importorskip("accelerate")
    import nwc.transformers  # noqa: F401

    auto, compressed, plain = folders
    same(auto.from_pretrained(compressed, device_map="cpu"), auto.from_pretrained(plain))


def _causal(folders):
    auto, compressed, plain = folders
    if json.loads((plain / "config.json").read_text())["model_type"] not in ("llama", "mixtral"):
        pytest.skip("names of layers")
    return auto, compressed, plain


@pytest.mark.parametrize("is_one_file", [False, True])
def test_layers_offloaded_to_disk(folders, is_one_file, tmp_path):
    pytest.importorskip("accelerate")
    import nwc.transformers  # noqa: F401

    auto, compressed, plain = _causal(folders)
    if is_one_file:
        auto.from_pretrained(plain).save_pretrained(tmp_path / "model")
        nwc.compress(tmp_path / "model", tmp_path / "nwc", bpw=8, progress=False)
        nwc.decompress(tmp_path / "nwc", tmp_path / "plain", progress=False)
        compressed, plain = tmp_path / "nwc", tmp_path / "plain"
    names = ["model.embed_tokens", "model.layers", "model.norm", "model.rotary_emb", "lm_head"]
    places = {name: "disk" if name == "model.layers" else "cpu" for name in names}
    found = auto.from_pretrained(compressed, device_map=places, offload_folder=tmp_path / "offload")
    assert any(p.device.type == "meta" for p in found.parameters())
    ids = torch.arange(12)[None]
    with torch.no_grad():
        assert torch.equal(found(ids).logits, auto.from_pretrained(plain)(ids).logits)


def _loads(auto):
    import nwc.transformers  # noqa: F401

    return [auto.from_pretrained] + ([nwc.from_pretrained] if MAJOR >= 5 else [])


def _said(error):
    """The messages of an exception and of those that led to it."""
    return "" if error is None else f"{error!r} {_said(error.__cause__)} {_said(error.__context__)}"


def test_a_damaged_payload_gives_no_model(folders, tmp_path):
    auto, compressed, _ = folders
    damaged = tmp_path / "damaged"
    shutil.copytree(compressed, damaged)
    # In the middle: others have been read by then.
    name = coded(damaged)[len(coded(damaged)) // 2]
    for file in damaged.glob("*.safetensors"):
        raw = bytearray(file.read_bytes())
        n = int.from_bytes(raw[:8], "little")
        entry = json.loads(raw[8 : 8 + n]).get(name)
        if entry:
            raw[8 + n + sum(entry["data_offsets"]) // 2] ^= 0x10
            file.write_bytes(raw)
            break
    for load in _loads(auto):
        with pytest.raises(Exception) as caught:  # noqa: PT011
            load(damaged)
        assert name in _said(caught.value) and file.name in _said(caught.value)


def test_a_later_format_gives_no_model(folders, tmp_path):
    from test_read import as_format_3

    auto, compressed, _ = folders
    later = as_format_3(compressed, tmp_path / "later")
    for load in _loads(auto):
        with pytest.raises(Exception, match="version 3"):  # noqa: PT011
            load(later)


def test_a_missing_shard_gives_no_model(folders, tmp_path):
    auto, compressed, _ = folders
    files = sorted(compressed.glob("*.safetensors"))
    if len(files) < 2:
        pytest.skip("one file")
    broken = tmp_path / "broken"
    shutil.copytree(compressed, broken)
    (broken / files[1].name).unlink()
    for load in _loads(auto):
        with pytest.raises(Exception) as caught:  # noqa: PT011
            load(broken)
        assert files[1].name in _said(caught.value)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_while_loading(folders):
    code = """
import signal, sys, transformers, nwc.transformers
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell ignores it
load = getattr(transformers, sys.argv[1]).from_pretrained
load(sys.argv[2])
print("go", flush=True)
try:
    while True:
        load(sys.argv[2])
except KeyboardInterrupt:
    print("stopped", flush=True)
"""
    auto, compressed, _ = folders
    command = [sys.executable, "-c", code, auto.__name__, str(compressed)]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stdout.readline() == "go\n"
    time.sleep(0.2)
    run.send_signal(signal.SIGINT)
    said, error = run.communicate(timeout=60)
    assert said == "stopped\n", error[-2000:]


def test_without_the_import_there_is_no_model(folders):
    _, compressed, _ = folders
    program = (
        "import sys, transformers\n"
        "try:\n"
        f"    m = transformers.{folders[0].__name__}.from_pretrained(sys.argv[1])\n"
        "except Exception as error:\n"
        "    sys.exit(7)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, compressed], check=False).returncode == 7


@pytest.mark.parametrize("module", ["transformers.modeling_utils", "accelerate.utils.offload"])
def test_an_unknown_version_is_refused(module):
    pytest.importorskip(module.split(".")[0])
    program = (
        f"import {module}\n"
        f"del {module}.safe_open\n"
        "try:\n"
        "    import nwc.transformers\n"
        "except ImportError as error:\n"
        "    assert 'safe_open' in str(error), error\n"
        "else:\n"
        "    raise SystemExit('imported')\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
