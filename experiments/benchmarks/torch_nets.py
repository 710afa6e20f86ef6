"""Networks of `cpu_training.py` and `cpu_sequences.py` in PyTorch's own modules, the same architectures as `nets.py`."""

import torch
from sizes import CHANNELS, HEADS, LAYERS, LONGEST, TIME, VOCABULARY, WIDTH
from torch import nn
from torch.nn import functional


def unit(before: int, after: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution that keeps the size, batch norm, relu."""
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    )


def mlp(side: int, colours: int) -> nn.Module:
    inputs = side * side * colours
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, 10))


def cnn(side: int, colours: int) -> nn.Module:
    layers, before = [], colours
    for after in CHANNELS:
        layers += [nn.Conv2d(before, after, 3), nn.ReLU(), nn.MaxPool2d(2)]
        before, side = after, (side - 2) // 2
    head = [nn.Linear(side * side * 128, 128), nn.ReLU(), nn.Linear(128, 10)]
    return nn.Sequential(*layers, nn.Flatten(), *head)


def vgg(side: int, colours: int) -> nn.Module:
    layers, before = [], colours
    for after in CHANNELS:
        layers += [unit(before, after), unit(after, after), nn.MaxPool2d(2)]
        before = after
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear((side // 8) ** 2 * 128, 10))


def vgg11(side: int, colours: int) -> nn.Module:
    """A quarter of the width, batch norm, average over space."""
    layers, before = [], colours
    for stage in ((16,), (32,), (64, 64), (128, 128), (128, 128)):
        for after in stage:
            layers += [nn.Conv2d(before, after, 3, 1, 1), nn.BatchNorm2d(after), nn.ReLU()]
            before = after
        if side > 1:
            layers.append(nn.MaxPool2d(2))
            side //= 2
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(128, 10)]
    return nn.Sequential(*layers)


def deepcnn(side: int, colours: int) -> nn.Module:
    layers, before = [], colours
    for number, after in enumerate((32, 64, 128, 128, 256, 256, 512, 512, 512), 1):
        layers.append(unit(before, after))
        if number in (2, 4, 6, 9):
            layers += [nn.MaxPool2d(2), nn.Dropout(0.2)]
            side //= 2
        before = after
    layers += [nn.Flatten(), nn.Linear(side * side * 512, 512), nn.ReLU(), nn.Dropout(0.2)]
    return nn.Sequential(*layers, nn.Linear(512, 10))


class Block(nn.Module):
    """Two convolutions beside a shortcut that pads new channels with zeros."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.more, self.stride = after - before, stride
        self.first = unit(before, after, 3, stride)
        self.second = unit(after, after)[:2]

    def forward(self, x):
        y = self.second(self.first(x))
        if self.more:
            x = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))
        return torch.relu(y + x)


def resnet20(side: int, colours: int) -> nn.Module:
    layers, before = [unit(colours, 16)], 16
    for stage, after in enumerate((16, 32, 64)):
        for number in range(3):
            layers.append(Block(before, after, 2 if stage and not number else 1))
            before = after
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


class Inception(nn.Module):
    def __init__(self, before, one, reduced3, three, reduced5, five, projected):
        super().__init__()
        pool = nn.MaxPool2d(3, 1, 1)
        self.branches = nn.ModuleList(
            [
                unit(before, one, 1),
                nn.Sequential(unit(before, reduced3, 1), unit(reduced3, three)),
                nn.Sequential(unit(before, reduced5, 1), unit(reduced5, five)),
                nn.Sequential(pool, unit(before, projected, 1)),
            ]
        )

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.branches], 1)


def googlenet(side: int, colours: int) -> nn.Module:
    """A quarter of the width, a stem that leaves all pixels, no auxiliary heads."""
    modules = (
        (64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64), None, (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64), (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128), None, (256, 160, 320, 32, 128, 128),
        (384, 192, 384, 48, 128, 128),
    )  # fmt: skip
    layers, before, window = [unit(colours, 48)], 48, 3
    for widths in modules:
        if widths is None:
            layers.append(nn.MaxPool2d(window, 2, ceil_mode=True))
            window = 2
            continue
        one, reduced3, three, reduced5, five, projected = (w // 4 for w in widths)
        layers.append(Inception(before, one, reduced3, three, reduced5, five, projected))
        before = one + three + five + projected
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(before, 10)]
    return nn.Sequential(*layers, *head)


class Sequence(nn.Module):
    """Token numbers [N, T] -> [N, 10]."""

    def __init__(self, body: nn.Module, last: bool):
        super().__init__()
        self.embed, self.body = nn.Embedding(VOCABULARY, WIDTH), body
        self.head, self.last = nn.Linear(WIDTH, 10), last

    def forward(self, tokens):
        y = self.body(self.embed(tokens))
        return self.head(y[0][:, -1] if self.last else torch.mean(y, 1))


def lstm() -> nn.Module:
    return Sequence(nn.LSTM(WIDTH, WIDTH, batch_first=True), True)


def gru() -> nn.Module:
    return Sequence(nn.GRU(WIDTH, WIDTH, batch_first=True), True)


def layer(kind: type) -> nn.Module:
    gelu = nn.GELU('tanh')
    return kind(WIDTH, HEADS, 4 * WIDTH, 0.0, gelu, batch_first=True, norm_first=True)


def encoder() -> nn.Module:
    block = layer(nn.TransformerEncoderLayer)
    return nn.TransformerEncoder(block, LAYERS, nn.LayerNorm(WIDTH), False)


def transformer() -> nn.Module:
    return Sequence(encoder(), False)


def sinusoids(time: int) -> torch.Tensor:
    angles = torch.arange(time)[:, None] / 10_000 ** (torch.arange(0, WIDTH, 2) / WIDTH)
    return torch.stack([torch.sin(angles), torch.cos(angles)], -1).flatten(1)


class Translator(nn.Module):
    """Token numbers [N, S], [N, T] -> [N, T, vocabulary], one table for all vectors."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        nn.init.normal_(self.embed.weight, std=WIDTH**-0.5)
        self.encoder = encoder()
        block = layer(nn.TransformerDecoderLayer)
        self.decoder = nn.TransformerDecoder(block, LAYERS, nn.LayerNorm(WIDTH))
        longest = max(TIME, LONGEST)
        self.register_buffer('positions', sinusoids(longest))
        self.register_buffer('causal', nn.Transformer.generate_square_subsequent_mask(longest))

    def begun(self, tokens, place: int = 0):
        time = tokens.shape[1]
        return self.embed(tokens) * WIDTH**0.5 + self.positions[place : place + time]

    def logits(self, y):
        return functional.linear(self.decoder.norm(y), self.embed.weight)

    def forward(self, source, target):
        memory, time = self.encoder(self.begun(source)), target.shape[1]
        mask = self.causal[:time, :time]
        y = self.decoder(self.begun(target), memory, mask, tgt_is_causal=True)
        return functional.linear(y, self.embed.weight)


def translator() -> nn.Module:
    return Translator()
