#!/usr/bin/python3
"""Configures tempest for an undercloud, runs one suite and counts.

Called by tempest.sh. Exit status 1 when a test failed that the suite's skip
file does not name.
"""

import argparse
import collections
import configparser
import logging
import os
import re
import socket
import sys
import time
import traceback
import unittest

import yaml

# The suites: name -> prefixes of the modules their tests are in.
SUITES = {
    "identity": ["tempest.api.identity", "keystone_tempest_plugin"],
    "image": ["tempest.api.image", "glance_tempest_plugin"],
    "object_storage": ["tempest.api.object_storage"],
    "messaging": ["zaqar_tempest_plugin"],
    "compute": ["tempest.api.compute"],
    "network": ["tempest.api.network", "neutron_tempest_plugin.api"],
    "baremetal": ["ironic_tempest_plugin.tests.api"],
    "orchestration": ["heat_tempest_plugin"],
    "workflow": ["mistral_tempest_tests"],
}


class Prepared:
    """What tests take for granted in a cloud: an image, flavors, a network."""

    def __init__(self, cloud):
        import openstack

        with open(os.environ["OS_CLIENT_CONFIG_FILE"], encoding="utf-8") as f:
            cloud = cloud or next(iter(yaml.safe_load(f)["clouds"]))
        self.conn = openstack.connect(cloud=cloud)

    def image(self, name):
        image = self.conn.image.create_image(
            name=name, disk_format="raw", container_format="bare", visibility="public", data=b"\0" * 4096, allow_duplicates=True
        )
        return image.id

    def flavor(self, name, ram):
        return self.conn.compute.create_flavor(name=name, ram=ram, vcpus=1, disk=1).id

    def fixed_network(self, name, subnet):
        """The network that servers of Heat's tests are on."""
        net = self.conn.network.create_network(name=name, shared=True)
        self.conn.network.create_subnet(network_id=net.id, name=subnet, ip_version=4, cidr="10.99.0.0/22")

    def keypair(self, name):
        return self.conn.compute.create_keypair(name=name).name

    def nodes(self, count):
        """Machines of the fake driver, for tests that look at a server but not into it."""
        made = []
        for i in range(count):
            node = self.conn.baremetal.create_node(
                name=f"fake-{i}", driver="fake-hardware", resource_class="baremetal",
                properties={"memory_mb": 4096, "cpus": 4, "local_gb": 40, "cpu_arch": "x86_64"},
            )
            for nic in range(4):
                self.conn.baremetal.create_port(node_id=node.id, address=f"52:54:00:fa:{i:02x}:{nic:02x}")
            made.append(node.id)
        for target in "manage", "provide":
            for node in made:
                self.conn.baremetal.set_node_provision_state(node, target, wait=True, timeout=60)

    def public_network(self):
        net = self.conn.network.create_network(name="public", **{"router:external": True})
        self.conn.network.create_subnet(
            name="public-subnet", network_id=net.id, ip_version=4, cidr="203.0.113.0/24", enable_dhcp=False
        )
        return net.id


def config(args):
    """The sections of tempest.conf."""
    with open(args.clouds, encoding="utf-8") as f:
        cloud = yaml.safe_load(f)["clouds"]["undercloud"]
    auth = cloud["auth"]
    uri = args.url + "/identity/v3"
    user, password, project = auth["username"], auth["password"], auth["project_name"]
    region = cloud.get("region_name", "regionOne")
    locks = os.path.join(args.work, "locks")
    # An address that refuses connections at once and one server of ours are
    # all a test may reach: nothing leaves this machine.
    sections = {
        "DEFAULT": {"debug": "true", "log_file": os.path.join(args.work, "tempest.log"), "use_stderr": "false"},
        "oslo_concurrency": {"lock_path": locks},
        "auth": {
            "use_dynamic_credentials": "true",
            "admin_username": user,
            "admin_password": password,
            "admin_project_name": project,
            "admin_domain_name": "Default",
            "create_isolated_networks": "false",
            # Tests of roles give each persona its own; elsewhere a user is a member.
            "tempest_roles": "" if args.suite in ("identity", "image") else "member",
        },
        "identity": {
            "uri_v3": uri,
            "auth_version": "v3",
            "region": region,
            "v3_endpoint_type": "publicURL",
            "default_domain_id": "default",
            "user_lockout_failure_attempts": "3",
            "user_lockout_duration": "5",
            "user_unique_last_password_count": "3",
        },
        "identity-feature-enabled": {
            "api_v2": "false",
            "api_v2_admin": "false",
            "api_v3": "true",
            "trust": "true",
            "security_compliance": "true" if args.suite == "identity" else "false",
            "domain_specific_drivers": "true",
            "project_tags": "true",
            "application_credentials": "true",
            "access_rules": "true",
            "federation": "false",
            "external_idp": "false",
            "enforce_scope": "true",
        },
        "enforce_scope": {"keystone": "true", "glance": "true"},
        "image": {
            "http_image": args.url + "/healthz",
            "container_formats": "bare,ami,ari,aki,ovf,ova",
            "disk_formats": "raw,qcow2,iso,vmdk,vhd,vhdx,vdi,ami,ari,aki",
        },
        "image-feature-enabled": {
            "api_v2": "true",
            "api_v1": "false",
            "import_image": "true",
            "os_glance_reserved": "true",
            "manage_locations": "false",
        },
        "object-storage": {"operator_role": "member", "reseller_admin_role": "ResellerAdmin"},
        "object-storage-feature-enabled": {
            "container_sync": "false",
            "object_versioning": "true",
            "discoverability": "true",
            "discoverable_apis": "all",
        },
        "compute": {"build_interval": "1", "build_timeout": "60"},
        "compute-feature-enabled": {"enable_instance_password": "false", "vnc_console": "false", "console_output": "false", "resize": "false"},
        "validation": {"run_validation": "false"},
        "network": {"project_network_cidr": "10.100.0.0/16"},
        "service_available": {
            "cinder": "false",
            "neutron": "true",
            "glance": "true",
            "swift": "true",
            "nova": "true",
            "horizon": "false",
            "zaqar": "true",
            "heat": "true",
            "heat_plugin": "true",
            "mistral": "true",
            "ironic": "true",
        },
        "messaging": {"catalog_type": "messaging"},
        "baremetal": {
            "driver": "fake-hardware",
            "max_microversion": "1.81",
            "enabled_hardware_types": "fake-hardware,ipmi,redfish",
            "enabled_rescue_interfaces": "no-rescue,fake",
            "enabled_bios_interfaces": "fake,no-bios",
            "enabled_deploy_interfaces": "fake,direct,ramdisk",
            "adoption": "true",
        },
        "workflow": {"catalog_type": "workflowv2"},
        "heat_plugin": {
            "username": user,
            "password": password,
            "admin_username": user,
            "admin_password": password,
            "project_name": project,
            "admin_project_name": project,
            "auth_url": uri,
            "auth_version": "3",
            "user_domain_name": "Default",
            "project_domain_name": "Default",
            "user_domain_id": "default",
            "project_domain_id": "default",
            "region": region,
            "build_interval": "1",
            "build_timeout": "90",  # a stack in the tests times out after a minute
        },
    }
    if args.suite in ("compute", "orchestration", "baremetal", "workflow"):
        cloud = Prepared("undercloud")
        image, alt = cloud.image("tempest"), cloud.image("tempest-alt")
        flavor, big = cloud.flavor("tempest", 64), cloud.flavor("tempest-alt", 128)
        sections["compute"] |= {"image_ref": image, "image_ref_alt": alt, "flavor_ref": flavor, "flavor_ref_alt": big}
        sections["heat_plugin"] |= {
            "image_ref": image,
            "minimal_image_ref": image,
            "instance_type": big,
            "minimal_instance_type": flavor,
        }
    if args.suite == "network":
        Prepared("undercloud").nodes(1)  # a host to bind ports to
    if args.suite == "compute":
        cloud.fixed_network("compute-net", "compute-subnet")
        cloud.nodes(16)
        sections["compute"] |= {"fixed_network_name": "compute-net", "max_microversion": "2.93"}
    if args.suite == "orchestration":
        cloud.fixed_network("heat-net", "heat-subnet")
        cloud.nodes(8)
        sections["heat_plugin"]["keypair_name"] = cloud.keypair("heat-key")
    if args.suite == "object_storage":
        Prepared("undercloud").conn.identity.create_role(name="ResellerAdmin")
    if args.suite in ("network", "orchestration"):
        aliases = [e.alias for e in Prepared("undercloud").conn.network.extensions()]
        sections["network-feature-enabled"] = {"api_extensions": ",".join(aliases), "ipv6": "true", "ipv6_subnet_attributes": "true"}
        sections["neutron_plugin_options"] = {"create_shared_resources": "true", "available_type_drivers": "flat,vlan,local", "max_mtu": "65535"}
        sections["network"]["public_network_id"] = Prepared("undercloud").public_network()
        sections["heat_plugin"]["floating_network_name"] = "public"
    sections["network"]["floating_network_name"] = "public"
    return sections


def write_config(args):
    parser = configparser.ConfigParser(interpolation=None, default_section="no-defaults")
    for section, values in config(args).items():
        parser[section] = values
    extra = os.path.join(os.path.dirname(args.skip), args.suite + ".conf")
    if os.path.exists(extra):
        parser.read(extra)
    path = os.path.join(args.work, "tempest.conf")
    with open(path, "w", encoding="utf-8") as f:
        parser.write(f)
    os.environ["TEMPEST_CONFIG_DIR"] = args.work
    os.environ["TEMPEST_CONFIG"] = "tempest.conf"
    os.environ.setdefault("OS_TEST_TIMEOUT", "180")


def complete_plugin(args):
    """Debian's mistral-tempest-plugin lacks the files its tests upload: a copy of it with ours comes first."""
    import importlib.util
    import shutil

    name = "mistral_tempest_tests"
    found = importlib.util.find_spec(name)
    if found is None:
        return
    source = os.path.dirname(found.origin)
    if os.path.isdir(os.path.join(source, "tests", "resources")):
        return
    top = os.path.join(args.work, "plugins")
    shutil.copytree(source, os.path.join(top, name))
    shutil.copytree(os.path.join(os.path.dirname(args.skip), args.suite), os.path.join(top, name, "tests", "resources"))
    sys.path.insert(0, top)
    importlib.invalidate_caches()


def no_pause():
    """Tempest waits ten seconds before it deletes a subnet, for agents that take ports down late; we have none."""
    import types

    from tempest.lib.services.network import subnets_client

    subnets_client.time = types.SimpleNamespace(sleep=lambda seconds: None)


def discover(prefixes):
    """Yields the tests of the modules under the prefixes."""
    import importlib
    import pkgutil

    loader = unittest.TestLoader()
    for prefix in prefixes:
        try:
            package = importlib.import_module(prefix)
        except ModuleNotFoundError:
            print(f"note: {prefix} is not installed here", file=sys.stderr)
            continue
        for info in pkgutil.walk_packages(package.__path__, prefix + "."):
            last = info.name.rsplit(".", 1)[1]
            if not last.startswith("test_"):
                continue
            module = importlib.import_module(info.name)
            if info.name.endswith(".test_heat_api"):  # Heat's API tests are gabbi files, which only load_tests finds
                module.fixtures.AuthenticationFixture().start_fixture()  # the suites that would do it are flattened here
                yield from flatten(module.load_tests(loader, unittest.TestSuite(), None))
                continue
            # Not loadTestsFromModule: a module's load_tests narrows by configuration we want to see as skips.
            for cls in vars(module).values():
                if isinstance(cls, type) and issubclass(cls, unittest.TestCase) and cls.__module__ == info.name:
                    yield from flatten(loader.loadTestsFromTestCase(cls))


def flatten(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flatten(test)
        else:
            yield test


def read_skips(path):
    """The lines of a skip file: a regular expression, '#', and the reason."""
    out = []
    if not os.path.exists(path):
        return out
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            pattern, _, reason = line.partition(" # ")
            if not reason.strip():
                sys.exit(f"{path}:{number}: no reason; expected: REGEX # why")
            out.append((re.compile(pattern.strip()), reason.strip()))
    return out


class Result(unittest.TestResult):
    """Counts, and writes what happened as it happens."""

    def __init__(self, log):
        super().__init__()
        self.log, self.began = log, 0.0
        self.outcomes = collections.defaultdict(list)

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()

    def note(self, outcome, test, text=""):
        name = test.id() if hasattr(test, "id") else str(test)
        took = time.monotonic() - self.began if self.began else 0.0
        self.outcomes[outcome].append(name)
        print(f"{outcome:5} {took:6.2f}s {name}", file=self.log)
        if text:
            print("      " + text.rstrip().replace("\n", "\n      "), file=self.log)
        self.log.flush()

    @staticmethod
    def text(err, details):
        if details:
            return "\n".join(
                c.as_text() for n, c in details.items() if n.startswith("traceback") or n == "reason"
            )
        return "".join(traceback.format_exception(*err)) if err else ""

    def addSuccess(self, test, details=None):
        self.note("ok", test)

    def addError(self, test, err=None, details=None):
        self.note("FAIL", test, self.text(err, details))

    addFailure = addError

    def addSkip(self, test, reason=None, details=None):
        if details and "reason" in details:
            reason = details["reason"].as_text()
        self.note("skip", test, reason or "")

    def addExpectedFailure(self, test, err=None, details=None):
        self.note("ok", test)

    def addUnexpectedSuccess(self, test, details=None):
        self.note("FAIL", test, "succeeded unexpectedly")


def main():
    p = argparse.ArgumentParser()
    for name in ("suite", "url", "clouds", "work", "skip", "log", "regex"):
        p.add_argument("--" + name, required=name != "regex", default="")
    args = p.parse_args()
    if args.suite not in SUITES:
        sys.exit(f"suite is {args.suite!r}, expected one of {', '.join(SUITES)}")
    socket.setdefaulttimeout(120)
    os.environ["OS_CLIENT_CONFIG_FILE"] = args.clouds
    if args.suite == "workflow":
        complete_plugin(args)
    write_config(args)
    if args.suite == "network":
        no_pause()
    logging.captureWarnings(True)
    pattern, skips = re.compile(args.regex), read_skips(args.skip)

    excluded, tests = collections.Counter(), []
    for test in discover(SUITES[args.suite]):
        if not pattern.search(test.id()):
            continue
        reason = next((why for rx, why in skips if rx.search(test.id())), None)
        if reason is None:
            tests.append(test)
        else:
            excluded[reason] += 1
    with open(args.log, "w", encoding="utf-8") as log:
        result = Result(log)
        unittest.TestSuite(tests).run(result)
        counts = {k: len(result.outcomes[k]) for k in ("ok", "FAIL", "skip")}
        summary = (
            f"tempest {args.suite}: {counts['ok']} passed, {counts['FAIL']} failed, "
            f"{counts['skip']} skipped by tempest, {sum(excluded.values())} excluded"
        )
        lines = [f"excluded {n:4}: {why}" for why, n in excluded.most_common()]
        print("\n".join([*lines, summary]), file=log)
    for name in result.outcomes["FAIL"]:
        print("FAIL", name)
    print(summary)
    print("log:", args.log)
    return 1 if counts["FAIL"] or not tests else 0


if __name__ == "__main__":
    sys.exit(main())
