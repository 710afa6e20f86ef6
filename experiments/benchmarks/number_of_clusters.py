"""How many clusters a run's codes fall into, by a rule that knows no labels.

  python experiments/benchmarks/number_of_clusters.py --workdir=RUN [--least=2] [--most=15]

The rule: k-means of the predicted codes for every number from `least` to `most`, and the number of
the greatest mean silhouette (Rousseeuw, 1987). RUN is a run folder of an autoencoder.
"""

from pathlib import Path

import jax
import numpy as np
from absl import app, flags

from nnjax.ops import cluster

WORKDIR = flags.DEFINE_string('workdir', None, 'run folder', required=True)
LEAST = flags.DEFINE_integer('least', 2, 'clusters', lower_bound=2)
MOST = flags.DEFINE_integer('most', 15, 'clusters')


def main(_):
    with np.load(Path(WORKDIR.value) / 'predictions' / 'test.npz', allow_pickle=False) as found:
        code = found['code']
    found = []
    for number, value in cluster.silhouettes(
        jax.random.key(0), code, range(LEAST.value, MOST.value + 1)
    ):
        print(f'{number:4} clusters  silhouette {value:.4f}', flush=True)
        found.append((value, number))
    print(f'chosen: {max(found)[1]}')


if __name__ == '__main__':
    app.run(main)
