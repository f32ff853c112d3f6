output "endpoint" {
  description = "URL of the service."
  value       = module.service.endpoint
}

output "load_balancer_dns_name" {
  description = "What domain_name has to point to, where zone_id does not do that."
  value       = module.service.load_balancer_dns_name
}

output "log_group" {
  description = "CloudWatch log group."
  value       = module.service.log_group
}

output "dashboard_url" {
  description = "CloudWatch dashboard."
  value       = module.service.dashboard_url
}

output "rollout" {
  description = "For rollout.py."
  value       = module.service.rollout
}
