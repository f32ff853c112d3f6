data "aws_ssm_parameter" "ami" {
  count = var.ami_id == null ? 1 : 0

  name = (
    var.enable_gpus
    ? "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-amazon-linux-2023/latest/ami-id"
    : "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
  )
}

locals {
  # The number of an AMI is no secret.
  ami_id = var.ami_id == null ? nonsensitive(data.aws_ssm_parameter.ami[0].value) : var.ami_id

  # Running jobs get drain_seconds from the service; a container that does not end is killed.
  stop_seconds = var.drain_seconds + 30
}

resource "aws_security_group" "instance" {
  name        = "${local.name}-instance"
  description = "Instances of ${local.name}"
  vpc_id      = local.vpc_id

  tags = { Name = "${local.name}-instance" }
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
  name                   = local.name
  update_default_version = true

  image_id      = local.ami_id
  instance_type = var.instance_type
  user_data     = base64encode(local.user_data)

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

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_type           = "gp3"
      volume_size           = var.root_volume_gb
      throughput            = 250
      encrypted             = true
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
}

resource "aws_autoscaling_group" "this" {
  name                      = local.name
  min_size                  = var.min_size
  max_size                  = var.max_size
  vpc_zone_identifier       = local.instance_subnet_ids
  target_group_arns         = [aws_lb_target_group.this.arn]
  health_check_type         = "ELB"
  health_check_grace_period = 120
  default_instance_warmup   = 120
  capacity_rebalance        = var.spot
  enabled_metrics           = ["GroupDesiredCapacity", "GroupInServiceInstances"]
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
        for_each = concat([var.instance_type], var.alternative_instance_types)

        content {
          instance_type = override.value
        }
      }
    }
  }

  # An instance is in service when it has reported that /readyz is 200. One that reports a failure,
  # or nothing in time, is terminated and replaced.
  initial_lifecycle_hook {
    name                 = "ready"
    lifecycle_transition = "autoscaling:EC2_INSTANCE_LAUNCHING"
    heartbeat_timeout    = min(var.start_timeout_seconds + 300, 7200)
    default_result       = "ABANDON"
  }

  # The load balancer has let its requests end; this lets running jobs end, too.
  initial_lifecycle_hook {
    name                 = "drained"
    lifecycle_transition = "autoscaling:EC2_INSTANCE_TERMINATING"
    heartbeat_timeout    = local.stop_seconds + 60
    default_result       = "CONTINUE"
  }

  instance_refresh {
    strategy = "Rolling"

    preferences {
      min_healthy_percentage = var.refresh_min_healthy_percentage
      max_healthy_percentage = var.refresh_min_healthy_percentage == 100 ? 200 : 100
      skip_matching          = true
      auto_rollback          = true

      alarm_specification {
        alarms = [aws_cloudwatch_metric_alarm.errors.alarm_name]
      }
    }
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
    delete = "${ceil((local.patience + local.stop_seconds) / 60) + 20}m"
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
    aws_vpc_security_group_egress_rule.endpoints,
    aws_vpc_security_group_egress_rule.https,
    aws_vpc_security_group_egress_rule.s3,
    aws_vpc_security_group_ingress_rule.from_load_balancer,
  ]
}

# Jobs in the engine, on average over the instances: waiting for a place in the batch, or in it.
resource "aws_autoscaling_policy" "queue" {
  name                   = "queue"
  autoscaling_group_name = aws_autoscaling_group.this.name
  policy_type            = "TargetTrackingScaling"

  target_tracking_configuration {
    target_value = var.jobs_per_instance

    customized_metric_specification {
      dynamic "metrics" {
        for_each = toset(["running", "waiting"])

        content {
          id          = metrics.value
          label       = "Jobs ${metrics.value}"
          return_data = false

          metric_stat {
            stat = "Average"

            metric {
              namespace   = local.metrics_namespace
              metric_name = "sd_queue_depth"

              dimensions {
                name  = "AutoScalingGroupName"
                value = local.name
              }

              dimensions {
                name  = "state"
                value = metrics.value
              }
            }
          }
        }
      }

      metrics {
        id          = "jobs"
        label       = "Jobs per instance"
        expression  = "running + waiting"
        return_data = true
      }
    }
  }
}

resource "aws_autoscaling_schedule" "stop" {
  count = var.schedule == null ? 0 : 1

  scheduled_action_name  = "stop"
  autoscaling_group_name = aws_autoscaling_group.this.name
  recurrence             = var.schedule.stop
  time_zone              = var.schedule.time_zone
  min_size               = 0
  max_size               = 0
  desired_capacity       = 0
}

resource "aws_autoscaling_schedule" "start" {
  count = var.schedule == null ? 0 : 1

  scheduled_action_name  = "start"
  autoscaling_group_name = aws_autoscaling_group.this.name
  recurrence             = var.schedule.start
  time_zone              = var.schedule.time_zone
  min_size               = var.min_size
  max_size               = var.max_size
  desired_capacity       = var.min_size
}
