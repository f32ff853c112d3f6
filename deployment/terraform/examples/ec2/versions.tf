terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.80, < 7"
    }
  }

  # A team keeps the state in S3, with a lock next to it; docs/deploy-ec2.md.
  # backend "s3" {
  #   bucket       = "example-terraform-state"
  #   key          = "pictures/terraform.tfstate"
  #   region       = "us-east-1"
  #   encrypt      = true
  #   use_lockfile = true
  # }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = { Deployment = var.deployment_name, ManagedBy = "terraform" }
  }
}
