#!/usr/bin/python3
"""Evaluates testdata/corpus.txt with the real YAQL and prints expected.json.

Values are JSON with tags for what JSON lacks: {"$set": [...]}, {"$map": [[k, v], ...]} for every dict
(order matters), {"$time": iso}, {"$span": microseconds}, {"$float": repr}, {"$regex": pattern}.
"""
import datetime
import json
import os
import re
import sys

sys.path.insert(0, "/usr/lib/python3/dist-packages")
import yaql  # noqa: E402
from yaql.language import exceptions, factory, utils  # noqa: E402

here = os.path.dirname(os.path.abspath(__file__))
library = yaql.create_context()
engine = factory.YaqlFactory().create(options={
    "yaql.limitIterators": 1000, "yaql.memoryQuota": 1000000, "yaql.convertSetsToLists": False})


def tag(v):
    if isinstance(v, bool) or v is None or isinstance(v, (int, str)):
        return v
    if isinstance(v, float):
        return {"$float": repr(v)}
    if isinstance(v, datetime.datetime):
        return {"$time": v.isoformat()}
    if isinstance(v, datetime.timedelta):
        return {"$span": v // datetime.timedelta(microseconds=1)}
    if isinstance(v, utils.SetType):
        return {"$set": sorted((tag(x) for x in v), key=json.dumps)}
    if isinstance(v, utils.MappingType):
        return {"$map": [[tag(k), tag(x)] for k, x in v.items()]}
    if isinstance(v, (list, tuple)):
        return [tag(x) for x in v]
    if isinstance(v, type(re.compile(""))):
        return {"$regex": v.pattern}
    raise TypeError(type(v))


def corpus():
    """Yields the expressions. "!values" names the operands of the "!each" ({a}) and "!cross" ({a}, {b}) lines behind it."""
    values = []
    for line in open(os.path.join(here, "corpus.txt"), encoding="utf-8"):
        line = line.rstrip("\n")
        if line.startswith("!values "):
            values = line[8:].split(" ;; ")
        elif line.startswith("!each "):
            yield from (line[6:].replace("{a}", a) for a in values)
        elif line.startswith("!cross "):
            yield from (line[7:].replace("{a}", a).replace("{b}", b) for a in values for b in values)
        elif line and not line.startswith("#"):
            yield line


def main():
    data = json.load(open(os.path.join(here, "data.json")))
    out = {}
    for line in corpus():
        try:
            out[line] = {"value": tag(engine(line).evaluate(data=data, context=library.create_child_context()))}
        except exceptions.YaqlParsingException:
            out[line] = {"error": "syntax"}
        except Exception as e:  # noqa: B902
            out[line] = {"error": type(e).__name__}
    lines = [json.dumps(k, ensure_ascii=False) + ": " + json.dumps(v, ensure_ascii=False) for k, v in out.items()]
    print("{\n" + ",\n".join(lines) + "\n}")


main()
