// Package identity is Keystone v3: who may call, in which project, with which
// roles, and where the services are.
//
// Tokens are JWS signed with ES256 (auth.Tokens): every service checks them
// without asking here. What ends a token before its time (a logout, another
// password, a lost role, a deleted project) is a revocation: a row, and an
// entry in the memory of each process.
//
// Domains, projects, users, groups, roles, services, endpoints, regions and
// credentials are alike and share one engine, entity; the tables of their
// fields are in entities.go. Trusts, application credentials and assignments
// have files of their own.
//
// API reference: https://docs.openstack.org/api-ref/identity/v3/.
package identity
