// Package deployment is tripleo-common: the `tripleo.*` actions that the workflow service offers, and the
// built-in workbooks that put them in order.
//
// An action is a function from named inputs to a value. It reaches Swift, Heat, Ironic and the rest through the
// session of the caller, over REST like anybody else. A plan is a Swift container with the header
// X-Container-Meta-Usage-Tripleo: plan; its plan-environment.yaml says what is deployed, and is mirrored as a
// Mistral environment of the same name.
package deployment
