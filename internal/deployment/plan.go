package deployment

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"

	"github.com/tripleo/tripleo/internal/yaml11"
)

var planName = regexp.MustCompile(`^[a-zA-Z0-9-]+$`)

// planCreateContainer makes the container of a plan. (The original returns the text of what is wrong as its result.)
func planCreateContainer(r *run, in input) (any, error) {
	name := in.str("container")
	if !planName.MatchString(name) {
		return nil, errors.New("Unable to create plan. The plan name must only contain letters, numbers or dashes")
	}
	if _, err := r.headContainer(name); err == nil {
		return nil, errors.New("A container with the name " + name + " already exists.")
	} else if !isStatus(err, 404) {
		return nil, err
	}
	return nil, r.createContainer(name, map[string]string{usageHeader: "plan"})
}

// planList returns the names of the containers that are plans.
func planList(r *run, _ input) (any, error) {
	names, err := r.listContainers()
	if err != nil {
		return nil, err
	}
	plans := []any{}
	for _, n := range names {
		h, err := r.headContainer(n)
		if isStatus(err, 404) {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, err
		}
		if h.Get(usageHeader) == "plan" {
			plans = append(plans, n)
		}
	}
	return plans, nil
}

// planDelete removes a plan that no stack uses.
func planDelete(r *run, in input) (any, error) {
	name := in.str("container")
	h, err := r.headContainer(name)
	if isStatus(err, 404) {
		return nil, r.dropEnvMirror(name)
	}
	if err != nil {
		return nil, err
	}
	if h.Get(usageHeader) != "plan" {
		return nil, fmt.Errorf("container %s is not a plan: it has no header %s", name, usageHeader)
	}
	if _, err := r.stack(name); err == nil {
		return nil, errors.New("Cannot delete a plan that has an associated stack.") //nolint:staticcheck // the text clients know
	} else if !isStatus(err, 404) {
		return nil, err
	}
	for _, container := range []string{name, name + "-swift-rings", name + "-messages"} {
		if err := r.emptyAndDelete(container); err != nil {
			return nil, err
		}
	}
	return nil, r.dropEnvMirror(name)
}

func (r *run) emptyAndDelete(container string) error {
	names, err := r.listObjects(container)
	if isStatus(err, 404) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := r.deleteObject(container, n); err != nil {
			return err
		}
	}
	_, _, err = r.swift(http.MethodDelete, container, "", "", nil, nil, 204, 404)
	return err
}

// planExport packs a plan as <plan>.tar.gz into exports_container, where it is deleted after delete_after seconds.
func planExport(r *run, in input) (any, error) {
	plan := in.str("plan")
	names, err := r.listObjects(plan)
	if err != nil {
		return nil, err
	}
	data, err := tarFiles(names, func(n string) ([]byte, error) { return r.getObject(plan, n) })
	if err != nil {
		return nil, err
	}
	after, err := in.integer("delete_after", 3600)
	if err != nil {
		return nil, err
	}
	container := in.str("exports_container")
	if err := r.createContainer(container, nil); err != nil {
		return nil, err
	}
	_, _, err = r.swift(http.MethodPut, container, plan+".tar.gz", "", data,
		map[string]string{"X-Delete-After": fmt.Sprint(after), "Content-Type": "application/gzip"}, 201)
	return nil, err
}

// roleList returns the names of a plan's roles, or with detail the roles themselves.
func roleList(r *run, in input) (any, error) {
	roles, ok, err := r.readListFile(in.str("container"), in.str("role_file_name"))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("plan %s has no file %s", in.str("container"), in.str("role_file_name"))
	}
	if in.boolean("detail") {
		return roles, nil
	}
	names := []any{}
	for _, role := range roles {
		names = append(names, text(role, "name"))
	}
	return names, nil
}

// uploadPlanEnvironment replaces the plan environment by the given one.
func uploadPlanEnvironment(r *run, in input) (any, error) {
	env := in.mapping("plan_environment")
	if env == nil {
		return nil, errors.New("plan_environment must be a mapping")
	}
	return nil, r.writePlanEnv(in.str("container"), env)
}

// updatePlanEnvironment sets or, with delete, removes a parameter below env_key, and writes the plan environment.
// (The original edits a copy and drops it.)
func updatePlanEnvironment(r *run, in input) (any, error) {
	container := in.str("container")
	env, err := r.readPlanEnv(container)
	if err != nil {
		return nil, err
	}
	key := in.str("env_key")
	if _, ok := env.Get(key); !ok {
		return nil, fmt.Errorf("The environment key doesn't exist: %s", key) //nolint:staticcheck // the text clients know
	}
	sec := section(env, key)
	for name, value := range in.mapping("parameter").All() {
		if in.boolean("delete") {
			sec.Delete(name)
		} else {
			sec.Set(name, value)
		}
	}
	return nil, r.writePlanEnv(container, env)
}

// ensureEnvironments adds {path} to the environments of a plan unless it is there.
func ensureEnvironments(env *yaml11.OrderedMap, file string) bool {
	list, _ := dig(env, "environments").([]any)
	for _, e := range list {
		if text(e, "path") == file {
			return false
		}
	}
	env.Set("environments", append(list, yaml11.MapOf("path", file)))
	return true
}
