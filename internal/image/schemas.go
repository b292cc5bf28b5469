package image

import (
	"net/http"

	"github.com/tripleo/tripleo/internal/api"
)

func imageSchema() document {
	text := func(description string) document {
		return document{"type": []string{"null", "string"}, "description": description, "maxLength": 255}
	}
	fixed := func(typ, description string) document {
		return document{"type": []string{"null", typ}, "readOnly": true, "description": description}
	}
	enum := func(values []string, description string) document {
		all := []any{nil}
		for _, v := range values {
			all = append(all, v)
		}
		return document{"type": []string{"null", "string"}, "enum": all, "description": description}
	}
	return document{
		"name": "image",
		"properties": document{
			"id":               document{"type": "string", "description": "An identifier for the image", "pattern": "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$"},
			"name":             text("Descriptive name for the image"),
			"owner":            text("Owner of the image"),
			"status":           document{"type": "string", "readOnly": true, "enum": []string{"queued", "saving", "active", "killed", "deleted", "uploading", "importing", "pending_delete", "deactivated"}, "description": "Status of the image"},
			"visibility":       document{"type": "string", "enum": visibilities(), "description": "Scope of image accessibility"},
			"protected":        document{"type": "boolean", "description": "If true, image will not be deletable."},
			"os_hidden":        document{"type": "boolean", "description": "If true, image will not appear in default image list response."},
			"checksum":         fixed("string", "md5 hash of image contents."),
			"os_hash_algo":     fixed("string", "Algorithm to calculate the os_hash_value"),
			"os_hash_value":    fixed("string", "Hexdigest of the image contents using the algorithm specified by the os_hash_algo"),
			"size":             fixed("integer", "Size of image file in bytes"),
			"virtual_size":     fixed("integer", "Virtual size of image in bytes"),
			"container_format": enum(containerFormats(), "Format of the container"),
			"disk_format":      enum(diskFormats(), "Format of the disk"),
			"created_at":       document{"type": "string", "readOnly": true, "description": "Date and time of image registration"},
			"updated_at":       document{"type": "string", "readOnly": true, "description": "Date and time of the last image modification"},
			"tags":             document{"type": "array", "items": document{"type": "string", "maxLength": 255}, "description": "List of strings related to the image"},
			"min_ram":          document{"type": "integer", "description": "Amount of ram (in MB) required to boot image."},
			"min_disk":         document{"type": "integer", "description": "Amount of disk space (in GB) required to boot image."},
			"self":             document{"type": "string", "readOnly": true, "description": "An image self url"},
			"file":             document{"type": "string", "readOnly": true, "description": "An image file url"},
			"schema":           document{"type": "string", "readOnly": true, "description": "An image schema url"},
			"kernel_id":        document{"type": []string{"null", "string"}, "is_base": false, "description": "ID of image stored in Glance that should be used as the kernel when booting an AMI-style image."},
			"ramdisk_id":       document{"type": []string{"null", "string"}, "is_base": false, "description": "ID of image stored in Glance that should be used as the ramdisk when booting an AMI-style image."},
		},
		"additionalProperties": document{"type": "string"},
		"links":                []document{{"rel": "self", "href": "{self}"}, {"rel": "enclosure", "href": "{file}"}, {"rel": "describedby", "href": "{schema}"}},
	}
}

func memberSchema() document {
	return document{
		"name": "member",
		"properties": document{
			"created_at": document{"type": "string", "description": "Date and time of image member creation"},
			"image_id":   document{"type": "string", "description": "An identifier for the image"},
			"member_id":  document{"type": "string", "description": "An identifier for the image member (tenantId)"},
			"status":     document{"type": "string", "enum": []string{"pending", "accepted", "rejected"}, "description": "The status of this image member"},
			"updated_at": document{"type": "string", "description": "Date and time of last modification of image member"},
			"schema":     document{"type": "string", "readOnly": true},
		},
	}
}

func taskSchema() document {
	text := document{"type": []string{"null", "string"}}
	return document{
		"name": "task",
		"properties": document{
			"id": text, "type": document{"type": "string", "enum": []string{"import", "api_image_import"}}, "status": document{"type": "string", "enum": []string{"pending", "processing", "success", "failure"}},
			"owner": text, "message": text, "image_id": text, "request_id": text, "user_id": text, "self": text, "schema": text,
			"input": document{"type": []string{"null", "object"}}, "result": document{"type": []string{"null", "object"}},
			"created_at": text, "updated_at": text, "expires_at": text,
		},
	}
}

// schema answers GET /v2/schemas/{name}.
func (s *Service) schema(w http.ResponseWriter, r *http.Request) error {
	list := func(plural string, one document) document {
		return document{
			"name": plural,
			"properties": document{
				plural: document{"type": "array", "items": one}, "first": document{"type": "string"}, "next": document{"type": "string"}, "schema": document{"type": "string"},
			},
			"links": []document{{"rel": "first", "href": "{first}"}, {"rel": "next", "href": "{next}"}, {"rel": "describedby", "href": "{schema}"}},
		}
	}
	var out document
	switch r.PathValue("name") {
	case "image":
		out = imageSchema()
	case "images":
		out = list("images", imageSchema())
	case "member":
		out = memberSchema()
	case "task":
		out = taskSchema()
	case "tasks":
		out = list("tasks", taskSchema())
	case "members":
		out = list("members", memberSchema())
	default:
		return api.NotFound("there is no schema %q", r.PathValue("name"))
	}
	return api.WriteJSON(w, http.StatusOK, out)
}
