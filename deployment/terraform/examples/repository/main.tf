# The repository of the images: for itself, so that no deployment that is destroyed takes them along.

terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.80, < 7"
    }
  }
}

provider "aws" {
  region = var.region
}

variable "region" {
  description = "AWS region."
  type        = string
}

variable "name" {
  description = "Name of the repository."
  type        = string
  default     = "stable-diffusion"
}

module "repository" {
  source = "../../modules/image-repository"

  name = var.name
}

output "url" {
  description = "Of the repository, to push to."
  value       = module.repository.url
}
