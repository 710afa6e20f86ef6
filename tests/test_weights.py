"""Weights that travel: names and numbers there and back, and one line for what does not fit."""

import json
import pickle
import re
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import load_file, save_file

import nnjax
from nnjax import cli, models, tasks, weights
from nnjax.config import base, bind
from nnjax.data import augment, sources, spec
from nnjax.errors import UserError
from nnjax.models import CNN, VGG, CifarResNet, GoogLeNet, ResNet, ViT
from nnjax.training import initial, optim
from nnjax.weights import file, pytorch, variables

# A model, an image and the PyTorch names of some of its tensors, as torchvision and timm list them.
FAMILIES = {
    'vgg': (
        VGG(10, 11, 0.05),
        (8, 8, 3),
        'features.0.weight features.3.bias features.6.weight features.8.weight features.18.weight '
        'classifier.0.weight classifier.3.bias classifier.6.weight',
    ),
    'vgg_bn': (
        VGG(10, 13, 0.05, norm='batch'),
        (8, 8, 3),
        'features.0.weight features.1.running_mean features.4.running_var features.7.weight '
        'features.32.bias classifier.6.bias',
    ),
    'resnet': (
        ResNet(10, 18, 0.1),
        (32, 32, 3),
        'conv1.weight bn1.weight layer1.0.conv1.weight layer1.0.bn1.bias layer4.1.bn2.running_var '
        'layer2.0.downsample.0.weight layer2.0.downsample.1.running_mean fc.weight fc.bias',
    ),
    'resnet_cifar': (CifarResNet(10), (8, 8, 1), 'conv1.weight layer3.2.conv2.weight fc.weight'),
    'googlenet': (
        GoogLeNet(10, 0.1),
        (16, 16, 3),
        'conv1.conv.weight conv3.bn.running_mean inception3a.branch1.conv.weight '
        'inception4e.branch2.0.bn.weight inception5b.branch3.1.conv.weight '
        'inception3a.branch4.1.bn.bias aux1.conv.conv.weight aux1.fc1.weight aux2.fc2.bias fc.bias',
    ),
    'vit': (
        ViT(10, 'Ti', 4, 2),
        (8, 8, 3),
        'cls_token pos_embed patch_embed.proj.weight blocks.0.norm1.weight '
        'blocks.0.attn.qkv.weight blocks.1.attn.proj.bias blocks.1.norm2.bias '
        'blocks.1.mlp.fc1.weight blocks.0.mlp.fc2.weight norm.weight head.weight',
    ),
}


def shapes(model, image):
    return jax.eval_shape(
        model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *image), 'float32')
    )


def random_like(tree):
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: rng.standard_normal(x.shape, np.float32), tree)


def same(a, b):
    a, b = flatten_dict(a, sep='/'), flatten_dict(b, sep='/')
    return a.keys() == b.keys() and all(np.array_equal(a[n], b[n]) for n in a)


@pytest.mark.parametrize('name', FAMILIES)
def test_there_and_back_is_bitwise(name, tmp_path):
    model, image, listed = FAMILIES[name]
    made = random_like(shapes(model, image))
    first, second = tmp_path / 'a.safetensors', tmp_path / 'folder' / 'b.safetensors'
    weights.save(first, made, model)
    found = weights.load(first, model, image)
    assert same(found, made)
    weights.save(second, found, model)
    tensors = load_file(first)
    assert set(listed.split()) <= set(tensors)
    assert len(tensors) == len(jax.tree.leaves(made))
    assert same(tensors, load_file(second))
    assert all(leaf.flags.c_contiguous for leaf in tensors.values())


def test_kernels_have_pytorchs_axes(tmp_path):
    model, image, _ = FAMILIES['vgg']
    made = random_like(shapes(model, image))
    weights.save(tmp_path / 'a.safetensors', made, model)
    tensors = load_file(tmp_path / 'a.safetensors')
    kernel = made['params']['conv1_1']['kernel']
    np.testing.assert_array_equal(tensors['features.0.weight'], kernel.transpose(3, 2, 0, 1))
    np.testing.assert_array_equal(
        tensors['classifier.6.weight'], made['params']['head']['kernel'].T
    )


@pytest.mark.parametrize('name', ['cnn', *FAMILIES])
def test_own_names(name, tmp_path):
    """A file that a run starts from: paths as flax has them, whatever the model."""
    model, image = FAMILIES[name][:2] if name in FAMILIES else (CNN(padding='SAME'), (8, 8, 1))
    made = random_like(shapes(model, image))
    path = tmp_path / 'a.safetensors'
    weights.save(path, made)
    tensors = load_file(path)
    assert set(tensors) == set(flatten_dict(made, sep='/'))
    assert {n.split('/')[0] for n in tensors} == set(made)
    assert same(weights.load(path, model, image), made)
    if name == 'cnn':
        weights.save(path, made, model)
        assert same(load_file(path), tensors)


def test_pytorch_loads_what_is_written(torch, tmp_path):
    from tests import pytorch_models

    model, image, _ = FAMILIES['vgg_bn']
    made = random_like(shapes(model, image))
    path = tmp_path / 'a.safetensors'
    weights.save(path, made, model)
    twin = pytorch_models.VGG(13, 'batch', 0.05, 10)
    twin.load_state_dict({n: torch.tensor(a) for n, a in load_file(path).items()}, strict=True)
    counters = {n: a.numpy() for n, a in twin.state_dict().items()}
    assert 'features.1.num_batches_tracked' in counters
    save_file(counters, path)
    assert same(weights.load(path, model, image), made)


def test_half_precision_becomes_float32(tmp_path):
    model, image, _ = FAMILIES['vit']
    made = random_like(shapes(model, image))
    for dtype in (np.float16, jnp.bfloat16):
        low = jax.tree.map(lambda x, dtype=dtype: x.astype(dtype), made)
        weights.save(tmp_path / 'a.safetensors', low, model)
        found = weights.load(tmp_path / 'a.safetensors', model, image)
        assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype('float32')}
        assert same(found, jax.tree.map(lambda x: x.astype(np.float32), low))


def test_positions_are_resampled(torch, tmp_path):
    """PyTorch's bicubic interpolation, antialiased, as timm's; the class token's stays."""
    model = FAMILIES['vit'][0]
    made = random_like(shapes(model, (28, 28, 3)))
    path = tmp_path / 'a.safetensors'
    weights.save(path, made, model)
    before = made['params']['positions']
    grid = torch.tensor(before[:, 1:].reshape(1, 7, 7, -1)).movedim(-1, 1)
    for height, width in ((20, 12), (40, 40)):
        found = weights.load(path, model, (height, width, 3))['params']['positions']
        size = (height // 4, width // 4)
        wanted = torch.nn.functional.interpolate(grid, size, mode='bicubic', antialias=True)
        np.testing.assert_array_equal(found[:, 0], before[:, 0])
        wanted = wanted.movedim(1, -1).reshape(1, size[0] * size[1], -1)
        np.testing.assert_allclose(found[:, 1:], wanted, rtol=1e-4, atol=1e-5)


def broken(tensors, change):
    tensors = dict(tensors)
    change(tensors)
    return tensors


@pytest.mark.parametrize(
    'change, message',
    [
        (
            lambda t: t.pop('fc.bias'),
            r"lacks 'fc.bias', which ResNet\(width=0.1\) needs$",
        ),
        (
            lambda t: [t.pop(n) for n in list(t) if n.startswith('layer1')],
            r"lacks 'layer1.\S+' and 19 more, which",
        ),
        (
            lambda t: t.update(extra=np.zeros(2)),
            r"has 'extra', for which ResNet\(width=0.1\) has no place$",
        ),
        (
            lambda t: t.update({'fc.weight': np.zeros((7, 51), np.float32)}),
            r"'fc.weight' has shape \(7, 51\), ResNet\(width=0.1\) needs \(10, 51\)$",
        ),
        (
            lambda t: t.update({'fc.weight': np.zeros(510, np.float32)}),
            r"'fc.weight' has shape \(510,\), .* needs \(10, 51\)$",
        ),
        (
            lambda t: t.update({'conv1.weight': np.zeros((6, 1, 7, 7), np.float32)}),
            r"'conv1.weight' has shape \(6, 1, 7, 7\), .* needs \(6, 3, 7, 7\)$",
        ),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(change, message, tmp_path):
    model, image, _ = FAMILIES['resnet']
    path = tmp_path / 'a.safetensors'
    weights.save(path, random_like(shapes(model, image)), model)
    save_file(broken(load_file(path), change), path)
    with pytest.raises(UserError, match=message) as error:
        weights.load(path, model, image)
    assert '\n' not in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize(
    'name, content, message',
    [
        ('w.pth', pickle.dumps({}), r'is a pickle, .* safetensors.torch.save_file'),
        ('w.bin', b'', 'is a pickle'),
        ('w.npz', b'', 'expected a .safetensors file'),
        ('w.safetensors', None, 'no file'),
        ('w.safetensors', b'', 'is damaged: '),
        ('w.safetensors', pickle.dumps({}), 'is damaged: '),
    ],
)
def test_other_files_are_one_line(name, content, message, tmp_path):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        weights.load(path, VGG())
    assert '\n' not in str(error.value)
    with pytest.raises(UserError, match=r'must end in \.safetensors'):
        weights.save(tmp_path / 'w.npz', {})


def float8(path):
    """A safetensors file of two bytes, which NumPy has no type for."""
    header = json.dumps({'w': {'dtype': 'F8_E4M3', 'shape': [2], 'data_offsets': [0, 2]}}).encode()
    path.write_bytes(struct.pack('<Q', len(header)) + header + b'ab')
    return path


@pytest.mark.parametrize('read', [file.read, initial.read])
def test_numbers_that_numpy_lacks_are_one_line(read, tmp_path):
    with pytest.raises(UserError, match='of a type that NumPy lacks, such as float8: ') as error:
        read(str(float8(tmp_path / 'w.safetensors')))
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('name', [*pytorch.NAMES, 'vit_tiny_patch16_224.augreg_in21k_ft_in1k'])
def test_models_by_pytorchs_names(name):
    model, image = pytorch.model(name, {})
    assert model.classes == 1000 and image == (224, 224, 3)
    assert not getattr(model, 'auxiliary', False)
    assert weights.describe(model).startswith(('VGG(', 'ResNet(', 'GoogLeNet(', 'ViT('))


def test_the_file_says_classes_channels_and_auxiliary_heads():
    tensors = {'fc.weight': np.zeros((7, 8)), 'aux1.fc1.weight': np.zeros(1)}
    assert pytorch.model('googlenet', tensors)[0] == GoogLeNet(7)
    tensors = {'head.weight': np.zeros((3, 8)), 'patch_embed.proj.weight': np.zeros((8, 1, 8, 8))}
    assert pytorch.model('vit_small_patch8_384', tensors) == (ViT(3, 'S', 8), (384, 384, 1))
    with pytest.raises(UserError, match=r"unknown model 'resnet51'; did you mean 'resnet50'\?"):
        pytorch.model('resnet51', {})


@pytest.mark.parametrize(
    'model, words',
    [
        (VGG(), "augment='normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))'"),
        (ResNet(), "augment='normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))'"),
        (GoogLeNet(), "augment='normalize(0.5, 0.5)'"),  # behind torchvision's transform_input
        (ViT(), "the checkpoint's card"),
    ],
)
def test_what_published_weights_expect_of_images(model, words):
    text = pytorch.pixels(model)
    assert words in text and '\n' not in text
    chain = re.search(r"augment='(.*?)'", text)[1]
    image = jnp.full((2, 2, 3), 0.485)
    seen = spec.parse(chain, augment)[0](None, {'image': image})['image']
    expected = 0.0 if '0.485' in chain else (0.485 - 0.5) / 0.5
    assert seen[0, 0, 0] == pytest.approx(expected, abs=1e-6)


# The command


def command(capsys, *words) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        cli.main(['weights', *map(str, words)])
    captured = capsys.readouterr()
    return stop.value.code, captured.out, captured.err


def test_import_writes_what_a_run_starts_from(capsys, tmp_path):
    model = ResNet(6, 18)
    made = random_like(shapes(model, (32, 32, 3)))
    path, output = tmp_path / 'resnet18.safetensors', tmp_path / 'resnet18.nnjax.safetensors'
    weights.save(path, made, model)
    code, out, _ = command(capsys, 'import', path, '--model=resnet18')
    assert code == 0 and out.startswith('ResNet(classes=6) for 224x224x3 images in ')
    assert 'normalize((0.485, 0.456, 0.406)' in out
    assert same(load_file(output), flatten_dict(made, sep='/'))


def test_import_resamples_positions(capsys, tmp_path):
    model = ViT(5, 'Ti', 16)
    path, output = tmp_path / 'vit.safetensors', tmp_path / 'out.safetensors'
    weights.save(path, random_like(shapes(model, (224, 224, 3))), model)
    words = ('import', path, '--model=vit_tiny_patch16_224', '--image=64', f'--output={output}')
    assert command(capsys, *words)[0] == 0
    assert load_file(output)['params/positions'].shape == (1, 17, 192)


@pytest.mark.parametrize(
    'words, message',
    [
        (('import', '{}/w.safetensors'), '--model=... is missing'),
        (('import', '{}/w.safetensors', '--model=resnet18'), 'no file'),
        (('import', '{}/w.pt', '--model=resnet18'), 'is a pickle'),
        (('import',), 'name one file'),
        (('export', '--workdir={}'), '--output=... is missing'),
        (('export', '--output={}/a.safetensors'), '--workdir=... is missing'),
        (('exprt',), "did you mean 'export'?"),
    ],
)
def test_mistakes_are_one_line(words, message, capsys, tmp_path):
    code, _, error = command(capsys, *(word.format(tmp_path) for word in words))
    assert code == 2 and message in error and error.count('\n') == 1


def test_export_of_a_run(torch, capsys, tmp_path):
    """What PyTorch computes from the file is what the run's model computes."""
    from tests import pytorch_models

    c = base('smoke')
    c.data = bind(sources.Tfds, name='digits')
    c.prepare = 'scale(16)'
    c.model = bind(models.ViT, patch=4, depth=1)
    c.task = bind(tasks.classification)
    c.optim = bind(optim.make, name='sgd', lr=0.1)
    c.parallel = 'jit'
    state = nnjax.train(c, tmp_path / 'run').state
    path = tmp_path / 'vit.safetensors'
    words = ('export', f'--workdir={tmp_path / "run"}', f'--output={path}', '--checkpoint=last')
    code, out, error = command(capsys, *words)
    assert code == 0, error
    assert 'ViT' in out
    twin = pytorch_models.ViT(192, 1, 4, 8, 10, 1)
    twin.load_state_dict({n: torch.tensor(a) for n, a in load_file(path).items()}, strict=True)
    x = np.random.default_rng(0).random((3, 8, 8, 1), np.float32)
    with torch.no_grad():
        expected = twin(torch.tensor(x).movedim(-1, 1))
    actual = jax.jit(ViT(patch=4, depth=1).apply)({'params': state.params}, x)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
    assert same(variables.load(path, ViT(patch=4, depth=1), (8, 8, 1))['params'], state.params)
