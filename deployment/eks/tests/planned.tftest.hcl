# What is planned.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
}

variables {
  cluster_name       = "pictures"
  region             = "us-east-1"
  availability_zones = ["us-east-1a", "us-east-1b"]
  administrators     = ["arn:aws:iam::123456789012:role/platform"]
  models_bucket      = "example-models"
}

run "by_default" {
  command = plan

  assert {
    condition     = aws_eks_cluster.this.vpc_config[0].endpoint_private_access && !aws_eks_cluster.this.vpc_config[0].endpoint_public_access
    error_message = "the API server is reached from within the VPC alone"
  }

  assert {
    condition     = aws_eks_cluster.this.access_config[0].authentication_mode == "API" && !aws_eks_cluster.this.access_config[0].bootstrap_cluster_creator_admin_permissions && keys(aws_eks_access_policy_association.administrator) == ["arn:aws:iam::123456789012:role/platform"]
    error_message = "the administrators are those that are named"
  }

  assert {
    condition     = length(aws_eks_cluster.this.enabled_cluster_log_types) == 5 && aws_cloudwatch_log_group.cluster.name == "/aws/eks/pictures/cluster" && aws_cloudwatch_log_group.cluster.retention_in_days == 90
    error_message = "all logs of the control plane are kept, in a group that was made before"
  }

  assert {
    condition     = aws_eks_cluster.this.encryption_config[0].resources == toset(["secrets"])
    error_message = "secrets are encrypted with a key of their own"
  }

  assert {
    condition     = jsondecode(aws_eks_addon.this["vpc-cni"].configuration_values).enableNetworkPolicy == "true" && contains(keys(aws_eks_addon.this), "eks-pod-identity-agent")
    error_message = "network policies are kept, and pods get roles"
  }

  assert {
    condition     = aws_launch_template.system.metadata_options[0].http_tokens == "required" && aws_launch_template.system.metadata_options[0].http_put_response_hop_limit == 1
    error_message = "IMDSv2 is required, and pods cannot reach it"
  }

  assert {
    condition     = aws_launch_template.system.block_device_mappings[0].ebs[0].encrypted == "true" && aws_eks_node_group.system.scaling_config[0].min_size == 2
    error_message = "disks are encrypted, and of the nodes one may go"
  }

  assert {
    condition     = alltrue([for subnet in aws_subnet.private : subnet.tags["karpenter.sh/discovery"] == "pictures" && subnet.map_public_ip_on_launch != true]) && aws_ec2_tag.cluster_security_group.key == "karpenter.sh/discovery"
    error_message = "Karpenter finds the private subnets and the security group"
  }

  assert {
    condition     = [for subnet in values(aws_subnet.private) : subnet.cidr_block] == ["10.64.32.0/19", "10.64.64.0/19"] && [for subnet in values(aws_subnet.public) : subnet.cidr_block] == ["10.64.0.0/22", "10.64.4.0/22"]
    error_message = "the subnets do not overlap"
  }

  assert {
    condition     = { for name, one in aws_eks_pod_identity_association.this : name => "${one.namespace}/${one.service_account}" } == { balancer = "kube-system/aws-load-balancer-controller", disks = "kube-system/ebs-csi-controller-sa", karpenter = "kube-system/karpenter", models = "stable-diffusion/stable-diffusion", training = "stable-diffusion/training" }
    error_message = "each role is that of one service account"
  }

  assert {
    condition     = aws_eks_access_entry.engine_node.type == "EC2_LINUX" && aws_iam_role.engine_node.name == "pictures-us-east-1-engine-node"
    error_message = "Karpenter's nodes may join; their role has a name that another region does not take"
  }

  assert {
    condition     = length(aws_cloudwatch_event_target.interruptions) == 5
    error_message = "each event that ends an instance goes to Karpenter's queue"
  }

  assert {
    condition     = length(aws_s3_bucket.models) == 0
    error_message = "the bucket is the user's"
  }
}

run "another_zone_leaves_the_others_alone" {
  command = plan

  variables {
    availability_zones = ["us-east-1a", "us-east-1b", "us-east-1f"]
  }

  assert {
    condition     = aws_subnet.private["us-east-1a"].cidr_block == "10.64.32.0/19" && aws_subnet.private["us-east-1f"].cidr_block == "10.64.96.0/19" && aws_subnet.public["us-east-1b"].cidr_block == "10.64.4.0/22"
    error_message = "subnets have their addresses by their place in the list"
  }
}

run "a_bucket_and_a_public_endpoint" {
  command = plan

  variables {
    create_bucket       = true
    deletion_protection = false
    public_access_cidrs = ["203.0.113.0/24"]
  }

  assert {
    condition     = aws_eks_cluster.this.vpc_config[0].endpoint_public_access && aws_eks_cluster.this.vpc_config[0].public_access_cidrs == toset(["203.0.113.0/24"])
    error_message = "the API server is open to whom it was opened to"
  }

  assert {
    condition     = aws_s3_bucket.models[0].force_destroy && aws_s3_bucket_public_access_block.models[0].restrict_public_buckets && one(one(aws_s3_bucket_server_side_encryption_configuration.models[0].rule).apply_server_side_encryption_by_default).sse_algorithm == "aws:kms"
    error_message = "the bucket is private and encrypted, and goes with the rest where that is wanted"
  }
}
