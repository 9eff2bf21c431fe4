"""The baselines that every trained model has to beat, as HEAR models.

``benchmarks.baselines.logmel``: mean and deviation of the log-mel spectrogram, nothing learnt.
``benchmarks.baselines.random_encoder``: the DeLoRes encoder with random weights.
"""
