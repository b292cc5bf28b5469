#!/usr/bin/env python3
"""Renders the corpus with the real Jinja2 and prints what came out as JSON: name -> {out} or {error, message, line}."""
import json
import os
import sys

import jinja2
import jinja2.sandbox

HERE = os.path.dirname(os.path.abspath(__file__))


def cases():
    for fn in sorted(os.listdir(os.path.join(HERE, "corpus"))):
        with open(os.path.join(HERE, "corpus", fn), newline="") as f:
            text = f.read()
        for chunk in ("\n" + text).split("\n=== ")[1:]:
            head, _, body = chunk.partition("\n")
            name, *flags = head.split()
            parts = body.split("--- file ")
            files = {}
            for p in parts[1:]:
                fname, _, fbody = p.partition("\n")
                files[fname] = fbody
            yield fn + "/" + name, flags, parts[0], files


def render(flags, src, files, variables):
    kinds = {"strict": jinja2.StrictUndefined, "chainable": jinja2.ChainableUndefined, "debug": jinja2.DebugUndefined}
    undefined = jinja2.Undefined
    for k, v in kinds.items():
        if k in flags:
            undefined = v
    kind = jinja2.sandbox.SandboxedEnvironment if "sandbox" in flags else jinja2.Environment
    line = {"line_statement_prefix": "%", "line_comment_prefix": "##"} if "line" in flags else {}
    env = kind(
        **line,
        loader=jinja2.DictLoader(dict(files, main=src)),
        extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"],
        trim_blocks="trim" in flags, lstrip_blocks="lstrip" in flags,
        keep_trailing_newline="keep" in flags, autoescape="autoescape" in flags, undefined=undefined)
    try:
        return {"out": env.get_template("main").render(**variables)}
    except jinja2.TemplateSyntaxError as e:
        return {"error": "TemplateSyntaxError", "message": e.message, "line": e.lineno, "template": e.name}
    except Exception as e:  # the kind and the text are what is compared
        line, tb = 0, e.__traceback__
        while tb:
            if tb.tb_frame.f_code.co_filename == "<template>" or "__jinja_template__" in tb.tb_frame.f_globals:
                line = tb.tb_lineno
            tb = tb.tb_next
        return {"error": type(e).__name__, "message": str(e), "line": line}


def main():
    with open(os.path.join(HERE, "vars.json")) as f:
        raw = f.read()
    out = {}
    for name, flags, src, files in cases():
        if name in out:
            sys.exit("duplicate case " + name)
        out[name] = render(flags, src, files, json.loads(raw))
    json.dump(out, sys.stdout, indent=1, sort_keys=True)
    print()


main()
