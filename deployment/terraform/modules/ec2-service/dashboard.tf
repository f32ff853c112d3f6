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
  dashboard_name = local.global_name

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
            region  = local.region
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
          region = local.region
          view   = "table"
          query  = "SOURCE '${local.log_group}' | fields @timestamp, @logStream, @message | filter @message like /ERROR|FAILED|Traceback/ | sort @timestamp desc | limit 50"
        }
      }],
    )
  })
}
