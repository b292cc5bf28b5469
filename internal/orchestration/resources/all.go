package resources

// All returns every resource type.
func All() []*Type {
	return []*Type{
		heatValue(), heatNone(), heatRandomString(), heatTestResource(), heatDelay(),
		heatSoftwareConfig("OS::Heat::SoftwareConfig", String), heatSoftwareConfig("OS::Heat::StructuredConfig", Mapping),
		heatMultipartMime(), heatCloudConfig(),

		heatDeploymentGroup("OS::Heat::SoftwareDeployments", "OS::Heat::SoftwareDeployment"),
		heatDeploymentGroup("OS::Heat::SoftwareDeploymentGroup", "OS::Heat::SoftwareDeployment"),
		heatDeploymentGroup("OS::Heat::StructuredDeployments", "OS::Heat::StructuredDeployment"),
		heatDeploymentGroup("OS::Heat::StructuredDeploymentGroup", "OS::Heat::StructuredDeployment"),
		heatResourceGroup(), heatResourceChain(), heatStack(),
	}
}
