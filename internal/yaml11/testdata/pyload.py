"""Reads JSON {"docs": [text...]} on stdin; writes what PyYAML's SafeLoader makes of each, as JSON, dates as text."""
import json
import sys

import yaml


class Loader(yaml.SafeLoader):
    pass


Loader.add_constructor('tag:yaml.org,2002:timestamp', lambda loader, node: loader.construct_scalar(node))
Loader.add_constructor('tag:yaml.org,2002:value', lambda loader, node: loader.construct_scalar(node))
Loader.add_constructor('tag:yaml.org,2002:binary',
                       lambda loader, node: yaml.SafeLoader.construct_yaml_binary(loader, node).decode('latin1'))


def plain(v):
    if isinstance(v, bool) or v is None or isinstance(v, str):
        return v
    if isinstance(v, int):
        return v if -2**63 <= v < 2**63 else str(v)
    if isinstance(v, float):
        return {'float': repr(v)}
    if isinstance(v, dict):
        return {'map': [[key(k), plain(x)] for k, x in v.items()]}
    if isinstance(v, set):
        return {'map': sorted([key(k), None] for k in v)}
    return [plain(x) for x in v]


def key(k):
    if isinstance(k, (list, tuple, dict)):
        raise ValueError('container as key')
    return list(json.loads(json.dumps({k: 0})))[0]


out = []
for text in json.load(sys.stdin)['docs']:
    try:
        out.append({'ok': plain(yaml.load(text, Loader))})
    except Exception as e:
        out.append({'error': str(e)})
json.dump(out, sys.stdout)
