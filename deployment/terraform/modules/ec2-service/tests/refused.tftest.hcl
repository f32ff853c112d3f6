# What the variables refuse. A run takes one bad value of each variable, as runs take seconds;
# where a rule looks at another variable, that one is good.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_ec2_instance_type_offerings" {
    defaults = { locations = ["us-east-1c", "us-east-1a", "us-east-1b"] }
  }

  mock_data "aws_ssm_parameter" {
    defaults = { value = "ami-0123456789abcdef0" }
  }
}

variables {
  deployment_name = "pictures"
  region          = "us-east-1"
  image_uri       = "123456789012.dkr.ecr.us-east-1.amazonaws.com/stable-diffusion:0.1.0"
  allowed_cidrs   = ["203.0.113.0/24"]
}

run "refuses_first" {
  command = plan

  variables {
    deployment_name                = "a-name-that-is-longer-than-24"
    region                         = "us-east-1a"
    image_uri                      = "example.com/stable-diffusion:0.1.0"
    environment                    = { SD_MODELS = "a\nSD_DRAIN=0" }
    secrets_kms_key_arn            = "alias/mine"
    model_source                   = "s3://models"
    deadline_seconds               = 3600
    drain_seconds                  = -1
    instance_type                  = "g5g.xlarge"
    ami_id                         = "amazon-linux"
    root_volume_gb                 = 100
    min_size                       = 0
    jobs_per_instance              = 0
    on_demand_base                 = 0.5
    schedule                       = { stop = "20:00", start = "0 6 * * *" }
    refresh_min_healthy_percentage = 101
    start_timeout_seconds          = 60
    domain_name                    = "https://pictures.example.com"
    vpc_id                         = "vpc-0123456789abcdef0"
    instance_subnet_ids            = ["subnet-a"]
    vpc_cidr                       = "10.0.0.0/24"
    egress                         = "proxy"
    log_retention_days             = 31
    alarm_email                    = "ops"
    alarm_topic_arns               = ["ops"]
  }

  expect_failures = [
    var.alarm_email,
    var.alarm_topic_arns,
    var.ami_id,
    var.deadline_seconds,
    var.deployment_name,
    var.domain_name,
    var.drain_seconds,
    var.egress,
    var.environment,
    var.instance_type,
    var.jobs_per_instance,
    var.load_balancer_subnet_ids,
    var.log_retention_days,
    var.min_size,
    var.model_source,
    var.on_demand_base,
    var.refresh_min_healthy_percentage,
    var.region,
    var.root_volume_gb,
    var.schedule,
    var.secrets_kms_key_arn,
    var.start_timeout_seconds,
    var.vpc_cidr,
  ]
}

run "refuses_second" {
  command = plan

  variables {
    deployment_name     = "Pictures"
    image_uri           = "example.com/stable-diffusion"
    environment         = { SD_DEADLINE = "9" }
    instance_type       = "g4ad.xlarge"
    min_size            = 3
    allowed_cidrs       = []
    zone_id             = "Z0"
    instance_subnet_ids = ["subnet-a"]
  }

  expect_failures = [
    var.allowed_cidrs,
    var.deployment_name,
    var.environment,
    var.image_uri,
    var.instance_subnet_ids,
    var.instance_type,
    var.max_size,
    var.zone_id,
  ]
}

run "refuses_third" {
  command = plan

  variables {
    image_uri                  = "example.com/stable-diffusion:latest"
    secrets                    = { SD_API_KEYS = "hunter2" }
    alternative_instance_types = ["g5"]
    allowed_cidrs              = ["0.0.0.0/0"]
    vpc_id                     = "default"
    load_balancer_subnet_ids   = ["subnet-a", "subnet-b"]
    instance_subnet_ids        = ["subnet-c"]
  }

  expect_failures = [
    var.allowed_cidrs,
    var.alternative_instance_types,
    var.image_uri,
    var.secrets,
    var.vpc_id,
  ]
}

run "refuses_fourth" {
  command = plan

  variables {
    image_uri     = "example.com/stable-diffusion:$(reboot)"
    secrets       = { SD_API_KEYS = "ssm:/a;reboot" }
    enable_gpus   = false
    allowed_cidrs = ["0.0.0.0/1", "128.0.0.0/1"]
  }

  expect_failures = [
    var.allowed_cidrs,
    var.enable_gpus,
    var.image_uri,
    var.secrets,
  ]
}

run "refuses_fifth" {
  command = plan

  variables {
    create_repository = true
    image_uri         = "example.com/stable-diffusion:0.1.0"
    environment       = { SD_API_KEYS = "x" }
    secrets           = { SD_API_KEYS = "ssm:/a" }
    instance_type     = "m7i.xlarge"
    certificate_arn   = "arn:aws:acm:eu-west-1:123456789012:certificate/0123"
  }

  expect_failures = [
    var.certificate_arn,
    var.create_repository,
    var.enable_gpus,
    var.secrets,
  ]
}

run "refuses_sixth" {
  command = plan

  variables {
    alternative_instance_types = ["m7i.xlarge"]
  }

  expect_failures = [
    var.enable_gpus,
  ]
}
