"""The report shows what the run folder says, whatever state the folder is in; the sheet likewise."""

import html.parser
import json
import math
import re
import subprocess
import sys

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nnjax import errors, report
from nnjax.report import charts, folder, page, scores, sheet, svg

VOID = {'meta', 'img', 'link', 'br', 'hr', 'input'}
EVIL = '<script>alert(1)</script>" onload="x'


class Page(html.parser.HTMLParser):
    """Checks that tags balance while it collects elements and text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.words = [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f'never closed: {self.open}'

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f'</{tag}> closes {self.open[-3:]}'
        self.open.pop()

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]

    @property
    def text(self):
        return ' '.join(' '.join(self.words).split())


def records(epochs=6):
    for epoch in range(1, epochs + 1):
        clock = {'step': 10 * epoch, 'epoch': float(epoch), 'seconds': 0.5 * epoch}
        meters = {'lr': 0.1, 'grad_norm': 1 / epoch, 'step_milliseconds': 0.2}
        yield {'split': 'train', **clock, 'loss': 1 / epoch, 'accuracy': 1 - 0.5 / epoch, **meters}
        yield {'split': 'valid', **clock, 'loss': 1.2 / epoch, 'accuracy': 1 - 0.6 / epoch}
    final = {
        'best_step': 40,
        'finished': True,
        'loss': 0.4321,
        'accuracy': 0.8765,
        'precision/0': 0.5,
        'recall/0': 0.25,
    }
    yield {'split': 'test', **clock, **final}


def predictions(classes=10, count=300, seed=0):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, count).astype(np.int32)
    logits = rng.normal(size=(count, classes))
    logits[np.arange(count), label] += 2
    probability = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)
    index = rng.permutation(5000)[:count]
    wrong = np.flatnonzero(probability.argmax(1) != label)[:24]
    return {
        'probability': probability,
        'label': label,
        'index': index,
        'labels': np.array([f'class {name}' for name in range(classes)]),
        'mistakes_index': wrong,
        'mistakes_image': rng.integers(0, 255, (len(wrong), 8, 8, 1)).astype(np.uint8),
    }


def save(path, lines=None, config=None, environment=None, arrays=None):
    path.mkdir(parents=True, exist_ok=True)
    lines = list(records()) if lines is None else lines
    (path / 'metrics.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    config = config or {
        'seed': 0,
        'model': {'fn': 'nnjax.models.MLP', 'widths': [64], 'rate': None},
    }
    (path / 'config.json').write_text(json.dumps({'experiment': 'a_run', 'config': config}))
    environment = environment or {'git commit': '0123abc4', 'command': 'nnjax train --config=x.py'}
    (path / 'environment.json').write_text(json.dumps(environment))
    if arrays is not None:
        (path / 'predictions').mkdir(exist_ok=True)
        np.savez(path / 'predictions' / 'test.npz', **arrays)
    return path


def written(path) -> Page:
    return Page(report.write(path).read_text(encoding='utf-8'))


def test_report_is_one_self_contained_file(tmp_path):
    page = written(save(tmp_path / 'run', arrays=predictions()))
    assert not page.all('script') and not page.all('link') and not page.all('iframe')
    for attrs in (attrs for _, attrs in page.elements):
        for name in ('src', 'href'):
            assert attrs.get(name, '#').startswith(('#', 'data:image/png;base64,'))
    assert 'url(' not in page.text and '@import' not in page.text
    names = {attrs.get('id') for _, attrs in page.elements}
    assert {attrs['href'].removeprefix('#') for attrs in page.all('a')} <= names
    assert all(attrs.get('alt') for attrs in page.all('img'))
    assert all(attrs.get('aria-label') for attrs in page.all('svg'))
    assert [file.name for file in (tmp_path / 'run').glob('report*')] == ['report.html']
    for words in ('a_run', '0.8765', '0.4321', 'git checkout 0123abc4 nnjax train --config=x.py'):
        assert words in page.text
    assert 'Train accuracy ends 1.7 points above validation accuracy.' in page.text


def test_curves_have_a_point_for_each_record(tmp_path):
    page = written(save(tmp_path))
    found = {attrs['aria-label'].split(' by ')[0]: 0 for attrs in page.all('svg')}
    assert list(found) == ['loss', 'accuracy', 'learning rate', 'gradient norm', 'step time, ms']
    paths = [attrs['d'] for attrs in page.all('path')]
    assert [len(re.findall('[ML]', path)) for path in paths] == [6] * (2 + 2 + 3)
    assert [path.count('M') for path in paths] == [1] * 7


def test_a_curve_follows_its_values():
    drawn = charts.lines(
        [charts.Curve('train', [0, 1, 2], [0.0, 5.0, 10.0])], '', 'step', (400, 200)
    )
    points = re.search(r' d="([^"]*)"', drawn)[1]
    (x0, y0), (x1, y1), (x2, y2) = re.findall(r'[ML]([\d.]+),([\d.]+)', points)
    assert float(x1) - float(x0) == pytest.approx(float(x2) - float(x1), abs=0.2)
    assert float(y0) - float(y1) == pytest.approx(float(y1) - float(y2), abs=0.2)
    assert float(y0) - float(y2) > 100


@pytest.mark.parametrize('classes', [2, 10, 30])
def test_confusion_matrix_is_sklearns(tmp_path, classes):
    arrays = predictions(classes)
    page = written(save(tmp_path, arrays=arrays))
    cells = re.findall(r'class (\d+) → class (\d+): (\d+) \(', page.text)
    shown = np.zeros((classes, classes), int)
    for true, predicted, count in cells:
        shown[int(true), int(predicted)] = int(count)
    assert len(cells) == classes**2
    guess = arrays['probability'].argmax(1)
    np.testing.assert_array_equal(shown, sklearn.metrics.confusion_matrix(arrays['label'], guess))


def test_many_classes_become_an_image_and_a_list(tmp_path):
    arrays = predictions(40, 2000)
    page = written(save(tmp_path, arrays=arrays))
    assert not re.search(r'class \d+ → class \d+: ', page.text)
    assert any('Confusion matrix of 40 classes' in attrs['alt'] for attrs in page.all('img'))
    matrix = sklearn.metrics.confusion_matrix(arrays['label'], arrays['probability'].argmax(1))
    np.fill_diagonal(matrix, 0)
    true, guess = np.unravel_index(matrix.argmax(), matrix.shape)
    share = matrix.max() / np.bincount(arrays['label'])[true]
    assert f'class {true} → class {guess} {matrix.max()} {share:.1%}' in page.text


def test_calibration_error_is_the_definition(tmp_path):
    arrays = predictions()
    page = written(save(tmp_path, arrays=arrays))
    confidence = arrays['probability'].max(1)
    right = arrays['probability'].argmax(1) == arrays['label']
    bins = np.minimum((confidence * 15).astype(int), 14)
    error = sum(abs((confidence - right)[bins == b].sum()) for b in range(15)) / len(right)
    assert f'ECE {error:.4f}' in page.text
    assert '95% interval' in page.text and '300 examples' in page.text


def test_mistakes_are_shown_with_their_answers(tmp_path):
    arrays = predictions()
    page = written(save(tmp_path, arrays=arrays))
    row = arrays['mistakes_index'][0]
    guess = arrays['probability'][row].argmax()
    chance = arrays['probability'][row, guess]
    words = (
        f'true class {arrays["label"][row]}, predicted class {guess} with probability {chance:.3f}'
    )
    images = page.all('img')
    assert images[0]['alt'] == f'Example {arrays["index"][row]}: {words}' and len(images) == len(
        arrays['mistakes_index']
    )


def test_the_task_names_the_label_field(tmp_path):
    arrays = predictions()
    arrays['digit'] = arrays.pop('label')
    page = written(save(tmp_path, config={'task': {'label': 'digit'}}, arrays=arrays))
    assert 'Answers on the test split' in page.text


def test_per_class_scores_have_names_and_sizes(tmp_path):
    arrays = predictions()
    page = written(save(tmp_path, arrays=arrays))
    assert f'class 0 0.5000 0.2500 {(arrays["label"] == 0).sum()}' in page.text
    assert '0 0.5000 0.2500 ' in written(save(tmp_path / 'plain')).text


def test_hostile_names_are_escaped(tmp_path):
    arrays = predictions(3)
    arrays['labels'] = np.array([EVIL, 'b', 'c'])
    lines = [{**line, EVIL: 0.5} for line in records()]
    config = {EVIL: EVIL, 'model': {'fn': EVIL, 'name': EVIL, 'deep': {EVIL: [EVIL]}}}
    path = save(tmp_path / 'run', lines, config, {EVIL: EVIL, 'command': EVIL}, arrays)
    page = written(path)
    assert not page.all('script')
    assert not any('onload' in attrs for _, attrs in page.elements)
    assert '<script>alert(1)</script>' in page.text


def test_a_record_torn_by_a_kill_is_left_out(tmp_path):
    path = save(tmp_path, lines=list(records())[:7])
    with (path / 'metrics.jsonl').open('a') as file:
        file.write('{"split": "train", "st')
    assert {split: len(lines) for split, lines in folder.read(path).records.items()} == {
        'train': 4,
        'valid': 3,
    }
    assert 'Not finished' in written(path).text
    with (path / 'metrics.jsonl').open('a') as file:  # what a resumed run appends
        file.write('{"split": "train", "step": 50, "loss": 0.1}\n')
    assert folder.read(path).records['train'][-1]['step'] == 50


def test_a_step_logged_again_after_a_resume_counts_once(tmp_path):
    lines = [{'split': 'train', 'step': step, 'loss': step / 7} for step in (10, 20, 30, 20, 40)]
    run = folder.read(save(tmp_path, lines=lines))
    assert [record['step'] for record in run.records['train']] == [10, 20, 30, 40]
    assert scores.curve(run, 'train', 'loss', 'step').x == [10, 20, 30, 40]


def test_values_not_finite_leave_a_gap_and_are_told(tmp_path):
    lines = list(records())
    lines[4]['loss'], lines[5]['loss'], lines[6]['loss'] = math.nan, None, -math.inf
    page = written(save(tmp_path, lines=lines))
    train, valid = (attrs['d'] for attrs in page.all('path')[:2])
    assert [len(re.findall('[ML]', path)) for path in (train, valid)] == [4, 5]
    assert [path.count('M') for path in (train, valid)] == [2, 2]
    assert 'The train loss is not finite at epoch 3.' in page.text
    assert page.words.count('×') == 3


def test_without_a_test_split_the_final_scores_are_of_valid(tmp_path):
    lines = list(records())
    lines[-1] = {**lines[-1], 'split': 'valid'}
    path = save(tmp_path, lines=lines, arrays=predictions())
    (path / 'predictions' / 'test.npz').rename(path / 'predictions' / 'valid.npz')
    page = written(path)
    last = scores.curve(folder.read(path), 'valid', 'loss', 'epoch').y[-1]
    assert last == pytest.approx(0.2)  # not the final 0.4321
    assert 'valid accuracy 0.8765 95% interval' in page.text
    assert 'Answers on the valid split' in page.text
    assert 'The valid scores are of the parameters after step 40.' in page.text


@pytest.mark.parametrize(
    'found, first',
    [
        ({'cer': 0.2, 'wer': 0.6}, 'test wer'),
        ({'exact_match': 0.9, 'bleu': 31.5}, 'test exact match'),
        ({'macro_f1': 0.8}, 'test accuracy'),
    ],
)
def test_the_task_s_own_score_leads(found, first, tmp_path):
    lines = list(records())
    lines[-1] |= found
    tiles = scores.headline(folder.read(save(tmp_path, lines=lines)), '')
    assert tiles[0]['label'] == first and tiles[0]['main']


def test_high_losses_of_right_answers_are_no_mistakes(tmp_path):
    arrays = predictions()
    right = np.flatnonzero(arrays['probability'].argmax(1) == arrays['label'])
    arrays['mistakes_index'][1:3] = right[:2]
    page = written(save(tmp_path, arrays=arrays))
    assert len(page.all('img')) == len(arrays['mistakes_index']) - 2


def test_overfitting_is_told(tmp_path):
    lines = list(records(8))
    for line in lines:
        if line['split'] == 'valid':
            line['loss'] = 1 + (line['epoch'] - 3) ** 2 / 10
    page = written(save(tmp_path, lines=lines))
    assert 'was lowest (1.0000) at epoch 3 and is 3.5 times that at the end' in page.text


@pytest.mark.parametrize(
    'lines',
    [
        [],
        [{'split': 'train', 'step': 1, 'epoch': 0.1, 'seconds': 0.1, 'loss': 2.3}],
        [{'split': 'train', 'step': 1, 'loss': math.nan}],
        [{'split': 'test', 'loss': math.nan, 'accuracy': 0.5}],
        [{'split': 'train', 'loss': 1.0}, {'split': 'train', 'step': 'x', 'loss': 'y'}],
        [{'split': 'train', 'step': s, 'loss': 10.0 ** (300 * (s % 3 - 1))} for s in range(9)],
        [{'split': 'train', 'step': s, 'loss': 0.0, 'lr': -1.0} for s in range(9)],
        [line for line in records() if line['split'] != 'valid'],
        [7, [], {'no': 'split'}, 'text'],
    ],
)
def test_any_metrics_make_a_page(tmp_path, lines):
    page = written(save(tmp_path, lines=lines))
    drawn = ' '.join(value for _, attrs in page.elements for value in attrs.values() if value)
    assert 'nan,' not in drawn and 'inf' not in drawn.replace('information', '')


def test_any_part_may_be_missing_or_broken(tmp_path):
    path = save(tmp_path, arrays=predictions())
    (path / 'config.json').write_text('{"experi')
    (path / 'environment.json').write_text('[]')
    (path / 'predictions' / 'test.npz').write_bytes(b'PK\x03\x04torn')
    text = written(path).text
    for name in ('config.json', 'environment.json', 'predictions/test.npz'):
        assert f'{name} could not be read.' in text
    for name in ('config.json', 'environment.json', 'predictions/test.npz'):
        (path / name).unlink()
        written(path)
    (path / 'metrics.jsonl').unlink()
    with pytest.raises(errors.UserError, match='no run folder'):
        report.write(path)


@pytest.mark.parametrize(
    'change',
    [
        {'probability': np.zeros((300,))},  # no classification
        {'label': np.zeros((300, 4))},
        {'label': np.full(300, -1)},  # no label is known
        {'probability': np.full((300, 10), np.nan, np.float32)},
        {'labels': np.array([], str)},
        {'mistakes_index': np.full(24, 10_000)},
        {'mistakes_image': np.zeros((0, 8, 8, 1), np.uint8)},
    ],
)
def test_any_predictions_make_a_page(tmp_path, change):
    written(save(tmp_path, arrays=predictions() | change))


def test_long_curves_are_thinned_to_their_extremes():
    y = np.zeros(50_000)
    y[12_345], y[40_001] = 9, -9
    curve = charts.Curve('train', list(range(len(y))), y.tolist())
    x, kept = charts._thin(curve.x, curve.y)
    assert len(x) <= charts.MOST_POINTS and (x[0], x[-1]) == (0, 49_999)
    assert (max(kept), min(kept)) == (9, -9) and x[kept.index(9)] == 12_345
    assert len(charts.lines([curve], '', 'step', (400, 200))) < 100_000


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_ticks_are_round_and_within_the_axis(low, length):
    high = low + max(length, abs(low) * 1e-6)
    marks = svg.ticks(low, high, log=False)
    assert 2 <= len(marks) <= 11 and marks == sorted(marks)
    room = (high - low) * 1e-6
    assert all(low - room <= mark <= high + room for mark in marks)


@given(st.floats(1e-12, 1e12), st.floats(1.5, 1e12))
def test_logarithmic_ticks_are_within_the_axis(low, ratio):
    marks = svg.ticks(low, low * ratio, log=True)
    assert 1 <= len(marks) <= 12 and all(low <= mark <= low * ratio for mark in marks)


def test_commands_tell_of_uncommitted_changes():
    lines = page.reproduce({'commit': 'abc1234+', 'command': 'nnjax train'}).splitlines()
    assert lines == ['git checkout abc1234  # and changes that were not committed', 'nnjax train']
    assert page.reproduce({'commit': '', 'command': 'nnjax train'}) == 'nnjax train'


def test_numbers_are_short():
    values = (0.98333, 12.5, 1797, 3.14e-5, 123456.7, 0.0005, math.nan, 0.0)
    texts = ['0.9833', '12.5', '1,797', '3.14e-05', '123,457', '0.0005', 'nan', '0']
    assert [svg.short(value) for value in values] == texts


def test_report_is_imported_lightly():
    code = 'import sys, nnjax.report; print({"jinja2", "PIL"} & set(sys.modules))'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == 'set()'


@pytest.mark.parametrize('channels', [1, 2, 3, 4])
def test_sheet_has_a_cell_for_each_image(tmp_path, channels):
    images = np.zeros((11, 8, 6, channels), np.uint8)
    images[10] = 200
    path = sheet.write(tmp_path / 's.png', images, list('abcdefghijk'), columns=4, scale=5)
    picture = np.asarray(Image.open(path))
    across, down = 6 * 5 + sheet.MARGIN, 8 * 5 + sheet.MARGIN + sheet.CAPTION
    assert picture.shape == (3 * down + sheet.MARGIN, 4 * across + sheet.MARGIN, 3)
    y, x = sheet.MARGIN + 2 * down, sheet.MARGIN + 2 * across
    assert (picture[y : y + 40, x : x + 30] == 200).all()
    assert (picture[y : y + 40, x + across : x + across + 30] == 255).all()  # no twelfth
    below = picture[y + 40 : y + down - sheet.MARGIN, x : x + 30]
    assert below.min() < 128  # its caption


def test_sheet_shows_floats_as_grey_values(tmp_path):
    def corner(images):
        path = sheet.write(tmp_path / 's.png', images, [''] * len(images), scale=1)
        return np.asarray(Image.open(path))[sheet.MARGIN, sheet.MARGIN].tolist()

    assert corner(np.full((2, 4, 4, 1), 0.5, np.float32)) == [128] * 3
    standardized = np.full((2, 4, 4, 1), -2.0, np.float32)
    standardized[1] = 2
    assert corner(standardized) == [0] * 3
    assert corner(standardized[::-1]) == [255] * 3


def test_sheet_cuts_long_captions_and_wants_one_for_each_image(tmp_path):
    images = np.zeros((2, 8, 8, 1))
    path = sheet.write(tmp_path / 's.png', images, ['a very long caption ' * 5, ''], scale=4)
    second = np.asarray(Image.open(path))[sheet.MARGIN + 32 :, 2 * sheet.MARGIN + 32 :]
    assert second.min() == 255
    with pytest.raises(ValueError, match='2 images, but 1 captions'):
        sheet.write(tmp_path / 's.png', images, ['a'])


def test_fewer_bits_are_better():
    for name in ('bits_per_character', 'kl', 'valid_loss'):
        assert scores.best(charts.Curve(name, [1, 2, 3], [4.0, 3.0, 2.0])) == 2
    assert scores.best(charts.Curve('bleu', [1, 2, 3], [4.0, 3.0, 2.0])) == 0
