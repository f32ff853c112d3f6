locals {
  metrics_namespace = "StableDiffusion"
  log_group         = "/stable-diffusion/${local.name}"

  alarm_actions = concat(aws_sns_topic.alarms[*].arn, var.alarm_topic_arns)

  group         = { AutoScalingGroupName = local.name }
  load_balancer = { LoadBalancer = aws_lb.this.arn_suffix }
  targets       = { LoadBalancer = aws_lb.this.arn_suffix, TargetGroup = aws_lb_target_group.this.arn_suffix }
}

resource "aws_cloudwatch_log_group" "this" {
  name              = local.log_group
  retention_in_days = var.log_retention_days
}

resource "aws_sns_topic" "alarms" {
  count = var.alarm_email == null ? 0 : 1

  name = "${local.name}-alarms"
}

resource "aws_sns_topic_subscription" "alarms" {
  count = var.alarm_email == null ? 0 : 1

  topic_arn = aws_sns_topic.alarms[0].arn
  protocol  = "email"
  endpoint  = var.alarm_email
}

resource "aws_cloudwatch_metric_alarm" "errors" {
  alarm_name          = "${local.name}-errors"
  alarm_description   = "Five responses or more of 5xx within five minutes, from the service or from the load balancer."
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 5
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions

  metric_query {
    id          = "errors"
    label       = "5xx"
    expression  = "FILL(service, 0) + FILL(balancer, 0)"
    return_data = true
  }

  metric_query {
    id = "service"

    metric {
      namespace   = "AWS/ApplicationELB"
      metric_name = "HTTPCode_Target_5XX_Count"
      dimensions  = local.load_balancer
      stat        = "Sum"
      period      = 300
    }
  }

  metric_query {
    id = "balancer"

    metric {
      namespace   = "AWS/ApplicationELB"
      metric_name = "HTTPCode_ELB_5XX_Count"
      dimensions  = local.load_balancer
      stat        = "Sum"
      period      = 300
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

# Also when there is no target at all, which the load balancer's metric does not say.
resource "aws_cloudwatch_metric_alarm" "no_healthy_instance" {
  alarm_name          = "${local.name}-no-healthy-instance"
  alarm_description   = "For five minutes there should have been an instance, and none was healthy."
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  evaluation_periods  = 5
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions

  metric_query {
    id          = "missing"
    label       = "No healthy instance"
    expression  = "IF(FILL(desired, 0) > 0 AND FILL(healthy, 0) < 1, 1, 0)"
    return_data = true
  }

  metric_query {
    id = "desired"

    metric {
      namespace   = "AWS/AutoScaling"
      metric_name = "GroupDesiredCapacity"
      dimensions  = local.group
      stat        = "Maximum"
      period      = 60
    }
  }

  metric_query {
    id = "healthy"

    metric {
      namespace   = "AWS/ApplicationELB"
      metric_name = "HealthyHostCount"
      dimensions  = local.targets
      stat        = "Maximum"
      period      = 60
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "gpu_memory" {
  count = var.enable_gpus ? 1 : 0

  alarm_name          = "${local.name}-gpu-memory"
  alarm_description   = "More than 95 % of a GPU's memory for 15 minutes: the next large picture may not fit."
  comparison_operator = "GreaterThanThreshold"
  threshold           = 95
  evaluation_periods  = 3
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions

  metric_query {
    id          = "share"
    label       = "GPU memory, %"
    expression  = "100 * used / total"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = toset(["used", "total"])

    content {
      id = metric_query.value

      metric {
        namespace   = local.metrics_namespace
        metric_name = "nvidia_smi_memory_${metric_query.value}"
        dimensions  = local.group
        stat        = "Maximum"
        period      = 300
      }
    }
  }
}

locals {
  gpu_widgets = [for widget in [
    {
      title = "GPU: busy, %"
      metrics = [
        [local.metrics_namespace, "nvidia_smi_utilization_gpu", "AutoScalingGroupName", local.name, { stat = "Average" }],
      ]
    },
    {
      title = "GPU: memory, %"
      metrics = [
        [{ expression = "100 * used / total", label = "Used" }],
        [local.metrics_namespace, "nvidia_smi_memory_used", "AutoScalingGroupName", local.name, { id = "used", stat = "Maximum", visible = false }],
        [local.metrics_namespace, "nvidia_smi_memory_total", "AutoScalingGroupName", local.name, { id = "total", stat = "Maximum", visible = false }],
      ]
    },
  ] : widget if var.enable_gpus]

  widgets = concat([
    {
      title = "Requests a minute"
      metrics = [
        ["AWS/ApplicationELB", "RequestCount", "LoadBalancer", aws_lb.this.arn_suffix, { stat = "Sum", label = "All" }],
        [".", "HTTPCode_Target_4XX_Count", ".", ".", { stat = "Sum", label = "4xx" }],
        [".", "HTTPCode_Target_5XX_Count", ".", ".", { stat = "Sum", label = "5xx of the service" }],
        [".", "HTTPCode_ELB_5XX_Count", ".", ".", { stat = "Sum", label = "5xx of the load balancer" }],
      ]
    },
    {
      title = "Seconds until a response"
      metrics = [
        ["AWS/ApplicationELB", "TargetResponseTime", "LoadBalancer", aws_lb.this.arn_suffix, { stat = "p50", label = "Median" }],
        ["...", { stat = "p95", label = "95th percentile" }],
      ]
    },
    {
      title = "Jobs per instance"
      metrics = [
        [local.metrics_namespace, "sd_queue_depth", "AutoScalingGroupName", local.name, "state", "running", { stat = "Average", label = "Running" }],
        ["...", "waiting", { stat = "Average", label = "Waiting" }],
      ]
    },
    {
      title = "Instances"
      metrics = [
        ["AWS/AutoScaling", "GroupDesiredCapacity", "AutoScalingGroupName", local.name, { stat = "Maximum", label = "Wanted" }],
        ["AWS/ApplicationELB", "HealthyHostCount", "TargetGroup", aws_lb_target_group.this.arn_suffix, "LoadBalancer", aws_lb.this.arn_suffix, { stat = "Maximum", label = "Healthy" }],
      ]
    },
  ], local.gpu_widgets)
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = local.name

  dashboard_body = jsonencode({
    widgets = concat(
      [
        for index, widget in local.widgets : {
          type   = "metric"
          x      = 12 * (index % 2)
          y      = 6 * floor(index / 2)
          width  = 12
          height = 6
          properties = {
            title   = widget.title
            region  = var.region
            view    = "timeSeries"
            period  = 60
            metrics = widget.metrics
            yAxis   = { left = { min = 0 } }
          }
        }
      ],
      [{
        type   = "log"
        x      = 0
        y      = 6 * ceil(length(local.widgets) / 2)
        width  = 24
        height = 6
        properties = {
          title  = "Errors"
          region = var.region
          view   = "table"
          query  = "SOURCE '${local.log_group}' | fields @timestamp, @logStream, @message | filter @message like /ERROR|FAILED|Traceback/ | sort @timestamp desc | limit 50"
        }
      }],
    )
  })
}
