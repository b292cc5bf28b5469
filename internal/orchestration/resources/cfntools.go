package resources

import "github.com/tripleo/tripleo/internal/orchestration/hot"

// partHandler teaches cloud-init the parts of type x-cfninitdata: each becomes a file of the tools.
const partHandler = `#part-handler
import os

BASE = "/var/lib/heat-cfntools"


def list_types():
    return ["text/x-cfninitdata"]


def handle_part(data, ctype, filename, payload):
    if ctype in ("__begin__", "__end__") or not filename:
        return
    os.makedirs(BASE, 0o700, exist_ok=True)
    path = os.path.join(BASE, os.path.basename(filename))
    with open(path, "wb") as f:
        f.write(payload if isinstance(payload, bytes) else payload.encode())
    os.chmod(path, 0o600)
`

// runUserData runs the user data of the template once the files are there, and says that it is done.
const runUserData = `#!/bin/sh
base=/var/lib/heat-cfntools
chmod 700 "$base/cfn-userdata" 2>/dev/null
log=/var/log/heat-provision.log
echo "Provision began: $(date)" >>"$log"
status=0
if [ -s "$base/cfn-userdata" ]; then
    "$base/cfn-userdata" >>"$log" 2>&1 || status=$?
fi
echo "Provision done with status $status: $(date)" >>"$log"
[ "$status" -eq 0 ] && touch /var/lib/cloud/instance/provision-finished
exit "$status"
`

// cfnUserData is the user data of format HEAT_CFNTOOLS: user data, metadata and the address of the
// CloudFormation-compatible API, as files for the heat-cfntools that the image may have.
func cfnUserData(r *Resource, data string) string {
	const initData = "x-cfninitdata"
	parts := []MimePart{
		{Text: partHandler, Subtype: "part-handler", Filename: "part-handler.py"},
		{Text: data, Subtype: initData, Filename: "cfn-userdata"},
		{Text: runUserData, Subtype: "x-shellscript", Filename: "run-userdata.sh"},
	}
	if r.Metadata.Len() > 0 {
		parts = append(parts, MimePart{Text: hot.PyJSON(r.Metadata, false), Subtype: initData, Filename: "cfn-init-data"})
	}
	parts = append(parts, MimePart{Text: r.Host.CFNURL() + "/", Subtype: initData, Filename: "cfn-metadata-server"})
	return Multipart(r.ID, parts)
}
