# What is planned.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  deployment_name = "pictures"
  image_uri       = "123456789012.dkr.ecr.us-east-1.amazonaws.com/stable-diffusion:0.1.0"
  allowed_cidrs   = ["203.0.113.0/24"]
  api_keys        = "ssm:/pictures/api-keys"
}

run "by_default" {
  command = plan

  assert {
    condition     = aws_launch_template.this.metadata_options[0].http_tokens == "required" && aws_launch_template.this.metadata_options[0].http_put_response_hop_limit == 1
    error_message = "IMDSv2 is required, and the container cannot reach it"
  }

  assert {
    condition = (
      aws_launch_template.this.block_device_mappings[0].ebs[0].encrypted == "true"
      && aws_launch_template.this.block_device_mappings[0].ebs[0].volume_type == "gp3"
      && aws_launch_template.this.block_device_mappings[0].ebs[0].volume_size >= 120
    )
    error_message = "the disk is encrypted, gp3, and large enough"
  }

  assert {
    condition     = aws_launch_template.this.network_interfaces[0].associate_public_ip_address == "false" && aws_launch_template.this.key_name == null
    error_message = "an instance has no public address and no SSH key"
  }

  assert {
    condition     = [for rule in aws_vpc_security_group_ingress_rule.clients : "${rule.from_port}-${rule.to_port} ${rule.cidr_ipv4}"] == ["80-80 203.0.113.0/24"]
    error_message = "the load balancer is open to allowed_cidrs on port 80 alone"
  }

  assert {
    condition     = aws_vpc_security_group_ingress_rule.from_load_balancer.from_port == 3000 && aws_vpc_security_group_ingress_rule.from_load_balancer.to_port == 3000 && aws_vpc_security_group_ingress_rule.from_load_balancer.cidr_ipv4 == null
    error_message = "an instance is open to the load balancer alone"
  }

  assert {
    condition     = aws_launch_template.this.block_device_mappings[0].device_name == "/dev/xvda"
    error_message = "the disk is the AMI's own root, not a second one"
  }

  assert {
    condition     = aws_lb_target_group.this.health_check[0].path == "/readyz"
    error_message = "/readyz decides"
  }

  assert {
    condition     = aws_lb.this.idle_timeout > 300 && tonumber(aws_lb_target_group.this.deregistration_delay) > 300
    error_message = "the load balancer waits longer than a request may take"
  }

  assert {
    condition     = { for hook in aws_autoscaling_group.this.initial_lifecycle_hook : hook.name => hook.default_result } == { ready = "ABANDON", drained = "CONTINUE" }
    error_message = "an instance that does not report is replaced; one that does not drain is not kept"
  }

  assert {
    condition     = aws_autoscaling_lifecycle_hook.ready.default_result == "ABANDON" && aws_autoscaling_lifecycle_hook.drained.default_result == "CONTINUE"
    error_message = "and so it stays"
  }

  assert {
    condition     = aws_autoscaling_lifecycle_hook.drained.heartbeat_timeout > 360 + 150
    error_message = "the group waits longer than requests and jobs may take"
  }

  assert {
    condition     = length(aws_autoscaling_group.this.instance_refresh) == 0
    error_message = "apply rolls nothing out: the group would have the new version already, and could not go back"
  }

  assert {
    condition     = output.rollout.min_healthy_percentage == 100 && output.rollout.max_healthy_percentage == 200 && output.rollout.alarms == tolist(["pictures-refresh"])
    error_message = "a new image comes before the old one goes, and rolls back if it fails"
  }

  assert {
    condition     = aws_autoscaling_group.this.health_check_type == "EC2"
    error_message = "the load balancer's fast check ends no instance"
  }

  assert {
    condition     = aws_autoscaling_group.this.mixed_instances_policy[0].instances_distribution[0].on_demand_percentage_above_base_capacity == 100
    error_message = "on demand, unless spot"
  }

  assert {
    condition     = length(aws_nat_gateway.this) == 1 && length(aws_vpc_endpoint.interface) == 0
    error_message = "NAT, unless egress says otherwise"
  }

  assert {
    condition     = output.availability_zones == ["us-east-1a", "us-east-1b", "us-east-1c"]
    error_message = "the zones that have the instance type"
  }

  assert {
    condition     = { for zone, subnet in aws_subnet.private : zone => subnet.cidr_block } == { us-east-1a = "10.60.128.0/20", us-east-1b = "10.60.144.0/20", us-east-1c = "10.60.160.0/20", us-east-1d = "10.60.176.0/20" }
    error_message = "each zone has its subnet, whichever are used"
  }

  assert {
    condition     = length(aws_autoscaling_schedule.stop) + length(aws_sns_topic.alarms) + length(aws_budgets_budget.this) + length(aws_flow_log.this) + length(aws_wafv2_web_acl_association.this) == 0
    error_message = "what was not asked for is not made"
  }

  assert {
    condition     = !can(regex("ListModels|ReadModels|ReadSecrets|DecryptSecrets", aws_iam_role_policy.instance.policy))
    error_message = "nothing is permitted for what is not used"
  }

  assert {
    condition     = startswith(local.user_data, "#cloud-config\n") && aws_launch_template.this.user_data == base64gzip(local.user_data) && local.user_data_bytes < 12000
    error_message = "EC2 takes 16 KB of user data, and some are for environment and secrets"
  }

  assert {
    condition     = aws_launch_template.this.image_id == "ami-0123456789abcdef0" && strcontains(data.aws_ssm_parameter.ami[0].name, "nvidia-driver")
    error_message = "the AMI has the GPU's driver"
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.slow.threshold == 150 && aws_cloudwatch_metric_alarm.slow.evaluate_low_sample_count_percentiles == "ignore"
    error_message = "half of the deadline is slow, where there are enough requests to say so"
  }

  assert {
    condition     = aws_cloudwatch_log_metric_filter.gpu_faults[0].pattern == "[mark=\"gpu-fault:\", group, ...]" && aws_cloudwatch_log_metric_filter.gpu_faults[0].metric_transformation[0].name == aws_cloudwatch_metric_alarm.gpu_fault[0].metric_name
    error_message = "what instance/watch.sh says of a broken GPU is counted, and told"
  }
}

run "with_a_certificate" {
  command = plan

  variables {
    certificate_arn = "arn:aws:acm:us-east-1:123456789012:certificate/0123"
    domain_name     = "pictures.example.com"
    zone_id         = "Z0"
    allowed_cidrs   = ["0.0.0.0/0"]
  }

  assert {
    condition     = aws_lb_listener.https[0].ssl_policy == "ELBSecurityPolicy-TLS13-1-2-Res-2021-06"
    error_message = "TLS 1.3 and 1.2"
  }

  assert {
    condition     = aws_lb_listener.http.default_action[0].type == "redirect" && aws_lb_listener.http.default_action[0].redirect[0].protocol == "HTTPS"
    error_message = "HTTP only redirects"
  }

  assert {
    condition     = sort([for rule in aws_vpc_security_group_ingress_rule.clients : tostring(rule.from_port)]) == tolist(["443", "80"])
    error_message = "nothing but HTTP and HTTPS is open"
  }

  assert {
    condition     = output.endpoint == "https://pictures.example.com" && length(aws_route53_record.this) == 1
    error_message = "clients use the certificate's name"
  }
}

run "with_everything" {
  command = plan

  variables {
    alternative_instance_types     = ["g5.xlarge", "g4dn.xlarge"]
    spot                           = true
    on_demand_base                 = 1
    schedule                       = { stop = "0 20 * * 1-5", start = "0 6 * * 1-5", time_zone = "Europe/Berlin" }
    alarm_email                    = "ops@example.com"
    deadline_seconds               = 900
    drain_seconds                  = 90
    refresh_min_healthy_percentage = 0
    egress                         = "endpoints"
    secrets                        = { HF_TOKEN = "secretsmanager:pictures/hub" }
    monthly_budget_usd             = 700
    max_instance_days              = 14
    refresh_alarm_enabled          = false
  }

  assert {
    condition     = aws_autoscaling_group.this.max_instance_lifetime == 1209600 && one(aws_autoscaling_group.this.instance_maintenance_policy).min_healthy_percentage == 0 && one(aws_autoscaling_group.this.instance_maintenance_policy).max_healthy_percentage == 100
    error_message = "instances are replaced in time, with the room that there is"
  }

  assert {
    condition     = length(output.rollout.alarms) == 0
    error_message = "the gate can be left out"
  }

  assert {
    condition     = aws_budgets_budget.this[0].limit_amount == "700" && one(aws_budgets_budget.this[0].cost_filter).values == tolist(["user:Deployment$pictures"])
    error_message = "the costs of this deployment are told"
  }

  assert {
    condition     = length(aws_cloudwatch_event_target.failures) == 1
    error_message = "failed launches and roll-outs are told"
  }

  assert {
    condition = (
      aws_autoscaling_group.this.mixed_instances_policy[0].instances_distribution[0].on_demand_percentage_above_base_capacity == 0
      && aws_autoscaling_group.this.mixed_instances_policy[0].instances_distribution[0].on_demand_base_capacity == 1
      && aws_autoscaling_group.this.capacity_rebalance
    )
    error_message = "spot above the base, replaced before it is interrupted"
  }

  assert {
    condition     = [for override in aws_autoscaling_group.this.mixed_instances_policy[0].launch_template[0].override : override.instance_type] == ["g6.xlarge", "g5.xlarge", "g4dn.xlarge"]
    error_message = "alternatives come in their order"
  }

  assert {
    condition     = aws_autoscaling_schedule.stop[0].max_size == 0 && aws_autoscaling_schedule.start[0].min_size == 1 && aws_autoscaling_schedule.start[0].time_zone == "Europe/Berlin"
    error_message = "zero at night, min_size in the morning"
  }

  assert {
    condition     = aws_sns_topic_subscription.alarms[0].endpoint == "ops@example.com"
    error_message = "alarms are sent"
  }

  assert {
    condition     = aws_lb.this.idle_timeout > 900 && tonumber(aws_lb_target_group.this.deregistration_delay) > 900
    error_message = "the load balancer waits longer than a request may take"
  }

  assert {
    condition     = length(aws_nat_gateway.this) == 0 && length(aws_vpc_security_group_egress_rule.https) == 0
    error_message = "endpoints are the only way out"
  }

  assert {
    condition     = keys(aws_vpc_endpoint.interface) == ["autoscaling", "ecr.api", "ecr.dkr", "elasticloadbalancing", "logs", "monitoring", "secretsmanager", "ssm", "ssmmessages"]
    error_message = "endpoints for all that an instance needs"
  }
}

run "in_a_given_vpc_without_gpus" {
  command = plan

  variables {
    image_uri                = "registry.example.com:5000/pictures/stable-diffusion@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    vpc_id                   = "vpc-0123456789abcdef0"
    load_balancer_subnet_ids = ["subnet-a", "subnet-b"]
    instance_subnet_ids      = ["subnet-c", "subnet-d"]
    internal                 = true
    instance_type            = "m7i.2xlarge"
    enable_gpus              = false
    alarm_topic_arns         = ["arn:aws:sns:us-east-1:123456789012:ops"]
    api_keys                 = null
    allow_anonymous          = true
    dns_server_cidrs         = ["10.7.0.2/32"]
    kms_key_arn              = "arn:aws:kms:us-east-1:123456789012:key/0123"
    permissions_boundary_arn = "arn:aws:iam::123456789012:policy/boundary"
    iam_path                 = "/services/"
    web_acl_arn              = "arn:aws:wafv2:us-east-1:123456789012:regional/webacl/pictures/0123"
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.no_healthy_instance.alarm_actions == toset(["arn:aws:sns:us-east-1:123456789012:ops"])
    error_message = "alarms are sent to the topic"
  }

  assert {
    condition     = length(aws_vpc.this) + length(aws_subnet.public) + length(aws_nat_gateway.this) + length(aws_vpc_endpoint.s3) == 0
    error_message = "the network is used as it is"
  }

  assert {
    condition     = local.container_environment.SD_TRUSTED_PROXIES == "10.7.0.0/16,100.64.0.0/16"
    error_message = "the load balancer is believed, whatever its address in that network"
  }

  assert {
    condition     = aws_lb.this.internal && aws_lb.this.subnets == toset(["subnet-a", "subnet-b"]) && aws_autoscaling_group.this.vpc_zone_identifier == toset(["subnet-c", "subnet-d"])
    error_message = "each in its subnets"
  }

  assert {
    condition     = strcontains(data.aws_ssm_parameter.ami[0].name, "al2023-ami-kernel-default-x86_64")
    error_message = "nothing of NVIDIA's"
  }

  assert {
    condition     = length(aws_cloudwatch_log_metric_filter.gpu_faults) + length(aws_cloudwatch_metric_alarm.gpu_fault) == 0
    error_message = "without GPUs none breaks"
  }

  assert {
    condition     = local.container_environment.SD_ALLOW_ANONYMOUS == "true" && !can(local.container_environment.SD_API_KEYS_FILE)
    error_message = "that there are no keys is said"
  }

  assert {
    condition     = { for rule in aws_vpc_security_group_egress_rule.dns : rule.ip_protocol => "${rule.from_port} ${rule.cidr_ipv4}" } == { tcp = "53 10.7.0.2/32", udp = "53 10.7.0.2/32" }
    error_message = "DNS servers of that network are reached"
  }

  assert {
    condition = (
      aws_launch_template.this.block_device_mappings[0].ebs[0].kms_key_id == var.kms_key_arn
      && aws_cloudwatch_log_group.this.kms_key_id == var.kms_key_arn
      && aws_iam_role.instance.permissions_boundary == var.permissions_boundary_arn
      && aws_iam_role.instance.path == "/services/"
      && aws_wafv2_web_acl_association.this[0].web_acl_arn == var.web_acl_arn
    )
    error_message = "what an organisation asks for is there"
  }
}

run "in_another_region" {
  command = plan

  override_data {
    target = data.aws_region.this
    values = { id = "eu-central-1" }
  }

  assert {
    condition     = aws_iam_role.instance.name == "pictures-eu-central-1-instance" && aws_iam_instance_profile.instance.name == "pictures-eu-central-1-instance" && aws_cloudwatch_dashboard.this.dashboard_name == "pictures-eu-central-1"
    error_message = "names that are of the account have the region in them"
  }
}

run "with_zones_and_a_nat_gateway_in_each" {
  command = plan

  variables {
    availability_zones = ["us-east-1b", "us-east-1d"]
    nat_per_zone       = true
  }

  assert {
    condition     = keys(aws_nat_gateway.this) == ["us-east-1b", "us-east-1d"] && length(aws_subnet.private) == 4
    error_message = "what is used changes, and the subnets do not"
  }
}

run "asleep" {
  command = plan

  variables {
    schedule = { stop = "0 20 * * 1-5", start = "0 6 * * 1-5" }
    min_size = 2
    max_size = 3
  }

  override_data {
    target = data.aws_autoscaling_groups.this
    values = { names = ["pictures"] }
  }

  override_data {
    target = data.aws_autoscaling_group.this
    values = { max_size = 0 }
  }

  assert {
    condition     = aws_autoscaling_group.this.min_size == 0 && aws_autoscaling_group.this.max_size == 0 && aws_autoscaling_schedule.start[0].min_size == 2
    error_message = "an apply at night wakes nothing; the morning brings the new sizes"
  }
}

run "where_one_zone_has_the_type" {
  command = plan

  override_data {
    target = data.aws_ec2_instance_type_offerings.this
    values = { locations = ["us-east-1a"] }
  }

  expect_failures = [aws_vpc.this]
}
