#!/usr/bin/env python3
"""Writes infer_cases.txt and fold_cases.txt: what PyTorch makes of operators, shapes and constants.

Needs PyTorch (1.13 wrote the committed files); the tests only read them.  One case a line:

    op | attributes | inputs | params | outputs, or "error"

A tensor is SHAPE:DTYPE, in fold_cases.txt with its content: 2x2:int64={1,2,3,4}; the shape of a scalar is s.
"""
import itertools
import os
import random

import torch
import torch.nn.functional as F

torch.set_num_threads(1)
rnd = random.Random(20240601)
HERE = os.path.dirname(os.path.abspath(__file__))
R = rnd.randint
COUNT = {}
lines = []


def shape_text(s):
    return "x".join(map(str, s)) if len(s) else "s"


def dtype_text(t):
    return str(t.dtype).replace("torch.", "")


def value_text(v):
    if isinstance(v, (list, tuple)):
        return "[" + ",".join(value_text(i) for i in v) + "]"
    if isinstance(v, str):
        return '"' + v + '"'
    return str(v)


def tensor_text(t, content):
    s = shape_text(t.shape) + ":" + dtype_text(t)
    if not content:
        return s
    flat = t.reshape(-1).tolist()
    def number(v):
        return str(int(v)) if isinstance(v, (bool, int)) else repr(v)
    return s + "={" + ",".join(number(v) for v in flat) + "}"


def case(op, attrs, inputs, fn, params=None, content=False, shapes_only=True):
    """Runs fn() and records its outputs, or that PyTorch refuses."""
    params = params or {}
    try:
        with torch.no_grad():
            out = fn()
        if torch.is_tensor(out):
            out = [out]
        out = [o for o in out]
        if any(0 in o.shape[1:] for o in out) and not content and op.startswith("torch.nn."):
            return
        result = " ".join(tensor_text(o, content) for o in out)
    except (RuntimeError, ValueError, IndexError, NotImplementedError, TypeError) as e:
        out, result = None, "error"
    lines.append(" | ".join([
        op,
        " ".join(k + "=" + value_text(v) for k, v in attrs.items()),
        " ".join(tensor_text(t, content) for t in inputs),
        " ".join(k + "=" + tensor_text(t, False) for k, t in params.items()),
        result]))
    key = (op, out is not None)
    COUNT[key] = COUNT.get(key, 0) + 1


def z(*shape, dtype=torch.float32):
    return torch.zeros(shape, dtype=dtype)


def dims(lo, hi, n):
    return [R(lo, hi) for _ in range(n)]


def pick(k, lo, hi):
    """An int for all axes, or one per axis."""
    return R(lo, hi) if rnd.random() < 0.5 else dims(lo, hi, k)


def maybe(p):
    return rnd.random() < p


def conv(n):
    for _ in range(n):
        k = R(1, 3)
        groups = rnd.choice([1, 1, 2, 3])
        cin, cout = groups * R(1, 3), groups * R(1, 3)
        kernel = dims(1, 4, k)
        x = z(*dims(1, 2, 1), cin + (1 if maybe(.05) else 0), *dims(1, 12, k))
        if maybe(.1):
            x = x[0]
        a = {"stride": pick(k, 0 if maybe(.05) else 1, 3), "dilation": pick(k, 1, 3), "groups": groups}
        a["padding"] = "same" if maybe(.1) else "valid" if maybe(.05) else pick(k, -1 if maybe(.05) else 0, 3)
        w, b = z(cout, cin // groups, *kernel), z(cout + (1 if maybe(.05) else 0))
        fn = [F.conv1d, F.conv2d, F.conv3d][k - 1]
        case("torch.nn.Conv%dd" % k, a, [x],
             lambda: fn(x, w, b, **{**a, "padding": tuple(a["padding"]) if isinstance(a["padding"], list) else a["padding"]}),
             {"weight": w, "bias": b})
    for _ in range(n // 2):  # asymmetric padding through an explicit pad
        k = R(1, 3)
        begin, end, kernel = dims(0, 3, k), dims(0, 3, k), dims(1, 4, k)
        x, w = z(1, 2, *dims(1, 9, k)), z(3, 2, *kernel)
        flat = list(itertools.chain(*[(begin[i], end[i]) for i in reversed(range(k))]))
        s, d = dims(1, 3, k), dims(1, 2, k)
        fn = [F.conv1d, F.conv2d, F.conv3d][k - 1]
        case("torch.nn.Conv%dd" % k, {"padding": begin + end, "stride": s, "dilation": d}, [x],
             lambda: fn(F.pad(x, flat), w, None, s, 0, d), {"weight": w})
    for _ in range(n):
        k = R(1, 3)
        groups = rnd.choice([1, 1, 2])
        cin, cout = groups * R(1, 3), groups * R(1, 3)
        x = z(R(1, 2), cin + (1 if maybe(.05) else 0), *dims(1, 6, k))
        a = {"stride": pick(k, 1, 3), "padding": pick(k, 0, 3), "output_padding": pick(k, 0, 2),
             "dilation": pick(k, 1, 3), "groups": groups}
        w = z(cin, cout // groups, *dims(1, 4, k))
        fn = [F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d][k - 1]
        case("torch.nn.ConvTranspose%dd" % k, a, [x], lambda: fn(x, w, None, **a), {"weight": w})


def pools(n):
    for _ in range(n):
        k = R(1, 3)
        x = z(*dims(1, 3, 2), *dims(1, 14, k))
        if maybe(.1):
            x = x[0]
        a = {"kernel_size": pick(k, 1, 4), "padding": pick(k, 0, 2), "ceil_mode": maybe(.5)}
        if maybe(.8):
            a["stride"] = pick(k, 0 if maybe(.05) else 1, 4)
        if maybe(.5):
            # Newer releases allow padding up to half of the dilated window, 1.13 half of the kernel.
            a["dilation"] = pick(k, 1, 3)
            fn = [F.max_pool1d, F.max_pool2d, F.max_pool3d][k - 1]
            case("torch.nn.MaxPool%dd" % k, a, [x], lambda: fn(x, **a))
            b = dict(a, return_indices=True)
            case("torch.nn.MaxPool%dd" % k, b, [x], lambda: fn(x, **b))
        else:
            a["count_include_pad"] = maybe(.5)
            fn = [F.avg_pool1d, F.avg_pool2d, F.avg_pool3d][k - 1]
            case("torch.nn.AvgPool%dd" % k, a, [x], lambda: fn(x, **a))
    for _ in range(n // 4):
        k = R(1, 3)
        x = z(*dims(1, 3, 2), *dims(1, 9, k))
        size = pick(k, 1, 9)
        case("torch.nn.AdaptiveAvgPool%dd" % k, {"output_size": size}, [x],
             lambda: [F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d][k - 1](x, size))
        case("torch.nn.AdaptiveMaxPool%dd" % k, {"output_size": size}, [x],
             lambda: [F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d][k - 1](x, size))
        keep = [-1, R(1, 5)]
        y = z(1, 2, 7, 5)
        case("torch.nn.AdaptiveAvgPool2d", {"output_size": keep}, [y],
             lambda: F.adaptive_avg_pool2d(y, [None, keep[1]]))


DTYPES = [torch.float32, torch.float64, torch.int64, torch.int32, torch.int8, torch.uint8, torch.bool, torch.float16]


def eltwise(n):
    two = {"add": torch.add, "mul": torch.mul, "maximum": torch.maximum, "eq": torch.eq, "gt": torch.gt,
           "less_equal": torch.less_equal, "pow": torch.pow, "div": torch.div, "logical_and": torch.logical_and,
           "fmod": torch.fmod}
    for _ in range(n):
        rank = R(0, 4)
        full = dims(1, 4, rank)
        def part():
            s = [1 if maybe(.3) else d for d in full]
            if maybe(.08) and s:
                s[R(0, len(s) - 1)] += 1
            return s[R(0, len(s)):] if s and maybe(.3) else s
        a, b = z(*part()), z(*part())
        name = rnd.choice(list(two))
        ta, tb = rnd.choice(DTYPES), rnd.choice(DTYPES)
        if name in ("pow", "fmod", "maximum") or (name == "div" and maybe(.3)):
            ta = tb = torch.float32
        if name == "div" and ta == tb == torch.float16:
            ta = tb = torch.float32
        a, b = a.to(ta), b.to(tb) + 1 if tb != torch.bool else b.to(tb)
        if name in ("div", "fmod", "pow") and tb == torch.bool:
            b = b | True
        if name == "div" and torch.float16 in (ta, tb):
            continue
        case("torch." + name, {}, [a, b], lambda: two[name](a, b))
    for _ in range(n // 4):
        c, a, b = z(*dims(1, 3, R(0, 3)), dtype=torch.bool), z(*dims(1, 3, R(0, 3))), z(*dims(1, 3, R(0, 3)))
        case("torch.where", {}, [c, a, b], lambda: torch.where(c, a, b))
    unary = ["abs", "neg", "floor", "exp", "sqrt", "sigmoid", "sign", "round", "isnan", "logical_not", "erf", "tanh", "log"]
    for name in unary:
        for t in (torch.float32, torch.float64, torch.int64, torch.int32):
            x = z(*dims(1, 4, R(0, 4)), dtype=t)
            if name in ("round", "floor") and t not in (torch.float32, torch.float64):
                continue
            op = {"sigmoid": "torch.nn.Sigmoid", "tanh": "torch.nn.Tanh"}.get(name, "torch." + name)
            case(op, {}, [x], lambda: getattr(torch, name)(x))
    for _ in range(n // 4):
        x = z(*dims(1, 5, R(1, 4)))
        d = R(-5, 5)
        case("torch.nn.Softmax", {"dim": d}, [x], lambda: F.softmax(x, d))
        case("torch.nn.GLU", {"dim": d}, [x], lambda: F.glu(x, d))
        case("torch.cumsum", {"dim": d}, [x], lambda: torch.cumsum(x, d))
    for _ in range(n // 8):
        x, w = z(*dims(1, 4, R(2, 4))), z(R(1, 4))
        case("torch.nn.PReLU", {}, [x], lambda: F.prelu(x, w), {"weight": w})


def moves(n):
    for _ in range(n):
        x = z(*dims(1, 4, R(0, 5)))
        r = x.dim()
        target = []
        left = x.numel()
        for _ in range(R(0, 3)):
            d = rnd.choice([i for i in range(1, left + 1) if left % i == 0])
            target.append(d)
            left //= d
        target.append(left + (1 if maybe(.1) else 0))
        rnd.shuffle(target)
        if maybe(.5):
            target[R(0, len(target) - 1)] = -1 if maybe(.95) else -2
        if maybe(.03):
            target.append(-1)
        case("torch.Tensor.reshape", {"shape": target}, [x], lambda: x.reshape(target))
        a, b = R(-r - 1, r), R(-r - 1, r)
        case("torch.flatten", {"start_dim": a, "end_dim": b}, [x], lambda: torch.flatten(x, a, b))
        case("torch.Tensor.transpose", {"dim0": a, "dim1": b}, [x], lambda: x.transpose(a, b))
        order = list(range(r))
        rnd.shuffle(order)
        order = [o - r if maybe(.3) else o for o in order]
        if order and maybe(.1):
            order[0] = order[-1]
        case("torch.permute", {"dims": order}, [x], lambda: x.permute(order))
        case("torch.unsqueeze", {"dim": a}, [x], lambda: x.unsqueeze(a))
        case("torch.squeeze", {"dim": a}, [x], lambda: x.squeeze(a))
        case("torch.squeeze", {}, [x], lambda: x.squeeze())
        size = dims(1, 3, R(0, 2)) + [rnd.choice([-1, d, d if d > 1 else R(1, 4)]) for d in x.shape]
        if maybe(.1) and size:
            size[R(0, len(size) - 1)] += 1
        case("torch.Tensor.expand", {"size": size}, [x], lambda: x.expand(size))
        reps = dims(0 if maybe(.1) else 1, 3, max(0, r + R(-1, 2)))
        case("torch.Tensor.repeat", {"repeats": reps}, [x], lambda: x.repeat(reps))
        case("torch.Tensor.tile", {"dims": reps}, [x], lambda: x.tile(reps))
        case("torch.flip", {"dims": [a]}, [x], lambda: torch.flip(x, [a]))
        case("torch.roll", {"shifts": [R(-5, 5)], "dims": [b]}, [x], lambda: torch.roll(x, [1], [b]))


def joins(n):
    for _ in range(n):
        rank = R(1, 4)
        d = R(-rank - 1, rank) if maybe(.1) else R(-rank, rank - 1)
        base = dims(1, 4, rank)
        parts = []
        for _ in range(R(1, 4)):
            s = list(base)
            s[d % rank] = R(0, 4)
            if maybe(.05):
                s[R(0, rank - 1)] += 1
            parts.append(z(*s) if not maybe(.05) else z(0))
        case("torch.cat", {"dim": d}, parts, lambda: torch.cat(parts, d))
        same = [z(*base) for _ in range(R(1, 3))] + ([z(*base[:-1])] if maybe(.1) else [])
        case("torch.stack", {"dim": d}, same, lambda: torch.stack(same, d))
        x = z(*dims(1, 9, rank))
        size = R(1, 5)
        case("torch.split", {"split_size_or_sections": size, "dim": d}, [x], lambda: torch.split(x, size, d))
        cuts = []
        left = x.shape[d % rank]
        while left > 0:
            cuts.append(R(0, left))
            left -= cuts[-1]
        if maybe(.2):
            cuts[0] += 1
        case("torch.split", {"split_size_or_sections": cuts, "dim": d}, [x], lambda: torch.split(x, cuts, d))
        chunks = R(1, 6)
        case("torch.chunk", {"chunks": chunks, "dim": d}, [x], lambda: torch.chunk(x, chunks, d))
        pads = dims(-2, 4, 2 * R(1, rank))
        case("torch.nn.functional.pad", {"pad": pads}, [x], lambda: F.pad(x, pads))
        y = z(1, 2, *dims(1, 6, 2))
        pads = dims(0, 5, 4)
        for mode in ("reflect", "replicate", "circular"):
            case("torch.nn.functional.pad", {"pad": pads, "mode": mode}, [y], lambda: F.pad(y, pads, mode))
        case("torch.nn.ZeroPad2d", {"padding": pads}, [y], lambda: torch.nn.ZeroPad2d(tuple(pads))(y))
        case("torch.nn.ReplicationPad2d", {"padding": pads}, [y], lambda: torch.nn.ReplicationPad2d(tuple(pads))(y))
        q = z(*dims(1, 2, R(0, 2)), R(1, 12), *dims(1, 6, 2))
        up = R(1, 3)
        case("torch.nn.PixelShuffle", {"upscale_factor": up}, [q], lambda: F.pixel_shuffle(q, up))
        case("torch.nn.PixelUnshuffle", {"downscale_factor": up}, [q], lambda: F.pixel_unshuffle(q, up))
        if q.dim() == 4:
            case("torch.nn.ChannelShuffle", {"groups": up}, [q], lambda: F.channel_shuffle(q, up))


def indexing(n):
    for _ in range(n):
        rank = R(1, 4)
        x = z(*dims(1, 8, rank))
        axes = rnd.sample(range(rank), R(1, rank))
        starts, ends = dims(-10, 10, len(axes)), dims(-10, 10, len(axes))
        steps = [R(1, 3) for _ in axes]
        sl = [slice(None)] * rank
        for a, s, e, t in zip(axes, starts, ends, steps):
            sl[a] = slice(s, e, t)
        case("torch.Tensor.__getitem__", {"starts": starts, "ends": ends, "steps": steps, "axes": axes}, [x],
             lambda: x[tuple(sl)])
        # negative steps exist in ONNX and numpy, not in PyTorch
        neg = [-R(1, 3) for _ in axes]
        for a, s, e, t in zip(axes, starts, ends, neg):
            sl[a] = slice(s, e, t)
        case("torch.Tensor.__getitem__", {"starts": starts, "ends": ends, "steps": neg, "axes": axes}, [x],
             lambda: torch.from_numpy(x.numpy()[tuple(sl)].copy()))
        i = R(-9, 9)
        a = R(0, rank - 1)
        case("torch.Tensor.__getitem__", {"select_axes": [a], "select_indices": [i]}, [x], lambda: x.select(a, i))
        index = z(R(1, 5), dtype=torch.int64)
        d = R(-rank - 1, rank)
        case("torch.index_select", {"dim": d}, [x, index], lambda: torch.index_select(x, d, index))
        beside = z(*[max(1, s + R(-2, 1 if maybe(.2) else 0)) for s in x.shape], dtype=torch.int64)
        case("torch.gather", {"dim": d}, [x, beside], lambda: torch.gather(x, d, beside))
        k = R(0, 6)
        case("torch.topk", {"k": k, "dim": d}, [x], lambda: torch.topk(x, k, d))


def reductions(n):
    for _ in range(n):
        rank = R(0, 4)
        t = rnd.choice([torch.float32, torch.float32, torch.int64, torch.int32])
        x = z(*dims(1, 4, rank), dtype=t)
        axes = rnd.sample(range(rank), R(1, rank)) if rank else [0]
        axes = [a - rank if rank and maybe(.4) else a for a in axes]
        if maybe(.08):
            axes.append(rnd.choice(axes))
        if maybe(.05):
            axes[0] = 7
        keep = maybe(.5)
        case("torch.sum", {"dim": axes, "keepdim": keep}, [x], lambda: torch.sum(x, axes, keep))
        if t == torch.float32:
            case("torch.mean", {"dim": axes, "keepdim": keep}, [x], lambda: torch.mean(x, axes, keep))
        case("torch.amax", {"dim": axes, "keepdim": keep}, [x], lambda: torch.amax(x, axes, keep))
        case("torch.max", {"dim": axes[0], "keepdim": keep}, [x], lambda: torch.max(x, axes[0], keep))
        case("torch.argmax", {"dim": axes[0], "keepdim": keep}, [x], lambda: torch.argmax(x, axes[0], keep))
        case("torch.sum", {}, [x], lambda: torch.sum(x))
        case("torch.min", {}, [x], lambda: torch.min(x))


def resizes(n):
    for _ in range(n):
        k = R(1, 3)
        x = z(*dims(1, 2, 2), *dims(1, 17, k))
        mode = rnd.choice(["nearest", "linear", "bilinear", "trilinear", "bicubic", "area"])
        size = pick(k, 1, 20)
        case("torch.nn.functional.interpolate", {"size": size, "mode": mode}, [x],
             lambda: F.interpolate(x, size=size, mode=mode))
        f = rnd.choice([2.0, 0.5, 1.5, 0.3, 3.7, 1 / 3, 0.1, 2.3, 1.3333334, 0.6])
        fs = [f] * k if maybe(.5) else f
        case("torch.nn.functional.interpolate", {"scale_factor": fs, "mode": mode}, [x],
             lambda: F.interpolate(x, scale_factor=fs, mode=mode))
        case("torch.nn.UpsamplingBilinear2d", {"scale_factor": f}, [x],
             lambda: torch.nn.UpsamplingBilinear2d(scale_factor=f)(x))
        y, grid = z(2, 3, *dims(1, 5, 2)), z(rnd.choice([2, 2, 2, 3]), *dims(1, 5, 2), rnd.choice([2, 2, 2, 3]))
        case("torch.nn.functional.grid_sample", {}, [y, grid],
             lambda: F.grid_sample(y, grid, align_corners=False))


def matrices(n):
    for _ in range(n):
        m, k, l = dims(1, 5, 3)
        batch = dims(1, 3, R(0, 3))
        a = z(*[1 if maybe(.3) else b for b in batch][R(0, len(batch)):], m, k + (1 if maybe(.08) else 0))
        b = z(*[1 if maybe(.3) else b for b in batch], k, l)
        if maybe(.15):
            a = z(k)
        if maybe(.15):
            b = z(k)
        case("torch.matmul", {}, [a, b], lambda: torch.matmul(a, b))
        x, w, bias = z(*dims(1, 4, R(0, 3)), k + (1 if maybe(.1) else 0)), z(l, k), z(l)
        case("torch.nn.Linear", {}, [x], lambda: F.linear(x, w, bias), {"weight": w, "bias": bias})
    for eq in ["ij,jk->ik", "ij,jk", "bij,bjk->bik", "...ij,...jk->...ik", "ij->ji", "ij->", "ii->i", "i,j->ij",
               "bhqd,bhkd->bhqk", "...a->...", "ab,ac->cb", "ba", "ij,j", "a...b->b...a", "ij,kj->ik"]:
        for _ in range(n // 8):
            size = {c: R(1, 3) for c in "abcdefghijklmnopqrstuvwxyz"}
            lead = dims(1, 3, R(0, 2))
            ops = []
            for term in eq.split("->")[0].split(","):
                s = []
                for part in term.replace("...", ".").strip():
                    s += lead if part == "." else [size[part]]
                if maybe(.1) and s:
                    s[0] += 2
                ops.append(z(*s))
            case("torch.einsum", {"equation": eq}, ops, lambda: torch.einsum(eq, *ops))


def norms(n):
    for _ in range(n):
        k = R(1, 3)
        c = R(1, 6)
        x = z(R(1, 2), c, *dims(2, 4, k))
        f = c + (1 if maybe(.1) else 0)
        p = {"weight": z(f), "bias": z(f), "running_mean": z(f), "running_var": z(f) + 1}
        bn = [torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d]
        which = k if maybe(.9) else R(1, 3)
        case("torch.nn.BatchNorm%dd" % which, {"num_features": f}, [x], lambda: bn[which - 1](f).eval()(x), p)
        tail = list(x.shape[R(1, x.dim() - 1):])
        if maybe(.1):
            tail[0] += 1
        case("torch.nn.LayerNorm", {"normalized_shape": tail}, [x], lambda: F.layer_norm(x, tail))
        g = R(1, 4)
        case("torch.nn.GroupNorm", {"num_groups": g, "num_channels": c}, [x], lambda: F.group_norm(x, g))


def recurrents(n):
    for _ in range(n):
        i, h, layers = R(1, 4), R(1, 4), R(1, 2)
        bi, first = maybe(.5), maybe(.5)
        x = z(*dims(1, 4, 2), i + (1 if maybe(.1) else 0))
        if maybe(.2):
            x = x[0]
        a = {"input_size": i, "hidden_size": h, "num_layers": layers, "bidirectional": bi, "batch_first": first}
        def run(kind):
            y, s = kind(i, h, layers, bidirectional=bi, batch_first=first)(x)
            return [y] + list(s if isinstance(s, tuple) else [s])
        case("torch.nn.LSTM", a, [x], lambda: run(torch.nn.LSTM))
        case("torch.nn.GRU", a, [x], lambda: run(torch.nn.GRU))
        c = z(R(1, 3), i)
        case("torch.nn.LSTMCell", {"input_size": i, "hidden_size": h}, [c], lambda: torch.nn.LSTMCell(i, h)(c))
        heads = R(1, 2)
        e = heads * R(1, 3)
        q, kv = z(3, 2, e), z(5, 2, e)
        case("torch.nn.MultiheadAttention", {"embed_dim": e, "num_heads": heads}, [q, kv, kv],
             lambda: torch.nn.MultiheadAttention(e, heads)(q, kv, kv))


def constants():
    def ints(*shape, lo=-6, hi=6, dtype=torch.int64):
        return torch.tensor([R(lo, hi) for _ in range(max(1, torch.Size(shape).numel()))][:torch.Size(shape).numel()],
                            dtype=dtype).reshape(shape)
    def reals(*shape, dtype=torch.float32):
        return torch.tensor([rnd.randint(-64, 64) / 8 for _ in range(torch.Size(shape).numel())], dtype=dtype).reshape(shape)
    def keep(op, attrs, inputs, fn, **kw):
        case(op, attrs, inputs, fn, content=True, **kw)
    for _ in range(12):
        s = dims(1, 3, R(0, 3))
        t = s[R(0, len(s)):]
        for make in (ints, reals, lambda *q: ints(*q, dtype=torch.int32), lambda *q: reals(*q, dtype=torch.float64)):
            a, b = make(*s), make(*t)
            for name in ("add", "sub", "mul", "maximum", "minimum", "eq", "ne", "lt", "ge", "logical_xor"):
                keep("torch." + name, {}, [a, b], lambda: getattr(torch, name)(a, b))
            c = torch.where(b == 0, torch.ones_like(b), b)
            keep("torch.div", {}, [a, c], lambda: torch.div(a, c))
            for mode in ("trunc", "floor"):
                keep("torch.div", {"rounding_mode": mode}, [a, c], lambda: torch.div(a, c, rounding_mode=mode))
            for name in ("fmod", "remainder"):
                keep("torch." + name, {}, [a, c], lambda: getattr(torch, name)(a, c))
            keep("torch.where", {}, [a > 0, a, b], lambda: torch.where(a > 0, a, b))
            for name in ("abs", "neg", "sign", "logical_not"):
                keep("torch." + name, {}, [a], lambda: getattr(torch, name)(a))
            keep("torch.clamp", {"min": -2, "max": 3}, [a], lambda: torch.clamp(a, -2, 3))
            for name in ("int32", "int64", "float32", "float64", "bool", "float16", "int8"):
                keep("torch.Tensor.to", {"dtype": name}, [a], lambda: a.to(getattr(torch, name)))
        r = reals(*s)
        for name in ("floor", "ceil", "round", "trunc"):
            keep("torch." + name, {}, [r], lambda: getattr(torch, name)(r))
        q = reals(*s).abs() * 8
        q = (q.round() ** 2)
        keep("torch.sqrt", {}, [q], lambda: torch.sqrt(q))
        base, ex = ints(*s), ints(*s, lo=0, hi=9)
        keep("torch.pow", {}, [base, ex], lambda: torch.pow(base, ex))
    for _ in range(40):
        rank = R(1, 4)
        x = rnd.choice([ints, reals])(*dims(1, 4, rank))
        a, b, n = R(-rank, rank - 1), R(0, rank - 1), x.dim()
        keep("torch.Tensor.transpose", {"dim0": a, "dim1": b}, [x], lambda: x.transpose(a, b))
        order = list(range(rank))
        rnd.shuffle(order)
        keep("torch.permute", {"dims": order}, [x], lambda: x.permute(order))
        keep("torch.flatten", {"start_dim": b}, [x], lambda: x.flatten(b))
        keep("torch.unsqueeze", {"dim": [0, -1]}, [x], lambda: x.unsqueeze(0).unsqueeze(-1))
        size = dims(1, 2, 1) + [d if d > 1 else 3 for d in x.shape]
        keep("torch.Tensor.expand", {"size": size}, [x], lambda: x.expand(size))
        reps = dims(1, 2, rank + R(0, 1))
        keep("torch.Tensor.repeat", {"repeats": reps}, [x], lambda: x.repeat(reps))
        keep("torch.flip", {"dims": [a]}, [x], lambda: x.flip(a))
        shift = R(-7, 7)
        keep("torch.roll", {"shifts": [shift], "dims": [a]}, [x], lambda: x.roll(shift, a))
        keep("torch.roll", {"shifts": [shift]}, [x], lambda: x.roll(shift))
        s, e, t = R(-5, 5), R(-5, 5), rnd.choice([-2, -1, 1, 2])
        sl = [slice(None)] * rank
        sl[b] = slice(s, e, t)
        keep("torch.Tensor.__getitem__", {"starts": [s], "ends": [e], "steps": [t], "axes": [b]}, [x],
             lambda: torch.from_numpy(x.numpy()[tuple(sl)].copy()))
        i = R(-x.shape[b], x.shape[b] - 1)
        keep("torch.Tensor.__getitem__", {"select_axes": [b], "select_indices": [i]}, [x], lambda: x.select(b, i))
        y = rnd.choice([x, x * 2])
        keep("torch.cat", {"dim": a}, [x, y, x], lambda: torch.cat([x, y, x], a))
        keep("torch.stack", {"dim": a}, [x, y], lambda: torch.stack([x, y], a))
        keep("torch.chunk", {"chunks": 2, "dim": a}, [x], lambda: torch.chunk(x, 2, a))
        pads = dims(-1, 2, 2)
        keep("torch.nn.functional.pad", {"pad": pads, "value": 7}, [x], lambda: F.pad(x, pads, value=7))
        index = ints(R(1, 4), lo=0, hi=x.shape[a] - 1)
        keep("torch.index_select", {"dim": a}, [x, index], lambda: x.index_select(a, index))
        beside = ints(*x.shape, lo=0, hi=x.shape[a] - 1)
        keep("torch.gather", {"dim": a}, [x, beside], lambda: x.gather(a, beside))
        unique = torch.arange(x.shape[a]).flip(0).reshape([-1 if k == a % rank else 1 for k in range(rank)]).expand(x.shape).contiguous()
        keep("torch.scatter", {"dim": a}, [x, unique, y], lambda: x.scatter(a, unique, y))
        kd = maybe(.5)
        for name in ("sum", "amax", "amin", "argmax", "argmin"):
            if name.startswith("arg") and len(set(x.reshape(-1).tolist())) < x.numel():
                continue  # which of equal elements wins is not promised
            keep("torch." + name, {"dim": a, "keepdim": kd}, [x], lambda: getattr(torch, name)(x, a, kd))
        keep("torch.prod", {"dim": a, "keepdim": kd}, [x], lambda: torch.prod(x, a, kd))
        keep("torch.sum", {}, [x], lambda: x.sum())
        keep("torch.max", {}, [x], lambda: x.max())
        if len(set(x.reshape(-1).tolist())) == x.numel():
            keep("torch.max", {"dim": a}, [x], lambda: x.max(a))
        if x.dtype == torch.float32:
            keep("torch.mean", {"dim": a, "keepdim": kd}, [x * 4], lambda: (x * 4).mean(a, kd))
        keep("torch.cumsum", {"dim": a}, [x], lambda: x.cumsum(a))
        keep("torch.nonzero", {}, [x], lambda: x.nonzero())
        if rank >= 2:
            d = R(-2, 2)
            keep("torch.tril", {"diagonal": d}, [x], lambda: x.tril(d))
            keep("torch.triu", {"diagonal": d}, [x], lambda: x.triu(d))
        s0, s1, st = torch.tensor(R(-9, 9)), torch.tensor(R(-9, 9)), torch.tensor(R(1, 4))
        if s1 < s0:
            st = -st
        keep("torch.arange", {}, [s0, s1, st], lambda: torch.arange(s0.item(), s1.item(), st.item()))
        f0, f1, fs = (torch.tensor(float(R(-9, 0))), torch.tensor(R(1, 40) / 4), torch.tensor(R(1, 8) / 4))
        keep("torch.arange", {}, [f0, f1, fs], lambda: torch.arange(f0.item(), f1.item(), fs.item()))
        hot = ints(R(1, 4), lo=0, hi=4)
        keep("torch.one_hot", {"num_classes": 5}, [hot], lambda: F.one_hot(hot, 5))
        keep("torch.Tensor.size", {}, [x], lambda: torch.tensor(x.shape))
        keep("torch.numel", {}, [x], lambda: torch.tensor(x.numel()))
        shape = torch.tensor(dims(0, 3, R(1, 3)))
        keep("torch.full", {"fill_value": 3, "dtype": "int64"}, [shape], lambda: torch.full(shape.tolist(), 3))


def write(name, floor):
    path = os.path.join(HERE, name)
    with open(path, "w") as f:
        f.write("# Written by make_infer_cases.py with PyTorch %s; do not edit.\n" % torch.__version__)
        f.write("".join(l + "\n" for l in lines))
    bad = sum(l.endswith("| error") for l in lines)
    print("%s: %d cases, %d of them refused by PyTorch" % (name, len(lines), bad))
    assert len(lines) > floor


if __name__ == "__main__":
    conv(120)
    pools(120)
    eltwise(120)
    moves(30)
    joins(30)
    indexing(40)
    reductions(30)
    resizes(50)
    matrices(40)
    norms(30)
    recurrents(12)
    write("infer_cases.txt", 1000)
    lines.clear()
    constants()
    write("fold_cases.txt", 1000)
