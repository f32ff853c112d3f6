# Who is told, and of what is an event rather than a measurement.

resource "aws_sns_topic" "alarms" {
  count = local.mailed ? 1 : 0

  name              = "${local.name}-alarms"
  kms_master_key_id = var.kms_key_arn

  tags = local.tags
}

resource "aws_sns_topic_policy" "alarms" {
  count = local.mailed ? 1 : 0

  arn = aws_sns_topic.alarms[0].arn

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "Publish"
      Effect    = "Allow"
      Action    = "sns:Publish"
      Resource  = aws_sns_topic.alarms[0].arn
      Principal = { Service = ["budgets.amazonaws.com", "cloudwatch.amazonaws.com", "events.amazonaws.com"] }
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}

resource "aws_sns_topic_subscription" "alarms" {
  count = local.mailed ? 1 : 0

  topic_arn = aws_sns_topic.alarms[0].arn
  protocol  = "email"
  endpoint  = var.alarm_email
}

# The one for launches is also sent where there is no capacity, or no quota.
resource "aws_cloudwatch_event_rule" "failures" {
  name        = "${local.name}-failures"
  description = "Launches of ${local.name} that fail, and roll-outs that fail or go back"

  event_pattern = jsonencode({
    source = ["aws.autoscaling"]
    detail-type = [
      "EC2 Instance Launch Unsuccessful",
      "EC2 Auto Scaling Instance Refresh Failed",
      "EC2 Auto Scaling Instance Refresh Rollback Started",
      "EC2 Auto Scaling Instance Refresh Rollback Failed",
    ]
    detail = { AutoScalingGroupName = [local.name] }
  })

  tags = local.tags
}

resource "aws_cloudwatch_event_target" "failures" {
  count = (local.mailed ? 1 : 0) + length(var.alarm_topic_arns)

  rule      = aws_cloudwatch_event_rule.failures.name
  target_id = "topic-${count.index}"
  arn       = local.alarm_actions[count.index]
}

resource "aws_budgets_budget" "this" {
  count = var.monthly_budget_usd == null ? 0 : 1

  name         = local.global_name
  budget_type  = "COST"
  time_unit    = "MONTHLY"
  limit_amount = tostring(var.monthly_budget_usd)
  limit_unit   = "USD"

  cost_filter {
    name   = "TagKeyValue"
    values = [format("user:Deployment$%s", local.name)]
  }

  dynamic "notification" {
    for_each = { ACTUAL = 80, FORECASTED = 100 }

    content {
      notification_type          = notification.key
      comparison_operator        = "GREATER_THAN"
      threshold                  = notification.value
      threshold_type             = "PERCENTAGE"
      subscriber_email_addresses = compact([var.alarm_email])
      subscriber_sns_topic_arns  = var.alarm_topic_arns
    }
  }

  tags = local.tags
}
