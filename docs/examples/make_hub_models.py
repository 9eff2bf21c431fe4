"""Small encoders with random weights, in folders as the Hub has them: to try ``hf:./folder`` without a network.

python docs/examples/make_hub_models.py hub_models
delores run hf:./hub_models/wav2vec2 hf:./hub_models/whisper log-mel --tasks-dir tasks --protocol linear
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import transformers

#: Width, layers and heads: small, but of the shape of the published ones.
SIZE: dict[str, int] = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 128}
#: Convolutions of the published models: 25 ms of 16 kHz, every 20 ms.
CONVOLUTIONS: dict[str, Any] = {
    "conv_dim": [32] * 7, "conv_kernel": [10, 3, 3, 3, 3, 2, 2], "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "num_feat_extract_layers": 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "vocab_size": 32,
}  # fmt: skip


def make(out: Path, seed: int = 0) -> list[Path]:
    """Writes a folder for each kind of encoder, and returns them."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        models = _models()
        for model, _ in models.values():
            for parameter in model.parameters():
                if parameter.ndim > 1:  # a little larger than they are drawn, so that layers differ
                    torch.nn.init.normal_(parameter, std=1.5 * parameter.detach().std().item() + 1e-3)
    for name, (model, extractor) in models.items():
        model.eval().save_pretrained(out / name)
        extractor.save_pretrained(out / name)
    return [out / name for name in models]


def _models() -> dict[str, tuple[Any, Any]]:
    """Each encoder with its feature extractor, by the name of its folder."""
    t = transformers
    # Large models have layer normalisation in the convolutions, base models group normalisation in the first.
    stable = {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}
    waveform = t.Wav2Vec2FeatureExtractor(do_normalize=True)
    whisper = {
        "d_model": 64, "encoder_layers": 3, "encoder_attention_heads": 4, "encoder_ffn_dim": 128, "decoder_layers": 1,
        "decoder_attention_heads": 4, "decoder_ffn_dim": 128, "num_mel_bins": 40, "max_source_positions": 200,
        "vocab_size": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
    }  # fmt: skip
    return {
        "wav2vec2": (t.Wav2Vec2Model(t.Wav2Vec2Config(**SIZE, **CONVOLUTIONS)), waveform),
        "wav2vec2-large": (t.Wav2Vec2Model(t.Wav2Vec2Config(**SIZE, **CONVOLUTIONS, **stable)), waveform),
        "hubert": (t.HubertModel(t.HubertConfig(**SIZE, **CONVOLUTIONS)), waveform),
        "wavlm": (t.WavLMModel(t.WavLMConfig(**SIZE, **CONVOLUTIONS)), waveform),
        "data2vec": (t.Data2VecAudioModel(t.Data2VecAudioConfig(**SIZE, **CONVOLUTIONS)), waveform),
        "whisper": (
            t.WhisperModel(t.WhisperConfig(**whisper)),
            t.WhisperFeatureExtractor(feature_size=40, chunk_length=4),
        ),
        "ast": (
            t.ASTModel(t.ASTConfig(**SIZE, max_length=256, num_mel_bins=64)),
            t.ASTFeatureExtractor(max_length=256, num_mel_bins=64),
        ),
    }


if __name__ == "__main__":
    transformers.utils.logging.disable_progress_bar()  # one for each folder, of an instant
    for folder in make(Path(sys.argv[1] if len(sys.argv) > 1 else "hub_models")):
        print(folder)
