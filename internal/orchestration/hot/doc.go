// Package hot is the Heat Orchestration Template language: templates, intrinsic functions, parameters,
// environments and the dependency graph they imply.
//
// It is pure: no I/O, no clock, no goroutines. A template is parsed once into expressions that keep their
// file, line and column; an Evaluator computes them against a Scope that answers for parameters,
// resources, attributes and files. What is not known yet (an attribute of a resource that does not exist)
// is an Unknown, which functions pass on, so the same code validates, previews and runs.
//
// Reference: the HOT specification of Heat
// (https://docs.openstack.org/heat/latest/template_guide/hot_spec.html); where that is silent, the
// behaviour of Heat's code, cited at the place.
package hot
