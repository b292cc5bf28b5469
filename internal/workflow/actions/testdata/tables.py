#!/usr/bin/python3
"""Turns a recording (record.py) into the tables of actions and the expected calls.

usage: tables.py RECORDING DIR; tables of projects that are not recorded stay. With - for RECORDING the tables in DIR are kept as
they are, and only repaired and laid over with overlay.json, which stands next to
this program. That file holds what no recording tells: rows written by hand, for
methods that look something up before they ask for what they are named for or that
differ by the API's version, and the names that are no actions, each with the reason.
"""
import json, re, sys, os, collections, fnmatch
again = sys.argv[1] == "-"; outdir = sys.argv[2]
rec = {} if again else json.load(open(sys.argv[1]))
HELP = re.compile(r"_(convert_into_with_meta|alternate_service_type|client|run_hooks|add_hook|write_to_completion_cache|completion_cache|build_url|_.*)$")
MUT = re.compile(r"(^|_)(create|update|delete|set|add|remove|put|post|unset|reset|start|stop|associate|disassociate|grant|revoke|store)(_|$)")
def astext(v):
    return isinstance(v, str) and re.fullmatch(r'"ZZ(.+)ZZ"', v)
def mark(v):
    """parameter whose marked argument v is"""
    if astext(v): return mark(json.loads(v))
    if isinstance(v, str):
        m = re.fullmatch(r"ZZ(.+)ZZ", v)
        return m.group(1) if m and "ZZ" not in m.group(1) else None
    if isinstance(v, dict) and len(v) == 1:
        k, = v
        if mark(k) and v[k] == k: return mark(k)
    if isinstance(v, list) and len(v) == 1 and isinstance(v[0], str): return mark(v[0])
    return None
def tmpl(v):
    p = mark(v)
    if p: return "{%s%s}" % (p, ":json" if astext(v) else "")
    if isinstance(v, dict): return {(re.sub(r"ZZ(.+?)ZZ", r"{\1}", k)): tmpl(x) for k, x in v.items()}
    if isinstance(v, list): return [tmpl(x) for x in v]
    if isinstance(v, str): return re.sub(r"ZZ(.+?)ZZ", r"{\1}", v)
    return v
def dirty(v): return "ZZ" in json.dumps(v) or "{Z" in json.dumps(v)
class Irregular(Exception): pass
def merge(cur, base, opt, name):
    """adds to the template cur what opt has more than base"""
    if isinstance(opt, dict) and isinstance(base, dict) and isinstance(cur, dict):
        if set(base) - set(opt): raise Irregular()
        for k, v in opt.items():
            if k in base:
                if base[k] == v: continue
                cur[k] = merge(cur[k], base[k], v, name)
            else:
                if mark(k): raise Irregular()
                t = tmpl(v)
                if v is None or not any("{%s%s}" % (name, x) in json.dumps(t) for x in ("", ":json")) or not isinstance(t, str):
                    # nested: all of it only with the parameter
                    if isinstance(t, dict) and list(t.values()) == ["{%s}" % name]: t = t
                    else: raise Irregular()
                if k in cur and cur[k] != t: raise Irregular()
                if isinstance(t, dict):
                    if cur.get(k + "?", t) != t: cur[k + "?"].update(t)
                    else: cur[k + "?"] = t
                else: cur[k] = t
        return cur
    if isinstance(opt, bool) and isinstance(base, bool): return "{%s|%s}" % (name, json.dumps(base))
    if mark(opt) == name:
        return "{%s%s|%s}" % (name, ":json" if astext(opt) else "", json.dumps(base))
    raise Irregular()
def query(q):
    out = []
    from urllib.parse import parse_qsl
    for k, v in parse_qsl(q, keep_blank_values=True): out.append((k, v))
    return out
rows = collections.defaultdict(list); skipped = {}; calls = []; inputs = {}
for name, r in sorted(rec.items()):
    service, action = name.split(".", 1)
    if HELP.search("_" + action) or action in ("get_version","httpclient"): continue
    if r.get("input") is None: continue
    b = r.get("base")
    inputs[name] = r["input"]
    def skip(why): skipped[name] = why
    if re.search(r"_(find|findall|head|get_contents_if_file|build_key_only_query)$", action): continue
    if not b:
        if not re.search(r"_(find|findall)$", action): skip(r.get("error") or "no request")
        continue
    if b["method"] == "GET" and MUT.search(action) and not re.search(r"(list|get|show|check|find)", action): skip("several requests"); continue
    if b["body"] in ("<stream>", "<binary>"): skip("stream"); continue
    kinds = {p: ("str" if isinstance(v, str) else "dict" if isinstance(v, dict) else "list" if isinstance(v, list) else "int") for p, v in r["args"].items()}
    if "int" in kinds.values(): skip("typed"); continue
    row = {"name": name, "input": r["input"], "method": b["method"], "path": tmpl(b["path"])}
    q = [(k, tmpl(v)) for k, v in query(b["query"])]
    body = tmpl(b["body"]) if b["body"] is not None else None
    text = json.dumps([row["path"], q, body])
    if "ZZ" in text: skip("marks split"); continue
    for p in r["args"]:
        if "{%s}" % p not in text: skip("argument %s is not sent" % p); break
    if name in skipped: continue
    bad, ignored, variants = [], [], []
    for p, o in r["opt"].items():
        try:
            if o["method"] != b["method"]: raise Irregular()
            if o["path"].rstrip("/") != b["path"].rstrip("/"): raise Irregular()
            bq, oq = dict(query(b["query"])), dict(query(o["query"]))
            if set(bq) - set(oq): raise Irregular()
            changed = False
            for k, v in oq.items():
                if bq.get(k) != v:
                    if mark(v) != p: raise Irregular()
                    q = [x for x in q if x[0] != k] + [(k, "{%s%s}" % (p, "|" + json.dumps(bq[k]) if k in bq else ""))]
                    changed = True
            if o["body"] != b["body"]:
                import copy
                c = copy.deepcopy(body)
                if c is None and mark(o["body"]) == p:
                    body = "{%s}" % p; continue
                if c is None:
                    if not isinstance(o["body"], dict): raise Irregular()
                    c = {}
                body = merge(c, b["body"] if b["body"] is not None else {}, o["body"], p); changed = True
            if not changed: ignored.append(p)
        except Irregular:
            if o["method"] == b["method"] and o["body"] == b["body"] and "ZZ" not in json.dumps([tmpl(o["path"]), tmpl(o["query"])]) and not re.search(r"Z,|Z%2C", o["query"]):
                bq, oq = dict(query(b["query"])), dict(query(o["query"]))
                row.setdefault("if", {})[p] = {"path": tmpl(o["path"]), "query": {k: tmpl(v) for k, v in oq.items() if bq.get(k) != v}}
            else: bad.append(p)
    e = r.get("extra")
    if "**" in r["input"]:
        if e and "ZZextraZZ" in e["query"]: row["extra"] = "query"
        elif e and isinstance(e["body"], dict):
            if e["body"].get("extra"): row["extra"] = "body"
            else:
                for k, v in e["body"].items():
                    if isinstance(v, dict) and v.get("extra"): row["extra"] = "body." + k
    spread = [p for k, v in q for p in [mark(k)] if p]
    if spread: row["spread"] = spread
    q = [x for x in q if not mark(x[0])]
    if q: row["query"] = dict(q)
    if body is not None: row["body"] = body
    if b["body"] is None and isinstance(body, dict): row["bare"] = True
    if b["key"] and b["key"] not in ("faultstring", "error"): row["key"] = b["key"]
    if bad: row["irregular"] = sorted(bad)
    if ignored: row["ignored"] = sorted(ignored)
    rows[service].append(row)
    calls.append({"name": name, "args": r["args"], "method": b["method"], "path": b["path"], "query": dict(query(b["query"])), "body": b["body"]})
LEFT_OUT = object()
def marked(v, args):
    """the request for the marked arguments: what the template v becomes"""
    if isinstance(v, dict): return {k.removesuffix("?"): x for k, x in ((k, marked(x, args)) for k, x in v.items()) if x is not LEFT_OUT and not (k.endswith("?") and x == {})}
    if isinstance(v, list): return [x for x in (marked(x, args) for x in v) if x is not LEFT_OUT]
    if not isinstance(v, str): return v
    m = re.fullmatch(r"\{(\w+)(?::json)?(?:\|(.*))?\}", v)
    if m: return args[m[1]] if m[1] in args else json.loads(m[2]) if m[2] else LEFT_OUT
    return re.sub(r"\{(\w+)\}", lambda m: str(args[m[1]]), v)
def required(row):
    return [p.strip() for p in re.sub(r"\[.*?\]", "", row["input"]).split(",") if p.strip() and "=" not in p and "*" not in p]
def repair(row, call):
    """mends what a recording without answers and without a session gets wrong"""
    key, last = row.get("key"), row["path"].rstrip("/").rsplit("/", 1)[-1]
    if key == "links":  # the client looks for the next page before it takes the items
        row["key"] = {"datastore-versions": "versions"}.get(last, last.replace("-", "_"))
    if key in ("self", "checksum", "id"): del row["key"]  # a field of the result, which is all of the answer
    if "**" in row["input"] and "extra" not in row:  # the client refuses a keyword that is none of the resource's
        if row.get("body") == {}: row["extra"] = "body"
        elif row["method"] == "GET": row["extra"] = "query"
        elif row.get("body") in ({"registry": {}},): row["extra"] = "body.registry"
    if "/None" not in row["path"]: return
    for p, v in list(row.get("if", {}).items()):  # the client's own user or project, or an argument that must be given
        if "/None" in v["path"]: continue
        row["path"] = v["path"]; del row["if"][p]
        if row["if"] == {}: del row["if"]
        own = {"user": "user", "member_id": "project"}.get(p)
        if own: row["caller"] = {p: own}
        call["args"][p] = "ZZ%sZZ" % p
        call["path"] = marked(row["path"], call["args"])
over = json.load(open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "overlay.json")))
calls = {c["name"]: c for c in calls}
for name in sorted(os.listdir(outdir)):  # what is not in the recording stays
    if name.removesuffix(".json") not in rows:
        rows[name.removesuffix(".json")] = json.load(open(outdir + "/" + name))
if os.path.exists(outdir + "/../testdata/calls.jsonl"):
    for c in map(json.loads, open(outdir + "/../testdata/calls.jsonl")):
        if not any(n.startswith(c["name"].split(".")[0] + ".") for n in rec): calls[c["name"]] = c
for service in rows:
    table = {r["name"]: r for r in rows[service]}
    for r in table.values(): repair(r, calls[r["name"]])
    for r in over["rows"]:
        if not r["name"].startswith(service + "."): continue
        r = dict(r); args = {p: "ZZ%sZZ" % p for p in required(r) + list(r.get("caller", {})) if p in json.dumps(r)}; args.update(r.pop("args", {})); sent = r.pop("sent", "")
        table[r["name"]] = r
        body = marked(r.get("body"), args)
        calls[r["name"]] = {"name": r["name"], "args": args, "method": r["method"], "path": sent or marked(r["path"], args),
            "query": marked(r.get("query", {}), args), "body": None if body is LEFT_OUT or r.get("bare") and not body else body}
    for n in list(table):
        if any(fnmatch.fnmatch(n, d) for d in over["drop"]): del table[n], calls[n]
    rows[service] = [table[n] for n in sorted(table)]
calls = [calls[n] for n in sorted(calls)]
os.makedirs(outdir, exist_ok=True)
for s, rr in rows.items():
    with open(f"{outdir}/{s}.json", "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(x, ensure_ascii=False) for x in rr) + "\n]\n")
with open(f"{outdir}/../testdata/calls.jsonl", "w") as f:
    for c in calls: f.write(json.dumps(c) + "\n")
for s in rows: print(s, len(rows[s]), "irregular", sum(1 for x in rows[s] if "irregular" in x), "skipped", sum(1 for k in skipped if k.startswith(s + ".")))
