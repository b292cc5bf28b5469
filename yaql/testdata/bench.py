#!/usr/bin/python3
"""Prints the milliseconds that the real YAQL takes for a query over 10,000 maps."""
import sys
import time

sys.path.insert(0, "/usr/lib/python3/dist-packages")
import yaql  # noqa: E402
from yaql.language import factory  # noqa: E402

data = [{"uuid": "node-%d" % i, "state": "down" if i % 3 == 0 else "up", "cpus": i % 64, "ram": i} for i in range(10000)]
query = factory.YaqlFactory().create(options={"yaql.limitIterators": 100000})(sys.argv[1])
context = yaql.create_context()
start = time.perf_counter()
query.evaluate(data=data, context=context.create_child_context())
print((time.perf_counter() - start) * 1000)
