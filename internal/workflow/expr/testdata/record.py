#!/usr/bin/python3
"""Evaluates testdata/cases.txt with the expressions of the real Mistral (Debian's python3-mistral) and prints expected.json.

A case is a line: JSON, of any type, evaluated recursively as Mistral does with inputs. Values come back as JSON;
an error is recorded by the stage ("check" or "eval") at which it is raised.
"""
import json
import os
import sys

sys.path.insert(0, "/usr/lib/python3/dist-packages")
import warnings  # noqa: E402

warnings.simplefilter("ignore")
from oslo_serialization import jsonutils  # noqa: E402

from mistral import expressions  # noqa: E402

here = os.path.dirname(os.path.abspath(__file__))


def strings(v):
    if isinstance(v, str):
        yield v
    elif isinstance(v, dict):
        for x in v.values():
            yield from strings(x)
    elif isinstance(v, list):
        for x in v:
            yield from strings(x)


def run(case, text):
    try:
        for s in strings(case):
            expressions.validate(s)
    except Exception:
        return {"error": "check"}
    try:
        v = expressions.evaluate_recursively(case, json.loads(text))
        return {"value": json.loads(jsonutils.dumps(v))}
    except Exception:
        return {"error": "eval"}


def main():
    data = open(os.path.join(here, "data.json")).read()
    out = {}
    for line in open(os.path.join(here, "cases.txt"), encoding="utf-8"):
        line = line.strip()
        if line and not line.startswith("#"):
            out[line] = run(json.loads(line), data)
    print("{\n" + ",\n".join(json.dumps(k) + ": " + json.dumps(v) for k, v in out.items()) + "\n}")


main()
