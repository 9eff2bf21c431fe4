"""silero-vad (pip install silero-vad) as a HEAR model: what its LSTM is given, 128 numbers every 32 ms."""

import torch

_threads = torch.get_num_threads()
import silero_vad  # noqa: E402  it sets torch's number of threads to 1 for the whole process

torch.set_num_threads(_threads)

HOP, BEFORE, BLOCK = 512, 64, 512  # samples: a frame, and what it hears before; frames in one pass


class Model(torch.nn.Module):
    sample_rate = 16000
    scene_embedding_size = timestamp_embedding_size = 128

    def __init__(self):
        super().__init__()
        self.net = silero_vad.load_silero_vad()._model  # a part of a scripted module, which keeps no state

    def forward(self, audio):  # (n_sounds, n_samples) -> (n_sounds, n_frames, 128)
        padded = torch.nn.functional.pad(audio, (BEFORE, -audio.shape[1] % HOP))
        windows = padded.unfold(1, BEFORE + HOP, HOP)
        parts = [self.one_pass(windows[:, i : i + BLOCK]) for i in range(0, windows.shape[1], BLOCK)]
        return torch.cat(parts, dim=1)

    def one_pass(self, windows):
        heard = self.net.encoder(self.net.run_extractors(windows.flatten(0, 1)))  # (n_sounds * n_windows, 128, 1)
        return heard.mean(2).unflatten(0, windows.shape[:2])


def load_model(model_file_path=""):
    return Model().eval()


def get_timestamp_embeddings(audio, model):
    with torch.no_grad():
        embeddings = model(audio)
    frames = torch.arange(embeddings.shape[1], device=audio.device)
    timestamps = (HOP * frames + (HOP - BEFORE) / 2) * (1000 / model.sample_rate)  # the middle of what a frame hears
    inside = timestamps * model.sample_rate <= 1000 * audio.shape[1]
    inside[0] = True  # a clip that is shorter than half a frame has one all the same
    timestamps = timestamps[inside].clamp(max=1000 * audio.shape[1] / model.sample_rate).float()
    return embeddings[:, inside], timestamps.expand(len(audio), -1)


def get_scene_embeddings(audio, model):
    return get_timestamp_embeddings(audio, model)[0].mean(1)
