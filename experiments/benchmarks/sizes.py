"""Sizes that the networks of `cpu_training.py` share, whoever writes them."""

CHANNELS = (32, 64, 128)  # of the small CNN and VGG
WIDTH, HEADS = 256, 4  # of the LSTM and the Transformer
TIME, VOCABULARY = 64, 1000  # of sequences of tokens
