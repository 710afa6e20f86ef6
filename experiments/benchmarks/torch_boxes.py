"""Detection, verification and suppression of `boxes_and_pairs.py` in PyTorch's own operations."""

import torch
from torch import nn
from torch.nn import functional

STAGES = ((16,), (32,), (64, 64), (128, 128), (128, 128))  # VGG-11 at a quarter of its width
GRID, STRIDE, CHANNELS = 16, 4, 64  # of the detector's map, for images of 64x64


def unit(before: int, after: int, bias: bool = True) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, 3, 1, 1, bias=bias)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU())


class VGG(nn.Module):
    """Images -> what each stage gives before its pool."""

    def __init__(self, colours: int):
        super().__init__()
        self.stages, before = nn.ModuleList(), colours
        for stage in STAGES:
            units = []
            for after in stage:
                units.append(unit(before, after))
                before = after
            self.stages.append(nn.Sequential(*units))

    def forward(self, x):
        maps = []
        for stage in self.stages:
            maps.append(stage(x))
            x = functional.max_pool2d(maps[-1], 2)
        return maps


class Detector(nn.Module):
    def __init__(self, classes: int = 10):
        super().__init__()
        self.backbone = VGG(1)
        self.laterals = nn.ModuleList([nn.Conv2d(stage[-1], CHANNELS, 1) for stage in STAGES[2:]])
        tower = lambda: nn.Sequential(*[unit(CHANNELS, CHANNELS, False) for _ in range(2)])
        self.class_tower, self.box_tower = tower(), tower()
        self.logits = nn.Conv2d(CHANNELS, classes, 3, 1, 1)
        self.sides = nn.Conv2d(CHANNELS, 4, 3, 1, 1)

    def forward(self, x):
        merged = None
        for lateral, found in zip(reversed(self.laterals), reversed(self.backbone(x)[2:])):
            now = lateral(found)
            merged = now if merged is None else now + functional.interpolate(merged, scale_factor=2)
        reach = 2 * STRIDE / x.shape[-1]
        sides = reach * torch.exp(self.sides(self.box_tower(merged)).clamp(-4, 4))
        return self.logits(self.class_tower(merged)), sides


def overlaps(a, b):
    """Boxes [..., 4] -> their IoU and GIoU."""
    area = lambda x: (x[..., 2:] - x[..., :2]).clamp(min=0).prod(-1)
    low, high = torch.maximum(a, b), torch.minimum(a, b)
    shared = area(torch.cat([low[..., :2], high[..., 2:]], -1))
    union = area(a) + area(b) - shared
    hull = area(torch.cat([high[..., :2], low[..., 2:]], -1))
    iou = shared / union.clamp(min=1e-9)
    return iou, iou - (hull - union) / hull.clamp(min=1e-9)


def detection_loss(net, batch, radius=1.5, gamma=2.0, alpha=0.25):
    logits, sides = (x.flatten(2).transpose(1, 2) for x in net(batch['image']))
    place = (torch.arange(GRID) + 0.5) / GRID
    cells = torch.stack(torch.meshgrid(place, place, indexing='ij'), -1).reshape(1, -1, 1, 2)
    boxes, labels = batch['boxes'], batch['label']
    low, high = boxes[:, None, :, :2], boxes[:, None, :, 2:]
    away = ((cells - (low + high) / 2).abs() * GRID).amax(-1)
    inside = ((cells > low) & (cells < high)).all(-1)
    ours = ((inside & (away <= radius)) | (away <= 0.5)) & (labels >= 0)[:, None]
    area = (boxes[..., 2:] - boxes[..., :2]).prod(-1)[:, None]
    cost, owner = torch.where(ours, area, torch.inf).min(-1)
    some = cost < torch.inf
    target = functional.one_hot(labels.gather(1, owner), logits.shape[-1]) * some[..., None]
    cross = functional.binary_cross_entropy_with_logits(logits, target.float(), reduction='none')
    share = torch.where(target > 0, alpha, 1 - alpha)
    focal = (share * (1 - torch.exp(-cross)) ** gamma * cross).sum()
    signs = torch.tensor([-1.0, -1.0, 1.0, 1.0])
    predicted = cells[:, :, 0].repeat(1, 1, 2) + signs * sides
    wanted = boxes.gather(1, owner[..., None].expand(-1, -1, 4))
    missing = torch.where(some, 1 - overlaps(predicted, wanted)[1], 0).sum()
    return (focal + 2 * missing) / some.sum(1).clamp(min=1).sum()


class Embedder(nn.Module):
    def __init__(self, identities: int):
        super().__init__()
        self.backbone, self.head = VGG(3), nn.Linear(128, 64)
        self.directions = nn.Parameter(0.01 * torch.randn(identities, 64))

    def forward(self, x):
        last = functional.max_pool2d(self.backbone(x)[-1], 2)
        embedding = functional.normalize(self.head(last.mean((2, 3))))
        return embedding @ functional.normalize(self.directions).T


def arcface_loss(net, batch, margin=0.3, scale=16.0):
    cosine = net(batch['image'])
    own = cosine.gather(1, batch['label'][:, None])
    sine = (1 - own**2).clamp(min=1e-7).sqrt()
    margin = torch.tensor(margin)
    turned = own * torch.cos(margin) - sine * torch.sin(margin)
    logits = cosine.scatter(1, batch['label'][:, None], turned)
    return functional.cross_entropy(scale * logits, batch['label'])


def suppress(boxes, scores, classes, threshold, most):
    """Boxes [B, N, 4], scores, classes [B, N] -> places and scores [B, most] of the best that remain."""
    rows, left, found = torch.arange(len(boxes)), scores.clone(), []
    for _ in range(most):
        best, place = left.max(1)
        near = overlaps(boxes, boxes[rows, place][:, None])[0] > threshold
        left[near & (classes == classes[rows, place][:, None])] = -torch.inf
        left[rows, place] = -torch.inf
        found.append((place, best))
    return [torch.stack(part, 1) for part in zip(*found)]
