"""Speed of nnjax, PyTorch and jitted stock flax on sequences, in one run, as `cpu_training.py`.

  python experiments/benchmarks/cpu_sequences.py [--rounds=7] [--json=FILE] [--recipes=lstm-64,gru-64]

Training of an LSTM, a GRU, a Transformer encoder of four blocks and an encoder with a decoder, each
256 wide on 64 tokens; and the encoder and decoder's beam search with a cache, of 64 tokens by four
beams, where a step is a batch of searches.
"""

from absl import app, flags
from cpu_training import main

RECIPES = ['lstm-64', 'gru-64', 'transformer-64', 'translator-64', 'translator-32-beam']

if __name__ == '__main__':
    flags.FLAGS.set_default('recipes', RECIPES)
    app.run(main)
