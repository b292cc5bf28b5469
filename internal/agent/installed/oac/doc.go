// Package oac is os-apply-config: templates below one folder, rendered over the node's metadata, become the files of the
// same paths. A template is Mustache text, or a program that gets the metadata as JSON on its standard input and prints the
// file. Beside it FILE.oac may say how the file has to be: mode, owner, group, allow_empty. Everything is rendered before
// anything is written, so a template that fails changes nothing.
package oac
