"""The benchmarks' contenders run: each network, in each hand, two steps of a small batch."""

import subprocess
import sys

import pytest

RECIPES = ['vgg-2-bf16', 'vgg-2-inference', 'lstm-2', 'translator-2', 'translator-2-beam']


@pytest.mark.slow
@pytest.mark.parametrize('contender', ['nnjax', 'flax', 'torch'])
@pytest.mark.parametrize('recipe', RECIPES)
def test_a_contender_takes_turns(root, recipe, contender, request):
    if contender == 'torch':
        request.getfixturevalue('torch')
    done = subprocess.run(
        [sys.executable, str(root / 'experiments/benchmarks/contenders.py'), contender, recipe],
        input='1\n1\n',
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert len([float(line) for line in done.stdout.split()]) == 2
