// Package image is Glance v2: images with their properties, and their data.
//
// States and what moves between them:
//
//	queued --upload--> saving --done--> active <--> deactivated
//	queued --stage--> uploading --done--> staged --import--> active
//	queued --import from a URL--> importing --done--> active
//
// A broken upload, a content that is not of the declared format and a crash
// lead back to queued. Data streams into the blob store under a key of its own
// and is hashed on the way: MD5 (checksum) and SHA-512 (os_hash_value), of the
// bytes as they are, also when container_format is compressed.
//
// Beside a qcow2 image's data lies, once somebody asked for it, their raw form:
// a conversion, keyed by the data's key and deleted with them.
//
// API reference: https://docs.openstack.org/api-ref/image/v2/.
package image
