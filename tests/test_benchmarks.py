"""The benchmarks' contenders run: each network, in each hand, two steps of a small batch."""

import subprocess
import sys

import jax
import pytest

RECIPES = ['vgg-2-bf16', 'vgg-2-inference', 'lstm-2', 'translator-2', 'translator-2-beam']
RECIPES += ['deepcnn-2', 'vgg11-2', 'resnet20-2-s32', 'googlenet-2']
IMAGES = ('mlp', 'cnn', 'vgg', 'vgg11', 'deepcnn', 'resnet20', 'googlenet')


@pytest.mark.parametrize('net', IMAGES)
@pytest.mark.parametrize('side, colours', [(28, 1), (32, 3)])
def test_contenders_have_as_many_parameters(root, torch, monkeypatch, net, side, colours):
    monkeypatch.syspath_prepend(root / 'experiments' / 'benchmarks')
    import nets
    import torch_nets

    module, fields = nets.NETS[net]
    images = jax.ShapeDtypeStruct((1, side, side, colours), 'float32')
    ours = jax.eval_shape(module(**fields).init, jax.random.key(0), images)['params']
    with torch.device('meta'):
        theirs = getattr(torch_nets, net)(side, colours)
    assert sum(x.size for x in jax.tree.leaves(ours)) == sum(p.numel() for p in theirs.parameters())


def test_every_network_of_images_is_compared(root, monkeypatch):
    monkeypatch.syspath_prepend(root / 'experiments' / 'benchmarks')
    import contenders
    import nets

    assert {net for net in nets.NETS if contenders.read(f'{net}-1').images} == {*IMAGES}


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


@pytest.mark.slow
def test_a_small_decoder_runs_in_all_hands(root, torch):
    small = 'width=16,layers=2,heads=2,vocabulary=32,time=8,batch=2,steps=2,rounds=1,peak=0.1'
    flags = [f'--{flag}' for flag in small.split(',')]
    done = subprocess.run(
        [sys.executable, str(root / 'experiments/benchmarks/gpu_decoder.py'), *flags]
        + ['--nocompile'],
        capture_output=True,
        text=True,
    )
    head, *rows = done.stdout.splitlines()
    # 6 (2 blocks of 12 width^2 and the table) + 6 * 2 * 8 * 16
    assert f'= {6 * (2 * 12 * 256 + 32 * 16) + 1536:.4g};' in head, done.stderr
    assert [row.split()[0] for row in rows] == ['nnjax', 'nnjax-remat', 'torch', 'torch-remat']
    assert all('tokens a second, MFU' in row and '%' in row for row in rows), done.stderr
