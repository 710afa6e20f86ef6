"""torchvision's and timm's names: of their models, and of the parameters that ours share with them.

A parameter's path becomes its PyTorch name by a few substitutions for each family; values differ in
the order of a kernel's axes alone.
"""

import itertools
import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from nnjax.errors import unknown
from nnjax.models import VGG, CifarResNet, GoogLeNet, ResNet, ViT
from nnjax.models.vgg import CONVOLUTIONS

RESNET = (
    (r'^stage(\d)_(\d+)', r'layer\1.\2'),
    (r'shortcut_conv', 'downsample.0'),
    (r'shortcut_norm', 'downsample.1'),
    (r'norm(\d)', r'bn\1'),
    (r'^head', 'fc'),
)
GOOGLENET = (
    (r'branch(\d)_(\d)', r'branch\1.\2'),
    (r'norm', 'bn'),
    (r'^auxiliary', 'aux'),
    (r'^(aux\d)\.dense', r'\1.fc1'),
    (r'^(aux\d)\.head', r'\1.fc2'),
    (r'^head', 'fc'),
)
VIT = (
    (r'^class_token', 'cls_token'),
    (r'^positions', 'pos_embed'),
    (r'^patches', 'patch_embed.proj'),
    (r'^block(\d+)', r'blocks.\1'),
    (r'attention', 'attn'),
    (r'dense(\d)', r'mlp.fc\1'),
)
IMAGENET = 'normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))'
LEAVES = (
    (r'\.(kernel|scale)$', '.weight'),
    (r'\.mean$', '.running_mean'),
    (r'\.var$', '.running_var'),
)


def _vgg(model: VGG) -> tuple:
    """torchvision numbers convolutions, norms, activations and pools in one sequence."""
    before = [0, *itertools.accumulate(CONVOLUTIONS[model.depth])]
    unit = 2 if model.norm == 'none' else 3

    def place(match: re.Match) -> str:
        stage, number = int(match[2]) - 1, int(match[3]) - 1
        first = unit * (before[stage] + number) + stage
        return f'features.{first + (match[1] == "norm")}'

    head = 'classifier.6' if model.head == 'classic' else 'classifier'
    return (
        (r'^norm(\d_\d)\.shift', r'conv\1.bias'),
        (r'(conv|norm)(\d)_(\d)', place),
        (r'^dense1', 'classifier.0'),
        (r'^dense2', 'classifier.3'),
        (r'^head', head),
    )


FAMILIES = {
    CifarResNet: lambda model: RESNET,
    GoogLeNet: lambda model: GOOGLENET,
    ResNet: lambda model: RESNET,
    VGG: _vgg,
    ViT: lambda model: VIT,
}


def name(model: nn.Module, path: str) -> str:
    """A model of `FAMILIES`, 'params/stage1_0/conv1/kernel' -> 'layer1.0.conv1.weight'."""
    found = path.partition('/')[2].replace('/', '.')
    for pattern, text in (*FAMILIES[type(model)](model), *LEAVES):
        found = re.sub(pattern, text, found)
    return found


def to_pytorch(path: str, array: np.ndarray) -> np.ndarray:
    """A kernel [*window, I, O] -> [O, I, *window]; anything else as it is."""
    return np.moveaxis(array, (-1, -2), (0, 1)) if path.endswith('/kernel') else array


def from_pytorch(path: str, array: np.ndarray) -> np.ndarray:
    """`to_pytorch`'s inverse; what has too few axes for a kernel stays as it is."""
    kernel = path.endswith('/kernel') and array.ndim > 1
    return np.moveaxis(array, (0, 1), (-1, -2)) if kernel else array


# PyTorch's name of a model, its first kernel and its head, and how ours is made of the match.
MODELS = (
    (
        r'vgg(11|13|16|19)(_bn)?',
        ('features.0.weight', 'classifier.6.weight'),
        lambda m, tensors: (VGG, {'depth': int(m[1]), 'norm': 'batch' if m[2] else 'none'}),
    ),
    (
        r'resnet(18|34|50|101)',
        ('conv1.weight', 'fc.weight'),
        lambda m, tensors: (ResNet, {'depth': int(m[1])}),
    ),
    (
        r'googlenet',
        ('conv1.conv.weight', 'fc.weight'),
        lambda m, tensors: (GoogLeNet, {'auxiliary': any(n.startswith('aux') for n in tensors)}),
    ),
    (
        r'vit_(tiny|small|base)_patch(\d+)_(\d+)',
        ('patch_embed.proj.weight', 'head.weight'),
        lambda m, tensors: (
            ViT,
            {'size': {'tiny': 'Ti', 'small': 'S', 'base': 'B'}[m[1]], 'patch': int(m[2])},
        ),
    ),
)
NAMES = (
    *(f'vgg{depth}{suffix}' for depth in (11, 13, 16, 19) for suffix in ('', '_bn')),
    *(f'resnet{depth}' for depth in (18, 34, 50, 101)),
    'googlenet',
    *(f'vit_{size}_patch16_224' for size in ('tiny', 'small', 'base')),
)


def model(name: str, tensors: Mapping[str, np.ndarray]) -> tuple[nn.Module, tuple[int, int, int]]:
    """'resnet50' and a file's tensors -> (our model, the shape of an image it takes).

    The number of classes and of an image's channels are those of the tensors; what follows a dot
    in timm's names ('vit_tiny_patch16_224.augreg_in21k') is left out.

    Raises:
      UserError: no such model.
    """
    for pattern, (first, head), make in MODELS:
        if not (match := re.fullmatch(pattern, name.partition('.')[0])):
            continue
        target, fields = make(match, tensors)
        side = int(match[3]) if target is ViT else 224
        classes = _length(tensors.get(head), 0, 1000)
        channels = _length(tensors.get(first), 1, 3)
        return target(classes=classes, **fields), (side, side, channels)
    raise unknown('model', name, NAMES)


def pixels(model: nn.Module) -> str:
    """What a network with PyTorch's published weights expects of images in [0, 1], in a line.

    torchvision's googlenet turns the usual normalisation into another one by `transform_input`,
    which its published weights have; timm writes a ViT's into the card of its checkpoint.
    """
    if isinstance(model, ViT):
        return (
            "images: the checkpoint's card says mean and std, often augment='normalize(0.5, 0.5)' "
            "behind prepare='scale'"
        )
    whose = 'normalize(0.5, 0.5)' if isinstance(model, GoogLeNet) else IMAGENET
    return f"images: torchvision's weights expect augment='{whose}' behind prepare='scale'"


def _length(array: Any, axis: int, otherwise: int) -> int:
    return array.shape[axis] if array is not None and array.ndim > axis else otherwise
