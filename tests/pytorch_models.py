"""The model families in PyTorch, with the parameter names of torchvision and timm.

Written from the papers and from those libraries' documented shapes, for tests to compare with.
"""

import torch
from torch import nn
from torch.nn import functional as F


def scaled(width, factor):
    return max(1, round(width * factor))


class VGG(nn.Module):
    def __init__(self, depth, norm, width, classes, channels=3, head='classic'):
        super().__init__()
        repeats = {11: '11222', 13: '22222', 16: '22333', 19: '22444'}[depth]
        steps = []
        for count, outputs in zip(map(int, repeats), (64, 128, 256, 512, 512)):
            outputs = scaled(outputs, width)
            for _ in range(count):
                steps.append(nn.Conv2d(channels, outputs, 3, padding=1))
                steps += [nn.BatchNorm2d(outputs)] if norm == 'batch' else []
                steps.append(nn.ReLU())
                channels = outputs
            steps.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*steps)
        hidden = scaled(4096, width)
        self.classic = head == 'classic'
        self.classifier = nn.Linear(channels, classes)
        if self.classic:
            self.classifier = nn.Sequential(
                nn.Linear(channels * 49, hidden), nn.ReLU(), nn.Dropout(0),
                nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(0),
                nn.Linear(hidden, classes),
            )  # fmt: skip

    def forward(self, x):
        for step in self.features:
            if not isinstance(step, nn.MaxPool2d) or min(x.shape[2:]) > 1:
                x = step(x)
        x = F.adaptive_avg_pool2d(x, 7) if self.classic else x.mean((2, 3))
        return self.classifier(x.flatten(1))


class DeepCNN(nn.Module):
    """Its dense layer reads positions first, channels last."""

    def __init__(self, widths, pools, hidden, classes, channels, side):
        super().__init__()
        self.count, self.pools = len(widths), pools
        for number, outputs in enumerate(widths, 1):
            convolution = nn.Conv2d(channels, outputs, 3, padding=1, bias=False)
            self.add_module(f'conv{number}', convolution)
            self.add_module(f'norm{number}', nn.BatchNorm2d(outputs))
            channels = outputs
        self.dense1 = nn.Linear((side // 2 ** len(pools)) ** 2 * channels, hidden)
        self.head = nn.Linear(hidden, classes)

    def forward(self, x):
        for number in range(1, self.count + 1):
            x = F.relu(getattr(self, f'norm{number}')(getattr(self, f'conv{number}')(x)))
            x = F.max_pool2d(x, 2) if number in self.pools else x
        return self.head(F.relu(self.dense1(x.movedim(1, -1).flatten(1))))


class Residual(nn.Module):
    def __init__(self, inputs, outputs, stride, bottleneck, shortcut):
        super().__init__()
        final = outputs * 4 if bottleneck else outputs
        if bottleneck:
            plan = [(inputs, outputs, 1, 1), (outputs, outputs, 3, stride), (outputs, final, 1, 1)]
        else:
            plan = [(inputs, outputs, 3, stride), (outputs, outputs, 3, 1)]
        self.count = len(plan)
        for number, (a, b, kernel, step) in enumerate(plan, 1):
            convolution = nn.Conv2d(a, b, kernel, step, kernel // 2, bias=False)
            self.add_module(f'conv{number}', convolution)
            self.add_module(f'bn{number}', nn.BatchNorm2d(b))
        self.grow, self.stride = (final - inputs, stride), stride
        if self.grow != (0, 1) and shortcut == 'project':
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, final, 1, stride, bias=False), nn.BatchNorm2d(final)
            )

    def forward(self, x):
        y = x
        for number in range(1, self.count + 1):
            y = getattr(self, f'bn{number}')(getattr(self, f'conv{number}')(y))
            y = y if number == self.count else F.relu(y)
        if hasattr(self, 'downsample'):
            x = self.downsample(x)
        elif self.grow != (0, 1):
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.grow[0]))
        return F.relu(x + y)


class ResNet(nn.Module):
    def __init__(self, blocks, bottleneck, width, classes, stem, channels=3, shortcut='project'):
        super().__init__()
        self.large = stem == 'imagenet'
        kernel, stride = (7, 2) if self.large else (3, 1)
        self.conv1 = nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.stages = len(blocks)
        here = width
        for stage, count in enumerate(blocks):
            inner = width * 2**stage
            steps = []
            for number in range(count):
                stride = 2 if stage and not number else 1
                steps.append(Residual(here, inner, stride, bottleneck, shortcut))
                here = inner * 4 if bottleneck else inner
            self.add_module(f'layer{stage + 1}', nn.Sequential(*steps))
        self.fc = nn.Linear(here, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        if self.large:
            x = F.max_pool2d(x, 3, 2, 1)
        for stage in range(self.stages):
            x = getattr(self, f'layer{stage + 1}')(x)
        return self.fc(x.mean((2, 3)))


class Unit(nn.Module):
    def __init__(self, inputs, outputs, kernel, norm, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=norm == 'lrn')
        if norm == 'batch':
            self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x):
        x = self.conv(x)
        return F.relu(self.bn(x) if hasattr(self, 'bn') else x)


class Inception(nn.Module):
    def __init__(self, inputs, widths, norm):
        super().__init__()
        one, few, three, fewer, five, pooled = widths
        self.branch1 = Unit(inputs, one, 1, norm)
        self.branch2 = nn.Sequential(Unit(inputs, few, 1, norm), Unit(few, three, 3, norm))
        kernel = 3 if norm == 'batch' else 5
        self.branch3 = nn.Sequential(Unit(inputs, fewer, 1, norm), Unit(fewer, five, kernel, norm))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), Unit(inputs, pooled, 1, norm))

    def forward(self, x):
        branches = (self.branch1, self.branch2, self.branch3, self.branch4)
        return torch.cat([branch(x) for branch in branches], 1)


class Auxiliary(nn.Module):
    def __init__(self, inputs, width, classes, norm):
        super().__init__()
        middle, hidden = scaled(128, width), scaled(1024, width)
        self.conv = Unit(inputs, middle, 1, norm)
        self.fc1 = nn.Linear(16 * middle, hidden)
        self.fc2 = nn.Linear(hidden, classes)

    def forward(self, x):
        x = self.conv(F.adaptive_avg_pool2d(x, 4)).flatten(1)
        return self.fc2(F.relu(self.fc1(x)))


class GoogLeNet(nn.Module):
    PLAN = (
        ('3a', 64, 96, 128, 16, 32, 32),
        ('3b', 128, 128, 192, 32, 96, 64),
        ('4a', 192, 96, 208, 16, 48, 64),
        ('4b', 160, 112, 224, 24, 64, 64),
        ('4c', 128, 128, 256, 24, 64, 64),
        ('4d', 112, 144, 288, 32, 64, 64),
        ('4e', 256, 160, 320, 32, 128, 128),
        ('5a', 256, 160, 320, 32, 128, 128),
        ('5b', 384, 192, 384, 48, 128, 128),
    )

    def __init__(self, width, classes, norm, stem, auxiliary=True, channels=3):
        super().__init__()
        self.large, self.norm, self.auxiliary = stem == 'imagenet', norm, auxiliary
        here, last = scaled(64, width), scaled(192, width)
        if self.large:
            self.conv1 = Unit(channels, here, 7, norm, stride=2)
            self.conv2 = Unit(here, here, 1, norm)
        self.conv3 = Unit(here if self.large else channels, last, 3, norm)
        here = last
        for name, *widths in self.PLAN:
            widths = [scaled(w, width) for w in widths]
            self.add_module(f'inception{name}', Inception(here, widths, norm))
            here = widths[0] + widths[2] + widths[4] + widths[5]
            if auxiliary and name in ('4a', '4d'):
                head = Auxiliary(here, width, classes, norm)
                self.add_module('aux1' if name == '4a' else 'aux2', head)
        self.fc = nn.Linear(here, classes)

    def forward(self, x):
        lrn = nn.LocalResponseNorm(5) if self.norm == 'lrn' else nn.Identity()
        if self.large:
            x = lrn(F.max_pool2d(self.conv1(x), 3, 2, ceil_mode=True))
            x = lrn(self.conv3(self.conv2(x)))
            x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        else:
            x = self.conv3(x)
        auxiliary = []
        for name, *_ in self.PLAN:
            if name in ('4a', '5a'):
                x = F.max_pool2d(x, 3 if name == '4a' else 2, 2, ceil_mode=True)
            x = getattr(self, f'inception{name}')(x)
            if self.auxiliary and self.training and name in ('4a', '4d'):
                auxiliary.append((self.aux1 if name == '4a' else self.aux2)(x))
        x = self.fc(x.mean((2, 3)))
        return (x, *auxiliary)


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.heads = width // 64
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        q, k, v = (part.unflatten(-1, (self.heads, 64)).transpose(1, 2)
                   for part in self.qkv(x).chunk(3, -1))  # fmt: skip
        share = torch.softmax(q @ k.transpose(-1, -2) / 8, -1)
        return self.proj((share @ v).transpose(1, 2).flatten(2))


class Hidden(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=1e-6) for _ in range(2))
        self.attn, self.mlp = Attention(width), Hidden(width)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Patches(nn.Module):
    def __init__(self, width, patch, channels):
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, patch)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


class ViT(nn.Module):
    def __init__(self, width, depth, patch, side, classes, channels=3):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (side // patch) ** 2, width))
        self.patch_embed = Patches(width, patch, channels)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        token = self.cls_token.expand(len(x), -1, -1)
        x = torch.cat([token, self.patch_embed(x)], 1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])
