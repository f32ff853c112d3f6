# What is planned.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_ec2_instance_type_offerings" {
    defaults = { locations = ["us-east-1c", "us-east-1a", "us-east-1b"] }
  }

  mock_data "aws_ssm_parameter" {
    defaults = { value = "ami-0123456789abcdef0" }
  }

  mock_data "aws_vpc" {
    defaults = { cidr_block_associations = [{ cidr_block = "10.7.0.0/16" }, { cidr_block = "100.64.0.0/16" }] }
  }
}

variables {
  deployment_name = "pictures"
  region          = "us-east-1"
  image_uri       = "123456789012.dkr.ecr.us-east-1.amazonaws.com/stable-diffusion:0.1.0"
  allowed_cidrs   = ["203.0.113.0/24"]
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
    condition     = alltrue([for hook in aws_autoscaling_group.this.initial_lifecycle_hook : hook.heartbeat_timeout > 150 if hook.name == "drained"])
    error_message = "the group waits longer than the service drains"
  }

  assert {
    condition     = aws_autoscaling_group.this.instance_refresh[0].preferences[0].auto_rollback && aws_autoscaling_group.this.instance_refresh[0].preferences[0].min_healthy_percentage == 100
    error_message = "a new image comes before the old one goes, and rolls back if it fails"
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
    condition     = [for subnet in aws_subnet.private : subnet.availability_zone] == ["us-east-1a", "us-east-1b"]
    error_message = "two zones that have the instance type"
  }

  assert {
    condition     = length(aws_ecr_repository.this) == 0 && length(aws_autoscaling_schedule.stop) == 0 && length(aws_sns_topic.alarms) == 0
    error_message = "what was not asked for is not made"
  }

  assert {
    condition     = startswith(base64decode(aws_launch_template.this.user_data), "#cloud-config\n") && length(base64decode(aws_launch_template.this.user_data)) < 16384
    error_message = "EC2 takes 16 KB of user data"
  }

  assert {
    condition     = aws_launch_template.this.image_id == "ami-0123456789abcdef0" && strcontains(data.aws_ssm_parameter.ami[0].name, "nvidia-driver")
    error_message = "the AMI has the GPU's driver"
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
    create_repository              = true
    alternative_instance_types     = ["g5.xlarge", "g4dn.xlarge"]
    spot                           = true
    on_demand_base                 = 1
    schedule                       = { stop = "0 20 * * 1-5", start = "0 6 * * 1-5", time_zone = "Europe/Berlin" }
    alarm_email                    = "ops@example.com"
    deadline_seconds               = 900
    drain_seconds                  = 90
    refresh_min_healthy_percentage = 0
    egress                         = "endpoints"
    secrets                        = { SD_API_KEYS = "secretsmanager:pictures/api-keys" }
  }

  assert {
    condition     = aws_ecr_repository.this[0].image_scanning_configuration[0].scan_on_push && aws_ecr_repository.this[0].image_tag_mutability == "IMMUTABLE" && aws_ecr_repository.this[0].name == "stable-diffusion"
    error_message = "images are scanned and stay as they are"
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
    condition     = keys(aws_vpc_endpoint.interface) == ["autoscaling", "ecr.api", "ecr.dkr", "logs", "monitoring", "secretsmanager", "ssm", "ssmmessages"]
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
    condition     = strcontains(data.aws_ssm_parameter.ami[0].name, "al2023-ami-kernel-default-x86_64") && length(aws_cloudwatch_metric_alarm.gpu_memory) == 0
    error_message = "nothing of NVIDIA's"
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
