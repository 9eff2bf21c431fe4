"""PESTO (pip install pesto-pitch) as a HEAR model: its distribution over pitches, a frame every 20 ms."""

import pesto
import torch

HOP = 320  # samples
CHUNK, CONTEXT = 500 * HOP, 50 * HOP  # whole hops: what one pass answers for, and what it hears on each side of it


class Model(torch.nn.Module):
    sample_rate = 16000

    def __init__(self, checkpoint):
        super().__init__()
        self.net = pesto.load_model(checkpoint, step_size=1000 * HOP / self.sample_rate, sampling_rate=16000)
        self.scene_embedding_size = self.timestamp_embedding_size = self.net.encoder.hparams["output_dim"]

    def forward(self, audio):  # (n_sounds, n_samples) -> (n_sounds, n_frames, size); frame k is around sample k * HOP
        n_frames = 1 + audio.shape[1] // HOP
        end = CONTEXT + CHUNK - audio.shape[1] % CHUNK
        padded = torch.nn.functional.pad(audio, (CONTEXT, end))
        parts = []
        for start in range(0, n_frames * HOP, CHUNK):
            heard = self.net(padded[:, start : start + CHUNK + 2 * CONTEXT])[3]
            parts.append(heard[:, CONTEXT // HOP : (CONTEXT + CHUNK) // HOP])
        return torch.cat(parts, dim=1)[:, :n_frames]


def load_model(model_file_path="", checkpoint="mir-1k_g7"):
    return Model(model_file_path or checkpoint).eval()


def get_timestamp_embeddings(audio, model):
    with torch.no_grad():
        embeddings = model(audio)
    timestamps = torch.arange(embeddings.shape[1], device=audio.device) * (1000 * HOP / model.sample_rate)
    return embeddings, timestamps.float().expand(len(audio), -1)


def get_scene_embeddings(audio, model):
    return get_timestamp_embeddings(audio, model)[0].mean(1)
