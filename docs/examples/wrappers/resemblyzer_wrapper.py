"""Resemblyzer (pip install resemblyzer) as a HEAR model: the speaker in the 1.6 s around each timestamp."""

import numpy as np
import torch
from resemblyzer import VoiceEncoder
from resemblyzer.audio import wav_to_mel_spectrogram

WINDOW, HOP, BLOCK = 160, 5, 256  # mel frames of 10 ms, mel frames, windows in one pass


class Model(torch.nn.Module):
    sample_rate = 16000
    scene_embedding_size = timestamp_embedding_size = 256

    def __init__(self, weights):
        super().__init__()
        self.net = VoiceEncoder("cpu", verbose=False, weights_fpath=weights)

    def forward(self, audio):  # (n_sounds, n_samples) -> (n_sounds, n_frames, 256); frame k is around 50 ms * k
        sounds = [wav_to_mel_spectrogram(sound) for sound in audio.cpu().numpy()]  # each (n_mel_frames, 40)
        mels = torch.from_numpy(np.stack(sounds)).to(audio.device)
        padded = torch.nn.functional.pad(mels, (0, 0, WINDOW // 2, WINDOW // 2))
        windows = padded.unfold(1, WINDOW, HOP).transpose(2, 3)  # (n_sounds, n_windows, WINDOW, 40)
        parts = [self.one_pass(windows[:, i : i + BLOCK]) for i in range(0, windows.shape[1], BLOCK)]
        return torch.cat(parts, dim=1)

    def one_pass(self, windows):
        _, (hidden, _) = self.net.lstm(windows.flatten(0, 1))
        heard = torch.relu(self.net.linear(hidden[-1]))
        # The encoder divides by the norm, which may be 0; normalize does not divide by less than 1e-12.
        return torch.nn.functional.normalize(heard, dim=1).unflatten(0, windows.shape[:2])


def load_model(model_file_path=""):
    return Model(model_file_path or None).eval()


def get_timestamp_embeddings(audio, model):
    with torch.no_grad():
        embeddings = model(audio)
    timestamps = 10.0 * HOP * torch.arange(embeddings.shape[1], device=audio.device)
    return embeddings, timestamps.expand(len(audio), -1)


def get_scene_embeddings(audio, model):
    return get_timestamp_embeddings(audio, model)[0].mean(1)
