"""Compressing, checking and what stops it."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy
import pytest
from conftest import bf16, write_safetensors

import nwc


@pytest.mark.parametrize("options", [
    {}, {"payload_bpw": 3.0}, {"target_size": 700_000}, {"lambda_": 30}, {"states": 4}, {"preset": "paper"},
    {"embeddings": "keep"}, {"embedding_bits": 2.0}, {"lambda_": 30, "states": 8}, {"non_finite": "keep"}, {"threads": 1},
])
def test_every_option(model, tmp_path, options):
    out = tmp_path / "out"
    report = nwc.compress(model, out, dry_run=True, progress=False, **options)
    assert not out.exists()
    assert report["totals"]["total_bytes"] > 0
    if options.get("embeddings") == "keep":
        row = next(t for t in report["tensors"] if "embed" in t["name"])
        assert "kept" in row["reason"]


@pytest.mark.parametrize("options, message", [
    ({"bpw": 3, "lambda_": 30}, "rate"),
    ({"bpw": 3, "preset": "paper"}, "preset"),
    ({"preset": "other"}, "paper"),
    ({"embeddings": "drop"}, "code, keep"),
    ({"non_finite": "x"}, "refuse, keep"),
    ({"lambda_": 30, "embedding_bits": 1.0}, "embedding bits"),
    ({"embeddings": "keep", "embedding_bits": 1.0}, "embedding_bits"),
    ({"threads": 0}, "threads"),
    ({"bpw": 99}, "bits"),
    ({"lambda_": 31}, "lambda"),
])
def test_what_is_refused(model, tmp_path, options, message):
    with pytest.raises((nwc.ArgumentError, nwc.CodecError), match=message):
        nwc.compress(model, tmp_path / "out", progress=False, **options)
    assert list(tmp_path.iterdir()) == []


def test_reports(compressed, model):
    report = nwc.inspect(compressed)
    assert report["fingerprint"] == nwc.fingerprint(model)
    assert nwc.verify(compressed, progress=False) == {
        "n_tensors": len(report["tensors"]), "n_files": nwc.verify(compressed)["n_files"], "n_tuned": 0,
        "failures": [],
    }


def test_comparison_with_the_original(compressed, model, tmp_path):
    assert nwc.verify(compressed, against=model, progress=False) == nwc.verify(compressed, progress=False)
    nwc.compress(model, tmp_path / "out", verify=True, progress=False)
    nwc.decompress(compressed, tmp_path / "other", progress=False)
    with pytest.raises(nwc.OtherModelError, match="fingerprint"):
        nwc.verify(compressed, against=tmp_path / "other", progress=False)


def test_same_bytes_for_any_number_of_threads(model, tmp_path):
    for n in (1, 3):
        nwc.compress(model, tmp_path / str(n), threads=n, progress=False)
    for file in (tmp_path / "1").iterdir():
        assert file.read_bytes() == (tmp_path / "3" / file.name).read_bytes(), file.name


def test_progress_is_reported(model, tmp_path):
    calls = []
    nwc.compress(model, tmp_path / "out", progress=lambda *call: calls.append((*call, threading.get_ident())))
    what = [call[0] for call in calls]
    assert "compress" in what
    assert all(0 <= done <= total for _, done, total, _ in calls)
    assert {ident for *_, ident in calls} == {threading.get_ident()}
    _, done, total, _ = calls[-1]
    assert done == total


def test_an_exception_of_the_callback_stops_the_job(big, tmp_path):
    def stop(what, done, total):
        raise RuntimeError("enough")

    start = time.monotonic()
    with pytest.raises(RuntimeError, match="enough"):
        nwc.compress(big, tmp_path / "out", progress=stop)
    assert time.monotonic() - start < 5
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """Takes far longer than a second with 256 states."""
    folder = tmp_path_factory.mktemp("big") / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    weights = bf16(numpy.random.default_rng(0).standard_normal((4096, 4096)) * 0.02)
    write_safetensors(folder / "model.safetensors", {"model.layers.0.mlp.up_proj.weight": ("BF16", weights)})
    return folder


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("after", [0.3, 2.0])
def test_ctrl_c_stops_within_a_second(big, tmp_path, after):
    code = """
import signal, sys, time, nwc
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell ignores it
print("go", flush=True)
try:
    nwc.compress(sys.argv[1], sys.argv[2], states=256, progress=False)
except KeyboardInterrupt:
    print("stopped", time.time(), flush=True)
"""
    out = tmp_path / "out"
    run = subprocess.Popen([sys.executable, "-c", code, str(big), str(out)], stdout=subprocess.PIPE, text=True)
    assert run.stdout.readline() == "go\n"
    time.sleep(after)
    sent = time.time()
    run.send_signal(signal.SIGINT)
    said, _ = run.communicate(timeout=120)
    assert said.startswith("stopped"), said
    assert float(said.split()[1]) - sent < 1.0 + 0.5  # half a second for a busy machine
    assert list(tmp_path.iterdir()) == []


def test_errors_are_classes_of_their_own(model, compressed, tmp_path):
    with pytest.raises(nwc.OutputExistsError) as caught:
        nwc.decompress(compressed, tmp_path)
    assert isinstance(caught.value, (nwc.NwcError, FileExistsError)) and caught.value.path == str(tmp_path)
    with pytest.raises(nwc.NotCompressedError):
        nwc.inspect(model)
    with pytest.raises(nwc.AlreadyCompressedError):
        nwc.fingerprint(compressed)
    with pytest.raises(nwc.NoSuchTensorError, match="nothing"):
        nwc.Checkpoint(compressed).info("nothing")


def test_the_command_line(compressed, tmp_path):
    run = lambda *args: subprocess.run(  # noqa: E731
        [sys.executable, "-m", "nwc", *map(str, args)], capture_output=True, text=True, timeout=120
    )
    assert run("verify", compressed).returncode == 0
    assert "bpw_total" in run("inspect", compressed).stdout
    assert run("inspect", tmp_path).returncode == 2
    assert run("decompress", compressed, tmp_path / "out").returncode == 0
    assert run("no-such-command").returncode == 2
    help_ = run("--help")
    assert help_.returncode == 0 and "compress" in help_.stdout


def test_a_model_card(model, tmp_path):
    nwc.compress(model, tmp_path / "a", card="org/model", progress=False)
    assert (tmp_path / "a/README.md").read_text().startswith("---\nbase_model: org/model\n")
    nwc.compress(model, tmp_path / "b", card=True, progress=False)
    assert "base_model" not in (tmp_path / "b/README.md").read_text()
    nwc.compress(model, tmp_path / "c", progress=False)
    assert not (tmp_path / "c/README.md").exists()


def test_from_one_rate_to_another(model, tmp_path):
    first = nwc.compress(model, tmp_path / "a", payload_bpw=5, progress=False)
    second = nwc.compress(tmp_path / "a", tmp_path / "b", payload_bpw=3, progress=False)
    assert second["fingerprint"] == first["fingerprint"] and "recoded" in second["provenance"]
