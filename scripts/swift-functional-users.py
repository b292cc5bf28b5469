"""Makes the projects and users that Swift's functional tests sign in as."""
import openstack

cloud = openstack.connect(cloud="undercloud")
identity = cloud.identity


def role(name):
    return identity.find_role(name) or identity.create_role(name=name)


def user(name, password, project, roles, domain="default"):
    found = identity.find_project(project, domain_id=domain)
    if found is None:
        found = identity.create_project(name=project, domain_id=domain)
    made = identity.create_user(name=name, password=password, domain_id=domain)
    for r in roles:
        identity.assign_project_role_to_user(found, made, role(r))


user("tester", "testing", "functional", ["member"])
user("tester2", "testing2", "functional2", ["member"])
user("tester3", "testing3", "functional", ["test_role"])
user("tester4", "testing4", "functional4", ["member"], identity.create_domain(name="functional-domain").id)
user("tester6", "testing6", "functional6", ["ResellerAdmin"])

# Those tests take the first two parts of the path for version and account.
service = identity.find_service("swift")
for e in identity.endpoints(service_id=service.id):
    identity.update_endpoint(e, url=e.url.replace("/object-store/", "/"))
