"""Lines of random networks that move values, read sizes off the input, or treat tokens."""

from random_draw import Draw, Shape, divisor


def moved(d: Draw, v: str, s: Shape) -> str | None:
    n = len(s) - 1
    c = s[0]
    choices = [
        *(f"{v}.contiguous()", f"{v}.clone()", f"torch.flip({v}, [-1])", f"{v}.roll(1, -1)"),
        *(
            f"{v}.float()",
            f"{v}.to({v}.dtype)",
            f"{v}.type_as({v})",
            f"{v}.repeat_interleave(2, 1)",
        ),
        *(f"{v}.index_select(1, torch.tensor([0, {c - 1}]))", f"{v}[:, [{c - 1}, 0]]"),
        *(f"torch.roll({v}, shifts=1, dims=1)", f"{v}.flip(1)", f"{v}.unsqueeze(1).squeeze(1)"),
        *(f"{v}.narrow(-1, 0, 1)", f"{v}[..., :1]", f"{v}[:, -1:]", f"{v}.movedim(1, -1)"),
        *(f"{v}.expand({v}.size(0){', -1' * len(s)})", f"{v}.repeat(1, 2{', 1' * n})"),
        *(f"torch.tile({v}, (1, 2{', 1' * n}))", f"{v}[:, None].mean(1)"),
        d.declare(d.one("nn.Dropout()", "nn.Identity()", "nn.AlphaDropout()")) + f"({v})",
        f"F.dropout({v}, training=self.training)",
        f"F.pad({v}, (1, 1))",
    ]
    if n >= 1:
        choices += [
            *(f"{v}.transpose(1, 2)", f"{v}.flatten(1)", f"{v}.flatten(1, 2)", f"{v}.mT"),
            *(f"{v}.swapaxes(1, -1)", f"{v}.unflatten(1, (1, {c})).flatten(1, 2)"),
        ]
    if n == 2:
        choices += [
            *(f"{v}.permute(0, 2, 3, 1)", f"F.pad({v}, (1, 0, 0, 1))", f"{v}.permute(0, 3, 1, 2)"),
            *(f"F.pad({v}, (1, 1, 1, 1), mode='reflect')", f"F.pad({v}, (1, 0, 1, 0), value=0.5)"),
            *(f"F.unfold({v}, 2)", d.declare("nn.Unfold(2, stride=2)") + f"({v})"),
            d.declare(f"nn.{d.one('Zero', 'Reflection', 'Replication', 'Circular')}Pad2d(1)")
            + f"({v})",
            d.declare(f"nn.ChannelShuffle({divisor(d, c)})") + f"({v})",
        ]
        if c % 4 == 0:
            choices += [f"F.pixel_shuffle({v}, 2)", d.declare("nn.PixelShuffle(2)") + f"({v})"] * 2
        choices += [f"F.pixel_unshuffle({v}, 2)"]
    if n in (1, 3):
        pads = (
            f"nn.ConstantPad{n}d(1, 0.0)",
            f"nn.ReplicationPad{n}d(1)",
            f"nn.CircularPad{n}d(1)",
        )
        choices += [d.declare(d.one(*pads)) + f"({v})"]
    return d.random.choice(choices)


def upsampled(d: Draw, v: str, s: Shape) -> str | None:
    n = len(s) - 1
    if n not in (1, 2, 3) or max(s[1:]) > 4:
        return None
    smooth = {1: "linear", 2: "bilinear", 3: "trilinear"}[n]
    choices = [
        *(
            d.declare("nn.Upsample(scale_factor=2)") + f"({v})",
            f"F.interpolate({v}, scale_factor=2)",
        ),
        f"F.interpolate({v}, scale_factor=2, mode='{smooth}', align_corners={d.flag()})",
        d.declare(f"nn.Upsample(scale_factor=2, mode='{smooth}')") + f"({v})",
        f"F.interpolate({v}, size={v}.shape[2:])",
    ]
    if n == 2:
        choices += [
            d.declare("nn.UpsamplingNearest2d(scale_factor=2)") + f"({v})",
            d.declare("nn.UpsamplingBilinear2d(scale_factor=2)") + f"({v})",
            f"F.interpolate({v}, scale_factor=2, mode='bicubic')",
        ]
    for other, shape in d.variables.items():
        if len(shape) == len(s) and shape[1:] != s[1:]:
            choices += [
                f"F.interpolate({v}, size={other}.shape[2:], mode='{d.one('nearest', smooth)}')"
            ]
    return d.random.choice(choices)


def sized(d: Draw, v: str, s: Shape) -> str | None:
    n = len(s) - 1
    size = d.one(f"{v}.size(0)", f"{v}.shape[0]", f"len({v})")
    choices = [
        *(f"{v}.view({size}, -1)", f"{v}.reshape({v}.shape[0], -1)", f"torch.flatten({v}, 1)"),
        *(f"{v} + torch.zeros_like({v})", f"{v} * torch.ones_like({v})", f"{v} + {v}.new_zeros(1)"),
        *(
            f"{v} + torch.zeros({size}, {', '.join(map(str, s))})",
            f"{v} + torch.full_like({v}, 0.5)",
        ),
        f"torch.cat([{v}, torch.zeros({v}.size(0), 1{', {}' * n})], 1)".format(*s[1:]),
        f"torch.cat([{v}, {v}.new_zeros({v}.shape)], 1)",
        f"{v} * torch.arange({v}.size(-1), dtype={v}.dtype)",
        f"{v} + torch.linspace(-1, 1, {v}.shape[-1])",
        f"{v} * {v}.shape[-1] ** -0.5",
        f"{v} @ torch.eye({v}.size(-1))",
        f"{v} * torch.tensor(0.5)",
        f"{v} + torch.ones({v}.shape[-1])",
        f"{v}.view({v}.shape)",
    ]
    if n >= 1:
        choices += [
            f"{v}.view({v}.size(0), {v}.size(1), -1)",
            f"{v}.reshape({size}, {s[0]}, -1)",
        ] * 2
    if n == 2:
        choices += [
            f"(lambda b, c, h, w: {v}.reshape(b, c, h * w).transpose(1, 2))(*{v}.shape)"
        ] * 2
    return d.random.choice(choices)


def written(d: Draw, v: str, s: Shape) -> str | None:
    copied = f"{v}.clone()"
    return d.one(
        f"self.set({copied}, 0, 0.0)",
        f"self.set({copied}, -1, {v}[:, 0])",
        f"self.set({copied}, slice(0, 1), {v}[:, :1] * 2)",
        f"self.set({v} + 0, 0, {v}[:, -1])",
    )


# tokens, [B, L, C]


def attention(d: Draw, v: str, s: Shape) -> str | None:
    if len(s) != 2:
        return None
    length, c = s
    heads = d.one(*[h for h in (1, 2) if c % h == 0])
    q = d.declare(f"nn.Linear({c}, {c})")
    k = d.declare(f"nn.Linear({c}, {c}, bias=False)")
    w = d.declare(f"nn.Linear({c}, {c})")
    qkv = d.declare(f"nn.Linear({c}, {3 * c})")
    many = d.declare(f"nn.MultiheadAttention({c}, {heads}, batch_first=True)")
    split = f"reshape({v}.shape[0], -1, 3, {heads}, {c // heads}).permute(2, 0, 3, 1, 4)"
    by_hand = (
        f"(lambda q, k, v: ((q @ k.transpose(-2, -1)) * {c // heads} ** -0.5).softmax(-1) @ v)"
    )
    layer = d.declare(
        f"nn.TransformerEncoderLayer({c}, {heads}, 8, batch_first=True, "
        f"norm_first={d.flag()}, activation='{d.one('relu', 'gelu')}')"
    )
    return d.one(
        f"(({q}({v}) @ {k}({v}).transpose(-2, -1)) / {c} ** 0.5).softmax(-1) @ {w}({v})",
        f"F.scaled_dot_product_attention({q}({v}), {k}({v}), {w}({v}))",
        f"{many}({v}, {v}, {v}, need_weights={d.flag()})[0]",
        f"{by_hand}(*{qkv}({v}).{split}).transpose(1, 2).flatten(2)",
        f"torch.bmm({q}({v}).softmax(-1), {k}({v}).transpose(1, 2)) @ {w}({v})",
        f"torch.einsum('bqk,bkc->bqc', torch.einsum('bqc,bkc->bqk', {q}({v}), {k}({v})), {v})",
        f"{layer}({v})",
        f"{layer}({v})",
    )


def recurrent(d: Draw, v: str, s: Shape) -> str | None:
    if len(s) != 2:
        return None
    kind = d.one("LSTM", "GRU", "RNN")
    both = d.random.random() < 0.3
    layer = d.declare(
        f"nn.{kind}({s[1]}, {d.one(3, 4)}, {d.one(1, 1, 2)}, "
        f"batch_first=True, bidirectional={both})"
    )
    first = d.declare(f"nn.{kind}({s[1]}, 3)")
    last = "[1][0][-1]" if kind == "LSTM" else "[1][-1]"
    cell = d.declare(f"nn.{kind}Cell({s[1]}, 3)")
    hidden = "[0]" if kind == "LSTM" else ""
    return d.one(
        *(f"{layer}({v})[0]", f"{layer}({v})[0][:, -1]", f"{layer}({v})[0].mean(1)"),
        *(f"{layer}({v}){last}", f"{first}({v}.transpose(0, 1))[0].transpose(0, 1)"),
        f"{cell}({v}[:, 1], {cell}({v}[:, 0])){hidden}",
    )


def token(d: Draw, v: str, s: Shape) -> str | None:
    if len(s) != 2:
        return None
    length, c = s
    extra = d.declare(f"nn.Parameter(torch.empty(1, 1, {c}))", "p")
    mlp = d.declare(
        f"nn.Sequential(nn.Linear({c}, 8), {d.one('nn.GELU()', 'nn.ReLU()')}, nn.Linear(8, {c}))"
    )
    ln = d.declare(f"nn.LayerNorm({c})")
    mix = d.declare(f"nn.Linear({length}, {length})")
    return d.one(
        *(
            f"{v} + {mlp}({ln}({v}))",
            f"{v} + {mlp}({v})",
            f"{v}[:, 0]",
            f"{v}.mean(1)",
            f"{ln}({v})",
        ),
        f"torch.cat([{extra}.expand({v}.size(0), -1, -1), {v}], 1)",
        f"torch.cat([{extra}.expand({v}.shape[0], -1, -1), {v}], dim=1)",
        f"torch.cat(({extra}.repeat({v}.size(0), 1, 1), {v}), 1)",
        f"{v} + {mix}({v}.transpose(1, 2)).transpose(1, 2)",
        f"{v} + {d.parameter(1, length, c)}",
    )


def patches(d: Draw, v: str, s: Shape) -> str | None:
    if len(s) < 3:
        return None
    n = len(s) - 1
    conv = d.declare(f"nn.Conv{n}d({s[0]}, 6, 2, stride=2)")
    return f"{conv}({v}).flatten(2).transpose(1, 2)"


def folded(d: Draw, v: str, s: Shape) -> str | None:
    """Frames, channels or tokens folded into the batch, through layers of their own, and back."""
    if len(s) < 2:
        return None
    n = len(s) - 1
    inner = d.one(f"{v}.reshape(-1, *{v}.shape[2:])", f"{v}.flatten(0, 1)")
    if n == 1:  # tokens
        norm = d.declare(f"nn.BatchNorm1d({s[1]})")
        own = f"{d.declare(f'nn.Linear({s[1]}, 4)')}(F.relu({norm}({inner})))"
        return f"{own}.view({v}.size(0), {s[0]}, -1)"
    own = f"{d.declare(f'nn.Conv{n}d(1, 2, 3, padding=1)')}({inner}.unsqueeze(1))"
    if n < 4 and d.flag():
        own = f"{d.declare(f'nn.Conv{n}d(2, 2, 1)')}(torch.relu({own}))"
    back = f"{own}.unflatten(0, ({v}.size(0), {s[0]}))"
    return d.one(f"{back}.flatten(1, 2)", f"{back}.amax(1)", f"{back}[:, -1]")


def shared(d: Draw, v: str, s: Shape) -> str | None:
    """A module that has been called before."""
    called = [name for name in d.modules if name.startswith("m")]
    return f"self.{d.random.choice(called)}({v})" if called else None
