"""Lines of random networks that are activations, sums, products and weights beside layers."""

from random_draw import Draw, Shape

# activations

RECTIFIERS = (
    *("nn.ReLU()", "nn.ReLU(inplace=True)", "nn.ReLU6()", "nn.Hardtanh()", "nn.Hardtanh(-1, 2)"),
    *("F.relu", "torch.relu", "F.relu6", "F.relu_", "torch.relu_", "F.hardtanh", "nn.ReLU()"),
    *("{}.relu()", "{}.relu_()", "{}.clamp(0)", "{}.clamp(min=0)", "{}.clamp(0, 1)", "nn.ReLU()"),
    *("{}.clamp_min(0)", "{}.clamp_(0)", "torch.clamp({}, 0, 2)", "{}.clip(0, 6)", "F.relu"),
    *("torch.clamp_min({}, 0)", "F.relu({}, inplace=True)", "F.hardtanh({}, -1, 1, True)"),
    *("{}.clamp(-1, 1)", "{}.clip(min=0)", "torch.maximum({0}, torch.zeros_like({0}))"),
    *("{0} * ({0} > 0)", "nn.Threshold(0, 0)", "F.threshold({}, 0, 0)", "({0} + {0}.abs()) / 2"),
)
SMOOTH = (
    *("nn.LeakyReLU(0.1)", "nn.LeakyReLU(0.1, True)", "nn.PReLU()", "nn.ELU()", "nn.CELU(0.5)"),
    *("nn.SELU()", "nn.GELU()", "nn.GELU('tanh')", "nn.SiLU()", "nn.SiLU(True)", "nn.Mish()"),
    *("nn.Softplus()", "nn.Softsign()", "nn.Tanh()", "nn.Sigmoid()", "nn.LogSigmoid()"),
    *("nn.Hardsigmoid()", "nn.Hardswish()", "nn.Hardshrink()", "nn.Softshrink()", "nn.RReLU()"),
    *("nn.Tanhshrink()", "nn.Softmax(1)", "nn.Softmin(-1)", "nn.LogSoftmax(1)", "nn.Softmax2d()"),
    *("nn.Hardswish(inplace=True)", "nn.ELU(inplace=True)", "nn.Hardsigmoid(inplace=True)"),
    *("F.leaky_relu", "F.elu", "F.celu", "F.selu", "F.gelu", "F.silu", "F.mish", "F.softplus"),
    *("F.softsign", "F.tanh", "F.sigmoid", "F.logsigmoid", "F.hardsigmoid", "F.hardswish"),
    *("F.hardshrink", "F.softshrink", "F.tanhshrink", "F.rrelu", "torch.sigmoid", "torch.tanh"),
    *("torch.selu", "torch.celu", "torch.special.expit", "torch.nn.functional.gelu"),
    *("F.softmax({}, 1)", "F.softmax({}, dim=-1)", "torch.softmax({}, -1)", "{}.softmax(1)"),
    *("F.log_softmax({}, 1)", "{}.log_softmax(-1)", "F.leaky_relu_({}, 0.2)", "F.elu_({})"),
    *("{}.sigmoid()", "{}.tanh()", "{}.sigmoid_()", "{}.tanh_()", "{}.abs()", "{}.square()"),
    *("{}.abs().add(0.1).sqrt()", "{}.pow(2)", "{} ** 2", "{}.sin()", "{}.erf()", "torch.exp(-{})"),
    *(
        "{}.abs().log1p()",
        "torch.erf({})",
        "{0} * torch.sigmoid(1.702 * {0})",
        "1 / (1 + {}.abs())",
    ),
    *("{0} * F.relu6({0} + 3) / 6", "{0} / (1 + {0}.abs())", "{0} * torch.tanh(F.softplus({0}))"),
    *("F.silu({}, inplace=True)", "{}.hardshrink()", "F.leaky_relu({}, 0.1, True)"),
    *("{}.clamp(max=1)", "{}.clamp(min=-0.5)", "torch.minimum({0}, torch.ones_like({0}))"),
)


def _applied(d: Draw, v: str, text: str) -> str:
    if text.startswith("nn."):
        return d.declare(text) + f"({v})"
    return text.format(v) if "{" in text else f"{text}({v})"


def rectifier(d: Draw, v: str, s: Shape) -> str | None:
    return _applied(d, v, d.one(*RECTIFIERS))


def smooth(d: Draw, v: str, s: Shape) -> str | None:
    if d.random.random() < 0.1:
        return d.one(
            d.declare(f"nn.PReLU({s[0]})") + f"({v})",
            d.declare("nn.GLU(1)") + f"({v})",
            f"F.glu({v}, 1)",
            f"F.prelu({v}, {d.parameter(s[0])})",
        )
    return _applied(d, v, d.one(*SMOOTH))


# sums, products, copies


def residual(d: Draw, v: str, s: Shape) -> str | None:
    other = d.other(s, v) or v
    return d.one(
        *(f"{v} + {other}", f"{v} + {other}", f"torch.add({v}, {other})", f"{v}.add({other})"),
        *(f"{v} - {other}", f"{v}.add_({other})", f"{v} + 0.5 * {other}", f"{v} + 1.0"),
        *(f"torch.sub({v}, {other}, alpha=2)", f"1 - {v}", f"-{v}", f"{v}.neg()", f"+{v}"),
        *(f"torch.add({v}, {other}, alpha=0.5)", f"{v}.sub_({other})", f"sum([{v}, {other}])"),
        *(f"torch.subtract({v}, {other})", f"torch.stack([{v}, {other}]).mean(0)"),
        *(f"torch.stack([{v}, {other}], 1).sum(1)", f"torch.lerp({v}, {other}, 0.25)"),
    )


def concatenation(d: Draw, v: str, s: Shape) -> str | None:
    other = d.like_spatial(s, v) or v
    again = d.one(other, v)
    return d.one(
        *(f"torch.cat([{v}, {other}], 1)", f"torch.cat(({other}, {v}), dim=1)"),
        *(f"torch.cat([{v}, {other}, {again}], dim=1)", f"torch.concat([{v}, {again}], 1)"),
        *(f"torch.hstack([{v}, {other}])", f"torch.cat([{v}, {v}], -1)"),
    )


def splitting(d: Draw, v: str, s: Shape) -> str | None:
    half = s[0] // 2
    if not half or s[0] % 2:
        return None
    return d.one(
        *(f"torch.cat({v}.chunk(2, 1), 1)", f"torch.cat({v}.split({half}, 1), 1)"),
        *(f"torch.cat({v}.chunk(2, dim=1)[::-1], 1)", f"sum({v}.chunk(2, 1))"),
        *(f"torch.cat(torch.tensor_split({v}, 2, 1), 1)", f"torch.cat({v}.chunk(2, -1), -1)"),
        *(f"(lambda a, b: torch.cat([b, F.relu(a)], 1))(*{v}.chunk(2, 1))", f"{v}[:, {half}:]"),
        *(f"(lambda a, b: a * b.sigmoid())(*torch.chunk({v}, 2, 1))", f"{v}[:, ::2]"),
        *(
            f"torch.stack({v}.unbind(1), 1)",
            f"torch.stack({v}.unbind(1), -1)",
            f"{v}.narrow(1, 0, 1)",
        ),
        *(f"{v}.chunk(2, 1)[0] + {v}.chunk(2, 1)[1]", f"torch.split({v}, [1, {s[0] - 1}], 1)[1]"),
    )


def product(d: Draw, v: str, s: Shape) -> str | None:
    other = d.other(s, v) or v
    gate = d.one("torch.sigmoid", "F.hardsigmoid", "torch.tanh", "F.relu6")
    choices = [
        *(f"{v} * {other}", f"{v} * {gate}({other})", f"torch.mul({v}, {other})"),
        *(f"{v}.mul({gate}({v}))", f"0.5 * {v}", f"{v} / 2", f"{v}.mul_(0.5)", f"{v}.div(4)"),
        *(f"{v} / (1 + {other}.abs())", f"torch.addcmul({v}, {v}, {other})"),
        *(f"torch.maximum({v}, {other})", f"torch.minimum({v}, {other})"),
        *(f"{v}.multiply({other})", f"torch.true_divide({v}, 2)"),
    ]
    return d.random.choice(choices)


def gate(d: Draw, v: str, s: Shape) -> str | None:
    n, c = len(s) - 1, s[0]
    if n not in (1, 2, 3):
        return None
    small = max(c // 2, 1)
    first = d.declare(f"nn.Conv{n}d({c}, {small}, 1)")
    second = d.declare(f"nn.Conv{n}d({small}, {c}, 1)")
    act, last = d.one("F.relu", "F.silu"), d.one("torch.sigmoid", "F.hardsigmoid")
    spatial = tuple(range(2, n + 2))
    squeezed = d.one(f"{v}.mean({spatial}, keepdim=True)", f"F.adaptive_avg_pool{n}d({v}, 1)")
    return f"{v} * {last}({second}({act}({first}({squeezed}))))"


def linear_gate(d: Draw, v: str, s: Shape) -> str | None:
    n, c = len(s) - 1, s[0]
    if n not in (1, 2, 3):
        return None
    layers = f"nn.Sequential(nn.Linear({c}, 2), nn.ReLU(), nn.Linear(2, {c}), nn.Sigmoid())"
    spatial = tuple(range(2, n + 2))
    return f"{v} * {d.declare(layers)}({v}.mean({spatial})).view({v}.size(0), {c}{', 1' * n})"


# parameters beside layers


def scaled(d: Draw, v: str, s: Shape) -> str | None:
    by_channel = d.parameter(s[0], *(1,) * (len(s) - 1))
    by_last = d.parameter(s[-1])
    whole = d.parameter(*s)
    return d.one(
        *(f"{v} * {by_channel}", f"{v} + {by_channel}", f"{v} - {by_channel}", f"{v} * {by_last}"),
        *(
            f"{v} + {whole}",
            f"{v} * {whole}",
            f"{by_last} * {v}",
            f"{v} / (1 + {by_channel}.abs())",
        ),
        *(
            f"torch.addcmul({v}, {v}, {by_last})",
            f"{v} + {by_last} * {v}",
            f"{v}.mul({by_channel})",
        ),
        *(f"{v} + {whole}.unsqueeze(0)", f"({v} - {by_channel}) * {by_last}"),
        f"torch.where({by_last} > 0, {v}, 0.5 * {v})",
    )


def weight_product(d: Draw, v: str, s: Shape) -> str | None:
    w = d.declare(f"nn.Parameter(torch.empty({s[-1]}, 4))", "p")
    t = d.declare(f"nn.Parameter(torch.empty(4, {s[-1]}))", "p")
    b = d.declare("nn.Parameter(torch.empty(4))", "p")
    c = d.declare(f"nn.Parameter(torch.empty(4, {s[0]}))", "p")
    letters = "cdhw"[: len(s)]
    choices = [
        *(
            f"{v} @ {w}",
            f"torch.matmul({v}, {w})",
            f"F.linear({v}, {t})",
            f"F.linear({v}, {t}, {b})",
        ),
        *(f"{v} @ {t}.t()", f"{v}.matmul({w}) + {b}", f"{v} @ {t}.T"),
        f"torch.einsum('b{letters},oc->bo{letters[1:]}', {v}, {c})",
        f"torch.einsum('b...{letters[-1]},{letters[-1]}o->b...o', {v}, {w})",
    ]
    if len(s) == 1:
        choices += [f"torch.mm({v}, {w})", f"torch.addmm({b}, {v}, {w})", f"{v}.mm({w})"] * 2
    if len(s) == 2:
        choices += [
            f"torch.bmm({v}, {w}.expand({v}.size(0), -1, -1))",
            f"torch.baddbmm({b}, {v}, {w}.expand({v}.shape[0], -1, -1))",
            f"({c} @ {v})",
            f"torch.tensordot({v}, {w}, 1)",
        ]
    return d.random.choice(choices)
