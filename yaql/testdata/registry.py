#!/usr/bin/python3
"""Prints what the real YAQL registers, one line a definition: kind, name, parameters in order ("name", "name=" with a default, "*name", "**")."""
import sys

sys.path.insert(0, "/usr/lib/python3/dist-packages")
import yaql  # noqa: E402
from yaql.language import specs, yaqltypes  # noqa: E402


def params(fd):
    ps = []
    for key, p in fd.parameters.items():
        if isinstance(p.value_type, yaqltypes.HiddenParameterType):
            continue
        ps.append((key, p))
    out = []
    for key, p in sorted(ps, key=lambda kp: (kp[1].position is None, kp[1].position or 0, str(kp[0]))):
        name = p.alias or p.name
        if key == "*":
            out.append("*" + name.lstrip("*"))
        elif key == "**":
            out.append("**")
        else:
            out.append(name + ("=" if p.default is not specs.NO_DEFAULT else ""))
    return out


def main():
    ctx = yaql.create_context()
    lines = set()
    while ctx is not None:
        for fns in getattr(ctx, "_functions", {}).values():
            for fd in fns:
                kind = ("f" if fd.is_function else "") + ("m" if fd.is_method else "")
                lines.add("%s %s(%s)" % (kind, fd.name, ", ".join(params(fd))))
        ctx = ctx.parent
    print("\n".join(sorted(lines)))


main()
