output "endpoint" {
  description = "URL of the service."
  value       = local.endpoint
}

output "dashboard_url" {
  description = "CloudWatch dashboard."
  value       = "https://${var.region}.console.aws.amazon.com/cloudwatch/home?region=${var.region}#dashboards/dashboard/${aws_cloudwatch_dashboard.this.dashboard_name}"
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

output "repository_url" {
  description = "ECR repository, if this module made it."
  value       = one(aws_ecr_repository.this[*].repository_url)
}
