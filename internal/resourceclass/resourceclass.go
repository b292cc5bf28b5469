// Package resourceclass knows how Placement names the resource classes that
// bare-metal nodes have.
package resourceclass

import "strings"

// Custom turns a node's resource class into its name in Placement, as
// os_resource_classes.normalize_name does: upper case, everything but letters
// and digits an underscore, CUSTOM_ in front.
func Custom(class string) string {
	return "CUSTOM_" + strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToUpper(class))
}
