"""A beam search in PyTorch for the translator of `torch_nets.py`, with a cache of keys and values."""

import torch
from sizes import BEAMS, BEGIN, END, HEADS, LONGEST, PENALTY
from torch.nn import functional


def heads(x: torch.Tensor) -> torch.Tensor:
    return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)


def joined(attention, q, k, v) -> torch.Tensor:
    y = functional.scaled_dot_product_attention(q, k, v)
    return attention.out_proj(y.transpose(1, 2).flatten(2))


def remembered(attention, memory: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A memory's keys and values, once for all steps."""
    width = memory.shape[-1]
    both = functional.linear(
        memory, attention.in_proj_weight[width:], attention.in_proj_bias[width:]
    )
    return tuple(heads(part) for part in both.chunk(2, -1))


def step(net, tokens: torch.Tensor, place: int, cache: list, memory: list) -> torch.Tensor:
    """The next tokens [N] -> logits [N, V]; the cache grows."""
    x = net.begun(tokens[:, None], place)
    for number, block in enumerate(net.decoder.layers):
        own, far, width = block.self_attn, block.multihead_attn, x.shape[-1]
        qkv = functional.linear(block.norm1(x), own.in_proj_weight, own.in_proj_bias)
        q, k, v = (heads(part) for part in qkv.chunk(3, -1))
        if cache[number] is not None:
            k, v = (torch.cat(pair, 2) for pair in zip(cache[number], (k, v)))
        cache[number] = k, v
        x = x + joined(own, q, k, v)
        q = functional.linear(block.norm2(x), far.in_proj_weight[:width], far.in_proj_bias[:width])
        x = x + joined(far, heads(q), *memory[number])
        x = x + block.linear2(block.activation(block.linear1(block.norm3(x))))
    return net.logits(x[:, 0])


def beam(net, source: torch.Tensor) -> torch.Tensor:
    """Source [B, S] -> the best translation [B, LONGEST]; END never comes, so no text is shorter."""
    rows = len(source)
    memory = net.encoder(net.begun(source)).repeat_interleave(BEAMS, 0)
    memory = [remembered(block.multihead_attn, memory) for block in net.decoder.layers]
    cache = [None] * len(memory)
    tokens = torch.full((rows * BEAMS,), BEGIN)
    scores = torch.full((rows, BEAMS), -torch.inf)
    scores[:, 0] = 0
    texts = torch.zeros((rows, BEAMS, 0), dtype=torch.long)
    first = torch.arange(rows)[:, None] * BEAMS
    for place in range(LONGEST):
        logits = step(net, tokens, place, cache, memory)
        logits[:, END] = -1e9
        total = scores[..., None] + torch.log_softmax(logits, -1).unflatten(0, (rows, BEAMS))
        scores, chosen = total.flatten(1).topk(BEAMS)
        parents, now = chosen // total.shape[-1], chosen % total.shape[-1]
        flat = (first + parents).flatten()
        cache = [(k[flat], v[flat]) for k, v in cache]
        texts = texts.gather(1, parents[..., None].expand(-1, -1, place))
        texts, tokens = torch.cat([texts, now[..., None]], -1), now.flatten()
    return texts[:, 0], scores[:, 0] / ((5 + LONGEST) / 6) ** PENALTY
