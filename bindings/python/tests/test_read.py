"""Reading: the same bytes as in the decompressed folder, whole or in part, on any thread, after a fork."""

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
import pytest

import nwc

UP = "model.layers.0.mlp.up_proj.weight"
FIXTURES = Path(__file__).resolve().parents[3] / "fixtures"
DOWN = "model.layers.0.mlp.down_proj.weight"


def test_import_brings_neither_numpy_nor_torch():
    code = "import sys, nwc; sys.exit(bool({'numpy', 'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_bytes_are_those_of_the_decompressed_folder(compressed, plain):
    checkpoint = nwc.Checkpoint(compressed)
    assert checkpoint.is_compressed
    assert set(checkpoint.names()) == set(plain)
    for name, (dtype, shape, raw) in plain.items():
        assert checkpoint.info(name) == {"shape": shape, "dtype": dtype}
        assert bytes(checkpoint.tensor_bytes(name)) == raw, name
    assert checkpoint.metadata()["format"] == "pt"


def test_plain_folders_read_alike(model):
    checkpoint = nwc.Checkpoint(model)
    assert not checkpoint.is_compressed
    assert checkpoint.tensor("model.steps").tolist() == [[0, 1, 2], [3, 4, 5]]
    assert checkpoint.tensor("model.none").shape == (0, 4)


def test_arrays_are_writable_and_nobody_elses(compressed):
    checkpoint = nwc.Checkpoint(compressed)
    first = checkpoint.tensor(DOWN)
    assert first.dtype == numpy.float16 and first.shape == (96, 256)
    first[:] = 0
    assert checkpoint.tensor(DOWN).any()


@pytest.mark.parametrize("index", [
    numpy.s_[...], numpy.s_[:], numpy.s_[3], numpy.s_[-1], numpy.s_[5:40], numpy.s_[:, 10:70], numpy.s_[90:, 250:],
    numpy.s_[4:4], numpy.s_[::7, ::-1], numpy.s_[7, 100], numpy.s_[..., 3], numpy.s_[2:3, None], numpy.s_[[1, 5]],
    numpy.s_[numpy.array([1, 5])],
])
def test_slices(compressed, index):
    with nwc.safe_open(compressed) as f:
        whole = f.get_tensor(DOWN)
        part = f.get_slice(DOWN)
        assert part.get_shape() == [96, 256] and part.get_dtype() == "F16"
        found = part[index]
        assert found.shape == whole[index].shape
        assert (found == whole[index]).all()
        norm = f.get_slice("model.norm.weight")
        assert (norm[10:20] == f.get_tensor("model.norm.weight")[10:20]).all()


def test_slices_over_several_substreams(compressed, plain):
    checkpoint = nwc.Checkpoint(compressed)
    raw = numpy.frombuffer(plain[UP][2], numpy.uint16).reshape(2048, 320)
    for rows, cols in [((0, 2048), (100, 200)), ((1000, 1003), (0, 320)), ((5, 6), (319, 320)), ((0, 0), (0, 320))]:
        found = numpy.frombuffer(checkpoint.slice_bytes(UP, rows, cols), numpy.uint16)
        assert (found == raw[rows[0] : rows[1], cols[0] : cols[1]].ravel()).all()
    with pytest.raises(nwc.ArgumentError, match="rows"):
        checkpoint.slice_bytes(UP, (0, 2049), (0, 320))
    with pytest.raises(nwc.ArgumentError, match="columns"):
        checkpoint.slice_bytes(UP, (0, 2048), (7, 3))


def test_an_index_out_of_range(compressed):
    with nwc.safe_open(compressed) as f, pytest.raises(IndexError):
        f.get_slice(DOWN)[96]


def test_a_file_has_its_own_names(compressed, plain):
    names = []
    for file in sorted(compressed.glob("*.safetensors")):
        with nwc.safe_open(file) as f:
            assert f.metadata() == {"format": "pt"}
            assert sorted(f.offset_keys()) == f.keys()
            names += f.keys()
            f.get_tensor(f.keys()[0]) if plain[f.keys()[0]][0] != "BF16" else None
    assert sorted(names) == sorted(plain)
    with nwc.safe_open(file) as f, pytest.raises(nwc.NoSuchTensorError, match="no tensor"):
        f.get_tensor("model.embed_tokens.weight")
    with pytest.raises(ValueError, match="closed"):
        f.get_tensor(DOWN)


def test_load_file(compressed, plain):
    pytest.importorskip("ml_dtypes")
    found = nwc.load_file(compressed)
    assert {name: array.tobytes() for name, array in found.items()} == {name: raw for name, (_, _, raw) in plain.items()}


def test_bf16_without_ml_dtypes_says_what_to_do(compressed, monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(TypeError, match="ml_dtypes"):
        nwc.Checkpoint(compressed).tensor(UP)


def test_eight_threads_share_a_handle(compressed, plain):
    checkpoint = nwc.Checkpoint(compressed)
    names = list(plain) * 8
    with ThreadPoolExecutor(8) as pool:
        for name, found in zip(names, pool.map(checkpoint.tensor_bytes, names)):
            assert bytes(found) == plain[name][2], name


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_handle_survives_fork(compressed, plain):
    code = """
import os, sys, nwc
checkpoint = nwc.Checkpoint(sys.argv[1])
before = checkpoint.tensor_bytes(sys.argv[2])
children = []
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if checkpoint.tensor_bytes(sys.argv[2]) == before else 1)
    children.append(pid)
sys.exit(any(os.waitpid(pid, 0)[1] for pid in children))
"""
    run = subprocess.run([sys.executable, "-c", code, str(compressed), UP], timeout=60)
    assert run.returncode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_while_others_decode(compressed):
    code = """
import os, signal, sys, threading, time, nwc
shared = nwc.Checkpoint(sys.argv[1])
expected = shared.tensor_bytes(sys.argv[2])
stop = False
def work():
    global shared
    while not stop:
        # A new handle reads its codec with the first tensor.
        shared = nwc.Checkpoint(sys.argv[1])
        shared.tensor_bytes(sys.argv[2])
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
bad = 0
for i in range(30):
    time.sleep(0.003 * (i % 7))
    handle = shared
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        os._exit(0 if handle.tensor_bytes(sys.argv[2]) == expected else 1)
    bad += os.waitpid(pid, 0)[1] != 0
stop = True
for thread in threads:
    thread.join()
sys.exit(bad)
"""
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(compressed), UP], timeout=600)
    assert run.returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_while_reading(compressed):
    code = """
import signal, sys, time, nwc
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell ignores it
print("go", flush=True)
try:
    while True:
        nwc.safe_open(sys.argv[1]).get_slice(sys.argv[2])[:, :]
        nwc.Checkpoint(sys.argv[1]).tensor_bytes(sys.argv[2])
except KeyboardInterrupt:
    print("stopped", time.time(), flush=True)
"""
    run = subprocess.Popen([sys.executable, "-c", code, str(compressed), DOWN], stdout=subprocess.PIPE, text=True)
    assert run.stdout.readline() == "go\n"
    time.sleep(0.3)
    sent = time.time()
    run.send_signal(signal.SIGINT)
    said, _ = run.communicate(timeout=60)
    assert said.startswith("stopped"), said
    assert float(said.split()[1]) - sent < 1.5


def test_interpreter_exit_while_decoding(compressed):
    code = """
import sys, threading, nwc
checkpoint = nwc.Checkpoint(sys.argv[1])
def work():
    while True:
        checkpoint.tensor_bytes(sys.argv[2])
for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
"""
    run = subprocess.run([sys.executable, "-c", code, str(compressed), UP], timeout=60, capture_output=True)
    assert run.returncode == 0, run.stderr


def test_a_damaged_payload_names_file_and_tensor(compressed, tmp_path):
    bad = tmp_path / "bad"
    shutil.copytree(compressed, bad)
    file = next(bad.glob("*00001*"))
    raw = bytearray(file.read_bytes())
    raw[-5000] ^= 1
    file.write_bytes(raw)
    found = []
    checkpoint = nwc.Checkpoint(bad)
    for name in checkpoint.names():
        try:
            checkpoint.tensor_bytes(name)
        except nwc.TensorError as error:
            found.append((error.tensor, name, file.name in error.path, name in str(error)))
    assert found and all(a == b and c and d for a, b, c, d in found)
    failures = nwc.verify(bad, progress=False)["failures"]
    assert failures and file.name in failures[0]


def test_a_folder_of_format_1_reads(tmp_path):
    folder = FIXTURES / "v1" / "trellis"
    assert nwc.inspect(folder)["format_version"] == 1
    assert nwc.verify(folder, progress=False)["failures"] == []
    nwc.decompress(folder, tmp_path / "plain", progress=False)
    names = nwc.Checkpoint(tmp_path / "plain").names()
    assert names and names == nwc.Checkpoint(folder).names()


def as_format_3(folder, out):
    """A copy whose tables say version 3."""
    shutil.copytree(folder, out)
    for file in out.glob("*.safetensors"):
        raw = file.read_bytes()
        assert raw.count(rb'{\"version\":2,') == 1
        file.write_bytes(raw.replace(rb'{\"version\":2,', rb'{\"version\":3,'))
    return out


def test_a_folder_of_format_3_is_refused(compressed, tmp_path):
    later = as_format_3(compressed, tmp_path / "later")
    file = next(iter(sorted(later.glob("*.safetensors"))))
    for read in (nwc.Checkpoint, nwc.safe_open, nwc.load_file, nwc.inspect, lambda _: nwc.safe_open(file)):
        with pytest.raises(nwc.ContainerError, match="version 3") as caught:
            read(later)
        assert caught.value.path == str(file)


def test_a_missing_shard_names_shard_and_tensor(compressed, tmp_path):
    bad = tmp_path / "bad"
    shutil.copytree(compressed, bad)
    next(bad.glob("*00002*")).unlink()
    with pytest.raises(nwc.MissingShardError, match="00002") as caught:
        nwc.Checkpoint(bad)
    assert caught.value.tensor and isinstance(caught.value, FileNotFoundError)


def test_no_folder_no_checkpoint(tmp_path):
    with pytest.raises(nwc.NwcError):
        nwc.Checkpoint(tmp_path / "none")
    with pytest.raises(nwc.NotACheckpointError):
        nwc.Checkpoint(tmp_path)
    with pytest.raises(nwc.NotACheckpointError, match="does not exist"):
        nwc.safe_open(tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match="framework"):
        nwc.safe_open(tmp_path, framework="jax")
