"""What simple methods of scikit-learn make of the experiments' own splits, beside README's scores.

  python experiments/benchmarks/baselines.py [--only=diabetes,commands,wordnet,clusters,unseen]

`diabetes`: R2 of ridge regression of standardized columns, the mean over ten splits. `commands`:
accuracy of logistic regression of the log-mel bands that `commands_mlp` sees. `wordnet`: accuracy of a
linear support vector machine of TF-IDF of words and pairs of words. `clusters`: accuracy of k-means of
Fashion-MNIST's pixels, the best of ten starts, under the best match, the mean of three seeds. `unseen`:
equal error rate of the cosine of Fashion-MNIST's pixels. All are of the test split.
"""

import jax
import numpy as np
from absl import app, flags, logging
from sklearn.cluster import KMeans
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from nnjax import build
from nnjax import config as configs
from nnjax.data import augment, spec
from nnjax.data.augment import chain
from nnjax.ops import cluster, pairs

NAMES = ('diabetes', 'commands', 'wordnet', 'clusters', 'unseen')
ONLY = flags.DEFINE_list('only', list(NAMES), 'which')


def splits(experiment: str, **fields: str) -> tuple[dict, dict]:
    """An experiment's training and test examples {field: [N, ...]}."""
    data = build.instantiate(configs.load(experiment, fields).data)
    return tuple(source[np.arange(len(source))] for source in (data.train, data.test))


def diabetes() -> str:
    found = []
    for seed in range(10):
        train, test = splits('diabetes_mlp', **{'data.seed': str(seed)})
        ridge = make_pipeline(StandardScaler(), Ridge())
        ridge.fit(train['features'], train['target'].ravel())
        found.append(ridge.score(test['features'], test['target'].ravel()))
    return f'R2 {np.mean(found):.3f} ± {np.std(found, ddof=1):.3f}'


def commands() -> str:
    operations = spec.parse(configs.load('commands_mlp').augment, augment)
    seen = jax.jit(lambda batch: chain.evaluate(operations, batch))

    def rows(split: dict) -> np.ndarray:
        made = []
        for start in range(0, len(split['label']), 100):
            part = {n: a[start : start + 100] for n, a in split.items()}
            made.append(np.asarray(seen(part)['audio']))
        return np.concatenate(made).reshape(len(split['label']), -1)

    train, test = splits('commands_mlp')
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    linear.fit(rows(train), train['label'])
    return f'accuracy {linear.score(rows(test), test["label"]):.3f}'


def wordnet() -> str:
    train, test = splits('wordnet_lstm')
    linear = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LinearSVC())
    linear.fit(train['text'].tolist(), train['label'])
    return f'accuracy {linear.score(test["text"].tolist(), test["label"]):.3f}'


def clusters() -> str:
    train, test = splits('fashion_clusters')
    train, images = (
        x['image'].reshape(len(x['image']), -1) / np.float32(255) for x in (train, test)
    )
    found = []
    for seed in range(3):
        own = KMeans(10, n_init=10, random_state=seed).fit(train).predict(images)
        found.append(cluster.accuracy(cluster.contingency(test['label'], own)))
    return f'accuracy {np.mean(found):.3f} ± {np.std(found, ddof=1):.3f}'


def unseen() -> str:
    test = splits('fashion_unseen')[1]
    pixels = test['image'].reshape(len(test['image']), -1).astype(np.float32)
    return f'EER {pairs.equal_error(*pairs.scores(pixels, test["label"]))[0]:.3f}'


def main(_):
    logging.set_verbosity(logging.ERROR)
    for name in ONLY.value:
        print(f'{name:<12}{globals()[name]()}', flush=True)


if __name__ == '__main__':
    app.run(main)
