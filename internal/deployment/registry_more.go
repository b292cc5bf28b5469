package deployment

import "github.com/tripleo/tripleo/internal/workflow/actions"

// planTable are the actions on plans beyond those of registry.go's table.
func planTable() []row {
	req, opt := actions.Req, actions.Opt
	plan := opt("container", "overcloud")
	return []row{
		{"tripleo.plan.import", "Fill a plan from a tarball or a Git repository (url@ref)", []actions.Param{req("container"), req("url"), opt("keep_environment", false)}, planImport},
		{"tripleo.plan.list_file", "The entries of a YAML list of a plan", []actions.Param{plan, req("file")}, listFile},
		{"tripleo.plan.check_network_files", "Check that networks have templates", []actions.Param{plan, req("network_data")}, checkNetworkFiles},
		{"tripleo.plan.check_networks", "Check entries of network_data.yaml", []actions.Param{req("networks")}, checkNetworksInput},
		{"tripleo.parameters.deprecated", "Deprecated and unused parameters of a plan", []actions.Param{plan}, deprecatedParameters},
		{"tripleo.parameters.fernet_targets", "Servers and script for a plan's fernet keys", []actions.Param{plan}, fernetTargets},
		{"tripleo.package_update.targets", "Servers to update", []actions.Param{req("nodes"), opt("playbook", ""), plan}, updateTargets},
		{"tripleo.plan.folder", "The entries of all YAML files of a plan's folder", []actions.Param{plan, req("folder")}, planFolder},
		{"tripleo.plan.write_file", "Write a value as YAML into a plan", []actions.Param{plan, req("object"), req("content")}, writePlanFile},
		{"tripleo.plan.update_from_dir", "Put the changed files of a folder into a plan", []actions.Param{req("container"), req("templates_dir")}, planUpdateFromDir},
		{"tripleo.plan.update_networks", "Merge networks into those of a plan", []actions.Param{req("networks"), req("current_networks"), opt("replace_all", false)}, updateNetworks},
		{"tripleo.plan.gather_roles", "Find the entries of roles by their names", []actions.Param{req("role_names"), req("current_roles"), req("available_roles")}, gatherRoles},
		{"tripleo.plan.validate_roles", "Check entries of roles_data.yaml", []actions.Param{req("roles"), req("available_roles"), plan}, validateRoles},
		{"tripleo.plan.update_roles", "Merge roles into those of a plan", []actions.Param{req("roles"), req("current_roles"), opt("replace_all", false), plan}, updateRoles},
		{"tripleo.plan.remove_noop_deploystep", "Let a plan run its deployment steps again", []actions.Param{plan}, removeNoopDeploystep},
		{"tripleo.git.clone", "Check a repository of templates out", []actions.Param{req("container"), req("url")}, gitClone},
		{"tripleo.git.clean", "Remove the checkouts of a plan", []actions.Param{req("container")}, gitClean},
		{"tripleo.heat_capabilities.get", "The environments of a plan by topic", []actions.Param{plan}, capabilitiesGet},
		{"tripleo.heat_capabilities.update", "Enable and disable environments of a plan", []actions.Param{req("environments"), plan, opt("purge_missing", false)}, capabilitiesUpdate},
		{"tripleo.container_images.prepare", "Give a plan of containers its images", []actions.Param{req("container")}, prepareImages},
		{"tripleo.parameters.update_role", "Set a role's count and flavor from its nodes", []actions.Param{req("role"), plan}, updateRoleParameters},
		{"tripleo.parameters.get_profile_of_flavor", "The profile that a flavor asks for", []actions.Param{req("flavor_name")}, profileOfFlavor},
		{"tripleo.parameters.rotate_fernet_keys", "Make the next fernet keys of a plan", []actions.Param{plan}, rotateFernetKeys},
		{"tripleo.certificates.authority", "The certificates that the nodes of a plan trust; makes its authority", []actions.Param{plan}, ensureAuthority},
		{"tripleo.certificates.issue", "Sign the certificate request of a node", []actions.Param{plan, req("request"), req("names"), opt("units", []any{}), opt("current", ""), opt("days", certificateDays)}, issueCertificate},
		{"tripleo.certificates.rotate_authority", "Go one step to the next authority of a plan", []actions.Param{plan}, rotateAuthority},
		{"tripleo.parameters.generate_fencing", "Parameters for fencing", []actions.Param{req("nodes_json"), req("os_auth"), req("delay"), req("ipmi_level"), req("ipmi_cipher"), req("ipmi_lanplus")}, fencingConfig},
		{"tripleo.parameters.get_network_config", "What os-net-config is told on a role", []actions.Param{req("role_name"), plan}, networkConfigOf},
		{"tripleo.swift.swift_information", "URL and key of a container for machines", []actions.Param{req("container")}, swiftInformation},
		{"tripleo.scale.delete_node", "Remove nodes from the stack of a plan", []actions.Param{req("timeout"), req("nodes"), plan}, scaleDeleteNode},
		{"tripleo.package_update.update_stack", "Update a stack without running its steps", []actions.Param{req("timeout"), opt("ceph_ansible_playbook", ""), opt("skip_deploy_identifier", false), plan}, updateStack},
		{"tripleo.config.get_overcloud_config", "Write the configuration of a stack into a container", []actions.Param{plan, opt("config_dir", "/tmp"), opt("container_config", overcloudConfigContainer)}, getOvercloudConfig},
		{"tripleo.config.download_config", "Copy a container into the actions' folder", []actions.Param{opt("container_config", overcloudConfigContainer), opt("work_dir", "")}, downloadConfig},
	}
}

// nodeTable are the actions on nodes and on the undercloud.
func nodeTable() []row {
	req, opt := actions.Req, actions.Opt
	path := req("path")
	return []row{
		{"tripleo.deployment.config", "Run a config on a server and wait for its result", []actions.Param{req("server_id"), req("config"), req("name"), opt("input_values", []any{}), opt("action", "CREATE"),
			opt("signal_transport", "TEMP_URL_SIGNAL"), opt("timeout", 600), opt("group", "script")}, deploymentConfig},
		{"tripleo.baremetal.get_candidate_nodes", "What discovery has to try", []actions.Param{req("ip_addresses"), req("ports"), req("credentials"), req("existing_nodes")}, candidateNodes},
		{"tripleo.baremetal.probe_node", "Find out whether a BMC answers", []actions.Param{req("ip"), req("port"), req("username"), req("password"), opt("attempts", 2), opt("ipmi_driver", "ipmi")}, probeNode},
		{"tripleo.baremetal.wait_hypervisors", "Wait until Nova knows nodes", []actions.Param{req("node_uuids"), opt("timeout", 900)}, waitHypervisors},
		{"tripleo.files.make_temp_dir", "Make a folder on the undercloud", nil, makeTempDir},
		{"tripleo.files.remove_temp_dir", "Remove such a folder", []actions.Param{path}, removeTempDir},
		{"tripleo.files.save_temp_dir_to_swift", "Keep such a folder in a container", []actions.Param{path, req("container")}, saveTempDir},
		{"tripleo.files.restore_temp_dir_from_swift", "Take such a folder from a container", []actions.Param{path, req("container")}, restoreTempDir},
		{"tripleo.files.file_exists", "Tell whether a file of the undercloud exists", []actions.Param{path}, fileExists},
		{"tripleo.logging_to_swift.format_messages", "Messages of the GUI as lines", []actions.Param{req("messages")}, formatMessages},
		{"tripleo.logging_to_swift.publish_ui_log_to_swift", "Append lines to the GUI's log", []actions.Param{req("logging_data"), req("logging_container")}, publishUILog},
		{"tripleo.logging_to_swift.prepare_log_download", "Pack the GUI's logs", []actions.Param{req("logging_container"), req("downloads_container"), req("delete_after")}, prepareLogDownload},
		{"tripleo.undercloud.get_free_space", "Is there room for a backup?", nil, freeSpace},
		{"tripleo.undercloud.create_backup_dir", "Make a folder for a backup", nil, makeTempDir},
		{"tripleo.undercloud.create_database_backup", "Copy the undercloud's database", []actions.Param{path, opt("dbuser", nil), opt("dbpassword", nil)}, databaseBackup},
		{"tripleo.undercloud.create_file_system_backup", "Pack files of the undercloud", []actions.Param{req("sources_path"), path, opt("exclude_path", "")}, fileSystemBackup},
		{"tripleo.undercloud.upload_backup_to_swift", "Keep a backup in a container", []actions.Param{req("backup_path"), opt("container", "undercloud-backups"), opt("expire", 86400)}, uploadBackup},
		{"tripleo.undercloud.remove_temp_dir", "Remove the folder of a backup", []actions.Param{path}, removeTempDir},
	}
}

// checkTable are the actions of validations and of derived parameters.
func checkTable() []row {
	req, opt := actions.Req, actions.Opt
	return []row{
		{"tripleo.validations.get_pubkey", "The undercloud's public key on the nodes", nil, getPubkey},
		{"tripleo.validations.get_privkey", "The undercloud's private key for the nodes", nil, getPrivkey},
		{"tripleo.validations.enabled", "Fails unless validations are on", nil, validationsEnabled},
		{"tripleo.validations.list_validations", "List validations", []actions.Param{opt("groups", nil)}, listValidations},
		{"tripleo.validations.list_groups", "List the groups of validations", nil, listGroups},
		{"tripleo.validations.run_validation", "Run one validation", []actions.Param{req("validation"), opt("plan", "overcloud")}, runValidation},
		{"tripleo.validations.check_boot_images", "Find the deployment's images", []actions.Param{req("images"), req("deploy_kernel_name"), req("deploy_ramdisk_name")}, checkBootImages},
		{"tripleo.validations.check_flavors", "Find the flavors of roles", []actions.Param{req("roles_info")}, checkFlavors},
		{"tripleo.validations.check_node_boot_configuration", "Check a node's deployment images", []actions.Param{req("node"), opt("kernel_id", nil), opt("ramdisk_id", nil)}, checkNodeBoot},
		{"tripleo.validations.check_nodes_count", "Compare wanted and available nodes", []actions.Param{req("statistics"), req("stack"), req("associated_nodes"), req("available_nodes"), req("parameters"), req("default_role_counts")}, checkNodesCount},
		{"tripleo.validations.verify_profiles", "Compare wanted and available profiles", []actions.Param{req("nodes"), req("flavors")}, verifyProfiles},
		{"tripleo.derive_params.formula", "Derive parameters of one kind for a role", []actions.Param{req("kind"), req("role_name"), req("hw_data"), opt("user_inputs", map[string]any{}), opt("network_configs", []any{}),
			opt("environment_parameters", map[string]any{}), opt("heat_resource_tree", map[string]any{}), opt("derived_parameters", map[string]any{})}, deriveFormula},
		{"tripleo.derive_params.convert_number_to_range_list", "0,1,2 as 0-2", []actions.Param{req("num_list")}, convertNumbers},
		{"tripleo.derive_params.convert_range_to_number_list", "0-2,^1 as 0,2", []actions.Param{req("range_list")}, convertRanges},
		{"tripleo.derive_params.get_host_cpus_list", "CPUs that a host keeps", []actions.Param{req("inspect_data")}, hostCPUs},
		{"tripleo.derive_params.get_dpdk_core_list", "CPUs for DPDK", []actions.Param{req("inspect_data"), req("numa_nodes_cores_count")}, dpdkCores},
		{"tripleo.derive_params.get_dpdk_nics_numa_info", "NUMA nodes of DPDK's interfaces", []actions.Param{req("network_configs"), req("inspect_data"), opt("mtu_default", 1500)}, dpdkNics},
		{"tripleo.derive_params.get_dpdk_socket_memory", "Memory for DPDK", []actions.Param{req("dpdk_nics_numa_info"), req("numa_nodes"), req("overhead"), req("packet_size_in_buffer"), opt("minimum_socket_memory", 1500)}, dpdkSocketMemory},
	}
}

// ansibleTable are the actions that run Ansible.
func ansibleTable() []row {
	req, opt := actions.Req, actions.Opt
	common := []actions.Param{opt("limit_hosts", nil), opt("module_path", nil), opt("remote_user", nil), opt("become", false), opt("become_user", nil), opt("extra_vars", nil), opt("inventory", nil),
		opt("verbosity", 5), opt("ssh_private_key", nil), opt("forks", nil), opt("timeout", nil), opt("ssh_extra_args", nil), opt("ssh_common_args", nil), opt("use_openstack_credentials", false),
		opt("extra_env_variables", nil), opt("work_dir", ""), opt("trash_output", false)}
	playbook := append([]actions.Param{req("playbook"), opt("flush_cache", false), opt("tags", nil), opt("skip_tags", nil), opt("queue_name", nil), opt("reproduce_command", true), opt("execution_id", nil),
		opt("max_message_size", 1048576), opt("profile_tasks", true), opt("profile_tasks_limit", 0), opt("blacklisted_hostnames", []any{}), opt("run_timeout", ansibleTime)}, common...)
	module := append([]actions.Param{opt("hosts", nil), opt("module", nil), opt("module_args", nil)}, common...)
	return []row{
		{"tripleo.ansible-playbook", "Run a playbook on the undercloud", playbook, ansiblePlaybook},
		{"tripleo.ansible", "Run a module of Ansible", module, ansibleModule},
		{"tripleo.ansible-generate-inventory", "Write the inventory of a plan", []actions.Param{opt("ansible_ssh_user", "tripleo-admin"), opt("work_dir", ""), opt("plan_name", "overcloud")}, generateInventory},
	}
}
