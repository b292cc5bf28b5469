#!/usr/bin/python3
"""Asks the real Heat what its template language does and writes the answers beside the questions.

  record.py            rewrites functions.json, params.json, templates.json, environments.json and versions.json

It needs Debian's python3-heat (Zed) on the path and talks to nothing: stacks are built in memory, the
attributes of resources come from frame.yaml. The Go tests read only the .json files, so CI needs no Heat.

functions.txt: "@ VERSION" chooses the template version of the lines that follow; a line is an expression
in YAML flow style, with "? " before it when it stands in the conditions section. frame.yaml is the
template around it. params.txt: declarations of a parameter and values given to it. templates.txtar and environments.txtar: one case a file.
"""
import copy
import json
import os
import sys
import warnings

warnings.simplefilter("ignore")
from oslo_config import cfg  # noqa: E402
from heat.common import config  # noqa: E402,F401
from heat.common import context  # noqa: E402
from heat.common import environment_format  # noqa: E402
from heat.common import environment_util  # noqa: E402
from heat.common import template_format  # noqa: E402
from heat.engine import attributes  # noqa: E402
from heat.engine import conditions  # noqa: E402
from heat.engine import environment  # noqa: E402
from heat.engine import function  # noqa: E402
from heat.engine import node_data  # noqa: E402
from heat.engine import resources  # noqa: E402
from heat.engine import service  # noqa: E402,F401
from heat.engine import stack as parser  # noqa: E402
from heat.engine import template  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
STACK_ID = "11111111-2222-3333-4444-555555555555"


class Attrs(dict):
    """Attributes of a resource; a tuple asks for a path into one."""

    def get(self, key, default=None):
        if isinstance(key, tuple):
            return attributes.select_from_attribute(self.get(key[0]), key[1:])
        return dict.get(self, key, default)

    def __getitem__(self, key):
        return self.get(key)


def read(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as f:
        return f.read()


def write(name, rows):
    lines = [json.dumps(k, ensure_ascii=False) + ": " + json.dumps(v, ensure_ascii=False) for k, v in rows.items()]
    with open(os.path.join(HERE, name), "w", encoding="utf-8") as f:
        f.write("{\n" + ",\n".join(lines) + "\n}\n")


def txtar(name):
    out, at = {}, None
    for line in read(name).splitlines(keepends=True):
        if line.startswith("-- ") and line.rstrip().endswith(" --"):
            at = line.strip()[3:-3]
            out[at] = ""
        elif at is not None:
            out[at] += line
    return out


def ctx():
    return context.RequestContext(user_id="user", username="user", project_id="the-project",
                                  password="", auth_url="http://127.0.0.1:1", roles=[], is_admin=False,
                                  auth_token="x", show_deleted=False)


def fault(e):
    return {"error": type(e).__name__, "text": str(e).strip()[:300]}


def make_stack(data, env=None, files=None):
    t = template.Template(data, files=files or {}, env=environment.Environment(env or {}))
    return parser.Stack(ctx(), "the-stack", t, stack_id=STACK_ID, tenant_id="the-project", use_stored_context=False)


def no_database():
    """Stacks in memory have no rows."""
    parser.resource_objects.Resource.get_all_by_stack = classmethod(lambda *a, **k: {})


def build_frame(version):
    frame = template_format.yaml.load(read("frame.yaml"), Loader=template_format.yaml_loader)
    if version == "cfn":
        data = {"AWSTemplateFormatVersion": "2010-09-09"}
    elif version == "heat-cfn":
        data = {"HeatTemplateFormatVersion": "2012-12-12"}
    else:
        data = {"heat_template_version": version}
    kind = "cfn" if "cfn" in version else "hot"
    data.update(copy.deepcopy(frame[kind]))
    if version == "heat-cfn" or version in ("2013-05-23", "2014-10-16", "2015-04-30", "2015-10-15", "2016-04-08"):
        data.pop("conditions", None)
        data.pop("Conditions", None)
    stk = make_stack(data, files=frame["files"])
    for name, r in frame["attributes"].items():
        nd = node_data.NodeData(1, name, "uuid-" + name, "id-of-" + name, Attrs(r), "CREATE", "COMPLETE")
        parser.stk_defn.update_resource_data(stk.defn, name, nd)
    return stk


def functions():
    rows, version, frames = {}, None, {}
    for line in read("functions.txt").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("@ "):
            version = line[2:].strip()
            continue
        if version not in frames:
            frames[version] = build_frame(version)
        stk = frames[version]
        cond = line.startswith("? ")
        snippet = template_format.yaml.load(line[2:] if cond else line, Loader=template_format.yaml_loader)
        stage = "parse"
        try:
            if cond:
                parsed = stk.t.parse_condition(stk.defn, snippet, "conditions.it")
                stage = "validate"
                c = conditions.Conditions({"it": parsed})
                c.validate()
                stage = "resolve"
                out = {"value": c.is_enabled("it")}
            else:
                parsed = stk.t.parse(stk.defn, snippet, "outputs.it.value")
                stage = "validate"
                function.validate(parsed)
                stage = "resolve"
                out = {"value": function.resolve(parsed)}
            json.dumps(out)
        except Exception as e:  # noqa: B902
            out = fault(e)
            out["stage"] = stage
        rows[version + " " + line] = out
    write("functions.json", rows)


def params():
    rows, version = {}, None
    for line in read("params.txt").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("@ "):
            version = line[2:].strip()
            continue
        text, arrow, value = line.partition(" <- ")
        decl = template_format.yaml.load(text, Loader=template_format.yaml_loader)
        env = {}
        if arrow:
            env = {"parameters": {"p": template_format.yaml.load(value, Loader=template_format.yaml_loader)}}
        data = {"heat_template_version": version, "parameters": {"p": decl}}
        if version == "cfn":
            data = {"AWSTemplateFormatVersion": "2010-09-09", "Parameters": {"p": decl}}
        try:
            stk = make_stack(data, env)
            stk.parameters.validate(validate_value=True, context=stk.context)
            out = {"value": stk.parameters["p"]}
            json.dumps(out)
        except Exception as e:  # noqa: B902
            out = fault(e)
        rows[version + " " + line] = out
    write("params.json", rows)


def templates():
    rows = {}
    for name, text in txtar("templates.txtar").items():
        env = {}
        first = text.split("\n", 1)[0]
        if first.startswith("#env "):
            env = environment_format.parse(first[5:])
        try:
            data = template_format.parse(text)
            stk = make_stack(data, env)
            stk.validate()
            out = {"parameters": {}, "resources": sorted(stk), "outputs": {}}
            for k, p in stk.parameters.params.items():
                if "::" not in k:
                    out["parameters"][k] = stk.parameters[k]
            for k, o in stk.outputs.items():
                out["outputs"][k] = o.get_value()
            json.dumps(out)
        except Exception as e:  # noqa: B902
            out = fault(e)
        rows[name] = out
    write("templates.json", rows)


def environments():
    rows = {}
    for name, text in txtar("environments.txtar").items():
        case = template_format.yaml.load(text, Loader=template_format.yaml_loader)
        try:
            t = template.Template({"heat_template_version": "queens", "parameters": case.get("schema") or {}})
            files = {str(i): (f if isinstance(f, str) else json.dumps(f)) for i, f in enumerate(case["files"])}
            params = {"parameters": {}, "parameter_defaults": {}, "resource_registry": {}, "event_sinks": [],
                      "encrypted_param_names": []}
            environment_util.merge_environments(sorted(files, key=int), files, params, t.all_param_schemata(files))
            env = environment.Environment(copy.deepcopy(params))
            out = {"parameters": params["parameters"], "parameter_defaults": params["parameter_defaults"],
                   "event_sinks": params["event_sinks"], "resolve": []}
            for typ, res in case.get("resolve") or []:
                # a look-up changes the registry, so each has its own
                own = environment.Environment(copy.deepcopy(params))
                try:
                    info = own.registry.get_resource_info(typ, res)
                    out["resolve"].append(info.value if isinstance(info.value, str) else info.name)
                except Exception:  # noqa: B902
                    out["resolve"].append("error")
            for res in case.get("hooks") or []:
                out["resolve"].append([h for h in ("pre-create", "pre-update", "pre-delete", "post-create")
                                       if env.registry.matches_hook(res, h)])
            for res in case.get("restricted") or []:
                out["resolve"].append(sorted(env.registry.get_rsrc_restricted_actions(res)))
            json.dumps(out)
        except Exception as e:  # noqa: B902
            out = fault(e)
        rows[name] = out
    write("environments.json", rows)


def versions():
    rows = {}
    for name, cls in sorted((n, c.plugin) for n, c in
                            ((m.name, m) for m in template._get_template_extension_manager())):
        removed = [f for f, c in cls.functions.items() if c.__name__ == "Removed"]
        rows[name] = {"functions": sorted(f for f in cls.functions if f not in removed), "removed": sorted(removed),
                      "conditions": sorted(cls.condition_functions)}
    write("versions.json", rows)


def main():
    cfg.CONF([], project="heat", default_config_files=[])
    cfg.CONF.set_override("limit_iterators", 20000, group="yaql")
    cfg.CONF.set_override("memory_quota", 64 << 20, group="yaql")
    no_database()
    resources.initialise()
    for step in (versions, functions, params, templates, environments):
        if len(sys.argv) < 2 or step.__name__ in sys.argv[1:]:
            step()


main()
