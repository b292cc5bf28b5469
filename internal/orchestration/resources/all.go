package resources

// All returns every resource type.
func All() []*Type {
	return []*Type{
		heatValue(), heatNone(), heatRandomString(), heatTestResource(), heatDelay(),
		heatSoftwareConfig("OS::Heat::SoftwareConfig", String), heatSoftwareConfig("OS::Heat::StructuredConfig", Mapping),
		heatMultipartMime(), heatCloudConfig(),
		heatDeployment("OS::Heat::SoftwareDeployment", false), heatDeployment("OS::Heat::StructuredDeployment", true),
		heatDeployment("OS::TripleO::Heat::SoftwareDeployment", false), heatDeployment("OS::TripleO::Heat::StructuredDeployment", true),
		heatDeploymentGroup("OS::Heat::SoftwareDeployments", "OS::Heat::SoftwareDeployment"),
		heatDeploymentGroup("OS::Heat::SoftwareDeploymentGroup", "OS::Heat::SoftwareDeployment"),
		heatDeploymentGroup("OS::Heat::StructuredDeployments", "OS::Heat::StructuredDeployment"),
		heatDeploymentGroup("OS::Heat::StructuredDeploymentGroup", "OS::Heat::StructuredDeployment"),
		heatResourceGroup(), heatResourceChain(), heatStack(), heatDeployedServer(),
		heatWaitCondition(), heatWaitConditionHandle(),
		neutronNet(), neutronSubnet(), neutronPort(),
		novaServer(), novaKeyPair(), novaFlavor(),
		swiftContainer(), mistralWorkflow(), mistralExternalResource(),
	}
}
