# What the variables refuse: one bad value of each.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
}

run "refuses" {
  command = plan

  variables {
    cluster_name          = "Pictures"
    region                = "us-east-1a"
    kubernetes_version    = "1.29"
    availability_zones    = ["us-east-1a", "us-east-1a"]
    vpc_cidr              = "192.168.0.0/16"
    public_access_cidrs   = ["0.0.0.0/0"]
    administrators        = []
    models_bucket         = "s3://models"
    models_prefix         = "/models/"
    system_instance_types = ["m7g.xlarge"]
    system_nodes          = 1
    log_retention_days    = 31
  }

  expect_failures = [
    var.cluster_name,
    var.region,
    var.kubernetes_version,
    var.availability_zones,
    var.vpc_cidr,
    var.public_access_cidrs,
    var.administrators,
    var.models_bucket,
    var.models_prefix,
    var.system_instance_types,
    var.system_nodes,
    var.log_retention_days,
  ]
}
