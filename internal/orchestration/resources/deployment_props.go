package resources

func deploymentProps() []Prop { return nil }
