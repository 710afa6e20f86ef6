"""Comparisons: the tests are the textbook's, alarms are as rare as claimed, words say what holds."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nnjax import cli
from nnjax import config as configs
from nnjax.analysis import compare, conclusions, statistics
from nnjax.analysis.sides import Side
from nnjax.errors import UserError

BEST = ('max', 'accuracy')
values = st.lists(st.floats(-100, 100), min_size=3, max_size=12)


# The tests themselves


@given(values, st.data())
def test_paired_is_scipys(a, data):
    b = data.draw(st.lists(st.floats(-100, 100), min_size=len(a), max_size=len(a)))
    if np.std(np.subtract(a, b)) < 1e-3:
        return
    found, expected = statistics.paired(a, b), stats.ttest_rel(a, b)
    ends = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high), rel=1e-6, abs=1e-9)
    assert found.effect == pytest.approx(expected.statistic / math.sqrt(len(a)))


@given(values, values)
def test_welch_is_scipys(a, b):
    if min(np.std(a), np.std(b)) < 1e-3:
        return
    found, expected = statistics.welch(a, b), stats.ttest_ind(a, b, equal_var=False)
    ends = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high), rel=1e-6, abs=1e-9)


@given(values, st.floats(-100, 100))
def test_one_value_against_several_is_students(b, a):
    if np.std(b) < 1e-3:
        return
    found, expected = statistics.welch([a], b), stats.ttest_ind([a], b, equal_var=True)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert statistics.welch(b, [a]).p == pytest.approx(found.p)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 50))
def test_mcnemar_is_the_exact_binomial(only_a, only_b, both):
    a = np.array([True] * only_a + [False] * only_b + [True] * both + [False])
    b = np.array([False] * only_a + [True] * only_b + [True] * both + [False])
    found = statistics.mcnemar(a, b)
    expected = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1
    assert found.p == pytest.approx(expected)
    assert found.difference == pytest.approx(a.mean() - b.mean()) and found.alone == (
        only_a,
        only_b,
    )
    assert found.low < found.difference < found.high


def test_mcnemars_interval_holds_the_truth():
    rng, held = np.random.default_rng(0), 0
    for _ in range(1000):
        a = rng.random(100) < 0.9
        b = np.where(rng.random(100) < 0.2, rng.random(100) < 0.6, a)
        found = statistics.mcnemar(a, b)
        held += found.low < 0.2 * (0.9 - 0.6) < found.high
    assert 935 < held < 985


def test_values_that_do_not_spread_prove_little():
    """Two seeds may well differ by the same two examples of 360."""
    same = statistics.paired([0.9, 0.8], [0.8, 0.7])
    assert same.p == 0.5 and math.isnan(same.low) and math.isnan(same.effect)
    assert statistics.paired([0.9] * 10, [0.8] * 10).p == pytest.approx(2**-9)
    assert statistics.paired([0.9] * 3, [0.9] * 3).p == 1
    assert statistics.welch([0.9] * 3, [0.8] * 3).p == pytest.approx(2 / 20)
    assert statistics.welch([0.9] * 3, [0.9] * 3).p == 1


def test_holm_is_the_definition():
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.holm([0.5, 0.9]) == [1.0, 1.0] and statistics.holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_nothing_and_bonferroni(p):
    for given_p, corrected in zip(p, statistics.holm(p)):
        assert given_p <= corrected <= statistics.bonferroni(given_p, len(p))


# How often they err, and how often they find


def seeds(rng, count, mean=0.9, deviation=0.01, examples=None):
    """Accuracies of seeds, on a test split of so many examples where that is given."""
    drawn = rng.normal(mean, deviation, count)
    return np.round(drawn * examples) / examples if examples else drawn


def right(rng, count, accuracy):
    """Two models' right answers to the same examples, the easy ones among them easy for both."""
    easy = rng.beta(4 * accuracy, 4 * (1 - accuracy), count)
    return rng.random(count) < easy, rng.random(count) < easy


def alarms(draw, count: int, seed: int = 0) -> int:
    rng = np.random.default_rng(seed)
    return sum(draw(rng).p < compare.LEVEL for _ in range(count))


def of_hard(rng, count=400):
    """Losses of heavy tails: what is hard for one model is hard for the other."""
    hard = rng.gamma(0.3, 1.0, count)
    a, b = (hard * rng.gamma(2.0, 0.5, count) for _ in range(2))
    return statistics.paired(a, b, 'test examples')


SAME = {
    'paired': lambda rng: statistics.paired(seeds(rng, 5), seeds(rng, 5)),
    'paired, two seeds': lambda rng: statistics.paired(
        seeds(rng, 2, examples=360), seeds(rng, 2, examples=360)
    ),
    'paired, three seeds': lambda rng: statistics.paired(
        seeds(rng, 3, examples=360), seeds(rng, 3, examples=360)
    ),
    'welch': lambda rng: statistics.welch(seeds(rng, 4), seeds(rng, 7, deviation=0.03)),
    'welch, two seeds': lambda rng: statistics.welch(
        seeds(rng, 2, examples=360), seeds(rng, 3, examples=360)
    ),
    'one against several': lambda rng: statistics.welch(seeds(rng, 1), seeds(rng, 5)),
    'mcnemar': lambda rng: statistics.mcnemar(*right(rng, 360, 0.9)),
    'losses of examples': of_hard,
}


@pytest.mark.parametrize('name', SAME)
def test_the_same_against_the_same_alarms_in_one_of_twenty(name):
    """An exact test errs in 20 of 400 on average; 4,000 others show that the 400 are no luck."""
    assert alarms(SAME[name], 400, seed=3) <= 20
    most = 4000 * 0.05 + 3 * math.sqrt(4000 * 0.05 * 0.95)  # chance alone exceeds it in 1 of 700
    assert alarms(SAME[name], 4000, seed=1) <= most


DIFFERENT = {
    'paired': lambda rng: statistics.paired(seeds(rng, 5, 0.93), seeds(rng, 5)),
    'welch': lambda rng: statistics.welch(seeds(rng, 5, 0.93), seeds(rng, 8)),
    'one against several': lambda rng: statistics.welch(seeds(rng, 1, 0.97), seeds(rng, 5)),
    'mcnemar': lambda rng: statistics.mcnemar(rng.random(360) < 0.95, rng.random(360) < 0.85),
    'losses of examples': lambda rng: statistics.paired(
        rng.gamma(0.5, 1.0, 400), rng.gamma(1.0, 1.0, 400), 'test examples'
    ),
}


@pytest.mark.parametrize('name', DIFFERENT)
def test_a_real_difference_is_found(name):
    assert alarms(DIFFERENT[name], 200) >= 0.9 * 200


def test_intervals_hold_the_truth_in_19_of_20():
    rng = np.random.default_rng(0)
    tests = [statistics.paired(seeds(rng, 5, 0.91), seeds(rng, 5)) for _ in range(2000)]
    assert 0.935 < np.mean([t.low < 0.01 < t.high for t in tests]) < 0.965


def side(name, scores, tried=1, **fields):
    records = {seed: {'accuracy': float(value)} for seed, value in scores.items()}
    return Side(name, records, BEST, tried, fields, 'print', None)


def test_the_best_of_many_alarms_no_more_than_a_single_one():
    """Validation that is the test itself: the worst case of choosing by luck."""
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(400):
        tries = [seeds(rng, 5) for _ in range(10)]
        best = dict(enumerate(max(tries, key=np.mean)))
        a, b = side('sweep', best, 10), side('run', dict(enumerate(seeds(rng, 5))))
        found += statistics.bonferroni(compare.test(a, b, 'accuracy').p, 10) < compare.LEVEL
    assert found <= 20


def test_many_pairs_alarm_no_more_than_a_single_one():
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(400):
        sides = [side(str(i), dict(enumerate(seeds(rng, 5)))) for i in range(4)]
        pairs = [(a, b) for i, a in enumerate(sides) for b in sides[:i]]
        p = [compare.test(a, b, 'accuracy').p for a, b in pairs]
        found += min(statistics.holm(p)) < compare.LEVEL
    assert found <= 20


# Folders


def predictions(rng, accuracy, count=300, classes=10):
    label = np.arange(count) % classes
    guess = np.where(rng.random(count) < accuracy, label, (label + 1) % classes)
    probability = np.full((count, classes), 0.01, np.float32)
    probability[np.arange(count), guess] = 1 - 0.01 * (classes - 1)
    loss = -np.log(probability[np.arange(count), label])
    return {'probability': probability, 'label': label, 'loss': loss, 'index': np.arange(count)}


def save_run(
    path, accuracy=0.9, seed=0, data='print', best='max accuracy', finished=True, **fields
):
    """A finished run folder, its predictions drawn by its seed."""
    path.mkdir(parents=True, exist_ok=True)
    config = configs.load('digits_mlp')
    config.seed, config.best = seed, best
    for name, value in fields.items():
        configs.override(config, name.replace('__', '.'), str(value))
    saved = {'experiment': 'digits_mlp', 'data': data, 'config': configs.to_json(config)}
    (path / 'config.json').write_text(json.dumps(saved))
    arrays = predictions(np.random.default_rng(seed), accuracy)
    hits = arrays['probability'].argmax(1) == arrays['label']
    record = {'split': 'test', 'step': 10, 'seconds': 1.0, 'accuracy': float(hits.mean())}
    record |= {'loss': float(arrays['loss'].mean()), 'macro_f1': 0.5, 'f1/0': 0.5}
    record |= {'best_step': 10, 'finished': True} if finished else {'split': 'valid'}
    (path / 'metrics.jsonl').write_text(json.dumps(record) + '\n')
    (path / 'predictions').mkdir(exist_ok=True)
    np.savez(path / 'predictions' / 'test.npz', **arrays)
    return str(path)


def save_sweep(path, rates=(0.1, 0.2, 0.3), count=5, data='print', finished=True):
    """A sweep whose second configuration is the best."""
    config = configs.load('digits_mlp')
    config.best = 'max accuracy'
    points = [{'optim.lr': lr, 'seed': seed} for lr in rates for seed in range(count)]
    path.mkdir(parents=True)
    saved = {'experiment': 'digits_mlp', 'data': data, 'points': points, 'plan': {}}
    (path / 'sweep.json').write_text(json.dumps(saved | {'config': configs.to_json(config)}))
    rng = np.random.default_rng(0)
    with (path / 'metrics.jsonl').open('w') as file:
        for index, point in enumerate(points):
            score = (0.95 if point['optim.lr'] == rates[1] else 0.9) + rng.normal() / 500
            record = {'point': index, 'split': 'test', 'step': 10, 'seconds': 1.0}
            record |= {'accuracy': score, 'best_value': score, 'finished': True}
            if finished or index:
                file.write(json.dumps(record) + '\n')
    save_run(path / 'best', 0.95, 0)
    return str(path)


def test_two_runs_are_compared_over_their_test_examples(tmp_path):
    a, b = save_run(tmp_path / 'a', 0.9), save_run(tmp_path / 'b', 0.7, seed=1)
    (pair,) = compare.compare([a, b]).pairs
    assert pair.test.counts == (300,) and pair.test.over == 'test examples' and pair.holds
    said = conclusions.render(compare.compare([a, b]))
    assert 'not that of seeds' in said and f'{a} has the better test accuracy' in said
    (pair,) = compare.compare([a, b], 'loss').pairs
    assert pair.test.name == 'paired t test' and pair.test.difference < 0


def test_joined_runs_and_a_sweeps_best_are_paired_by_seed(tmp_path):
    runs = ','.join(save_run(tmp_path / f'r{seed}', 0.9, seed) for seed in range(5))
    sweep = save_sweep(tmp_path / 'sweep')
    comparison = compare.compare([sweep, runs])
    (pair,) = comparison.pairs
    assert pair.test.name == 'paired t test' and pair.test.counts == (5,) and pair.tried == 3
    assert pair.corrected == pytest.approx(min(1, 3 * pair.test.p))
    assert pair.changes['optim.lr'][0] == 0.2
    assert 'after correction for 3 configurations tried' in conclusions.render(comparison)
    few = ','.join(runs.split(',')[:3])
    (pair,) = compare.compare([sweep, few]).pairs
    assert pair.test.name == "Welch's t test" and pair.test.counts == (5, 3)
    (pair,) = compare.compare([sweep, runs.split(',')[0]]).pairs
    assert pair.test.counts == (5, 1)


def test_more_than_two_are_corrected_together(tmp_path):
    names = [save_run(tmp_path / str(seed), 0.9, seed) for seed in range(4)]
    comparison = compare.compare(names)
    p = [pair.test.p for pair in comparison.pairs]
    assert len(p) == 6
    assert [pair.corrected for pair in comparison.pairs] == pytest.approx(statistics.holm(p))


def test_a_verdict_says_what_is_lacking():
    a, b = side('a', {0: 0.90, 1: 0.92}), side('b', {0: 0.91, 1: 0.94})
    test = compare.test(a, b, 'accuracy')
    pair = compare.Pair(a, b, test, 4, statistics.bonferroni(test.p, 4), {})
    said = conclusions.conclusion(pair, compare.Comparison('accuracy', (a, b), (pair,)))
    assert 'no evidence' in said and 'Two seeds are too few' in said
    assert 'b has the better test accuracy: 0.9250 against 0.9100 of a, 0.0150 more' in said
    low, high = stats.ttest_rel([0.91, 0.94], [0.90, 0.92]).confidence_interval(0.95)
    assert f'(95% interval −{-low:.4f} to {high:.4f})' in said
    b = side('b', {0: 0.93, 1: 0.9501, 2: 0.94})
    a = side('a', {0: 0.90, 1: 0.92, 2: 0.91})
    test = compare.test(a, b, 'accuracy')
    for tried, words in (
        (1, 'The difference holds.'),
        (10**6, 'It does not hold after correction'),
    ):
        pair = compare.Pair(a, b, test, tried, statistics.bonferroni(test.p, tried), {})
        comparison = compare.Comparison('accuracy', (a, b), (pair,))
        assert words in conclusions.verdict(pair, comparison)
    same = compare.Pair(a, a, compare.test(a, a, 'accuracy'), 1, 1.0, {})
    assert 'the same mean' in conclusions.difference(same, 'accuracy')


def test_a_lower_loss_is_better_and_a_stranger_is_only_higher():
    found = statistics.welch([0.1, 0.2, 0.3], [0.5, 0.6, 0.8])
    records = [
        {s: {'loss': x} for s, x in enumerate(v)} for v in ([0.1, 0.2, 0.3], [0.5, 0.6, 0.8])
    ]
    for best, words in (
        (('min', 'loss'), 'a has the better test loss: 0.2000 against 0.6333 of b, 0.4333 less'),
        (BEST, 'b has the higher test loss: 0.6333 against 0.2000 of a, 0.4333 more'),
    ):
        a, b = (Side(n, r, best, 1, {}, 'print', None) for n, r in zip('ab', records))
        said = conclusions.difference(compare.Pair(a, b, found, 1, found.p, {}), 'loss')
        assert said.startswith(words) and f'interval {-found.high:.4f} to {-found.low:.4f}' in said


def refuse(*arguments) -> str:
    with pytest.raises(UserError) as error:
        compare.compare(*arguments)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_what_cannot_be_compared_is_told_in_a_line(tmp_path):
    a, b = save_run(tmp_path / 'a'), save_run(tmp_path / 'b', seed=1)
    assert 'two folders' in refuse([a])
    assert 'named twice' in refuse([a, b, a]) and 'named twice' in refuse([a, f'{b},{a}'])
    assert 'is no folder' in refuse([a, str(tmp_path / 'absent')])
    (tmp_path / 'empty').mkdir()
    assert 'no run folder and no sweep' in refuse([a, str(tmp_path / 'empty')])
    assert 'different data' in refuse([a, save_run(tmp_path / 'other', data='x')])
    assert 'not finished' in refuse([a, save_run(tmp_path / 'open', finished=False)])
    loss = save_run(tmp_path / 'loss', best='min loss', seed=2)
    assert '--metric' in refuse([a, loss])
    compare.compare([a, loss], 'accuracy')
    assert "did you mean 'accuracy'" in refuse([a, b], 'acuracy')
    assert 'no plain average' in refuse([a, b], 'macro_f1')
    wide = save_run(tmp_path / 'wide', seed=1, optim__lr=0.5)
    assert 'differs from' in refuse([b, f'{a},{wide}']) and 'optim.lr' in refuse([b, f'{a},{wide}'])
    again = save_run(tmp_path / 'again', seed=0)
    assert 'the seed 0 of another' in refuse([b, f'{a},{again}'])
    sweep = save_sweep(tmp_path / 'sweep')
    assert 'is a sweep folder' in refuse([b, f'{a},{sweep}'])
    assert 'not finished' in refuse([a, save_sweep(tmp_path / 'half', finished=False)])
    with np.load(tmp_path / 'b' / 'predictions' / 'test.npz') as file:
        other = dict(file) | {'index': np.arange(1, 301)}
    np.savez(tmp_path / 'b' / 'predictions' / 'test.npz', **other)
    assert 'different examples' in refuse([a, b])
    (tmp_path / 'b' / 'predictions' / 'test.npz').write_bytes(b'torn')
    assert 'cannot be read' in refuse([a, b])
    (tmp_path / 'a' / 'config.json').write_text('{')
    assert 'damaged' in refuse([a, b])


def test_losses_of_different_tasks_are_refused(tmp_path):
    a = save_run(tmp_path / 'a', best='min loss')
    smooth = save_run(tmp_path / 'smooth', seed=1, best='min loss', task__smoothing=0.3)
    said = refuse([a, smooth])
    assert 'task.smoothing: 0.1, 0.3' in said and '--metric=NAME' in said
    assert 'task.smoothing' in refuse([a, save_run(tmp_path / 'b', best='min loss'), smooth])
    compare.compare([a, smooth], 'accuracy')
    path = tmp_path / 'b' / 'config.json'
    saved = json.loads(path.read_text())
    saved['config']['task'] = configs.to_json(configs.load('digits_vae'))['task']
    path.write_text(json.dumps(saved))
    assert 'task.fn: nnjax.tasks.classification, nnjax.tasks.vae' in refuse([a, str(path.parent)])
    faster = save_run(tmp_path / 'c', best='min loss', optim__lr=0.5)
    assert compare.compare([a, faster]).metric == 'loss'


def test_the_command_prints_and_writes_a_page(tmp_path, capsys):
    a, b = save_run(tmp_path / 'a', 0.9), save_run(tmp_path / 'b', 0.8, seed=1)
    page = tmp_path / 'page.html'
    with pytest.raises(SystemExit) as stop:
        cli.main(['compare', a, b, f'--output={page}'])
    out = capsys.readouterr().out
    assert stop.value.code == 0 and 'has the better test accuracy' in out and str(page) in out
    text = page.read_text()
    assert '<svg' in text and 'src=' not in text and '<script' not in text
    for arguments in ([a], [a, b, '--output=page.pdf'], [a, b, '--metric=x']):
        with pytest.raises(SystemExit) as stop:
            cli.main(['compare', *arguments])
        error = capsys.readouterr().err
        assert stop.value.code == 2 and error.startswith('nnjax: ') and error.count('\n') == 1
