# What AWS says of instances that are about to go; Karpenter reads it and has new ones started.

locals {
  events = {
    SpotInterruption     = { source = ["aws.ec2"], detail-type = ["EC2 Spot Instance Interruption Warning"] }
    Rebalance            = { source = ["aws.ec2"], detail-type = ["EC2 Instance Rebalance Recommendation"] }
    InstanceStateChange  = { source = ["aws.ec2"], detail-type = ["EC2 Instance State-change Notification"] }
    CapacityInterruption = { source = ["aws.ec2"], detail-type = ["EC2 Capacity Reservation Instance Interruption Warning"] }
    ScheduledChange      = { source = ["aws.health"], detail-type = ["AWS Health Event"] }
  }
}

resource "aws_sqs_queue" "interruptions" {
  name                      = "${local.name}-interruptions"
  message_retention_seconds = 300
  kms_master_key_id         = aws_kms_key.this.arn
}

resource "aws_sqs_queue_policy" "interruptions" {
  queue_url = aws_sqs_queue.interruptions.url

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "Events"
        Effect    = "Allow"
        Action    = "sqs:SendMessage"
        Resource  = aws_sqs_queue.interruptions.arn
        Principal = { Service = "events.amazonaws.com" }
        Condition = {
          ArnLike = { "aws:SourceArn" = "arn:${local.partition}:events:${var.region}:${local.account}:rule/${local.name}-*" }
        }
      },
      {
        Sid       = "TLSOnly"
        Effect    = "Deny"
        Action    = "sqs:*"
        Resource  = aws_sqs_queue.interruptions.arn
        Principal = "*"
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}

resource "aws_cloudwatch_event_rule" "interruptions" {
  for_each = local.events

  name          = "${local.name}-${each.key}"
  event_pattern = jsonencode(each.value)
}

resource "aws_cloudwatch_event_target" "interruptions" {
  for_each = local.events

  rule = aws_cloudwatch_event_rule.interruptions[each.key].name
  arn  = aws_sqs_queue.interruptions.arn
}
