"""Commands on runs of texts: predict of lines, standard input and typed fields; generate."""

import csv
import io
import json
import sys

import pytest

import nnjax
from tests.test_cli import nnjax as command
from tests.test_text_tasks import echo, letters

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def translator(tmp_path_factory):
    """The folder of a run of a step that reads 'source' and writes 'target'."""
    path = tmp_path_factory.mktemp('translator')
    c = echo(path, '1 steps')
    c.buckets = ()
    nnjax.train(c, path / 'run')
    return f'--workdir={path / "run"}'


@pytest.fixture(scope='module')
def writer(tmp_path_factory):
    """The folder of a run of a step of a language model."""
    path = tmp_path_factory.mktemp('writer')
    c = letters(path)
    c.total = '1 steps'
    nnjax.train(c, path / 'run')
    return f'--workdir={path / "run"}'


def test_lines_of_a_file_of_standard_input_and_typed_ones_are_translated(
    capsys, translator, tmp_path, monkeypatch
):
    (tmp_path / 'in.txt').write_text('a b\nc\n')
    output = tmp_path / 'out.jsonl'
    code, _, said = command(
        capsys, 'predict', translator, str(tmp_path / 'in.txt'), f'--output={output}'
    )
    assert code == 0, said
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row['input'] for row in rows] == ['a b', 'c']
    monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO(b'a b\nc\n')))
    code, table, said = command(capsys, 'predict', translator, '-')
    assert code == 0, said
    found = list(csv.DictReader(io.StringIO(table)))
    assert [row['input'] for row in found] == ['a b', 'c']
    assert [row['translation'] for row in found] == [row['translation'] for row in rows]
    code, alone, said = command(capsys, 'predict', translator, '--text=source=c')
    assert code == 0, said
    (row,) = csv.DictReader(io.StringIO(alone))
    assert row['input'] == 'c' and row['translation'] == found[1]['translation']
    code, _, said = command(capsys, 'predict', translator, '--text=target=c')
    assert code == 2 and "the task wants the field 'source'" in said and said.count('\n') == 1
    code, _, said = command(capsys, 'predict', translator, '--text=source=\udcff')
    assert code == 2 and 'is not UTF-8' in said and said.count('\n') == 1


def test_a_text_goes_on(capsys, writer):
    flags = ['--length=5', '--samples=2', '--seed=1']
    code, found, said = command(capsys, 'generate', writer, '--prompt=abc', *flags)
    assert code == 0, said
    parts = found.removesuffix('\n').split('\n\n')
    assert len(parts) == 2 and all(p.startswith('abc') and set(p) <= set('abcd') for p in parts)
    assert command(capsys, 'generate', writer, '--prompt=abc', *flags)[1] == found
    code, _, said = command(capsys, 'generate', writer, '--prompt=\udcff', *flags)
    assert code == 2 and 'is not UTF-8' in said and said.count('\n') == 1
