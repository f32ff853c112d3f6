locals {
  metrics_namespace = "StableDiffusion"
  log_group         = "/stable-diffusion/${local.name}"

  mailed        = var.alarm_email != null
  alarm_actions = concat(aws_sns_topic.alarms[*].arn, var.alarm_topic_arns)

  group         = { AutoScalingGroupName = local.name }
  load_balancer = { LoadBalancer = aws_lb.this.arn_suffix }
  targets       = { LoadBalancer = aws_lb.this.arn_suffix, TargetGroup = aws_lb_target_group.this.arn_suffix }

  # By the name of the alarm: a share of the responses that are errors, above which it goes off, where
  # there are enough requests to speak of a share.
  error_shares = {
    errors = {
      description = "More than 5 % of the responses of five minutes, of 20 or more, were 5xx, from the service or from the load balancer."
      requests    = 20
      metrics     = ["HTTPCode_Target_5XX_Count", "HTTPCode_ELB_5XX_Count"]
    }
    # The load balancer's own are left out: with one instance's quota there is a gap while it is
    # replaced, and that is no fault of the new one.
    refresh = {
      description = "More than 5 % of the service's responses of five minutes, of 50 or more, were 5xx: a roll-out goes back."
      requests    = 50
      metrics     = ["HTTPCode_Target_5XX_Count"]
    }
  }
}

resource "aws_cloudwatch_log_group" "this" {
  name              = local.log_group
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn

  tags = local.tags
}

resource "aws_cloudwatch_metric_alarm" "error_share" {
  for_each = local.error_shares

  alarm_name          = "${local.name}-${each.key}"
  alarm_description   = each.value.description
  comparison_operator = "GreaterThanThreshold"
  threshold           = 5
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  # The other one is looked at by a roll-out, and by nobody else.
  alarm_actions = each.key == "errors" ? local.alarm_actions : []
  ok_actions    = each.key == "errors" ? local.alarm_actions : []

  metric_query {
    id          = "share"
    label       = "5xx, %"
    expression  = "IF(FILL(requests, 0) >= ${each.value.requests}, 100 * (${join(" + ", [for index, _ in each.value.metrics : "FILL(m${index}, 0)"])}) / requests, 0)"
    return_data = true
  }

  metric_query {
    id = "requests"

    metric {
      namespace   = "AWS/ApplicationELB"
      metric_name = "RequestCount"
      dimensions  = local.load_balancer
      stat        = "Sum"
      period      = 300
    }
  }

  dynamic "metric_query" {
    for_each = each.value.metrics

    content {
      id = "m${metric_query.key}"

      metric {
        namespace   = "AWS/ApplicationELB"
        metric_name = metric_query.value
        dimensions  = local.load_balancer
        stat        = "Sum"
        period      = 300
      }
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "queue" {
  alarm_name          = "${local.name}-queue"
  alarm_description   = "Twice jobs_per_instance for 15 minutes: max_size is reached, or new instances do not come."
  comparison_operator = "GreaterThanThreshold"
  threshold           = 2 * var.jobs_per_instance
  evaluation_periods  = 3
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions

  metric_query {
    id          = "jobs"
    label       = "Jobs per instance"
    expression  = "running + waiting"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = toset(["running", "waiting"])

    content {
      id = metric_query.value

      metric {
        namespace   = local.metrics_namespace
        metric_name = "sd_queue_depth"
        dimensions  = merge(local.group, { state = metric_query.value })
        stat        = "Average"
        period      = 300
      }
    }
  }
}

# By what the group counts: both series are there from the first minute on, also without an instance.
resource "aws_cloudwatch_metric_alarm" "no_healthy_instance" {
  alarm_name          = "${local.name}-no-healthy-instance"
  alarm_description   = "For five minutes there should have been an instance, and none was in service."
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  evaluation_periods  = 5
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions

  metric_query {
    id          = "missing"
    label       = "No instance in service"
    expression  = "IF(desired > 0 AND serving < 1, 1, 0)"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = { desired = "GroupDesiredCapacity", serving = "GroupInServiceInstances" }

    content {
      id = metric_query.key

      metric {
        namespace   = "AWS/AutoScaling"
        metric_name = metric_query.value
        dimensions  = local.group
        stat        = "Maximum"
        period      = 60
      }
    }
  }
}

# Not by the memory that is taken: torch keeps what it has once had.
resource "aws_cloudwatch_metric_alarm" "out_of_memory" {
  alarm_name          = "${local.name}-out-of-memory"
  alarm_description   = "Ten passes or more of 15 minutes did not fit into memory, and were taken again with half the rows: the pictures are too large for the GPU, or too many at once."
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 10
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions

  namespace   = local.metrics_namespace
  metric_name = "sd_out_of_memory_total"
  dimensions  = local.group
  statistic   = "Sum"
  period      = 900
}

resource "aws_cloudwatch_metric_alarm" "throttled" {
  alarm_name          = "${local.name}-throttled"
  alarm_description   = "More than 10 % of the requests of 15 minutes, and 20 or more, were refused with 429: the instances are not enough."
  comparison_operator = "GreaterThanThreshold"
  threshold           = 10
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions

  metric_query {
    id          = "share"
    label       = "Refused, %"
    expression  = "IF(FILL(refused, 0) >= 20, 100 * refused / requests, 0)"
    return_data = true
  }

  metric_query {
    id = "refused"

    metric {
      namespace   = local.metrics_namespace
      metric_name = "bentoml_api_server_request_total"
      dimensions  = merge(local.group, { http_response_code = "429" })
      stat        = "Sum"
      period      = 900
    }
  }

  metric_query {
    id = "requests"

    metric {
      namespace   = "AWS/ApplicationELB"
      metric_name = "RequestCount"
      dimensions  = local.load_balancer
      stat        = "Sum"
      period      = 900
    }
  }
}

# What streams its response begins it at once; a picture is waited for.
resource "aws_cloudwatch_metric_alarm" "slow" {
  alarm_name          = "${local.name}-slow"
  alarm_description   = "For 15 minutes 5 % of the requests waited for a response longer than half of deadline_seconds."
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.deadline_seconds / 2
  evaluation_periods  = 3
  treat_missing_data  = "notBreaching"
  # A single slow request is no 5 %.
  evaluate_low_sample_count_percentiles = "ignore"
  alarm_actions                         = local.alarm_actions
  ok_actions                            = local.alarm_actions

  namespace          = "AWS/ApplicationELB"
  metric_name        = "TargetResponseTime"
  dimensions         = local.load_balancer
  extended_statistic = "p95"
  period             = 300
}

# Lines of instance/watch.sh, which begin so. What the service logs is JSON, whatever a client has said.
resource "aws_cloudwatch_log_metric_filter" "gpu_faults" {
  count = var.enable_gpus ? 1 : 0

  name           = "${local.name}-gpu-faults"
  log_group_name = aws_cloudwatch_log_group.this.name
  pattern        = "[mark=\"gpu-fault:\", group, ...]"

  metric_transformation {
    namespace  = local.metrics_namespace
    name       = "gpu_faults"
    value      = "1"
    dimensions = { AutoScalingGroupName = "$group" }
  }
}

resource "aws_cloudwatch_metric_alarm" "gpu_fault" {
  count = var.enable_gpus ? 1 : 0

  alarm_name          = "${local.name}-gpu-fault"
  alarm_description   = "The NVIDIA driver has reported a GPU that is broken (an Xid); the stream INSTANCE/watch has it. Where the service still runs there, replace the instance."
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions

  namespace   = local.metrics_namespace
  metric_name = "gpu_faults"
  dimensions  = local.group
  statistic   = "Sum"
  period      = 300
}
