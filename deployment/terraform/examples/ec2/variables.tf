variable "deployment_name" {
  description = "Prefix of every name, and the value of the tag Deployment."
  type        = string
}

variable "region" {
  description = "AWS region."
  type        = string
}

variable "image_uri" {
  description = "Image to run, in the repository that examples/repository makes."
  type        = string
}

variable "allowed_cidrs" {
  description = "Who may reach the load balancer."
  type        = list(string)
}

variable "api_keys" {
  description = "Where the keys of the clients are: ssm:NAME or secretsmanager:NAME."
  type        = string
}

variable "certificate_arn" {
  description = "ACM certificate for HTTPS; null: plain HTTP, for a first try."
  type        = string
  default     = null
}

variable "domain_name" {
  description = "Name that the certificate is for."
  type        = string
  default     = null
}

variable "zone_id" {
  description = "Route 53 zone of domain_name; null: you make the record."
  type        = string
  default     = null
}

variable "alarm_email" {
  description = "Address that alarms and the budget are sent to."
  type        = string
  default     = null
}

variable "monthly_budget_usd" {
  description = "Dollars a month that you want to be told of."
  type        = number
  default     = null
}
