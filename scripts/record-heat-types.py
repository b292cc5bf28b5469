#!/usr/bin/python3
"""Records what resource types of Heat are: names, properties, attributes.

Run it where the package python3-heat is installed:
    scripts/record-heat-types.py > internal/orchestration/resources/types.json
Only facts are recorded (names, types, flags, defaults, constraints), no texts.
"""
import json
import sys

from heat.common import config  # noqa: F401
from heat.common import messaging
from heat.engine import constraints as con
from heat.engine import environment
from heat.engine import resources
from heat.engine import properties

FLAGS = (("required", "required"), ("update_allowed", "update"), ("immutable", "immutable"))


def limits(schema):
    out = {}
    for c in schema.constraints:
        if isinstance(c, con.AllowedValues):
            out["values"] = list(c.allowed)
        elif isinstance(c, con.Length):  # a kind of Range, so it comes first
            out["length"] = [c.min, c.max]
        elif isinstance(c, con.Range):
            out["range"] = [c.min, c.max]
        elif isinstance(c, con.AllowedPattern):
            out["pattern"] = c.pattern
        elif isinstance(c, con.CustomConstraint):
            out["custom"] = c.name
        elif isinstance(c, con.Modulo):
            out["modulo"] = [c.step, c.offset]
        else:
            sys.exit("constraint %r is unknown" % c)
    return out


def support(s):
    if s is None or s.status == "SUPPORTED":
        return {"since": s.version} if s is not None and s.version else {}
    out = {"status": s.status, "since": s.version}
    prev = s.previous_status
    if prev is not None:
        out["previous"] = support(prev)
    return out


def prop(name, schema):
    out = {"name": name, "type": schema.type.lower()}
    for attr, key in FLAGS:
        if getattr(schema, attr):
            out[key] = True
    if schema.default is not None:
        out["default"] = schema.default
    out.update(limits(schema))
    if schema.support_status.status != "SUPPORTED":
        out["support"] = support(schema.support_status)
    sub = schema.schema
    if sub is not None:
        names = list(sub)
        if names == ["*"]:
            out["items"] = prop("*", sub["*"])
        else:
            out["fields"] = [prop(k, sub[k]) for k in names]
    return out


def main():
    resources.initialise()
    env = resources.global_env()
    out = []
    for name in sorted(all_types(env)):
        cls = env.get_class(name)
        t = {"type": name, "client": cls.default_client_name or "", "support": support(cls.support_status)}
        if getattr(cls, "entity", None):
            t["entity"] = cls.entity
        if cls.required_service_extension:
            t["extension"] = cls.required_service_extension
        if cls.physical_resource_name_limit != 255:
            t["name_limit"] = cls.physical_resource_name_limit
        schema = properties.schemata(cls.properties_schema)
        t["props"] = [prop(k, v) for k, v in schema.items()]
        t["attrs"] = []
        for k, v in cls.attributes_schema.items():
            a = {"name": k}
            if v.type:
                a["type"] = v.type.lower()
            if v.support_status.status != "SUPPORTED":
                a["support"] = support(v.support_status)
            t["attrs"].append(a)
        t["policy"] = sorted(cls.update_policy_schema) if cls.update_policy_schema else []
        out.append(t)
    print("[")
    print(",\n".join(json.dumps({k: v for k, v in t.items() if v not in ("", [], {})}, sort_keys=False) for t in out))
    print("]")


def all_types(env):
    found = []

    def walk(registry):
        for k, v in registry.items():
            if k == "resources":
                continue
            if isinstance(v, dict):
                walk(v)
            elif "*" not in k:
                found.append(k)
    walk(env.registry._registry)
    return found


main()
