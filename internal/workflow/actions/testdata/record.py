#!/usr/bin/python3
"""Records which request each method of OpenStack's Python clients sends.

Every method behind an action of Mistral is called with marked arguments and a
transport that answers nothing; what would have been sent, and which keys of the
answer are looked at, is written as JSON: {action: {input, base, opt, ...}}.

usage: record.py RECORDING; tables.py RECORDING DIR makes the tables of it, and
lays the rows of overlay.json, written by hand, over them.
It needs the clients (python3-novaclient, ...) and python3-mistral-lib.
"""
import inspect, json, sys, re, warnings, logging
warnings.simplefilter("ignore"); logging.disable(logging.CRITICAL)
import requests
from mistral_lib.utils import inspect_utils as iu

BASE = "http://base.test"
class Stop(BaseException): pass
class Magic(dict):
    def __init__(self, log): super().__init__(); self.log = log
    def __getitem__(self, k): self.log.append(k); raise Stop()
    def get(self, k, d=None): self.log.append(k); raise Stop()
    def pop(self, k, d=None): self.log.append(k); raise Stop()
    def __contains__(self, k): return True
    def __bool__(self): return True

LOG = {}
MARK = '{"__magic__": 1}'
real_loads = json.loads
def loads(s, *a, **k):
    t = s.decode() if isinstance(s, bytes) else s
    if t == MARK: return Magic(LOG["keys"])
    return real_loads(s, *a, **k)
json.loads = loads

def send(self, req, **kw):
    if LOG["request"] is not None:
        LOG["more"] = True
        raise Stop()
    body = req.body
    if isinstance(body, bytes):
        try: body = body.decode()
        except Exception: body = "<binary>"
    if body is not None and not isinstance(body, str): body = "<stream>"
    LOG["request"] = (req.method, req.url, body, dict(req.headers))
    r = requests.Response()
    r.status_code = LOG.get("status", 200)
    r._content = MARK.encode(); r.url = req.url; r.request = req
    r.headers["Content-Type"] = "application/json"
    r.headers["location"] = BASE + "/loc"
    r.json = lambda **k: Magic(LOG["keys"])
    return r
requests.Session.send = send

from keystoneauth1 import session as kss, token_endpoint
def sess(ep=BASE): return kss.Session(auth=token_endpoint.Token(ep, "t"))

def clients():
    out = {}
    def add(name, f):
        try: out[name] = f()
        except BaseException as e: print("client", name, repr(e)[:200], file=sys.stderr)
    import novaclient.client
    add("nova", lambda: novaclient.client.Client("2.1", session=sess(), endpoint_override=BASE))
    import glanceclient
    add("glance", lambda: glanceclient.Client("2", endpoint=BASE, session=sess()))
    import keystoneclient.v3.client as ks
    add("keystone", lambda: ks.Client(session=sess(), endpoint_override=BASE))
    import heatclient.client as hc
    add("heat", lambda: hc.Client("1", session=sess(), endpoint_override=BASE))
    import neutronclient.v2_0.client as nc
    add("neutron", lambda: nc.Client(session=sess(), endpoint_override=BASE))
    import cinderclient.client as cc
    add("cinder", lambda: cc.Client("3.0", session=sess(), endpoint_override=BASE))
    import ironicclient.v1.client as ic
    add("ironic", lambda: ic.Client(session=sess(), endpoint_override=BASE, os_ironic_api_version="1.34"))
    import mistralclient.api.v2.client as mc
    add("mistral", lambda: mc.Client(mistral_url=BASE, session=sess()))
    def insp():
        import ironic_inspector_client as ii
        from ironic_inspector_client.common import http as h
        h.BaseClient.server_api_versions = lambda x: ((1, 0), (1, 18))
        return ii.v1.ClientV1(session=sess(), inspector_url=BASE)
    add("baremetal_introspection", insp)
    def barb():
        import barbicanclient.client as b
        return b.Client(session=sess(), endpoint=BASE, project_id="p")
    add("barbican", barb)
    def desig():
        import designateclient.v2.client as d
        return d.Client(session=sess(), endpoint_override=BASE)
    add("designate", desig)
    def trove():
        import troveclient.v1.client as d
        c = d.Client("u", "p", project_id="x", auth_url=BASE); c.client.auth_token = "t"; c.client.management_url = BASE; return c
    add("trove", trove)
    def magnum():
        import magnumclient.v1.client as d
        return d.Client(session=sess(), endpoint_override=BASE)
    add("magnum", magnum)
    def aodh():
        import aodhclient.v2.client as d
        return d.Client(session=sess(), endpoint_override=BASE)
    add("aodh", aodh)
    def gnocchi():
        import gnocchiclient.v1.client as d
        return d.Client(adapter_options={"endpoint_override": BASE}, session_options={"auth": token_endpoint.Token(BASE, "t")})
    add("gnocchi", gnocchi)
    def manila():
        import manilaclient.client as d, manilaclient
        return d.Client(manilaclient.API_MAX_VERSION, input_auth_token="t", service_catalog_url=BASE)
    add("manila", manila)
    def vitrage():
        import vitrageclient.v1.client as d
        return d.Client(session=sess(), endpoint_override=BASE)
    add("vitrage", vitrage)
    def zun():
        import zunclient.v1.client as d
        return d.Client(session=sess(), endpoint_override=BASE)
    add("zun", zun)
    def tacker():
        import tackerclient.v1_0.client as d
        return d.Client(endpoint_url=BASE, token="t", auth_strategy="noauth")
    add("tacker", tacker)
    return out

def methods(service, c):
    """(action, bound method)"""
    if service in ("neutron", "tacker", "baremetal_introspection"):
        for n in dir(c):
            if n.startswith("_"): continue
            m = getattr(c, n)
            if callable(m) and inspect.ismethod(m) or hasattr(m, "__wrapped__"):
                yield n, m
        if service == "baremetal_introspection":
            for n in dir(c.rules):
                if not n.startswith("_") and callable(getattr(c.rules, n)): yield "rules_" + n, getattr(c.rules, n)
        return
    for mgr_name in dir(c):
        if mgr_name.startswith("_"): continue
        try: mgr = getattr(c, mgr_name)
        except BaseException: continue
        if callable(mgr) and not hasattr(mgr, "list") and not hasattr(mgr, "get"): continue
        if isinstance(mgr, (str, int, dict, list, type(None))): continue
        if "client" not in type(mgr).__module__ or type(mgr).__name__ in ("SessionClient", "HTTPClient", "Client"): continue
        for n in dir(mgr):
            if n.startswith("_"): continue
            try: m = getattr(mgr, n)
            except BaseException: continue
            if inspect.ismethod(m) or inspect.isfunction(m):
                yield mgr_name + "_" + n, m

def call(m, kwargs):
    LOG.clear(); LOG.update(request=None, keys=[], more=False)
    err = None
    try:
        r = m(**kwargs)
        if inspect.isgenerator(r): next(r)
    except Stop: pass
    except BaseException as e: err = repr(e)[:120]
    return (dict(LOG), err)

def sentinel(name, kind):
    s = "ZZ" + name + "ZZ"
    return {"str": s, "dict": {s: s}, "list": [s], "true": True, "false": False, "int": 424242}[kind]

def try_required(m, req):
    import itertools
    combos = [["str"] * len(req)]
    for i in range(len(req)):
        for k in ("dict", "list", "int"):
            c = ["str"] * len(req); c[i] = k; combos.append(c)
    if len(req) == 2: combos += [list(x) for x in itertools.product(("dict", "list", "str"), repeat=2)]
    first_err = None
    for c in combos:
        kw = {n: sentinel(n, k) for n, k in zip(req, c)}
        log, err = call(m, kw)
        if log["request"]: return kw, log, err
        first_err = first_err or err
    return None, None, first_err

def norm(log):
    method, url, body, headers = log["request"]
    assert url.startswith(BASE), url
    path, _, query = url[len(BASE):].partition("?")
    try: body = real_loads(body) if body else None
    except Exception: pass
    return {"method": method, "path": path, "query": query, "body": body, "key": (log["keys"] or [""])[0], "more": log["more"]}

def record(m):
    try: arg_list = iu.get_arg_list_as_str(m)
    except BaseException as e: return {"input": None, "error": "input: " + repr(e)[:100]}
    out = {"input": arg_list}
    try: sig = inspect.signature(m)
    except Exception as e: out["error"] = repr(e); return out
    if arg_list.split(",")[0] == "obj":  # a decorated method: what it decorates
        def one(p):
            if p.kind == p.VAR_KEYWORD: return "**" + p.name
            if p.default is p.empty: return p.name
            try: d = json.dumps(p.default)
            except TypeError: d = "null"
            return p.name + "=" + d
        out["input"] = ", ".join(one(p) for p in sig.parameters.values())
    req = [p.name for p in sig.parameters.values() if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    opt = [p.name for p in sig.parameters.values() if p.default is not p.empty]
    kwargs = any(p.kind == p.VAR_KEYWORD for p in sig.parameters.values())
    kw, log, err = try_required(m, req)
    if kw is None: out["error"] = err or "no request"; return out
    out["args"] = kw
    out["base"] = norm(log)
    out["opt"] = {}
    for o in opt:
        best = None
        default = sig.parameters[o].default
        for k in (("false",) if default is True else ()) + ("str", "list", "int", "dict", "true"):
            a = dict(kw); a[o] = sentinel(o, k)
            log, err = call(m, a)
            if not log["request"]: continue
            n = norm(log)
            if k == "int":
                n = json.loads(json.dumps(n).replace('"424242"', '"ZZ%sZZ"' % o).replace("=424242", "=ZZ%sZZ" % o).replace("424242", '"ZZ%sZZ"' % o))
            seen = ("ZZ%sZZ" % o) in json.dumps(n)
            if k == "false" and not seen and n != out["base"]: best = (2, n); break
            score = 2 if seen else 1 if n != out["base"] else 0
            if k == "dict" and seen and not any(x in json.dumps(n) for x in ('{"ZZ%sZZ": "ZZ%sZZ"}' % (o, o),)): score = 1
            if best is None or score > best[0]: best = (score, n)
            if score == 2: break
        if best: out["opt"][o] = best[1]; out["opt"][o]["default"] = default if isinstance(default, (bool, int, str, type(None))) else None
    if kwargs:
        a = dict(kw); a["extra"] = "ZZextraZZ"
        log, err = call(m, a)
        if log["request"]: out["extra"] = norm(log)
        else: out["extra_error"] = err
    return out

res = {}
for service, c in clients().items():
    n = 0
    for action, m in methods(service, c):
        try: res[service + "." + action] = record(m); n += 1
        except BaseException as e: res[service + "." + action] = {"error": repr(e)[:200]}
    print(service, n, sum(1 for k, v in res.items() if k.startswith(service + ".") and "base" in v), file=sys.stderr)
json.dump(res, open(sys.argv[1], "w"), indent=1, sort_keys=True, default=str)
