"""Lines of random networks that are layers, pools and norms; see ``random_draw``."""

from random_draw import Draw, Shape, divisor

# layers


def convolution(d: Draw, v: str, s: Shape) -> str | None:
    n, c = len(s) - 1, s[0]
    if n not in (1, 2, 3):
        return None
    out, k = d.one(2, 3, 4, 6), d.one(1, 1, 2, 3, 3, 3)
    groups = d.one(1, 1, 1, divisor(d, c), c)
    out = -(-out // groups) * groups
    stride, dilation = d.one(1, 1, 1, 2), d.one(1, 1, 1, 2)
    padding = d.one(0, 0, 1, 1, k // 2, 2, "'same'", "'valid'")
    if padding == "'same'":
        stride = 1
    size = f"({', '.join([str(d.one(1, 2, 3)) for _ in range(n)])},)" if d.flag() else k
    mode = d.one("zeros", "zeros", "zeros", "zeros", "reflect", "replicate", "circular")
    return (
        d.declare(
            f"nn.Conv{n}d({c}, {out}, {size}, stride={stride}, padding={padding}, "
            f"dilation={dilation}, groups={groups}, bias={d.flag()}, padding_mode='{mode}')"
        )
        + f"({v})"
    )


def plain_convolution(d: Draw, v: str, s: Shape) -> str | None:
    n, c = len(s) - 1, s[0]
    if n not in (1, 2, 3):
        return None
    k = d.one(1, 3)
    return d.declare(f"nn.Conv{n}d({c}, {d.one(c, 4, 6)}, {k}, padding={k // 2})") + f"({v})"


def functional_convolution(d: Draw, v: str, s: Shape) -> str | None:
    n, c = len(s) - 1, s[0]
    if n not in (1, 2, 3):
        return None
    k = d.one(1, 3)
    weight = d.declare(f"nn.Parameter(torch.empty{(4, c) + (k,) * n})", "p")
    bias = d.one("None", d.declare("nn.Parameter(torch.empty(4))", "p"))
    return f"F.conv{n}d({v}, {weight}, {bias}, padding={k // 2}, stride={d.one(1, 2)})"


def transposed(d: Draw, v: str, s: Shape) -> str | None:
    n, c = len(s) - 1, s[0]
    if n not in (1, 2, 3) or max(s[1:]) > 5:
        return None
    groups = d.one(1, 1, divisor(d, c))
    stride = d.one(1, 2, 2)
    extra = d.one(0, 1) if stride == 2 else 0
    return (
        d.declare(
            f"nn.ConvTranspose{n}d({c}, {2 * groups}, {d.one(2, 3)}, stride={stride}, "
            f"padding={d.one(0, 1)}, output_padding={extra}, groups={groups}, "
            f"dilation={d.one(1, 1, 2)}, bias={d.flag()})"
        )
        + f"({v})"
    )


def linear(d: Draw, v: str, s: Shape) -> str | None:
    return d.declare(f"nn.Linear({s[-1]}, {d.one(4, 6, s[-1])}, bias={d.flag()})") + f"({v})"


def block(d: Draw, v: str, s: Shape) -> str | None:
    n, c = len(s) - 1, s[0]
    if n not in (1, 2, 3):
        return None
    act = d.one("nn.ReLU()", "nn.ReLU(inplace=True)", "nn.SiLU()", "nn.ReLU6()")
    order = [f"nn.Conv{n}d({c}, 4, 3, padding=1, bias=False)", f"nn.BatchNorm{n}d(4)", act]
    if d.random.random() < 0.3:
        order = [f"nn.BatchNorm{n}d({c})", act, f"nn.Conv{n}d({c}, 4, 1)"]
    return d.declare(f"nn.Sequential({', '.join(order)})") + f"({v})"


# pools


def pool(d: Draw, v: str, s: Shape) -> str | None:
    n = len(s) - 1
    if n not in (1, 2, 3) or min(s[1:]) < 2:
        return None
    k, stride, ceil = d.one(2, 2, 3), d.one("None", 1, 2), d.flag()
    padding = d.one(0, 0, 1)
    if d.flag():
        options = f"{k}, {stride}, {padding}, dilation={d.one(1, 1, 1, 2)}, ceil_mode={ceil}"
        return _module_or_function(d, v, f"MaxPool{n}d", f"max_pool{n}d", options)
    options = f"{k}, {stride}, {padding}, {ceil}, count_include_pad={d.flag()}"
    if n > 1 and d.random.random() < 0.2:
        options += f", divisor_override={d.one(2, 4)}"
    return _module_or_function(d, v, f"AvgPool{n}d", f"avg_pool{n}d", options)


def _module_or_function(d: Draw, v: str, module: str, function: str, options: str) -> str:
    if d.flag():
        return d.declare(f"nn.{module}({options})") + f"({v})"
    return f"F.{function}({v}, {options})"


def adaptive_pool(d: Draw, v: str, s: Shape) -> str | None:
    n = len(s) - 1
    if n not in (1, 2, 3):
        return None
    kind, size = d.one("avg", "avg", "max"), d.one(1, 1, 2, 3)
    return _module_or_function(
        d, v, f"Adaptive{kind.title()}Pool{n}d", f"adaptive_{kind}_pool{n}d", str(size)
    )


def rare_pool(d: Draw, v: str, s: Shape) -> str | None:
    n = len(s) - 1
    if n not in (1, 2):
        return None
    return d.one(
        d.declare(f"nn.LPPool{n}d({d.one(1, 2, 3)}, 2)") + f"({v})",
        f"F.lp_pool{n}d({v}, 2.0, 2)",
    )


def pool_by_size(d: Draw, v: str, s: Shape) -> str | None:
    n = len(s) - 1
    if n not in (1, 2, 3):
        return None
    size = d.one(f"{v}.shape[2:]", f"{v}.size()[2:]")
    kind = d.one("avg", "max")
    if n == 1:
        size = d.one(f"{v}.shape[-1]", f"{v}.size(2)", f"{v}.size()[2:]")
    return d.one(
        f"F.{kind}_pool{n}d({v}, {size})",
        f"F.{kind}_pool{n}d({v}, kernel_size={size})",
        f"F.{kind}_pool{n}d({v}, {v}.size(-1))",
    )


def reduction(d: Draw, v: str, s: Shape) -> str | None:
    if len(s) < 2:
        return None
    spatial = tuple(range(2, len(s) + 1))
    dims = d.one(spatial, spatial, tuple(range(-len(s) + 1, 0)), (-1,), (1,), (2,), (-2,))
    keep = d.one("", ", keepdim=True", ", True")
    single = dims[0] if len(dims) == 1 else dims
    return d.one(
        f"{v}.mean({single}{keep})",
        f"torch.mean({v}, {single}{keep})",
        f"{v}.mean(dim={single}{keep if '=' in keep else ''})",
        f"{v}.sum({single}{keep})",
        f"{v}.amax({single}{keep})",
        f"torch.amax({v}, {single}{keep})",
        f"{v}.max({dims[0]}{keep})[0]",
        f"{v}.max(dim={dims[0]}).values",
        f"{v}.std({single})",
        f"{v}.norm(dim={dims[0]})",
        f"{v}.logsumexp({dims[0]})",
    )


# norms


def norm(d: Draw, v: str, s: Shape) -> str | None:
    n, c = len(s) - 1, s[0]
    kinds = [f"nn.LayerNorm({s[-1]})", f"nn.LayerNorm({list(s)})", f"nn.RMSNorm({s[-1]})"]
    kinds += [f"nn.LayerNorm({s[-1]}, elementwise_affine=False)"]
    if n == 0:
        kinds += [f"nn.BatchNorm1d({c})", f"nn.BatchNorm1d({c}, affine=False)"] * 2
    if n >= 1:
        kinds += [
            f"nn.GroupNorm({divisor(d, c)}, {c}, affine={d.flag()})",
            f"nn.LocalResponseNorm({d.one(2, 3)})",
        ]
    if n in (1, 2, 3):
        kinds += [f"nn.BatchNorm{n}d({c})"] * 4
        kinds += [f"nn.BatchNorm{n}d({c}, affine=False)"] * 2
        kinds += [f"nn.InstanceNorm{n}d({c}, affine={d.flag()})"]
        kinds += [f"nn.InstanceNorm{n}d({c}, affine=True, track_running_stats=True)"]
    return d.declare(d.random.choice(kinds)) + f"({v})"


def functional_norm(d: Draw, v: str, s: Shape) -> str | None:
    return d.one(
        f"F.normalize({v}, dim={d.one(1, -1)})",
        f"F.layer_norm({v}, {list(s[-1:])})",
        f"F.layer_norm({v}, {v}.shape[1:])",
        f"({v} - {v}.mean(-1, keepdim=True)) / ({v}.var(-1, keepdim=True) + 1.0).sqrt()",
    )
