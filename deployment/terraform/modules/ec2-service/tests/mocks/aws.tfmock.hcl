# The AWS that is planned against.

mock_data "aws_caller_identity" {
  defaults = { account_id = "123456789012" }
}

mock_data "aws_partition" {
  defaults = { partition = "aws" }
}

mock_data "aws_availability_zones" {
  defaults = { names = ["us-east-1a", "us-east-1b", "us-east-1c", "us-east-1d"] }
}

mock_data "aws_ec2_instance_type_offerings" {
  defaults = { locations = ["us-east-1c", "us-east-1a", "us-east-1b"] }
}

mock_data "aws_ssm_parameter" {
  defaults = { value = "ami-0123456789abcdef0" }
}

mock_data "aws_ami" {
  defaults = {
    id                  = "ami-0123456789abcdef0"
    name                = "Deep Learning Base OSS Nvidia Driver GPU AMI (Amazon Linux 2023) 20261120"
    description         = ""
    architecture        = "x86_64"
    root_device_name    = "/dev/xvda"
    root_device_type    = "ebs"
    virtualization_type = "hvm"
    block_device_mappings = [
      { device_name = "/dev/xvda", ebs = { volume_size = "75" }, no_device = "", virtual_name = "" },
    ]
  }
}

mock_data "aws_autoscaling_groups" {
  defaults = { names = [] }
}

mock_data "aws_region" {
  defaults = { id = "us-east-1" }
}

mock_data "aws_vpc" {
  defaults = { cidr_block_associations = [{ cidr_block = "10.7.0.0/16" }, { cidr_block = "100.64.0.0/16" }] }
}
