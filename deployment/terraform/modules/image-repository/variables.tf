variable "name" {
  description = "Name of the ECR repository."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9]+([._/-][a-z0-9]+)*$", var.name)) && length(var.name) >= 2
    error_message = "name must be lower-case letters and digits, joined by dots, hyphens, underscores or slashes."
  }
}

variable "kms_key_arn" {
  description = "Customer-managed KMS key of the images; null: AWS's own."
  type        = string
  default     = null
}

variable "force_delete" {
  description = "Let destroy delete the images too."
  type        = bool
  default     = false
  nullable    = false
}

variable "tags" {
  description = "Tags of the repository."
  type        = map(string)
  default     = {}
  nullable    = false
}
