package redfish

import (
	"net/http"
	"net/url"
	"path"

	"github.com/tripleo/tripleo/internal/lab/bmc"
)

// cd is the identifier of a system's virtual CD drive.
const cd = "Cd"

// driveOf is a system's virtual CD drive, nil if it has none.
func driveOf(sys bmc.System) bmc.Drive {
	if w, ok := sys.(bmc.WithDrive); ok {
		return w.Drive()
	}
	return nil
}

// mediaRoutes serve the drive at the manager, where it was up to ComputerSystem 1.13, and at the system.
func (h *Handler) mediaRoutes(auth func(string, handlerFunc)) {
	for _, of := range []string{"Managers", "Systems"} {
		at := root + "/" + of + "/{id}/VirtualMedia"
		drive := func(f func(http.ResponseWriter, *http.Request, string, bmc.Drive) error) handlerFunc {
			return h.system(func(w http.ResponseWriter, r *http.Request, id string, sys bmc.System) error {
				d := driveOf(sys)
				if name := r.PathValue("drive"); d == nil || name != "" && name != cd {
					return notFound("virtual media " + name)
				}
				return f(w, r, root+"/"+of+"/"+id+"/VirtualMedia", d)
			})
		}
		auth("GET "+at, drive(func(w http.ResponseWriter, _ *http.Request, path string, _ bmc.Drive) error {
			writeJSON(w, http.StatusOK, collection(path, "VirtualMediaCollection", "Virtual Media", []string{cd}))
			return nil
		}))
		auth("GET "+at+"/{drive}", drive(getMedia))
		auth("POST "+at+"/{drive}/Actions/VirtualMedia.InsertMedia", drive(insertMedia))
		auth("POST "+at+"/{drive}/Actions/VirtualMedia.EjectMedia", drive(ejectMedia))
	}
}

func getMedia(w http.ResponseWriter, _ *http.Request, at string, d bmc.Drive) error {
	at += "/" + cd
	o := object{
		"@odata.id": at, "@odata.type": "#VirtualMedia.v1_6_0.VirtualMedia", "Id": cd, "Name": "Virtual CD", "MediaTypes": []string{"CD", "DVD"},
		"Image": nil, "ImageName": nil, "Inserted": false, "WriteProtected": true, "ConnectedVia": "NotConnected", "TransferMethod": "Upload", "Status": health,
		"Actions": object{
			"#VirtualMedia.InsertMedia": object{"target": at + "/Actions/VirtualMedia.InsertMedia"},
			"#VirtualMedia.EjectMedia":  object{"target": at + "/Actions/VirtualMedia.EjectMedia"},
		},
	}
	if m := d.Media(); m != "" {
		o["Image"], o["ImageName"], o["Inserted"], o["ConnectedVia"] = m, path.Base(m), true, "URI"
	}
	writeJSON(w, http.StatusOK, o)
	return nil
}

func insertMedia(w http.ResponseWriter, r *http.Request, _ string, d bmc.Drive) error {
	var in struct {
		Image                    string
		Inserted, WriteProtected *bool
		TransferMethod           *string
		TransferProtocolType     *string
	}
	if err := readJSON(r, &in); err != nil {
		return err
	}
	u, err := url.Parse(in.Image)
	switch {
	case in.Image == "":
		return &fault{http.StatusBadRequest, "Base.1.8.ActionParameterMissing", "InsertMedia needs Image"}
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return &fault{http.StatusBadRequest, "Base.1.8.ActionParameterValueFormatError", "Image is not an http or https URL"}
	case in.WriteProtected != nil && !*in.WriteProtected:
		return invalid("WriteProtected is false, a CD is always write-protected")
	case in.Inserted != nil && !*in.Inserted:
		return invalid("Inserted is false, an image is in the drive once it has been given")
	case d.Media() != "":
		return &fault{http.StatusConflict, "Base.1.8.ResourceInUse", "there is a medium in the drive, eject it first"}
	}
	if err := d.InsertMedia(r.Context(), in.Image); err != nil {
		return &fault{http.StatusBadRequest, "Base.1.8.CouldNotEstablishConnection", err.Error()}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func ejectMedia(w http.ResponseWriter, _ *http.Request, _ string, d bmc.Drive) error {
	if err := d.EjectMedia(); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
