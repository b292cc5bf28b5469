// Package objectstore is Swift v1: accounts, containers and objects.
//
// What is known about an object is a row. Its body lies under a key of its own
// that is never used again: a small one in a table beside the row, so that a
// PUT is one transaction; a large one in the blob store. A body is written
// first and named by a row second. Until the row commits, and again when an
// object is replaced or deleted, the key stands in objectstore_garbage, so
// whatever a crash leaves is found without searching.
//
// Versions (X-Versions-Enabled) are rows of objectstore_versions beside the
// current ones, so that listings of what is current stay as fast as without;
// the two older modes move rows to another container. Neither copies a body.
//
// A GET or HEAD with If-None-Match and X-Long-Poll: SECONDS (at most 120) is
// answered when the object differs from the ETag given, with 304 when the time
// is over: so agents learn of new metadata at once. Every change is announced
// on the notify topics objectstore/ACCOUNT/CONTAINER and
// objectstore/ACCOUNT/CONTAINER/OBJECT.
//
// API reference: https://docs.openstack.org/api-ref/object-store/.
package objectstore
