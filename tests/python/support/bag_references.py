"""Aggregators as their papers write them, in plain PyTorch, one bag at a time, from the weights of ours."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F


def linear(w, name, x, bias=True):
    return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"] if bias else None)


def hidden(w, x):
    return torch.relu(linear(w, "encoder.fc", x))


def mean(w, x):
    return linear(w, "head", hidden(w, x).mean(0))


def gated(w, x):
    """Rows, scores [N, K] and pooled rows [K, H] (Ilse et al., arXiv 1802.04712, equation 9)."""
    h = hidden(w, x)
    scores = linear(w, "encoder.score", torch.tanh(linear(w, "encoder.value", h)) * torch.sigmoid(linear(w, "encoder.gate", h)))
    return h, scores, torch.softmax(scores.t(), dim=1) @ h


def abmil(w, x):
    return linear(w, "head", gated(w, x)[2][0])


def clam_mb(w, x):
    pooled = gated(w, x)[2]
    return torch.stack([pooled[c] @ w["head.weight"][c] + w["head.bias"][c] for c in range(len(pooled))])


def clam_instances(w, x, label, classes, k, subtyping):
    """CLAM's instance loss: of the k rows with most and with least attention, for the class that the bag has."""
    h, scores, _ = gated(w, x)
    attention = torch.softmax(scores.t(), dim=1)
    k, total = min(k, len(x)), 0.0
    for c in range(classes):
        a = attention[c if len(attention) > 1 else 0]
        top = torch.topk(a, k).indices
        if c == label:
            low = torch.topk(-a, k).indices
            rows, targets = torch.cat([h[top], h[low]]), torch.tensor([1] * k + [0] * k)
        elif subtyping:
            rows, targets = h[top], torch.tensor([0] * k)
        else:
            continue
        total = total + F.cross_entropy(linear(w, f"instance.{c}", rows), targets)
    return total / classes if subtyping else total


def exact(q, k, v):
    return torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), dim=-1) @ v


def nystrom(q, k, v, landmarks, iterations=6):
    """Xiong et al., arXiv 2102.03902, equations 13 and 14, with runs of rows whose lengths differ by at most one."""
    n, q = q.shape[1], q / math.sqrt(q.shape[-1])
    if n <= landmarks:
        return torch.softmax(q @ k.transpose(-1, -2), dim=-1) @ v
    runs = [[i for i in range(n) if i * landmarks // n == m] for m in range(landmarks)]
    ql, kl = (torch.stack([x[:, run].mean(1) for run in runs], 1) for x in (q, k))
    left, middle, right = (torch.softmax(a @ b.transpose(-1, -2), dim=-1) for a, b in ((q, kl), (ql, kl), (ql, k)))
    z = middle.transpose(-1, -2) / (middle.abs().sum(-1).max() * middle.abs().sum(-2).max())
    one = torch.eye(landmarks, dtype=q.dtype)
    for _ in range(iterations):
        a = middle @ z
        z = 0.25 * z @ (13 * one - a @ (15 * one - a @ (7 * one - a)))
    return left @ z @ (right @ v)


def attention_layer(w, name, x, heads, landmarks):
    dim = x.shape[1]
    y = F.layer_norm(x, (dim,), w[f"{name}.norm.weight"], w[f"{name}.norm.bias"], 1e-5)
    q, k, v = (part.view(len(x), heads, dim // heads).transpose(0, 1) for part in F.linear(y, w[f"{name}.attn.to_qkv"]).chunk(3, dim=-1))
    out = nystrom(q, k, v, landmarks) if landmarks else exact(q, k, v)
    if landmarks:
        kernel = w[f"{name}.attn.res_conv"]
        out = out + F.conv2d(v[None], kernel, padding=(kernel.shape[2] // 2, 0), groups=heads)[0]
    return x + linear(w, f"{name}.attn.to_out", out.transpose(0, 1).reshape(len(x), dim))


def places(w, x, cells, extent):
    """Three depthwise convolutions over the map on which each row stands in its own cell."""
    at = torch.zeros(1, x.shape[1], *extent, dtype=x.dtype)
    rows, columns = cells[:, 0].long(), cells[:, 1].long()
    at = at[0].flatten(1).t().index_copy(0, rows * extent[1] + columns, x).t().view(at.shape)
    out = at
    for name, side in (("proj", 7), ("proj1", 5), ("proj2", 3)):
        at_weight, bias = w[f"encoder.pos_layer.{name}.weight"], w[f"encoder.pos_layer.{name}.bias"]
        out = out + F.conv2d(at, at_weight, bias, padding=side // 2, groups=x.shape[1])
    return out[0, :, rows, columns].t()


def transmil(w, x, cells, extent, heads, landmarks):
    h = torch.cat([w["encoder.cls_token"], hidden(w, x)])
    h = attention_layer(w, "encoder.layer1", h, heads, landmarks)
    h = torch.cat([h[:1], places(w, h[1:], cells, extent)])
    h = attention_layer(w, "encoder.layer2", h, heads, landmarks)
    cls = F.layer_norm(h[0], (h.shape[1],), w["encoder.norm.weight"], w["encoder.norm.bias"], 1e-5)
    return linear(w, "head", cls)
