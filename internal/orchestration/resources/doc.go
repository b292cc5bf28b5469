// Package resources holds the resource types of Heat, one file a type. A type is data (properties,
// attributes) and a few functions that make the next step of creating, updating or deleting one resource.
//
// Steps never block: they start something and say what to wait for, and are called again. They are
// re-entrant: after a crash the same step runs again, so what it makes is named deterministically or
// looked up before it is made, and its id is saved at once (Resource.Save).
package resources
