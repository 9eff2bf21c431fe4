"""A checkpoint goes to a Hub and comes back, by the real client on both ways: the same bits."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import hear_delores
from benchmarks.results.record import save_record
from benchmarks.sharing.model_card import model_card
from benchmarks.sharing.push import prepare_repository, push
from hear_delores import AudioNTT, EncoderConfig, FrontendConfig, HearModel, save_checkpoint
from hear_delores.hub import HubName, fetch, is_delores_repo

NAME = "someone/small"
FOREIGN = {"config_json": b'{"model_type": "wav2vec2", "mask_time_prob": NaN}', "model_safetensors": b"weights"}


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A checkpoint with other weights."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        encoder = AudioNTT(EncoderConfig(embedding_size=16))
    save_checkpoint(tmp_path / "other.safetensors", HearModel(encoder, FrontendConfig(), -7.0, 4.0))
    return tmp_path / "other.safetensors"


@pytest.fixture
def results(tmp_path: Path, checkpoint: Path, make_result: Callable, make_fold: Callable) -> Path:
    """Two seeds of the checkpoint and a baseline on one task."""
    digest = hear_delores.weights_hash(hear_delores.load_model(checkpoint))
    for seed, label, weights in ((1, "ours", digest), (2, "ours", digest), (1, "log-mel", "cd" * 32)):
        fold = {"test": make_fold(20, 1.0, seed)}
        save_record(make_result(fold, label=label, weights=weights, seed=seed), tmp_path / "results", fold)
    return tmp_path / "results"


def load(name: str) -> str:
    return hear_delores.weights_hash(hear_delores.load_model(name))


def refused(words: str, call: Callable[..., Any], *values: Any, **named: Any) -> None:
    with pytest.raises(hear_delores.DeloresError, match=words) as caught:
        call(*values, **named)
    assert "\n" not in str(caught.value)


def test_what_is_pushed_comes_back_bit_for_bit(
    hub: Any, checkpoint: Path, other: Path, results: Path, tmp_path: Path, delores: Callable
) -> None:
    """Through the command, on two branches; a second push of another checkpoint changes one of them."""
    done = delores(
        "push", checkpoint, NAME, "--results", results, "--license", "cc-by-4.0", "--out", tmp_path / "out", "--private"
    )
    assert (done.code, done.err) == (0, "")
    commit = done.out.splitlines()[-1].removeprefix(f"hf:{NAME}@")
    assert hub.repositories[NAME].private
    assert set(hub.repositories[NAME].commits[commit]) == {
        ".gitattributes", "README.md", "config.json", "model.safetensors",
    }  # fmt: skip
    for asked in ("repos/create", "validate-yaml", f"{NAME}.git/info/lfs/objects/batch", f"{NAME}/commit/main"):
        assert any(asked in request for request in hub.requests), asked
    assert is_delores_repo(f"hf:{NAME}")
    path = fetch(f"hf:{NAME}")
    assert path.read_bytes() == checkpoint.read_bytes()
    assert (tmp_path / "home" / "hub") in path.parents
    audio = torch.rand(2, 16000) * 2 - 1
    here, there = hear_delores.load_model(checkpoint), hear_delores.load_model(f"hf:{NAME}")
    assert torch.equal(hear_delores.get_scene_embeddings(audio, here), hear_delores.get_scene_embeddings(audio, there))

    push(prepare_repository(other, NAME, tmp_path / "second"), NAME, revision="wider", message="Another.")
    assert load(f"hf:{NAME}@wider") == load(str(other)) != load(f"hf:{NAME}")
    assert load(f"hf:{NAME}@{commit}") == load(str(checkpoint))
    push(tmp_path / "second", NAME)
    assert load(f"hf:{NAME}") == load(str(other))
    assert load(f"hf:{NAME}@{commit}") == load(str(checkpoint))


def test_the_cache_serves_a_process_that_is_offline(
    hub: Any, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment's settings hold: HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE; nothing of the Hub is asked."""
    push(prepare_repository(checkpoint, NAME, tmp_path / "out"), NAME)
    expected = load(f"hf:{NAME}")
    hub.close()
    program = (
        "import hear_delores\n"
        f"print(hear_delores.weights_hash(hear_delores.load_model('hf:{NAME}')))\n"
        "try:\n    hear_delores.load_model('hf:someone/other')\n"
        "except hear_delores.DeloresError as error:\n    print(error)\n"
    )
    settings = {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **settings}, capture_output=True, text=True, check=True
    )
    digest, error = done.stdout.splitlines()
    assert digest == expected
    assert "HF_HUB_OFFLINE is set" in error
    assert str(tmp_path / "home" / "hub") in error
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the client waits between its attempts
    refused(f"cannot reach {hub.url}, and hf:someone/other is not in the cache", load, "hf:someone/other")
    refused(f"cannot reach {hub.url}", push, tmp_path / "out", NAME)


def test_a_folder_is_loaded_as_a_repository_is(checkpoint: Path, tmp_path: Path) -> None:
    folder = prepare_repository(checkpoint, NAME, tmp_path / "out")
    assert is_delores_repo(f"hf:{folder}")
    assert load(f"hf:{folder}") == load(str(checkpoint))
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "config.json").write_bytes(FOREIGN["config_json"])
    assert not is_delores_repo(f"hf:{tmp_path / 'foreign'}")
    refused("there is no folder", is_delores_repo, f"hf:{tmp_path / 'none'}")
    refused("holds something else", prepare_repository, checkpoint, NAME, tmp_path)


def test_what_goes_wrong_is_one_line(
    hub: Any, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = prepare_repository(checkpoint, NAME, tmp_path / "out")
    hub.create("someone/foreign", **FOREIGN)
    hub.create("someone/public")
    hub.create("someone/empty", config_json=b'{"model_type": "hear-delores"}')
    assert not is_delores_repo("hf:someone/foreign")
    refused("delores run hf:someone/foreign`, which reads it through transformers", load, "hf:someone/foreign")
    refused("holds something else", push, folder, "someone/foreign")
    refused("exists and is public", push, folder, "someone/public", private=True)
    refused("has no repository someone/none that you may see", load, "hf:someone/none")
    refused("someone/foreign has no revision 'v9'", load, "hf:someone/foreign@v9")
    refused("no model.safetensors: push it again", load, "hf:someone/empty")
    refused("does not let you write to else/small", push, folder, "else/small")
    refused("expected a repository as ORG/NAME", push, folder, "small")
    refused("expected a repository as ORG/NAME", push, folder, f"{NAME}@v1")
    refused("expected hf:ORG/NAME", load, "hf:a/b/c")
    push(folder, NAME, private=True)
    monkeypatch.delenv("HF_TOKEN")
    refused("does not know who you are: log in", push, folder, "someone/new")
    refused("for a private one log in", load, f"hf:{NAME}")


def test_answers_that_are_none_of_the_hubs_are_one_line(
    hub: Any, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page to log in to the network, JSON without what is needed, and metadata that the Hub does not take."""
    folder, handler = prepare_repository(checkpoint, NAME, tmp_path / "out"), hub.server.RequestHandlerClass
    answer = handler._json
    with monkeypatch.context() as changed:
        changed.setattr(handler, "_json", lambda self, value, status=200: self._send(200, b"<html>Log in</html>"))
        refused("does not answer someone/small as the Hugging Face Hub does: check HF_ENDPOINT", push, folder, NAME)
        changed.setattr(handler, "_json", lambda self, value, status=200: answer(self, {}))
        refused("does not answer someone/small as the Hugging Face Hub does: check HF_ENDPOINT", push, folder, NAME)
    faults = {"errors": [{"message": "license must be one of cc-by-4.0"}], "warnings": []}
    monkeypatch.setattr(handler, "validate_yaml", lambda self: answer(self, faults, 400))
    refused("refused what was asked of someone/small: .*license must be one of", push, folder, NAME)


def test_a_damaged_file_is_named_and_loads_again_once_it_is_deleted(hub: Any, checkpoint: Path, tmp_path: Path) -> None:
    push(prepare_repository(checkpoint, NAME, tmp_path / "out"), NAME)
    path = fetch(f"hf:{NAME}")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        hear_delores.DeloresError, match=r"model\.safetensors is damaged: expected the SHA-256"
    ) as caught:
        load(f"hf:{NAME}")
    Path(re.search(r"delete (\S+) and load it again", str(caught.value))[1]).unlink()
    assert load(f"hf:{NAME}") == load(str(checkpoint))


def test_the_card_holds_the_scores_as_a_table_and_as_metadata(
    checkpoint: Path, results: Path, other: Path, tmp_path: Path, delores: Callable
) -> None:
    """The metadata is read back by the library's own reader, and equals the records."""
    library = pytest.importorskip("huggingface_hub")
    from benchmarks.results.record import load_records

    records = load_records([results])
    folder = tmp_path / "out"
    done = delores("push", checkpoint, NAME, "--results", results, "--out", folder, "--dry-run")
    assert (done.code, len(done.out.splitlines())) == (0, 3)
    assert "licence is unknown" in done.err
    card = library.ModelCard.load(folder / "README.md")
    data = card.data
    assert (data.library_name, data.pipeline_tag, data.license) == ("hear-delores", "feature-extraction", "unknown")
    [result] = data.eval_results
    own = [record.scores["top1_acc"] for record in records if record.model.label == "ours"]
    assert (result.dataset_type, result.metric_type) == ("toy-v1-full", "accuracy")
    assert result.metric_name == "top1_acc (protocol hear, mean of 2 seeds)"
    assert result.metric_value == pytest.approx(sum(own) / 2, abs=1e-12)
    assert f"| ours | {50 * sum(own):.1f}" in card.text.replace("**", "")
    assert "| log-mel |" in card.text
    config = json.loads((folder / "config.json").read_text())
    assert config["encoder"] == {"channels": 64, "dropout": 0.3, "embedding_size": 16, "n_mels": 64}
    exec(re.search(r"```python\n(.*?)```", card.text, re.S)[1].replace(f"hf:{NAME}", f"hf:{folder}"), {})
    refused(
        "no result is of this checkpoint", prepare_repository, other, NAME, tmp_path / "other", load_records([results])
    )
    text = model_card(NAME, hear_delores.load_model(checkpoint))
    assert "model-index" not in yaml.safe_load(text.split("---")[1])


def test_names_of_repositories() -> None:
    assert HubName.parse("hf:a/b@refs/pr/1") == HubName("a/b", "refs/pr/1")
    assert HubName.parse("hf:/x/y@z").is_folder
    for text in ("hf:", "hf:a/b@", "hf:a b/c", "hf:-a/b", "hf:a/b?layer=1"):
        refused("expected hf:ORG/NAME", HubName.parse, text)


def test_without_the_library_the_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    refused(r"not installed: pip install 'hear-delores\[hf\]'", load, f"hf:{NAME}")
