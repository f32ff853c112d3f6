locals {
  instance_types = concat([var.instance_type], var.alternative_instance_types)

  # Running jobs get drain_seconds from the service; a container that does not end is killed.
  stop_seconds = var.drain_seconds + 30
  # Until an instance that is to go has ended its requests and its jobs, and said so.
  leave_seconds = local.patience + local.stop_seconds + 60
}

resource "aws_security_group" "instance" {
  name        = "${local.name}-instance"
  description = "Instances of ${local.name}"
  vpc_id      = local.vpc_id

  tags = merge(local.tags, { Name = "${local.name}-instance" })
}

resource "aws_vpc_security_group_ingress_rule" "from_load_balancer" {
  security_group_id            = aws_security_group.instance.id
  description                  = "The service, for the load balancer"
  referenced_security_group_id = aws_security_group.load_balancer.id
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
}

resource "aws_vpc_security_group_egress_rule" "https" {
  count = local.sealed ? 0 : 1

  security_group_id = aws_security_group.instance.id
  description       = "AWS services and registries"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

# Amazon's own DNS needs no rule.
resource "aws_vpc_security_group_egress_rule" "dns" {
  for_each = { for pair in setproduct(var.dns_server_cidrs, ["tcp", "udp"]) : join(" ", pair) => pair }

  security_group_id = aws_security_group.instance.id
  description       = "DNS servers"
  cidr_ipv4         = each.value[0]
  ip_protocol       = each.value[1]
  from_port         = 53
  to_port           = 53
}

resource "aws_vpc_security_group_egress_rule" "endpoints" {
  count = local.sealed ? 1 : 0

  security_group_id            = aws_security_group.instance.id
  description                  = "AWS services"
  referenced_security_group_id = aws_security_group.endpoints[0].id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

resource "aws_vpc_security_group_egress_rule" "s3" {
  count = local.sealed ? 1 : 0

  security_group_id = aws_security_group.instance.id
  description       = "S3: layers of images, models, packages"
  prefix_list_id    = aws_vpc_endpoint.s3[0].prefix_list_id
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_launch_template" "this" {
  name = local.name
  # What a version of it runs, for the one who rolls back.
  description = substr(var.image_uri, -min(255, length(var.image_uri)), -1)

  image_id      = local.ami.id
  instance_type = var.instance_type
  user_data     = local.user_data_gzip

  iam_instance_profile {
    arn = aws_iam_instance_profile.instance.arn
  }

  network_interfaces {
    associate_public_ip_address = false
    security_groups             = [aws_security_group.instance.id]
    delete_on_termination       = true
  }

  # IMDSv2 only, and one hop: the container cannot reach the instance's role.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  # The AMI's root volume, not another one beside it.
  block_device_mappings {
    device_name = local.ami.root_device_name

    ebs {
      volume_type           = "gp3"
      volume_size           = max(var.root_volume_gb, local.ami_volume_gb)
      throughput            = 250
      encrypted             = true
      kms_key_id            = var.kms_key_arn
      delete_on_termination = true
    }
  }

  monitoring {
    enabled = true
  }

  dynamic "tag_specifications" {
    for_each = toset(["instance", "volume", "network-interface"])

    content {
      resource_type = tag_specifications.value
      tags          = merge(local.tags, { Name = local.name })
    }
  }

  tags = local.tags

  lifecycle {
    precondition {
      condition     = local.ami.architecture == "x86_64" && local.ami.root_device_type == "ebs" && local.ami.virtualization_type == "hvm"
      error_message = "ami_id must be an x86_64 HVM image with an EBS root volume; ${local.ami.id} is ${local.ami.architecture}, ${local.ami.virtualization_type}, ${local.ami.root_device_type}."
    }

    precondition {
      condition     = local.amazon_linux
      error_message = "ami_id must be Amazon Linux 2023 (with al2023 in its name or description), whose programs an instance boots with; ${local.ami.id} is ${local.ami.name}. Amazon Linux 2, Ubuntu and their Deep Learning AMIs cannot be used."
    }

    precondition {
      condition     = local.user_data_bytes <= 16384
      error_message = "the user data would have ${local.user_data_bytes} bytes, and EC2 takes 16384: shorten environment and secrets."
    }
  }
}

# What the group has now, if it is there.
data "aws_autoscaling_groups" "this" {
  names = [local.name]
}

data "aws_autoscaling_group" "this" {
  count = var.schedule == null ? 0 : length(data.aws_autoscaling_groups.this.names)

  name = local.name
}

locals {
  # Stopped by the schedule, and not to be woken by an apply: the next start brings the new sizes.
  asleep = anytrue([for group in data.aws_autoscaling_group.this : group.max_size == 0])
}

resource "aws_autoscaling_group" "this" {
  name                      = local.name
  min_size                  = local.asleep ? 0 : var.min_size
  max_size                  = local.asleep ? 0 : var.max_size
  vpc_zone_identifier       = local.instance_subnet_ids
  target_group_arns         = [aws_lb_target_group.this.arn]
  health_check_grace_period = 120
  default_instance_warmup   = 120
  capacity_rebalance        = var.spot
  enabled_metrics           = ["GroupDesiredCapacity", "GroupInServiceInstances"]
  max_instance_lifetime     = var.max_instance_days == null ? null : var.max_instance_days * 86400
  # The load balancer's check is for its requests, and a fast one: a container that restarts gets none,
  # and its instance stays. One that is not ready for long says so (instance/watch.sh).
  health_check_type = "EC2"
  # apply ends when the first instances serve, or says why they do not.
  wait_for_capacity_timeout = "${ceil(var.start_timeout_seconds / 60) + 10}m"

  mixed_instances_policy {
    instances_distribution {
      on_demand_base_capacity                  = var.on_demand_base
      on_demand_percentage_above_base_capacity = var.spot ? 0 : 100
      on_demand_allocation_strategy            = "prioritized"
      spot_allocation_strategy                 = "price-capacity-optimized"
    }

    launch_template {
      launch_template_specification {
        launch_template_id = aws_launch_template.this.id
        version            = aws_launch_template.this.latest_version
      }

      dynamic "override" {
        for_each = local.instance_types

        content {
          instance_type = override.value
        }
      }
    }
  }

  # Who replaces instances for other reasons than a roll-out keeps as many.
  instance_maintenance_policy {
    min_healthy_percentage = var.refresh_min_healthy_percentage
    max_healthy_percentage = local.max_healthy_percentage
  }

  # Those of the first instances. They cannot be changed without another group, so their times are the
  # longest there are; aws_autoscaling_lifecycle_hook has the real ones, under the same names.
  initial_lifecycle_hook {
    name                 = "ready"
    lifecycle_transition = "autoscaling:EC2_INSTANCE_LAUNCHING"
    heartbeat_timeout    = 7200
    default_result       = "ABANDON"
  }

  initial_lifecycle_hook {
    name                 = "drained"
    lifecycle_transition = "autoscaling:EC2_INSTANCE_TERMINATING"
    heartbeat_timeout    = 7200
    default_result       = "CONTINUE"
  }

  dynamic "tag" {
    for_each = local.tags

    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = false
    }
  }

  timeouts {
    delete = "${ceil(local.leave_seconds / 60) + 20}m"
  }

  lifecycle {
    ignore_changes = [
      initial_lifecycle_hook,
      # Another version is rolled out by a command (rollout.py). A refresh rolls back to what the group
      # says, so the group must not say anything of the new version before it.
      mixed_instances_policy[0].launch_template[0].launch_template_specification[0].version,
      # The brake on failing boots; a roll-out loosens it.
      suspended_processes,
    ]

    precondition {
      condition     = local.keyed != var.allow_anonymous
      error_message = "api_keys must name the secret with the keys of your clients, such as ssm:/${local.name}/api-keys; or allow_anonymous = true lets everybody in allowed_cidrs use the service. Not both."
    }
  }

  # An instance needs all of it while it boots.
  depends_on = [
    aws_cloudwatch_log_group.this,
    aws_iam_role_policy.instance,
    aws_lb_listener.http,
    aws_lb_listener.https,
    aws_route.nat,
    aws_route_table_association.private,
    aws_vpc_endpoint.interface,
    aws_vpc_endpoint.s3,
    aws_vpc_security_group_egress_rule.dns,
    aws_vpc_security_group_egress_rule.endpoints,
    aws_vpc_security_group_egress_rule.https,
    aws_vpc_security_group_egress_rule.s3,
    aws_vpc_security_group_ingress_rule.from_load_balancer,
  ]
}

# An instance is in service when it has reported that /readyz is 200. One that reports a failure,
# or nothing in time, is terminated and replaced.
resource "aws_autoscaling_lifecycle_hook" "ready" {
  name                   = "ready"
  autoscaling_group_name = aws_autoscaling_group.this.name
  lifecycle_transition   = "autoscaling:EC2_INSTANCE_LAUNCHING"
  heartbeat_timeout      = min(var.start_timeout_seconds + 300, 7200)
  default_result         = "ABANDON"
}

# An instance that goes takes no more requests, and ends those that it has, and its jobs.
resource "aws_autoscaling_lifecycle_hook" "drained" {
  name                   = "drained"
  autoscaling_group_name = aws_autoscaling_group.this.name
  lifecycle_transition   = "autoscaling:EC2_INSTANCE_TERMINATING"
  heartbeat_timeout      = min(local.leave_seconds, 7200)
  default_result         = "CONTINUE"
}
