package actions

// OpenStack returns the actions of the OpenStack services, under Mistral's names.
func OpenStack() []Action { return nil }
