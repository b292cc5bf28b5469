// Package policy decides who may do what: rules in the language of
// oslo.policy, with which operators of OpenStack write their policy files.
//
// A rule is a boolean expression of checks:
//
//	""  @                      always
//	!                          never
//	role:admin                 the caller has the role (case does not matter)
//	rule:name                  another rule holds
//	user_id:%(target.user.id)s an attribute of the caller equals one of the target
//	'public':%(visibility)s    a literal equals an attribute of the target
//	not A, A and B, A or B, (A)
//
// An attribute that the target or the caller does not have equals nothing.
// Beside oslo.policy's attributes of the caller there is token_scope: project,
// domain, system or unscoped. The check "http:" is refused: a policy that asks
// somebody else would make every call depend on it.
//
// Language: https://docs.openstack.org/oslo.policy/latest/admin/policy-yaml-file.html.
package policy
