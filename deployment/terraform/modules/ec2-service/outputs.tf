output "endpoint" {
  description = "URL of the service."
  value       = local.endpoint
}

output "dashboard_url" {
  description = "CloudWatch dashboard."
  value       = "https://${local.region}.console.aws.amazon.com/cloudwatch/home?region=${local.region}#dashboards/dashboard/${aws_cloudwatch_dashboard.this.dashboard_name}"
}

output "log_group" {
  description = "CloudWatch log group: a stream per instance for the service, its boot and its metrics."
  value       = aws_cloudwatch_log_group.this.name
}

output "asg_name" {
  description = "Auto Scaling group."
  value       = aws_autoscaling_group.this.name
}

output "load_balancer_dns_name" {
  description = "What domain_name has to point to, where zone_id does not do that."
  value       = aws_lb.this.dns_name
}

output "availability_zones" {
  description = "Zones that are used, of a VPC of the module's."
  value       = local.zones
}

output "rollout" {
  description = "What rollout.py has to know to roll out another version."
  value = {
    region                 = local.region
    group                  = aws_autoscaling_group.this.name
    launch_template        = aws_launch_template.this.id
    min_healthy_percentage = var.refresh_min_healthy_percentage
    max_healthy_percentage = local.max_healthy_percentage
    alarms                 = var.refresh_alarm_enabled ? [aws_cloudwatch_metric_alarm.error_share["refresh"].alarm_name] : []
  }
}
