"""Test-time augmentation, and the operations that evaluation shares with training."""

import csv
import dataclasses
import io
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nnjax import cli
from nnjax.config import bind
from nnjax.data import prepare, sources, spec
from nnjax.data.preparation import Operation, Preparation
from nnjax.errors import UserError
from nnjax.tasks.task import Task
from nnjax.training import evaluate, predict, runner, step
from nnjax.training.setup import setup
from tests.test_train import config, difference


class Even(nn.Module):
    """Sees the mean over each row of pixels: the same for an image and its mirror image."""

    classes: int = 10

    @nn.compact
    def __call__(self, images, train=False):
        return 20 * nn.Dense(self.classes)(images.mean(2).reshape(len(images), -1))


def ready(**fields):
    """A config -> (its Setup, a state with the parameters it starts from)."""
    made = setup(config(augment='', **fields))
    return made, runner.start(made)[0].state


def probabilities(made, state):
    return evaluate.Evaluator(made, made.dataset.test).predictions(state)['probability']


def test_mirrors_change_nothing_for_a_symmetric_model():
    model = bind(Even)
    plain, flipped, moved = (
        probabilities(*ready(model=model, tta=tta)) for tta in ('', 'flip(1)', 'translate(2)')
    )
    np.testing.assert_allclose(plain, flipped, atol=1e-6)
    assert np.abs(plain - moved).max() > 1e-3


def test_two_views_are_the_mean_of_the_image_and_its_mirror():
    made, state = ready(tta='flip(1)', tta_views=2)
    source = made.dataset.test
    images = source[np.arange(len(source))]['image']
    plain = ready()[0]
    wanted = [predict.predict(plain, state, {'image': x}) for x in (images, images[:, :, ::-1])]
    wanted = (wanted[0]['probability'] + wanted[1]['probability']) / 2
    np.testing.assert_allclose(probabilities(made, state), wanted, atol=1e-6)
    np.testing.assert_allclose(wanted.sum(-1), 1, atol=1e-5)


TTA = 'noise(0.2) | translate(1) | rotate(5)'


@pytest.mark.slow
def test_views_are_a_function_of_the_seed_and_the_example():
    found = [
        probabilities(*ready(tta=TTA, eval_batch=rows, **more))
        for rows, more in ((360, {}), (360, {}), (7, {}), (16, dict(parallel='pmap', devices=4)))
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_allclose(found[0], found[2], atol=1e-6)
    np.testing.assert_allclose(found[0], found[3], atol=1e-6)
    made, state = ready(tta=TTA)
    other = probabilities(made, state.replace(seed=jnp.uint32(1)))
    assert np.abs(other - found[0]).max() > 1e-3


def test_prediction_averages_the_same_views():
    made, state = ready(tta=TTA)
    source = made.dataset.test
    scored = probabilities(made, state)
    some = source[np.array([200, 3, 77])]
    found = predict.predict(made, state, {'image': some['image']})['probability']
    np.testing.assert_allclose(found, scored[[200, 3, 77]], atol=1e-6)


def test_views_differ_and_the_first_is_the_example():
    made, state = ready(tta=TTA, tta_views=5)
    rows = made.prepare(made.dataset.test[np.arange(4)])
    run = jax.jit(lambda view: step.predict(made.program, state, rows, made.hyperparameters, view))
    views = [run(number)['probability'] for number in range(5)]
    plain = ready()[0]
    first = step.predict(plain.program, state, rows, plain.hyperparameters, 0)['probability']
    np.testing.assert_allclose(views[0], first, atol=1e-6)
    assert all(np.abs(a - b).max() > 1e-4 for i, a in enumerate(views) for b in views[:i])


def test_averages_of_loss_and_metrics_stay_plain():
    made, state = ready(tta=TTA)
    plain, _ = ready()
    a, b = (evaluate.Evaluator(m, m.dataset.test) for m in (made, plain))
    assert a(state) == b(state)
    a, b = a.predictions(state), b.predictions(state)
    np.testing.assert_allclose(a['loss'], b['loss'], rtol=1e-5)
    assert np.abs(a['probability'] - b['probability']).max() > 1e-3


def counting() -> Task:
    """A task that predicts whole numbers."""
    values = lambda outputs, batch: (jnp.sum(outputs, -1), jnp.ones(len(outputs)))
    return Task(
        lambda batch: (batch['image'],),
        values,
        lambda outputs, batch: {},
        lambda apply, batch: {'class': apply(batch['image']).argmax(-1)},
    )


def silent() -> Task:
    """A task without predictions."""
    values = lambda outputs, batch: (jnp.sum(outputs, -1), jnp.ones(len(outputs)))
    return Task(lambda batch: (batch['image'],), values, lambda outputs, batch: {})


@pytest.mark.parametrize(
    'fields, words',
    [
        ({'tta': 'flop'}, "tta='flop', column 1: unknown operation 'flop'; did you mean 'flip'"),
        ({'tta': 'flip | mixup'}, 'mixup, cutmix and normalize make no views'),
        ({'tta': 'normalize'}, 'make no views'),
        ({'tta': 'keep | flip'}, "tta='keep | flip': keep, mixup, cutmix and normalize make no"),
        ({'tta': 'flip', 'task': bind(counting)}, "the task predicts 'class', no real number"),
        ({'tta': 'flip', 'task': bind(silent)}, 'the task has none'),
    ],
)
def test_what_has_no_views_is_one_line(fields, words):
    with pytest.raises(UserError) as error:
        ready(best='min loss', **fields)
    assert words in str(error.value) and '\n' not in str(error.value)


def test_normalize_is_of_evaluation_too():
    """As the last of `augment` it is what `prepare` could have done, everywhere."""
    image = np.random.default_rng(0).integers(0, 256, (64, 6, 6, 3)).astype(np.uint8)
    data = bind(sources.Arrays, train={'image': image, 'label': np.arange(64) % 10}, test='16')
    fields = dict(data=data, prepare='scale', model__dropout=0.0, batch=8)
    mean, std = np.array([0.5, 0.4, 0.3], np.float32), np.array([0.2, 0.3, 0.4], np.float32)
    text = f'normalize({tuple(mean.tolist())}, {tuple(std.tolist())})'
    made = setup(config(augment=f'color_jitter(0, 0, 0, 0) | {text}', **fields))
    state = runner.start(made)[0].state
    plain = setup(config(augment='', **fields))
    normal = Operation(lambda _, a: {**a, 'image': (a['image'] - mean) / std})
    both = Preparation((*spec.parse('scale', prepare), normal), plain.dataset.train)
    plain = dataclasses.replace(plain, prepare=both)
    a, b = (evaluate.Evaluator(m, m.dataset.test) for m in (made, plain))
    assert a(state)['loss'] == pytest.approx(b(state)['loss'], rel=1e-5)
    assert difference(a.predictions(state), b.predictions(state)) < 1e-5
    rows = {'image': image[:5]}
    assert (
        difference(predict.predict(made, state, rows), predict.predict(plain, state, rows)) < 1e-5
    )


def nnjax(capsys, *argv):
    with pytest.raises(SystemExit) as stop:
        cli.main(list(argv))
    captured = capsys.readouterr()
    assert stop.value.code == 0, captured.err
    return captured.out


@pytest.mark.slow
def test_the_commands_take_it_for_a_run_folder(capsys, tmp_path):
    folder = f'--workdir={tmp_path / "run"}'
    tta = ['--config.tta=translate(2)', '--config.tta_views=3']
    nnjax(capsys, 'train', '--config=digits_mlp', '--config.total=2 epochs', folder, '--quiet')
    plain, views = (json.loads(nnjax(capsys, 'evaluate', folder, *more)) for more in ([], tta))
    assert views['loss'] == plain['loss'] and abs(views['nll'] - plain['nll']) > 1e-3
    images = np.random.default_rng(0).integers(0, 17, (9, 8, 8, 1)).astype(np.uint8)
    np.save(tmp_path / 'x.npy', images)
    texts = [nnjax(capsys, 'predict', folder, str(tmp_path / 'x.npy'), *m) for m in ([], tta, tta)]
    plain, views, again = (
        [float(row['probability']) for row in csv.DictReader(io.StringIO(text))] for text in texts
    )
    assert views == again and np.abs(np.subtract(plain, views)).max() > 1e-3
