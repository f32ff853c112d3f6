locals {
  # The new one is there before the old one goes; or there is one less for a while.
  max_healthy_percentage = var.refresh_min_healthy_percentage == 100 ? 200 : 100
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
