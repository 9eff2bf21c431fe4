"""torchcrepe (pip install torchcrepe) as a HEAR model: the fifth layer of CREPE, a frame every 20 ms."""

from pathlib import Path

import torch
import torchcrepe

HOP, WINDOW, BLOCK = 320, 1024, 512  # samples, samples, windows in one pass


class Model(torch.nn.Module):
    sample_rate = 16000

    def __init__(self, capacity):
        super().__init__()
        self.net = torchcrepe.Crepe(capacity)
        weights = Path(torchcrepe.__file__).parent / "assets" / f"{capacity}.pth"
        self.net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        self.scene_embedding_size = self.timestamp_embedding_size = 8 * self.net.conv5.out_channels

    def forward(self, audio):  # (n_sounds, n_samples) -> (n_sounds, n_frames, size); frame k is around sample k * HOP
        padded = torch.nn.functional.pad(audio, (WINDOW // 2, WINDOW // 2))
        windows = padded.unfold(1, WINDOW, HOP)
        parts = [self.one_pass(windows[:, i : i + BLOCK]) for i in range(0, windows.shape[1], BLOCK)]
        return torch.cat(parts, dim=1)

    def one_pass(self, windows):  # (n_sounds, n_windows, WINDOW): each window is normalised by itself
        windows = windows - windows.mean(2, keepdim=True)
        windows = windows / windows.std(2, keepdim=True).clamp(min=1e-10)
        found = self.net.embed(windows.flatten(0, 1))  # (n_sounds * n_windows, channels, 8, 1)
        return found.reshape(*windows.shape[:2], -1)


def load_model(model_file_path="", capacity="tiny"):
    return Model(capacity).eval()


def get_timestamp_embeddings(audio, model):
    with torch.no_grad():
        embeddings = model(audio)
    timestamps = torch.arange(embeddings.shape[1], device=audio.device) * (1000 * HOP / model.sample_rate)
    return embeddings, timestamps.float().expand(len(audio), -1)


def get_scene_embeddings(audio, model):
    return get_timestamp_embeddings(audio, model)[0].mean(1)
