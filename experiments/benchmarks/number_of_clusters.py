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
    values = {}
    for number in range(LEAST.value, MOST.value + 1):
        own = cluster.kmeans(jax.random.key(0), code, number, restarts=20)[1]
        values[number] = cluster.silhouette(code, np.asarray(own))
        print(f'{number:4} clusters  silhouette {values[number]:.4f}', flush=True)
    print(f'chosen: {max(values, key=values.get)}')


if __name__ == '__main__':
    app.run(main)
